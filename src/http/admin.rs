//! What operators are served: probes, metrics, and questions about cards and authorizations. What the books say is not
//! known here: [`Books`] writes it.

use std::{
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use hyper::{
    Method, Request, StatusCode,
    body::{Body as _, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::{
    body::{self, Unusable},
    guard::Guard,
    reply::{With as _, error, json},
    server::{Reply, Respond},
    slow::Slow,
};
use crate::{
    clock,
    domain::{AuthorizationId, CardId, CardholderId},
    log::{self, Seldom},
    metrics::{AdminRefusal, Label as _, Labels as _, Metrics},
};

/// What the books say, as the body of a reply: JSON by the conventions of the room's replies.
pub trait Books: Send + Sync + 'static {
    /// `GET /v1/cards/{id}`; nothing where the card was never seen.
    fn card(&self, card: CardId) -> impl Future<Output = Result<Option<Vec<u8>>, Unreadable>> + Send;

    /// `GET /v1/cardholders/{id}`; nothing where no event of the cardholder was ever seen.
    fn cardholder(
        &self,
        cardholder: CardholderId,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Unreadable>> + Send;

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
    books: Arc<OnceLock<B>>,
    guard: Guard,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    slow: Arc<Slow>,
    /// The log's word on each cause of a refusal.
    refused: Vec<Seldom>,
}

impl<B: Books> Admin<B> {
    /// Lets `guard` decide who may ask `books`. Until they are there, only what needs none of them is answered.
    pub fn new(
        books: Arc<OnceLock<B>>,
        guard: Guard,
        readiness: Readiness,
        metrics: Arc<Metrics>,
        slow: Arc<Slow>,
    ) -> Self {
        let refused = AdminRefusal::WORDS.iter().map(|_| Seldom::default()).collect();
        Self { books, guard, readiness, metrics, slow, refused }
    }

    async fn route(&self, request: &Request<Incoming>) -> Reply {
        let path = request.uri().path();
        let questions = path.strip_prefix("/v1").filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match (path, questions) {
            ("/livez", _) => json(StatusCode::OK, r#"{"status":"live"}"#),
            ("/readyz", _) => self.readiness.reply(),
            ("/metrics", _) => match self.guard.lets_read_metrics(request.uri(), request.headers()) {
                Ok(()) => self.exported().await,
                Err(refusal) => self.refuse(refusal, &refusal_of_caller(refusal)),
            },
            (_, Some(rest)) => match self.guard.lets_in(request.uri(), request.headers()) {
                Ok(()) => self.ask(rest.strip_prefix('/').unwrap_or_default()).await,
                Err(refusal) => self.refuse(refusal, &refusal_of_caller(refusal)),
            },
            (_, None) => self.unknown_path(),
        }
    }

    async fn ask(&self, question: &str) -> Reply {
        match question {
            "slow" => {
                let slowest = serde_json::json!({"slow": self.slow.list(clock::instant())});
                return json(StatusCode::OK, slowest.to_string());
            }
            "log" => return log_filter(),
            _ => {}
        }
        let Some(books) = self.books.get() else {
            return error(
                StatusCode::SERVICE_UNAVAILABLE,
                "starting",
                "the node is starting; try again shortly",
            )
            .with(RETRY_AFTER, HeaderValue::from_static("1"));
        };
        let (found, kind) = match question.split_once('/') {
            Some(("cards", id)) => match CardId::new(id) {
                Some(card) => (books.card(card).await, "card"),
                None => (Ok(None), "card"),
            },
            Some(("cardholders", id)) => match CardholderId::new(id) {
                Some(cardholder) => (books.cardholder(cardholder).await, "cardholder"),
                None => (Ok(None), "cardholder"),
            },
            Some(("authorizations", id)) => match AuthorizationId::new(id) {
                Some(authorization) => (books.authorization(authorization).await, "authorization"),
                None => (Ok(None), "authorization"),
            },
            None if question == "unconfirmed" => return json(StatusCode::OK, books.unconfirmed()),
            None if question == "node" => return json(StatusCode::OK, books.node()),
            _ => return self.unknown_path(),
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
        if let Err(refusal) = self.guard.lets_in(request.uri(), request.headers()) {
            return self.refuse(refusal, &refusal_of_caller(refusal)).and_close();
        }
        let body = match body::gather(request.into_body(), FILTER_BYTES_MAX).await {
            Ok(body) => body,
            Err(Unusable::TooLarge | Unusable::Late | Unusable::Broken) => {
                let message =
                    format!("expected a filter of at most {FILTER_BYTES_MAX} bytes as the body, at once");
                return self.refuse(AdminRefusal::BadFilter, &message).and_close();
            }
        };
        match String::from_utf8_lossy(&body).trim().parse::<log::Filter>() {
            Ok(filter) => {
                // Before it changes: the next filter may let nothing through, this line included.
                if let Some(before) = log::filter() {
                    tracing::warn!(%before, after = %filter, "the filter of the log is about to change");
                }
                if log::change(&filter) {
                    tracing::info!(%filter, "the log has another filter");
                }
                log_filter()
            }
            Err(not_a_filter) => self.refuse(AdminRefusal::BadFilter, &not_a_filter.to_string()),
        }
    }

    fn unknown_path(&self) -> Reply {
        let message = "nothing is served here; there are /livez, /readyz, /metrics, /v1/cards/{id}, \
                       /v1/cardholders/{id}, /v1/authorizations/{id}, /v1/unconfirmed, /v1/node, /v1/slow and /v1/log";
        self.refuse(AdminRefusal::UnknownPath, message)
    }

    /// Counts a refusal, logs it, and makes its reply. What the caller sent is not repeated.
    fn refuse(&self, refusal: AdminRefusal, message: &str) -> Reply {
        self.metrics.sockets.admin_refused.get(refusal).increment(1);
        if let Some(held_back) =
            self.refused.get(refusal.index()).and_then(|seldom| seldom.turn(clock::now()))
        {
            tracing::warn!(
                cause = refusal.as_str(),
                held_back,
                "refused a request to the admin port: {message}"
            );
        }
        let (status, code) = match refusal {
            AdminRefusal::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            AdminRefusal::WrongHost => (StatusCode::MISDIRECTED_REQUEST, "wrong_host"),
            AdminRefusal::UnknownPath => (StatusCode::NOT_FOUND, "not_found"),
            AdminRefusal::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            AdminRefusal::BadFilter => (StatusCode::BAD_REQUEST, "bad_filter"),
        };
        let reply = error(status, code, message);
        match refusal {
            AdminRefusal::Unauthorized => reply.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            AdminRefusal::WrongHost
            | AdminRefusal::UnknownPath
            | AdminRefusal::WrongMethod
            | AdminRefusal::BadFilter => reply,
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
            self.route(&request).await
        } else {
            let allowed = if is_log { "GET, HEAD, PUT" } else { "GET, HEAD" };
            let message = format!("expected one of {allowed}, found another method");
            self.refuse(AdminRefusal::WrongMethod, &message).with(ALLOW, HeaderValue::from_static(allowed))
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

fn refusal_of_caller(refusal: AdminRefusal) -> String {
    match refusal {
        AdminRefusal::WrongHost => {
            "expected the Host 127.0.0.1, [::1] or localhost, since no TOLLGATE_ADMIN_TOKEN came \
                                    with the request; a proxy in front has to send one of them, or the token"
                .to_owned()
        }
        AdminRefusal::Unauthorized
        | AdminRefusal::UnknownPath
        | AdminRefusal::WrongMethod
        | AdminRefusal::BadFilter => {
            "expected the header `Authorization: Bearer …` with TOLLGATE_ADMIN_TOKEN".to_owned()
        }
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
