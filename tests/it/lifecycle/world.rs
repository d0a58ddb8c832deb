//! A small world around one card, drawn from a seed: merchants that ask, a Stripe that follows our answers or does
//! not, captures, reversals and refunds. Beside each event it keeps its own plain account of what the books must say;
//! it shares no code with them.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use tollgate::domain::{
    AuthorizationId, AuthorizationRequest, AuthorizationStatus, Decision, Event, HistoryEntry, Merchant,
    Money, Outcome, Timestamp, TransactionId, TransactionKind,
};

use super::facts::{self, Snapshot};

/// How wild a world is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climate {
    /// Whether Stripe, networks and merchants force anything that we did not approve.
    pub(super) is_forced: bool,
    /// The longest pause between two steps.
    pub(super) pause_max: Duration,
}

pub(super) struct World {
    pub(super) random: Rng,
    pub(super) now: Timestamp,
    pub(super) purchases: Vec<Purchase>,
    /// Captures (positive) and refunds (negative) that name no authorization: when, and where.
    pub(super) loose: Vec<(Timestamp, Merchant, i64, i64)>,
    pub(super) log: Vec<Event>,
    climate: Climate,
}

/// One authorization as it is told in a plain account.
#[derive(Clone, Debug)]
pub(super) struct Purchase {
    pub(super) id: AuthorizationId,
    pub(super) created: Timestamp,
    pub(super) merchant: Merchant,
    /// What Stripe knows.
    truth: Snapshot,
    /// What of it has reached the books, and whether it was an update.
    told: Option<Snapshot>,
    /// Our answers: number of the request, time, granted, captured by then.
    answers: Vec<(usize, Timestamp, Option<i64>, i64)>,
    transactions: BTreeMap<TransactionId, (TransactionKind, i64, Timestamp)>,
}

/// What a purchase uses: when, how much, and whether it counts as an approval.
pub(super) type Use = (Timestamp, i64, i64);

impl Purchase {
    pub(super) fn captured(&self) -> i64 {
        let captures = self.transactions.values().filter(|(kind, ..)| *kind == TransactionKind::Capture);
        captures.map(|(_, amount, _)| -amount).sum()
    }

    pub(super) fn refunded(&self) -> i64 {
        let refunds = self.transactions.values().filter(|(kind, ..)| *kind == TransactionKind::Refund);
        refunds.map(|(_, amount, _)| amount).sum()
    }

    /// What Stripe says is in force, less what was captured; what we approved since is held in full, but for what was
    /// captured since.
    pub(super) fn hold(&self) -> i64 {
        let mut open = match &self.told {
            Some(told) if told.status == AuthorizationStatus::Pending => told.amount,
            Some(_) | None => 0,
        };
        let mut by_then = 0;
        for (_, granted, captured) in self.waiting() {
            let captured = captured.min(self.captured());
            open = (open - (captured - by_then)).max(0) + granted;
            by_then = captured;
        }
        (open - (self.captured() - by_then)).max(0)
    }

    pub(super) fn status(&self) -> AuthorizationStatus {
        match &self.told {
            _ if self.waiting().next().is_some() => AuthorizationStatus::Pending,
            Some(told) => told.status,
            None => AuthorizationStatus::Closed,
        }
    }

    /// Approvals of ours that no snapshot has told of: when, how much, and what was captured by then.
    fn waiting(&self) -> impl Iterator<Item = (Timestamp, i64, i64)> {
        let told = self.told.as_ref().map_or(0, |told| told.history.len());
        let later = self.answers.iter().filter(move |(number, ..)| *number >= told);
        later.filter_map(|(_, at, granted, captured)| granted.map(|granted| (*at, granted, *captured)))
    }

