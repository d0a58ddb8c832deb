//! What waits for a batch, and in which order it goes: by urgency. When a batch goes, and what becomes of it, is the
//! committer's.

use std::{collections::BTreeMap, time::Duration};

use super::{Done, pace::Pace};
use crate::{
    clock::Instant,
    journal::{Append, Outcome},
};

/// Every so manieth batch has a slot for what can wait.
const SLOT_FOR_LATER_EVERY: u32 = 4;

/// How soon an append has to be durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// As soon as possible, however long it price: Stripe waits for the acknowledgement of a fact.
    Now,
    /// Callers wait until then, and no longer. What cannot be durable by then is not written: [`Outcome::Expired`].
    By(Instant),
    /// No caller waits. It fills what is left of a batch, and gets a slot in every fourth.
    Later,
}

/// Names an append in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    urgency: Urgency,
    number: u64,
}

/// An append, and who waits for its outcome.
pub(super) struct Job {
    pub(super) append: Append,
    pub(super) waiting: Waiting,
}

/// Who waits for the outcome of an append.
pub(super) struct Waiting {
    pub(super) done: Done,
    /// How often the outcome was unknown.
    pub(super) tries: u32,
    pub(super) since: Instant,
}

/// Jobs by urgency. Those with a deadline go by it, the others in the order in which they came.
#[derive(Default)]
pub(super) struct Queue {
    now: BTreeMap<u64, Job>,
    by: BTreeMap<(Instant, u64), Job>,
    later: BTreeMap<u64, Job>,
    numbered: u64,
    batches_without_later: u32,
}

/// What was taken out of the queue.
#[derive(Default)]
pub(super) struct Taken {
    /// To be written, in this order.
    pub(super) batch: Vec<Job>,
    /// Too late to be written.
    pub(super) expired: Vec<Job>,
}

impl Queue {
    pub(super) fn push(&mut self, urgency: Urgency, job: Job) -> Ticket {
        self.numbered = self.numbered.wrapping_add(1);
        let number = self.numbered;
        match urgency {
            Urgency::Now => drop(self.now.insert(number, job)),
            Urgency::By(due) => drop(self.by.insert((due, number), job)),
            Urgency::Later => drop(self.later.insert(number, job)),
        }
        Ticket { urgency, number }
    }

    /// Takes a job back, if it has not been taken.
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Option<Job> {
        let Ticket { urgency, number } = ticket;
        match urgency {
            Urgency::Now => self.now.remove(&number),
            Urgency::By(due) => self.by.remove(&(due, number)),
            Urgency::Later => self.later.remove(&number),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.now.len().saturating_add(self.by.len()).saturating_add(self.later.len())
    }

    /// How many go before one that comes now. Facts and decisions take turns, so that neither starves the other.
    pub(super) fn ahead_of(&self, urgency: Urgency) -> usize {
        let (own, others) = match urgency {
            Urgency::Now => (self.now.len(), self.by.len()),
            Urgency::By(_) => (self.by.len(), self.now.len()),
            Urgency::Later => return self.len(),
        };
        own.saturating_add(others.min(own.saturating_add(1)))
    }

    /// Since when the oldest one waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let first = |jobs: &BTreeMap<u64, Job>| jobs.values().next().map(|job| job.waiting.since);
        let by = self.by.values().map(|job| job.waiting.since).min();
        [first(&self.now), by, first(&self.later)].into_iter().flatten().min()
    }

    /// Takes what goes next, `room` at most, and what is too late at the time `at`.
    pub(super) fn take(&mut self, room: usize, at: Instant, pace: &Pace) -> Taken {
        let mut taken = Taken::default();
        if room == 0 {
            return taken;
        }
        let has_slot_for_later =
            !self.later.is_empty() && self.batches_without_later.saturating_add(1) >= SLOT_FOR_LATER_EVERY;
        let urgent = room.saturating_sub(usize::from(has_slot_for_later));
        taken.batch.reserve_exact(room.min(self.len()));
        let price = pace.of_batch(urgent.min(self.now.len().saturating_add(self.by.len())));
        self.take_urgent(urgent, at, price, &mut taken);
        let before = taken.batch.len();
        let left = room.saturating_sub(before);
        let at_least = usize::from(has_slot_for_later || before == 0);
        for _ in 0..pace.beside(before, left).max(at_least).min(left) {
            let Some((_, job)) = self.later.pop_first() else { break };
            taken.batch.push(job);
        }
        let has_later = taken.batch.len() > before || self.later.is_empty();
        self.batches_without_later = if has_later { 0 } else { self.batches_without_later.saturating_add(1) };
        taken
    }

    /// Takes facts and decisions in turns.
    fn take_urgent(&mut self, room: usize, at: Instant, price: Duration, taken: &mut Taken) {
        while taken.batch.len() < room && !(self.now.is_empty() && self.by.is_empty()) {
            if let Some(job) = self.in_time(at, price, taken) {
                taken.batch.push(job);
            }
            if taken.batch.len() < room
                && let Some((_, job)) = self.now.pop_first()
            {
                taken.batch.push(job);
            }
        }
    }

    /// The next decision that will be in time. One is tried as long as its time is not over, whatever is expected of the
    /// commit: that way it is found out.
    fn in_time(&mut self, at: Instant, price: Duration, taken: &mut Taken) -> Option<Job> {
        let soonest = at.checked_add(price).unwrap_or(at);
        while let Some(((due, _), job)) = self.by.pop_first() {
            if due >= soonest || (due > at && taken.batch.is_empty()) {
                return Some(job);
            }
            taken.expired.push(job);
        }
        None
    }
}

impl Job {
    pub(super) fn tell(self, outcome: Outcome) {
        self.waiting.tell(&self.append, outcome);
    }
}
