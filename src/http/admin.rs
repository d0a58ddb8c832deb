//! What operators are served: probes, metrics, and questions about cards and authorizations. What the books say is not
//! known here: [`Books`] writes it.

use std::{
    fmt,
    future::Future,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Body as _, Incoming},
    header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use sha2::Sha256;

use super::{
    body::{self, Unusable},
    reply::{With as _, error, json},
    server::{Reply, Respond},
    slow::Slow,
};
use crate::{
    clock,
    domain::{AuthorizationId, CardId},
    log,
    metrics::Metrics,
};

/// What the books say, as the body of a reply: JSON by the conventions of the room's replies.
pub trait Books: Send + Sync + 'static {
    /// `GET /v1/cards/{id}`; nothing where the card was never seen.
    fn card(&self, card: CardId) -> impl Future<Output = Result<Option<Vec<u8>>, Unreadable>> + Send;

    /// `GET /v1/authorizations/{id}`; nothing where the authorization was never seen.
    fn authorization(
        &self,
        authorization: AuthorizationId,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Unreadable>> + Send;

    /// `GET /v1/unconfirmed`.
    fn unconfirmed(&self) -> Vec<u8>;

    /// `GET /v1/node`.
    fn node(&self) -> Vec<u8>;
}

/// The books cannot be read now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the ledger cannot be read now; try again shortly")]
pub struct Unreadable;

/// Answers operators.
pub struct Admin<B> {
    books: B,
    guard: Guard,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    slow: Arc<Slow>,
}

impl<B: Books> Admin<B> {
    /// Lets `guard` decide who may ask `books`.
    pub fn new(books: B, guard: Guard, readiness: Readiness, metrics: Arc<Metrics>, slow: Arc<Slow>) -> Self {
        Self { books, guard, readiness, metrics, slow }
    }

    async fn route(&self, path: &str, headers: &HeaderMap) -> Reply {
        match path {
            "/livez" => json(StatusCode::OK, r#"{"status":"live"}"#),
            "/readyz" => self.readiness.reply(),
            "/metrics" if self.guard.lets_read_metrics(headers) => self.exported().await,
            "/metrics" => unauthorized(),
            _ => match path.strip_prefix("/v1").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                Some(_) if !self.guard.lets_in(headers) => unauthorized(),
                Some(rest) => self.ask(rest.strip_prefix('/').unwrap_or_default()).await,
                None => unknown_path(),
            },
        }
    }

    async fn ask(&self, question: &str) -> Reply {
        let (found, kind) = match question.split_once('/') {
            Some(("cards", id)) => match CardId::new(id) {
                Some(card) => (self.books.card(card).await, "card"),
                None => (Ok(None), "card"),
            },
            Some(("authorizations", id)) => match AuthorizationId::new(id) {
                Some(authorization) => (self.books.authorization(authorization).await, "authorization"),
                None => (Ok(None), "authorization"),
            },
            None if question == "unconfirmed" => return json(StatusCode::OK, self.books.unconfirmed()),
            None if question == "node" => return json(StatusCode::OK, self.books.node()),
            None if question == "slow" => {
                let slowest = serde_json::json!({"slow": self.slow.list(clock::instant())});
                return json(StatusCode::OK, slowest.to_string());
            }
            None if question == "log" => return log_filter(),
            _ => return unknown_path(),
        };
        match found {
            Ok(Some(body)) => json(StatusCode::OK, body),
            Ok(None) => {
                let message = format!("no {kind} with this id was ever seen here");
                error(StatusCode::NOT_FOUND, "not_found", &message)
            }
            Err(unreadable) => {
                error(StatusCode::SERVICE_UNAVAILABLE, "books_unreadable", &unreadable.to_string())
                    .with(RETRY_AFTER, HeaderValue::from_static("1"))
            }
        }
    }

    /// Puts the filter in the body in force, until the node ends or the next one comes.
    async fn change_log(&self, request: Request<Incoming>) -> Reply {
        if !self.guard.lets_in(request.headers()) {
            return unauthorized().and_close();
        }
        let body = match body::gather(request.into_body(), FILTER_BYTES_MAX).await {
            Ok(body) => body,
            Err(Unusable::TooLarge | Unusable::Late | Unusable::Broken) => {
                let message =
                    format!("expected a filter of at most {FILTER_BYTES_MAX} bytes as the body, at once");
                return error(StatusCode::BAD_REQUEST, "bad_filter", &message).and_close();
            }
        };
        match String::from_utf8_lossy(&body).trim().parse::<log::Filter>() {
            Ok(filter) if log::change(&filter) => {
                tracing::info!(%filter, "the log has another filter");
                log_filter()
            }
            Ok(_) => log_filter(),
            Err(not_a_filter) => error(StatusCode::BAD_REQUEST, "bad_filter", &not_a_filter.to_string()),
        }
    }

