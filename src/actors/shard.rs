//! The actor of a share of all accounts. It keeps their ledgers in memory, feeds them one message after another, and lets
//! those go that nobody asks for. What a ledger wants done is done in `effects.rs`.

use std::{
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hashlink::LinkedHashMap;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::yield_now;

use super::{
    Cause,
    directory::Shared,
    effects::Hands,
    holds::Holds,
    inbox::{Arrived, Inbox},
    reply::Reply,
    sampling,
};
use crate::{
    clock::{self, Instant},
    domain::Account,
    journal::{EntryId, Ticket},
    ledger::{self, Effect, Given, Ledger, Work},
    metrics::{Passivation, Shed},
};

/// How long an account waits until another one has left memory for it.
const ROOM_WITHIN: Duration = Duration::from_millis(500);
/// How long after that it is looked for room again: whoever was to leave may have been asked for meanwhile.
const ROOM_AGAIN: Duration = Duration::from_millis(20);
/// How many messages are taken before other tasks get their turn.
const MESSAGES_AT_ONCE: usize = 64;
/// How many are sent away before requests get their turn again.
const SENT_AT_ONCE: usize = 32;
/// For how long an account of a root in use was not asked for that leaves it for want of room.
const UNUSED_UNDER_PRESSURE: Duration = Duration::from_secs(1);
/// Only an account that was asked for this lately can have a queue worth counting.
const QUEUED_WITHIN: Duration = Duration::from_secs(2);

/// What a shard is told.
pub(super) enum Message {
    /// Work for an account of a root.
    Work(Account, Account, Work<Reply>),
    /// What became of an effect of the ledger of a root, by the number that it had then.
    Back(Account, u64, ledger::Message<Reply>),
    /// Let those go that nobody has asked for.
    Sweep,
    /// An account of another shard finds no room.
    MakeRoom,
    /// Look again whether there is room for those that wait.
    Admit,
}

/// The actor. All that it knows is in its [`Shard`].
pub(super) struct ShardActor;

/// A share of the accounts.
pub(super) struct Shard {
    me: Inbox<Message>,
    shared: Arc<Shared>,
    /// The ledgers in memory by their roots, the one that was not asked for the longest first.
    residents: LinkedHashMap<Account, Resident>,
    /// Work for accounts of roots that find no room in memory, and until when each waits.
    arrivals: VecDeque<(Instant, Account, Account, Work<Reply>)>,
    is_admission_due: bool,
    /// How many ledgers there were.
    numbers: u64,
    /// Kept for their memory.
    arrived: Vec<Message>,
    messages: VecDeque<ledger::Message<Reply>>,
    effects: Vec<Effect<Reply>>,
}

/// A root in memory.
pub(super) struct Resident {
    ledger: Box<Ledger<Reply>>,
    /// How many accounts of it are counted.
    accounts: usize,
    /// Tells what was asked for it from what was asked for one before it.
    pub(super) number: u64,
    used_at: Instant,
    /// Since when it is being activated.
    pub(super) woken: Option<Instant>,
    /// Why it is about to leave.
    leaving: Option<Passivation>,
    /// Its append, where it waits for a batch.
    pub(super) ticket: Option<(EntryId, Ticket)>,
    holds: Holds,
}

impl Actor for ShardActor {
    type Msg = Arrived;
    type State = Shard;
    type Arguments = (Inbox<Message>, Arc<Shared>);

    async fn pre_start(
        &self,
        _: ActorRef<Arrived>,
        (me, shared): (Inbox<Message>, Arc<Shared>),
    ) -> Result<Shard, ActorProcessingErr> {
        Ok(Shard {
            me,
            shared,
            residents: LinkedHashMap::new(),
            arrivals: VecDeque::new(),
            is_admission_due: false,
            numbers: 0,
            arrived: Vec::new(),
            messages: VecDeque::new(),
            effects: Vec::new(),
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Arrived>,
        Arrived: Arrived,
        shard: &mut Shard,
    ) -> Result<(), ActorProcessingErr> {
        let mut arrived = shard.me.take(mem::take(&mut shard.arrived));
        for (place, message) in arrived.drain(..).enumerate() {
            if place > 0 && place.is_multiple_of(MESSAGES_AT_ONCE) {
                yield_now().await;
            }
            shard.take(message);
        }
        shard.arrived = arrived;
        Ok(())
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.me.close();
    }
}

impl Shard {
    fn take(&mut self, message: Message) {
        match message {
            Message::Work(root, account, work) => self.work(root, account, work),
            Message::Back(root, number, message) => self.back(&root, number, message),
            Message::Sweep => self.sweep(),
            Message::MakeRoom => self.make_room(),
            Message::Admit => self.admit(),
        }
    }

    fn work(&mut self, root: Account, account: Account, work: Work<Reply>) {
        let now = clock::instant();
        if let Some(resident) = self.residents.to_back(&root) {
            (resident.used_at, resident.leaving) = (now, None);
            return self.drive(&root, now, ledger::Message::Work(account, work));
        }
        // What Stripe has been told already must not be lost for want of room.
        let is_bounded = matches!(work, Work::Request(_) | Work::Observation(_));
        if is_bounded && !self.shared.has_room() {
            let until = now.checked_add(ROOM_WITHIN).unwrap_or(now);
            let until = match &work {
                Work::Request(request) => until.min(halfway(now, &request.waiting)),
                Work::Observation(_) | Work::StandIn(_) | Work::Carry(_) | Work::Operation(_) => until,
            };
            self.wait_for_room(until, root, account, work);
            return self.ask_for_room();
        }
        self.activate(&root, now, account, work);
    }

    fn wait_for_room(&mut self, until: Instant, root: Account, account: Account, work: Work<Reply>) {
        self.arrivals.push_back((until, root, account, work));
        self.shared.waiting_for_room.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes a root into memory for this work.
    fn activate(&mut self, root: &Account, now: Instant, account: Account, work: Work<Reply>) {
        self.numbers = self.numbers.wrapping_add(1);
        let resident = Resident {
            ledger: Box::new(Ledger::new()),
            accounts: 0,
            number: self.numbers,
            used_at: now,
            woken: Some(now),
            leaving: None,
            ticket: None,
            holds: Holds::new(self.shared.metrics.cards.holds_open.clone()),
        };
        self.residents.insert(root.clone(), resident);
        self.drive(root, now, ledger::Message::Work(account, work));
    }

    fn back(&mut self, root: &Account, number: u64, message: ledger::Message<Reply>) {
        // A ledger that is gone has nobody left to tell.
        if self.residents.get(root).is_some_and(|resident| resident.number == number) {
            self.drive(root, clock::instant(), message);
        }
    }

    /// Feeds a ledger, and does what it wants done, until it wants nothing more.
    fn drive(&mut self, root: &Account, now: Instant, message: ledger::Message<Reply>) {
        self.messages.push_back(message);
        // A fault in one account must not take the others of its shard along.
        let driven = catch_unwind(AssertUnwindSafe(|| self.try_drive(root, now)));
        if let Some(resident) = self.residents.get_mut(root) {
            let accounts = resident.ledger.accounts();
            self.shared.count_residents(resident.accounts, accounts);
            resident.accounts = accounts;
        }
        let cause = match driven {
            Ok(false) => return,
            Ok(true) => self.residents.get(root).and_then(|resident| resident.leaving),
            Err(_) => {
                tracing::error!(%root, "a card failed: what waits for it gets stand-in decisions");
                self.messages.clear();
                self.effects.clear();
                self.shared.count_failure(root, now);
                None
            }
        };
        if let Some(gone) = self.residents.remove(root) {
            self.shared.metrics.cards.passivations.get(cause.unwrap_or(Passivation::Failure)).increment(1);
            self.shared.count_residents(gone.accounts, 0);
            if self.arrivals.is_empty() { self.shared.admit_elsewhere() } else { self.admit_soon() }
        }
    }

    /// True: the ledger is to be let go.
    fn try_drive(&mut self, root: &Account, now: Instant) -> bool {
        let Self { me, shared, residents, messages, effects, .. } = self;
        let Some(resident) = residents.get_mut(root) else { return false };
        let policy = Arc::clone(&shared.policy.borrow());
        let mut given = Given {
            now,
            policy: &policy,
            settings: &shared.ledger,
            is_journal_in_trouble: shared.journal.is_in_trouble(),
        };
        let mut hands = Hands { me, shared, root, is_left: false };
        while !messages.is_empty() || !effects.is_empty() {
            hands.run_all(resident, effects, messages);
            while let Some(message) = messages.pop_front() {
                resident.ledger.step(&given, message, effects);
                // Before replies leave: whoever has one finds its hold counted.
                resident.holds.count(resident.ledger.open_holds());
                hands.run_all(resident, effects, messages);
            }
            given.now = clock::instant();
            resident.ledger.dispatch(&given, EntryId::new(fastrand::u64(1..)), effects);
            hands.run_all(resident, effects, messages);
        }
        // What a reply has led to may have to be written first.
        hands.is_left && !resident.ledger.is_busy()
    }

    /// Sends away those that nobody has asked for, and the longest unused of those over the bound.
    fn sweep(&mut self) {
        let now = clock::instant();
        let settings = &self.shared.settings;
        let unused = |resident: &Resident| now.saturating_duration_since(resident.used_at);
        let idle =
            self.residents.iter().take_while(|(_, resident)| unused(resident) >= settings.card_idle_after);
        let idle: Vec<Account> = idle
            .filter(|(_, resident)| !resident.ledger.is_busy())
            .map(|(account, _)| account.clone())
            .take(SENT_AT_ONCE)
            .collect();
        let used = self.residents.iter().rev().take_while(|(_, resident)| unused(resident) <= QUEUED_WITHIN);
        let longest = used.map(|(_, resident)| resident.ledger.waiting()).max().unwrap_or(0);
        self.shared.queue_longest.fetch_max(longest, Ordering::Relaxed);
        self.sample_budgets();
        let unused_since = now.checked_sub(settings.card_idle_after).unwrap_or(now);
        let shared = self.residents.iter().filter(|(_, resident)| resident.accounts > 1);
        let shared: Vec<Account> = shared.map(|(root, _)| root.clone()).collect();
        for root in shared {
            self.drive(&root, now, ledger::Message::Sweep(unused_since));
        }
        let are_more = idle.len() == SENT_AT_ONCE;
        for account in idle {
            self.send_away(&account, Passivation::Idle);
        }
        for _ in 0..self.shared.surplus_each().min(SENT_AT_ONCE) {
            self.make_room();
        }
        if are_more {
            self.me.send(Message::Sweep);
        }
        self.admit();
    }

    /// Says what the budgets in memory come to.
    fn sample_budgets(&self) {
        let policy = Arc::clone(&self.shared.policy.borrow());
        let (budgets, now) = (policy.budgets(), clock::now());
        let mut seen = sampling::Seen::new();
        if !budgets.is_empty() {
            for resident in self.residents.values() {
                sampling::add(&mut seen, &resident.ledger, budgets, now);
            }
        }
        self.shared.sampled(self.me.number(), seen);
    }

    /// Sends the longest unused one away that has nothing to do.
    fn make_room(&mut self) {
        let unused = self.residents.iter().find(|(_, resident)| !resident.ledger.is_busy());
        if let Some(root) = unused.map(|(root, _)| root.clone()) {
            return self.send_away(&root, Passivation::Pressure);
        }
        // Of a root that is always in use, the accounts that are not.
        let shared = self.residents.iter().find(|(_, resident)| resident.accounts > 1);
        if let Some(root) = shared.map(|(root, _)| root.clone()) {
            let now = clock::instant();
            let unused_since = now.checked_sub(UNUSED_UNDER_PRESSURE).unwrap_or(now);
            self.drive(&root, now, ledger::Message::Sweep(unused_since));
        }
    }

    fn send_away(&mut self, account: &Account, cause: Passivation) {
        if let Some(resident) = self.residents.get_mut(account) {
            resident.leaving = Some(cause);
            self.drive(account, clock::instant(), ledger::Message::Leave);
        }
    }

    /// There are accounts that find no room: one leaves for each.
    fn ask_for_room(&mut self) {
        if self.residents.values().all(|resident| resident.ledger.is_busy()) {
            self.shared.make_room_elsewhere(&self.me);
        } else {
            self.make_room();
        }
        self.admit_soon();
    }

    fn admit_soon(&mut self) {
        if !mem::replace(&mut self.is_admission_due, true) {
            let me = self.me.clone();
            tokio::spawn(async move {
                clock::sleep(ROOM_AGAIN).await;
                me.send(Message::Admit);
            });
        }
    }

    /// Takes those in that wait for room, as far as there is some, and turns those away that have waited for long.
    fn admit(&mut self) {
        self.is_admission_due = false;
        let now = clock::instant();
        for _ in 0..self.arrivals.len() {
            let Some((until, root, account, work)) = self.arrivals.pop_front() else { break };
            self.shared.waiting_for_room.fetch_sub(1, Ordering::AcqRel);
            if self.residents.contains_key(&root) {
                self.work(root, account, work);
            } else if self.shared.has_room() {
                self.activate(&root, now, account, work);
            } else if until <= now {
                self.shared.metrics.decisions.shed.get(Shed::CardsResident).increment(1);
                turn_away(work, Cause::Overload);
            } else {
                self.wait_for_room(until, root, account, work);
            }
        }
        if !self.arrivals.is_empty() {
            self.ask_for_room();
        }
    }
}

/// Tells work that has not reached a ledger that it cannot be done.
pub(super) fn turn_away(work: Work<Reply>, cause: Cause) {
    match work {
        Work::Request(request) => match request.waiting {
            ledger::Waiting::Answer { caller, .. } | ledger::Waiting::Receipt(caller) => {
                caller.give_up(cause);
            }
            ledger::Waiting::StandIn(_) => {}
        },
        Work::Observation(observed) => observed.caller.give_up(cause),
        Work::Carry(carry) => carry.caller.give_up(cause),
        Work::Operation(operation) => operation.caller.give_up(cause),
        Work::StandIn(_) => {}
    }
}

/// Half of the time that is left to it.
fn halfway<C>(now: Instant, waiting: &ledger::Waiting<C>) -> Instant {
    match waiting {
        ledger::Waiting::Answer { deadline, .. } => {
            let half = deadline.saturating_duration_since(now).div_f64(2.0);
            now.checked_add(half).unwrap_or(now)
        }
        ledger::Waiting::Receipt(_) | ledger::Waiting::StandIn(_) => now,
    }
}
