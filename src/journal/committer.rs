//! Natural group commit in front of any journal: what was submitted while a commit ran goes down in the next one. There
//! is no timer. What is uncertain is repeated until it is certain; what cannot be durable in time is given back.

mod pace;
mod queue;

use std::{
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::yield_now, time::timeout_at};
use tracing::warn;

use self::{
    pace::Pace,
    queue::{Job, Queue, Taken, Waiting},
};
use super::{Append, Journal, Outcome};
use crate::clock::{self, Instant};

pub use queue::{Ticket, Urgency};

/// A batch that takes longer than this holds up nothing more: its connection may be gone without a word.
const USUAL: Duration = Duration::from_millis(50);

/// What to do with an outcome. It runs on the committer's task: it should send a message, and return.
pub type Done = Box<dyn FnOnce(Outcome) + Send>;

/// Collects appends into batches, the most urgent first, and tells each what became of it.
///
/// An account may have a row of one append here at a time; the next one is submitted when the outcome of the one before it
/// was told.
pub struct Committer {
    shared: Arc<Shared>,
}

/// The committer's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitterSettings {
    /// The most rows in one batch, 1 or more. An append with more of them goes by itself.
    pub batch_max: usize,
    /// How many batches may be on their way at once: 1 for a journal with one writer, more for one behind a network.
    pub batches_in_flight_max: usize,
    /// How many rows have to wait for another batch to go while one is on its way: a batch has a price of its own,
    /// whatever is in it. Fewer go when that one is back, or takes unusually long.
    pub another_batch_from: usize,
    /// The most rows that wait for a batch. An append beyond them is given back as [`Outcome::Expired`].
    pub queue_max: usize,
    /// How long a request waits for its answer: batches are so short that two of them leave time.
    pub answer_within: Duration,
}

impl Default for CommitterSettings {
    fn default() -> Self {
        Self {
            batch_max: 512,
            batches_in_flight_max: 1,
            another_batch_from: 1,
            queue_max: 100_000,
            answer_within: Duration::from_millis(1_200),
        }
    }
}

/// Who is told how commits go, for metrics. Called on the hot path, once a batch.
pub trait Observer: Send + Sync + 'static {
    /// A batch of so many entries came back after so long.
    fn on_commit(&self, batch_entries: usize, took: Duration);

    /// So many appends of a batch came back with an unknown outcome, and will be repeated.
    fn on_unknown(&self, appends: usize) {
        let _ = appends;
    }

    /// So many appends were given back, since they could not have become durable in time, or found no room.
    fn on_expired(&self, appends: usize) {
        let _ = appends;
    }
}

impl<F: Fn(usize, Duration) + Send + Sync + 'static> Observer for F {
    fn on_commit(&self, batch_entries: usize, took: Duration) {
        self(batch_entries, took);
    }
}

