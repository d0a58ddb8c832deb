//! One attempt to deliver an event over HTTP: signed, bounded, and what came of it. Whether to try again is not decided here.

use std::{error::Error, fmt, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
};

use super::endpoint::Endpoint;
use crate::{
    clock,
    domain::Timestamp,
    stripe::{
        api::{HttpsClient, Roots, https_client},
        sign,
    },
};

/// The header with time and signature, in the form of Stripe's: `t=…,v1=…`.
pub const SIGNATURE_HEADER: &str = "tollgate-signature";

/// From the connection to the end of the reply.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(10);
/// What is read of a reply, so that its connection can be used again.
const REPLY_BYTES_MAX: usize = 64 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OURSELVES: HeaderValue = HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION")));

/// Connections to endpoints that trust the same authorities.
pub struct Transport(HttpsClient);

/// An endpoint did not take an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why, without the path of the endpoint.
    pub cause: String,
    /// When the endpoint wants to see the next one.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl Transport {
    /// Trusts these authorities, or those that are public.
    #[must_use]
    pub fn new(roots: Option<&Roots>) -> Self {
        Self(https_client(roots))
    }

    /// Sends a body once. The endpoint has it when it replies with a status of 2xx.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn send(&self, endpoint: &Endpoint, body: String, now: Timestamp) -> Result<(), Refused> {
        let signature = sign(&endpoint.secret, now.as_seconds(), body.as_bytes());
        let refused = |cause: String| Refused { cause, retry_after: None };
        let request = Request::builder()
            .method(Method::POST)
            .uri(endpoint.url.uri())
            .header(CONTENT_TYPE, JSON)
            .header(USER_AGENT, OURSELVES)
            .header(HeaderName::from_static(SIGNATURE_HEADER), signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|cause| refused(cause.to_string()))?;
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| refused(root_cause(&error)))?;
            let (head, body) = response.into_parts();
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            // What it says matters to nobody.
            let _ = Limited::new(body, REPLY_BYTES_MAX).collect().await;
            if head.status.is_success() {
                Ok(())
            } else {
                Err(Refused {
                    cause: format!("it replied with status {}", head.status.as_u16()),
                    retry_after,
                })
            }
        };
        let late = || refused(format!("it did not reply within {} s", ATTEMPT_WITHIN.as_secs()));
        clock::timeout(ATTEMPT_WITHIN, exchange).await.unwrap_or_else(|_| Err(late()))
    }
}

/// The client's own sentence says little; what caused it says more.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}
