//! The place of a card in the directory: who works at it, and the actor's hold on it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use ractor::ActorRef;

use super::{books::Folded, card::Message, directory::Shared, holds::Holds};
use crate::{clock, domain::Account, metrics::Passivation};

/// One card in memory.
pub(super) struct Slot {
    pub(super) occupant: Occupant,
    pub(super) place: Arc<Place>,
    /// When it was last asked, in milliseconds after the directory was made. It stands here, and not in the place, so
    /// that sweeping runs along the table and follows no pointers.
    pub(super) used_at_ms: AtomicU64,
}

/// Who is there.
pub(super) enum Occupant {
    /// The card's actor.
    Working(ActorRef<Message>),
    /// Only its books: an actor that waits for a while takes more memory than they do.
    Resting(Box<Folded>),
}

impl Slot {
    /// The card's actor, unless it rests.
    pub(super) const fn actor(&self) -> Option<&ActorRef<Message>> {
        match &self.occupant {
            Occupant::Working(actor) => Some(actor),
            Occupant::Resting(_) => None,
        }
    }
}

/// What the directory and an actor both know of a card.
pub(super) struct Place {
    pub(super) incarnation: u64,
    /// Messages that the actor has not taken up yet. It leaves only when there are none.
    pub(super) queued: AtomicUsize,
}

impl Place {
    /// A place with so many messages on their way to it.
    pub(super) const fn new(incarnation: u64, queued: usize) -> Self {
        Self { incarnation, queued: AtomicUsize::new(queued) }
    }
}

/// An actor's hold on its place in the directory. When the actor ends, in order or not, the place is free.
pub(super) struct Lease {
    shared: Arc<Shared>,
    account: Account,
    place: Arc<Place>,
    /// The card's among the node's; none once the place is given up.
    holds: Option<Holds>,
    is_given_up: bool,
}

impl Lease {
    pub(super) fn new(shared: &Arc<Shared>, account: &Account, place: &Arc<Place>, holds: Holds) -> Self {
        let (shared, account, place) = (Arc::clone(shared), account.clone(), Arc::clone(place));
        Self { shared, account, place, holds: Some(holds), is_given_up: false }
    }

    /// Whether the actor has nothing to say any more.
    pub(super) const fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// The books have so many open holds now.
    pub(super) fn count_holds(&mut self, open: usize) {
        if let Some(holds) = &mut self.holds {
            holds.count(open);
        }
    }

    /// A message was taken up.
    pub(super) fn leave_queue(&self) {
        self.place.queued.fetch_sub(1, Ordering::AcqRel);
    }

    /// A message was put back.
    pub(super) fn join_queue(&self) {
        self.place.queued.fetch_add(1, Ordering::AcqRel);
    }

    /// Leaves the directory, unless a message is on its way: whoever enters does so while the slot is locked.
    pub(super) fn give_up(&mut self) -> bool {
        let place = &self.place;
        let removed = self.shared.slots.remove_if(&self.account, |_, slot| {
            slot.place.incarnation == place.incarnation && slot.place.queued.load(Ordering::Acquire) == 0
        });
        if removed.is_some() {
            self.is_given_up = true;
            self.holds = None;
            self.shared.one_less_resident();
        }
        removed.is_some()
    }

    /// Leaves the books in the directory and goes, unless a message is on its way: then it gets them back.
    pub(super) fn rest(&mut self, mut folded: Box<Folded>) -> Result<(), Box<Folded>> {
        let place = &self.place;
        match self.shared.slots.get_mut(&self.account) {
            Some(mut slot)
                if slot.place.incarnation == place.incarnation
                    && slot.place.queued.load(Ordering::Acquire) == 0 =>
            {
                folded.holds = self.holds.take();
                slot.occupant = Occupant::Resting(folded);
                self.is_given_up = true;
                Ok(())
            }
            Some(_) | None => Err(folded),
        }
    }

    /// The card's books could not be used.
    pub(super) fn fail(&self) {
        self.shared.count_failure(&self.account, clock::instant());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_given_up {
            return;
        }
        let incarnation = self.place.incarnation;
        self.shared.slots.remove_if(&self.account, |_, slot| slot.place.incarnation == incarnation);
        self.shared.one_less_resident();
        self.shared.metrics.cards.passivations.get(Passivation::Failure).increment(1);
        self.shared.count_failure(&self.account, clock::instant());
    }
}
