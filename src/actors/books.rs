//! Folding: a card's books from the entries of its journal.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    sync::Arc,
};

use super::holds::Holds;
use crate::{
    domain::{
        Account, AuthorizationId, Card, Event, Fact, Mention, NeedsHistory, Recalled, Timestamp, Window,
    },
    journal::{
        Entry, Head, Journal, Unavailable,
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

/// What the ledger of `account` has of these things, and of everything that belongs to them: the captures and refunds of
/// an authorization, the authorizations that a capture or refund has belonged to. It follows from the entries that speak of
/// them, and from no others. A refund of another card may name the same authorization, and is booked there.
pub(super) async fn recall(
    journal: &dyn Journal,
    account: &Account,
    mut mentions: Vec<Mention>,
) -> Result<Recalled, NotFolded> {
    let mut spoken_of = BTreeSet::new();
    let mut entries: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    while let Some(mention) = mentions.pop() {
        if spoken_of.contains(&mention) {
            continue;
        }
        for entry in journal.find(&mention).await?.iter().filter(|entry| entry.account == *account) {
            let events = match entries.entry(entry.seq) {
                btree_map::Entry::Occupied(known) => known.into_mut(),
                btree_map::Entry::Vacant(new) => new.insert(read(entry)?),
            };
            let together = events.iter().map(record::mentions_of).filter(|all| all.contains(&mention));
            mentions.extend(together.flatten());
        }
        spoken_of.insert(mention);
    }
    let mut card = Card::default();
    for event in entries.values().flatten() {
        if record::mentions_of(event).iter().any(|mention| spoken_of.contains(mention)) {
            card.apply(event);
        }
    }
    let authorizations = card.authorizations.iter().map(|(id, one)| (id.clone(), one.clone())).collect();
    Ok(Recalled { authorizations, unlinked: card.unlinked.into_iter().collect() })
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
