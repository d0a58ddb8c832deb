//! Natural group commit in front of any journal: whatever was submitted while a commit ran goes down in the next one.
//! There is no timer. What is uncertain is repeated until it is certain.

use std::{
    collections::VecDeque,
    iter,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::yield_now, time::timeout_at};
use tracing::{error, warn};

use super::{Append, Journal, Outcome};
use crate::clock::{self, Instant};

/// A batch that takes longer than this holds up nothing more: its connection may be gone without a word.
const USUAL: Duration = Duration::from_millis(50);

/// How long an append of unknown outcome waits before its first repetition; the wait doubles with each.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
/// The longest such wait.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// What to do with an outcome. It runs on the committer's task: it should send a message, and return.
pub type Done = Box<dyn FnOnce(Outcome) + Send>;

/// Collects appends into batches, and tells each what became of it.
///
/// An account may have one append here at a time; the next one is submitted when the outcome of the one before it was
/// told. The bound on what waits here is therefore the number of resident accounts.
pub struct Committer {
    desk: Arc<Desk>,
}

/// The committer's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitterSettings {
    /// The most appends in one batch, 1 or more.
    pub batch_max: usize,
    /// How many batches may be on their way at once: 1 for a journal with one writer, more for one behind a network.
    pub batches_in_flight_max: usize,
    /// How many appends have to wait for another batch to go while one is on its way: a batch has a price of its own,
    /// whatever is in it. Fewer go when that one is back, or takes unusually long.
    pub another_batch_from: usize,
}

impl Default for CommitterSettings {
    fn default() -> Self {
        Self { batch_max: 512, batches_in_flight_max: 1, another_batch_from: 1 }
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
        let queue = Queue { another_batch_from: settings.another_batch_from, ..Queue::default() };
        let desk = Arc::new(Desk { queue: Mutex::new(queue), ..Desk::default() });
        let clerk = Clerk {
            desk: Arc::clone(&desk),
            journal,
            observer,
            batch_max: settings.batch_max.max(1),
            holds_up: settings.another_batch_from > 1,
        };
        for _ in 1..settings.batches_in_flight_max {
            tokio::spawn(clerk.clone().run());
        }
        tokio::spawn(clerk.run());
        Self { desk }
    }

    /// Queues an append. Returns at once; `done` is called once with a definite outcome, which is never
    /// [`Outcome::Unknown`]. After [`Committer::close`] the outcome is [`Outcome::Rejected`].
    pub fn submit(&self, append: Append, done: Done) {
        let job = Job { append, waiting: Waiting { done, tries: 0 } };
        let (refused, is_another) = {
            let mut queue = self.desk.queue();
            (queue.admit(job), queue.is_another())
        };
        match refused {
            None if is_another => self.desk.work.notify_one(),
            // The batch that comes back takes it.
            None => {}
            Some(job) => job.waiting.tell(&job.append, Outcome::Rejected),
        }
    }

    /// How many appends have been submitted and not yet told their outcome.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.desk.queue().undecided
    }

    /// Returns when everything submitted so far, and whatever is submitted meanwhile, has a definite outcome.
    pub async fn flush(&self) {
        let mut idle = Box::pin(self.desk.idle.notified());
        loop {
            idle.as_mut().enable();
            if self.undecided() == 0 {
                return;
            }
            idle.as_mut().await;
            idle.set(self.desk.idle.notified());
        }
    }

    /// Takes nothing more, and returns when everything submitted has a definite outcome. With a journal that has
    /// died it never returns: [`Journal::fatal`] comes before.
    pub async fn close(&self) {
        self.desk.close();
        self.flush().await;
    }
}

impl Drop for Committer {
    /// What was submitted still goes down; then the tasks end.
    fn drop(&mut self) {
        self.desk.close();
    }
}

/// Where submitters and the committing tasks meet.
#[derive(Default)]
struct Desk {
    queue: Mutex<Queue>,
    /// There is something in the queue, or it was closed.
    work: Notify,
    /// Nothing is undecided.
    idle: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// In no order; seldom more than a few.
    repeats: Vec<(Instant, Job)>,
    undecided: usize,
    is_closed: bool,
    another_batch_from: usize,
    /// Batches that are on their way, and not for unusually long.
    on_their_way: usize,
    #[cfg(debug_assertions)]
    accounts: std::collections::HashSet<crate::domain::Account>,
}

struct Job {
    append: Append,
    waiting: Waiting,
}

/// Who waits for the outcome of an append.
struct Waiting {
    done: Done,
    /// How often the outcome was unknown.
    tries: u32,
}

/// Jobs taken apart: what the journal gets, and who waits for it, place by place.
#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    waiting: Vec<Waiting>,
}

/// What a committing task does next.
enum Next {
    Commit(Batch),
    /// Nothing is due before this.
    WaitUntil(Option<Instant>),
    End,
}

impl Desk {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch is back, or holds up nothing more.
    fn let_others_go(&self) {
        let mut queue = self.queue();
        queue.on_their_way = queue.on_their_way.saturating_sub(1);
    }

    fn told(&self, appends: usize) {
        let mut queue = self.queue();
        queue.undecided = queue.undecided.saturating_sub(appends);
        if queue.undecided == 0 {
            self.idle.notify_waiters();
        }
    }

    fn close(&self) {
        self.queue().is_closed = true;
        self.work.notify_waiters();
        self.work.notify_one();
    }
}

