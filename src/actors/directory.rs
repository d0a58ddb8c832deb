//! The directory: which actor has which account. It lets a request in, hands it to the actor, waits for the answer no
//! longer than the deadline, and gives a stand-in decision where there is none.

use std::{
    num::NonZero,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use ractor::ActorRuntime;
use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::timeout,
};
use twox_hash::XxHash3_64;

use super::{
    Arrival, Cause, NotBooked, Settings, TimedAnswer,
    cardholders::Cardholders,
    inbox::Inbox,
    micros,
    places::{Permit, Unrecorded},
    reply::{Awaited, Reply},
    roots::Roots,
    sampling::Samples,
    shard::{self, ShardActor},
    standing_in::Approvals,
    unconfirmed::Unconfirmed,
};
use crate::{
    clock::{self, Instant, MissedTickBehavior},
    domain::{Account, AuthorizationRequest, Observation, Policy, Stages, Subject},
    journal::{Committer, Entry, Journal, Reach, Unavailable, Urgency},
    ledger::{self, Hops, NotFolded, Observed, Request, Waiting, Work},
    log::Seldom,
    metrics::{Metrics, Shed},
    trial::Trials,
};

/// Searches through the journal at once, of the four reads that a journal does side by side.
const SEARCHES_MAX: usize = 2;

/// A card that could not be used so often within [`FAILURES_WITHIN`] is answered by stand-in for the rest of it.
const FAILURES_MAX: u32 = 3;
const FAILURES_WITHIN: Duration = Duration::from_mins(1);
/// How long a node that goes down waits for a journal that does not take the stand-in's answers.
const STAND_INS_BOOKED_WITHIN: Duration = Duration::from_secs(2);

/// How long a node that ends waits for its last appends. A database that is away may never say what became of them.
const COMMITTED_WITHIN: Duration = Duration::from_secs(5);

/// What the room is built on.
pub struct Parts {
    /// Where entries are read.
    pub journal: Arc<dyn Journal>,
    /// Where entries are written.
    pub committer: Arc<Committer>,
    /// What is tried beside the policy.
    pub trials: Trials,
    /// The policy, and every new one.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Who is told.
    pub metrics: Arc<Metrics>,
}

/// Finds the actor of every account. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

/// What all actors of a node share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) committer: Arc<Committer>,
    pub(super) trials: Trials,
    pub(super) policy: watch::Receiver<Arc<Policy>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) unconfirmed: Unconfirmed,
    pub(super) cardholders: Cardholders,
    /// Where cards were decided last that charge budgets.
    pub(super) roots: Roots,
    /// The bounds of each ledger.
    pub(super) ledger: ledger::Settings,
    shards: OnceLock<Vec<Inbox<shard::Message>>>,
    failures: DashMap<Account, Failures, RandomState>,
    pub(super) conflicts: AtomicU64,
    pub(super) unknown_groups: Seldom,
    resident: AtomicUsize,
    /// Work for accounts that wait for room in memory.
    pub(super) waiting_for_room: AtomicUsize,
    /// The longest queue at one account since the last sweep.
    pub(super) queue_longest: AtomicUsize,
    pub(super) in_flight: AtomicUsize,
    /// What budgets in memory come to.
    pub(super) budgets: Samples,
    /// Stand-in answers that are not recorded yet.
    pub(super) unrecorded: Unrecorded,
    /// How many each card was approved by the stand-in today.
    pub(super) approvals: Approvals,
    /// There are none any more.
    pub(super) all_booked: Notify,
    loads: Semaphore,
    /// Searches at once: they read beside the requests, and must not take all of what reads.
    pub(super) searches: Semaphore,
}

struct Failures {
    since: Instant,
    count: u32,
}

