//! How a card's actor ends: it leaves the books to the directory and rests, or leaves memory behind a snapshot. It goes
//! only when there is nothing to do, and nobody on the way here.

use super::{Desk, Phase};
use crate::{actors::books::Folded, metrics::Passivation};

impl Desk {
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.is_some()
            || !self.next.is_empty()
            || !self.owed.is_empty()
            || self.lookups > 0
            || self.joining.is_some()
            || matches!(self.phase, Phase::Loading(_))
    }

    /// Leaves the books to the directory if there is nothing to do, until somebody asks for the card again.
    pub(super) fn rest(&mut self) {
        if self.is_busy() || !matches!(self.phase, Phase::Ready) {
            return;
        }
        let folded = Folded {
            card: std::mem::take(&mut self.card),
            head: self.head,
            entries_since_snapshot: self.entries_since_snapshot,
            events_since_snapshot: self.events_since_snapshot,
            snapshot_size: self.snapshot_size,
            holds: None,
        };
        match self.lease.rest(Box::new(folded)) {
            Ok(()) => drop(self.myself.drain()),
            Err(folded) => self.take(*folded),
        }
    }

    /// Leaves memory if there is nothing to do, behind a snapshot if anything was written since the last.
    pub(super) fn passivate(&mut self, cause: Passivation) {
        if self.is_busy() {
            return;
        }
        self.leaving = Some(cause);
        if self.entries_since_snapshot == 0 {
            return self.leave();
        }
        let snapshot = self.snapshot(&[]);
        self.next.push(snapshot, None);
    }

    /// Gives up the place in the directory, unless somebody is on the way here.
    pub(super) fn leave(&mut self) {
        let cause = self.leaving.take().unwrap_or(Passivation::Failure);
        if self.next.is_empty() && self.owed.is_empty() && self.lease.give_up() {
            self.shared.metrics.cards.passivations.get(cause).increment(1);
            drop(self.myself.drain());
        }
    }
}
