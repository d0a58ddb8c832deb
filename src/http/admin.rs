//! What operators are served: probes, metrics, and the admin API. What the ledger has is not known here: [`Books`] reads it.

mod shapes;
mod parameters;
mod routes;
mod change;
mod order;
mod policy;
mod trial;
mod query;
mod openapi;
mod browser;

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper::{
    Method, Request, StatusCode,
    body::{Body as _, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use serde::Serialize;
use tokio::sync::Semaphore;

use super::{
    bodies::{
        AuthorizationBody, BudgetBody, BudgetsBody, CardBody, CardholderBody, DecisionsBody, InForceBody,
        NodeBody, PoliciesBody, PolicyBody, ShadowBody, UnconfirmedListBody,
    },
    endpoints::EndpointsHere,
    guard::Guard,
    readiness::Readiness,
    reply::{With as _, error, json},
    server::{Reply, Respond},
    slow::{Slow, SlowBody},
    token::Caller,
};
use crate::{
    clock,
    cluster::{DecisionFilter, NotOperated, NotRecorded, Order, Place, PolicyChange, PolicyChanged, Target},
    domain::{Attribution, AuthorizationId, CardId, CardholderId},
    log::{self, Seldom},
    metrics::{AdminRefusal, Label as _, Labels as _, Metrics},
    trial::NotSet,
};
pub use openapi::{admin_api_page, openapi};
use order::budget_of;
pub use policy::{PolicyPort, ReadPolicy};
use query::{After, Search};
pub(super) use query::{Query, WrongQuery};
use routes::{Call, Found, ROUTES, Route};

/// The ledger, as the bodies of replies.
pub trait Books: Send + Sync + 'static {
    /// `GET /v1/cards/{id}`; nothing for a card that was never seen.
    fn card(&self, card: CardId) -> impl Future<Output = Result<Option<CardBody>, Unreadable>> + Send;

    /// `GET /v1/cardholders/{id}`; nothing for a cardholder of whom no event was ever seen.
    fn cardholder(
        &self,
        cardholder: CardholderId,
    ) -> impl Future<Output = Result<Option<CardholderBody>, Unreadable>> + Send;

    /// `GET /v1/authorizations/{id}`; nothing for an authorization that was never seen.
    fn authorization(
        &self,
        authorization: AuthorizationId,
    ) -> impl Future<Output = Result<Option<AuthorizationBody>, Unreadable>> + Send;

    /// `GET /v1/decisions`: at most `limit`, newest first, behind the place `cursor`.
    fn decisions(
        &self,
        filter: DecisionFilter,
        cursor: Option<Place>,
        limit: usize,
    ) -> impl Future<Output = Result<DecisionsBody, Unreadable>> + Send;

    /// `GET /v1/decisions?after=`: at most `limit`, oldest first, that were recorded later.
    fn decisions_after(
        &self,
        filter: DecisionFilter,
        after: Option<Place>,
        limit: usize,
    ) -> impl Future<Output = Result<DecisionsBody, Unreadable>> + Send;

    /// The authorization of a decision, an event, or a transaction; nothing if it is not among the newest entries that can be
    /// searched in two seconds.
    fn authorization_of(
        &self,
        id: String,
    ) -> impl Future<Output = Result<Option<AuthorizationId>, Unreadable>> + Send;

    /// `GET /v1/budgets`.
    fn budgets(&self) -> impl Future<Output = Result<BudgetsBody, Unreadable>> + Send;

    /// `GET /v1/budgets/{name}[/{key}]`; nothing for a name that the policy lacks.
    fn budget(
        &self,
        name: &str,
        key: Option<&str>,
    ) -> impl Future<Output = Result<Option<BudgetBody>, Unreadable>> + Send;

    /// Carries out what an operator asks for.
    fn operate(&self, target: &Target, order: Order) -> impl Future<Output = Result<(), NotOperated>> + Send;

    /// Records what an operator does with a policy.
    fn change_policy(
        &self,
        change: PolicyChange<'_>,
    ) -> impl Future<Output = Result<PolicyChanged, NotRecorded>> + Send;

    /// `GET /v1/policies`.
    fn policies(&self) -> impl Future<Output = Result<PoliciesBody, Unreadable>> + Send;

    /// `GET /v1/policies/{version}`; nothing for a version that was never in force.
    fn policy_version(
        &self,
        version: String,
    ) -> impl Future<Output = Result<Option<PolicyBody>, Unreadable>> + Send;

    /// `GET /v1/policy`.
    fn policy_in_force(&self) -> InForceBody;

    /// `GET /v1/shadow`.
    fn shadow(&self) -> impl Future<Output = Result<ShadowBody, Unreadable>> + Send;

    /// `PUT /v1/shadow`.
    fn set_shadow(
        &self,
        policy: Option<&str>,
        attribution: Attribution,
    ) -> impl Future<Output = Result<(), NotSet>> + Send;

    /// `GET /v1/unconfirmed`.
    fn unconfirmed(&self) -> UnconfirmedListBody;

    /// `GET /v1/node`.
    fn node(&self) -> impl Future<Output = NodeBody> + Send;
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
    policies: PolicyPort,
    endpoints: Arc<EndpointsHere>,
    /// Searches that may wait for what is recorded next.
    waiting: Semaphore,
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
        (slow, endpoints): (Arc<Slow>, Arc<EndpointsHere>),
        policies: PolicyPort,
    ) -> Self {
        let refused = AdminRefusal::WORDS.iter().map(|_| Seldom::default()).collect();
        let waiting = Semaphore::new(WAITING_MAX);
        Self { books, guard, readiness, metrics, slow, policies, endpoints, waiting, refused }
    }

    /// Replies to a GET or a HEAD on a route.
    async fn read(&self, route: &'static Route, parameter: &str, request: &Request<Incoming>) -> Reply {
        let (uri, headers) = (request.uri(), request.headers());
        let caller = match route.call {
            Call::Live | Call::Ready => None,
            Call::Metrics => Some(self.guard.reader_of_metrics(uri, headers)),
            Call::Decisions
            | Call::Authorization
            | Call::Card
            | Call::Cardholder
            | Call::Budgets
            | Call::Budget
            | Call::Operate(_)
            | Call::Unconfirmed
            | Call::Policy
            | Call::PutPolicy
            | Call::Policies
            | Call::PolicyVersion
            | Call::Shadow
            | Call::SetShadow
            | Call::Node
            | Call::Slow
            | Call::Webhooks
            | Call::Log
            | Call::SetLog
            | Call::OpenApi => Some(self.guard.reader(uri, headers, clock::now())),
        };
        match caller.transpose() {
            Ok(caller) => {
                if let Some(refused) = caller.and_then(|caller| self.refuse_role(route, &caller)) {
                    return refused;
                }
            }
            Err(refusal) => return self.refuse_caller(refusal),
        }
        let query = match Query::read(route.parameters, request.uri().query(), clock::now()) {
            Ok(query) => query,
            Err(_) if !route.path.starts_with("/v1/") => Query::default(),
            Err(wrong) => return self.wrong_query(&wrong),
        };
        match route.call {
            Call::Live => json(StatusCode::OK, r#"{"status":"live"}"#),
            Call::Ready => self.readiness.reply(),
            Call::Metrics => self.exported().await,
            Call::Webhooks => ok(&self.endpoints.body()),
            Call::Slow => ok(&SlowBody { slow: self.slow.list(clock::instant()) }),
            Call::Log | Call::SetLog => log_filter(),
            Call::OpenApi => json(StatusCode::OK, openapi()),
            Call::Decisions
            | Call::Authorization
            | Call::Card
            | Call::Cardholder
            | Call::Budgets
            | Call::Budget
            | Call::Operate(_)
            | Call::Unconfirmed
            | Call::Policy
            | Call::PutPolicy
            | Call::Policies
            | Call::PolicyVersion
            | Call::Shadow
            | Call::SetShadow
            | Call::Node => match self.books.get() {
                Some(books) => self.ask(books, route.call, parameter, &query).await,
                None => starting(),
            },
        }
    }

    /// Replies with what the ledger has.
    async fn ask(&self, books: &B, call: Call, parameter: &str, query: &Query) -> Reply {
        match call {
            Call::Decisions => match query.search() {
                Ok(search) => match self.search(books, search).await {
                    Ok(found) => ok(&found),
                    Err(unreadable) => self::unreadable(unreadable),
                },
                Err(wrong) => self.wrong_query(&wrong),
            },
            Call::Card => match CardId::new(parameter) {
                Some(card) => found(books.card(card).await, "card"),
                None => found::<CardBody>(Ok(None), "card"),
            },
            Call::Cardholder => match CardholderId::new(parameter) {
                Some(cardholder) => found(books.cardholder(cardholder).await, "cardholder"),
                None => found::<CardholderBody>(Ok(None), "cardholder"),
            },
            Call::Authorization => match AuthorizationId::new(parameter) {
                Some(authorization) => found(books.authorization(authorization).await, "authorization"),
                None => found::<AuthorizationBody>(Ok(None), "authorization"),
            },
            Call::Budgets => found(books.budgets().await.map(Some), "budget"),
            Call::Budget => {
                let (name, key) = budget_of(parameter);
                found(books.budget(name, key).await, "budget")
            }
            Call::PolicyVersion => found(books.policy_version(parameter.to_owned()).await, "policy"),
            Call::Policies => found(books.policies().await.map(Some), "policy"),
            Call::Policy => ok(&books.policy_in_force()),
            Call::Shadow => found(books.shadow().await.map(Some), "candidate"),
            Call::Unconfirmed => ok(&books.unconfirmed()),
            Call::Node => ok(&books.node().await),
            Call::Live
            | Call::Ready
            | Call::Metrics
            | Call::Operate(_)
            | Call::SetShadow
            | Call::Slow
            | Call::Webhooks
            | Call::Log
            | Call::SetLog
            | Call::PutPolicy
            | Call::OpenApi => self.unknown_path(),
        }
    }

    /// What a search finds; if it waits for something, at the latest when its time is over or the node drains.
    async fn search(&self, books: &B, search: Search) -> Result<DecisionsBody, Unreadable> {
        let Search { filter, cursor, limit, after, wait_seconds } = search;
        let mut after = match after {
            None => return books.decisions(filter, cursor, limit).await,
            Some(After::Now) => None,
            Some(After::Place(place)) => Some(place),
        };
        // Without a permit the reply leaves at once: the caller asks again.
        let permit = self.waiting.try_acquire();
        let wait = Duration::from_secs(if permit.is_ok() { wait_seconds } else { 0 });
        let started = clock::instant();
        loop {
            let found = books.decisions_after(filter.clone(), after, limit).await?;
            let place = found.next.as_deref().and_then(|next| next.parse().ok());
            let is_over = started.elapsed() >= wait || self.readiness.is_draining();
            if !found.decisions.is_empty() || is_over {
                return Ok(found);
            }
            if place == after {
                clock::sleep(LOOK_AGAIN).await;
            }
            after = place;
        }
    }

    fn wrong_query(&self, wrong: &WrongQuery) -> Reply {
        self.metrics.sockets.admin_refused.get(AdminRefusal::BadParameter).increment(1);
        error(StatusCode::BAD_REQUEST, "bad_parameter", &wrong.to_string())
    }

    /// Refuses a caller whose role is not enough for a route.
    fn refuse_role(&self, route: &Route, caller: &Caller) -> Option<Reply> {
        let needed = route.role.filter(|needed| caller.role < *needed)?;
        let message = format!(
            "expected a token with the role {} or a higher one, found that of {} with the role {}",
            needed.as_str(),
            caller.name,
            caller.role.as_str()
        );
        Some(self.refuse(AdminRefusal::Forbidden, &message))
    }

    /// Refuses a request whose sender is not known.
    fn refuse_caller(&self, refusal: AdminRefusal) -> Reply {
        let message = if refusal == AdminRefusal::WrongHost {
            "expected the Host 127.0.0.1, [::1] or localhost, since no token came with the request; a proxy in front has to \
             send one of them, or a token"
        } else {
            "expected the header `Authorization: Bearer …` with TOLLGATE_ADMIN_TOKEN or a token of \
             TOLLGATE_ADMIN_TOKENS_FILE"
        };
        self.refuse(refusal, message)
    }

    fn wrong_method(&self, allowed: &'static str) -> Reply {
        let message = format!("expected one of {allowed}, found another method");
        self.refuse(AdminRefusal::WrongMethod, &message).with(ALLOW, HeaderValue::from_static(allowed))
    }

    fn unknown_path(&self) -> Reply {
        let mut paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        paths.dedup();
        let message = format!("nothing is served here; there are /console, {}", paths.join(", "));
        self.refuse(AdminRefusal::UnknownPath, &message)
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
            AdminRefusal::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            AdminRefusal::WrongHost => (StatusCode::MISDIRECTED_REQUEST, "wrong_host"),
            AdminRefusal::UnknownPath => (StatusCode::NOT_FOUND, "not_found"),
            AdminRefusal::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            AdminRefusal::BadFilter => (StatusCode::BAD_REQUEST, "bad_filter"),
            AdminRefusal::BadParameter => (StatusCode::BAD_REQUEST, "bad_parameter"),
        };
        let reply = error(status, code, message);
        match refusal {
            AdminRefusal::Unauthorized => reply.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            AdminRefusal::Forbidden
            | AdminRefusal::WrongHost
            | AdminRefusal::UnknownPath
            | AdminRefusal::WrongMethod
            | AdminRefusal::BadFilter
            | AdminRefusal::BadParameter => reply,
        }
    }

    /// The text of all metrics. Writing a thousand series takes a while: not on a thread that answers Stripe.
    async fn rendered(&self) -> Option<String> {
        let metrics = Arc::clone(&self.metrics);
        tokio::task::spawn_blocking(move || metrics.render()).await.ok()
    }

    async fn exported(&self) -> Reply {
        match self.rendered().await {
            Some(text) => json(StatusCode::OK, text)
                .with(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8")),
            None => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics could not be written"),
        }
    }
}

impl<B: Books> Respond for Admin<B> {
    async fn respond(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        if is_below(&path, "/console") {
            return self.console(&path, request).await;
        }
        let reply = match routes::find(request.method().as_str(), &path) {
            Found::Route(route, parameter) if route.method != "GET" => {
                return self.change(route, parameter, request).await;
            }
            Found::Route(route, parameter) => self.read(route, parameter, &request).await,
            Found::Nothing if request.method() == Method::GET || request.method() == Method::HEAD => {
                match is_below(&path, "/v1").then(|| self.guard.caller(request.uri(), request.headers())) {
                    Some(Err(refusal)) => self.refuse_caller(refusal),
                    Some(Ok(_)) | None => self.unknown_path(),
                }
            }
            Found::Nothing => self.wrong_method("GET, HEAD"),
            Found::OtherMethod(allowed) => self.wrong_method(allowed),
        };
        if request.body().is_end_stream() { reply } else { reply.and_close() }
    }
}

/// How long a search that waits for something sleeps before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How many searches may wait at once.
const WAITING_MAX: usize = 64;

/// Whether a path is `start`, or below it.
fn is_below(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn ok(body: &impl Serialize) -> Reply {
    // Bodies of texts and numbers always have a JSON form.
    json(StatusCode::OK, serde_json::to_vec(body).unwrap_or_default())
}

fn found<T: Serialize>(found: Result<Option<T>, Unreadable>, kind: &str) -> Reply {
    match found {
        Ok(Some(body)) => ok(&body),
        Ok(None) => {
            let message = format!("no {kind} with this id was ever seen here");
            error(StatusCode::NOT_FOUND, "not_found", &message)
        }
        Err(cause) => unreadable(cause),
    }
}

fn unreadable(cause: Unreadable) -> Reply {
    error(StatusCode::SERVICE_UNAVAILABLE, "books_unreadable", &cause.to_string())
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
}

fn starting() -> Reply {
    error(StatusCode::SERVICE_UNAVAILABLE, "starting", "the node is starting; try again shortly")
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
}

fn log_filter() -> Reply {
    match log::filter() {
        Some(filter) => json(StatusCode::OK, serde_json::json!({"filter": filter.to_string()}).to_string()),
        None => error(StatusCode::NOT_FOUND, "not_found", "this process keeps no log"),
    }
}
