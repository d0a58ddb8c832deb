//! Why a call to Stripe's API failed, in words that say what to do. Nothing that Stripe writes for people is repeated:
//! it may name somebody.

use std::{fmt, time::Duration};

use hyper::StatusCode;
use serde::Deserialize;

/// Why one call failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The key is wrong, or may not do this.
    #[error(
        "Stripe refused the API key ({status}): compare STRIPE_API_KEY with the dashboard; a restricted key needs \
         access to Issuing, and a connected account must be the key's own"
    )]
    Unauthorized {
        /// 401 or 403.
        status: u16,
    },
    /// There is no such thing.
    #[error("Stripe knows nothing of this id (404): compare the key's mode and account with it{details}")]
    Missing {
        /// What the error's body says.
        details: Details,
    },
    /// Stripe does not do this.
    #[error("Stripe refused the request ({status}){details}")]
    Refused {
        /// Any other of 400 to 499.
        status: u16,
        /// What the error's body says.
        details: Details,
    },
    /// Too many calls.
    #[error("too many API calls (429): other programs share the key's rate limit")]
    RateLimited {
        /// What Stripe asks for.
        retry_after: Option<Duration>,
    },
    /// Stripe's own failure, or a call of the same idempotency key that is still under way.
    #[error("Stripe failed ({status}): see status.stripe.com")]
    Unavailable {
        /// 409, or 500 and above.
        status: u16,
    },
    /// No connection, or a broken one. The call may have been done.
    #[error("Stripe cannot be reached: {cause}; see STRIPE_API_BASE, and whether this machine may go out")]
    Unreachable {
        /// What the system or TLS says.
        cause: String,
    },
    /// Somebody is there, and nobody vouches for it. The call has not been made.
    #[error("the server's certificate is not trusted: {cause}; see STRIPE_API_BASE and STRIPE_API_CA")]
    Untrusted {
        /// What TLS says.
        cause: String,
    },
    /// No whole answer in time. The call may have been done.
    #[error("Stripe did not answer in time")]
    Late,
    /// The answer has more bytes than are read.
    #[error("expected an answer of at most {bytes_max} bytes, found more")]
    TooLarge {
        /// The most that is read.
        bytes_max: usize,
    },
    /// The answer is none of Stripe's.
    #[error("the answer is not one of Stripe's API: expected {expected}; see STRIPE_API_BASE")]
    Unreadable {
        /// What was looked for.
        expected: &'static str,
    },
}

impl Failure {
    /// Reads an answer that is no success.
    pub(super) fn of(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let code = status.as_u16();
        match code {
            401 | 403 => Self::Unauthorized { status: code },
            404 => Self::Missing { details: Details::read(body) },
            409 | 500.. => Self::Unavailable { status: code },
            429 => Self::RateLimited { retry_after },
            400.. => Self::Refused { status: code, details: Details::read(body) },
            _ => Self::Unreadable { expected: "a success or an error" },
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unavailable { .. } | Self::Unreachable { .. } | Self::Late => {
                true
            }
            Self::Unauthorized { .. }
            | Self::Missing { .. }
            | Self::Refused { .. }
            | Self::Untrusted { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. } => false,
        }
    }

    /// Whether it says something about the object that was asked for, and nothing about others.
    #[must_use]
    pub const fn is_of_one_object(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Refused { .. } | Self::TooLarge { .. } | Self::Unreadable { .. } => {
                true
            }
            Self::Unauthorized { .. }
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Late => false,
        }
    }

    /// How long Stripe wants to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => *retry_after,
            _ => None,
        }
    }

    /// A word for logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "unauthorized",
            Self::Missing { .. } => "missing",
            Self::Refused { .. } => "refused",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Unreachable { .. } => "unreachable",
            Self::Untrusted { .. } => "untrusted",
            Self::Late => "late",
            Self::TooLarge { .. } => "too_large",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

/// A call that was given up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct GaveUp {
    /// How often it was made.
    pub attempts: u32,
    /// How the last one failed.
    #[source]
    pub failure: Failure,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts {
            0 | 1 => write!(f, "{}", self.failure),
            attempts => write!(f, "given up after {attempts} attempts: {}", self.failure),
        }
    }
}

impl From<Failure> for GaveUp {
    fn from(failure: Failure) -> Self {
        Self { attempts: 1, failure }
    }
}

/// The words of an error that are for programs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Details {
    /// `error.type`.
    pub kind: Option<String>,
    /// `error.code`.
    pub code: Option<String>,
    /// `error.param`.
    pub param: Option<String>,
}

impl Details {
    fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: Fields,
        }
        #[derive(Deserialize)]
        struct Fields {
            #[serde(rename = "type")]
            kind: Option<String>,
            code: Option<String>,
            param: Option<String>,
        }
        let Ok(Body { error }) = serde_json::from_slice(body) else { return Self::default() };
        let word = |text: Option<String>| text.filter(|text| is_word(text));
        Self { kind: word(error.kind), code: word(error.code), param: word(error.param) }
    }
}

/// Whether a text is a program's word, and no sentence.
fn is_word(text: &str) -> bool {
    (1..=80).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.[]".contains(&byte))
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, word) in [("type", &self.kind), ("code", &self.code), ("param", &self.param)] {
            if let Some(word) = word {
                write!(f, ", {name} {word}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let check = |status: u16, word: &str, may_pass: bool| {
            let failure = Failure::of(StatusCode::from_u16(status).unwrap(), None, b"{}");
            assert_eq!((failure.as_str(), failure.may_pass()), (word, may_pass), "{status}");
        };
        check(400, "refused", false);
        check(401, "unauthorized", false);
        check(402, "refused", false);
        check(403, "unauthorized", false);
        check(404, "missing", false);
        check(409, "unavailable", true);
        check(429, "rate_limited", true);
        check(500, "unavailable", true);
        check(503, "unavailable", true);
        check(302, "unreadable", false);
    }

    #[test]
    fn a_message_has_stripes_words_for_programs_and_not_those_for_people() {
        let body =
            br#"{"error":{"type":"invalid_request_error","code":"parameter_unknown","param":"created[x]",
            "message":"Jenny Rosen's card is unknown"}}"#;
        let failure = Failure::of(StatusCode::BAD_REQUEST, None, body);
        assert_eq!(
            failure.to_string(),
            "Stripe refused the request (400), type invalid_request_error, code parameter_unknown, param created[x]"
        );
        let body = br#"{"error":{"code":"Jenny Rosen"}}"#;
        assert!(!Failure::of(StatusCode::BAD_REQUEST, None, body).to_string().contains("Jenny"));
        assert_eq!(
            GaveUp { attempts: 6, failure: Failure::Late }.to_string(),
            "given up after 6 attempts: Stripe did not answer in time"
        );
    }
}
