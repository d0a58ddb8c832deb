//! `POST /webhook`: from raw bytes to a reply. Verified before anything is read, read before anything is asked; who
//! decides, and by what, is behind the [`Desk`].

mod courier;
mod door;
mod mode;
mod peer;
mod refusals;

use std::{future::Future, sync::Arc, time::Duration};

use hyper::{
    Request, StatusCode,
    body::Incoming,
    header::{HeaderValue, RETRY_AFTER},
};

use super::{
    Settings,
    reply::{With as _, error, json},
    server::{Reply, Respond},
    slow::{DecisionTimes, Slow, StageTimes},
    spans::Spans,
    trace::TraceParent,
};
use crate::{
    clock::{self, Instant},
    cluster::{Arrival, Cause, Claim, Cluster, NotBooked, Sealed, TimedAnswer},
    domain::{Answer, AuthorizationRequest, EventId, Observation, Outcome, Timestamp, Violation},
    log::Seldom,
    metrics::{Metrics, Refusal, Route, Stage, WebhookResult},
    stripe::{self, Incoming as Delivery, Kind, RECEIVED_BODY, Reading, Unbooked, Verifier},
};
use courier::Courier;
use door::{Admitted, Door, Ending, micros};
use mode::Mode;
pub use peer::PeerDoor;
use refusals::{Known, Refusals};

/// Where questions are brought, and what happened.
pub trait Desk: Send + Sync + 'static {
    /// Answers a question before its deadline, whatever happens. `sealed` is the request as it came, for a desk that
    /// asks another.
    fn answer(
        &self,
        request: Arc<AuthorizationRequest>,
        arrival: Arrival,
        sealed: Sealed,
    ) -> impl Future<Output = (TimedAnswer, Route)> + Send;

    /// Books what Stripe says happened. Returns when it is durable.
    fn book(
        &self,
        observation: Observation,
        arrival: Arrival,
        sealed: Sealed,
    ) -> impl Future<Output = Result<(), NotBooked>> + Send;

    /// Answers what another node was asked, or says why not: standing in is for the other one.
    fn answer_peer(
        &self,
        request: Arc<AuthorizationRequest>,
        arrival: Arrival,
    ) -> impl Future<Output = Result<TimedAnswer, Cause>> + Send;

    /// Books what another node was told.
    fn book_peer(
        &self,
        observation: Observation,
        arrival: Arrival,
    ) -> impl Future<Output = Result<(), NotBooked>> + Send;

    /// What another node is about to answer, for the arbiter of the account: the answer that it was told first.
    fn agree(&self, claim: Claim) -> Answer;

    /// What the policy in force wants read.
    fn reading(&self) -> Reading;
}

impl Desk for Cluster {
    async fn answer(
        &self,
        request: Arc<AuthorizationRequest>,
        arrival: Arrival,
        sealed: Sealed,
    ) -> (TimedAnswer, Route) {
        Self::answer(self, request, arrival, sealed).await
    }

    async fn book(
        &self,
        observation: Observation,
        arrival: Arrival,
        sealed: Sealed,
    ) -> Result<(), NotBooked> {
        Self::book(self, observation, arrival, sealed).await
    }

    async fn answer_peer(
        &self,
        request: Arc<AuthorizationRequest>,
        arrival: Arrival,
    ) -> Result<TimedAnswer, Cause> {
        Self::answer_peer(self, request, arrival).await
    }

    async fn book_peer(&self, observation: Observation, arrival: Arrival) -> Result<(), NotBooked> {
        Self::book_peer(self, observation, arrival).await
    }

    fn agree(&self, claim: Claim) -> Answer {
        Self::agree(self, claim)
    }

    fn reading(&self) -> Reading {
        let policy = self.policy();
        Reading {
            mirror_stripe_controls: policy.mirrors_stripe_controls(),
            metadata: self.trials().metadata(policy.metadata()),
            has_budgets: !policy.budgets().is_empty(),
            ..Reading::default()
        }
    }
}