impl Committer {
    /// Starts committing to `journal`. Must be called on a tokio runtime.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, settings: CommitterSettings, observer: Arc<dyn Observer>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(settings.answer_within)),
            settings: CommitterSettings { batch_max: settings.batch_max.max(1), ..settings },
            observer,
            work: Notify::new(),
            idle: Notify::new(),
        });
        let worker = Worker { shared: Arc::clone(&shared), journal };
        for _ in 1..settings.batches_in_flight_max {
            tokio::spawn(worker.clone().run());
        }
        tokio::spawn(worker.run());
        Self { shared }
    }

    /// Queues an append. Returns at once; `done` is called once with a definite outcome, which is never
    /// [`Outcome::Unknown`]. After [`Committer::close`] the outcome is [`Outcome::Rejected`].
    #[allow(clippy::must_use_candidate, reason = "few take an append back")]
    pub fn submit(&self, append: Append, urgency: Urgency, done: Done) -> Option<Ticket> {
        let waiting = Waiting { done, tries: 0, since: clock::instant() };
        let job = Job { append, waiting };
        let mut state = self.shared.state();
        if let Some(outcome) = state.refusal(self.shared.settings.queue_max) {
            drop(state);
            if outcome == Outcome::Expired {
                self.shared.observer.on_expired(1);
            }
            job.tell(outcome);
            return None;
        }
        let ticket = state.admit(urgency, job);
        let is_another = state.is_another(&self.shared.settings);
        drop(state);
        // Otherwise the batch that comes back takes it.
        if is_another {
            self.shared.work.notify_one();
        }
        Some(ticket)
    }

    /// Takes an append back, if it still waits for a batch: then it was not written, and nothing is told of it.
    #[must_use]
    pub fn withdraw(&self, ticket: Ticket) -> bool {
        let mut state = self.shared.state();
        let Some(job) = state.queue.withdraw(ticket) else { return false };
        state.forget(&job.append);
        drop(state);
        self.shared.told(1);
        true
    }

    /// How long an append of this urgency would have to wait until it is durable, if it came now. Zero where nothing waits
    /// for a batch that goes before it: one is always let in, so that a journal that has recovered is noticed.
    #[must_use]
    pub fn expected_wait(&self, urgency: Urgency) -> Duration {
        let state = self.shared.state();
        let ahead = state.queue.ahead_of(urgency);
        if ahead == 0 { Duration::ZERO } else { state.wait(ahead, &self.shared.settings) }
    }

    /// How the queue stands, for metrics.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let now = clock::instant();
        let state = self.shared.state();
        let oldest = state.in_flight.iter().map(|batch| batch.since).chain(state.queue.oldest()).min();
        let ahead = state.queue.ahead_of(Urgency::By(now));
        Backlog {
            oldest: oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            expected_wait: state.wait(ahead, &self.shared.settings),
        }
    }

    /// How many appends have been submitted and not yet told their outcome.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.shared.state().undecided
    }

    /// Returns when everything submitted so far, and whatever is submitted meanwhile, has a definite outcome.
    pub async fn flush(&self) {
        let mut idle = Box::pin(self.shared.idle.notified());
        loop {
            idle.as_mut().enable();
            if self.undecided() == 0 {
                return;
            }
            idle.as_mut().await;
            idle.set(self.shared.idle.notified());
        }
    }

    /// Takes nothing more, and returns when everything submitted has a definite outcome. With a journal that has
    /// died it never returns: [`Journal::fatal`] comes before.
    pub async fn close(&self) {
        self.shared.close();
        self.flush().await;
    }
}

impl Drop for Committer {
    /// What was submitted still goes down; then the tasks end.
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// How the queue stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backlog {
    /// How long the oldest append has been waiting to be durable, queued or on its way.
    pub oldest: Duration,
    /// How long a decision would have to wait that is made now.
    pub expected_wait: Duration,
}

/// Where submitters and the committing tasks meet.
struct Shared {
    state: Mutex<State>,
    settings: CommitterSettings,
    observer: Arc<dyn Observer>,
    /// There is something in the queue, or it was closed.
    work: Notify,
    /// Nothing is undecided.
    idle: Notify,
}

struct State {
    queue: Queue,
    pace: Pace,
    /// In no order; seldom more than a few.
    repeats: Vec<(Instant, Job)>,
    undecided: usize,
    is_closed: bool,
    in_flight: Vec<InFlight>,
    batches: u64,
    #[cfg(debug_assertions)]
    accounts: std::collections::HashSet<crate::domain::Account>,
}

/// A batch that is on its way.
struct InFlight {
    number: u64,
    since: Instant,
    rows: usize,
    /// It takes unusually long, and holds up nothing more.
    is_unusual: bool,
}

/// Jobs taken apart: what the journal gets, and who waits for it, place by place.
struct Batch {
    number: u64,
    appends: Arc<[Append]>,
    waiting: Vec<Waiting>,
}

/// What a committing task does next.
enum Next {
    Commit(Batch),
    /// Nothing is due before this.
    WaitUntil(Option<Instant>),
    End,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, appends: usize) {
        let mut state = self.state();
        state.undecided = state.undecided.saturating_sub(appends);
        if state.undecided == 0 {
            self.idle.notify_waiters();
        }
    }

    fn close(&self) {
        self.state().is_closed = true;
        self.work.notify_waiters();
        self.work.notify_one();
    }
}

