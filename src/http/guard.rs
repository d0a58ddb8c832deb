//! Who sends a request to the admin port. What is served is not here, nor which role it needs.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Uri,
    header::{AUTHORIZATION, HOST, HeaderValue},
    http::uri::Authority,
};

use super::{
    session::SessionKey,
    token::{self, Caller, Tokens},
};
use crate::{domain::Timestamp, metrics::AdminRefusal};

/// Knows who sends a request.
///
/// Probes are open to all. `/v1` needs a token where there are any. `/metrics` tells how much a card programme spends
/// and declines: on an address that others can reach it needs a token too (a scraper sends it as `authorization`), on
/// a loopback address it does not. A browser on this machine reaches loopback addresses for any web page: what comes without
/// a token must be meant for this machine by name too, or a page could read the ledger by DNS rebinding.
pub struct Guard {
    /// None: callers on this machine need no token.
    tokens: Option<Tokens>,
    /// None: there are no sessions.
    sessions: Option<SessionKey>,
    metrics_are_open: bool,
}

impl Guard {
    /// Guards a listener on `address`. Sessions of the console are sealed with `sessions`; without it there are none.
    ///
    /// # Errors
    /// When others could reach the address, and no token would stop them.
    pub fn new(
        address: IpAddr,
        tokens: Option<Tokens>,
        sessions: Option<SessionKey>,
    ) -> Result<Self, Unguarded> {
        let metrics_are_open = address.is_loopback();
        if tokens.is_none() && !metrics_are_open {
            return Err(Unguarded { address });
        }
        Ok(Self { tokens, sessions, metrics_are_open })
    }

    /// Who reads `/metrics`.
    pub(super) fn reader_of_metrics(&self, uri: &Uri, headers: &HeaderMap) -> Result<Caller, AdminRefusal> {
        if self.metrics_are_open && self.by_token(headers).is_none() {
            return is_to_this_machine(uri, headers).then(Caller::local).ok_or(AdminRefusal::WrongHost);
        }
        self.caller(uri, headers)
    }

    /// Who sends what is below `/v1`.
    pub(super) fn caller(&self, uri: &Uri, headers: &HeaderMap) -> Result<Caller, AdminRefusal> {
        match &self.tokens {
            None => is_to_this_machine(uri, headers).then(Caller::local).ok_or(AdminRefusal::WrongHost),
            Some(_) => self.by_token(headers).ok_or(AdminRefusal::Unauthorized),
        }
    }

    /// Who reads what is below `/v1` and `/console`: a browser with a session too.
    pub(super) fn reader(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Caller, AdminRefusal> {
        self.session(headers, now).map_or_else(|| self.caller(uri, headers), Ok)
    }

    /// Whose session of the console a request comes in.
    pub(super) fn session(&self, headers: &HeaderMap, now: Timestamp) -> Option<Caller> {
        self.sessions.as_ref()?.caller(&self.tokens.as_ref()?.borrow(), headers, now)
    }

    /// Begins a session for who knows a token: the value of `Set-Cookie`.
    pub(super) fn begin_session(&self, given: &str, now: Timestamp) -> Option<HeaderValue> {
        let tokens = self.tokens.as_ref()?.borrow();
        self.sessions.as_ref()?.begin(token::find(&tokens, given.as_bytes())?, now)
    }

    fn by_token(&self, headers: &HeaderMap) -> Option<Caller> {
        let tokens = self.tokens.as_ref()?.borrow();
        let credentials = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let bearer = credentials.and_then(|credentials| credentials.split_at_checked(SCHEME.len()));
        // The scheme may be written in any case; RFC 9110, section 11.1.
        let (_, given) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))?;
        token::find(&tokens, given).map(|token| token.caller.clone())
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
#[error(
    "expected TOLLGATE_ADMIN_TOKEN or TOLLGATE_ADMIN_TOKENS_FILE, since {address} can be reached by others, found neither"
)]
pub struct Unguarded {
    address: IpAddr,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::{
        super::token::{NamedToken, Role, Token, TokenHash},
        *,
    };

    const TOKEN: &str = "operators-only-0123456789";

