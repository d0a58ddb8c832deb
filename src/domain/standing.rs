//! What is known of a card itself, apart from what is bought with it: whether it is active, its group, its account, and
//! the card that it replaces. A cardholder has books of this alone.

use std::sync::Arc;

use super::{
    card::{Card, Moves, Totals},
    event::{Carried, Joined},
    evicted::Forgotten,
    ids::{CardId, ConnectedAccountId, EventId},
    time::Timestamp,
};

/// What Stripe says of a card or of a cardholder at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// `status` is `active`.
    pub is_active: bool,
    /// `metadata.tollgate_group`.
    pub group: Option<Arc<str>>,
}

/// The state of a card or of a cardholder by its own events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The state after the last event.
    pub state: State,
    /// The state before it, by its `previous_attributes`.
    pub before: State,
    /// Which event: update or not, then its time and id. The later one goes over the earlier; of two of one second,
    /// the one whose state before is the state after the other.
    pub version: (bool, Timestamp, EventId),
    /// The state that an event of an earlier second left.
    pub base: Option<State>,
}

impl Standing {
    /// The state that goes over the one that a request of the time `at` embeds, if there is one. The request is the later
    /// word, unless the event is of a later second, or of the same one and changed what the request still shows.
    #[must_use]
    pub fn over(&self, embedded: Option<&State>, at: Timestamp) -> Option<&State> {
        let (event, request) = (self.version.1.as_seconds(), at.as_seconds());
        let is_over = embedded.is_none_or(|embedded| {
            event > request || (event == request && *embedded == self.before && *embedded != self.state)
        });
        is_over.then_some(&self.state)
    }

    /// Whether an event is later than the known one.
    fn is_later(&self, state: &State, before: &State, version: &(bool, Timestamp, EventId)) -> bool {
        let (known, new) = ((self.version.0, self.version.1), (version.0, version.1));
        if known != new || self.version.2 == version.2 {
            return known < new;
        }
        match (*before == self.state, self.before == *state) {
            (true, false) => true,
            (false, true) => false,
            // There and back again in one second: the one that found what was there before was the first.
            (true, true) | (false, false) => match &self.base {
                Some(base) if *base == self.before && base != before => true,
                Some(base) if base == before && *base != self.before => false,
                Some(_) | None => self.version < *version,
            },
        }
    }
}

impl Card {
    /// Whether an event of this connected account may be the card's. One that names none says nothing against it.
    #[must_use]
    pub fn is_of(&self, account: Option<&ConnectedAccountId>) -> bool {
        account.is_none_or(|named| self.connected_account.as_ref().is_none_or(|known| known == named))
    }

    /// Whether anything was ever booked here that windows count, that may be asked about again, or that changes decisions.
    #[must_use]
    pub fn has_purchases(&self) -> bool {
        let is_empty = self.authorizations.is_empty() && self.unlinked.is_empty();
        !is_empty
            || self.forgotten != Forgotten::default()
            || self.let_go != Totals::default()
            || !self.exceptions.is_empty()
    }

    /// Up to which of its entries these books have the purchases of `card`.
    #[must_use]
    pub fn carried_through(&self, card: &CardId) -> u64 {
        self.carried.iter().find(|(known, _)| known == card).map_or(0, |(_, through)| *through)
    }

    pub(super) fn stand(&mut self, state: State, before: State, version: (bool, Timestamp, EventId)) {
        let known = self.standing.take();
        self.standing =
            match known {
                Some(known) if !known.is_later(&state, &before, &version) => Some(known),
                known => {
                    self.group.clone_from(&state.group);
                    let base = known.and_then(|known| {
                        if known.version.1 == version.1 { known.base } else { Some(known.state) }
                    });
                    Some(Standing { state, before, version, base })
                }
            };
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
        // The chain that they come from has charged the budgets.
        let moves = &mut Moves::new();
        for event in events {
            self.apply_moving(event, moves);
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
