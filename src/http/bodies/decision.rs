//! Decisions, one and many.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    outcomes, reasons,
    ruled::{RuledBody, WouldPassBody},
    sources,
};
use crate::{
    cluster::{DecisionPage, DecisionView, UnconfirmedView},
    domain::{CardPresence, Decided, Excepted, Lifted, LimitCheck, Source, Timestamp, explain},
    http::reply::Rfc3339,
};

/// A page of decisions.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct DecisionsBody {
    /// Newest first; with `after`, oldest first.
    pub decisions: Vec<DecisionBody>,
    /// The cursor of the next page, also if this one is short: a page ends after about 40 milliseconds. Absent if everything
    /// was searched. With `after`, the value of the next `after`.
    pub next: Option<String>,
    /// The search has covered everything from its start back to this time.
    pub reached: Option<Rfc3339>,
}

impl From<&DecisionPage> for DecisionsBody {
    fn from(page: &DecisionPage) -> Self {
        Self {
            decisions: page.decisions.iter().map(DecisionBody::from).collect(),
            next: page.next.as_ref().map(ToString::to_string),
            reached: page.reached.map(Rfc3339),
        }
    }
}

/// A decision with the numbers behind it.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct DecisionBody {
    /// `dec_` and 16 hexadecimal digits.
    pub id: String,
    /// When it was made.
    pub at: Rfc3339,
    /// When it was recorded in the journal.
    pub recorded_at: Rfc3339,
    /// The event that brought the request.
    pub event: String,
    /// The authorization.
    pub authorization: String,
    /// The card; null if the request named none.
    pub card: Option<String>,
    /// The cardholder.
    pub cardholder: Option<String>,
    /// The group of the card at that time.
    pub group: Option<String>,
    /// The merchant category, by Stripe's name.
    pub category: Option<String>,
    /// The country of the merchant.
    pub country: Option<String>,
    /// The id of the merchant at the card network.
    pub merchant: Option<String>,
    /// Whether the card was present.
    pub presence: Option<String>,
    /// The outcome.
    #[schemars(schema_with = "outcomes")]
    pub outcome: &'static str,
    /// What was approved, in minor units.
    pub amount: i64,
    /// What was requested, in minor units; null if the request has no usable amount.
    pub asked: Option<i64>,
    /// The currency of both amounts.
    pub currency: Option<String>,
    /// The reason. Of a partial approval: why it is not a full one.
    #[schemars(schema_with = "reasons")]
    pub reason: &'static str,
    /// The decision in one sentence.
    pub explanation: String,
    /// Every limit that was checked.
    pub limits: Vec<CheckBody>,
    /// The accounts whose limits were checked: `card`, and budgets such as `budget:engineering`.
    pub legs: Vec<String>,
    /// The largest amount that would have passed; null if no limit on amounts applied.
    pub largest_approvable: Option<i64>,
    /// What else would have passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_pass: Option<WouldPassBody>,
    /// The grant that it passed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// What the rules of the policy contributed; its fields are absent if no rule had a part in the decision.
    #[serde(flatten)]
    pub rule: Option<RuledBody>,
    /// The version of the policy.
    pub policy: String,
    /// What decided: the policy, the stand-in, or Stripe and the network.
    #[schemars(schema_with = "sources")]
    pub source: &'static str,
    /// How the answer went to Stripe: `direct` or `api`.
    pub answer_by: &'static str,
    /// The duration of each stage, in microseconds.
    pub stage_us: StagesBody,
}

/// A limit as a decision found it.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct CheckBody {
    /// Whose limit it is: `card`, or the account of a budget such as `budget:engineering` or `budget:person/ich_…`.
    pub account: String,
    /// `amount` or `count`; `balance` of a prepaid budget, whose `max` is what was credited.
    pub limit: &'static str,
    /// The window, such as `daily` or `rolling(24h)`.
    pub window: String,
    /// The usage before the decision.
    pub before: i64,
    /// The usage with the requested amount.
    pub after: i64,
    /// The limit, with what raises and a grant add.
    pub max: i64,
    /// What raises add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raised: Option<i64>,
    /// When the first of the raises ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raised_until: Option<Rfc3339>,
    /// What a grant adds, for this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<i64>,
    /// When the window resets; of a rolling window, when usage starts to drop.
    pub resets_at: Option<Rfc3339>,
}