    fn tokens() -> Tokens {
        watch::channel(Arc::from([Token::new(TOKEN).unwrap().of_admin()])).1
    }

    fn guard(address: &str, tokens: Option<Tokens>) -> Result<Guard, Unguarded> {
        Guard::new(address.parse().unwrap(), tokens, SessionKey::new(&[7; 32]))
    }

    #[test]
    fn an_address_that_others_can_reach_needs_a_token() {
        let check = |address: &str, token: bool, allowed: bool| {
            assert_eq!(guard(address, token.then(tokens)).is_ok(), allowed, "{address}");
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
        let guard = guard("10.0.0.1", Some(tokens())).unwrap();
        let check = |credentials: Option<String>, expected: bool| {
            let mut headers = HeaderMap::new();
            if let Some(credentials) = &credentials {
                headers.insert(AUTHORIZATION, credentials.parse().unwrap());
            }
            let expected = expected.then_some(Caller::ADMIN).ok_or(AdminRefusal::Unauthorized);
            let name = |caller: Result<Caller, AdminRefusal>| caller.map(|caller| caller.name.to_string());
            let expected = expected.map(ToOwned::to_owned);
            assert_eq!(name(guard.caller(&Uri::from_static("/"), &headers)), expected, "{credentials:?}");
            let reader = guard.reader_of_metrics(&Uri::from_static("/"), &headers);
            assert_eq!(name(reader), expected, "{credentials:?}");
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
        let (open, guarded) =
            (guard("127.0.0.1", None).unwrap(), guard("127.0.0.1", Some(tokens())).unwrap());
        let check = |uri: &str, hosts: &[&str], expected: bool| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, host.parse().unwrap());
            }
            let uri: Uri = uri.parse().unwrap();
            let expected = expected.then(Caller::local).ok_or(AdminRefusal::WrongHost);
            assert_eq!(open.caller(&uri, &headers), expected, "{uri} {hosts:?}");
            assert_eq!(open.reader_of_metrics(&uri, &headers), expected, "{uri} {hosts:?}");
            assert_eq!(guarded.reader_of_metrics(&uri, &headers), expected, "{uri} {hosts:?}");
            assert_eq!(guarded.caller(&uri, &headers), Err(AdminRefusal::Unauthorized));
            headers.insert(AUTHORIZATION, Token::new(TOKEN).unwrap().bearer());
            assert!(guarded.caller(&uri, &headers).is_ok(), "with the token any name will do");
            assert!(guarded.reader_of_metrics(&uri, &headers).is_ok());
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
    fn a_caller_is_whoever_the_token_names_as_long_as_it_holds() {
        let named = |name: &str, role, text: &str| NamedToken {
            hash: TokenHash::of(text.as_bytes()),
            caller: Caller { name: name.into(), role },
        };
        let alice = named("alice", Role::Viewer, "the-token-of-alice");
        let (publish, tokens) = watch::channel(Arc::from([named("bob", Role::Admin, "of-bob"), alice]));
        let guard = guard("10.0.0.1", Some(tokens)).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, Token::new("the-token-of-alice").unwrap().bearer());
        let caller = Caller { name: "alice".into(), role: Role::Viewer };
        assert_eq!(guard.caller(&Uri::from_static("/"), &headers), Ok(caller.clone()));
        let now = Timestamp::from_seconds(1_800_000_000);
        let cookie = guard.begin_session("the-token-of-alice", now).unwrap();
        assert!(guard.begin_session("another-token", now).is_none());
        let mut browser = HeaderMap::new();
        browser.insert(hyper::header::COOKIE, cookie);
        assert_eq!(guard.session(&browser, now), Some(caller));
        publish.send_replace(Arc::from([named("bob", Role::Admin, "of-bob")]));
        let refused = Err(AdminRefusal::Unauthorized);
        assert_eq!(guard.caller(&Uri::from_static("/"), &headers), refused);
        assert_eq!(guard.session(&browser, now), None);
        publish.send_replace(Arc::from([]));
        assert_eq!(
            guard.caller(&Uri::from_static("/"), &HeaderMap::new()),
            refused,
            "no token opens nothing"
        );
    }
}
