//! The ledger of one spend root as a state machine: messages in, effects out. A root is a card alone, or all accounts that
//! charge budgets together. The ledger decides on its tentative state, has one append on its way at a time, and lets replies
//! go when their own entry is durable. No I/O, no clock, no tasks: the time, and what became of an effect, come from its
//! shell.

mod append;
mod batch;
mod charge;
mod fold;
mod join;
mod leave;
mod member;
mod message;
mod observe;
mod operate;
mod prepare;
mod reload;
mod request;
mod undo;
mod unrecorded;
mod usage;

use std::sync::Arc;

use smallvec::SmallVec;

use self::{
    batch::Batch,
    member::{Members, Phase, Slot},
    prepare::Looked,
};
use crate::{
    clock::Instant,
    domain::{Account, Answering, Budget, Card, Policy},
    journal::{BODY_BYTES_MAX, EntryId, Head, Urgency},
};

pub use batch::{Waiters, Waiting, decided_in};
pub use fold::{Folded, NotFolded, account_of, fold, fold_budget, fold_budget_history, fold_history, read};
pub use join::purchases;
pub use message::{
    Caller, Carry, Cause, Effect, History, Hops, Message, Note, Observed, Operation, Release, Reloaded,
    Request, StoodIn, StripeWord, Timer, Work,
};
pub use usage::Usage;

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

/// An append on its way: entries of one or more accounts that go in together or not at all.
struct InFlight<C> {
    id: EntryId,
    batch: Batch<C>,
    urgency: Urgency,
    /// Whether it was asked back already.
    is_asked_back: bool,
    /// Whether it lost its place, and the accounts are being read again.
    is_in_doubt: bool,
    rows: SmallVec<[Row; 1]>,
    since: Instant,
}

/// The entry of one account in an append on its way.
struct Row {
    at: Slot,
    has_snapshot: bool,
    /// Entries and events since the last snapshot, without it.
    since_snapshot: (usize, usize),
    /// How large the account was then, in events.
    snapshot_size: usize,
}

/// The ledger of one spend root: everything that is known of its accounts in memory.
pub struct Ledger<C> {
    members: Members<C>,
    in_flight: Option<Box<InFlight<C>>>,
    next: Batch<C>,
    /// Counts the batches.
    batches: u64,
    /// Since when the decisions of this turn are made, and the first of them in `next`.
    turn: Option<(Instant, usize)>,
    /// Stand-in decisions that the journal did not take; part of the tentative state.
    unrecorded: Batch<C>,
    /// Accounts that leave memory behind a snapshot.
    leaving: Vec<Slot>,
    /// What came while an append was in doubt.
    held: Vec<Message<C>>,
    /// Accounts whose whole history is to be read.
    histories: Vec<Slot>,
    /// Places lost in a row.
    conflicts: u32,
    effects: Vec<Effect<C>>,
}

