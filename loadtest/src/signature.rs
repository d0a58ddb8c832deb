//! Signs bodies as Stripe does, and badly, on purpose. Source: <https://docs.stripe.com/webhooks/signature>.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Signs with one secret.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

/// What is wrong with a signature that must be refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forgery {
    /// Made with another secret.
    OtherSecret,
    /// Made for another body.
    OtherBody,
    /// Made an hour ago.
    Stale,
    /// Only the scheme that is no proof.
    OldSchemeOnly,
    /// None at all.
    Missing,
}

impl Forgery {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::OtherSecret, Self::OtherBody, Self::Stale, Self::OldSchemeOnly, Self::Missing];

    /// What is wrong with it, in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherSecret => "made with another secret",
            Self::OtherBody => "made for another body",
            Self::Stale => "made an hour ago",
            Self::OldSchemeOnly => "of the scheme v0 only",
            Self::Missing => "missing",
        }
    }
}

impl Signer {
    /// A signer with the whole secret, its `whsec_` included.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        // HMAC takes keys of any length; one that did not would only make every signature wrong.
        Self(Hmac::new_from_slice(secret.as_bytes()).unwrap_or_else(|_| Hmac::new(&[0; 64].into())))
    }

    /// The value of the header `Stripe-Signature` for `body`, sent at `seconds` since 1970.
    #[must_use]
    pub fn header(&self, seconds: i64, body: &[u8]) -> String {
        format!("t={seconds},v1={}", self.signature(seconds, body))
    }

    /// A header that no verifier may take; nothing where the header is to be missing.
    #[must_use]
    pub fn forged(&self, seconds: i64, body: &[u8], forgery: Forgery) -> Option<String> {
        const HOUR_SECONDS: i64 = 3_600;
        match forgery {
            Forgery::OtherSecret => Some(Self::new("whsec_of_somebody_else").header(seconds, body)),
            Forgery::OtherBody => Some(self.header(seconds, body.get(1..).unwrap_or_default())),
            Forgery::Stale => Some(self.header(seconds.saturating_sub(HOUR_SECONDS), body)),
            Forgery::OldSchemeOnly => Some(format!("t={seconds},v0={}", self.signature(seconds, body))),
            Forgery::Missing => None,
        }
    }

    fn signature(&self, seconds: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(itoa::Buffer::new().format(seconds).as_bytes());
        mac.update(b".");
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_stripe_signs_it() {
        let signer = Signer::new("whsec_test_vector_secret");
        let body = br#"{"id":"evt_vector","object":"event"}"#;
        let right = "t=1791496587,v1=62f168c739e46de5dd2a13a63690c3cac6c7df363866987235316438907f4b66";
        assert_eq!(signer.header(1_791_496_587, body), right);
        for forgery in Forgery::ALL {
            assert_ne!(signer.forged(1_791_496_587, body, forgery).as_deref(), Some(right), "{forgery:?}");
        }
    }
}
