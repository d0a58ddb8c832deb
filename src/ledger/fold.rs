//! Folding: an account from the entries of its chain.

use std::sync::Arc;

use crate::{
    domain::{
        Account, AuthorizationId, Budget, BudgetEvent, BudgetPolicy, Card, Event, Fact, NeedsHistory,
        Timestamp, Window,
    },
    journal::{
        Entry, Head, Unavailable,
        record::{self, Unreadable},
    },
    planted::{self, Planted},
};

/// An account as its chain tells it.
#[derive(Debug, Default)]
pub struct Folded {
    /// Its state, where it is the chain of a card or cardholder.
    pub card: Card,
    /// Its state, where it is the chain of a budget.
    pub budget: Budget,
    /// Its last entry.
    pub head: Head,
    /// Entries since the last snapshot.
    pub entries_since_snapshot: usize,
    /// Events since the last snapshot.
    pub events_since_snapshot: usize,
    /// How large the last snapshot was, in events.
    pub snapshot_size: usize,
}

/// The journal's entries could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum NotFolded {
    /// The journal does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// An entry does not have the form that entries have.
    #[error("entry {seq} of {account} cannot be read: {cause}")]
    Unreadable {
        /// Whose.
        account: String,
        /// Which.
        seq: u64,
        /// What is wrong with it.
        cause: Unreadable,
    },
}

/// Folds what was loaded from the last snapshot on.
///
/// # Errors
/// An entry cannot be read.
pub fn fold(entries: &[Entry]) -> Result<Folded, NotFolded> {
    Folded::default().onwards(entries)
}

/// A moment of a window takes a small part of what an event takes.
const MOMENTS_OF_AN_EVENT: usize = 8;

/// How large a snapshot is, in events: by the authorizations of a card, or by what a budget remembers of its windows.
pub(super) fn snapshot_size(card: &Card, budget: &Budget) -> usize {
    let moments = budget.tallies.iter().fold(0_usize, |sum, tally| sum.saturating_add(tally.moments.len()));
    card.authorizations.len().saturating_add(moments.div_euclid(MOMENTS_OF_AN_EVENT))
}

/// Folds what was loaded of a budget from the last snapshot on, with the windows of the policy in force. Where the snapshot
/// lacks one, the whole history is needed: [`fold_budget_history`].
///
/// # Errors
/// An entry cannot be read.
pub fn fold_budget(entries: &[Entry], policy: &BudgetPolicy) -> Result<Folded, NotFolded> {
    with_windows_of(policy).onwards(entries)
}

fn with_windows_of(policy: &BudgetPolicy) -> Folded {
    let mut folded = Folded::default();
    let adopted = folded.budget.adopt(policy.windows(), policy.refunds_restore, Timestamp::default());
    debug_assert_eq!(adopted, Ok(()), "an empty budget has its whole history");
    folded
}

impl Folded {
    fn onwards(self, entries: &[Entry]) -> Result<Self, NotFolded> {
        let mut folded = self;
        for entry in entries {
            folded.head = Head { seq: entry.seq, id: entry.id };
            folded.entries_since_snapshot = folded.entries_since_snapshot.saturating_add(1);
            for event in read(entry)? {
                if planted::is(Planted::FoldSkipsStandIns) && matches!(event, Event::StoodIn(_)) {
                    continue;
                }
                folded.apply(&event);
                folded.events_since_snapshot = folded.events_since_snapshot.saturating_add(1);
                if is_snapshot(&event) {
                    folded.entries_since_snapshot = 0;
                    folded.events_since_snapshot = 0;
                    folded.snapshot_size = snapshot_size(&folded.card, &folded.budget);
                }
            }
        }
        Ok(folded)
    }
}

/// Folds a whole history with the windows of the policy in force from the start, so that none of them misses
/// anything that snapshots have let go.
///
/// # Errors
/// An entry cannot be read.
pub fn fold_history<'a>(
    entries: &[Entry],
    windows: impl Iterator<Item = &'a Arc<Window>>,
    refunds_restore: bool,
) -> Result<Folded, NotFolded> {
    let mut folded = Folded::default();
    let adopted: Result<(), NeedsHistory> = folded.card.adopt(windows, refunds_restore, Timestamp::default());
    debug_assert_eq!(adopted, Ok(()), "an empty card has its whole history");
    folded.history(entries)
}

/// Folds the whole history of a budget, with the windows of the policy in force from the start.
///
/// # Errors
/// An entry cannot be read.
pub fn fold_budget_history(entries: &[Entry], policy: &BudgetPolicy) -> Result<Folded, NotFolded> {
    with_windows_of(policy).history(entries)
}

impl Folded {
    fn history(mut self, entries: &[Entry]) -> Result<Self, NotFolded> {
        for entry in entries {
            self.head = Head { seq: entry.seq, id: entry.id };
            self.entries_since_snapshot = self.entries_since_snapshot.saturating_add(1);
            for event in read(entry)? {
                if !is_snapshot(&event) && !matches!(event, Event::Recalled(_)) {
                    self.apply(&event);
                    self.events_since_snapshot = self.events_since_snapshot.saturating_add(1);
                }
            }
        }
        Ok(self)
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Budget(event) => self.budget.apply(event),
            event => self.card.apply(event),
        }
    }
}

fn is_snapshot(event: &Event) -> bool {
    match event {
        Event::Snapshot(_) => true,
        Event::Budget(event) => matches!(**event, BudgetEvent::Snapshot(_)),
        _ => false,
    }
}

/// Whose ledger an authorization is in, by the entries that speak of it: the last that has more than a transaction, since
/// a refund may name the authorization of another card. What was carried over to another ledger stands there too.
///
/// # Errors
/// An entry cannot be read.
pub fn account_of(id: &AuthorizationId, entries: &[Entry]) -> Result<Option<Account>, NotFolded> {
    for entry in entries.iter().rev() {
        let is_its_own = read(entry)?.iter().any(|event| {
            record::authorization_of(event) == Some(id)
                && !matches!(event, Event::Observed(seen) if matches!(seen.fact, Fact::Transaction(_)))
        });
        if is_its_own {
            return Ok(Some(entry.account.clone()));
        }
    }
    Ok(entries.last().map(|entry| entry.account.clone()))
}

/// The events of an entry.
///
/// # Errors
/// An entry cannot be read.
pub fn read(entry: &Entry) -> Result<Vec<Event>, NotFolded> {
    record::decode(&entry.body).map_err(|cause| NotFolded::Unreadable {
        account: entry.account.to_string(),
        seq: entry.seq,
        cause,
    })
}
