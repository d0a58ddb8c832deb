//! `POST /webhook`: from raw bytes to a reply. Verified before anything is read, read before anything is asked; who
//! decides, and by what, is behind the [`Desk`].

mod courier;
mod mode;

use std::{future::Future, sync::Arc, time::Duration};

use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Body as _, Incoming},
    header::{ALLOW, HeaderValue, RETRY_AFTER},
};

use super::{
    Settings,
    body::{self, Unusable},
    reply::{With as _, error, json},
    server::{Reply, Respond},
    slow::{DecisionTimes, Slow, StageTimes},
    spans::Spans,
    trace::TraceParent,
    vocabulary::UNREAD,
};
use crate::{
    clock::{self, Instant},
    cluster::{Arrival, Cluster, NotBooked, TimedAnswer},
    domain::{AuthorizationRequest, Observation, Outcome, Timestamp, Violation},
    log::Seldom,
    metrics::{Metrics, Route, SecretSlot, Stage, WebhookResult},
    stripe::{
        self, Incoming as Delivery, Kind, RECEIVED_BODY, Reading, SIGNATURE_HEADER, Unbooked, Verifier,
    },
};
use courier::Courier;
use mode::Mode;

/// Where questions are brought, and what happened.
pub trait Desk: Send + Sync + 'static {
    /// Answers a question before its deadline, whatever happens.
    fn answer(
        &self,
        request: AuthorizationRequest,
        arrival: Arrival,
    ) -> impl Future<Output = TimedAnswer> + Send;

    /// Books what Stripe says happened. Returns when it is durable.
    fn book(
        &self,
        observation: Observation,
        arrival: Arrival,
    ) -> impl Future<Output = Result<(), NotBooked>> + Send;

    /// What the policy in force wants read.
    fn reading(&self) -> Reading;
}

impl Desk for Cluster {
    async fn answer(&self, request: AuthorizationRequest, arrival: Arrival) -> TimedAnswer {
        Self::answer(self, request, arrival).await
    }

    async fn book(&self, observation: Observation, arrival: Arrival) -> Result<(), NotBooked> {
        Self::book(self, observation, arrival).await
    }

    fn reading(&self) -> Reading {
        Reading { mirror_stripe_controls: self.mirrors_stripe_controls() }
    }
}

/// The one path that Stripe knows.
const PATH: &str = "/webhook";

/// How long Stripe may wait before it delivers again; it takes longer anyway.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Answers Stripe.
pub struct Webhook<D> {
    desk: D,
    verifier: Verifier,
    metrics: Arc<Metrics>,
    answer_within: Duration,
    body_bytes_max: usize,
    mode: Mode,
    courier: Courier,
    slow: Arc<Slow>,
    spans: Option<Spans>,
    odd: Seldom,
}

/// What became of one request, for the reply and for the metrics.
struct Ending {
    event: &'static str,
    result: WebhookResult,
    reply: Reply,
}

impl<D: Desk> Respond for Webhook<D> {
    async fn respond(&self, request: Request<Incoming>) -> Reply {
        let _in_flight = InFlight::enter(&self.metrics);
        let received = clock::instant();
        let ending = self.ending(request, received).await;
        self.metrics.webhook.requests.get([ending.event, ending.result.as_str()]).increment(1);
        ending.reply
    }
}

impl<D: Desk> Webhook<D> {
    /// A webhook that believes what `verifier` does, asks `desk`, and tells `metrics`, `slow` and `spans`.
    pub fn new(
        desk: D,
        verifier: Verifier,
        metrics: Arc<Metrics>,
        slow: Arc<Slow>,
        spans: Option<Spans>,
        settings: &Settings,
        stripe: &stripe::Settings,
    ) -> Self {
        let courier = Courier::new(stripe, Arc::clone(&metrics));
        Self {
            desk,
            verifier,
            metrics,
            answer_within: settings.answer_within,
            body_bytes_max: settings.body_bytes_max,
            mode: Mode::new(settings.livemode),
            courier,
            slow,
            spans,
            odd: Seldom::default(),
        }
    }

