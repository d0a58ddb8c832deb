//! A capture or refund, as the books keep it: its latest version, whichever order the versions came in.

use super::{
    ids::EventId,
    observed::{TransactionKind, TransactionSeen},
    time::Timestamp,
};

/// A capture or refund in its latest version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// Capture or refund.
    pub kind: TransactionKind,
    /// As Stripe signs it: a capture negative, a refund positive.
    pub amount: i64,
    /// When Stripe booked it first: a correction moves the amount, never the day.
    pub at: Timestamp,
    /// Which version: update or not, then the event's time and id.
    pub version: (bool, Timestamp, EventId),
}

impl Transaction {
    /// A transaction as an event of the time `created` tells it.
    #[must_use]
    pub fn new(seen: &TransactionSeen, created: Timestamp, event: &EventId) -> Self {
        let is_dated = seen.created != Timestamp::default();
        Self {
            kind: seen.kind,
            amount: seen.amount,
            at: if is_dated { seen.created.min(created) } else { created },
            version: (seen.is_update, created, event.clone()),
        }
    }

    /// Money taken, in minor units.
    #[must_use]
    pub const fn captured(&self) -> i64 {
        match self.kind {
            TransactionKind::Capture => self.amount.saturating_neg(),
            TransactionKind::Refund => 0,
        }
    }

    /// Money given back, in minor units; negative where a refund was reversed.
    #[must_use]
    pub const fn refunded(&self) -> i64 {
        match self.kind {
            TransactionKind::Capture => 0,
            TransactionKind::Refund => self.amount,
        }
    }
}
