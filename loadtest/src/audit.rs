//! The auditor: keeps books of its own from what the simulated Stripe sent and got back, judges every answer by them,
//! and at the end compares a node's books with Stripe's. It shares no code with what it audits. What it reads at the end
//! is asked for in [`closing`].
//!
//! It sees a question when it leaves and when its answer is here; what a node decided in between, and in which order, it
//! does not see. So each judgement takes every order that is possible, and finds a violation only where all of them
//! break the promise. What only some of them break is counted as ambiguous.

pub mod closing;
mod facts;
mod findings;
mod shared;
mod words;

use std::{
    collections::{BTreeMap, HashMap},
    sync::mpsc::Receiver,
};

pub use facts::Position;
use facts::{Fact, Facts, Snapshot, What};
pub use findings::{Findings, Kind};
use shared::Shared;
pub use words::{Acknowledged, Answer, Expected, Question};

use crate::{
    authorization::{Authorization, Purchase, Status, Transaction},
    budgets::Budgets,
    credits::News,
    scenario::Limits,
};

/// The auditor's own books.
pub struct Auditor {
    limits: Limits,
    cards: HashMap<u64, Card>,
    shared: Option<Shared>,
    /// What ended, with nothing on its way any more.
    expected: Vec<Expected>,
    /// Where the facts of an event that was not acknowledged yet belong.
    on_their_way: HashMap<u64, (u64, u64)>,
    findings: Findings,
    decisions: u64,
    ambiguous: u64,
    /// Counts the occasions on which records may have come to rest.
    calmed: u32,
}

/// With budgets, what is known of one card may come to rest only when a question about another one is answered: so many
/// occasions apart, all cards are looked at.
const CALM_ALL_EVERY: u32 = 64;

/// The books of one card.
#[derive(Default)]
struct Card {
    /// The sum of all that ended.
    settled: Position,
    /// Those that are open and quiet: nothing about them is on its way.
    quiet: Position,
    open: HashMap<u64, Record>,
    /// Those of the open ones that are not quiet.
    restless: Vec<u64>,
    /// Questions without an answer yet, and when they first left.
    asked: BTreeMap<Question, u64>,
}

/// What is known of one authorization; or of a transaction that names none.
struct Record {
    facts: Facts,
    is_quiet: bool,
    answers: Vec<Told>,
    was_late: bool,
    /// Set at its end.
    end: Option<(Position, Status, bool)>,
}

/// The first answer to a question.
struct Told {
    /// The question's place in the history of requests.
    index: usize,
    body: Option<Box<[u8]>>,
    is_approval: bool,
    node: usize,
    /// None for one that was given without the books: it may never get into them.
    acknowledged: Option<Acknowledged>,
}

