//! What replies look like: JSON, few headers, errors in one shape. When to send which is not here.
//!
//! The conventions of every body: amounts are integers in minor units; currencies are lower case; times are RFC 3339
//! in UTC ([`Rfc3339`]); an error is `{"error":{"code":"…","message":"…"}}`, where the code is for programs and the
//! message for people: what was expected, what was found, what to do.

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::server::Reply;
use crate::domain::Timestamp;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A reply with a JSON body.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// A reply that says what is wrong. `code` is fixed; `message` repeats nothing that may be personal.
pub(super) fn error(status: StatusCode, code: &'static str, message: &str) -> Reply {
    json(status, serde_json::json!({"error": {"code": code, "message": message}}).to_string())
}

/// Small additions to a reply.
pub(super) trait With {
    /// With one more header.
    fn with(self, name: HeaderName, value: HeaderValue) -> Self;
    /// And then no more: the connection ends, since its client may still be sending what we do not read.
    fn and_close(self) -> Self;
}

impl With for Reply {
    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers_mut().insert(name, value);
        self
    }

    fn and_close(self) -> Self {
        self.with(CONNECTION, HeaderValue::from_static("close"))
    }
}

/// A time in a JSON body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rfc3339(pub Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Rfc3339 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_the_decimals_they_need() {
        let check = |micros, expected: &str| {
            let written = serde_json::to_string(&Rfc3339(Timestamp::from_micros(micros))).unwrap();
            assert_eq!(written, format!("{expected:?}"));
        };
        check(0, "1970-01-01T00:00:00Z");
        check(1_795_341_600_123_456, "2026-11-22T10:00:00.123456Z");
        check(1_795_341_600_500_000, "2026-11-22T10:00:00.5Z");
    }
}
