//! The books as JSON: the shapes of `GET /v1/cards/{id}` and `GET /v1/authorizations/{id}`. Amounts are minor units,
//! times RFC 3339, currencies lower case.

use serde::Serialize;

use super::{
    admin::{Books, Unreadable},
    members::NodeBody,
    reply::Rfc3339,
    ruled::{RuledBody, WouldPassBody},
};
use crate::{
    clock,
    cluster::{
        AuthorizationView, CardView, Cluster, DecisionView, EntryView, HoldView, LimitView, UnconfirmedView,
    },
    domain::{
        AuthorizationId, CardId, CardholderId, Decided, Event, Fact, LimitCheck, Measure, Source, State,
        StripeOutcome, Timestamp, Transaction, TransactionId, explain,
    },
};

impl Books for Cluster {
    async fn card(&self, card: CardId) -> Result<Option<Vec<u8>>, Unreadable> {
        let view = Self::card(self, &card, clock::now()).await.map_err(unreadable)?;
        Ok(view.map(|view| body(&CardBody::new(&view, &self.owner(&card)))))
    }

    async fn cardholder(&self, cardholder: CardholderId) -> Result<Option<Vec<u8>>, Unreadable> {
        let state = Self::cardholder(self, &cardholder).await.map_err(unreadable)?;
        let shape = |state: State| {
            body(&serde_json::json!({"cardholder": cardholder.as_str(), "state": StateBody::from(&state)}))
        };
        Ok(state.map(shape))
    }

    async fn authorization(&self, authorization: AuthorizationId) -> Result<Option<Vec<u8>>, Unreadable> {
        let view = Self::authorization(self, &authorization).await.map_err(unreadable)?;
        Ok(view.map(|view| body(&AuthorizationBody::from(&view))))
    }

    fn node(&self) -> Vec<u8> {
        body(&NodeBody::from(&Self::node(self)))
    }

    fn unconfirmed(&self) -> Vec<u8> {
        let now = clock::now();
        let waiting = Self::unconfirmed(self, now);
        body(&serde_json::json!({
            "unconfirmed": waiting.iter().map(|view| UnconfirmedBody::new(view, now)).collect::<Vec<_>>(),
        }))
    }
}

fn unreadable(cause: impl std::fmt::Display) -> Unreadable {
    tracing::error!(%cause, "the ledger cannot be read");
    Unreadable
}

fn body(shape: &impl Serialize) -> Vec<u8> {
    // Shapes of text and numbers always have a JSON form.
    serde_json::to_vec(shape).unwrap_or_default()
}

#[derive(Serialize)]
struct CardBody {
    card: String,
    /// The card that it replaces, whose books it shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    replacement_for: Option<String>,
    version: u64,
    owner: String,
    currency: Option<String>,
    held: i64,
    captured: i64,
    refunded: i64,
    overrun: i64,
    policy: String,
    group: Option<String>,
    group_in_policy: Option<bool>,
    /// What the card's own events said last.
    state: Option<StateBody>,
    limits: Vec<LimitBody>,
    holds: Vec<HoldBody>,
    /// Captures and refunds that belong to no authorization.
    unlinked: Vec<TransactionBody>,
    recent: Vec<DecisionBody>,
}

/// A card or cardholder as its own events tell it.
#[derive(Serialize)]
struct StateBody {
    active: bool,
    group: Option<String>,
}

impl From<&State> for StateBody {
    fn from(state: &State) -> Self {
        Self { active: state.is_active, group: state.group.as_deref().map(ToOwned::to_owned) }
    }
}

/// A capture or refund in its latest version; the amount as Stripe signs it.
#[derive(Serialize)]
struct TransactionBody {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    amount: i64,
}

impl TransactionBody {
    fn new(id: &TransactionId, transaction: &Transaction) -> Self {
        Self { id: id.to_string(), kind: transaction.kind.as_str(), amount: transaction.amount }
    }
}

#[derive(Serialize)]
struct LimitBody {
    limit: &'static str,
    window: String,
    max: i64,
    used: i64,
    remaining: i64,
    resets_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    categories: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merchants: Option<Vec<String>>,
}

#[derive(Serialize)]
struct HoldBody {
    authorization: String,
    amount: i64,
    since: Rfc3339,
}

#[derive(Serialize)]
struct AuthorizationBody {
    authorization: String,
    card: Option<String>,
    status: &'static str,
    approved: bool,
    currency: Option<String>,
    held: i64,
    captured: i64,
    refunded: i64,
    overrun: i64,
    transactions: Vec<TransactionBody>,
    decisions: Vec<DecisionBody>,
    outcomes: Vec<OutcomeBody>,
    history: Vec<EntryBody>,
}

