//! What each window must hold, by what was told: counted anew from everything, each time.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Weekday, tz::TimeZone};

use super::stripe::{Authorization, Entry, Snapshot, Told, Transaction};

/// A limit as the policy has it.
pub(super) struct Limit {
    pub(super) max: i64,
    pub(super) is_count: bool,
    pub(super) window: &'static str,
    pub(super) category: Option<&'static str>,
}

/// The limits of every history. A day is never full of the first one alone.
pub(super) const LIMITS: [Limit; 8] = [
    Limit { max: 3_000, is_count: false, window: "daily", category: None },
    Limit { max: 9_000, is_count: false, window: "weekly", category: None },
    Limit { max: 30_000, is_count: false, window: "monthly", category: None },
    Limit { max: 100_000_000, is_count: false, window: "all_time", category: None },
    Limit { max: 2_500, is_count: false, window: "rolling(30h)", category: None },
    Limit { max: 1_500, is_count: false, window: "daily", category: Some("bakeries") },
    Limit { max: 5, is_count: true, window: "rolling(24h)", category: None },
    Limit { max: 60, is_count: true, window: "monthly", category: None },
];

pub(super) fn policy(refunds_restore: bool) -> String {
    let limits = LIMITS.map(|Limit { max, is_count, window, category }| {
        let measure = if is_count { "count" } else { "amount" };
        let categories = category.map_or_else(String::new, |name| format!(", categories: [{name}]"));
        format!("    - {{{measure}: {max}, interval: {window}{categories}}}\n")
    });
    let limits = limits.concat();
    format!(
        "version: 1\ncurrency: usd\ndefault:\n  refunds_restore: {refunds_restore}\n  spending_limits:\n{limits}"
    )
}

#[derive(Default)]
pub(super) struct Account {
    refunds_restore: bool,
    purchases: BTreeMap<String, Purchase>,
    loose: BTreeMap<String, (Transaction, (u8, i64))>,
}

/// What was told of one authorization.
#[derive(Default, Debug)]
struct Purchase {
    category: &'static str,
    asks: Vec<Ask>,
    word: Option<Word>,
    transactions: BTreeMap<String, (Transaction, (u8, i64))>,
}

#[derive(Debug)]
struct Ask {
    place: usize,
    at: i64,
    granted: Option<i64>,
    /// What was captured by then.
    captured: i64,
    reopens: bool,
}

/// The newest that Stripe said of the whole.
#[derive(Debug)]
struct Word {
    /// More decided requests are the later word; then a terminal status, unless a request embedded it.
    order: (usize, u8, usize, bool, i64, u64),
    is_pending: bool,
    amount: i64,
    history: Vec<Entry>,
}

/// When, how much, how many authorizations.
type Use = (i64, i64, i64);

impl Account {
    pub(super) fn new(refunds_restore: bool) -> Self {
        Self { refunds_restore, ..Self::default() }
    }

    /// Takes what a message says.
    pub(super) fn hear(&mut self, told: &Told) {
        match told {
            Told::Snapshot(snapshot) => {
                let Snapshot { authorization, is_update, created, turn } = &**snapshot;
                let rank = if authorization.is_terminal() { 2 } else { 0 };
                let listed = authorization.transactions.len();
                self.hear_word(
                    authorization,
                    (authorization.history.len(), rank, listed, *is_update, *created, *turn),
                );
                self.hear_listed(authorization, *created);
            }
            Told::Settled { authorization, transaction, version } => {
                let known = match authorization {
                    Some(id) => &mut self.purchase(id, transaction.category).transactions,
                    None => &mut self.loose,
                };
                book(known, transaction, *version);
            }
        }
    }

    /// Takes what a request embeds, before it is answered.
    pub(super) fn hear_request(&mut self, authorization: &Authorization, turn: u64, now: i64) {
        self.purchase(&authorization.id, authorization.category);
        if !authorization.history.is_empty() {
            let mut embedded = authorization.clone();
            if embedded.is_terminal() {
                (embedded.amount, embedded.status) = (0, "pending");
            }
            // As late as a snapshot of its time, and earlier than a terminal one of as many requests.
            self.hear_word(&embedded, (authorization.history.len(), 1, usize::MAX, true, now, turn));
        }
        self.hear_listed(authorization, now);
    }

    fn hear_word(&mut self, told: &Authorization, order: (usize, u8, usize, bool, i64, u64)) {
        let purchase = self.purchase(&told.id, told.category);
        if purchase.word.as_ref().is_none_or(|known| is_later(order, known.order)) {
            purchase.word = Some(Word {
                order,
                is_pending: !told.is_terminal(),
                amount: told.amount,
                history: told.history.clone(),
            });
        }
    }