/// How long Stripe may wait before it delivers again; it takes longer anyway.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Answers Stripe.
pub struct Webhook<D> {
    desk: D,
    door: Arc<Door>,
    metrics: Arc<Metrics>,
    answer_within: Duration,
    courier: Courier,
    slow: Arc<Slow>,
    spans: Option<Spans>,
    violations: Seldom,
    lost: Seldom,
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
        let door = Arc::new(Door {
            verifier,
            metrics: Arc::clone(&metrics),
            body_bytes_max: settings.body_bytes_max,
            mode: Mode::new(settings.livemode),
            refusals: Refusals::new(Arc::clone(&metrics)),
            merchant_names: stripe.merchant_names,
        });
        Self {
            desk,
            door,
            metrics,
            answer_within: settings.answer_within,
            courier,
            slow,
            spans,
            violations: Seldom::default(),
            lost: Seldom::default(),
        }
    }

    /// The same desk behind the same door, for other nodes.
    #[must_use]
    pub fn for_peers(&self) -> PeerDoor<D>
    where
        D: Clone,
    {
        PeerDoor::new(self.desk.clone(), Arc::clone(&self.door), self.answer_within)
    }

    async fn ending(&self, request: Request<Incoming>, received: Instant) -> Ending {
        let admitted = self.door.admit(request, received, self.answer_within, self.desk.reading()).await;
        let Admitted { delivery, arrival, trace, sealed } = match admitted {
            Ok(admitted) => admitted,
            Err(ending) => return ending,
        };
        let event = delivery.kind().as_str();
        match delivery {
            Delivery::Request(request) => self.answer(request.into(), arrival, trace, sealed).await,
            Delivery::Observation(observation) => {
                self.book(event, *observation, arrival, trace, sealed).await
            }
            Delivery::Acknowledged { event, kind, cause } => {
                self.acknowledge(event.as_ref(), kind, cause, sealed.received_at)
            }
        }
    }

    async fn answer(
        &self,
        request: Arc<AuthorizationRequest>,
        arrival: Arrival,
        trace: Option<TraceParent>,
        sealed: Sealed,
    ) -> Ending {
        if let Some(violation) = violation(&request) {
            self.violated(&request, violation);
        }
        let (timed, route) = self.desk.answer(Arc::clone(&request), arrival, sealed).await;
        let AuthorizationRequest { event, authorization, card, connected_account: account, .. } = &*request;
        let answer = &timed.answer;
        let answered = clock::instant();
        let reply = self.courier.reply(answer, authorization, account.as_ref(), arrival.deadline).await;
        let replied = clock::instant();
        let taken = replied.saturating_duration_since(arrival.received);
        let respond = replied.saturating_duration_since(answered);
        let decisions = &self.metrics.decisions;
        decisions.stages.get(Stage::Respond).record(respond);
        decisions.duration.get([answer.outcome.as_str(), route.as_str()]).record(taken);
        let stages = stage_times(&timed, arrival, respond);
        let ids = (event, authorization, card.as_ref());
        let written = || DecisionTimes::new(&timed, ids, request.received_at, (micros(taken), stages), trace);
        self.slow.tell(micros(taken), replied, written);
        if let (Some(spans), Some(trace)) = (&self.spans, trace) {
            spans.tell(trace, written);
        }
        if let Some(marks) = answer.marks.as_ref().filter(|marks| !marks.flags.is_empty()) {
            decisions.flags.increment(1);
            let flags = marks.flags.join(", ");
            tracing::warn!(decision = %answer.decision, %authorization, flags, "flagged by rules of the policy");
        }
        log_answer(&request, answer, route, (micros(taken), stages), trace);
        Ending { event: Kind::AuthorizationRequest.as_str(), result: WebhookResult::Answered, reply }
    }

    fn violated(&self, request: &AuthorizationRequest, violation: Violation) {
        self.metrics.webhook.violations.get([violation.as_str()]).increment(1);
        if let Some(held_back) = self.violations.turn(request.received_at) {
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
        sealed: Sealed,
    ) -> Ending {
        let trace_id = trace.map(tracing::field::display);
        let received_at = sealed.received_at;
        let (id, subject) = (observation.event.clone(), observation.subject.clone());
        match self.desk.book(observation, arrival, sealed).await {
            Ok(()) => {
                tracing::debug!(event = %id, %subject, kind = event, trace_id, "booked");
                Ending { event, result: WebhookResult::Booked, reply: json(StatusCode::OK, RECEIVED_BODY) }
            }
            Err(wrong @ NotBooked::WrongAccount) => {
                let known = Known { event: Some(&id), kind: Some(event), is_verified: true };
                self.door.refusals.signed(Refusal::WrongAccount, &known, received_at, &wrong.to_string());
                let reply = error(StatusCode::BAD_REQUEST, "wrong_account", &wrong.to_string());
                Ending { event, result: WebhookResult::WrongAccount, reply }
            }
            Err(not_booked @ NotBooked::Now(_)) => {
                tracing::warn!(event = %id, %subject, kind = event, trace_id, "not recorded; Stripe delivers it again");
                let reply = error(StatusCode::SERVICE_UNAVAILABLE, "not_booked", &not_booked.to_string())
                    .with(RETRY_AFTER, RETRY_AFTER_SECONDS);
                Ending { event, result: WebhookResult::NotBooked, reply }
            }
        }
    }

    fn acknowledge(&self, id: Option<&EventId>, kind: Kind, cause: Unbooked, now: Timestamp) -> Ending {
        self.metrics.webhook.unbooked.get([cause.as_str()]).increment(1);
        witnessed(kind, id);
        if cause.is_loss()
            && let Some(held_back) = self.lost.turn(now)
        {
            tracing::warn!(
                event = id.map(tracing::field::display),
                kind = kind.as_str(),
                cause = cause.as_str(),
                held_back,
                "acknowledged an event that cannot be recorded: {cause}"
            );
        }
        let reply = json(StatusCode::OK, RECEIVED_BODY);
        Ending { event: kind.as_str(), result: WebhookResult::Acknowledged, reply }
    }
}

