//! A capture or refund, as the books keep it: its latest version, whichever order the versions came in.

use super::{
    ids::{EventId, TransactionId},
    observed::{TransactionKind, TransactionSeen},
    time::Timestamp,
};

/// The captures and refunds of one authorization, in the order of their ids. Nearly always there is one, for which a tree
/// would make room for eleven.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transactions(Vec<(TransactionId, Transaction)>);

impl Transactions {
    /// The transaction of this id.
    #[must_use]
    pub fn get(&self, id: &TransactionId) -> Option<&Transaction> {
        self.place_of(id).ok().and_then(|place| self.0.get(place)).map(|(_, known)| known)
    }

    /// Puts a transaction in the place of its earlier version, if there is one.
    pub fn insert(&mut self, id: TransactionId, transaction: Transaction) {
        match self.place_of(&id) {
            Ok(place) => {
                if let Some((_, known)) = self.0.get_mut(place) {
                    *known = transaction;
                }
            }
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (id, transaction));
            }
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &TransactionId) {
        if let Ok(place) = self.place_of(id) {
            self.0.remove(place);
        }
    }

    /// Keeps only those of the ids that `is_kept` names.
    pub fn retain(&mut self, is_kept: impl Fn(&TransactionId) -> bool) {
        self.0.retain(|(id, _)| is_kept(id));
    }

    /// All of them, with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&TransactionId, &Transaction)> {
        self.0.iter().map(|(id, transaction)| (id, transaction))
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &Transaction> {
        self.0.iter().map(|(_, transaction)| transaction)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place_of(&self, id: &TransactionId) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(id))
    }
}

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