/// The duration of each stage, in microseconds. The commit is the time between the other stages and the entry.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug)]
pub struct StagesBody {
    /// Verification of the signature.
    pub verify: u32,
    /// Parsing.
    pub parse: u32,
    /// Finding the owner of the card.
    pub route: u32,
    /// Waiting for earlier requests on the card.
    pub queue: u32,
    /// Deciding.
    pub decide: u32,
    /// Until the entry was in the journal.
    pub commit: u32,
}

/// The decisions without a later word of Stripe.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct UnconfirmedListBody {
    /// Oldest first.
    pub unconfirmed: Vec<UnconfirmedBody>,
}

/// A decision without a later word of Stripe.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct UnconfirmedBody {
    /// The decision.
    pub decision: String,
    /// The authorization.
    pub authorization: String,
    /// The card; null if the request named none.
    pub card: Option<String>,
    /// When it was made.
    pub at: Rfc3339,
    /// For how long it has been unconfirmed.
    pub waiting_seconds: u64,
}

impl UnconfirmedBody {
    /// As it is at `now`.
    pub(in crate::http) fn new(view: &UnconfirmedView, now: Timestamp) -> Self {
        Self {
            decision: view.decision.to_string(),
            authorization: view.authorization.to_string(),
            card: view.card.as_ref().map(ToString::to_string),
            at: Rfc3339(view.at),
            waiting_seconds: now.since(view.at).as_secs(),
        }
    }
}

impl From<&DecisionView> for DecisionBody {
    fn from(view: &DecisionView) -> Self {
        let Decided { request, decision } = &view.decided;
        let asked = request.asked.ok();
        let merchant = &request.merchant;
        Self {
            id: decision.id.to_string(),
            at: Rfc3339(decision.at),
            recorded_at: Rfc3339(view.written_at),
            event: request.event.to_string(),
            authorization: request.authorization.to_string(),
            card: request.card.as_ref().map(ToString::to_string),
            cardholder: request.cardholder.as_ref().map(ToString::to_string),
            group: request.group.as_deref().map(ToOwned::to_owned),
            category: Some(merchant.category.as_str()).filter(|name| !name.is_empty()).map(ToOwned::to_owned),
            country: merchant.country.map(|country| country.to_string()),
            merchant: merchant.network_id.as_ref().map(ToString::to_string),
            presence: request.card_presence.map(CardPresence::as_str).map(ToOwned::to_owned),
            outcome: decision.outcome.as_str(),
            amount: decision.granted,
            asked: asked.map(|asked| asked.amount),
            currency: asked.map(|asked| asked.currency.to_string()),
            reason: decision.reason.as_str(),
            explanation: explain(request, decision),
            limits: decision.limits.iter().map(CheckBody::from).collect(),
            legs: legs(&decision.limits),
            largest_approvable: decision.largest_approvable,
            would_pass: decision.would_pass.as_deref().map(WouldPassBody::from),
            grant: match decision.excepted.as_deref() {
                Some(Excepted::Granted { id, .. }) => Some(id.to_string()),
                Some(Excepted::Paused { .. }) | None => None,
            },
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
        let added = |part: fn(&Lifted) -> i64| check.lifted.as_deref().map(part).filter(|part| *part != 0);
        Self {
            account: account_of(check),
            limit: if check.is_balance { "balance" } else { check.measure.as_str() },
            window: check.interval.to_string(),
            before: check.before,
            after: check.after,
            max: check.max,
            raised: added(|lifted| lifted.raised),
            raised_until: check.lifted.as_ref().and_then(|lifted| lifted.until).map(Rfc3339),
            granted: added(|lifted| lifted.granted),
            resets_at: check.resets_at.map(Rfc3339),
        }
    }
}

/// The accounts of these checks, each once.
fn legs(checks: &[LimitCheck]) -> Vec<String> {
    let mut legs: Vec<String> = Vec::new();
    for check in checks {
        let account = account_of(check);
        if legs.last() != Some(&account) {
            legs.push(account);
        }
    }
    legs
}

fn account_of(check: &LimitCheck) -> String {
    check.account.as_ref().map_or_else(|| "card".to_owned(), ToString::to_string)
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
