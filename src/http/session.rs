//! The session of a browser: the token is entered once, and a cookie stands for it for twelve hours. Nothing is kept here:
//! the cookie is signed with the token, so that any node with the same token accepts it, and a new token ends it.

use std::time::Duration;

use hyper::{
    HeaderMap,
    header::{COOKIE, HOST, HeaderValue, ORIGIN},
    http::{Uri, uri::Authority},
};

use super::token::Token;
use crate::domain::Timestamp;

/// The name of the cookie.
const NAME: &str = "tollgate_console";

/// How long a session lasts.
const LASTS: Duration = Duration::from_hours(12);

/// The value of `Set-Cookie` that begins a session.
pub(super) fn begin(token: &Token, now: Timestamp) -> Option<HeaderValue> {
    let ends_at = now.plus(LASTS).as_seconds();
    let sealed = token.seal(&sealed_text(ends_at));
    let seconds = LASTS.as_secs();
    let cookie = format!("{NAME}={ends_at}.{sealed}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
    HeaderValue::from_str(&cookie).ok().map(|mut cookie| {
        cookie.set_sensitive(true);
        cookie
    })
}

/// The value of `Set-Cookie` that ends a session.
pub(super) const END: HeaderValue =
    HeaderValue::from_static("tollgate_console=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");

/// Whether a request has a cookie that stands for the token now.
pub(super) fn is_open(token: &Token, headers: &HeaderMap, now: Timestamp) -> bool {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.any(|(name, value)| {
        let Some((ends_at, sealed)) = value.split_once('.').filter(|_| name == NAME) else { return false };
        let Ok(ends_at) = ends_at.parse::<i64>() else { return false };
        now.as_seconds() < ends_at && token.is_sealed(&sealed_text(ends_at), sealed)
    })
}

/// Whether a form comes from a page of this very address. A browser always says where a form comes from.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let authority = |text: &str| text.parse::<Authority>().ok();
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(authority);
    origin.and_then(|origin| origin.authority().cloned()).is_some_and(|origin| host == Some(origin))
}

fn sealed_text(ends_at: i64) -> String {
    format!("console session until {ends_at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: i64 = 1_800_000_000;

    fn cookie_of(token: &Token) -> String {
        let cookie = begin(token, Timestamp::from_seconds(SECONDS)).unwrap();
        cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    fn is_open_at(token: &Token, cookie: &str, seconds: i64) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().unwrap());
        is_open(token, &headers, Timestamp::from_seconds(seconds))
    }

    #[test]
    fn a_session_lasts_twelve_hours_and_no_longer_than_its_token() {
        let (token, other) =
            (Token::new("operators-only-0123456789").unwrap(), Token::new("another-token").unwrap());
        let cookie = cookie_of(&token);
        assert!(is_open_at(&token, &cookie, SECONDS));
        assert!(is_open_at(&token, &format!("theme=dark; {cookie}"), SECONDS + 43_199));
        assert!(!is_open_at(&token, &cookie, SECONDS + 43_200));
        assert!(!is_open_at(&other, &cookie, SECONDS));
        let later = cookie.replace(&(SECONDS + 43_200).to_string(), &(SECONDS + 99_999).to_string());
        assert_ne!(later, cookie);
        assert!(!is_open_at(&token, &later, SECONDS), "the end is part of what is signed");
        for wrong in ["", "tollgate_console", "tollgate_console=", "tollgate_console=1.2", "other=1"] {
            assert!(!is_open_at(&token, wrong, SECONDS), "{wrong}");
        }
        assert!(!cookie.contains("operators"), "the token itself is not in it");
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
