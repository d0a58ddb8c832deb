//! Budgets and their balances.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    card::LimitBody,
    exception::{ExceptionBody, kind_of},
};
use crate::{
    cluster::{BudgetView, MovementView},
    domain::Action,
    http::reply::Rfc3339,
};

/// The budgets of the policy in force.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct BudgetsBody {
    /// Each budget, by name. Of a template this is the account of cards without its key.
    pub budgets: Vec<BudgetBody>,
}

/// A budget, or one account of a template.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct BudgetBody {
    /// Its account, as `limits` of a decision names it.
    pub account: String,
    /// Its name in the policy.
    pub budget: String,
    /// Which account of a template.
    pub key: Option<String>,
    /// What the template has one account each for.
    pub per: Option<String>,
    /// The budget above it.
    pub parent: Option<String>,
    /// The budgets below it.
    pub children: Vec<String>,
    /// Who can raise it.
    pub owners: Vec<String>,
    /// Whether everything is declined that charges it, by the policy or by an exception.
    pub paused: bool,
    /// The number of entries in its chain.
    pub version: u64,
    /// What is held now, in minor units.
    pub held: i64,
    /// What was captured.
    pub captured: i64,
    /// What was refunded.
    pub refunded: i64,
    /// Of a prepaid budget: what was credited.
    pub credits: Option<i64>,
    /// Of a prepaid budget: what is left, which is credits less holds and captures, with refunds.
    pub available: Option<i64>,
    /// Of a prepaid budget: its currency.
    pub currency: Option<String>,
    /// Each limit, with its usage.
    pub limits: Vec<LimitBody>,
    /// The exceptions in force.
    pub exceptions: Vec<ExceptionBody>,
    /// The last 50 changes, newest first.
    pub movements: Vec<MovementBody>,
}

/// A change of a budget.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct MovementBody {
    /// When.
    pub at: Rfc3339,
    /// `purchase` for an authorization or a transaction; `credit`, `raise`, `pause`, `resume` for what an operator did.
    pub kind: &'static str,
    /// The authorization, the transaction, or the operator's id.
    pub id: String,
    /// The card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// What is held more than before, in minor units.
    pub held: i64,
    /// What was captured more.
    pub captured: i64,
    /// What was refunded more.
    pub refunded: i64,
    /// What was credited.
    pub credited: i64,
    /// Who did it: the name of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A credit of a prepaid budget.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct CreditBody {
    /// Your own id for it, 1 to 64 visible ASCII characters. Repeated, it counts once.
    pub id: String,
    /// What is credited, in minor units; below zero to take away.
    pub amount: i64,
    /// The currency of the balance.
    pub currency: String,
    /// Why, which is recorded with the name of the token, as the header `Tollgate-Reason` is.
    #[serde(default)]
    pub note: Option<String>,
}

/// A statement of a balance that another system keeps.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct AvailableBody {
    /// What was available at `as_of`, in minor units. Holds and captures after that time count on.
    pub amount: i64,
    /// The currency of the balance.
    pub currency: String,
    /// The time of the statement.
    pub as_of: String,
    /// Why, which is recorded with the name of the token, as the header `Tollgate-Reason` is.
    #[serde(default)]
    pub note: Option<String>,
}

impl From<&BudgetView> for BudgetBody {
    fn from(view: &BudgetView) -> Self {
        let policy = &view.policy;
        let key = view.key.as_deref();
        Self {
            account: crate::domain::Account::budget_of_key(&policy.name, key).to_string(),
            budget: policy.name.to_string(),
            key: view.key.clone(),
            per: policy.per.as_ref().map(ToString::to_string),
            parent: policy.parent.as_ref().map(ToString::to_string),
            children: view.children.iter().map(ToString::to_string).collect(),
            owners: policy.owners.iter().map(ToString::to_string).collect(),
            paused: view.is_paused,
            version: view.version,
            held: view.sums.held,
            captured: view.sums.captured,
            refunded: view.sums.refunded,
            credits: policy.prepaid.map(|_| view.credits),
            available: view.available(),
            currency: policy.prepaid.map(|currency| currency.to_string()),
            limits: view.limits.iter().map(LimitBody::from).collect(),
            exceptions: view.exceptions.iter().map(ExceptionBody::from).collect(),
            movements: view.movements.iter().map(MovementBody::from).collect(),
        }
    }
}

impl From<&MovementView> for MovementBody {
    fn from(view: &MovementView) -> Self {
        match view {
            MovementView::Leg(leg) => {
                let (before, after) = (leg.before.sums, leg.after.sums);
                Self {
                    at: Rfc3339(leg.at),
                    kind: "purchase",
                    id: leg.of.to_string(),
                    card: Some(leg.card.to_string()),
                    held: after.held.saturating_sub(before.held),
                    captured: after.captured.saturating_sub(before.captured),
                    refunded: after.refunded.saturating_sub(before.refunded),
                    credited: 0,
                    by: None,
                    reason: None,
                }
            }
            MovementView::Command(command) => Self {
                at: Rfc3339(command.at),
                kind: kind_of(&command.action),
                id: command.id.to_string(),
                card: None,
                held: 0,
                captured: 0,
                refunded: 0,
                credited: match command.action {
                    Action::Credit { amount, .. } => amount,
                    Action::Raise(_) | Action::Grant(_) | Action::Pause { .. } | Action::Resume => 0,
                },
                by: Some(command.attribution.by.to_string()),
                reason: Some(command.attribution.reason.to_string()).filter(|reason| !reason.is_empty()),
            },
        }
    }
}
