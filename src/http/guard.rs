//! Who may read what on the admin port. What is read is not here.

use std::{fmt, net::IpAddr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::{
    HeaderMap, Uri,
    header::{AUTHORIZATION, HOST, HeaderValue},
    http::uri::Authority,
};
use sha2::Sha256;

use crate::metrics::AdminRefusal;

/// Who may read what.
///
/// Probes are open to all. `/v1` needs the token where there is one. `/metrics` tells how much a card programme spends
/// and declines: on an address that others can reach it needs the token too (a scraper sends it as `authorization`), on
/// a loopback address it does not. A browser on this machine reaches loopback addresses for any web page: what comes without
/// a token must be meant for this machine by name too, or a page could read the ledger by DNS rebinding.
pub struct Guard {
    token: Option<Token>,
    metrics_are_open: bool,
}

impl Guard {
    /// Guards a listener on `address`.
    ///
    /// # Errors
    /// When others could reach the address, and no token would stop them.
    pub fn new(address: IpAddr, token: Option<Token>) -> Result<Self, Unguarded> {
        let metrics_are_open = address.is_loopback();
        if token.is_none() && !metrics_are_open {
            return Err(Unguarded { address });
        }
        Ok(Self { token, metrics_are_open })
    }

    /// Whether a caller may read `/metrics`.
    pub(super) fn lets_read_metrics(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), AdminRefusal> {
        if self.metrics_are_open && !self.has_token(headers) {
            return is_to_this_machine(uri, headers).then_some(()).ok_or(AdminRefusal::WrongHost);
        }
        self.lets_in(uri, headers)
    }

    /// Whether a caller may ask what is below `/v1`.
    pub(super) fn lets_in(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), AdminRefusal> {
        match &self.token {
            None => is_to_this_machine(uri, headers).then_some(()).ok_or(AdminRefusal::WrongHost),
            Some(_) => self.has_token(headers).then_some(()).ok_or(AdminRefusal::Unauthorized),
        }
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return false };
        let credentials = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let bearer = credentials.and_then(|credentials| credentials.split_at_checked(SCHEME.len()));
        // The scheme may be written in any case; RFC 9110, section 11.1.
        bearer.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case(SCHEME) && token.is(given))
    }
}

/// Whether the host that a request is for is a loopback address or `localhost`, with any port. A request of HTTP/1.0 may name
/// none; browsers always do.
fn is_to_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let named = headers.get_all(HOST).into_iter().map(|host| host.to_str().ok());
    let mut all = uri.authority().map(|authority| Some(authority.as_str())).into_iter().chain(named);
    all.all(|host| {
        host.and_then(|host| host.parse::<Authority>().ok()).is_some_and(|host| is_loopback(host.host()))
    })
}

fn is_loopback(host: &str) -> bool {
    let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

const SCHEME: &[u8] = b"Bearer ";

/// An admin address that others can reach needs a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected TOLLGATE_ADMIN_TOKEN, since {address} can be reached by others, found none")]
pub struct Unguarded {
    address: IpAddr,
}

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
    fn is(&self, given: &[u8]) -> bool {
        self.keyed.clone().chain_update(given).verify_slice(&self.expected).is_ok()
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

    const TOKEN: &str = "operators-only-0123456789";

    #[test]
    fn an_address_that_others_can_reach_needs_a_token() {
        let check = |address: &str, token: bool, allowed: bool| {
            let token = token.then(|| Token::new(TOKEN).unwrap());
            assert_eq!(Guard::new(address.parse().unwrap(), token).is_ok(), allowed, "{address}");
        };
        check("127.0.0.1", false, true);
        check("127.9.9.9", false, true);
        check("::1", false, true);
        check("0.0.0.0", false, false);
        check("::", false, false);
        check("10.0.0.1", false, false);
        check("0.0.0.0", true, true);
    }

    #[test]
    fn only_the_token_itself_is_let_in() {
        let guard = Guard::new("10.0.0.1".parse().unwrap(), Token::new(TOKEN)).unwrap();
        let check = |credentials: Option<String>, expected: bool| {
            let mut headers = HeaderMap::new();
            if let Some(credentials) = &credentials {
                headers.insert(AUTHORIZATION, credentials.parse().unwrap());
            }
            let expected = expected.then_some(()).ok_or(AdminRefusal::Unauthorized);
            assert_eq!(guard.lets_in(&Uri::from_static("/"), &headers), expected, "{credentials:?}");
            assert_eq!(
                guard.lets_read_metrics(&Uri::from_static("/"), &headers),
                expected,
                "{credentials:?}"
            );
        };
        check(Some(format!("Bearer {TOKEN}")), true);
        check(Some(format!("bearer {TOKEN}")), true);
        check(None, false);
        check(Some(String::new()), false);
        check(Some("Bearer".into()), false);
        check(Some("Bearer ".into()), false);
        check(Some(format!("Basic {TOKEN}")), false);
        check(Some(format!("Bearer {TOKEN}x")), false);
        check(Some(format!("Bearer  {TOKEN}")), false);
        check(Some(format!("Bearer {}", &TOKEN[1..])), false);
    }

    #[test]
    fn without_a_token_only_a_name_of_this_machine_is_let_in() {
        let loopback = "127.0.0.1".parse().unwrap();
        let (open, guarded) =
            (Guard::new(loopback, None).unwrap(), Guard::new(loopback, Token::new(TOKEN)).unwrap());
        let check = |uri: &str, hosts: &[&str], expected: bool| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, host.parse().unwrap());
            }
            let uri: Uri = uri.parse().unwrap();
            let expected = expected.then_some(()).ok_or(AdminRefusal::WrongHost);
            assert_eq!(open.lets_in(&uri, &headers), expected, "{uri} {hosts:?}");
            assert_eq!(open.lets_read_metrics(&uri, &headers), expected, "{uri} {hosts:?}");
            assert_eq!(guarded.lets_read_metrics(&uri, &headers), expected, "{uri} {hosts:?}");
            assert_eq!(guarded.lets_in(&uri, &headers), Err(AdminRefusal::Unauthorized));
            headers.insert(AUTHORIZATION, Token::new(TOKEN).unwrap().bearer());
            assert_eq!(guarded.lets_in(&uri, &headers), Ok(()), "with the token any name will do");
            assert_eq!(guarded.lets_read_metrics(&uri, &headers), Ok(()));
        };
        for host in
            ["127.0.0.1", "127.0.0.1:9464", "127.8.8.8", "[::1]", "[::1]:9464", "localhost", "LocalHost:1"]
        {
            check("/v1/cards/ic_1", &[host], true);
        }
        for host in [
            "evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "@",
        ] {
            check("/v1/cards/ic_1", &[host], false);
            check("/v1/cards/ic_1", &["localhost", host], false);
        }
        check("/v1/cards/ic_1", &[], true);
        check("http://evil.example/v1/cards/ic_1", &["localhost"], false);
        check("http://localhost:9464/v1/cards/ic_1", &["localhost"], true);
    }

    #[test]
    fn a_token_fits_a_header_and_is_never_shown() {
        assert!(Token::new("").is_none());
        assert!(Token::new("sixteen letters with\nline").is_none());
        assert!(!format!("{:?}", Token::new(TOKEN)).contains("operators"));
    }
}
