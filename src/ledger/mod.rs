//! The ledger of one spend root as a state machine: messages in, effects out. It decides on its tentative state, has one
//! append on its way at a time, and lets replies go when their own entry is durable. No I/O, no clock, no tasks: what the
//! time is, and what became of an effect, it is told by its shell.

mod append;
mod batch;
mod fold;
mod join;
mod leave;
mod message;
mod observe;
mod prepare;
mod reload;
mod request;
mod undo;
mod unrecorded;

use std::sync::Arc;

use self::{batch::Batch, prepare::Looked};
use crate::{
    clock::Instant,
    domain::{Account, Answering, Card, CardId, CardPolicy, Controls, Policy},
    journal::{BODY_BYTES_MAX, EntryId, Head, Urgency},
};

pub use batch::{Waiting, decided_in};
pub use fold::{Folded, NotFolded, account_of, fold, fold_history, read};
pub use join::purchases;
pub use message::{
    Caller, Carry, Cause, Effect, History, Hops, Message, Note, Observed, Release, Reloaded, Request,
    StoodIn, StripeWord, Timer, Work,
};

/// Three quarters of what an entry may have: what is decided meanwhile has to fit beside it.
pub const SNAPSHOT_BYTES_MAX: usize = BODY_BYTES_MAX / 4 * 3;

/// The bounds of a ledger, and how it answers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether other nodes write to the same journal, so that what is in memory may be older than what is in it.
    pub is_journal_shared: bool,
    /// Requests and observations that wait for the journal to be read.
    pub queue_max: usize,
    /// The most bytes of an entry with a snapshot. An account that is larger is written without one, and folded from
    /// further back.
    pub snapshot_bytes_max: usize,
    /// How answers go to Stripe.
    pub answering: Answering,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_journal_shared: false,
            queue_max: 64,
            snapshot_bytes_max: SNAPSHOT_BYTES_MAX,
            answering: Answering::default(),
        }
    }
}

/// What holds while a message is handled.
pub struct Given<'a> {
    /// What time it is.
    pub now: Instant,
    /// The policy in force.
    pub policy: &'a Arc<Policy>,
    /// Bounds.
    pub settings: &'a Settings,
    /// Whether the journal's database does not answer as it should.
    pub is_journal_in_trouble: bool,
}

/// Whether the account is in memory.
enum Phase<C> {
    /// It could not be read; the next piece of work tries again.
    Unread,
    /// It is being read; work waits here, in order.
    Loading(Vec<Work<C>>),
    /// It is.
    Ready,
}

/// The policy as this account last saw it.
struct InForce {
    source: Arc<Policy>,
    /// A chain may be that of several cards, each with a policy of its own.
    card: Option<CardId>,
    group: Option<Arc<str>>,
    policy: Arc<CardPolicy>,
    mirrored: Option<Arc<Controls>>,
}

/// An append on its way.
struct InFlight<C> {
    id: EntryId,
    batch: Batch<C>,
    urgency: Urgency,
    /// Whether it was asked back already.
    is_asked_back: bool,
    has_snapshot: bool,
    /// Entries and events since the last snapshot, without it.
    since_snapshot: (usize, usize),
    /// Authorizations in it.
    snapshot_size: usize,
    since: Instant,
}

/// The ledger of one account: everything that is known of it in memory.
pub struct Ledger<C> {
    account: Account,
    phase: Phase<C>,
    /// The tentative state: everything decided, durable or not.
    card: Card,
    policy: Option<InForce>,
    /// The last entry known to be durable.
    head: Head,
    in_flight: Option<Box<InFlight<C>>>,
    next: Batch<C>,
    /// Since when the decisions of this turn are made, and the first of them in `next`.
    turn: Option<(Instant, usize)>,
    /// Stand-in decisions that the journal did not take; part of the tentative state.
    unrecorded: Batch<C>,
    /// Work that waits for a look into the journal.
    lookups: usize,
    /// Counts when records come back, are evicted, or are read anew: what the journal said before is out of date then.
    changes: u64,
    /// Work that waits until the chain that this one joins may have it.
    joining: Option<Vec<Work<C>>>,
    /// A window of the policy reaches back further than what is in memory: read the whole history before going on.
    needs_history: bool,
    /// Places lost in a row.
    conflicts: u32,
    entries_since_snapshot: usize,
    events_since_snapshot: usize,
    /// Authorizations in the last snapshot.
    snapshot_size: usize,
    is_leaving: bool,
    effects: Vec<Effect<C>>,
}

