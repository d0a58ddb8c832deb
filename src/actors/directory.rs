//! The directory: which actor has which card. It lets a request in, finds or wakes the card's actor, waits for the
//! answer no longer than the deadline, and answers by stand-in where there is none. It also sends idle cards away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry as SlotEntry};
use ractor::{ActorRef, ActorRuntime};
use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::timeout,
};

use super::{
    Arrival, Cause, NotBooked, Settings, TimedAnswer,
    asker::Asker,
    batch::{Caller, Released, Reply},
    books::{Folded, NotFolded},
    card::{Arguments, Ask, Book, CardActor, Hops, Message},
    cardholders::Cardholders,
    holds::Holds,
    lease::{Lease, Occupant, Place, Slot},
    micros,
    places::{Permit, Unrecorded},
    room::{Room, Unreached},
    standing_in::Approvals,
    unconfirmed::Unconfirmed,
};
use crate::{
    clock::{self, Instant},
    domain::{Account, AuthorizationRequest, Decision, Observation, Policy, Subject},
    journal::{Committer, Entry, Journal, Reach, Unavailable, Urgency},
    log::Seldom,
    metrics::{Metrics, Shed},
};

/// A card that could not be used so often within [`FAILURES_WITHIN`] is answered by stand-in for the rest of it.
const FAILURES_MAX: u32 = 3;
pub(super) const FAILURES_WITHIN: Duration = Duration::from_mins(1);
/// Parts of the table of cards that are locked, and grow, by themselves: with a million cards each has a thousand.
const SHARDS: usize = 1_024;
/// How long a node that goes down waits for a journal that does not take the stand-in's answers.
const STAND_INS_BOOKED_WITHIN: Duration = Duration::from_secs(2);

/// How long a node that ends waits for its last appends. A database that is away may never say what became of them.
const COMMITTED_WITHIN: Duration = Duration::from_secs(5);

/// What the room is built on.
pub struct Parts {
    /// Where entries are read.
    pub journal: Arc<dyn Journal>,
    /// Where entries are written.
    pub committer: Committer,
    /// The policy, and every new one.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Who is told.
    pub metrics: Arc<Metrics>,
}

/// Finds the actor of every card. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

/// What all actors of a node share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) committer: Committer,
    pub(super) policy: watch::Receiver<Arc<Policy>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) unconfirmed: Unconfirmed,
    pub(super) cardholders: Cardholders,
    pub(super) slots: DashMap<Account, Slot>,
    pub(super) failures: DashMap<Account, Failures>,
    pub(super) conflicts: AtomicU64,
    pub(super) unknown_groups: Seldom,
    incarnations: AtomicU64,
    resident: AtomicUsize,
    pub(super) room: Room,
    pub(super) in_flight: AtomicUsize,
    /// Stand-in answers that are not recorded yet.
    pub(super) unrecorded: Unrecorded,
    /// How many each card was approved by the stand-in today.
    pub(super) approvals: Approvals,
    /// There are none any more.
    pub(super) all_booked: Notify,
    loads: Semaphore,
    started: Instant,
}

pub(super) struct Failures {
    pub(super) since: Instant,
    count: u32,
}