impl Queue {
    /// Takes a job, or gives it back when closed.
    fn admit(&mut self, job: Job) -> Option<Job> {
        if self.is_closed {
            return Some(job);
        }
        #[cfg(debug_assertions)]
        debug_assert!(
            self.accounts.insert(job.append.account.clone()),
            "an account submits its next append when the outcome of the one before it was told"
        );
        self.undecided = self.undecided.saturating_add(1);
        self.waiting.push_back(job);
        None
    }

    /// Whether what waits may go now.
    fn is_another(&self) -> bool {
        self.on_their_way == 0 || self.is_closed || self.waiting.len() >= self.another_batch_from
    }

    /// Repetitions that are due go first, then whatever waited longest. The clock is asked only where something
    /// is to be repeated.
    fn next(&mut self, batch_max: usize) -> Next {
        let mut batch = Batch::default();
        if !self.repeats.is_empty() {
            let now = clock::instant();
            let due = self.repeats.extract_if(.., |(due, _)| *due <= now).take(batch_max);
            due.for_each(|(_, job)| batch.push(job));
        }
        let room = batch_max.saturating_sub(batch.appends.len()).min(self.waiting.len());
        let room = if self.is_another() { room } else { 0 };
        batch.appends.reserve_exact(room);
        batch.waiting.reserve_exact(room);
        self.waiting.drain(..room).for_each(|job| batch.push(job));
        if !batch.appends.is_empty() {
            self.on_their_way = self.on_their_way.saturating_add(1);
            Next::Commit(batch)
        } else if self.is_closed && self.undecided == 0 {
            Next::End
        } else {
            Next::WaitUntil(self.repeats.iter().map(|(due, _)| *due).min())
        }
    }
}

impl Batch {
    fn push(&mut self, job: Job) {
        self.appends.push(job.append);
        self.waiting.push(job.waiting);
    }
}

impl Waiting {
    /// A receiver that panics must not take the other accounts' commits with it.
    fn tell(self, append: &Append, outcome: Outcome) {
        let done = self.done;
        if catch_unwind(AssertUnwindSafe(move || done(outcome))).is_err() {
            error!(account = %append.account, "whoever waited for the outcome of an append panicked on it");
        }
    }

    /// Whether the outcome can be told. Once a try was `Unknown`, a later try that certainly wrote nothing says
    /// nothing of the earlier one.
    const fn is_definite(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Durable { .. } | Outcome::Conflict => true,
            Outcome::Rejected => self.tries == 0,
            Outcome::Unknown => false,
        }
    }

    /// How long to wait before the next try.
    fn back_off(&self) -> Duration {
        BACK_OFF_FIRST.saturating_mul(2_u32.saturating_pow(self.tries)).min(BACK_OFF_MAX)
    }
}

/// One task that commits: one batch in flight.
#[derive(Clone)]
struct Clerk {
    desk: Arc<Desk>,
    journal: Arc<dyn Journal>,
    observer: Arc<dyn Observer>,
    batch_max: usize,
    /// Whether others wait for a batch.
    holds_up: bool,
}

impl Clerk {
    async fn run(self) {
        loop {
            // Whoever else can run now may bring something for the same batch.
            yield_now().await;
            let next = self.desk.queue().next(self.batch_max);
            match next {
                Next::Commit(jobs) => self.commit(jobs).await,
                Next::WaitUntil(None) => self.desk.work.notified().await,
                Next::WaitUntil(Some(due)) => {
                    // Whether woken or timed out, the queue says what is next.
                    let _ = timeout_at(due, self.desk.work.notified()).await;
                }
                Next::End => break,
            }
        }
        // Another task of this committer may still wait for work that will not come.
        self.desk.work.notify_one();
    }

    async fn commit(&self, batch: Batch) {
        let appends: Arc<[Append]> = batch.appends.into();
        let started = clock::instant();
        let outcomes = self.append(&appends, started).await;
        let ended = clock::instant();
        self.observer.on_commit(appends.len(), ended.saturating_duration_since(started));

        // A journal that leaves an outcome out has not given one.
        let outcomes = outcomes.into_iter().chain(iter::repeat(Outcome::Unknown));
        let (definite, unknown): (Vec<_>, Vec<_>) = appends
            .iter()
            .zip(batch.waiting)
            .zip(outcomes)
            .partition(|((_, waiting), outcome)| waiting.is_definite(*outcome));
        if !unknown.is_empty() {
            warn!(appends = unknown.len(), "the journal does not know whether it wrote; asking again");
            self.observer.on_unknown(unknown.len());
        }
        {
            let mut queue = self.desk.queue();
            #[cfg(debug_assertions)]
            for ((append, _), _) in &definite {
                queue.accounts.remove(&append.account);
            }
            queue.repeats.extend(unknown.into_iter().map(|((append, waiting), _)| {
                let due = ended.checked_add(waiting.back_off()).unwrap_or(ended);
                let waiting = Waiting { tries: waiting.tries.saturating_add(1), ..waiting };
                (due, Job { append: append.clone(), waiting })
            }));
        }
        let told = definite.len();
        for ((append, waiting), outcome) in definite {
            waiting.tell(append, outcome);
        }
        self.desk.told(told);
    }

    /// Appends, however long it takes; others wait for it no longer than is usual.
    async fn append(&self, appends: &Arc<[Append]>, started: Instant) -> Vec<Outcome> {
        let mut append = self.journal.append(Arc::clone(appends));
        if !self.holds_up {
            let outcomes = append.await;
            self.desk.let_others_go();
            return outcomes;
        }
        let unusual = started.checked_add(USUAL).unwrap_or(started);
        if let Ok(outcomes) = timeout_at(unusual, &mut append).await {
            self.desk.let_others_go();
            return outcomes;
        }
        self.desk.let_others_go();
        self.desk.work.notify_one();
        append.await
    }
}
