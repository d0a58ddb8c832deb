//! The session of a browser: a token is entered once, and a cookie stands for it for twelve hours. Nothing is kept here: the
//! cookie is sealed with a key that all nodes with the same signing secret have, over the hash of the token. A token that is
//! no longer valid ends it.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::{
    HeaderMap,
    header::{COOKIE, HOST, HeaderValue, ORIGIN},
    http::{Uri, uri::Authority},
};
use sha2::Sha256;

use super::token::{Caller, NamedToken};
use crate::domain::Timestamp;

/// The name of the cookie.
const NAME: &str = "tollgate_console";

/// How long a session lasts.
const LASTS: Duration = Duration::from_hours(12);

/// What sessions are sealed with. Never shown.
#[derive(Clone)]
pub struct SessionKey(Hmac<Sha256>);

impl SessionKey {
    /// Of bytes that nobody else has.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// The value of `Set-Cookie` that begins a session of this token.
    pub(super) fn begin(&self, token: &NamedToken, now: Timestamp) -> Option<HeaderValue> {
        let ends_at = now.plus(LASTS).as_seconds();
        let seal = hex::encode(self.sealed(token, ends_at).finalize().into_bytes());
        let seconds = LASTS.as_secs();
        let cookie = format!("{NAME}={ends_at}.{seal}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
        HeaderValue::from_str(&cookie).ok().map(|mut cookie| {
            cookie.set_sensitive(true);
            cookie
        })
    }

    /// Whose session a request comes in, if it brings a cookie that stands for one of these tokens now.
    pub(super) fn caller(
        &self,
        tokens: &[NamedToken],
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Option<Caller> {
        let cookies = headers.get_all(COOKIE).into_iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find_map(|(name, value)| {
            let (ends_at, seal) = value.split_once('.').filter(|_| name == NAME)?;
            let ends_at = ends_at.parse::<i64>().ok().filter(|ends_at| now.as_seconds() < *ends_at)?;
            let seal = hex::decode(seal).ok()?;
            let is_of = |token: &&NamedToken| self.sealed(token, ends_at).verify_slice(&seal).is_ok();
            tokens.iter().find(is_of).map(|token| token.caller.clone())
        })
    }

    fn sealed(&self, token: &NamedToken, ends_at: i64) -> Hmac<Sha256> {
        self.0.clone().chain_update(token.hash.as_bytes()).chain_update(ends_at.to_be_bytes())
    }
}

/// The value of `Set-Cookie` that ends a session.
pub(super) const END: HeaderValue =
    HeaderValue::from_static("tollgate_console=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");

/// Whether a request that changes something comes from no page, or from a page of this very address. A browser always says
/// where such a request comes from.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let authority = |text: &str| text.parse::<Authority>().ok();
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(authority);
    origin.and_then(|origin| origin.authority().cloned()).is_some_and(|origin| host == Some(origin))
}

#[cfg(test)]
mod tests {
    use super::{super::token::Token, *};

    const SECONDS: i64 = 1_800_000_000;

    fn token(text: &str) -> NamedToken {
        Token::new(text).unwrap().of_admin()
    }

    fn cookie_of(key: &SessionKey, token: &NamedToken) -> String {
        let cookie = key.begin(token, Timestamp::from_seconds(SECONDS)).unwrap();
        cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    fn is_open_at(key: &SessionKey, tokens: &[NamedToken], cookie: &str, seconds: i64) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().unwrap());
        key.caller(tokens, &headers, Timestamp::from_seconds(seconds)).is_some()
    }

    #[test]
    fn a_session_lasts_twelve_hours_and_no_longer_than_its_token() {
        let key = SessionKey::new(&[7; 32]).unwrap();
        let (mine, other) = (token("operators-only-0123456789"), token("another-token"));
        let cookie = cookie_of(&key, &mine);
        let both = [other.clone(), mine.clone()];
        assert!(is_open_at(&key, &both, &cookie, SECONDS));
        assert!(is_open_at(&key, &both, &format!("theme=dark; {cookie}"), SECONDS + 43_199));
        assert!(!is_open_at(&key, &both, &cookie, SECONDS + 43_200));
        assert!(!is_open_at(&key, &[other], &cookie, SECONDS));
        assert!(!is_open_at(&SessionKey::new(&[8; 32]).unwrap(), &both, &cookie, SECONDS));
        let later = cookie.replace(&(SECONDS + 43_200).to_string(), &(SECONDS + 99_999).to_string());
        assert_ne!(later, cookie);
        assert!(!is_open_at(&key, &both, &later, SECONDS), "the end is part of what is sealed");
        for wrong in ["", "tollgate_console", "tollgate_console=", "tollgate_console=1.2", "other=1"] {
            assert!(!is_open_at(&key, &both, wrong, SECONDS), "{wrong}");
        }
        assert!(!cookie.contains("operators"), "the token itself is not in it");
        assert!(!cookie.contains(&hex::encode(mine.hash.as_bytes())), "nor its hash");
    }

    #[test]
    fn a_form_of_another_page_is_refused() {
        let check = |origin: Option<&str>, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "console.example:9464".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(is_same_origin(&headers), expected, "{origin:?}");
        };
        check(None, true);
        check(Some("http://console.example:9464"), true);
        check(Some("https://evil.example"), false);
        check(Some("http://console.example"), false);
        check(Some("null"), false);
    }
}
