//! An authorization, from its first request to its last capture or refund.

use schemars::JsonSchema;
use serde::Serialize;

use super::decision::DecisionBody;
use crate::{
    cluster::{AuthorizationView, EntryView},
    domain::{Decided, Event, Fact, StripeOutcome, Transaction, TransactionId},
    http::reply::Rfc3339,
};

/// An authorization with everything that was recorded of it.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct AuthorizationBody {
    /// Its id.
    pub authorization: String,
    /// Its card; null if the request named none.
    pub card: Option<String>,
    /// `pending`, `closed`, `reversed`, or `expired`.
    pub status: &'static str,
    /// Whether it is approved at Stripe, as far as is known.
    pub approved: bool,
    /// Its currency.
    pub currency: Option<String>,
    /// What is held, in minor units.
    pub held: i64,
    /// What was captured.
    pub captured: i64,
    /// What was refunded.
    pub refunded: i64,
    /// By how much Stripe, a network, or the merchant exceeded what was approved here.
    pub overrun: i64,
    /// Its captures and refunds.
    pub transactions: Vec<TransactionBody>,
    /// One decision for each request, oldest first.
    pub decisions: Vec<DecisionBody>,
    /// What Stripe did with each request.
    pub outcomes: Vec<OutcomeBody>,
    /// Everything that was recorded, in the order of the journal.
    pub history: Vec<EntryBody>,
}

/// A capture or refund in its latest version.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct TransactionBody {
    /// Its id.
    pub id: String,
    /// `capture`, `force_capture`, or `refund`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The amount in minor units, with Stripe's sign: a capture is negative.
    pub amount: i64,
}

/// What Stripe did with one request.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct OutcomeBody {
    /// When, by Stripe's clock.
    pub at: Rfc3339,
    /// The requested amount, in minor units.
    pub asked: i64,
    /// Whether Stripe approved it.
    pub approved: bool,
    /// Stripe's reason.
    pub reason: String,
    /// The decision here; null if this node was not asked.
    pub decision: Option<String>,
    /// Whether Stripe did what was decided here; null if this node was not asked.
    pub agrees: Option<bool>,
    /// Whether the approval was forced.
    pub forced: bool,
}

/// One thing that was recorded.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct EntryBody {
    /// The position of its entry in the chain of the account.
    pub seq: u64,
    /// When it was recorded.
    pub at: Rfc3339,
    /// `decided`, `stood_in`, `authorization`, `capture`, `force_capture`, `refund`, or `other`.
    pub kind: &'static str,
    /// The event that brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The id of the decision or transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The amount in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// The outcome, or the status at Stripe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
}

impl TransactionBody {
    /// Of the transaction with this id.
    pub(in crate::http) fn new(id: &TransactionId, transaction: &Transaction) -> Self {
        Self { id: id.to_string(), kind: transaction.kind.as_str(), amount: transaction.amount }
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
            | Event::Charges(_)
            | Event::Command(_)
            | Event::Budget(_)
            | Event::Policy(_)
            | Event::Delivered(_)
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