impl State {
    fn new(answer_within: Duration) -> Self {
        Self {
            queue: Queue::default(),
            pace: Pace::new(answer_within),
            repeats: Vec::new(),
            undecided: 0,
            is_closed: false,
            in_flight: Vec::new(),
            batches: 0,
            #[cfg(debug_assertions)]
            accounts: std::collections::HashSet::new(),
        }
    }

    /// What becomes of a job that is not taken.
    fn refusal(&self, queue_max: usize) -> Option<Outcome> {
        if self.is_closed {
            Some(Outcome::Rejected)
        } else {
            (self.queue.rows() >= queue_max).then_some(Outcome::Expired)
        }
    }

    fn admit(&mut self, urgency: Urgency, job: Job) -> Ticket {
        #[cfg(debug_assertions)]
        for account in job.append.accounts() {
            debug_assert!(
                self.accounts.insert(account.clone()),
                "an account submits its next append when the outcome of the previous one is known"
            );
        }
        self.undecided = self.undecided.saturating_add(1);
        self.queue.push(urgency, job)
    }

    /// Appends of its accounts may be submitted again.
    #[cfg_attr(not(debug_assertions), allow(clippy::unused_self, reason = "only checked while debugging"))]
    fn forget(&mut self, append: &Append) {
        #[cfg(debug_assertions)]
        for account in append.accounts() {
            self.accounts.remove(account);
        }
        let _ = append;
    }

    /// Whether what waits may go now.
    fn is_another(&self, settings: &CommitterSettings) -> bool {
        self.is_closed
            || self.queue.rows() >= settings.another_batch_from
            || self.in_flight.iter().all(|batch| batch.is_unusual)
    }

    /// How long it takes until so many rows and one more are durable, with what is on its way before them.
    fn wait(&self, ahead: usize, settings: &CommitterSettings) -> Duration {
        let batches = settings.batches_in_flight_max.max(1);
        let own = self.pace.of_all(ahead.saturating_add(1), settings.batch_max);
        let own = own.div_f64(f64::from(u32::try_from(batches).unwrap_or(u32::MAX)));
        if self.in_flight.len() < batches && self.is_another(settings) {
            return own;
        }
        let now = clock::instant();
        let left = self.in_flight.iter().map(|batch| {
            let expected = self.pace.of_batch(batch.rows);
            let elapsed = now.saturating_duration_since(batch.since);
            // One that is overdue is expected to take as long again: a journal that hangs may do so for long.
            expected.checked_sub(elapsed).unwrap_or(elapsed)
        });
        own.saturating_add(left.min().unwrap_or_default())
    }

    /// Repetitions that are due go first, then what is most urgent. What is too late is put into `expired`.
    fn next(&mut self, settings: &CommitterSettings, expired: &mut Vec<Job>) -> Next {
        let now = clock::instant();
        let mut room = settings.batch_max;
        let due = self.repeats.extract_if(.., |(due, job)| {
            let is_due = *due <= now && room > 0;
            room = room.saturating_sub(if is_due { job.rows() } else { 0 });
            is_due
        });
        let mut jobs: Vec<Job> = due.map(|(_, job)| job).collect();
        if self.is_another(settings) {
            let repeated = rows(&jobs);
            let room = self.pace.next_batch(settings.batch_max).saturating_sub(repeated);
            let Taken { batch, expired: too_late, .. } = self.queue.take(room, now, &self.pace);
            *expired = too_late;
            if jobs.is_empty() { jobs = batch } else { jobs.extend(batch) }
        }
        for job in &*expired {
            self.forget(&job.append);
        }
        if !jobs.is_empty() {
            Next::Commit(self.depart(jobs, now))
        } else if !expired.is_empty() {
            Next::WaitUntil(Some(now))
        } else if self.is_closed && self.undecided == 0 {
            Next::End
        } else {
            Next::WaitUntil(self.repeats.iter().map(|(due, _)| *due).min())
        }
    }