impl<C: Caller> Default for Ledger<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Caller> Ledger<C> {
    /// A ledger without accounts: each is read when there is work for it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            members: Members::new(),
            in_flight: None,
            next: Batch::default(),
            batches: 1,
            turn: None,
            unrecorded: Batch::default(),
            leaving: Vec::new(),
            held: Vec::new(),
            histories: Vec::new(),
            conflicts: 0,
            effects: Vec::new(),
        }
    }

    /// Takes one message. What it leads to is added to `effects`; what it has decided goes with the next
    /// [`Ledger::dispatch`].
    pub fn step(&mut self, given: &Given<'_>, message: Message<C>, effects: &mut Vec<Effect<C>>) {
        std::mem::swap(&mut self.effects, effects);
        self.turn.get_or_insert((given.now, self.next.events.len()));
        if let Some(message) = self.not_held(given, message) {
            self.take(given, message);
        }
        // As soon as nothing is in doubt any more.
        while !self.held.is_empty() && !self.is_in_doubt() {
            for message in std::mem::take(&mut self.held) {
                if let Some(message) = self.not_held(given, message) {
                    self.take(given, message);
                }
            }
        }
        std::mem::swap(&mut self.effects, effects);
    }

    fn take(&mut self, given: &Given<'_>, message: Message<C>) {
        match message {
            Message::Work(account, work) => {
                let at = self.members.find_or_add(&account, given.now);
                self.members[at].used_at = given.now;
                self.take_up(given, at, work);
            }
            Message::Loaded(account, result) => {
                if let Some(at) = self.members.find(&account) {
                    self.loaded(given, at, result);
                }
            }
            Message::Found { account, work, changes, result } => {
                let at = self.members.find_or_add(&account, given.now);
                self.found(given, at, work, changes, result);
            }
            Message::Committed(id, outcome) => self.committed(given, id, outcome),
            Message::Withdrawn(id) => self.withdrawn(id),
            Message::Reloaded(id, result) => self.reloaded(given, id, result),
            Message::CarriedOver(account, result) => {
                if let Some(at) = self.members.find(&account) {
                    self.carried_over(at, result);
                }
            }
            Message::Unheard(account, decided) => {
                let at = self.members.find_or_add(&account, given.now);
                self.void(given, at, *decided);
            }
            Message::Due(Timer::Record) => self.record_unrecorded(),
            Message::Due(Timer::CarryOver(account)) => {
                if let Some(at) = self.members.find(&account) {
                    self.carry_over(at);
                }
            }
            Message::Leave => self.prepare_to_leave(None),
            Message::Sweep(unused_since) => self.prepare_to_leave(Some(unused_since)),
        }
    }

    fn is_in_doubt(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| in_flight.is_in_doubt)
    }

    /// Keeps what has to wait while an append is in doubt: the state may be void. What the journal says of it is taken, and
    /// so is a repeated request whose answer is durable.
    fn not_held(&mut self, given: &Given<'_>, message: Message<C>) -> Option<Message<C>> {
        if !self.is_in_doubt() {
            return Some(message);
        }
        match message {
            Message::Committed(..) | Message::Withdrawn(_) | Message::Reloaded(..) => Some(message),
            Message::Work(account, Work::Request(request)) => {
                let known = self.members.find(&account).filter(|at| {
                    self.members[*at].card.answer_to(&request.asked).is_some()
                        && self.unreleased(*at, &request.asked).is_none()
                });
                if known.is_some() {
                    return Some(Message::Work(account, Work::Request(request)));
                }
                if given.is_journal_in_trouble {
                    self.give_up(request.waiting, Cause::Journal);
                } else {
                    self.held.push(Message::Work(account, Work::Request(request)));
                }
                None
            }
            Message::Leave | Message::Sweep(_) => None,
            Message::Work(..)
            | Message::Loaded(..)
            | Message::Found { .. }
            | Message::CarriedOver(..)
            | Message::Unheard(..)
            | Message::Due(_) => {
                self.held.push(message);
                None
            }
        }
    }

    /// Ends a turn of one or more steps: hands on what was decided in it, as the append of this `id`, unless one is on its
    /// way already.
    pub fn dispatch(&mut self, given: &Given<'_>, id: EntryId, effects: &mut Vec<Effect<C>>) {
        std::mem::swap(&mut self.effects, effects);
        self.end_turn(given.now);
        self.overtake();
        if self.in_flight.is_none() {
            self.drop_dead(given);
            if !self.next.is_empty() || !self.leaving.is_empty() {
                self.append(given, id);
            }
        }
        self.load_histories_if_needed();
        std::mem::swap(&mut self.effects, effects);
    }

    /// Holds that are open.
    #[must_use]
    pub fn open_holds(&mut self) -> usize {
        self.members.open()
    }

    /// Accounts in memory.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.members.len()
    }

    /// Whether there is something to do or to wait for.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.in_flight.is_some()
            || !self.next.is_empty()
            || !self.leaving.is_empty()
            || !self.unrecorded.is_empty()
            || self.members.iter().any(|(_, member)| member.is_busy())
    }

    /// The state of a card or cardholder as it is decided on, durable or not.
    #[must_use]
    pub fn card(&self, account: &Account) -> Option<&Card> {
        self.members.find(account).map(|at| &self.members[at].card)
    }

    /// The state of a budget as it is decided on, durable or not.
    #[must_use]
    pub fn budget(&self, account: &Account) -> Option<&Budget> {
        self.members.find(account).map(|at| &self.members[at].budget)
    }

    /// The last entry of an account that is known to be durable.
    #[must_use]
    pub fn head(&self, account: &Account) -> Head {
        self.members.find(account).map_or_else(Head::default, |at| self.members[at].head)
    }

    fn take_up(&mut self, given: &Given<'_>, at: Slot, work: Work<C>) {
        let is_bounded = matches!(work, Work::Request(_) | Work::Observation(_));
        if is_bounded && self.members[at].waiting() >= given.settings.queue_max {
            self.note(at, Note::QueueFull);
            return self.turn_away(given, at, work, Cause::Overload);
        }
        match self.members[at].phase {
            Phase::Ready => self.work(given, at, work),
            Phase::Loading(_) | Phase::Unread => self.wait_for(at, at, work),
        }
    }

    /// Has work for the account at `of` wait until the one at `at` is in memory.
    fn wait_for(&mut self, at: Slot, of: Slot, work: Work<C>) {
        self.load(at);
        if let Phase::Loading(waiting) = &mut self.members[at].phase {
            waiting.push((of, work));
        }
    }

    /// Has an account read that is not in memory.
    fn load(&mut self, at: Slot) {
        if matches!(self.members[at].phase, Phase::Unread) {
            self.members[at].phase = Phase::Loading(Vec::new());
            self.effects.push(Effect::Load(self.members[at].account.clone()));
        }
    }

    /// Work that waits for the journal to be read.
    pub(crate) fn waiting(&self) -> usize {
        let held = self.held.len();
        self.members.iter().fold(held, |sum, (_, member)| sum.saturating_add(member.waiting()))
    }

    /// Does what is for this chain, and hands on what is not.
    fn work(&mut self, given: &Given<'_>, at: Slot, mut work: Work<C>) {
        if let Work::Request(request) = &mut work {
            self.complete(at, request);
        }
        if let Some(work) = self.kept(given, at, work) {
            self.do_here(given, at, work, Looked::Not);
        }
    }

    fn do_here(&mut self, given: &Given<'_>, at: Slot, work: Work<C>, looked: Looked) {
        self.members[at].is_leaving = false;
        match work {
            Work::Request(request) => self.request(given, at, request, looked),
            Work::Observation(observed) => self.observe(given, at, observed, looked),
            Work::StandIn(stood_in) => self.stood_in(given, at, stood_in, looked),
            Work::Carry(carry) => self.carry(given, at, *carry, looked),
            Work::Operation(operation) => self.operate(given, at, *operation),
        }
    }

    fn note(&mut self, at: Slot, note: Note) {
        self.effects.push(Effect::Note(self.members[at].account.clone(), note));
    }
}