impl Directory {
    /// An empty directory. Must be made on a tokio runtime; [`Directory::sweep`] has to be run beside it.
    #[must_use]
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let Parts { journal, committer, policy, metrics } = parts;
        let shared = Shared {
            loads: Semaphore::new(settings.loads_max.clamp(1, Semaphore::MAX_PERMITS)),
            unconfirmed: Unconfirmed::new(settings.unconfirmed_max),
            cardholders: Cardholders::new(settings.cards_resident_max),
            approvals: Approvals::new(settings.cards_resident_max),
            settings,
            journal,
            committer,
            policy,
            metrics,
            slots: DashMap::with_shard_amount(SHARDS),
            failures: DashMap::new(),
            conflicts: AtomicU64::new(0),
            unknown_groups: Seldom::default(),
            incarnations: AtomicU64::new(0),
            resident: AtomicUsize::new(0),
            room: Room::default(),
            in_flight: AtomicUsize::new(0),
            unrecorded: Unrecorded::default(),
            all_booked: Notify::new(),
            started: clock::instant(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Decides a request, or answers it by stand-in. The answer is there by the deadline of `arrival`.
    pub async fn ask(&self, request: impl Into<Arc<AuthorizationRequest>>, arrival: Arrival) -> TimedAnswer {
        match self.decide(request.into(), arrival, Reply::Answer).await {
            Ok(answer) => answer,
            Err(undecided) => {
                let Undecided { request, cause, is_declined } = undecided;
                self.shared.stand_in(&request, cause, is_declined).into()
            }
        }
    }

    /// Decides a request that another node was asked, by the deadline of `arrival`. Standing in is left to that node:
    /// of two that did, one would void what the other had answered.
    ///
    /// # Errors
    /// Why there is no decision. One that turns durable later is found in the journal.
    pub async fn ask_for_peer(
        &self,
        request: impl Into<Arc<AuthorizationRequest>>,
        arrival: Arrival,
    ) -> Result<TimedAnswer, Cause> {
        self.decide(request.into(), arrival, Reply::Peer).await.map_err(|undecided| undecided.cause)
    }

    /// Answers without the books what the owner of the card cannot decide.
    #[must_use]
    pub fn stand_in(&self, request: impl Into<Arc<AuthorizationRequest>>, cause: Cause) -> TimedAnswer {
        self.shared.stand_in(&request.into(), cause, false).into()
    }

    async fn decide(
        &self,
        mut request: Arc<AuthorizationRequest>,
        arrival: Arrival,
        waits: impl FnOnce(Caller) -> Reply,
    ) -> Result<TimedAnswer, Undecided> {
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
        let caller = Caller { reply, deadline: arrival.deadline, is_declined: is_declined.clone() };
        let message = |queued_at: Instant| {
            let route_us = micros(queued_at.duration_since(routed_from));
            let (request, reply) = (Arc::clone(&request), waits(caller));
            Message::Ask(Box::new(Ask {
                request,
                arrival,
                route_us,
                queued_at,
                hops: Hops::default(),
                reply,
            }))
        };
        let sent = shared.send_in_time(&request.account(), arrival.deadline, message).await;
        let replied = match sent {
            Ok(()) => Asker::new(permit, answer).wait(arrival.deadline).await,
            Err(cause) => Err(cause),
        };
        let cause = match replied {
            Ok(Released::Now(answer)) => return Ok(answer),
            Ok(Released::Soon(answer)) => match answer.await {
                Ok(answer) => return Ok(answer),
                Err(_) => Cause::Journal,
            },
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
        let message = |_| Message::Book(Box::new(Book { observation, hops: Hops::default(), reply }));
        shared.send_in_time(&subject.account(), arrival.deadline, message).await?;
        Asker::new(permit, booked).wait(arrival.deadline).await?;
        if let Subject::Cardholder(cardholder) = &subject {
            shared.cardholders.changed(cardholder);
        }
        Ok(())
    }

    /// Whether any card's policy mirrors the cards' own `spending_controls`, so that they have to be read.
    #[must_use]
    pub fn mirrors_stripe_controls(&self) -> bool {
        self.shared.policy.borrow().mirrors_stripe_controls()
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
}

/// A request without a decision that may be told.
struct Undecided {
    request: Arc<AuthorizationRequest>,
    cause: Cause,
    /// Whether it was declined in memory.
    is_declined: bool,
}

/// What bounds a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// The places at one card.
    CardQueue,
    /// None of its own: the sender has one.
    Sender,
}

impl Shared {
    /// Hands a message to the card's actor, waking it if need be.
    pub(super) fn send(
        self: &Arc<Self>,
        account: &Account,
        bound: Bound,
        message: impl FnOnce(Instant) -> Message,
    ) -> Result<(), Cause> {
        let now = clock::instant();
        let actor = self.reach(account, bound, now)?;
        // An actor that ended between the look-up and here drops the message: the asker sees its reply dropped.
        drop(actor.cast(message(now)));
        Ok(())
    }

    /// Finds the card's actor, waking it if need be, and takes a place at it for one message.
    pub(super) fn reach(
        self: &Arc<Self>,
        account: &Account,
        bound: Bound,
        now: Instant,
    ) -> Result<ActorRef<Message>, Cause> {
        self.noted(self.try_reach(account, bound, now))
    }

    pub(super) fn try_reach(
        self: &Arc<Self>,
        account: &Account,
        bound: Bound,
        now: Instant,
    ) -> Result<ActorRef<Message>, Unreached> {
        let working = match self.slots.get(account.as_str()) {
            Some(slot) => slot.actor().map(|actor| Ok(self.enter(actor, &slot, bound, now)?)),
            None => None,
        };
        working.unwrap_or_else(|| self.activate(account, bound, now))
    }

    /// Takes a place at a card. Called while the slot cannot go away.
    fn enter(
        &self,
        actor: &ActorRef<Message>,
        slot: &Slot,
        bound: Bound,
        now: Instant,
    ) -> Result<ActorRef<Message>, Cause> {
        let place = &slot.place;
        let waiting = place.queued.fetch_add(1, Ordering::AcqRel);
        if bound == Bound::CardQueue && waiting >= self.settings.card_queue_max {
            place.queued.fetch_sub(1, Ordering::AcqRel);
            self.metrics.decisions.shed.get(Shed::CardQueue).increment(1);
            return Err(Cause::Overload);
        }
        slot.used_at_ms.store(self.milliseconds(now), Ordering::Relaxed);
        Ok(actor.clone())
    }

    /// Starts an actor for a card that has none: for one at rest with its books, for another without.
    fn activate(
        self: &Arc<Self>,
        account: &Account,
        bound: Bound,
        now: Instant,
    ) -> Result<ActorRef<Message>, Unreached> {
        let vacant = match self.slots.entry(account.clone()) {
            SlotEntry::Occupied(mut slot) => {
                let slot = slot.get_mut();
                self.wake(account, slot)?;
                let actor = slot.actor().ok_or(Cause::Overload)?;
                return Ok(self.enter(actor, slot, bound, now)?);
            }
            SlotEntry::Vacant(vacant) => vacant,
        };
        if self.is_failing(account, now) {
            self.metrics.decisions.shed.get(Shed::CardFailing).increment(1);
            return Err(Cause::Journal.into());
        }
        // Between two sweeps a tenth more is let in.
        let most = self.settings.cards_resident_max;
        if self.resident.load(Ordering::Relaxed) >= most.saturating_add(most.div_ceil(10)) {
            return Err(Unreached::Full);
        }
        let place = Arc::new(Place::new(self.next_incarnation(), 1));
        self.one_more_resident();
        let actor = self.start_actor(account, &place, None)?;
        let used_at_ms = AtomicU64::new(self.milliseconds(now));
        vacant.insert(Slot { occupant: Occupant::Working(actor.clone()), place, used_at_ms });
        Ok(actor)
    }

    /// Gives a card at rest an actor again.
    pub(super) fn wake(self: &Arc<Self>, account: &Account, slot: &mut Slot) -> Result<(), Cause> {
        if let Occupant::Resting(folded) = &mut slot.occupant {
            let folded = Box::new(std::mem::take(&mut **folded));
            slot.place = Arc::new(Place::new(self.next_incarnation(), 0));
            slot.occupant = Occupant::Working(self.start_actor(account, &slot.place, Some(folded))?);
        }
        Ok(())
    }

    fn start_actor(
        self: &Arc<Self>,
        account: &Account,
        place: &Arc<Place>,
        mut folded: Option<Box<Folded>>,
    ) -> Result<ActorRef<Message>, Cause> {
        let counted = folded.as_mut().and_then(|folded| folded.holds.take());
        let holds = counted.unwrap_or_else(|| Holds::new(self.metrics.cards.holds_open.clone()));
        let lease = Lease::new(self, account, place, holds);
        let arguments = Arguments { account: account.clone(), shared: Arc::clone(self), lease, folded };
        let started = ActorRuntime::<CardActor>::spawn_instant(None, CardActor, arguments);
        started.map(|(actor, _)| actor).map_err(|_| Cause::Overload)
    }

    fn next_incarnation(&self) -> u64 {
        self.incarnations.fetch_add(1, Ordering::Relaxed)
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

    /// A decision that knows how its answer goes to Stripe.
    pub(super) fn addressed(&self, decision: Decision, request: &AuthorizationRequest) -> Decision {
        let answer_by = self.settings.answering.way(&request.authorization, decision.challenge);
        Decision { answer_by, ..decision }
    }

    fn is_failing(&self, account: &Account, now: Instant) -> bool {
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

    pub(super) fn one_more_resident(&self) {
        self.resident.fetch_add(1, Ordering::Relaxed);
        self.metrics.cards.resident.increment(1.0);
    }

    pub(super) fn one_less_resident(&self) {
        self.resident.fetch_sub(1, Ordering::Relaxed);
        self.metrics.cards.resident.decrement(1.0);
        self.room.one_left();
    }

    pub(super) fn milliseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}