    /// Sends a batch on its way.
    fn depart(&mut self, jobs: Vec<Job>, since: Instant) -> Batch {
        self.batches = self.batches.wrapping_add(1);
        let (number, rows) = (self.batches, rows(&jobs));
        self.in_flight.push(InFlight { number, since, rows, is_unusual: false });
        let (appends, waiting): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.append, job.waiting)).unzip();
        Batch { number, appends: appends.into(), waiting }
    }

    /// A batch of so many rows is back, and took so long.
    fn arrived(&mut self, number: u64, rows: usize, took: Duration) {
        self.in_flight.retain(|batch| batch.number != number);
        self.pace.measured(rows, took);
    }
}

fn rows(jobs: &[Job]) -> usize {
    jobs.iter().map(Job::rows).fold(0, usize::saturating_add)
}

/// One task that commits: one batch in flight.
#[derive(Clone)]
struct Worker {
    shared: Arc<Shared>,
    journal: Arc<dyn Journal>,
}

impl Worker {
    async fn run(self) {
        let shared = &self.shared;
        loop {
            // Whatever else can run now may bring something for the same batch.
            yield_now().await;
            let mut expired = Vec::new();
            let next = shared.state().next(&shared.settings, &mut expired);
            self.give_back(expired);
            match next {
                Next::Commit(batch) => self.commit(batch).await,
                Next::WaitUntil(None) => shared.work.notified().await,
                Next::WaitUntil(Some(due)) => {
                    // Whether woken or timed out, the queue says what is next.
                    let _ = timeout_at(due, shared.work.notified()).await;
                }
                Next::End => break,
            }
        }
        // Another task of this committer may still wait for work that will not come.
        shared.work.notify_one();
    }

    fn give_back(&self, expired: Vec<Job>) {
        let appends = expired.len();
        if appends == 0 {
            return;
        }
        self.shared.observer.on_expired(appends);
        for job in expired {
            job.tell(Outcome::Expired);
        }
        self.shared.told(appends);
    }

    async fn commit(&self, batch: Batch) {
        let started = clock::instant();
        let Batch { number, appends, waiting } = batch;
        let outcomes = self.append(number, &appends, started).await;
        let ended = clock::instant();
        let took = ended.saturating_duration_since(started);
        let entries = appends.iter().map(|append| append.rows.len()).sum();
        self.shared.observer.on_commit(entries, took);
        self.shared.state().arrived(number, entries, took);

        // A journal that leaves an outcome out has not given one.
        let outcomes = outcomes.into_iter().chain(iter::repeat(Outcome::Unknown));
        let (definite, unknown): (Vec<_>, Vec<_>) = appends
            .iter()
            .zip(waiting)
            .zip(outcomes)
            .partition(|((_, waiting), outcome)| waiting.is_definite(*outcome));
        if !unknown.is_empty() {
            warn!(appends = unknown.len(), "the journal does not know whether it wrote; asking again");
            self.shared.observer.on_unknown(unknown.len());
        }
        {
            let mut state = self.shared.state();
            for ((append, _), _) in &definite {
                state.forget(append);
            }
            state.repeats.extend(unknown.into_iter().map(|((append, waiting), _)| {
                let due = ended.checked_add(waiting.back_off()).unwrap_or(ended);
                let waiting = Waiting { tries: waiting.tries.saturating_add(1), ..waiting };
                (due, Job { append: append.clone(), waiting })
            }));
        }
        let told = definite.len();
        for ((append, waiting), outcome) in definite {
            waiting.tell(append, outcome);
        }
        self.shared.told(told);
    }

    /// Appends, however long it takes; others wait for it no longer than is usual.
    async fn append(&self, number: u64, appends: &Arc<[Append]>, started: Instant) -> Vec<Outcome> {
        let mut append = self.journal.append(Arc::clone(appends));
        if self.shared.settings.another_batch_from <= 1 {
            return append.await;
        }
        let unusual = started.checked_add(USUAL).unwrap_or(started);
        if let Ok(outcomes) = timeout_at(unusual, &mut append).await {
            return outcomes;
        }
        for batch in &mut self.shared.state().in_flight {
            batch.is_unusual |= batch.number == number;
        }
        self.shared.work.notify_one();
        append.await
    }
}