/// What Stripe did with one request: `agrees` is null where nobody asked us.
#[derive(Serialize)]
struct OutcomeBody {
    at: Rfc3339,
    asked: i64,
    approved: bool,
    reason: String,
    decision: Option<String>,
    agrees: Option<bool>,
    forced: bool,
}

/// One thing that was booked, in the order of the books.
#[derive(Serialize)]
struct EntryBody {
    seq: u64,
    at: Rfc3339,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

#[derive(Serialize)]
struct DecisionBody {
    id: String,
    at: Rfc3339,
    event: String,
    authorization: String,
    card: Option<String>,
    outcome: &'static str,
    amount: i64,
    asked: Option<i64>,
    currency: Option<String>,
    reason: &'static str,
    explanation: String,
    limits: Vec<CheckBody>,
    largest_approvable: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_pass: Option<WouldPassBody>,
    #[serde(flatten)]
    rule: Option<RuledBody>,
    policy: String,
    source: &'static str,
    answer_by: &'static str,
    stage_us: StagesBody,
}

#[derive(Serialize)]
struct CheckBody {
    limit: &'static str,
    window: String,
    before: i64,
    after: i64,
    max: i64,
    resets_at: Option<Rfc3339>,
}

#[derive(Serialize)]
struct UnconfirmedBody {
    decision: String,
    authorization: String,
    /// Null where the request named no card.
    card: Option<String>,
    at: Rfc3339,
    waiting_seconds: u64,
}

impl UnconfirmedBody {
    fn new(view: &UnconfirmedView, now: Timestamp) -> Self {
        Self {
            decision: view.decision.to_string(),
            authorization: view.authorization.to_string(),
            card: view.card.as_ref().map(ToString::to_string),
            at: Rfc3339(view.at),
            waiting_seconds: now.since(view.at).as_secs(),
        }
    }
}

/// The commit's time is what lies between the other stages and the entry's own time.
#[derive(Serialize)]
struct StagesBody {
    verify: u32,
    parse: u32,
    route: u32,
    queue: u32,
    decide: u32,
    commit: u32,
}

impl CardBody {
    fn new(view: &CardView, owner: &str) -> Self {
        Self {
            card: view.card.to_string(),
            replacement_for: view.replacement_for.as_ref().map(ToString::to_string),
            version: view.version,
            owner: owner.to_owned(),
            currency: view.currency.map(|currency| currency.to_string()),
            held: view.held,
            captured: view.totals.captured,
            refunded: view.totals.refunded,
            overrun: view.totals.overrun,
            policy: view.policy.as_str().to_owned(),
            group: view.group.clone(),
            group_in_policy: view.group_in_policy,
            state: view.state.as_ref().map(StateBody::from),
            limits: view.limits.iter().map(LimitBody::from).collect(),
            holds: view.holds.iter().map(HoldBody::from).collect(),
            unlinked: view.unlinked.iter().map(|(id, one)| TransactionBody::new(id, one)).collect(),
            recent: view.recent.iter().map(DecisionBody::from).collect(),
        }
    }
}

impl From<&LimitView> for LimitBody {
    fn from(view: &LimitView) -> Self {
        Self {
            limit: view.measure.as_str(),
            window: view.interval.to_string(),
            max: view.max,
            used: view.used,
            remaining: view.max.saturating_sub(view.used).max(0),
            resets_at: view.resets_at.map(Rfc3339),
            currency: match view.measure {
                Measure::Amount(currency) => currency.map(|currency| currency.to_string()),
                Measure::Count => None,
            },
            categories: view.categories.clone(),
            merchants: view.merchants.clone(),
        }
    }
}

impl From<&HoldView> for HoldBody {
    fn from(view: &HoldView) -> Self {
        Self {
            authorization: view.authorization.to_string(),
            amount: view.amount,
            since: Rfc3339(view.since),
        }
    }
}

impl From<&AuthorizationView> for AuthorizationBody {
    fn from(view: &AuthorizationView) -> Self {
        let record = &view.record;
        Self {
            authorization: view.authorization.to_string(),
            card: view.card.as_ref().map(ToString::to_string),
            status: record.status().as_str(),
            approved: record.is_approved(),
            currency: record.currency.map(|currency| currency.to_string()),
            held: record.hold(),
            captured: record.captured(),
            refunded: record.refunded(),
            overrun: record.overrun(),
            transactions: record.transactions.iter().map(|(id, one)| TransactionBody::new(id, one)).collect(),
            decisions: view.decisions.iter().map(DecisionBody::from).collect(),
            outcomes: record.outcomes().map(OutcomeBody::from).collect(),
            history: view.history.iter().map(EntryBody::from).collect(),
        }
    }
}

impl From<StripeOutcome<'_>> for OutcomeBody {
    fn from(outcome: StripeOutcome<'_>) -> Self {
        Self {
            at: Rfc3339(outcome.entry.created),
            asked: outcome.entry.amount,
            approved: outcome.entry.approved,
            reason: outcome.entry.reason.to_string(),
            decision: outcome.ours.map(|ours| ours.answer.decision.to_string()),
            agrees: outcome.agrees(),
            forced: outcome.is_forced(),
        }
    }
}

