//! Recall: what the journal has of things that may have been evicted from memory.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use crate::{
    domain::{Account, Card, Event, Mention, Recalled},
    journal::{Journal, record},
    ledger::{NotFolded, read},
};

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
        // Before what it is for, each entry says which budgets the card charges.
        let is_of_card = matches!(event, Event::Charges(_));
        if is_of_card || record::mentions_of(event).iter().any(|mention| spoken_of.contains(mention)) {
            card.apply(event);
        }
    }
    let authorizations = card.authorizations.iter().map(|(id, one)| (id.clone(), one.clone())).collect();
    Ok(Recalled { authorizations, unlinked: card.unlinked.into_iter().collect() })
}