impl Auditor {
    /// An auditor of nodes that hold every card to these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            cards: HashMap::new(),
            shared: None,
            expected: Vec::new(),
            on_their_way: HashMap::new(),
            findings: Findings::default(),
            decisions: 0,
            ambiguous: 0,
            calmed: 0,
        }
    }

    /// The same where cards share these budgets; of credits it is told by `news`.
    #[must_use]
    pub fn sharing(self, budgets: Option<Budgets>, news: Receiver<News>) -> Self {
        Self { shared: budgets.map(|budgets| Shared::new(budgets, news)), ..self }
    }

    /// A question leaves, for the first time or again.
    pub fn asked(&mut self, question: Question, purchase: &Purchase, asked: i64, now_us: u64) {
        let card = self.cards.entry(purchase.card.number).or_default();
        let record = card.record(question.authorization);
        if record.facts.has_decision(question.index) {
            return;
        }
        let what = What::Decision { index: question.index, granted: purchase.held_for(asked) };
        record.facts.add(Fact { what, sent_us: now_us, known_us: None, event: None });
        card.asked.insert(question, now_us);
        if let Some(shared) = &mut self.shared {
            shared.meets(purchase.card.number);
            shared.asked(question, now_us);
        }
    }

    /// An answer that counts is here, to the question or to a duplicate of it.
    pub fn answered(
        &mut self,
        question: Question,
        purchase: &Purchase,
        asked: i64,
        answer: &Answer<'_>,
        now_us: u64,
    ) {
        self.decisions = self.decisions.saturating_add(1);
        let Some(card) = self.cards.get_mut(&purchase.card.number) else { return };
        let sent_us = card.asked.remove(&question);
        if let Some(shared) = &mut self.shared {
            shared.hear();
            if let Some(sent_us) = sent_us {
                shared.answered(question, sent_us);
            }
        }
        let record = card.record(question.authorization);
        if let Some(before) = record.answers.iter().find(|told| told.index == question.index) {
            // What the API did not take in time is repeated over the API, which names no decision and no bytes.
            let is_same = match (before.body.as_deref(), answer.body) {
                (Some(first), Some(now)) => first == now,
                (None, _) | (_, None) => before.is_approval == answer.granted.is_some(),
            };
            if is_same {
                return;
            }
            let words = |body: Option<&[u8]>, is_approval: bool| match body {
                Some(body) => String::from_utf8_lossy(body).into_owned(),
                None => format!("over the API, approved {is_approval}"),
            };
            let first = words(before.body.as_deref(), before.is_approval);
            let now = words(answer.body, answer.granted.is_some());
            self.findings.found(
                Kind::AnsweredDifferently,
                format!(
                    "authorization {}: first {first} from node {}, then {now} from node {}",
                    question.authorization, before.node, answer.node
                ),
            );
            return;
        }
        let acknowledged = Acknowledged {
            decision: answer.decision.map(ToOwned::to_owned),
            granted: answer.granted,
            at_us: now_us,
        };
        record.answers.push(Told {
            index: question.index,
            body: answer.body.map(Into::into),
            is_approval: answer.granted.is_some(),
            node: answer.node,
            acknowledged: (!answer.is_stand_in).then_some(acknowledged),
        });
        // A duplicate may be answered after Stripe has given the question itself up. And what was answered without the
        // books may stand in them as something else, until they are told: Stripe's own word settles it.
        if let Some(sent_us) = sent_us.filter(|_| !answer.is_stand_in) {
            record.facts.take_decision(question.index);
            if let Some(granted) = answer.granted {
                let what = What::Decision { index: question.index, granted };
                record.facts.add(Fact { what, sent_us, known_us: Some(now_us), event: None });
            }
            self.judge(&Judgement { question, purchase, asked, answer, sent_us, now_us });
        }
        self.calm(purchase.card.number);
    }

    /// Stripe gives a question up: a node may or may not have decided it. Stripe's own word settles it.
    pub fn given_up(&mut self, question: Question, card: u64) {
        if let Some(card) = self.cards.get_mut(&card) {
            let sent_us = card.asked.remove(&question);
            card.record(question.authorization).was_late = true;
            if let (Some(shared), Some(sent_us)) = (&mut self.shared, sent_us) {
                shared.answered(question, sent_us);
            }
        }
    }

    /// Stripe makes an event about an authorization. It has not left yet.
    pub fn told(&mut self, event: u64, is_update: bool, authorization: &Authorization) {
        let sum = |refunds: bool| {
            let listed =
                authorization.transactions.iter().filter(|one| one.is_linked && one.is_refund == refunds);
            listed.fold(0_i64, |sum, one| sum.saturating_add(one.amount))
        };
        let what = What::Snapshot(Snapshot {
            captured: sum(false).saturating_neg(),
            refunded: sum(true),
            is_terminal: authorization.status != Status::Pending,
            history: authorization.history.len(),
            transactions: authorization.transactions.len(),
            is_update,
            amount: if authorization.approved { authorization.amount } else { 0 },
        });
        self.add(event, authorization.purchase.card.number, authorization.number, what);
    }

    /// Stripe makes an event about a capture or refund. It has not left yet.
    pub fn told_transaction(&mut self, event: u64, authorization: &Authorization, transaction: &Transaction) {
        let numbers = authorization.transactions.iter().map(|listed| listed.number);
        let what = What::Transaction {
            index: numbers.clone().position(|number| number == transaction.number).unwrap_or(usize::MAX),
            captured: if transaction.is_refund { 0 } else { transaction.amount.saturating_neg() },
            refunded: if transaction.is_refund { transaction.amount } else { 0 },
        };
        let card = authorization.purchase.card.number;
        if transaction.is_linked {
            self.add(event, card, authorization.number, what);
        } else {
            // It stands for itself, and is at its end when it is known.
            let own = UNLINKED | transaction.number;
            self.add(event, card, own, what);
            if let Some(record) = self.cards.get_mut(&card).and_then(|card| card.open.get_mut(&own)) {
                let position = record.facts.position();
                record.end = Some((position, Status::Closed, false));
            }
        }
    }

    /// An event leaves, for the first time or again.
    pub fn left(&mut self, event: u64, now_us: u64) {
        let Some((card, authorization)) = self.on_their_way.get(&event) else { return };
        if let Some(card) = self.cards.get_mut(card) {
            card.record(*authorization).facts.left(event, now_us);
        }
    }

    /// A node has acknowledged an event.
    pub fn acknowledged(&mut self, event: u64, now_us: u64) {
        let Some((card, authorization)) = self.on_their_way.remove(&event) else { return };
        if let Some(card) = self.cards.get_mut(&card) {
            card.record(authorization).facts.known(event, now_us);
        }
        self.calm(card);
    }

    /// Nothing more will be asked or told about an authorization; this is how it ends at Stripe.
    pub fn ended(&mut self, authorization: &Authorization) {
        let refunds = authorization.transactions.iter().filter(|one| one.is_refund);
        let position = Position {
            held: authorization.held(),
            captured: authorization.captured(),
            refunded: refunds.fold(0, |sum: i64, one| sum.saturating_add(one.amount)),
        };
        let card = authorization.purchase.card.number;
        if let Some(card) = self.cards.get_mut(&card) {
            let end = (position, authorization.status, authorization.approved);
            card.record(authorization.number).end = Some(end);
        }
        self.calm(card);
    }

    /// A question that was badly signed was answered as if it were Stripe's.
    pub fn forgery_answered(&mut self, what: &str, body: &[u8]) {
        let body = String::from_utf8_lossy(body);
        self.findings.found(Kind::ForgeryAnswered, format!("signature {what}: answered {body}"));
    }

    fn add(&mut self, event: u64, card: u64, authorization: u64, what: What) {
        self.on_their_way.insert(event, (card, authorization));
        if let Some(shared) = &mut self.shared {
            shared.meets(card);
        }
        let card = self.cards.entry(card).or_default();
        let fact = Fact { what, sent_us: u64::MAX, known_us: None, event: Some(event) };
        card.record(authorization).facts.add(fact);
    }

    /// Whether an answer can be right.
    fn judge(&mut self, judgement: &Judgement<'_>) {
        let Judgement { question, purchase, asked, answer, .. } = *judgement;
        let Some(card) = self.cards.get(&purchase.card.number) else { return };
        let legs = self.legs(card, judgement);
        let full = purchase.held_for(asked);
        let granted = answer.granted.unwrap_or(0);
        let cash = purchase.cashback.filter(|_| question.index == 0).unwrap_or(1);
        let tell = |what: &str| {
            let reason = answer.reason.unwrap_or("none given");
            format!(
                "card {} authorization {}: asked {asked}, granted {granted} ({reason}): {what}",
                purchase.card.number, question.authorization
            )
        };
        if answer.granted.is_some() {
            let in_range =
                if purchase.is_controllable { (cash..=full).contains(&granted) } else { granted == full };
            if !in_range {
                self.findings.found(Kind::WrongAmount, tell("that is not what may be approved"));
            }
            let used = |leg: &Leg| leg.used().low.saturating_add(granted);
            if let Some(over) = legs.iter().find(|leg| used(leg) > leg.max.high) {
                let what = format!("at least {} is used of {} ({})", used(over), over.max.high, over.name);
                self.findings.found(Kind::OverLimit, tell(&what));
            }
        }
        if granted >= full {
            return;
        }
        let room = |of: fn(&Leg) -> i64| legs.iter().map(of).min().unwrap_or(i64::MAX).min(full);
        let least = match (purchase.is_controllable, purchase.merchant.is_fuel_dispenser()) {
            (true, true) => asked,
            (true, false) => cash,
            (false, _) => full,
        };
        let surely = room(|leg| leg.max.low.saturating_sub(leg.used().high));
        let perhaps = room(|leg| leg.max.high.saturating_sub(leg.used().low));
        if surely >= least.max(granted.saturating_add(1)) {
            self.findings
                .found(Kind::DeclinedWithRoom, tell(&format!("there was room for at least {surely}")));
        } else if perhaps >= least.max(granted.saturating_add(1)) {
            self.ambiguous = self.ambiguous.saturating_add(1);
        }
    }

    /// What an answer has to fit: the limits of the card, and of all accounts that it shares.
    fn legs(&self, card: &Card, judgement: &Judgement<'_>) -> Vec<Leg> {
        let (own, others) = card.used(judgement, Position::used);
        let limits = [
            ("per authorization", self.limits.per_authorization, Range::default()),
            ("card, daily", self.limits.daily, others),
            ("card, all time", self.limits.all_time, others),
        ];
        let of_card = limits.into_iter().filter_map(|(name, limit, others)| {
            let max = limit.map(|limit| Range { low: limit, high: limit })?;
            Some(Leg { name: name.to_owned(), max, own, others })
        });
        let of_shared = self.shared.iter().flat_map(|shared| shared.legs(&self.cards, judgement));
        of_card.chain(of_shared).collect()
    }

    /// Lets records of a card come to rest; now and then those of all.
    fn calm(&mut self, number: u64) {
        self.calm_one(number);
        self.calmed = self.calmed.wrapping_add(1);
        if self.shared.is_some() && self.calmed.is_multiple_of(CALM_ALL_EVERY) {
            self.calm_all();
        }
    }

    fn calm_all(&mut self) {
        let restless: Vec<u64> = self
            .cards
            .iter()
            .filter(|(_, card)| !card.restless.is_empty())
            .map(|(number, _)| *number)
            .collect();
        for number in restless {
            self.calm_one(number);
        }
    }

    /// Lets records come to rest of which nothing is on its way, and closes those that have ended.
    fn calm_one(&mut self, number: u64) {
        let Some(card) = self.cards.get_mut(&number) else { return };
        let first_asked_us = match &self.shared {
            Some(shared) => shared.first_asked_us(),
            None => card.asked.values().min().copied().unwrap_or(u64::MAX),
        };
        let share = self.shared.as_ref().map(|shared| shared.budgets.share(number));
        let Card { settled, quiet, open, restless, .. } = card;
        restless.retain(|authorization| {
            let Some(record) = open.get_mut(authorization) else { return false };
            if !record.facts.are_known_before(first_asked_us) {
                return true;
            }
            let Some((position, status, approved)) = record.end else {
                record.is_quiet = true;
                *quiet = quiet.plus(record.facts.position());
                return false;
            };
            debug_assert_eq!(position, record.facts.position(), "{:?}", record.facts);
            *settled = settled.plus(position);
            if let Some(record) = open.remove(authorization)
                && *authorization & UNLINKED == 0
            {
                self.expected.push(Expected {
                    authorization: *authorization,
                    position,
                    status,
                    approved,
                    was_late: record.was_late,
                    acknowledged: record.answers.into_iter().filter_map(|told| told.acknowledged).collect(),
                    share,
                });
            }
            false
        });
    }
}

