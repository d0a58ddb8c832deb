//! Folding: a card's books from the entries of its journal.

use std::sync::Arc;

use super::holds::Holds;
use crate::{
    domain::{
        Account, Authorization, AuthorizationId, Card, Event, Fact, NeedsHistory, Recalled, Timestamp, Window,
    },
    journal::{
        Entry, Head, Unavailable,
        record::{self, Unreadable},
    },
};

/// A card as its journal tells it.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub(super) card: Card,
    pub(super) head: Head,
    /// Entries since the last snapshot.
    pub(super) entries_since_snapshot: usize,
    /// Events since the last snapshot.
    pub(super) events_since_snapshot: usize,
    /// Authorizations in the last snapshot.
    pub(super) snapshot_size: usize,
    /// Its open holds among the node's, where these books rest in memory.
    pub(super) holds: Option<Holds>,
}

/// The journal's entries could not be folded.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFolded {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("entry {seq} of {account} cannot be read: {cause}")]
    Unreadable { account: String, seq: u64, cause: Unreadable },
}

/// Folds what was loaded from the last snapshot on.
pub(super) fn fold(entries: &[Entry]) -> Result<Folded, NotFolded> {
    let mut folded = Folded::default();
    for entry in entries {
        folded.head = Head { seq: entry.seq, id: entry.id };
        folded.entries_since_snapshot = folded.entries_since_snapshot.saturating_add(1);
        for event in read(entry)? {
            folded.card.apply(&event);
            folded.events_since_snapshot = folded.events_since_snapshot.saturating_add(1);
            if matches!(event, Event::Snapshot(_)) {
                folded.entries_since_snapshot = 0;
                folded.events_since_snapshot = 0;
                folded.snapshot_size = folded.card.authorizations.len();
            }
        }
    }
    Ok(folded)
}

/// Folds a whole history with the windows of the policy in force from the start, so that none of them misses
/// anything that snapshots have let go.
pub(super) fn fold_history<'a>(
    entries: &[Entry],
    windows: impl Iterator<Item = &'a Arc<Window>>,
    refunds_restore: bool,
) -> Result<Folded, NotFolded> {
    let mut folded = Folded::default();
    let adopted: Result<(), NeedsHistory> = folded.card.adopt(windows, refunds_restore, Timestamp::default());
    debug_assert_eq!(adopted, Ok(()), "an empty card has its whole history");
    for entry in entries {
        folded.head = Head { seq: entry.seq, id: entry.id };
        folded.entries_since_snapshot = folded.entries_since_snapshot.saturating_add(1);
        for event in read(entry)? {
            if !matches!(event, Event::Snapshot(_) | Event::Recalled(_)) {
                folded.card.apply(&event);
                folded.events_since_snapshot = folded.events_since_snapshot.saturating_add(1);
            }
        }
    }
    Ok(folded)
}

/// The record of one authorization in the ledger of `account`, from the entries that speak of it. A refund of another card
/// may name it too, and is booked there.
pub(super) fn recall(
    id: &AuthorizationId,
    account: &Account,
    entries: &[Entry],
) -> Result<Option<Recalled>, NotFolded> {
    let mut card = Card::default();
    for entry in entries.iter().filter(|entry| entry.account == *account) {
        for event in read(entry)? {
            if record::authorization_of(&event) == Some(id) {
                card.apply(&event);
            }
        }
    }
    let authorization: Option<Authorization> = card.authorizations.remove(id);
    Ok(authorization.map(|authorization| Recalled { id: id.clone(), authorization }))
}

/// Whose ledger an authorization is in, by the entries that speak of it: the last that has more than a transaction, since
/// a refund may name the authorization of another card. What was carried over to another ledger stands there too.
pub(super) fn account_of(id: &AuthorizationId, entries: &[Entry]) -> Result<Option<Account>, NotFolded> {
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
pub(super) fn read(entry: &Entry) -> Result<Vec<Event>, NotFolded> {
    record::decode(&entry.body).map_err(|cause| NotFolded::Unreadable {
        account: entry.account.to_string(),
        seq: entry.seq,
        cause,
    })
}
