//! What the client is told: the key, where Stripe is, and how patient to be. Reading it from the environment is
//! `config`'s.

use std::{fmt, sync::Arc, time::Duration};

use hyper::{Uri, header::HeaderValue};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::Patience;
use crate::stripe::ApiVersion;

/// What a client of Stripe's API is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who we are to Stripe.
    pub key: ApiKey,
    /// Where Stripe is.
    pub base: BaseUrl,
    /// Who is believed to be there; without a word, whom browsers believe.
    pub roots: Option<Roots>,
    /// The shape of the objects.
    pub version: ApiVersion,
    /// From sending a call to the last byte of its answer, at most.
    pub attempt_within: Duration,
    /// How many calls a back-fill makes a second, at most.
    pub requests_per_second_max: u32,
    /// How a back-fill repeats a call that failed.
    pub patience: Patience,
}

impl Settings {
    /// Stripe's own bound is 25 reads a second with a test key and 100 with a live one: others need room too.
    pub const REQUESTS_PER_SECOND_MAX: u32 = 20;

    /// The defaults, with this key.
    #[must_use]
    pub fn new(key: ApiKey) -> Self {
        Self {
            key,
            base: BaseUrl::default(),
            roots: None,
            version: ApiVersion::default(),
            attempt_within: Duration::from_secs(30),
            requests_per_second_max: Self::REQUESTS_PER_SECOND_MAX,
            patience: Patience::default(),
        }
    }
}

/// A secret or restricted key. Never shown.
#[derive(Clone)]
pub struct ApiKey {
    bearer: HeaderValue,
    is_live: bool,
}

impl ApiKey {
    /// Takes `sk_…` and `rk_…`. A publishable key may do nothing, and a signing secret is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_key =
            ["sk_", "rk_"].iter().any(|prefix| text.len() > prefix.len() && text.starts_with(prefix))
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let mut bearer = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| is_key)?;
        bearer.set_sensitive(true);
        Some(Self { bearer, is_live: !text.contains("_test_") })
    }

    /// Whether it moves real money.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.is_live
    }

    /// The value of `Authorization`.
    pub(super) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// Certificate authorities: those of a proxy that opens what goes out, or of a stub.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Takes every certificate in PEM, of which there must be one.
    #[must_use]
    pub fn new(pem: &str) -> Option<Self> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            store.add(certificate.ok()?).ok()?;
        }
        (!store.is_empty()).then(|| Self(Arc::new(store)))
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

/// What stands before `/v1`: scheme, host and perhaps a port.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Box<str>);

impl BaseUrl {
    /// Takes `https://api.stripe.com`, or `http://127.0.0.1:12111` of a stub. No path, query or user.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?.as_str();
        let plain = ["http", "https"].iter().any(|scheme| text == format!("{scheme}://{authority}"));
        (plain && !authority.contains('@')).then(|| Self(text.into()))
    }

    /// Whether nobody on the way can read the key.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// As it was given, without a slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Stripe itself.
impl Default for BaseUrl {
    fn default() -> Self {
        Self("https://api.stripe.com".into())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_secret_or_restricted_one_and_never_shown() {
        let check = |text: &str, is_live: Option<bool>| {
            assert_eq!(ApiKey::new(text).map(|key| key.is_live()), is_live, "{text}");
        };
        check("sk_test_abc123", Some(false));
        check("rk_test_abc123", Some(false));
        check("sk_live_abc123", Some(true));
        check("sk_abc123", Some(true));
        for none in ["", "sk_", "pk_live_abc", "whsec_abc", "sk_test_a b", "sk_test_a\r\nb", " sk_test_a"] {
            check(none, None);
        }
        let settings = Settings::new(ApiKey::new("sk_test_topsecret").unwrap());
        assert!(!format!("{settings:?} {:?}", settings.key.bearer()).contains("topsecret"));
    }

    #[test]
    fn a_base_url_has_a_host_and_nothing_behind_it() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(BaseUrl::new(text).as_ref().map(BaseUrl::as_str), expected, "{text}");
        };
        check("https://api.stripe.com", Some("https://api.stripe.com"));
        check("https://api.stripe.com/", Some("https://api.stripe.com"));
        check("http://127.0.0.1:12111", Some("http://127.0.0.1:12111"));
        check("http://[::1]:12111", Some("http://[::1]:12111"));
        for none in [
            "",
            "api.stripe.com",
            "https://",
            "ftp://a",
            "https://a/v1",
            "https://a?b",
            "https://a:b@c",
            "https://a b",
        ] {
            check(none, None);
        }
        assert!(BaseUrl::default().is_encrypted());
    }
}