    async fn exported(&self) -> Reply {
        let metrics = Arc::clone(&self.metrics);
        // Writing a thousand series takes a while: not on a thread that answers Stripe.
        match tokio::task::spawn_blocking(move || metrics.render()).await {
            Ok(text) => json(StatusCode::OK, text)
                .with(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8")),
            Err(_) => {
                error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics could not be written")
            }
        }
    }
}

impl<B: Books> Respond for Admin<B> {
    async fn respond(&self, request: Request<Incoming>) -> Reply {
        let is_log = request.uri().path() == LOG_PATH;
        if is_log && request.method() == Method::PUT {
            return self.change_log(request).await;
        }
        let reply = if [Method::GET, Method::HEAD].contains(request.method()) {
            self.route(request.uri().path(), request.headers()).await
        } else {
            let allowed = if is_log { "GET, HEAD, PUT" } else { "GET, HEAD" };
            let message = format!("expected one of {allowed}, found another method");
            error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message)
                .with(ALLOW, HeaderValue::from_static(allowed))
        };
        if request.body().is_end_stream() { reply } else { reply.and_close() }
    }
}

/// Where the filter of the log is read, and changed.
const LOG_PATH: &str = "/v1/log";

/// Longer than any filter that somebody writes.
const FILTER_BYTES_MAX: usize = 1_024;

fn log_filter() -> Reply {
    match log::filter() {
        Some(filter) => json(StatusCode::OK, serde_json::json!({"filter": filter.to_string()}).to_string()),
        None => error(StatusCode::NOT_FOUND, "not_found", "this process keeps no log"),
    }
}

fn unknown_path() -> Reply {
    let message = "nothing is served here; there are /livez, /readyz, /metrics, /v1/cards/{id}, \
                   /v1/authorizations/{id}, /v1/unconfirmed, /v1/node, /v1/slow and /v1/log";
    error(StatusCode::NOT_FOUND, "not_found", message)
}

fn unauthorized() -> Reply {
    let message = "expected the header `Authorization: Bearer …` with TOLLGATE_ADMIN_TOKEN";
    error(StatusCode::UNAUTHORIZED, "unauthorized", message)
        .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// Who may read what.
///
/// Probes are open to all. `/v1` needs the token where there is one. `/metrics` tells how much a card programme spends
/// and declines: on an address that others can reach it needs the token too (a scraper sends it as `authorization`), on
/// a loopback address it does not.
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

    fn lets_read_metrics(&self, headers: &HeaderMap) -> bool {
        self.metrics_are_open || self.lets_in(headers)
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let credentials = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let bearer = credentials.and_then(|credentials| credentials.split_at_checked(SCHEME.len()));
        // The scheme may be written in any case; RFC 9110, section 11.1.
        bearer.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case(SCHEME) && token.is(given))
    }
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

/// Whether the node wants traffic. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Readiness {
    state: Arc<AtomicU8>,
    metrics: Arc<Metrics>,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;
const RESTORING: u8 = 3;

impl Readiness {
    /// A node that is still starting.
    #[must_use]
    pub fn starting(metrics: Arc<Metrics>) -> Self {
        Self { state: Arc::new(AtomicU8::new(STARTING)), metrics }
    }

    /// Traffic may come.
    pub fn ready(&self) {
        self.state.store(READY, Ordering::Release);
        self.metrics.node.ready.set(1.0);
    }

    /// Traffic should go elsewhere while the journal is given back what it lacks; or not any more.
    pub fn restoring(&self, is_restoring: bool) {
        let (before, after) = if is_restoring { (READY, RESTORING) } else { (RESTORING, READY) };
        // A node that drains goes on draining.
        let turned = self.state.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire);
        if turned.is_ok() {
            self.metrics.node.ready.set(if is_restoring { 0.0 } else { 1.0 });
        }
    }

    /// Traffic should go elsewhere.
    pub fn draining(&self) {
        self.state.store(DRAINING, Ordering::Release);
        self.metrics.node.ready.set(0.0);
    }

    fn reply(&self) -> Reply {
        match self.state.load(Ordering::Acquire) {
            READY => json(StatusCode::OK, r#"{"status":"ready"}"#),
            STARTING => json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"starting"}"#),
            RESTORING => json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"restoring"}"#),
            _ => json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#),
        }
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
            assert_eq!(guard.lets_in(&headers), expected, "{credentials:?}");
            assert_eq!(guard.lets_read_metrics(&headers), expected, "{credentials:?}");
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
    fn a_token_fits_a_header_and_is_never_shown() {
        assert!(Token::new("").is_none());
        assert!(Token::new("sixteen letters with\nline").is_none());
        assert!(!format!("{:?}", Token::new(TOKEN)).contains("operators"));
    }
}