    async fn ending(&self, request: Request<Incoming>, received: Instant) -> Ending {
        let received_at = clock::now();
        if let Some(ending) = self.misdirected(&request) {
            return ending;
        }
        let (head, body) = request.into_parts();
        let body = match body::gather(body, self.body_bytes_max).await {
            Ok(body) => body,
            Err(unusable) => return self.unusable(unusable),
        };
        self.metrics.webhook.body_bytes.record(f64::from(u32::try_from(body.len()).unwrap_or(u32::MAX)));
        let gathered = clock::instant();
        if let Some(ending) = self.unbelieved(&head.headers, &body, received_at) {
            return ending;
        }
        let verified = clock::instant();
        let delivery = match stripe::read(&body, received_at, self.desk.reading()) {
            Ok(delivery) => delivery,
            Err(malformed) => return self.malformed(malformed, received_at),
        };
        let trace = TraceParent::of(&head.headers);
        // What waits for its answer from here on does so without the bytes.
        drop((head, body));
        let parsed = clock::instant();
        let arrival = Arrival {
            received,
            deadline: received.checked_add(self.answer_within).unwrap_or(received),
            verify_us: micros(verified.saturating_duration_since(gathered)),
            parse_us: micros(parsed.saturating_duration_since(verified)),
        };
        let stages = &self.metrics.decisions.stages;
        stages.get(Stage::Verify).record(verified.saturating_duration_since(gathered));
        stages.get(Stage::Parse).record(parsed.saturating_duration_since(verified));
        let event = delivery.kind().as_str();
        if let Some(ending) = self.misplaced(event, &delivery, received_at) {
            return ending;
        }
        match delivery {
            Delivery::Request(request) => self.answer(*request, arrival, trace).await,
            Delivery::Observation(observation) => self.book(event, *observation, arrival, trace).await,
            Delivery::Acknowledged { kind, cause, .. } => self.acknowledge(kind, cause, received_at),
        }
    }

    /// What goes to another path or comes by another method. Its body is not read.
    fn misdirected(&self, request: &Request<Incoming>) -> Option<Ending> {
        let (result, reply) = if request.uri().path() != PATH {
            let message = "nothing is served here; the webhook is POST /webhook";
            (WebhookResult::NotFound, error(StatusCode::NOT_FOUND, "not_found", message))
        } else if request.method() != Method::POST {
            let message = "expected a POST, found another method";
            let reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
            (WebhookResult::MethodNotAllowed, reply.with(ALLOW, HeaderValue::from_static("POST")))
        } else if body::declared(request.body()).is_some_and(|bytes| bytes > self.body_bytes_max) {
            return Some(self.unusable(Unusable::TooLarge));
        } else {
            return None;
        };
        let reply = if request.body().is_end_stream() { reply } else { reply.and_close() };
        Some(Ending { event: UNREAD, result, reply })
    }

