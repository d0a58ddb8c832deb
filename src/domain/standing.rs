//! What is known of a card itself, apart from what is bought with it: whether it is active, its group, its account, and
//! the card that it replaces. A cardholder has books of this alone.

use std::sync::Arc;

use super::{
    card::{Card, Forgotten, Totals},
    event::{Carried, Joined},
    ids::{CardId, ConnectedAccountId, EventId},
    time::Timestamp,
};

/// The state of a card or of a cardholder at Stripe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// `status` is `active`.
    pub is_active: bool,
    /// `metadata.tollgate_group`.
    pub group: Option<Arc<str>>,
    /// By which event: update or not, then its time and id. The later one goes over the earlier.
    pub version: (bool, Timestamp, EventId),
}

impl Card {
    /// Whether an event of this connected account may be the card's. One that names none says nothing against it.
    #[must_use]
    pub fn is_of(&self, account: Option<&ConnectedAccountId>) -> bool {
        account.is_none_or(|named| self.connected_account.as_ref().is_none_or(|known| known == named))
    }

    /// Whether anything was ever booked here that windows count, or that may be asked about again.
    #[must_use]
    pub fn has_purchases(&self) -> bool {
        let is_empty = self.authorizations.is_empty() && self.unlinked.is_empty();
        !is_empty || self.forgotten != Forgotten::default() || self.let_go != Totals::default()
    }

    /// Up to which of its entries these books have the purchases of `card`.
    #[must_use]
    pub fn carried_through(&self, card: &CardId) -> u64 {
        self.carried.iter().find(|(known, _)| known == card).map_or(0, |(_, through)| *through)
    }

    pub(super) fn stand(
        &mut self,
        is_active: bool,
        group: Option<&Arc<str>>,
        version: (bool, Timestamp, EventId),
    ) {
        if self.standing.as_ref().is_none_or(|known| known.version < version) {
            self.group = group.cloned();
            self.standing = Some(Standing { is_active, group: group.cloned(), version });
        }
    }

    /// From here on the books of the replaced card have the purchases; once they have them all, these let go of them.
    pub(super) fn join(&mut self, joined: &Joined) {
        if joined.is_carried {
            *self = Self {
                currency: self.currency,
                time: self.time,
                group: self.group.take(),
                standing: self.standing.take(),
                connected_account: self.connected_account.take(),
                carried: std::mem::take(&mut self.carried),
                ..Self::default()
            };
        }
        self.joined = Some(joined.clone());
    }

    pub(super) fn carry(&mut self, carried: &Carried) {
        let Carried { from, through, events } = carried;
        for event in events {
            self.apply(event);
        }
        match self.carried.iter_mut().find(|(card, _)| card == from) {
            Some((_, known)) => *known = (*known).max(*through),
            None => self.carried.push((from.clone(), *through)),
        }
    }

    pub(super) fn learn_account(&mut self, named: Option<&ConnectedAccountId>) {
        if self.connected_account.is_none() {
            self.connected_account = named.cloned();
        }
    }
}
