//! Cards and cardholders.

use schemars::JsonSchema;
use serde::Serialize;

use super::{authorization::TransactionBody, decision::DecisionBody, exception::ExceptionBody};
use crate::{
    cluster::{CardView, HoldView, LimitView},
    domain::{CardholderId, Measure, State},
    http::reply::Rfc3339,
};

/// A card: its limits, open holds, and recent decisions.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct CardBody {
    /// Its id.
    pub card: String,
    /// The card that it replaces, and with which it shares its limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement_for: Option<String>,
    /// The number of entries in its chain.
    pub version: u64,
    /// The node that owns it.
    pub owner: String,
    /// Its currency; null as long as no amount was seen.
    pub currency: Option<String>,
    /// What is held now, in minor units.
    pub held: i64,
    /// What was captured in its lifetime.
    pub captured: i64,
    /// What was refunded in its lifetime.
    pub refunded: i64,
    /// By how much Stripe, a network, or a merchant exceeded what was approved here.
    pub overrun: i64,
    /// The version of the policy in force.
    pub policy: String,
    /// Its group.
    pub group: Option<String>,
    /// Whether the policy in force has that group.
    pub group_in_policy: Option<bool>,
    /// Its state by its own events.
    pub state: Option<StateBody>,
    /// Whether everything is declined, by the policy or by an exception.
    pub paused: bool,
    /// Each limit in force, with its usage.
    pub limits: Vec<LimitBody>,
    /// The exceptions in force.
    pub exceptions: Vec<ExceptionBody>,
    /// Open holds, oldest first.
    pub holds: Vec<HoldBody>,
    /// Captures and refunds that belong to no authorization.
    pub unlinked: Vec<TransactionBody>,
    /// The accounts of budgets that it charged last; `/v1/budgets/{name}` has each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<String>,
    /// The last decisions, newest first; `/v1/decisions?card=` has all.
    pub recent: Vec<DecisionBody>,
}

/// A card or cardholder by its own events.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct StateBody {
    /// Whether it is active at Stripe.
    pub active: bool,
    /// The group in its metadata.
    pub group: Option<String>,
}

/// A cardholder.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct CardholderBody {
    /// Its id.
    pub cardholder: String,
    /// Its state by its own events.
    pub state: StateBody,
}

/// A limit with its usage.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct LimitBody {
    /// `amount` or `count`.
    pub limit: &'static str,
    /// The window, such as `daily` or `rolling(24h)`.
    pub window: String,
    /// The limit, in minor units or approvals, with what raises add.
    pub max: i64,
    /// What raises add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raised: Option<i64>,
    /// When the first of the raises ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raised_until: Option<Rfc3339>,
    /// The usage in the current window.
    pub used: i64,
    /// What is left.
    pub remaining: i64,
    /// When the window resets; of a rolling window, when usage starts to drop.
    pub resets_at: Option<Rfc3339>,
    /// The currency of a limit on amounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The merchant categories that count; absent if all do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
    /// The merchants that count; absent if all do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merchants: Option<Vec<String>>,
}

/// An open hold.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct HoldBody {
    /// The authorization.
    pub authorization: String,
    /// The amount in minor units.
    pub amount: i64,
    /// When it was placed.
    pub since: Rfc3339,
}

impl From<&State> for StateBody {
    fn from(state: &State) -> Self {
        Self { active: state.is_active, group: state.group.as_deref().map(ToOwned::to_owned) }
    }
}

impl CardholderBody {
    /// Of the cardholder with this id.
    pub(in crate::http) fn new(id: &CardholderId, state: &State) -> Self {
        Self { cardholder: id.to_string(), state: StateBody::from(state) }
    }
}

impl CardBody {
    /// Of a card that `owner` owns.
    pub(in crate::http) fn new(view: &CardView, owner: &str) -> Self {
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
            paused: view.is_paused,
            limits: view.limits.iter().map(LimitBody::from).collect(),
            exceptions: view.exceptions.iter().map(ExceptionBody::from).collect(),
            holds: view.holds.iter().map(HoldBody::from).collect(),
            unlinked: view.unlinked.iter().map(|(id, one)| TransactionBody::new(id, one)).collect(),
            budgets: view.budgets.iter().map(ToString::to_string).collect(),
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
            raised: Some(view.lifted.raised).filter(|raised| *raised != 0),
            raised_until: view.lifted.until.map(Rfc3339),
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