impl Directory {
    /// An empty directory. Must be made on a tokio runtime; [`Directory::sweep`] has to be run beside it.
    #[must_use]
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let Parts { journal, committer, trials, policy, metrics } = parts;
        let shared = Shared {
            loads: Semaphore::new(settings.loads_max.clamp(1, Semaphore::MAX_PERMITS)),
            searches: Semaphore::new(SEARCHES_MAX),
            unconfirmed: Unconfirmed::new(settings.unconfirmed_max),
            cardholders: Cardholders::new(settings.cards_resident_max),
            roots: Roots::new(settings.cards_resident_max),
            approvals: Approvals::new(settings.cards_resident_max),
            ledger: ledger::Settings {
                is_journal_shared: settings.is_journal_shared,
                queue_max: settings.card_queue_max,
                snapshot_bytes_max: settings.snapshot_bytes_max,
                answering: settings.answering,
            },
            settings,
            journal,
            committer,
            trials,
            policy,
            metrics,
            shards: OnceLock::new(),
            failures: DashMap::default(),
            conflicts: AtomicU64::new(0),
            unknown_groups: Seldom::default(),
            resident: AtomicUsize::new(0),
            waiting_for_room: AtomicUsize::new(0),
            queue_longest: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            budgets: Samples::default(),
            unrecorded: Unrecorded::default(),
            all_booked: Notify::new(),
        };
        let shared = Arc::new(shared);
        // Accounts wait for nothing in their actor: as many actors as can run at once keep all processors busy.
        let count = available_parallelism().map_or(1, NonZero::get);
        let start = |_| {
            let inbox = Inbox::default();
            let arguments = (inbox.clone(), Arc::clone(&shared));
            let (actor, _) = ActorRuntime::<ShardActor>::spawn_instant(None, ShardActor, arguments).ok()?;
            inbox.belongs_to(actor);
            Some(inbox)
        };
        let _ = shared.shards.set((0..count).filter_map(start).collect());
        Self { shared }
    }

    /// Decides a request, by the deadline of `arrival`, and leaves it to whoever asked to answer without a decision.
    ///
    /// # Errors
    /// Why there is none. One that turns durable later is what the stand-in answers from then on.
    pub async fn decide(
        &self,
        request: impl Into<Arc<AuthorizationRequest>>,
        arrival: Arrival,
    ) -> Result<TimedAnswer, Undecided> {
        let mut request = request.into();
        let shared = &self.shared;
        let routed_from = clock::instant();
        let Some(permit) = Permit::take(shared) else {
            shared.metrics.decisions.shed.get(Shed::InFlight).increment(1);
            return Err(Undecided { request, cause: Cause::Overload, is_declined: false });
        };
        if !shared.has_time(Urgency::By(arrival.deadline), arrival.deadline, routed_from) {
            return Err(Undecided { request, cause: Cause::Overload, is_declined: false });
        }
        if let Err(cause) = shared.consult_cardholder(&mut request, routed_from, arrival.deadline).await {
            return Err(Undecided { request, cause, is_declined: false });
        }
        let (reply, answer) = oneshot::channel();
        let is_declined = shared.settings.stand_in.approves().then(Arc::default);
        let caller = Reply::Answer { reply, is_declined: is_declined.clone() };
        let waiting = Waiting::Answer { caller, deadline: arrival.deadline };
        let sent = shared.send(shared.root_of(&request), request.account(), |queued_at| {
            let stages = Stages {
                verify_us: arrival.verify_us,
                parse_us: arrival.parse_us,
                route_us: micros(queued_at.duration_since(routed_from)),
                ..Stages::default()
            };
            let asked = Arc::clone(&request);
            Work::Request(Box::new(Request { asked, stages, queued_at, hops: Hops::default(), waiting }))
        });
        let replied = match sent {
            Ok(()) => Awaited::new(permit, answer).wait(arrival.deadline).await,
            Err(cause) => Err(cause),
        };
        let cause = match replied {
            Ok(answer) => return Ok(answer),
            Err(cause) => cause,
        };
        let is_declined = is_declined.is_some_and(|is_declined| is_declined.load(Ordering::Acquire));
        Err(Undecided { request, cause, is_declined })
    }

    /// Books what Stripe says.
    ///
    /// # Errors
    /// [`NotBooked`]: nothing was booked for certain; a repeated event is booked once.
    pub async fn book(&self, observation: Observation, arrival: Arrival) -> Result<(), NotBooked> {
        let shared = &self.shared;
        let Some(permit) = Permit::take(shared) else {
            shared.metrics.decisions.shed.get(Shed::InFlight).increment(1);
            return Err(NotBooked::Now(Cause::Overload));
        };
        if !shared.has_time(Urgency::Now, arrival.deadline, clock::instant()) {
            return Err(NotBooked::Now(Cause::Overload));
        }
        let (reply, booked) = oneshot::channel();
        let subject = observation.subject.clone();
        let caller = Reply::Receipt(reply);
        let root = shared.root_of_fact(&observation).await;
        shared.send(root, subject.account(), |_| {
            Work::Observation(Box::new(Observed { observation, hops: Hops::default(), caller }))
        })?;
        Awaited::new(permit, booked).wait(arrival.deadline).await?;
        if let Subject::Cardholder(cardholder) = &subject {
            shared.cardholders.changed(cardholder);
        }
        Ok(())
    }

    /// The account with which a request is decided: its own, or where all is decided that charges the same budgets. The node
    /// that owns it decides.
    #[must_use]
    pub fn root_of(&self, request: &AuthorizationRequest) -> Account {
        self.shared.root_of(request)
    }

    /// The account with which a fact is recorded. A wrong one costs a conflict, and nothing else.
    pub async fn root_of_fact(&self, observation: &Observation) -> Account {
        self.shared.root_of_fact(observation).await
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.shared.policy.borrow())
    }

    /// What is tried beside the policy in force.
    #[must_use]
    pub fn trials(&self) -> &Trials {
        &self.shared.trials
    }

    /// How many requests may be inside the node.
    #[must_use]
    pub fn in_flight_max(&self) -> usize {
        self.shared.settings.in_flight_max
    }

    /// How many appends have lost their place to another writer.
    #[must_use]
    pub fn conflicts(&self) -> u64 {
        self.shared.conflicts.load(Ordering::Relaxed)
    }

    /// Cards in memory.
    #[must_use]
    pub fn resident(&self) -> usize {
        self.shared.resident.load(Ordering::Relaxed)
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits until everything that was decided is durable. For the drain, when no request comes any more.
    pub async fn flush(&self) {
        if timeout(STAND_INS_BOOKED_WITHIN, self.shared.all_booked()).await.is_err() {
            self.shared.log_unrecorded();
        }
        // No caller waits any more: a decision among the rest was not answered. Stripe delivers facts again.
        if timeout(COMMITTED_WITHIN, self.shared.committer.close()).await.is_err() {
            tracing::warn!(
                appends = self.shared.committer.undecided(),
                "the journal does not say what became of the last appends, and is not waited for; no decision in them was answered"
            );
        }
    }

    /// Has cards sent away that nobody asks for, and looks after what is kept for a while; runs until it is dropped.
    pub async fn sweep(self) {
        let shared = self.shared;
        let every = shared.settings.card_idle_after.div_f64(4.0);
        let mut ticks = clock::interval(every.clamp(Duration::from_millis(5), Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            shared.sweep(clock::instant());
        }
    }

    /// Has cards sent away that nobody asks for, once.
    pub fn sweep_once(&self) {
        self.shared.sweep(clock::instant());
    }
}

/// A request without a decision that may be told.
#[derive(Clone, Debug)]
pub struct Undecided {
    /// The request, completed as far as it was looked into.
    pub request: Arc<AuthorizationRequest>,
    /// Why there is none.
    pub cause: Cause,
    /// Whether it was declined in memory.
    pub is_declined: bool,
}

impl Shared {
    fn sweep(&self, now: Instant) {
        for shard in self.shards.get().into_iter().flatten() {
            shard.send(shard::Message::Sweep);
        }
        let longest = self.queue_longest.swap(0, Ordering::Relaxed);
        self.show_budgets();
        self.metrics.cards.queue_longest.set(f64::from(u32::try_from(longest).unwrap_or(u32::MAX)));
        let overdue =
            self.unconfirmed.count_since_before(clock::now().minus(self.settings.unconfirmed_after));
        self.metrics.decisions.unconfirmed.set(f64::from(u32::try_from(overdue).unwrap_or(u32::MAX)));
        let backlog = self.committer.backlog();
        self.metrics.journal.oldest_append.set(backlog.oldest.as_secs_f64());
        self.metrics.journal.expected_wait.set(backlog.expected_wait.as_secs_f64());
        self.cardholders.sweep(now);
        self.approvals.sweep(clock::now());
        self.failures.retain(|_, failures| now.duration_since(failures.since) < FAILURES_WITHIN);
    }

    /// Hands work to the shard of an account, unless the account has failed too often.
    pub(super) fn send(
        &self,
        root: Account,
        account: Account,
        work: impl FnOnce(Instant) -> Work<Reply>,
    ) -> Result<(), Cause> {
        let now = clock::instant();
        if self.is_failing_at(&account, now) {
            self.metrics.decisions.shed.get(Shed::CardFailing).increment(1);
            return Err(Cause::Journal);
        }
        let Some(shard) = self.shard(&root) else { return Err(Cause::Overload) };
        // A node that ends drops the message: the caller sees its reply dropped.
        shard.send(shard::Message::Work(root, account, work(now)));
        Ok(())
    }

    /// Hands work from one account to another.
    pub(super) fn send_on(&self, account: Account, work: Work<Reply>) {
        let root = match &work {
            Work::Request(request) => self.root_charged(&request.asked),
            Work::StandIn(stood_in) => self.root_charged(&stood_in.decided.request),
            Work::Observation(_) | Work::Carry(_) | Work::Operation(_) => None,
        };
        let root = root.or_else(|| self.known_root(&account)).unwrap_or_else(|| account.clone());
        let cause = if self.is_failing(&account) {
            Cause::Journal
        } else if let Some(shard) = self.shard(&root) {
            return shard.send(shard::Message::Work(root, account, work));
        } else {
            Cause::Overload
        };
        shard::turn_away(work, cause);
    }

    /// The actor of a root, the same one for as long as the node runs.
    fn shard(&self, root: &Account) -> Option<&Inbox<shard::Message>> {
        let shards = self.shards.get()?;
        let hash = XxHash3_64::oneshot(root.as_str().as_bytes());
        let count = u64::try_from(shards.len()).ok()?;
        shards.get(usize::try_from(hash.checked_rem(count)?).ok()?)
    }

    /// Whether one more account may come into memory. Between two sweeps a tenth more is let in.
    pub(super) fn has_room(&self) -> bool {
        let most = self.settings.cards_resident_max;
        self.resident.load(Ordering::Relaxed) < most.saturating_add(most.div_ceil(10))
    }

    /// How many more are in memory than there should be, for each shard.
    pub(super) fn surplus_each(&self) -> usize {
        let surplus = self.resident.load(Ordering::Relaxed).saturating_sub(self.settings.cards_resident_max);
        surplus.div_ceil(self.shards.get().map_or(1, Vec::len).max(1))
    }

    /// There is room for an account of another shard, if one waits for it.
    pub(super) fn admit_elsewhere(&self) {
        if self.waiting_for_room.load(Ordering::Acquire) > 0 {
            for shard in self.shards.get().into_iter().flatten() {
                shard.send(shard::Message::Admit);
            }
        }
    }

    /// Has another shard send an account away.
    pub(super) fn make_room_elsewhere(&self, me: &Inbox<shard::Message>) {
        for shard in self.shards.get().into_iter().flatten().filter(|shard| !shard.is(me)) {
            shard.send(shard::Message::MakeRoom);
        }
    }

    /// The journal's entries of an account, by one of the few readers.
    pub(super) async fn load(&self, account: &Account, reach: Reach) -> Result<Vec<Entry>, NotFolded> {
        let _turn = self.loads.acquire().await.map_err(|_| Unavailable("the node is closing".to_owned()))?;
        Ok(self.journal.load(account, reach).await?)
    }

    async fn all_booked(&self) {
        let mut all_booked = Box::pin(self.all_booked.notified());
        loop {
            all_booked.as_mut().enable();
            if self.unrecorded.is_empty() {
                return;
            }
            all_booked.as_mut().await;
            all_booked.set(self.all_booked.notified());
        }
    }

    /// Whether the account has failed too often to be asked for.
    pub(super) fn is_failing(&self, account: &Account) -> bool {
        self.is_failing_at(account, clock::instant())
    }

    fn is_failing_at(&self, account: &Account, now: Instant) -> bool {
        self.failures.get(account).is_some_and(|failures| {
            failures.count >= FAILURES_MAX && now.duration_since(failures.since) < FAILURES_WITHIN
        })
    }

    pub(super) fn count_failure(&self, account: &Account, now: Instant) {
        let mut failures = self.failures.entry(account.clone()).or_insert(Failures { since: now, count: 0 });
        if now.duration_since(failures.since) >= FAILURES_WITHIN {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        if failures.count == FAILURES_MAX {
            tracing::error!(%account, "a card failed three times in a minute: it is answered by stand-in");
        }
    }

    /// There are more or fewer accounts in memory than there were.
    pub(super) fn count_residents(&self, before: usize, after: usize) {
        if before == after {
            return;
        }
        self.resident.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        let count = |accounts: usize| f64::from(u32::try_from(accounts).unwrap_or(u32::MAX));
        self.metrics.cards.resident.increment(count(after) - count(before));
    }
}