    /// Every approval that stands, the earliest first, filled with what is held and captured from the latest on. The
    /// authorization counts once, at its first approval.
    pub(super) fn uses(&self, refunds_restore: bool) -> Vec<Use> {
        let mut approvals: Vec<(Timestamp, i64)> = Vec::new();
        for (number, entry) in self.told.iter().flat_map(|told| told.history.iter().enumerate()) {
            let ours = self.answers.iter().find(|(asked, ..)| *asked == number);
            if entry.approved {
                let at = ours.map_or(entry.created, |(_, at, ..)| *at);
                approvals.push((at, ours.and_then(|(_, _, granted, _)| *granted).unwrap_or(entry.amount)));
            }
        }
        approvals.sort_by_key(|(at, _)| *at);
        let newest_told = approvals.len().saturating_sub(1);
        approvals.extend(self.waiting().map(|(at, granted, _)| (at, granted)));
        let refunded = if refunds_restore { self.refunded() } else { 0 };
        let mut rest = self.hold() + (self.captured() - refunded).max(0);
        if approvals.is_empty() {
            let asked = self.answers.first().map(|(_, at, ..)| *at);
            let settled = self.transactions.values().map(|(.., at)| *at).min();
            return asked.or(settled).filter(|_| rest > 0).map(|at| (at, rest, 0)).into_iter().collect();
        }
        let mut uses: Vec<Use> = Vec::new();
        for (at, amount) in approvals.iter().rev() {
            let share = rest.min(*amount);
            rest -= share;
            uses.push((*at, share, 0));
        }
        uses.reverse();
        uses[0].2 = 1;
        uses[newest_told].1 += rest;
        uses
    }

    /// Whether velocity counts it already.
    pub(super) fn counts(&self) -> bool {
        self.uses(false).iter().any(|(.., count)| *count > 0)
    }

    fn is_open(&self) -> bool {
        self.truth.status == AuthorizationStatus::Pending && self.truth.approved
    }
}

impl World {
    pub(super) fn new(seed: u64, start: Timestamp, climate: Climate) -> Self {
        let random = Rng::with_seed(seed);
        Self { random, now: start, purchases: Vec::new(), loose: Vec::new(), log: Vec::new(), climate }
    }

    /// Lets time pass: at least a second, so that no two facts of one second have to be told apart.
    pub(super) fn pause(&mut self) {
        let most = u64::try_from(self.climate.pause_max.as_micros()).unwrap();
        let pause = Duration::from_micros(1_000_000 + self.random.u64(0..=most));
        self.now = self.now.plus(pause);
    }

    /// A question that a merchant asks now: of a new authorization, or more on one that is open.
    pub(super) fn question(&mut self) -> (usize, AuthorizationRequest) {
        let open: Vec<usize> =
            (0..self.purchases.len()).filter(|place| self.purchases[*place].is_open()).collect();
        let place = match open.get(self.random.usize(0..open.len() * 2 + 3)) {
            Some(place) => *place,
            None => self.begin(),
        };
        let amount = self.random.i64(0..=20_000);
        // What Stripe did against our word must be known before it can be built on.
        let purchase = &self.purchases[place];
        if purchase.told.as_ref().map_or(0, |told| told.history.len()) < purchase.truth.history.len() {
            self.tell(place);
        }
        let purchase = &self.purchases[place];
        let mut request = facts::question(self.log.len(), &purchase.id, amount, self.now);
        request.created = purchase.created;
        request.merchant = purchase.merchant.clone();
        request.history_entries = u32::try_from(purchase.truth.history.len()).unwrap();
        request.approved_before = if purchase.truth.approved { purchase.truth.amount } else { 0 };
        request.is_amount_controllable = self.random.bool();
        if request.is_amount_controllable && self.random.bool() {
            request.cashback = self.random.i64(0..=amount);
        }
        (place, request)
    }

