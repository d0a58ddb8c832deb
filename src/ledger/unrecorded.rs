//! Stand-in decisions that the journal did not take. Stripe has those answers, so they are not given up: they count from
//! the start, and go with the next append, or after a pause by themselves.

use std::time::Duration;

use super::{
    Cause, Effect, Given, Ledger, Timer, Work,
    batch::{Batch, Waiters, Waiting, decided_in},
    member::{InForce, Slot},
    message::Caller,
};
use crate::domain::{BudgetEvent, Event, Holder, Move, Moves};

/// How long an account without other work waits before it asks the journal again.
const PAUSE: Duration = Duration::from_millis(500);

impl<C: Caller> Ledger<C> {
    /// Tells everyone that nothing of `batch` was recorded, and keeps what has to be recorded all the same.
    pub(super) fn give_up_batch(&mut self, given: &Given<'_>, batch: Batch<C>, cause: Cause) {
        let slots = batch.slots();
        let mut kept = Batch::default();
        for (at, event, waiting) in batch.into_events() {
            if matches!(event, Event::StoodIn(_)) {
                let (held, others): (Waiters<C>, Waiters<C>) =
                    waiting.into_iter().partition(|waiting| matches!(waiting, Waiting::StandIn(_)));
                let place = kept.push(at, event, None);
                for waiting in held {
                    kept.join(place, waiting);
                }
                self.give_up_all(others, cause);
            } else {
                self.give_up_all(waiting, cause);
            }
        }
        self.keep(given, kept);
        for at in slots {
            self.stay(given, at);
        }
    }

    /// Tells work that it cannot be done now. Stand-in decisions are kept.
    pub(super) fn turn_away(&mut self, given: &Given<'_>, at: Slot, work: Work<C>, cause: Cause) {
        match work {
            Work::Request(request) => self.give_up(request.waiting, cause),
            Work::Observation(observed) => self.effects.push(Effect::GiveUp(observed.caller, cause)),
            Work::Carry(carry) => self.effects.push(Effect::GiveUp(carry.caller, cause)),
            Work::Operation(operation) => self.effects.push(Effect::GiveUp(operation.caller, cause)),
            Work::StandIn(stood_in) => {
                let caller = stood_in.caller.map(Waiting::StandIn);
                self.push_unrecorded(given, at, Event::StoodIn(Box::new(stood_in.decided)), caller);
            }
        }
    }

    fn keep(&mut self, given: &Given<'_>, batch: Batch<C>) {
        if batch.is_empty() {
            return;
        }
        for (at, event, waiting) in batch.into_events() {
            let place = self.push_unrecorded(given, at, event, None);
            for waiting in waiting {
                self.unrecorded.join(place, waiting);
            }
        }
        self.apply_unrecorded(given);
    }

    fn push_unrecorded(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        event: Event,
        waiting: Option<Waiting<C>>,
    ) -> usize {
        if self.unrecorded.is_empty() {
            self.effects.push(Effect::Pause(PAUSE, Timer::Record));
        }
        if let Some(decided) = decided_in(&event).filter(|_| !given.policy.budgets().is_empty()) {
            let request = &decided.request;
            let (card, group) = (request.card.as_ref(), request.group.as_ref());
            let in_force = InForce::new(given.policy, card, group, &Holder::from(&**request), None);
            self.unrecorded.push(at, Event::Charges(in_force.charges), None);
        }
        self.unrecorded.push(at, event, waiting)
    }

    /// Makes those of an account that was just read part of its state, unless another answer stands there.
    pub(super) fn apply_unrecorded_of(&mut self, given: &Given<'_>, read: Slot) {
        if self.unrecorded.is_empty() {
            return;
        }
        let mut charges = None;
        for (at, event, waiting) in std::mem::take(&mut self.unrecorded).into_events() {
            let decided = decided_in(&event).filter(|_| at == read);
            let is_kept =
                decided.is_none_or(|decided| self.takes_place(given, at, &decided.request, voids(&waiting)));
            if at == read && matches!(event, Event::Charges(_)) {
                charges = Some(event);
            } else if is_kept {
                if at == read {
                    charges.take().map(|charges| self.unrecorded.push(at, charges, None));
                }
                let place = self.unrecorded.push(at, event, None);
                for waiting in waiting {
                    self.unrecorded.join(place, waiting);
                }
            } else {
                charges = None;
                self.repeat_all(at, &event, waiting);
            }
        }
        self.apply(given, Some(read));
    }

    /// Makes them part of the state of their accounts, as far as those are in memory. One that is part of it already changes
    /// nothing.
    pub(super) fn apply_unrecorded(&mut self, given: &Given<'_>) {
        self.apply(given, None);
    }

    fn apply(&mut self, given: &Given<'_>, only: Option<Slot>) {
        let mut legs: Vec<(Slot, Move)> = Vec::new();
        for (at, event) in &self.unrecorded.events {
            let member = &mut self.members[*at];
            let is_meant = only.is_none_or(|only| only == *at);
            if !is_meant || !member.is_ready() || matches!(event, Event::Budget(_)) {
                continue;
            }
            if !self.next.is_empty() {
                self.next.undo.note(*at, member, event);
            }
            let mut moves = Moves::new();
            member.card.apply_moving(event, &mut moves);
            legs.extend(moves.into_iter().map(|one| (*at, one)));
        }
        // What a card that was read anew changes for its budgets takes the place of what it had changed before.
        for (at, Move { of, .. }) in &legs {
            let card = &self.members[*at].account;
            self.unrecorded.remove(|event| match event {
                Event::Budget(event) => {
                    matches!(&**event, BudgetEvent::Leg(leg) if leg.of == *of && leg.card == *card)
                }
                _ => false,
            });
        }
        for (at, moved) in legs {
            for (budget, leg) in self.legs(given, at, moved) {
                let event = Event::Budget(Box::new(BudgetEvent::Leg(leg)));
                let member = &mut self.members[budget];
                if member.has_state() {
                    if !self.next.is_empty() {
                        self.next.undo.note(budget, member, &event);
                    }
                    if let Event::Budget(event) = &event {
                        member.budget.apply(event);
                    }
                }
                self.unrecorded.push(budget, event, None);
            }
        }
    }

    /// Applies what was recorded for a budget while it was not in memory.
    pub(super) fn apply_pending(&mut self, at: Slot) {
        let pending = self.unrecorded.events.iter().chain(&self.next.events);
        for event in pending.filter(|(of, _)| *of == at).map(|(_, event)| event) {
            if let Event::Budget(event) = event {
                self.members[at].budget.apply(event);
            }
        }
    }

    /// The cards are read anew: what they change for budgets follows when they are.
    pub(super) fn drop_unrecorded_legs(&mut self) {
        self.unrecorded.remove(|event| matches!(event, Event::Budget(_)));
    }

    /// Puts them before what was decided meanwhile.
    pub(super) fn record_unrecorded(&mut self) {
        let unread: Vec<Slot> =
            self.unrecorded.slots().into_iter().filter(|at| !self.members[*at].has_state()).collect();
        if !unread.is_empty() {
            for at in unread {
                self.load(at);
            }
            return self.effects.push(Effect::Pause(PAUSE, Timer::Record));
        }
        if !self.unrecorded.is_empty() {
            let later = self.take_next();
            self.next = std::mem::take(&mut self.unrecorded);
            self.next.extend(later);
        }
    }
}

/// Whether a stand-in decision that these wait for takes the place of a decision whose answer has not left.
pub(super) fn voids<C>(waiting: &[Waiting<C>]) -> bool {
    !waiting.iter().any(|waiting| matches!(waiting, Waiting::StandIn(_)))
}