    fn hear_listed(&mut self, told: &Authorization, created: i64) {
        let purchase = self.purchase(&told.id, told.category);
        for one in &told.transactions {
            book(&mut purchase.transactions, one, (0, created));
        }
    }

    fn purchase(&mut self, id: &str, category: &'static str) -> &mut Purchase {
        self.purchases.entry(id.to_owned()).or_insert_with(|| Purchase { category, ..Purchase::default() })
    }

    /// Whether a request of so much fits all limits, and what was answered then.
    pub(super) fn ask(&mut self, told: &Authorization, amount: i64, now: i64) -> bool {
        let purchase = &self.purchases[&told.id];
        let is_counted = purchase.uses(self.refunds_restore).iter().any(|(.., count)| *count > 0);
        let fits = LIMITS.iter().filter(|limit| limit.counts(told.category)).all(|limit| {
            let more = if limit.is_count { i64::from(!is_counted) } else { amount };
            self.used(limit, now) + more <= limit.max || (limit.is_count && is_counted)
        });
        let captured = purchase.captured();
        let ask = Ask {
            place: told.history.len(),
            at: now,
            granted: fits.then_some(amount),
            captured,
            reopens: told.is_terminal() && !told.history.is_empty(),
        };
        self.purchases.get_mut(&told.id).unwrap().asks.push(ask);
        fits
    }

    /// What was told of another account belongs here.
    pub(super) fn join(&mut self, other: Self) {
        self.purchases.extend(other.purchases);
        self.loose.extend(other.loose);
    }

    pub(super) fn held(&self) -> i64 {
        self.purchases.values().map(Purchase::hold).sum()
    }

    pub(super) fn used_of_all(&self, now: i64) -> Vec<i64> {
        LIMITS.iter().map(|limit| self.used(limit, now)).collect()
    }

    /// A walk through the time: what comes in gives back what was spent before it, and nothing else.
    fn used(&self, limit: &Limit, now: i64) -> i64 {
        let mut steps: Vec<(i64, bool, i64)> = Vec::new();
        for purchase in self.purchases.values().filter(|purchase| limit.counts(purchase.category)) {
            for (at, amount, count) in purchase.uses(self.refunds_restore) {
                steps.push((at, false, if limit.is_count { count } else { amount }));
            }
        }
        let loose = self.loose.values().map(|(one, _)| one);
        for one in loose.filter(|one| !limit.is_count && limit.counts(one.category)) {
            if !one.is_refund {
                steps.push((one.created, false, one.amount));
            } else if self.refunds_restore {
                steps.push((one.created, true, one.amount));
            }
        }
        steps.retain(|(at, ..)| is_inside(limit.window, *at, now));
        steps.sort_unstable_by_key(|(at, comes_in, _)| (*at, *comes_in));
        steps.into_iter().fold(
            0,
            |used, (_, comes_in, amount)| {
                if comes_in { (used - amount).max(0) } else { used + amount }
            },
        )
    }
}

/// A snapshot and what a request embeds are compared by their requests; then a terminal snapshot is the last; then the
/// later one.
fn is_later(new: (usize, u8, usize, bool, i64, u64), known: (usize, u8, usize, bool, i64, u64)) -> bool {
    if new.0 != known.0 {
        return new.0 > known.0;
    }
    match (new.1, known.1) {
        (2, 2) | (0, 0) => new > known,
        (1, 1) => new.4 > known.4,
        (2, _) => true,
        (_, 2) => false,
        // A request against a pending snapshot: by time, and of one second the request.
        (1, _) => new.4 >= known.4,
        (_, _) => new.4 > known.4,
    }
}

fn book(
    known: &mut BTreeMap<String, (Transaction, (u8, i64))>,
    transaction: &Transaction,
    version: (u8, i64),
) {
    if known.get(&transaction.id).is_none_or(|(_, known)| *known < version) {
        known.insert(transaction.id.clone(), (transaction.clone(), version));
    }
}

impl Limit {
    fn counts(&self, category: &str) -> bool {
        self.category.is_none_or(|own| own == category)
    }
}

impl Purchase {
    fn captured(&self) -> i64 {
        let captures = self.transactions.values().filter(|(one, _)| !one.is_refund);
        captures.map(|(one, _)| one.amount).sum()
    }

    fn refunded(&self) -> i64 {
        self.transactions.values().filter(|(one, _)| one.is_refund).map(|(one, _)| one.amount).sum()
    }

