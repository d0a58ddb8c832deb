//! A capture or refund, as the books keep it: its latest version, whichever order the versions came in.

use super::{
    ids::{EventId, TransactionId},
    observed::{ListedTransaction, TransactionKind, TransactionSeen},
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
    /// Which version: the later one goes over the earlier.
    pub version: Version,
}

/// Which version of a transaction this is: the order of the fields is the order of comparison.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    /// What kind of message brought it.
    pub told_by: ToldBy,
    /// When Stripe created that message.
    pub created: Timestamp,
    /// Which event it was: two of one second need an order, everywhere the same one.
    pub event: EventId,
}

/// What kind of message tells of a transaction. A later kind goes over an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ToldBy {
    /// An authorization lists it.
    Listing,
    /// `issuing_transaction.created`.
    Created,
    /// `issuing_transaction.updated`.
    Updated,
}

impl ToldBy {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Listing, Self::Created, Self::Updated];

    /// A word for records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Created => "created",
            Self::Updated => "updated",
        }
    }

    /// Reads [`ToldBy::as_str`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Transaction {
    /// A transaction as an event of the time `created` tells it. Stripe's clock may be ahead of ours: nothing counts later than
    /// it is received, whatever says which version is the later one.
    #[must_use]
    pub fn new(seen: &TransactionSeen, created: Timestamp, received_at: Timestamp, event: &EventId) -> Self {
        let is_dated = seen.created != Timestamp::default();
        let latest = created.min(received_at);
        Self {
            kind: seen.kind,
            amount: seen.amount,
            at: if is_dated { seen.created.min(latest) } else { latest },
            version: Version {
                told_by: if seen.is_update { ToldBy::Updated } else { ToldBy::Created },
                created,
                event: event.clone(),
            },
        }
    }

    /// A transaction as a message of the time `created` lists it.
    #[must_use]
    pub fn listed(
        listed: &ListedTransaction,
        created: Timestamp,
        received_at: Timestamp,
        event: &EventId,
    ) -> Self {
        Self {
            kind: listed.kind,
            amount: listed.amount,
            at: listed.created.min(created).min(received_at),
            version: Version { told_by: ToldBy::Listing, created, event: event.clone() },
        }
    }

    /// Money taken, in minor units. A capture that is signed as if it brought money takes none, and gives none.
    #[must_use]
    pub fn captured(&self) -> i64 {
        match self.kind {
            TransactionKind::Capture => self.amount.saturating_neg().max(0),
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
