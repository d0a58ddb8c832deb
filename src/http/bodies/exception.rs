//! Exceptions that operators make: what is asked for, and what is shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Action, Exception, Grant, Measure, Raise},
    http::reply::Rfc3339,
};

/// An exception that is in force.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct ExceptionBody {
    /// `raise`, `grant`, or `pause`.
    pub kind: &'static str,
    /// The operator's id for it.
    pub id: String,
    /// The card that it is for; a raise is for all cards that share the limits of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// When it began.
    pub since: Rfc3339,
    /// When it ends; null for a pause that lasts until it is resumed.
    pub until: Option<Rfc3339>,
    /// By how much limits on amounts are higher, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// By how many limits on approvals are higher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// The currency of the amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The window of the limits that are raised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// The only merchant of a grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merchant: Option<String>,
    /// Who made it: the name of a token.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A raise of limits.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct RaiseBody {
    /// Your own id for it, 1 to 64 visible ASCII characters. Repeated, it counts once.
    pub id: String,
    /// By how much limits on amounts are raised, in minor units.
    #[serde(default)]
    pub amount: Option<i64>,
    /// By how many limits on approvals are raised.
    #[serde(default)]
    pub count: Option<i64>,
    /// Only limits in this currency; needed if the account has limits in several.
    #[serde(default)]
    pub currency: Option<String>,
    /// The window of the limits, such as `daily`; needed if the account has several.
    #[serde(default)]
    pub interval: Option<String>,
    /// When it ends. Without it, at the end of the current day, week, month or year of the limit.
    #[serde(default)]
    pub until: Option<String>,
    /// Why, which is recorded with the name of the token; needed unless the header `Tollgate-Reason` has it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A grant for one purchase.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// Your own id for it, 1 to 64 visible ASCII characters. Repeated, it counts once.
    pub id: String,
    /// By how much each limit on amounts is higher for the purchase, in minor units.
    pub amount: i64,
    /// The currency of the amount and of the purchase.
    pub currency: String,
    /// Only at this merchant, by its id at the card network.
    #[serde(default)]
    pub merchant: Option<String>,
    /// When it ends, used or not.
    pub until: String,
    /// Why, which is recorded with the name of the token; needed unless the header `Tollgate-Reason` has it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A pause.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct PauseBody {
    /// Your own id for it, 1 to 64 visible ASCII characters. Repeated, it counts once.
    pub id: String,
    /// When it ends; without it, when it is resumed.
    #[serde(default)]
    pub until: Option<String>,
    /// Why, which is recorded with the name of the token; needed unless the header `Tollgate-Reason` has it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The end of pauses.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct ResumeBody {
    /// Your own id for it, 1 to 64 visible ASCII characters. Repeated, it counts once.
    pub id: String,
    /// Why, which is recorded with the name of the token; needed unless the header `Tollgate-Reason` has it.
    #[serde(default)]
    pub reason: Option<String>,
}

impl From<&Exception> for ExceptionBody {
    fn from(exception: &Exception) -> Self {
        let command = &exception.command;
        let body = Self {
            kind: kind_of(&command.action),
            id: command.id.to_string(),
            card: command.card.as_ref().map(ToString::to_string),
            since: Rfc3339(command.at),
            until: exception.until().map(Rfc3339),
            amount: None,
            count: None,
            currency: None,
            window: None,
            merchant: None,
            by: command.attribution.by.to_string(),
            reason: command.attribution.reason.to_string(),
        };
        match &command.action {
            Action::Raise(Raise { by, measure, interval, .. }) => {
                let (amount, count, currency) = match measure {
                    Measure::Amount(currency) => (Some(*by), None, currency.map(|one| one.to_string())),
                    Measure::Count => (None, Some(*by), None),
                };
                Self { amount, count, currency, window: Some(interval.to_string()), ..body }
            }
            Action::Grant(Grant { amount, currency, merchant, .. }) => Self {
                amount: Some(*amount),
                currency: Some(currency.to_string()),
                merchant: merchant.as_ref().map(ToString::to_string),
                ..body
            },
            Action::Pause { .. } | Action::Resume | Action::Credit { .. } => body,
        }
    }
}

/// The word for what a command does.
pub(super) const fn kind_of(action: &Action) -> &'static str {
    match action {
        Action::Credit { .. } => "credit",
        Action::Raise(_) => "raise",
        Action::Grant(_) => "grant",
        Action::Pause { .. } => "pause",
        Action::Resume => "resume",
    }
}
