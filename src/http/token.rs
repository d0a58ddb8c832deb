//! The token of operators. It is compared and signed with, and never shown.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::header::HeaderValue;
use sha2::Sha256;

/// What is signed begins with this, and no token does: it has a space.
const SEALED: &str = "sealed: ";

/// What a request under `/v1` has to bring. Never shown.
#[derive(Clone)]
pub struct Token {
    keyed: Hmac<Sha256>,
    expected: [u8; 32],
    bearer: HeaderValue,
    is_short: bool,
}

impl Token {
    const BYTES_MIN_ADVISED: usize = 16;

    /// Takes a text that can stand in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let usable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let keyed = Hmac::<Sha256>::new_from_slice(text.as_bytes()).ok().filter(|_| usable)?;
        let expected = keyed.clone().chain_update(text).finalize().into_bytes().into();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {text}")).ok()?;
        bearer.set_sensitive(true);
        Some(Self { keyed, expected, bearer, is_short: text.len() < Self::BYTES_MIN_ADVISED })
    }

    /// The value of `Authorization` that brings it.
    #[must_use]
    pub fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// Whether it is soon guessed.
    #[must_use]
    pub const fn is_short(&self) -> bool {
        self.is_short
    }

    /// Compares hashes under a key that the other side does not know: how long it takes tells nothing.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.keyed.clone().chain_update(given).verify_slice(&self.expected).is_ok()
    }

    /// Signs a text with it, in hexadecimal.
    pub(super) fn seal(&self, text: &str) -> String {
        hex::encode(self.keyed.clone().chain_update(SEALED).chain_update(text).finalize().into_bytes())
    }

    /// Whether [`Token::seal`] signs the text like this.
    pub(super) fn is_sealed(&self, text: &str, sealed: &str) -> bool {
        let signed = self.keyed.clone().chain_update(SEALED).chain_update(text);
        hex::decode(sealed).is_ok_and(|sealed| signed.verify_slice(&sealed).is_ok())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_a_header_and_is_never_shown() {
        let token = "operators-only-0123456789";
        assert!(Token::new("").is_none());
        assert!(Token::new("sixteen letters with\nline").is_none());
        assert!(!format!("{:?}", Token::new(token)).contains("operators"));
    }
}
