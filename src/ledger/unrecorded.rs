//! Stand-in decisions that the journal did not take. Stripe has those answers, so they are not given up: they count from
//! the start, and go with the next append, or after a pause by themselves.

use std::time::Duration;

use super::{
    Cause, Effect, Given, Ledger, Phase, StoodIn, Timer, Work,
    batch::{Batch, Waiting, decided_in},
    message::Caller,
};
use crate::domain::Event;

/// How long an account without other work waits before it asks the journal again.
const PAUSE: Duration = Duration::from_millis(500);

impl<C: Caller> Ledger<C> {
    /// Tells everyone that nothing of `batch` was recorded, and keeps what has to be recorded all the same.
    pub(super) fn give_up_batch(&mut self, batch: Batch<C>, cause: Cause) {
        let mut kept = Batch::default();
        for (event, waiting) in batch.into_events() {
            if matches!(event, Event::StoodIn(_)) {
                let (held, others): (Vec<_>, Vec<_>) =
                    waiting.into_iter().partition(|waiting| matches!(waiting, Waiting::StandIn(_)));
                let place = kept.push(event, None);
                for waiting in held {
                    kept.join(place, waiting);
                }
                self.give_up_all(others, cause);
            } else {
                self.give_up_all(waiting, cause);
            }
        }
        self.keep(kept);
        self.stay();
    }

    /// Tells work that it cannot be done now. Stand-in decisions are kept.
    pub(super) fn turn_away(&mut self, work: Work<C>, cause: Cause) {
        match work {
            Work::Request(request) => self.give_up(request.waiting, cause),
            Work::Observation(observed) => self.effects.push(Effect::GiveUp(observed.caller, cause)),
            Work::Carry(carry) => self.effects.push(Effect::GiveUp(carry.caller, cause)),
            Work::StandIn(stood_in) => {
                let StoodIn { decided, caller, .. } = *stood_in;
                let mut kept = Batch::default();
                kept.push(Event::StoodIn(Box::new(decided)), caller.map(Waiting::StandIn));
                self.keep(kept);
            }
        }
    }

    fn keep(&mut self, batch: Batch<C>) {
        if batch.is_empty() {
            return;
        }
        if self.unrecorded.is_empty() {
            self.effects.push(Effect::Pause(PAUSE, Timer::Record));
        }
        for event in &batch.events {
            if !self.next.is_empty() {
                self.next.undo.note(&mut self.card, event);
            }
            self.card.apply(event);
        }
        self.unrecorded.extend(batch);
    }

    /// Makes them part of a state that was just read, unless it has another answer that stands.
    pub(super) fn apply_unrecorded(&mut self, given: &Given<'_>) {
        for (event, waiting) in std::mem::take(&mut self.unrecorded).into_events() {
            let voids = voids(&waiting);
            if decided_in(&event).is_some_and(|decided| self.takes_place(given, &decided.request, voids)) {
                self.card.apply(&event);
                let place = self.unrecorded.push(event, None);
                for waiting in waiting {
                    self.unrecorded.join(place, waiting);
                }
            } else {
                self.repeat_all(&event, waiting);
            }
        }
    }

    /// Puts them before what was decided meanwhile.
    pub(super) fn record_unrecorded(&mut self) {
        if self.unrecorded.is_empty() {
            return;
        }
        match self.phase {
            Phase::Ready => {
                let later = std::mem::take(&mut self.next);
                self.next = std::mem::take(&mut self.unrecorded);
                self.next.extend(later);
            }
            Phase::Loading(_) => self.effects.push(Effect::Pause(PAUSE, Timer::Record)),
            Phase::Unread => {
                self.phase = Phase::Loading(Vec::new());
                self.effects.push(Effect::Load);
                self.effects.push(Effect::Pause(PAUSE, Timer::Record));
            }
        }
    }
}

/// Whether a stand-in decision that these wait for takes the place of a decision whose answer has not left.
pub(super) fn voids<C>(waiting: &[Waiting<C>]) -> bool {
    !waiting.iter().any(|waiting| matches!(waiting, Waiting::StandIn(_)))
}
