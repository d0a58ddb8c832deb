//! What the books of a card no longer have in memory. What has settled and is no longer spoken of is evicted, and comes
//! back from the journal before it is spoken of again. The sums count it all the while, so that eviction changes none.

use std::{collections::BTreeSet, time::Duration};

use super::{
    attempts::Latest,
    authorization::Authorization,
    card::{Card, Unlinked},
    event::{Event, Recalled},
    ids::{AuthorizationId, Mention, TransactionId},
    observed::{Fact, ListedTransaction, TransactionSeen},
    request::AuthorizationRequest,
    time::Timestamp,
    transaction::{ToldBy, Transaction},
    window::Uses,
};
use crate::planted::{self, Planted};

/// How far back the books no longer reach. Nothing is lost: the journal has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forgotten {
    /// Authorizations and transactions that Stripe created up to here may be missing.
    pub created_through: Timestamp,
    /// Purchases up to here may be missing, though their windows still count them.
    pub spent_through: Timestamp,
    /// When the latest of the requests that are missing were.
    pub latest: Latest,
}

impl Default for Forgotten {
    fn default() -> Self {
        Self { created_through: Timestamp::MIN, spent_through: Timestamp::MIN, latest: Latest::default() }
    }
}

/// How long a settled authorization can be asked about without a look into the journal.
const SETTLED_KEPT: Duration = Duration::from_hours(24);
/// How many of them, at most, and of captures and refunds without an authorization.
pub const SETTLED_KEPT_MAX: usize = 1_024;

impl Card {
    /// What a request speaks of that these books may have evicted: to be recalled before it is answered.
    #[must_use]
    pub fn evicted_of_request(&self, request: &AuthorizationRequest) -> Vec<Mention> {
        self.evicted_of(&request.authorization, Some(request.created), &request.told.transactions)
    }

    /// What a fact speaks of that these books may have evicted: to be recalled before it is applied.
    #[must_use]
    pub fn evicted_of_fact(&self, fact: &Fact) -> Vec<Mention> {
        match fact {
            Fact::Authorization(seen) => self.evicted_of(&seen.id, Some(seen.created), &seen.listed),
            Fact::Transaction(seen) => self.evicted_of_transaction(seen),
            Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => Vec::new(),
        }
    }

    /// What an event speaks of that these books may have evicted.
    #[must_use]
    pub fn evicted_of_event(&self, event: &Event) -> Vec<Mention> {
        match event {
            Event::Decided(decided) | Event::StoodIn(decided) => self.evicted_of_request(&decided.request),
            Event::Observed(observation) => self.evicted_of_fact(&observation.fact),
            Event::Carried(carried) => {
                carried.events.iter().flat_map(|event| self.evicted_of_event(event)).collect()
            }
            Event::Recalled(_)
            | Event::Joined(_)
            | Event::Controls(_)
            | Event::Charges(_)
            | Event::Command(_)
            | Event::Budget(_)
            | Event::Policy(_)
            | Event::Delivered(_)
            | Event::Snapshot(_) => Vec::new(),
        }
    }

    /// Evicts what has settled and is no longer asked about. The sums keep counting it.
    pub fn forget(&mut self, now: Timestamp) {
        self.forget_except(now, &BTreeSet::new());
    }

    /// Evicts what has settled, but for that of which the journal does not have everything yet: looked up there, it would
    /// come back as it was before.
    pub fn forget_except(&mut self, now: Timestamp, kept: &BTreeSet<Mention>) {
        let floor = now.minus(SETTLED_KEPT);
        let mut settled: Vec<(Timestamp, AuthorizationId)> = self
            .authorizations
            .iter()
            .filter(|(id, one)| one.is_settled() && !is_kept(kept, id, one))
            .map(|(id, one)| (one.last_at(), id.clone()))
            .collect();
        settled.sort_unstable();
        let surplus = settled.len().saturating_sub(SETTLED_KEPT_MAX);
        for (place, (at, id)) in settled.into_iter().enumerate() {
            if place >= surplus && at > floor {
                break;
            }
            if planted::is(Planted::EvictionUncounted)
                && let Some(one) = self.authorizations.get(&id)
            {
                let spends = one.spends(self.refunds_restore);
                let uses = Uses { spends: &spends, currency: one.currency };
                for tally in &mut self.tallies {
                    tally.exchange(uses, Uses::NONE, self.currency);
                }
            }
            self.evict(&id);
        }
        let mut loose: Vec<(Timestamp, TransactionId)> = self
            .unlinked
            .iter()
            .filter(|(id, _)| !kept.contains(&Mention::from(*id)))
            .map(|(id, unlinked)| (unlinked.transaction.at, id.clone()))
            .collect();
        loose.sort_unstable();
        let surplus = loose.len().saturating_sub(SETTLED_KEPT_MAX);
        for (_, id) in loose.into_iter().take(surplus) {
            self.evict_unlinked(&id);
        }
    }

    /// Evicts what has settled and `other`, the same books at the same time, no longer have.
    pub fn forget_like(&mut self, other: &Self) {
        let is_gone = |id: &AuthorizationId, one: &Authorization| {
            one.is_settled() && !other.authorizations.contains_key(id)
        };
        let gone: Vec<AuthorizationId> = self
            .authorizations
            .iter()
            .filter(|(id, one)| is_gone(id, one))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &gone {
            self.evict(id);
        }
        let loose: Vec<TransactionId> =
            self.unlinked.keys().filter(|id| !other.unlinked.contains_key(*id)).cloned().collect();
        for id in &loose {
            self.evict_unlinked(id);
        }
    }