impl From<&EntryView> for EntryBody {
    fn from(view: &EntryView) -> Self {
        let bare = Self {
            seq: view.seq,
            at: Rfc3339(view.written_at),
            kind: "recalled",
            event: None,
            id: None,
            amount: None,
            status: None,
        };
        match &view.event {
            Event::Decided(decided) => Self { kind: "decided", ..bare }.of(decided),
            Event::StoodIn(decided) => Self { kind: "stood_in", ..bare }.of(decided),
            Event::Observed(observation) => {
                let event = Some(observation.event.to_string());
                match &observation.fact {
                    Fact::Authorization(seen) => Self {
                        kind: "authorization",
                        event,
                        amount: Some(seen.amount.amount),
                        status: Some(seen.status.as_str()),
                        ..bare
                    },
                    Fact::Transaction(seen) => Self {
                        kind: seen.kind.as_str(),
                        event,
                        id: Some(seen.id.to_string()),
                        amount: Some(seen.amount),
                        ..bare
                    },
                    Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => {
                        Self { kind: "other", event, ..bare }
                    }
                }
            }
            Event::Recalled(_)
            | Event::Joined(_)
            | Event::Carried(_)
            | Event::Controls(_)
            | Event::Policy(_)
            | Event::Snapshot(_) => bare,
        }
    }
}

impl EntryBody {
    fn of(self, decided: &Decided) -> Self {
        Self {
            event: Some(decided.request.event.to_string()),
            id: Some(decided.decision.id.to_string()),
            amount: Some(decided.decision.granted),
            status: Some(decided.decision.outcome.as_str()),
            ..self
        }
    }
}

impl From<&DecisionView> for DecisionBody {
    fn from(view: &DecisionView) -> Self {
        let Decided { request, decision } = &view.decided;
        let asked = request.asked.ok();
        Self {
            id: decision.id.to_string(),
            at: Rfc3339(decision.at),
            event: request.event.to_string(),
            authorization: request.authorization.to_string(),
            card: request.card.as_ref().map(ToString::to_string),
            outcome: decision.outcome.as_str(),
            amount: decision.granted,
            asked: asked.map(|asked| asked.amount),
            currency: asked.map(|asked| asked.currency.to_string()),
            reason: decision.reason.as_str(),
            explanation: explain(request, decision),
            limits: decision.limits.iter().map(CheckBody::from).collect(),
            largest_approvable: decision.largest_approvable,
            would_pass: decision.would_pass.as_deref().map(WouldPassBody::from),
            rule: decision.ruled.as_deref().map(RuledBody::from),
            policy: decision.policy.as_str().to_owned(),
            source: decision.source.as_str(),
            answer_by: decision.answer_by.as_str(),
            stage_us: stages(&view.decided, view.written_at),
        }
    }
}

impl From<&LimitCheck> for CheckBody {
    fn from(check: &LimitCheck) -> Self {
        Self {
            limit: check.measure.as_str(),
            window: check.interval.to_string(),
            before: check.before,
            after: check.after,
            max: check.max,
            resets_at: check.resets_at.map(Rfc3339),
        }
    }
}

fn stages(decided: &Decided, written_at: Timestamp) -> StagesBody {
    let stages = decided.decision.stages;
    let known = [stages.verify_us, stages.parse_us, stages.route_us, stages.queue_us, stages.decide_us];
    let known_us = known.into_iter().fold(0_u32, u32::saturating_add);
    let whole = written_at.since(decided.request.received_at).as_micros();
    let whole_us =
        if decided.decision.source == Source::Policy { u32::try_from(whole).unwrap_or(u32::MAX) } else { 0 };
    StagesBody {
        verify: stages.verify_us,
        parse: stages.parse_us,
        route: stages.route_us,
        queue: stages.queue_us,
        decide: stages.decide_us,
        commit: whole_us.saturating_sub(known_us),
    }
}