    fn unusable(&self, unusable: Unusable) -> Ending {
        let (result, status, code) = match unusable {
            Unusable::TooLarge => (WebhookResult::TooLarge, StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Unusable::Late => (WebhookResult::BodyLate, StatusCode::REQUEST_TIMEOUT, "body_late"),
            Unusable::Broken => (WebhookResult::BodyBroken, StatusCode::BAD_REQUEST, "body_broken"),
        };
        let message = match unusable {
            Unusable::TooLarge => {
                &format!("expected a body of at most {} bytes, found more", self.body_bytes_max)
            }
            Unusable::Late => "the body did not arrive in time; send it at once",
            Unusable::Broken => "the body ended early, or is not framed as HTTP/1.1 wants it",
        };
        Ending { event: UNREAD, result, reply: error(status, code, message).and_close() }
    }

    /// Turns away what nobody with a secret has signed.
    fn unbelieved(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Option<Ending> {
        let lines = headers.get_all(SIGNATURE_HEADER).into_iter().map(HeaderValue::as_bytes);
        let header = stripe::join_headers(lines);
        let cause = match self.verifier.verify(header.as_deref(), body, now) {
            Ok(slot) => {
                self.metrics.webhook.secrets_used.get(SecretSlot::at(slot.0)).increment(1);
                return None;
            }
            Err(cause) => cause,
        };
        self.metrics.webhook.signature_failures.get([cause.as_str()]).increment(1);
        if let Some(held_back) = self.odd.turn(now) {
            tracing::warn!(
                cause = cause.as_str(),
                held_back,
                "turned away a request without a valid signature: {cause}; compare STRIPE_WEBHOOK_SECRET with the \
                 endpoint's signing secret in Stripe's dashboard"
            );
        }
        let reply = error(StatusCode::BAD_REQUEST, "bad_signature", &cause.to_string());
        Some(Ending { event: UNREAD, result: WebhookResult::BadSignature, reply })
    }

    /// Turns away test money from a live node, and real money from a test node.
    fn misplaced(&self, event: &'static str, delivery: &Delivery, now: Timestamp) -> Option<Ending> {
        let livemode = match delivery {
            Delivery::Request(request) => request.livemode,
            Delivery::Observation(observation) => observation.livemode,
            Delivery::Acknowledged { .. } => return None,
        };
        if self.mode.admits(livemode) {
            return None;
        }
        let (found, expected) = if livemode { ("live", "test") } else { ("test", "live") };
        if let Some(held_back) = self.odd.turn(now) {
            tracing::warn!(
                kind = event,
                held_back,
                "refused a {found} event at a node of {expected} events: compare TOLLGATE_LIVEMODE with the endpoint"
            );
        }
        let message = format!("expected {expected} events, found a {found} event; see TOLLGATE_LIVEMODE");
        let reply = error(StatusCode::BAD_REQUEST, "wrong_mode", &message);
        Some(Ending { event, result: WebhookResult::WrongMode, reply })
    }

    fn malformed(&self, cause: stripe::Malformed, now: Timestamp) -> Ending {
        self.metrics.webhook.malformed.get([cause.as_str()]).increment(1);
        if let Some(held_back) = self.odd.turn(now) {
            tracing::warn!(
                cause = cause.as_str(),
                held_back,
                "refused a signed body that is no event: {cause}; look at what the endpoint is subscribed to"
            );
        }
        let reply = error(StatusCode::BAD_REQUEST, "malformed", &cause.to_string());
        Ending { event: UNREAD, result: WebhookResult::Malformed, reply }
    }

    async fn answer(
        &self,
        request: AuthorizationRequest,
        arrival: Arrival,
        trace: Option<TraceParent>,
    ) -> Ending {
        if let Some(violation) = violation(&request) {
            self.violated(&request, violation);
        }
        let at = request.received_at;
        let (event, authorization) = (request.event.clone(), request.authorization.clone());
        let (card, account) = (request.card.clone(), request.connected_account.clone());
        let timed = self.desk.answer(request, arrival).await;
        let answer = timed.answer;
        let answered = clock::instant();
        let reply = self.courier.reply(&answer, &authorization, account.as_ref(), arrival.deadline).await;
        let replied = clock::instant();
        let taken = replied.saturating_duration_since(arrival.received);
        let respond = replied.saturating_duration_since(answered);
        let decisions = &self.metrics.decisions;
        decisions.stages.get(Stage::Respond).record(respond);
        decisions.duration.get([answer.outcome.as_str(), Route::Local.as_str()]).record(taken);
        let stages = stage_times(&timed, arrival, respond);
        let ids = (&event, &authorization, card.as_ref());
        let written = || DecisionTimes::new(&timed, ids, at, (micros(taken), stages), trace);
        self.slow.tell(micros(taken), replied, written);
        if let (Some(spans), Some(trace)) = (&self.spans, trace) {
            spans.tell(trace, written);
        }
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    decision = %answer.decision,
                    %event,
                    %authorization,
                    card = card.as_ref().map(tracing::field::display),
                    outcome = answer.outcome.as_str(),
                    reason = answer.reason.as_str(),
                    source = answer.source.as_str(),
                    amount = answer.amount,
                    answer_by = answer.by.as_str(),
                    taken_us = micros(taken),
                    verify_us = stages.verify,
                    parse_us = stages.parse,
                    route_us = stages.route,
                    queue_us = stages.queue,
                    decide_us = stages.decide,
                    commit_us = stages.commit,
                    respond_us = stages.respond,
                    trace_id = trace.map(tracing::field::display),
                    "answered"
                )
            };
        }
        match answer.outcome {
            Outcome::Declined => tell!(info),
            Outcome::Approved | Outcome::Partial => tell!(debug),
        }
        Ending { event: Kind::AuthorizationRequest.as_str(), result: WebhookResult::Answered, reply }
    }

    fn violated(&self, request: &AuthorizationRequest, violation: Violation) {
        self.metrics.webhook.violations.get([violation.as_str()]).increment(1);
        if let Some(held_back) = self.odd.turn(request.received_at) {
            tracing::warn!(
                event = %request.event,
                authorization = %request.authorization,
                violation = violation.as_str(),
                held_back,
                "declining a request that breaks the contract: {violation}"
            );
        }
    }

    async fn book(
        &self,
        event: &'static str,
        observation: Observation,
        arrival: Arrival,
        trace: Option<TraceParent>,
    ) -> Ending {
        let trace_id = trace.map(tracing::field::display);
        let (id, subject) = (observation.event.clone(), observation.subject.clone());
        match self.desk.book(observation, arrival).await {
            Ok(()) => {
                tracing::debug!(event = %id, %subject, kind = event, trace_id, "booked");
                Ending { event, result: WebhookResult::Booked, reply: json(StatusCode::OK, RECEIVED_BODY) }
            }
            Err(wrong @ NotBooked::WrongAccount) => {
                let reply = error(StatusCode::BAD_REQUEST, "wrong_account", &wrong.to_string());
                Ending { event, result: WebhookResult::WrongAccount, reply }
            }
            Err(not_booked @ NotBooked::Now(_)) => {
                tracing::warn!(event = %id, %subject, kind = event, trace_id, "not booked; Stripe delivers it again");
                let reply = error(StatusCode::SERVICE_UNAVAILABLE, "not_booked", &not_booked.to_string())
                    .with(RETRY_AFTER, RETRY_AFTER_SECONDS);
                Ending { event, result: WebhookResult::NotBooked, reply }
            }
        }
    }

    fn acknowledge(&self, kind: Kind, cause: Unbooked, now: Timestamp) -> Ending {
        self.metrics.webhook.unbooked.get([cause.as_str()]).increment(1);
        if cause.is_loss()
            && let Some(held_back) = self.odd.turn(now)
        {
            tracing::warn!(
                kind = kind.as_str(),
                cause = cause.as_str(),
                held_back,
                "acknowledged an event that should be in the books and cannot be: {cause}"
            );
        }
        let reply = json(StatusCode::OK, RECEIVED_BODY);
        Ending { event: kind.as_str(), result: WebhookResult::Acknowledged, reply }
    }
}

/// How a request breaks the contract, if it does.
fn violation(request: &AuthorizationRequest) -> Option<Violation> {
    request.asked.err().or(if request.card.is_none() { Some(Violation::NoCard) } else { None })
}

/// How long each part of the walk took. Where no decision was taken now, only the parts on this side of it are known.
fn stage_times(timed: &TimedAnswer, arrival: Arrival, respond: Duration) -> StageTimes {
    StageTimes {
        verify: arrival.verify_us,
        parse: arrival.parse_us,
        route: timed.stages.route_us,
        queue: timed.stages.queue_us,
        decide: timed.stages.decide_us,
        commit: timed.commit_us,
        respond: micros(respond),
    }
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

/// Counts a request as long as it is being answered, also when its client goes away.
struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    fn enter(metrics: &'a Metrics) -> Self {
        metrics.webhook.in_flight.increment(1.0);
        Self(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.webhook.in_flight.decrement(1.0);
    }
}
