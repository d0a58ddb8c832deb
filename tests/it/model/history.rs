//! One random history: merchants, a Stripe that follows the answers or does not, and a wire that loses, repeats and delays.

use fastrand::Rng;
use serde_json::json;

use super::{
    account::{self, Account},
    engine::Engine,
    stripe::{Authorization, Entry, Message, Told, Transaction},
};

const START: i64 = 1_772_000_000;
/// Another card has so many holds, of so much each, that refunds on this one name by mistake.
const OTHERS: u8 = 3;
const OTHERS_HOLD: i64 = 700;
const CATEGORIES: [&str; 2] = ["bakeries", "fast_food_restaurants"];

pub(super) struct History {
    random: Rng,
    now: i64,
    numbers: u64,
    engine: Engine,
    /// By card: the second replaces the first, and has an account of its own until the ledger is told so.
    account: Account,
    apart: Account,
    is_joined: bool,
    uses_second: bool,
    authorizations: Vec<Authorization>,
    loose: Vec<Transaction>,
    /// Told later, or again.
    late: Vec<Message>,
    /// Requests that were answered: the event, when, and what was said.
    answered: Vec<(String, i64, &'static str)>,
    pub(super) seen: Seen,
}

/// How often what happened.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Seen {
    steps: u64,
    approved: u64,
    declined: u64,
    increments: u64,
    reopened: u64,
    overturned: u64,
    unasked: u64,
    reversed: u64,
    twins: u64,
    captured: u64,
    refunded: u64,
    foreign: u64,
    loose: u64,
    corrected: u64,
    repeated: u64,
    lost: u64,
    evicted: u64,
    crashed: u64,
    joined: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        let pairs = self.counts_mut().into_iter().zip(other.counts());
        pairs.for_each(|(sum, one)| *sum += one);
    }

    const fn counts(self) -> [u64; 19] {
        let Self {
            steps,
            approved,
            declined,
            increments,
            reopened,
            overturned,
            unasked,
            reversed,
            twins,
            ..
        } = self;
        let Self {
            captured,
            refunded,
            foreign,
            loose,
            corrected,
            repeated,
            lost,
            evicted,
            crashed,
            joined,
            ..
        } = self;
        [
            steps, approved, declined, increments, reopened, overturned, unasked, reversed, twins, captured,
            refunded, foreign, loose, corrected, repeated, lost, evicted, crashed, joined,
        ]
    }

    const fn counts_mut(&mut self) -> [&mut u64; 19] {
        let Self {
            steps,
            approved,
            declined,
            increments,
            reopened,
            overturned,
            unasked,
            reversed,
            twins,
            captured,
            refunded,
            foreign,
            loose,
            corrected,
            repeated,
            lost,
            evicted,
            crashed,
            joined,
        } = self;
        [
            steps, approved, declined, increments, reopened, overturned, unasked, reversed, twins, captured,
            refunded, foreign, loose, corrected, repeated, lost, evicted, crashed, joined,
        ]
    }

    pub(super) fn assert_everything_happened(&self) {
        let is_short = self.steps < 1_000;
        assert!(is_short || self.counts().iter().all(|count| *count > 0), "{self:?}");
    }
}