    fn told(&self) -> &[Entry] {
        self.word.as_ref().map_or(&[], |word| &word.history)
    }

    /// Approvals of ours that Stripe has not told of.
    fn untold(&self) -> impl Iterator<Item = (&Ask, i64)> {
        let told = self.told().len();
        let later = self.asks.iter().filter(move |ask| ask.place >= told);
        later.filter_map(|ask| ask.granted.map(|granted| (ask, granted)))
    }

    /// What Stripe says is in force, less what was captured by then.
    fn in_force(&self, captured: i64) -> i64 {
        let Some(word) = self.word.as_ref().filter(|word| word.is_pending) else { return 0 };
        let begins_anew = self
            .asks
            .iter()
            .rfind(|ask| ask.reopens && word.history.get(ask.place).is_some_and(|entry| entry.approved));
        let before = begins_anew.map_or(0, |ask| ask.captured);
        (word.amount - (captured - before).max(0)).max(0)
    }

    fn hold(&self) -> i64 {
        let captured = self.captured();
        let mut open = None;
        let mut by_then = 0;
        for (ask, granted) in self.untold() {
            let now = ask.captured.min(captured);
            let before =
                open.map_or_else(|| self.in_force(now), |open: i64| (open - (now - by_then).max(0)).max(0));
            open = Some(before + granted);
            by_then = now;
        }
        open.map_or_else(|| self.in_force(captured), |open| (open - (captured - by_then).max(0)).max(0))
    }

    /// What is held and captured, laid into the approvals from the newest on. What is over belongs to the newest that Stripe
    /// told of.
    fn uses(&self, refunds_restore: bool) -> Vec<Use> {
        let mut approvals: Vec<(i64, i64, i64)> = Vec::new();
        for (place, entry) in self.told().iter().enumerate().filter(|(_, entry)| entry.approved) {
            let ours = self.asks.iter().find(|ask| ask.place == place);
            let amount = ours.and_then(|ask| ask.granted).unwrap_or(entry.amount);
            approvals.push((
                ours.map_or(entry.created, |ask| ask.at),
                amount,
                ours.map_or(0, |ask| ask.captured),
            ));
        }
        approvals.sort_by_key(|(at, ..)| *at);
        let told = approvals.len();
        approvals.extend(self.untold().map(|(ask, granted)| (ask.at, granted, ask.captured)));
        let refunded = if refunds_restore { self.refunded() } else { 0 };
        let mut rest = self.hold() + (self.captured() - refunded).max(0);
        let mut uses: Vec<Use> = Vec::new();
        for (at, amount, _) in approvals.iter().rev() {
            uses.push((*at, rest.min(*amount), 0));
            rest -= rest.min(*amount);
        }
        uses.reverse();
        let forced_at = || {
            let asked = self.asks.first().map(|ask| ask.at);
            let settled = self.transactions.values().map(|(one, _)| one.created).min();
            asked.or(settled).unwrap_or_default()
        };
        let Some(first) = uses.first_mut() else {
            return if rest > 0 { vec![(forced_at(), rest, 0)] } else { Vec::new() };
        };
        first.2 = 1;
        // Captured before anything was approved: the approval has nothing to do with it.
        let apart = if told > 0 { 0 } else { rest.min(approvals[0].2) };
        uses[told.saturating_sub(1)].1 += rest - apart;
        if apart > 0 {
            let is_first_ask = self.asks.first().is_some_and(|ask| ask.at == approvals[0].0);
            let settled = self.transactions.values().map(|(one, _)| one.created).min();
            let at = if is_first_ask { settled.unwrap_or_default() } else { forced_at() };
            uses.insert(0, (at, apart, 0));
        }
        uses
    }
}

/// Whether two moments lie in one window, by the calendar in UTC or by the clock.
fn is_inside(window: &str, at: i64, now: i64) -> bool {
    let day = |at: i64| Timestamp::from_second(at).unwrap().to_zoned(TimeZone::UTC).date();
    let (then, today) = (day(at), day(now));
    match window {
        "all_time" => true,
        "daily" => then == today,
        "monthly" => (then.year(), then.month()) == (today.year(), today.month()),
        "weekly" => {
            let mut sunday = today;
            while sunday.weekday() != Weekday::Sunday {
                sunday = sunday.yesterday().unwrap();
            }
            then >= sunday && then <= today
        }
        "rolling(24h)" => now - at < 24 * 3_600,
        "rolling(30h)" => now - at < 30 * 3_600,
        other => panic!("unknown window {other}"),
    }
}