    /// Our answer goes into the books, and Stripe does what it says, or not.
    pub(super) fn answered(&mut self, place: usize, request: AuthorizationRequest, decision: Decision) {
        let granted = (decision.outcome != Outcome::Declined).then_some(decision.granted);
        let is_overturned = self.climate.is_forced && self.random.usize(0..8) == 0;
        let is_approved = granted.is_some() != is_overturned;
        let reason = if is_overturned { "webhook_timeout" } else { "webhook_approved" };
        let Money { amount: asked, .. } = request.asked.unwrap();
        let at = decision.at;
        self.log.push(facts::decided(request, decision));
        let now = self.now;
        let purchase = &mut self.purchases[place];
        let captured = purchase.captured();
        purchase.answers.push((purchase.truth.history.len(), at, granted, captured));
        let amount = if is_approved { granted.unwrap_or(asked) } else { asked };
        purchase.decide(asked, amount, is_approved, reason, now);
        if self.random.usize(0..4) > 0 {
            self.pause();
            self.tell(place);
        }
    }

    /// Something else happens, on some authorization.
    pub(super) fn happen(&mut self) {
        let steps = if self.climate.is_forced { 12 } else { 6 };
        if self.purchases.is_empty() {
            return;
        }
        let place = self.random.usize(0..self.purchases.len());
        match self.random.usize(0..steps) {
            0 => self.reverse(place, true),
            1 => self.reverse(place, false),
            2 => self.end(place, AuthorizationStatus::Expired),
            3 | 4 => self.capture(place, 100),
            5 => self.refund(place),
            6 => self.capture(place, 150),
            7 => self.force_capture(),
            8 => self.approve_alone(),
            9 => self.correct(place),
            10 => self.pump(place),
            _ => self.tell(place),
        }
    }

    /// Whatever was held back is told in the end.
    pub(super) fn tell_all(&mut self) {
        for place in 0..self.purchases.len() {
            self.pause();
            self.tell(place);
        }
    }

    /// A snapshot of what Stripe knows reaches the books.
    fn tell(&mut self, place: usize) {
        let now = self.now;
        let purchase = &mut self.purchases[place];
        if purchase.truth.history.is_empty() {
            return;
        }
        purchase.truth.transactions = u32::try_from(purchase.transactions.len()).unwrap();
        let is_update = purchase.told.is_some();
        purchase.told = Some(purchase.truth.clone());
        let fact =
            facts::snapshot(&purchase.id, is_update, purchase.created, &purchase.truth, &purchase.merchant);
        self.log.push(facts::observed(self.log.len(), now, fact));
        self.pause();
    }

    fn begin(&mut self) -> usize {
        let categories = ["bakeries", "fast_food_restaurants", "hotels_motels_and_resorts"];
        let category = categories[self.random.usize(0..categories.len())];
        let network_id = [None, Some("0042"), Some("42")][self.random.usize(0..3)];
        let history: Vec<HistoryEntry> = Vec::new();
        self.purchases.push(Purchase {
            id: facts::authorization(&format!("{:04}", self.purchases.len())),
            created: Timestamp::from_seconds(self.now.as_seconds()),
            merchant: facts::merchant(category, network_id),
            truth: Snapshot {
                amount: 0,
                approved: false,
                status: AuthorizationStatus::Pending,
                history,
                transactions: 0,
                listed: Vec::new(),
            },
            told: None,
            answers: Vec::new(),
            transactions: BTreeMap::new(),
        });
        self.purchases.len() - 1
    }

    fn reverse(&mut self, place: usize, is_partial: bool) {
        let random = &mut self.random;
        let purchase = &mut self.purchases[place];
        if !purchase.is_open() {
            return;
        }
        if is_partial {
            purchase.truth.amount = random.i64(0..=purchase.truth.amount);
            self.tell(place);
        } else {
            purchase.truth.amount = 0;
            self.end(place, AuthorizationStatus::Reversed);
        }
    }

    fn end(&mut self, place: usize, status: AuthorizationStatus) {
        if self.purchases[place].is_open() {
            self.purchases[place].truth.status = status;
            self.tell(place);
        }
    }

    /// Up to so many hundredths of what is left are captured; without force never more than is held.
    fn capture(&mut self, place: usize, percent_max: i64) {
        let purchase = &self.purchases[place];
        let left = if self.climate.is_forced { purchase.truth.amount } else { purchase.hold() };
        if left <= 0 || !(purchase.is_open() || self.climate.is_forced) {
            return;
        }
        let amount = self.random.i64(1..=(left * percent_max / 100).max(1));
        self.settle(place, TransactionKind::Capture, -amount);
        if self.random.bool() && self.purchases[place].is_open() {
            self.purchases[place].truth.status = AuthorizationStatus::Closed;
            if self.random.bool() {
                self.tell(place);
            }
        }
    }

