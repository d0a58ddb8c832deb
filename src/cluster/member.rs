//! What a member of the cluster says of itself in the member table, its key included. How the key is proved is elsewhere.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

/// A row of the member table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// A number of this run of it: another run of the same name is another member.
    pub incarnation: i64,
    /// Where other nodes reach it, as `host:port`.
    pub address: String,
    /// The version that it runs.
    pub version: String,
    /// The key that it proves to have on every connection to another node.
    pub key: Fingerprint,
}

/// The SHA-256 of a node's public key, as DER of its `SubjectPublicKeyInfo`. No secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// A text that is no fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected the 64 hexadecimal digits of a SHA-256")]
pub struct NotAFingerprint;

impl Fingerprint {
    /// Of a `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn of(public_key: &[u8]) -> Self {
        Self(Sha256::digest(public_key).into())
    }

    /// The name by which TLS asks for the node with this key. A node that is asked for by another name does not answer:
    /// only who can read the member table knows it.
    pub(super) fn server_name(&self) -> String {
        let digits = self.to_string();
        // A label of a DNS name has at most 63 characters; 128 bits are not guessed.
        let (half, _) = digits.split_at(32);
        format!("{half}.{SERVER_DOMAIN}")
    }
}

/// What all of [`Fingerprint::server_name`] end with.
pub(super) const SERVER_DOMAIN: &str = "tollgate";

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAFingerprint)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_written_and_read_again() {
        let print = Fingerprint::of(b"a public key");
        assert_eq!(print.to_string().parse(), Ok(print));
        assert_ne!(print, Fingerprint::of(b"another"));
        for text in ["", "00", &"0".repeat(63), &"0".repeat(66), &"x".repeat(64)] {
            assert_eq!(text.parse::<Fingerprint>(), Err(NotAFingerprint), "{text}");
        }
    }

    #[test]
    fn the_name_that_tls_asks_by_is_a_dns_name() {
        let print = Fingerprint::of(b"a public key");
        let name = print.server_name();
        assert!(rustls::pki_types::DnsName::try_from(name.as_str()).is_ok(), "{name}");
        assert!(print.to_string().starts_with(name.strip_suffix(".tollgate").unwrap()), "{name}");
    }
}
