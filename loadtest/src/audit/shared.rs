//! The books of money that cards share: which cards charge an account, and what was credited to it. What each card uses is
//! in the card's own books; what an account uses is the sum over its cards, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::mpsc::Receiver,
};

use super::{Card, Judgement, Leg, Position, Question, Range};
use crate::{
    budgets::{Account, Budgets},
    credits::News,
};

/// What cards share.
pub(super) struct Shared {
    pub(super) budgets: Budgets,
    news: Receiver<News>,
    /// The cards that were asked about or told of, by the accounts that they charge.
    members: BTreeMap<Account, BTreeSet<u64>>,
    /// By customer and round.
    credits: BTreeMap<(u64, u32), Credit>,
    /// Questions without an answer, by when they left. What was said of one card may not be known yet where another is
    /// decided.
    outstanding: BTreeSet<(u64, Question)>,
}

/// A change of a balance.
struct Credit {
    amount: i64,
    sent_us: u64,
    known_us: Option<u64>,
}

impl Shared {
    pub(super) fn new(budgets: Budgets, news: Receiver<News>) -> Self {
        Self {
            budgets,
            news,
            members: BTreeMap::new(),
            credits: BTreeMap::new(),
            outstanding: BTreeSet::new(),
        }
    }

    /// Something is asked or told of a card.
    pub(super) fn meets(&mut self, card: u64) {
        for account in self.budgets.share(card).accounts() {
            self.members.entry(account).or_default().insert(card);
        }
    }

    pub(super) fn asked(&mut self, question: Question, now_us: u64) {
        self.outstanding.insert((now_us, question));
    }

    pub(super) fn answered(&mut self, question: Question, sent_us: u64) {
        self.outstanding.remove(&(sent_us, question));
    }

    /// When the first question left that has no answer yet.
    pub(super) fn first_asked_us(&self) -> u64 {
        self.outstanding.first().map_or(u64::MAX, |(us, _)| *us)
    }

    /// What the operator has done since.
    pub(super) fn hear(&mut self) {
        for news in self.news.try_iter() {
            match news {
                News::Leaves { customer, round, amount, at_us } => {
                    let credit = Credit { amount, sent_us: at_us, known_us: None };
                    self.credits.insert((customer, round), credit);
                }
                News::Durable { customer, round, at_us } => {
                    if let Some(credit) = self.credits.get_mut(&(customer, round)) {
                        credit.known_us = Some(at_us);
                    }
                }
            }
        }
    }

    /// The legs of a decision besides that of its card.
    pub(super) fn legs(&self, cards: &HashMap<u64, Card>, judgement: &Judgement<'_>) -> Vec<Leg> {
        let card = judgement.purchase.card.number;
        let accounts = self.budgets.share(card).accounts().into_iter();
        let leg = |account: Account| {
            let counts = if matches!(account, Account::Customer(_)) { Position::net } else { Position::used };
            let mut leg = Leg {
                name: account.name(),
                max: self.max(account, judgement),
                own: Range::default(),
                others: Range::default(),
            };
            for number in self.members.get(&account).into_iter().flatten() {
                let Some(member) = cards.get(number) else { continue };
                let (own, others) = member.used(judgement, counts);
                leg.own = leg.own.plus(own);
                leg.others = leg.others.plus(others);
            }
            leg
        };
        accounts.map(leg).collect()
    }

    /// How much there may be of an account at least and at most when an answer was decided.
    fn max(&self, account: Account, judgement: &Judgement<'_>) -> Range {
        if let Some(limit) = self.budgets.limit(account) {
            return Range { low: limit, high: limit };
        }
        let Account::Customer(customer) = account else { return Range::default() };
        let mut max = Range::default();
        for credit in self.credits_of(customer) {
            if credit.known_us.is_some_and(|known_us| known_us <= judgement.sent_us) {
                max.low = max.low.saturating_add(credit.amount);
            }
            if credit.sent_us <= judgement.now_us {
                max.high = max.high.saturating_add(credit.amount);
            }
        }
        max
    }

    fn credits_of(&self, customer: u64) -> impl Iterator<Item = &Credit> {
        self.credits.range((customer, 0)..=(customer, u32::MAX)).map(|(_, credit)| credit)
    }

    /// What was credited in all; none while some of it is on its way.
    pub(super) fn credited(&self, customer: u64) -> Option<i64> {
        self.credits_of(customer)
            .try_fold(0_i64, |sum, credit| credit.known_us.map(|_| sum.saturating_add(credit.amount)))
    }

    /// Each account with its cards.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (Account, &BTreeSet<u64>)> {
        self.members.iter().map(|(account, cards)| (*account, cards))
    }
}
