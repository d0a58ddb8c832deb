//! Who may read what on the admin port. What is read is not here.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Uri,
    header::{AUTHORIZATION, HOST, HeaderValue},
    http::uri::Authority,
};

use super::{session, token::Token};
use crate::{domain::Timestamp, metrics::AdminRefusal};

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

    /// Whether a caller may read what is below `/v1` and `/console`: a browser with a session too.
    pub(super) fn lets_read(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<(), AdminRefusal> {
        if self.has_session(headers, now) { Ok(()) } else { self.lets_in(uri, headers) }
    }

    /// Whether a request comes in a session of the console.
    pub(super) fn has_session(&self, headers: &HeaderMap, now: Timestamp) -> bool {
        self.token.as_ref().is_some_and(|token| session::is_open(token, headers, now))
    }

    /// Begins a session for who knows the token: the value of `Set-Cookie`.
    pub(super) fn begin_session(&self, given: &str, now: Timestamp) -> Option<HeaderValue> {
        let token = self.token.as_ref().filter(|token| token.is(given.as_bytes()))?;
        session::begin(token, now)
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
}
