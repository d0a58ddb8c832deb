//! Where our books and Stripe's differ, field by field, with amounts in minor units. Neither side is read here.

use std::fmt;

use super::{Told, books::Ours};
use crate::domain::{AuthorizationId, CardId, State, TransactionId, TransactionKind};

/// One field that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Difference {
    /// The authorization, or none for a transaction without one; the card or cardholder.
    pub(super) of: String,
    pub(super) field: Field,
    pub(super) ours: String,
    pub(super) stripes: String,
}

/// What differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Field {
    /// All of it: the books have never heard of it.
    Authorization,
    Status,
    Approved,
    Held,
    Transaction(TransactionId),
    /// `metadata.tollgate_group`.
    Group,
}

/// A transaction as one side has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TransactionState {
    pub(super) id: TransactionId,
    pub(super) card: CardId,
    pub(super) authorization: Option<AuthorizationId>,
    pub(super) kind: TransactionKind,
    /// As Stripe signs it.
    pub(super) amount: i64,
}

/// The first line of a table of differences.
pub(super) const HEADING: &str =
    "object                           field                            ours                 stripe's";

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field.to_string();
        write!(f, "{:<32} {field:<32} {:<20} {}", self.of, self.ours, self.stripes)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("authorization"),
            Self::Status => f.write_str("status"),
            Self::Approved => f.write_str("approved"),
            Self::Held => f.write_str("held"),
            Self::Transaction(id) => write!(f, "{id}"),
            Self::Group => f.write_str("tollgate_group"),
        }
    }
}

/// Every difference of an authorization and of the transactions that stand in it.
pub(super) fn of_authorization(ours: Option<&Ours>, told: &Told) -> Vec<Difference> {
    let of = told.id.to_string();
    let mut differences = Vec::new();
    if let Some(ours) = ours {
        let mut compare = |field, ours: String, stripes: String| {
            if ours != stripes {
                differences.push(Difference { of: of.clone(), field, ours, stripes });
            }
        };
        compare(Field::Status, ours.status.clone(), told.status.to_string());
        compare(Field::Approved, ours.approved.to_string(), told.approved.to_string());
        if let Some(held) = told.held {
            compare(Field::Held, ours.held.to_string(), held.to_string());
        }
    } else {
        let approved = if told.approved { "approved" } else { "declined" };
        let stripes = format!("{} {approved} {}", told.status, told.amount.amount);
        let ours = "unknown".to_owned();
        differences.push(Difference { of, field: Field::Authorization, ours, stripes });
    }
    for (state, _) in &told.transactions {
        let known = ours.and_then(|ours| ours.transactions.iter().find(|known| known.id == state.id));
        differences.extend(of_transaction(known, state));
    }
    differences
}

/// Every difference of a card or cardholder.
pub(super) fn of_state(of: &str, ours: &State, told: &State) -> Vec<Difference> {
    let status = |state: &State| if state.is_active { "active" } else { "inactive" }.to_owned();
    let group = |state: &State| state.group.as_deref().unwrap_or("none").to_owned();
    let fields = [(Field::Status, status(ours), status(told)), (Field::Group, group(ours), group(told))];
    let differs = |(_, ours, stripes): &(Field, String, String)| ours != stripes;
    let difference = |(field, ours, stripes)| Difference { of: of.to_owned(), field, ours, stripes };
    fields.into_iter().filter(differs).map(difference).collect()
}

/// The difference of one transaction, if there is one.
pub(super) fn of_transaction(
    known: Option<&TransactionState>,
    told: &TransactionState,
) -> Option<Difference> {
    let worded = |state: &TransactionState| format!("{} {}", state.kind.as_str(), state.amount);
    let ours = known.map_or_else(|| "unknown".to_owned(), worded);
    let stripes = worded(told);
    let of = told.authorization.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    (ours != stripes).then(|| Difference { of, field: Field::Transaction(told.id.clone()), ours, stripes })
}
