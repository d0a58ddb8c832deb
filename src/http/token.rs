//! The tokens of operators: whose each is, and what its role may do. Of the tokens that callers send, only hashes are kept; no
//! token is ever shown.

use std::{fmt, path::PathBuf, sync::Arc};

use hyper::header::HeaderValue;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

/// What a caller may do. Each role may do what the ones before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Reads everything.
    Viewer,
    /// Grants exceptions to single cards.
    Support,
    /// Changes balances, limits in force, and the log filter.
    Operator,
    /// Changes the policy.
    Admin,
}

impl Role {
    /// From the one that may do least.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Support, Self::Operator, Self::Admin];

    /// The word in the file of tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Support => "support",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role that this word names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Who sends a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The name of the token.
    pub name: Arc<str>,
    /// What the token may do.
    pub role: Role,
}

impl Caller {
    /// The name of `TOLLGATE_ADMIN_TOKEN`, which is no name in a file.
    pub const ADMIN: &'static str = "admin";
    /// The name of callers on this machine, if no token is set.
    pub const LOCAL: &'static str = "local";

    pub(super) fn local() -> Self {
        Self { name: Self::LOCAL.into(), role: Role::Admin }
    }
}

/// The text of a token, for a client, and for `TOLLGATE_ADMIN_TOKEN`. Never shown.
#[derive(Clone)]
pub struct Token {
    hash: TokenHash,
    bearer: HeaderValue,
    is_short: bool,
}

impl Token {
    const BYTES_MIN_ADVISED: usize = 16;

    /// Takes a text that can stand in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let usable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let mut bearer = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| usable)?;
        bearer.set_sensitive(true);
        let is_short = text.len() < Self::BYTES_MIN_ADVISED;
        Some(Self { hash: TokenHash::of(text.as_bytes()), bearer, is_short })
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

    /// As the token of an admin.
    #[must_use]
    pub fn of_admin(&self) -> NamedToken {
        let caller = Caller { name: Caller::ADMIN.into(), role: Role::Admin };
        NamedToken { hash: self.hash, caller }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// The SHA-256 of a token. Tokens are long and random, so that none is found from its hash.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    const SCHEME: &'static str = "sha256:";

    /// The hash of a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text.strip_prefix(Self::SCHEME)?, &mut hash).ok()?;
        Some(Self(hash))
    }

    /// Takes the same time for any two hashes.
    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::SCHEME, hex::encode(self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(redacted)")
    }
}

/// A token that callers may send.
#[derive(Clone, Debug)]
pub struct NamedToken {
    /// The hash of its text.
    pub hash: TokenHash,
    /// Whose it is.
    pub caller: Caller,
}

/// A file with tokens, as it was read at the start.
#[derive(Clone, Debug)]
pub struct TokenFile {
    /// Where it is.
    pub path: PathBuf,
    /// The tokens.
    pub tokens: Vec<NamedToken>,
}

/// The tokens that hold now.
pub type Tokens = watch::Receiver<Arc<[NamedToken]>>;

/// The token that a caller sent, among all. Each is compared, whether one has fit or not.
pub(super) fn find<'a>(tokens: &'a [NamedToken], given: &[u8]) -> Option<&'a NamedToken> {
    let given = TokenHash::of(given);
    tokens.iter().fold(None, |found, token| if token.hash.is(&given) { Some(token) } else { found })
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
        let named = Token::new(token).unwrap().of_admin();
        let digits = named.hash.to_string();
        assert!(!format!("{named:?}").contains(digits.strip_prefix("sha256:").unwrap()));
    }

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = TokenHash::of(b"operators-only-0123456789");
        assert!(TokenHash::parse(&hash.to_string()).unwrap().is(&hash));
        assert!(!TokenHash::of(b"operators-only-012345678").is(&hash));
        let digits = "0".repeat(64);
        for wrong in [&digits, "sha256:", "sha256:00", &format!("sha256:{digits}0"), &format!("md5:{digits}")]
        {
            assert!(TokenHash::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn each_role_may_do_what_the_ones_before_it_may() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(Role::named(role.as_str()), Some(role));
        }
        assert_eq!(Role::named("root"), None);
    }
}