impl<C: Caller> Ledger<C> {
    /// The ledger of an account that is not in memory yet: it is being read from here on.
    pub fn new(account: Account, effects: &mut Vec<Effect<C>>) -> Self {
        effects.push(Effect::Load);
        Self {
            account,
            phase: Phase::Loading(Vec::new()),
            card: Card::default(),
            policy: None,
            head: Head::default(),
            in_flight: None,
            next: Batch::default(),
            turn: None,
            unrecorded: Batch::default(),
            lookups: 0,
            changes: 0,
            joining: None,
            needs_history: false,
            conflicts: 0,
            entries_since_snapshot: 0,
            events_since_snapshot: 0,
            snapshot_size: 0,
            is_leaving: false,
            effects: Vec::new(),
        }
    }

    /// Takes one message. What it leads to is added to `effects`; what it has decided goes with the next
    /// [`Ledger::dispatch`].
    pub fn step(&mut self, given: &Given<'_>, message: Message<C>, effects: &mut Vec<Effect<C>>) {
        std::mem::swap(&mut self.effects, effects);
        self.turn.get_or_insert((given.now, self.next.events.len()));
        match message {
            Message::Work(work) => self.take_up(given, work),
            Message::Loaded(result) => self.loaded(given, result),
            Message::Found { work, changes, result } => self.found(given, work, changes, result),
            Message::Committed(id, outcome) => self.committed(given, id, outcome),
            Message::Withdrawn(id) => self.withdrawn(id),
            Message::Reloaded(id, result) => self.reloaded(given, id, result),
            Message::CarriedOver(result) => self.carried_over(result),
            Message::Unheard(decided) => self.void(*decided),
            Message::Due(Timer::Record) => self.record_unrecorded(),
            Message::Due(Timer::CarryOver) => self.carry_over(),
            Message::Leave => self.prepare_to_leave(),
        }
        std::mem::swap(&mut self.effects, effects);
    }

    /// Ends a turn of one or more steps: hands on what was decided in it, as the append of this `id`, unless one is on its
    /// way already.
    pub fn dispatch(&mut self, given: &Given<'_>, id: EntryId, effects: &mut Vec<Effect<C>>) {
        std::mem::swap(&mut self.effects, effects);
        self.end_turn(given.now);
        self.overtake();
        if self.in_flight.is_none() {
            self.drop_dead(given);
            if self.next.is_empty() {
                self.load_history_if_needed(given);
            } else {
                self.append(given, id);
            }
        }
        std::mem::swap(&mut self.effects, effects);
    }

    /// Holds that are open.
    #[must_use]
    pub fn open_holds(&self) -> usize {
        self.card.authorizations.open()
    }

    /// Whether there is something to do or to wait for.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.in_flight.is_some()
            || !self.next.is_empty()
            || !self.unrecorded.is_empty()
            || self.lookups > 0
            || self.joining.is_some()
            || matches!(self.phase, Phase::Loading(_))
    }

    /// The state as it is decided on, durable or not.
    #[must_use]
    pub const fn card(&self) -> &Card {
        &self.card
    }

    /// The last entry that is known to be durable.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    fn take_up(&mut self, given: &Given<'_>, work: Work<C>) {
        let is_bounded = matches!(work, Work::Request(_) | Work::Observation(_));
        if is_bounded && self.waiting() >= given.settings.queue_max {
            self.note(Note::QueueFull);
            return self.turn_away(work, Cause::Overload);
        }
        match &mut self.phase {
            Phase::Loading(waiting) => waiting.push(work),
            Phase::Unread => {
                self.phase = Phase::Loading(vec![work]);
                self.effects.push(Effect::Load);
            }
            Phase::Ready => self.work(given, work),
        }
    }

    /// Work that waits for the journal to be read.
    pub(crate) fn waiting(&self) -> usize {
        let loading = match &self.phase {
            Phase::Loading(waiting) => waiting.len(),
            Phase::Unread | Phase::Ready => 0,
        };
        let joining = self.joining.as_ref().map_or(0, Vec::len);
        loading.saturating_add(joining).saturating_add(self.lookups)
    }

    /// Does what is for this chain, and hands on what is not.
    fn work(&mut self, given: &Given<'_>, mut work: Work<C>) {
        if let Work::Request(request) = &mut work {
            self.complete(request);
        }
        if let Some(work) = self.kept(work) {
            self.do_here(given, work, Looked::Not);
        }
    }

    fn do_here(&mut self, given: &Given<'_>, work: Work<C>, looked: Looked) {
        self.is_leaving = false;
        match work {
            Work::Request(request) => self.request(given, request, looked),
            Work::Observation(observed) => self.observe(given, observed, looked),
            Work::StandIn(stood_in) => self.stood_in(given, stood_in, looked),
            Work::Carry(carry) => self.carry(*carry, looked),
        }
    }

    fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }
}
