//! Where captures and refunds are booked: with the authorization that their latest version names, or with the card. A
//! transaction that only a listing has told of is booked with the authorization that lists it.

use std::sync::Arc;

use super::{
    authorization::Authorization,
    card::{Card, Moves, Unlinked},
    ids::{AuthorizationId, EventId, TransactionId},
    observed::{ListedTransaction, TransactionSeen},
    time::Timestamp,
    transaction::{ToldBy, Transaction},
};

impl Card {
    /// Of the transactions that an authorization lists, those that no event of their own has put elsewhere.
    pub(super) fn not_elsewhere<'a>(
        &self,
        authorization: &AuthorizationId,
        listed: &'a [ListedTransaction],
    ) -> Vec<&'a ListedTransaction> {
        let record = self.authorizations.get(authorization);
        let is_here = |id| record.is_some_and(|record| record.transactions.get(id).is_some());
        let is_free = |id| !self.unlinked.contains_key(id) && self.place_of(id).is_none();
        listed.iter().filter(|one| is_here(&one.id) || is_free(&one.id)).collect()
    }

    /// Remembers where transactions are that only a listing has told of.
    pub(super) fn remember_places(&mut self, authorization: &AuthorizationId, listed: &[&ListedTransaction]) {
        let Some(record) = self.authorizations.get(authorization) else { return };
        for one in listed {
            let known = record.transactions.get(&one.id);
            if known.is_some_and(|known| known.version.told_by == ToldBy::Listing) {
                self.places.insert(one.id.clone(), authorization.clone());
            }
        }
    }

    /// Books a capture or refund where its latest version says that it belongs.
    pub(super) fn settled(
        &mut self,
        seen: &TransactionSeen,
        (created, received_at): (Timestamp, Timestamp),
        event: &EventId,
        moves: &mut Moves,
    ) {
        self.learn_currency(None, seen.currency);
        let transaction = Transaction::new(seen, created, received_at, event);
        if !self.makes_way(seen, &transaction, moves) {
            return;
        }
        if let Some(authorization) = &seen.authorization {
            if transaction.version.told_by == ToldBy::Created {
                self.places.remove(&seen.id);
            } else {
                self.places.insert(seen.id.clone(), authorization.clone());
            }
            self.change(authorization, moves, |authorization| authorization.settled(seen, transaction));
        } else {
            self.places.remove(&seen.id);
            let unlinked = Unlinked {
                transaction,
                // What a budget counts of it does not change when the card's currency does.
                currency: seen.currency.or(self.currency.filter(|_| !self.charges.is_empty())),
                merchant: seen.merchant.clone(),
                charges: Arc::clone(&self.charges),
            };
            self.count_unlinked(&seen.id, &unlinked, 1, moves);
            self.unlinked.insert(seen.id.clone(), unlinked);
        }
    }

    /// Takes an older version of a transaction out of where it was booked, if that is elsewhere. False if a later
    /// version, or the same, is booked.
    fn makes_way(&mut self, seen: &TransactionSeen, transaction: &Transaction, moves: &mut Moves) -> bool {
        let id = &seen.id;
        if let Some(known) = self.unlinked.get(id) {
            if known.transaction.version >= transaction.version {
                return false;
            }
            if let Some(known) = self.unlinked.remove(id) {
                self.count_unlinked(id, &known, -1, moves);
            }
            return true;
        }
        // What a first event of its own has booked only a correction can move.
        let is_first = transaction.version.told_by == ToldBy::Created;
        let place = if is_first {
            self.places.get(id).or(seen.authorization.as_ref()).cloned()
        } else {
            self.place_of(id)
        };
        let Some(place) = place else { return true };
        let record = self.authorizations.get(&place);
        let Some(known) = record.and_then(|record| record.transactions.get(id)) else { return true };
        if known.version >= transaction.version {
            return false;
        }
        if Some(&place) != seen.authorization.as_ref() {
            self.take_out(&place, id, moves);
        }
        true
    }

    /// Takes a transaction out of a record, and the record out of the books if nothing else is known of it.
    fn take_out(&mut self, place: &AuthorizationId, id: &TransactionId, moves: &mut Moves) {
        self.change(place, moves, |authorization| {
            authorization.transactions.remove(id);
        });
        if self.authorizations.get(place).is_some_and(Authorization::is_bare) {
            self.authorizations.remove(place);
        }
    }

    pub(super) fn place_of(&self, id: &TransactionId) -> Option<AuthorizationId> {
        if let Some(place) = self.places.get(id) {
            return Some(place.clone());
        }
        let mut records = self.authorizations.iter();
        records.find_map(|(place, record)| record.transactions.get(id).is_some().then(|| place.clone()))
    }
}

/// Books what an authorization lists, as far as no event of its own has told it.
pub(super) fn book_listed(
    authorization: &mut Authorization,
    listed: &[&ListedTransaction],
    created: Timestamp,
    received_at: Timestamp,
    event: &EventId,
) {
    for one in listed {
        authorization.book(&one.id, Transaction::listed(one, created, received_at, event));
    }
}