    fn refund(&mut self, place: usize) {
        let captured = self.purchases[place].captured();
        if captured > 0 {
            // A refund that is itself reversed is taken from us as a force capture is.
            let least = if self.climate.is_forced { -captured / 4 } else { 0 };
            let amount = self.random.i64(least..=captured);
            self.settle(place, TransactionKind::Refund, amount);
        }
    }

    fn settle(&mut self, place: usize, kind: TransactionKind, amount: i64) {
        let (id, now) = (facts::transaction(&format!("{:06}", self.log.len())), self.now);
        let purchase = &mut self.purchases[place];
        purchase.transactions.insert(id.clone(), (kind, amount, Timestamp::from_seconds(now.as_seconds())));
        let fact = facts::settled(&id, false, now, (kind, amount), Some(&purchase.id), &purchase.merchant);
        self.log.push(facts::observed(self.log.len(), now, fact));
        self.pause();
    }

    /// A later version of a transaction says another amount.
    fn correct(&mut self, place: usize) {
        let now = self.now;
        let purchase = &mut self.purchases[place];
        let Some((id, (kind, amount, at))) = purchase.transactions.iter_mut().next() else { return };
        *amount -= amount.signum();
        let (kind, amount, at) = (*kind, *amount, *at);
        let fact =
            facts::settled(&id.clone(), true, at, (kind, amount), Some(&purchase.id), &purchase.merchant);
        self.log.push(facts::observed(self.log.len(), now, fact));
        self.pause();
    }

    fn force_capture(&mut self) {
        let (id, now) = (facts::transaction(&format!("{:06}", self.log.len())), self.now);
        let (amount, merchant) = (self.random.i64(1..=9_000), facts::merchant("bakeries", None));
        let is_refund = self.random.bool();
        let at = Timestamp::from_seconds(now.as_seconds());
        let told =
            if is_refund { (TransactionKind::Refund, amount) } else { (TransactionKind::Capture, -amount) };
        self.loose.push((
            at,
            merchant.clone(),
            if is_refund { 0 } else { amount },
            if is_refund { amount } else { 0 },
        ));
        let fact = facts::settled(&id, false, now, told, None, &merchant);
        self.log.push(facts::observed(self.log.len(), now, fact));
        self.pause();
    }

    /// Stripe or the network approves without asking: a new authorization, or an increment.
    fn approve_alone(&mut self) {
        let open = (0..self.purchases.len()).find(|place| self.purchases[*place].is_open());
        let place = match open.filter(|_| self.random.bool()) {
            Some(place) => place,
            None => self.begin(),
        };
        let amount = self.random.i64(1..=9_000);
        let now = self.now;
        self.purchases[place].decide(amount, amount, true, "network_fallback", now);
        self.pause();
        self.tell(place);
    }

    /// The top-level amount moves by itself, as at a fuel pump or with the rate of a currency.
    fn pump(&mut self, place: usize) {
        if self.purchases[place].is_open() {
            self.purchases[place].truth.amount += self.random.i64(0..=500);
            self.tell(place);
        }
    }
}

impl Purchase {
    fn decide(&mut self, asked: i64, amount: i64, is_approved: bool, reason: &str, now: Timestamp) {
        let is_first = self.truth.history.iter().all(|entry| !entry.approved);
        self.truth.history.push(facts::entry(asked, is_approved, reason, now));
        let truth = &mut self.truth;
        match (is_approved, is_first) {
            (true, true) => (truth.amount, truth.approved) = (amount, true),
            (true, false) => truth.amount += amount,
            (false, true) => (truth.amount, truth.status) = (amount, AuthorizationStatus::Closed),
            (false, false) => {}
        }
    }
}