/// Says what Stripe has seen of our answers: an outside witness, also of answers that never arrived.
fn witnessed(kind: Kind, id: Option<&EventId>) {
    let event = id.map(tracing::field::display);
    match kind {
        Kind::HealthTimeoutFiring | Kind::HealthErrorsFiring => {
            tracing::warn!(event, kind = kind.as_str(), "Stripe reports that it decides without our answers");
        }
        Kind::HealthTimeoutResolved | Kind::HealthErrorsResolved => {
            tracing::info!(event, kind = kind.as_str(), "Stripe reports that it gets our answers again");
        }
        Kind::EventGenerationFailure => tracing::warn!(
            event,
            kind = kind.as_str(),
            "Stripe reports an event that will never come: `tollgate reconcile` reads what it would have said"
        ),
        Kind::AuthorizationRequest
        | Kind::AuthorizationCreated
        | Kind::AuthorizationUpdated
        | Kind::TransactionCreated
        | Kind::TransactionUpdated
        | Kind::TransactionReceiptUpdated
        | Kind::CardCreated
        | Kind::CardUpdated
        | Kind::Token
        | Kind::Cardholder
        | Kind::Dispute
        | Kind::Thin
        | Kind::Other => {}
    }
}

/// A decline is a line of its own, with what was asked for; its stage times are another one, for who looks into them. Any other
/// answer is one line at `debug`.
fn log_answer(
    request: &AuthorizationRequest,
    answer: &Answer,
    route: Route,
    (taken_us, stages): (u32, StageTimes),
    trace: Option<TraceParent>,
) {
    let asked = request.asked.ok();
    let category = request.merchant.category.as_str();
    macro_rules! tell {
        ($level:ident, $($stage:ident = $micros:expr),*) => {
            tracing::$level!(
                decision = %answer.decision,
                event = %request.event,
                authorization = %request.authorization,
                card = request.card.as_ref().map(tracing::field::display),
                outcome = answer.outcome.as_str(),
                reason = answer.reason.as_str(),
                rule = answer.marks.as_ref().and_then(|marks| marks.rule.as_deref()),
                source = answer.source.as_str(),
                asked = asked.map(|asked| asked.amount),
                currency = asked.as_ref().map(|asked| asked.currency.as_str()),
                category = Some(category).filter(|category| !category.is_empty()),
                amount = answer.amount,
                answer_by = answer.by.as_str(),
                route = route.as_str(),
                taken_us,
                $($stage = $micros,)*
                trace_id = trace.map(tracing::field::display),
                "answered"
            )
        };
    }
    let StageTimes { verify, parse, route: routing, queue, decide, commit, respond } = stages;
    match answer.outcome {
        Outcome::Declined => {
            tell!(info,);
            tracing::debug!(
                decision = %answer.decision,
                verify_us = verify,
                parse_us = parse,
                route_us = routing,
                queue_us = queue,
                decide_us = decide,
                commit_us = commit,
                respond_us = respond,
                "stage times"
            );
        }
        Outcome::Approved | Outcome::Partial => tell!(
            debug,
            verify_us = verify,
            parse_us = parse,
            route_us = routing,
            queue_us = queue,
            decide_us = decide,
            commit_us = commit,
            respond_us = respond
        ),
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