    fn evicted_of(
        &self,
        authorization: &AuthorizationId,
        created: Option<Timestamp>,
        listed: &[ListedTransaction],
    ) -> Vec<Mention> {
        let mut evicted = Vec::new();
        if self.may_have_evicted(authorization, created) {
            evicted.push(authorization.into());
        }
        let record = self.authorizations.get(authorization);
        let is_here = |id| record.is_some_and(|record| record.transactions.get(id).is_some());
        for one in listed.iter().filter(|one| !is_here(&one.id)) {
            if self.may_have_evicted_transaction(&one.id, Some(one.created)) {
                evicted.push((&one.id).into());
            }
        }
        evicted
    }

    fn evicted_of_transaction(&self, seen: &TransactionSeen) -> Vec<Mention> {
        let mut evicted = Vec::new();
        let record = seen.authorization.as_ref().map(|id| (id, self.authorizations.get(id)));
        if let Some((id, None)) = record
            && self.may_have_evicted(id, None)
        {
            evicted.push(id.into());
        }
        let is_here = record
            .and_then(|(_, record)| record)
            .is_some_and(|record| record.transactions.get(&seen.id).is_some());
        let created = Some(seen.created).filter(|created| *created != Timestamp::default());
        if !is_here && self.may_have_evicted_transaction(&seen.id, created) {
            evicted.push((&seen.id).into());
        }
        evicted
    }

    /// Whether an authorization that these books do not have may have been in them once. Where nobody says when it
    /// was created, it may.
    fn may_have_evicted(&self, authorization: &AuthorizationId, created: Option<Timestamp>) -> bool {
        self.reaches_back_to(created) && !self.authorizations.contains_key(authorization)
    }

    fn may_have_evicted_transaction(&self, id: &TransactionId, created: Option<Timestamp>) -> bool {
        self.reaches_back_to(created) && !self.unlinked.contains_key(id) && !self.places.contains_key(id)
    }

    /// Whether anything that Stripe created then may have been evicted.
    fn reaches_back_to(&self, created: Option<Timestamp>) -> bool {
        let through = self.forgotten.created_through;
        through > Timestamp::MIN && created.is_none_or(|created| created <= through)
    }

    fn evict(&mut self, id: &AuthorizationId) {
        let Some(gone) = self.authorizations.remove(id) else { return };
        let is_dated = gone.created != Timestamp::default();
        self.created_through(if is_dated { gone.created } else { gone.last_at() });
        for (transaction, told) in gone.transactions.iter() {
            self.created_through(told.version.created);
            self.places.remove(transaction);
        }
        self.let_go = self.let_go.plus(gone.totals());
        self.forgotten.latest = self.forgotten.latest.max(gone.latest());
        for spend in gone.spends(false) {
            self.forgotten.spent_through = self.forgotten.spent_through.max(spend.at);
        }
    }

    fn evict_unlinked(&mut self, id: &TransactionId) {
        let Some(gone) = self.unlinked.remove(id) else { return };
        let Transaction { at, version, .. } = &gone.transaction;
        self.created_through(version.created);
        self.let_go = self.let_go.plus(gone.totals());
        self.forgotten.spent_through = self.forgotten.spent_through.max(*at);
    }

    /// What was evicted may have been created as late as this.
    pub(super) fn created_through(&mut self, created: Timestamp) {
        self.forgotten.created_through = self.forgotten.created_through.max(created);
    }

    /// Takes back what the books do not have. The sums count it still. Transactions that are elsewhere stay there.
    pub(super) fn recalled(&mut self, recalled: &Recalled) {
        for (id, record) in &recalled.authorizations {
            if !self.authorizations.contains_key(id) {
                self.recalled_authorization(id, record.clone());
            }
        }
        for (id, unlinked) in &recalled.unlinked {
            if !self.unlinked.contains_key(id) && self.place_of(id).is_none() {
                self.let_go = self.let_go.minus(unlinked.totals());
                self.unlinked.insert(id.clone(), unlinked.clone());
            }
        }
    }

    fn recalled_authorization(&mut self, id: &AuthorizationId, mut record: Authorization) {
        let totals = record.totals();
        record.transactions.retain(|transaction| {
            !self.unlinked.contains_key(transaction) && self.place_of(transaction).is_none()
        });
        if record.is_bare() {
            return;
        }
        self.let_go = self.let_go.minus(totals);
        for (transaction, told) in record.transactions.iter() {
            if told.version.told_by != ToldBy::Created {
                self.places.insert(transaction.clone(), id.clone());
            }
        }
        self.authorizations.insert(id.clone(), record);
    }

    /// What of this the books do not have; nothing where they have it all.
    #[must_use]
    pub fn lacking(&self, recalled: Recalled) -> Option<Recalled> {
        let Recalled { mut authorizations, mut unlinked } = recalled;
        authorizations.retain(|(id, _)| !self.authorizations.contains_key(id));
        unlinked.retain(|(id, _): &(TransactionId, Unlinked)| !self.unlinked.contains_key(id));
        let is_complete = authorizations.is_empty() && unlinked.is_empty();
        (!is_complete).then_some(Recalled { authorizations, unlinked })
    }
}

fn is_kept(kept: &BTreeSet<Mention>, id: &AuthorizationId, one: &Authorization) -> bool {
    !kept.is_empty()
        && (kept.contains(&Mention::from(id))
            || one.transactions.iter().any(|(transaction, _)| kept.contains(&Mention::from(transaction))))
}
