//! What waits for a batch or for its outcome, and in which order it goes: by urgency. When a batch goes, and what becomes of it, is the
//! committer's.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tracing::error;

use super::{Done, pace::Pace};
use crate::{
    clock::Instant,
    journal::{Append, Outcome},
};

/// Every so manieth batch has a slot for what can wait.
const SLOT_FOR_LATER_EVERY: u32 = 4;

/// How long an append of unknown outcome waits before its first repetition; the wait doubles with each.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
/// The longest such wait.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

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
    now: Lane<u64>,
    by: Lane<(Instant, u64)>,
    later: Lane<u64>,
    numbered: u64,
    batches_without_later: u32,
}

/// Jobs of one urgency in order, and how many rows they have.
struct Lane<K> {
    jobs: BTreeMap<K, Job>,
    rows: usize,
}

/// What was taken out of the queue.
#[derive(Default)]
pub(super) struct Taken {
    /// To be written, in this order.
    pub(super) batch: Vec<Job>,
    /// The rows of these.
    rows: usize,
    /// Too late to be written.
    pub(super) expired: Vec<Job>,
}

impl Queue {
    pub(super) fn push(&mut self, urgency: Urgency, job: Job) -> Ticket {
        self.numbered = self.numbered.wrapping_add(1);
        let number = self.numbered;
        match urgency {
            Urgency::Now => self.now.push(number, job),
            Urgency::By(due) => self.by.push((due, number), job),
            Urgency::Later => self.later.push(number, job),
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

    /// The rows that wait.
    pub(super) const fn rows(&self) -> usize {
        self.now.rows.saturating_add(self.by.rows).saturating_add(self.later.rows)
    }

    /// How many rows go before those of an append that comes now. Facts and decisions take turns, so that neither starves the
    /// other.
    pub(super) fn ahead_of(&self, urgency: Urgency) -> usize {
        let (own, others) = match urgency {
            Urgency::Now => (self.now.rows, self.by.rows),
            Urgency::By(_) => (self.by.rows, self.now.rows),
            Urgency::Later => return self.rows(),
        };
        own.saturating_add(others.min(own.saturating_add(1)))
    }

    /// Since when the oldest one waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let by = self.by.jobs.values().map(|job| job.waiting.since).min();
        [self.now.oldest(), by, self.later.oldest()].into_iter().flatten().min()
    }

    /// Takes what goes next, of `room` rows at most, and what is too late at the time `at`. An append that has more rows than
    /// that goes by itself.
    pub(super) fn take(&mut self, room: usize, at: Instant, pace: &Pace) -> Taken {
        let mut taken = Taken::default();
        if room == 0 {
            return taken;
        }
        let has_slot_for_later =
            !self.later.is_empty() && self.batches_without_later.saturating_add(1) >= SLOT_FOR_LATER_EVERY;
        let urgent = room.saturating_sub(usize::from(has_slot_for_later));
        taken.batch.reserve_exact(room.min(self.rows()));
        let price = pace.of_batch(urgent.min(self.now.rows.saturating_add(self.by.rows)));
        self.take_urgent(urgent, at, price, &mut taken);
        let before = taken.batch.len();
        let left = room.saturating_sub(taken.rows);
        let at_least = usize::from(has_slot_for_later || before == 0);
        let room = taken.rows.saturating_add(pace.beside(taken.rows, left).max(at_least).min(left));
        while let Some(job) = self.later.take_into(room, &taken) {
            taken.push(job);
        }
        let has_later = taken.batch.len() > before || self.later.is_empty();
        self.batches_without_later = if has_later { 0 } else { self.batches_without_later.saturating_add(1) };
        taken
    }

    /// Takes facts and decisions in turns.
    fn take_urgent(&mut self, room: usize, at: Instant, price: Duration, taken: &mut Taken) {
        loop {
            let decision = self.in_time(room, at, price, taken);
            let has_decision = decision.is_some();
            if let Some(job) = decision {
                taken.push(job);
            }
            let fact = self.now.take_into(room, taken);
            if !has_decision && fact.is_none() {
                return;
            }
            if let Some(job) = fact {
                taken.push(job);
            }
        }
    }

    /// The next decision that will be in time, if it has room. One is tried as long as its time is not over, whatever is
    /// expected of the commit: that way it is found out.
    fn in_time(&mut self, room: usize, at: Instant, price: Duration, taken: &mut Taken) -> Option<Job> {
        let soonest = at.checked_add(price).unwrap_or(at);
        while let Some(((due, _), job)) = self.by.jobs.first_key_value() {
            let is_in_time = *due >= soonest || (*due > at && taken.batch.is_empty());
            if is_in_time && !taken.has_room(room, job) {
                return None;
            }
            let job = self.by.pop_first()?;
            if is_in_time {
                return Some(job);
            }
            taken.expired.push(job);
        }
        None
    }
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Self { jobs: BTreeMap::new(), rows: 0 }
    }
}

impl<K: Ord> Lane<K> {
    fn push(&mut self, at: K, job: Job) {
        self.rows = self.rows.saturating_add(job.rows());
        self.jobs.insert(at, job);
    }

    fn remove(&mut self, at: &K) -> Option<Job> {
        let job = self.jobs.remove(at)?;
        self.rows = self.rows.saturating_sub(job.rows());
        Some(job)
    }

    fn pop_first(&mut self) -> Option<Job> {
        let (_, job) = self.jobs.pop_first()?;
        self.rows = self.rows.saturating_sub(job.rows());
        Some(job)
    }

    /// The next one, if it fits into a batch of so many rows beside what was taken.
    fn take_into(&mut self, room: usize, taken: &Taken) -> Option<Job> {
        let (_, next) = self.jobs.first_key_value()?;
        if taken.has_room(room, next) { self.pop_first() } else { None }
    }

    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Since when the first one waits.
    fn oldest(&self) -> Option<Instant> {
        self.jobs.values().next().map(|job| job.waiting.since)
    }
}

impl Taken {
    fn push(&mut self, job: Job) {
        self.rows = self.rows.saturating_add(job.rows());
        self.batch.push(job);
    }

    /// Whether a job fits into a batch of so many rows. One fits in any case.
    fn has_room(&self, room: usize, job: &Job) -> bool {
        room > 0 && (self.batch.is_empty() || self.rows.saturating_add(job.rows()) <= room)
    }
}

impl Job {
    pub(super) fn rows(&self) -> usize {
        self.append.rows.len()
    }

    pub(super) fn tell(self, outcome: Outcome) {
        self.waiting.tell(&self.append, outcome);
    }
}

impl Waiting {
    /// A receiver that panics must not take the other accounts' commits with it.
    pub(super) fn tell(self, append: &Append, outcome: Outcome) {
        let done = self.done;
        if catch_unwind(AssertUnwindSafe(move || done(outcome))).is_err() {
            let account = append.accounts().next();
            error!(?account, "the receiver of an append's outcome panicked on it");
        }
    }

    /// Whether the outcome can be told. Once a try was `Unknown`, a later try that certainly wrote nothing says
    /// nothing of the earlier one.
    pub(super) const fn is_definite(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Durable { .. } | Outcome::Conflict => true,
            Outcome::Rejected | Outcome::Expired => self.tries == 0,
            Outcome::Unknown => false,
        }
    }

    /// How long to wait before the next try.
    pub(super) fn back_off(&self) -> Duration {
        BACK_OFF_FIRST.saturating_mul(2_u32.saturating_pow(self.tries)).min(BACK_OFF_MAX)
    }
}