impl History {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let refunds_restore = random.u8(..3) == 0;
        let account = Account::new(refunds_restore);
        let apart = Account::new(refunds_restore);
        let now = START + random.i64(0..40 * 86_400);
        let engine = Engine::new(&account::policy(refunds_restore));
        for number in 0..OTHERS {
            let other = Authorization {
                id: format!("iauth_other_{number}"),
                card: "ic_other",
                category: CATEGORIES[1],
                created: now,
                status: "pending",
                approved: false,
                amount: 0,
                history: Vec::new(),
                transactions: Vec::new(),
                is_reopened: false,
                is_told: false,
            };
            let request = other.request(&format!("evt_other_{number}"), OTHERS_HOLD, now);
            assert_eq!(engine.ask(&request, now), "approved");
        }
        Self {
            engine,
            now,
            random,
            numbers: 0,
            account,
            apart,
            is_joined: false,
            uses_second: false,
            authorizations: Vec::new(),
            loose: Vec::new(),
            late: Vec::new(),
            answered: Vec::new(),
            seen: Seen::default(),
        }
    }

    pub(super) fn step(&mut self) {
        self.seen.steps += 1;
        self.now += match self.random.u8(..10) {
            0..6 => self.random.i64(1..900),
            6..9 => self.random.i64(3_000..20_000),
            _ => self.random.i64(80_000..250_000),
        };
        let what = self.happen();
        self.agree(&what);
    }

    fn happen(&mut self) -> String {
        let place = self.random.usize(..self.authorizations.len().max(1));
        let is_any = !self.authorizations.is_empty();
        match self.random.u8(..34) {
            0..7 => self.begin(),
            7..11 if is_any => self.ask_more(place),
            11..13 if is_any => self.reduce(place),
            13 if is_any => self.twins(place),
            14..16 if is_any => self.end(place),
            16..20 if is_any => self.capture(place),
            20 if is_any => self.refund(place),
            21 => self.foreign_refund(),
            22 => self.loose(),
            23 => self.correct(),
            24..27 => self.tell_late(),
            27 => self.ask_again(),
            28 if is_any => self.unasked(place),
            29..31 => {
                self.engine.evict();
                self.seen.evicted += 1;
                "evicted".to_owned()
            }
            31 => {
                self.engine.crash();
                self.seen.crashed += 1;
                "crashed".to_owned()
            }
            32 => {
                self.uses_second |= self.random.u8(..4) == 0;
                "time goes by".to_owned()
            }
            _ => "time goes by".to_owned(),
        }
    }

    /// Both say the same of every window, and of what is held.
    fn agree(&self, what: &str) {
        let cards = if self.is_joined { &["ic_a", "ic_b"][..] } else { &["ic_a"] };
        let expected = (self.account.used_of_all(self.now), self.account.held());
        let other = self.engine.show("ic_other", self.now);
        assert_eq!(other.held, i64::from(OTHERS) * OTHERS_HOLD, "after {what}: another card's holds");
        for card in cards {
            let shown = self.engine.show(card, self.now);
            if shown.used.is_empty() && expected.0.iter().all(|used| *used == 0) {
                continue;
            }
            assert_eq!(
                (shown.used, shown.held),
                expected,
                "step {}, {card}, after {what}: ledger, model",
                self.seen.steps
            );
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// An id whose order says nothing.
    fn event(&mut self) -> String {
        format!("evt_{:08x}_{}", self.random.u32(..), self.number())
    }

    fn begin(&mut self) -> String {
        let number = self.number();
        let is_second = self.uses_second && self.random.bool();
        let authorization = Authorization {
            id: format!("iauth_{number}"),
            card: if is_second { "ic_b" } else { "ic_a" },
            category: CATEGORIES[self.random.usize(..2)],
            created: self.now,
            status: "pending",
            approved: false,
            amount: 0,
            history: Vec::new(),
            transactions: Vec::new(),
            is_reopened: false,
            is_told: false,
        };
        self.authorizations.push(authorization);
        self.ask(self.authorizations.len() - 1)
    }

    /// More on what is pending, or anew on what was released.
    fn ask_more(&mut self, place: usize) -> String {
        let one = &self.authorizations[place];
        if one.history.is_empty() || (!one.is_terminal() && one.captured() > one.amount) {
            return "nothing".to_owned();
        }
        if one.is_terminal() {
            self.seen.reopened += 1;
        } else {
            self.seen.increments += 1;
        }
        self.ask(place)
    }

    fn ask(&mut self, place: usize) -> String {
        let amount = self.random.i64(1..1_400);
        let (event, turn) = (self.event(), self.number());
        let told = self.authorizations[place].clone();
        let json = told.request(&event, amount, self.now);
        self.link(told.card);
        self.account.hear_request(&told, turn, self.now);
        let fits = self.account.ask(&told, amount, self.now);
        let expected = if fits { "approved" } else { "declined" };
        if self.random.u8(..12) == 0 {
            let turns = self.random.usize(..40);
            self.engine.crash_while_asked(&json, self.now, turns);
            self.seen.crashed += 1;
        }
        let answer = self.engine.ask(&json, self.now);
        let what = format!("a request of {amount} on {told:?}");
        assert_eq!(answer, expected, "step {}, {what}: ledger, model", self.seen.steps);
        self.answered.push((json, self.now, answer));
        if fits {
            self.seen.approved += 1;
        } else {
            self.seen.declined += 1;
        }
        let is_overturned = self.random.u8(..10) == 0;
        self.seen.overturned += u64::from(is_overturned);
        self.now += self.random.i64(0..3);
        self.decide(place, amount, fits != is_overturned);
        what
    }

    /// Stripe has decided a request.
    fn decide(&mut self, place: usize, amount: i64, approved: bool) {
        let now = self.now;
        let one = &mut self.authorizations[place];
        one.history.push(Entry { amount, approved, created: now });
        if approved {
            let is_anew = one.is_terminal() || !one.approved;
            one.is_reopened |= is_anew && one.history.len() > 1;
            one.amount = if is_anew { amount } else { one.amount + amount };
            (one.status, one.approved) = ("pending", true);
        } else if !one.approved {
            (one.status, one.amount) = ("closed", amount);
        }
        self.tell(place, json!(null));
    }

    /// A snapshot goes out: it comes, comes late, comes twice, or is lost.
    fn tell(&mut self, place: usize, before: serde_json::Value) {
        let (event, turn) = (self.event(), self.number());
        let message = self.authorizations[place].snapshot(&event, self.now, turn, before);
        self.authorizations[place].is_told = true;
        self.send(message);
    }

    fn send(&mut self, message: Message) {
        match self.random.u8(..10) {
            0 => self.seen.lost += 1,
            1..3 => self.late.push(message),
            3 => {
                self.deliver(&message);
                self.late.push(message);
            }
            _ => self.deliver(&message),
        }
    }

    fn deliver(&mut self, message: &Message) {
        let (card, has_card) = match &message.told {
            Told::Snapshot(snapshot) => (snapshot.authorization.card, true),
            Told::Settled { transaction, .. } => (transaction.card, false),
        };
        if has_card {
            self.link(card);
        }
        let of = if card == "ic_b" && !self.is_joined { &mut self.apart } else { &mut self.account };
        of.hear(&message.told);
        self.engine.book(&message.json, self.now);
    }

    /// A message that embeds the second card says that it replaces the first.
    fn link(&mut self, card: &str) {
        if card == "ic_b" && !self.is_joined {
            self.is_joined = true;
            self.seen.joined += 1;
            self.account.join(std::mem::take(&mut self.apart));
        }
    }

    fn tell_late(&mut self) -> String {
        if self.late.is_empty() {
            return "nothing".to_owned();
        }
        let message = self.late[self.random.usize(..self.late.len())].clone();
        self.deliver(&message);
        format!("late or again: {:?}", message.told)
    }

    fn ask_again(&mut self) -> String {
        if self.answered.is_empty() {
            return "nothing".to_owned();
        }
        let (json, at, before) = self.answered[self.random.usize(..self.answered.len())].clone();
        let _ = at;
        assert_eq!(self.engine.ask(&json, self.now), before, "step {}: {json} again", self.seen.steps);
        self.seen.repeated += 1;
        "a request again".to_owned()
    }

    fn reduce(&mut self, place: usize) -> String {
        let one = &mut self.authorizations[place];
        let open = one.amount - one.captured();
        if one.is_terminal() || one.is_reopened || open < 2 {
            return "nothing".to_owned();
        }
        one.amount -= self.random.i64(1..open);
        self.seen.reversed += 1;
        self.tell(place, json!(null));
        format!("a reduction of {:?}", self.authorizations[place])
    }

    /// Two reductions in one second: what was before tells which is the later.
    fn twins(&mut self, place: usize) -> String {
        for _ in 0..2 {
            let one = &mut self.authorizations[place];
            let open = one.amount - one.captured();
            if one.is_terminal() || one.is_reopened || open < 2 || !one.is_told {
                return "nothing".to_owned();
            }
            let before = json!({"amount": one.amount});
            one.amount -= self.random.i64(1..open);
            let (event, turn) = (self.event(), self.number());
            let message = self.authorizations[place].snapshot(&event, self.now, turn, before);
            if self.random.bool() {
                self.deliver(&message);
            } else {
                self.late.push(message);
            }
            self.seen.twins += 1;
        }
        // The next word is of another second.
        self.now += 1;
        format!("two reductions of {:?}", self.authorizations[place])
    }

    fn end(&mut self, place: usize) -> String {
        let is_void = self.random.bool();
        let one = &mut self.authorizations[place];
        if one.is_terminal() || !one.approved {
            return "nothing".to_owned();
        }
        if is_void {
            (one.status, one.amount) = ("reversed", 0);
        } else {
            one.status = "expired";
        }
        self.tell(place, json!(null));
        format!("the end of {:?}", self.authorizations[place])
    }

    fn capture(&mut self, place: usize) -> String {
        let number = self.number();
        let one = &mut self.authorizations[place];
        let open = (one.amount - one.captured()).max(1);
        let is_whole = self.random.u8(..3) == 0;
        let amount = if is_whole { open } else { self.random.i64(1..=open + open / 4) };
        let transaction = Transaction {
            id: format!("ipi_{number}"),
            card: one.card,
            is_refund: false,
            amount,
            created: self.now,
            category: one.category,
        };
        one.transactions.push(transaction.clone());
        let is_last = one.captured() >= one.amount || self.random.u8(..3) > 0;
        if one.is_terminal() || is_last {
            one.status = if one.is_terminal() { one.status } else { "closed" };
        }
        self.seen.captured += 1;
        self.settle(place, &transaction);
        format!("a capture {transaction:?} of {:?}", self.authorizations[place])
    }

    fn settle(&mut self, place: usize, transaction: &Transaction) {
        let (event, id) = (self.event(), self.authorizations[place].id.clone());
        let message = transaction.told(&event, Some(&id), self.now, false);
        let is_first = self.random.bool();
        if is_first {
            self.send(message.clone());
        }
        self.tell(place, json!(null));
        if !is_first {
            self.send(message);
        }
    }

    fn refund(&mut self, place: usize) -> String {
        let number = self.number();
        let one = &mut self.authorizations[place];
        let left = one.captured() - one.refunded();
        if left <= 0 {
            return "nothing".to_owned();
        }
        let transaction = Transaction {
            id: format!("ipi_{number}"),
            card: one.card,
            is_refund: true,
            amount: self.random.i64(1..=left),
            created: self.now,
            category: one.category,
        };
        one.transactions.push(transaction.clone());
        self.seen.refunded += 1;
        self.settle(place, &transaction);
        format!("a refund {transaction:?}")
    }

    /// A refund on this card that names another card's authorization, as Stripe sometimes does.
    fn foreign_refund(&mut self) -> String {
        let number = self.number();
        let transaction = Transaction {
            id: format!("ipi_{number}"),
            card: "ic_a",
            is_refund: true,
            amount: self.random.i64(1..2_000),
            created: self.now,
            category: CATEGORIES[self.random.usize(..2)],
        };
        let event = self.event();
        let other = format!("iauth_other_{}", self.random.u8(..OTHERS));
        let message = transaction.told(&event, Some(&other), self.now, false);
        self.seen.foreign += 1;
        self.send(message);
        format!("a foreign refund {transaction:?}")
    }

    fn loose(&mut self) -> String {
        let number = self.number();
        let transaction = Transaction {
            id: format!("ipi_{number}"),
            card: if self.random.u8(..3) == 0 { "ic_b" } else { "ic_a" },
            is_refund: self.random.bool(),
            amount: self.random.i64(1..900),
            created: self.now,
            category: CATEGORIES[self.random.usize(..2)],
        };
        self.loose.push(transaction.clone());
        let event = self.event();
        let message = transaction.told(&event, None, self.now, false);
        self.seen.loose += 1;
        self.send(message);
        format!("{transaction:?} without an authorization")
    }

    /// A capture without an authorization, or one of an authorization that is over, says another amount.
    fn correct(&mut self) -> String {
        let event = self.event();
        let over: Vec<usize> = (0..self.authorizations.len())
            .filter(|place| {
                let one = &self.authorizations[*place];
                one.is_terminal() && !one.is_reopened && one.captured() > 0
            })
            .collect();
        let now = self.now;
        let message = if !self.loose.is_empty() && (over.is_empty() || self.random.bool()) {
            let place = self.random.usize(..self.loose.len());
            let one = &mut self.loose[place];
            one.amount += 1 + i64::from(one.amount > 500) * 20;
            one.told(&event, None, now, true)
        } else if !over.is_empty() {
            let one = &mut self.authorizations[over[self.random.usize(..over.len())]];
            let id = one.id.clone();
            let Some(capture) = one.transactions.iter_mut().find(|one| !one.is_refund) else {
                return "nothing".to_owned();
            };
            capture.amount += 3;
            capture.told(&event, Some(&id), now, true)
        } else {
            return "nothing".to_owned();
        };
        self.seen.corrected += 1;
        let what = format!("a correction {:?}", message.told);
        self.send(message);
        what
    }

    /// A network decides more, and nobody asks us.
    fn unasked(&mut self, place: usize) -> String {
        let amount = self.random.i64(1..800);
        let one = &self.authorizations[place];
        if one.is_terminal() || one.captured() > one.amount {
            return "nothing".to_owned();
        }
        self.seen.unasked += 1;
        self.decide(place, amount, true);
        format!("{amount} more on {:?} that nobody asked us", self.authorizations[place])
    }
}