/// Marks the number of a transaction that stands for itself.
const UNLINKED: u64 = 1 << 63;

/// An answer in its place between question and reply.
#[derive(Clone, Copy)]
struct Judgement<'a> {
    question: Question,
    purchase: &'a Purchase,
    asked: i64,
    answer: &'a Answer<'a>,
    sent_us: u64,
    now_us: u64,
}

/// The least and the most that may have been used when a node decided.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Range {
    low: i64,
    high: i64,
}

impl Range {
    const fn plus(self, other: Self) -> Self {
        Self { low: self.low.saturating_add(other.low), high: self.high.saturating_add(other.high) }
    }
}

/// What an answer has to fit: an account with what may be used of it.
struct Leg {
    name: String,
    max: Range,
    /// By the authorization itself, without what the answer grants.
    own: Range,
    others: Range,
}

impl Leg {
    const fn used(&self) -> Range {
        self.own.plus(self.others)
    }
}

impl Card {
    /// The record of an authorization, about which something is going to change.
    fn record(&mut self, authorization: u64) -> &mut Record {
        let record = self.open.entry(authorization).or_insert_with(|| {
            self.restless.push(authorization);
            Record {
                facts: Facts::default(),
                is_quiet: false,
                answers: Vec::new(),
                was_late: false,
                end: None,
            }
        });
        if record.is_quiet {
            record.is_quiet = false;
            self.quiet = self.quiet.minus(record.facts.position());
            self.restless.push(authorization);
        }
        record
    }

    /// What the authorization itself and all others of this card used when the answer was decided, without what it grants.
    fn used(&self, judgement: &Judgement<'_>, counts: fn(&Position) -> i64) -> (Range, Range) {
        let settled = counts(&self.settled.plus(self.quiet));
        let (mut own, mut others) = (Range::default(), Range { low: settled, high: settled });
        for authorization in &self.restless {
            let Some(record) = self.open.get(authorization) else { continue };
            let is_own = *authorization == judgement.question.authorization;
            let without = is_own.then_some(judgement.question.index);
            let range = record.facts.range(judgement.sent_us, judgement.now_us, without, counts);
            let sum = if is_own { &mut own } else { &mut others };
            *sum = sum.plus(range);
        }
        (own, others)
    }
}

#[cfg(test)]
mod tests;
