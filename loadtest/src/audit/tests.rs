#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::sync::mpsc;

use super::*;
use crate::population::{Card as Plastic, FUEL_DISPENSER};

const LIMITS: Limits = Limits { per_authorization: Some(800), daily: None, all_time: Some(1_000) };

fn purchase() -> Purchase {
    Purchase {
        card: Plastic { number: 1, currency: "usd", share: None },
        merchant: crate::population::merchant(&mut fastrand::Rng::with_seed(1)),
        amount: 0,
        is_controllable: false,
        cashback: None,
        method: "online",
        wallet: None,
        merchant_currency: ("usd", 1_000),
        risk_score: 1,
    }
}

/// One audit, told step by step. Every step is a microsecond after the one before.
struct Story {
    auditor: Auditor,
    now_us: u64,
    events: u64,
    purchase: Purchase,
    asked: HashMap<u64, (i64, usize)>,
    books: HashMap<u64, Authorization>,
}

impl Story {
    fn new() -> Self {
        Self {
            auditor: Auditor::new(LIMITS),
            now_us: 0,
            events: 0,
            purchase: purchase(),
            asked: HashMap::new(),
            books: HashMap::new(),
        }
    }

    /// With money that cards share: 1 and 3 are of one department, 2 is of the other, 0 and 10 are a customer's.
    fn sharing() -> (Self, mpsc::SyncSender<News>) {
        let budgets = Budgets {
            departments: 2,
            department_daily: 700,
            company_all_time: 900,
            customers: 1,
            credits: 1,
            credit: 500,
        };
        let (news, heard) = mpsc::sync_channel(8);
        let auditor = Auditor::new(LIMITS).sharing(Some(budgets), heard);
        (Self { auditor, ..Self::new() }, news)
    }

    /// From here on the purchases of another card.
    fn with(&mut self, card: u64) -> &mut Self {
        self.purchase.card.number = card;
        self
    }

    fn next(&mut self) -> u64 {
        self.now_us += 1;
        self.now_us
    }

    fn asks(&mut self, authorization: u64, amount: i64) -> &mut Self {
        let now_us = self.next();
        let purchase = self.purchase;
        let books =
            self.books.entry(authorization).or_insert_with(|| Authorization::new(authorization, purchase, 0));
        let index = books.history.len();
        self.asked.insert(authorization, (amount, index));
        self.auditor.asked(Question { authorization, index }, &purchase, amount, now_us);
        self
    }

    fn answers(&mut self, authorization: u64, granted: Option<i64>) -> &mut Self {
        let body = format!("{granted:?}");
        self.answers_with(authorization, granted, &body)
    }

    fn answers_with(&mut self, authorization: u64, granted: Option<i64>, body: &str) -> &mut Self {
        self.answers_from(0, authorization, granted, body)
    }

    /// A node answers; without the books, if the body says so.
    fn answers_from(
        &mut self,
        node: usize,
        authorization: u64,
        granted: Option<i64>,
        body: &str,
    ) -> &mut Self {
        let now_us = self.next();
        let (asked, index) = self.asked[&authorization];
        let is_stand_in = body == "stand-in";
        let body = (body != "over the API").then_some(body.as_bytes());
        let answer = Answer { granted, is_stand_in, decision: None, reason: None, body, node };
        let question = Question { authorization, index };
        let books = self.books.get_mut(&authorization).unwrap();
        self.auditor.answered(question, &books.purchase, asked, &answer, now_us);
        if books.history.len() == index {
            books.decided(asked, granted, "webhook_approved", 0);
        }
        self
    }

    /// Changes Stripe's books and sends the event that tells of it.
    fn tells(&mut self, authorization: u64, change: impl FnOnce(&mut Authorization)) -> u64 {
        let now_us = self.next();
        self.events += 1;
        let books = self.books.get_mut(&authorization).unwrap();
        let transactions = books.transactions.len();
        change(books);
        match books.transactions.get(transactions) {
            Some(transaction) => self.auditor.told_transaction(self.events, books, transaction),
            None => self.auditor.told(self.events, true, books),
        }
        self.auditor.left(self.events, now_us);
        self.events
    }

    fn hears(&mut self, event: u64) -> &mut Self {
        let now_us = self.next();
        self.auditor.acknowledged(event, now_us);
        self
    }

    #[track_caller]
    fn check(&self, expected: &[(Kind, u64)], ambiguous: u64) {
        let found: Vec<(Kind, u64)> =
            self.auditor.findings.counts().iter().map(|(kind, count)| (*kind, *count)).collect();
        let examples: Vec<String> = self.auditor.findings.examples().collect();
        assert_eq!((found.as_slice(), self.auditor.ambiguous), (expected, ambiguous), "{examples:?}");
    }
}

#[test]
fn what_fits_is_right_and_what_does_not_is_not() {
    let mut story = Story::new();
    story.asks(1, 600).answers(1, Some(600)).asks(2, 400).answers(2, Some(400));
    story.asks(3, 1).answers(3, None);
    story.check(&[], 0);
    story.asks(4, 1).answers(4, Some(1));
    story.check(&[(Kind::OverLimit, 1)], 0);
}

#[test]
fn a_decline_with_room_is_found() {
    let mut story = Story::new();
    story.asks(1, 600).answers(1, Some(600)).asks(2, 400).answers(2, None);
    story.check(&[(Kind::DeclinedWithRoom, 1)], 0);
}

#[test]
fn the_limit_of_one_authorization_counts_its_increments() {
    let mut story = Story::new();
    story.asks(1, 600).answers(1, Some(600)).asks(1, 201).answers(1, None);
    story.check(&[], 0);
    story.asks(1, 201).answers(1, Some(201));
    story.check(&[(Kind::OverLimit, 1)], 0);
}

#[test]
fn two_at_once_may_not_both_take_the_last_room() {
    let mut story = Story::new();
    story.asks(1, 600).asks(2, 600).answers(1, Some(600)).answers(2, Some(600));
    story.check(&[(Kind::OverLimit, 1)], 0);
}

#[test]
fn a_decline_beside_one_that_may_have_been_first_is_ambiguous() {
    let mut story = Story::new();
    story.asks(1, 600).asks(2, 600).answers(2, None).answers(1, Some(600));
    story.check(&[], 1);
}

#[test]
fn a_release_that_is_on_its_way_may_or_may_not_be_known() {
    for granted in [None, Some(600)] {
        let mut story = Story::new();
        story.asks(1, 600).answers(1, Some(600));
        let event = story.tells(1, |books| books.reversed(600));
        story.asks(2, 600).answers(2, granted).hears(event);
        story.check(&[], u64::from(granted.is_none()));
    }
    // Once it is acknowledged, there is room.
    let mut story = Story::new();
    story.asks(1, 600).answers(1, Some(600));
    let event = story.tells(1, |books| books.reversed(600));
    story.hears(event).asks(2, 600).answers(2, None);
    story.check(&[(Kind::DeclinedWithRoom, 1)], 0);
}

#[test]
fn an_over_capture_counts_when_it_is_known() {
    let capture = |books: &mut Authorization| {
        let transaction =
            Transaction { number: 1, is_refund: false, amount: -900, is_linked: true, created: 0 };
        books.settled(transaction, true);
    };
    let mut story = Story::new();
    story.asks(1, 600).answers(1, Some(600));
    let event = story.tells(1, capture);
    story.asks(2, 400).answers(2, Some(400)).hears(event);
    story.check(&[], 0);
    let mut story = Story::new();
    story.asks(1, 600).answers(1, Some(600));
    let event = story.tells(1, capture);
    story.hears(event).asks(2, 101).answers(2, Some(101));
    story.check(&[(Kind::OverLimit, 1)], 0);
}

#[test]
fn part_of_what_is_asked_is_what_is_left() {
    let check = |granted: Option<i64>, expected: &[(Kind, u64)]| {
        let mut story = Story::new();
        story.asks(1, 700).answers(1, Some(700));
        story.purchase.is_controllable = true;
        story.asks(2, 500).answers(2, granted);
        story.check(expected, 0);
    };
    check(Some(300), &[]);
    check(Some(299), &[(Kind::DeclinedWithRoom, 1)]);
    check(Some(301), &[(Kind::OverLimit, 1)]);
    check(None, &[(Kind::DeclinedWithRoom, 1)]);
    check(Some(501), &[(Kind::OverLimit, 1), (Kind::WrongAmount, 1)]);
}

#[test]
fn a_pump_holds_a_hundred_units() {
    let mut story = Story::new();
    story.purchase.merchant = &FUEL_DISPENSER;
    story.asks(1, 100).answers(1, Some(10_000));
    story.check(&[(Kind::OverLimit, 1)], 0);
}

#[test]
fn a_duplicate_has_the_same_answer() {
    let mut story = Story::new();
    story.asks(1, 600).answers_with(1, Some(600), "a").answers_with(1, Some(600), "a");
    story.check(&[], 0);
    story.answers_with(1, Some(600), "b");
    story.check(&[(Kind::AnsweredDifferently, 1)], 0);
}

#[test]
fn a_duplicate_has_the_same_answer_from_every_node_and_also_without_the_books() {
    let check = |second: usize, first: &str, then: &str, expected: &[(Kind, u64)]| {
        let mut story = Story::new();
        story.asks(1, 600).answers_from(0, 1, None, first).answers_from(second, 1, None, then);
        story.check(expected, 0);
    };
    let found = (Kind::AnsweredDifferently, 1);
    check(1, "stand-in", "b", &[found]);
    check(1, "stand-in", "stand-in", &[]);
    check(0, "stand-in", "b", &[found]);
    // A decline with room is another matter.
    check(1, "a", "b", &[(Kind::DeclinedWithRoom, 1), found]);
    check(1, "a", "stand-in", &[(Kind::DeclinedWithRoom, 1), found]);
}

#[test]
fn a_duplicate_may_be_answered_over_the_api_if_that_says_the_same() {
    let check = |first: (Option<i64>, &str), then: (Option<i64>, &str), expected: &[(Kind, u64)]| {
        let mut story = Story::new();
        story.asks(1, 600).answers_with(1, first.0, first.1).answers_with(1, then.0, then.1);
        story.check(expected, 0);
    };
    let (direct, over_api) = ((Some(600), "a"), (Some(600), "over the API"));
    check(direct, over_api, &[]);
    check(over_api, direct, &[]);
    check(over_api, over_api, &[]);
    let differs = [(Kind::AnsweredDifferently, 1)];
    check(direct, (None, "over the API"), &differs);
    check(over_api, (None, "b"), &differs);
    check(over_api, (None, "over the API"), &differs);
}

#[test]
fn a_question_that_was_given_up_is_what_stripe_says_it_is() {
    let mut story = Story::new();
    story.asks(1, 600);
    story.auditor.given_up(Question { authorization: 1, index: 0 }, 1);
    // It may have been approved.
    story.asks(2, 500).answers(2, None);
    story.check(&[], 1);
    let event = story.tells(1, |books| books.decided(600, None, "webhook_timeout", 0));
    story.hears(event).asks(3, 500).answers(3, None);
    story.check(&[(Kind::DeclinedWithRoom, 1)], 1);
}

#[test]
fn what_was_answered_without_the_books_may_stand_in_them_until_stripe_tells() {
    for (granted, then, ambiguous) in [(None, None, 1), (Some(600), None, 1), (Some(600), Some(500), 0)] {
        let mut story = Story::new();
        story.asks(1, 600).answers_with(1, granted, "stand-in").asks(2, 500).answers(2, then);
        story.check(&[], ambiguous);
    }
    let mut story = Story::new();
    story.asks(1, 600).answers_with(1, None, "stand-in");
    let event = story.tells(1, |_| {});
    story.hears(event).asks(2, 500).answers(2, None);
    story.check(&[(Kind::DeclinedWithRoom, 1)], 0);
    let mut story = Story::new();
    story.asks(1, 600).answers_with(1, Some(600), "stand-in");
    let event = story.tells(1, |_| {});
    story.hears(event).asks(2, 500).answers(2, Some(500));
    story.check(&[(Kind::OverLimit, 1)], 0);
}

#[test]
fn what_ended_is_expected_as_stripe_has_it() {
    let mut story = Story::new();
    story.asks(1, 600).answers(1, Some(600));
    let event = story.tells(1, |books| books.reversed(200));
    let books = story.books[&1].clone();
    story.auditor.ended(&books);
    assert_eq!(story.auditor.expected, [], "it is still on its way");
    story.hears(event);
    let expected = &story.auditor.expected[0];
    assert_eq!((expected.position.held, expected.status), (400, Status::Pending));
    assert_eq!(story.auditor.cards[&1].settled, expected.position);
    assert!(story.auditor.cards[&1].open.is_empty());
    // It still counts.
    story.asks(2, 601).answers(2, None).asks(3, 600).answers(3, Some(600));
    story.check(&[], 0);
}

#[test]
fn what_cards_share_holds_for_all_of_them_together() {
    let check = |card: u64, amount: i64, granted: Option<i64>, expected: &[(Kind, u64)]| {
        let (mut story, _news) = Story::sharing();
        story.with(1).asks(1, 600).answers(1, Some(600));
        story.purchase.is_controllable = true;
        story.with(card).asks(2, amount).answers(2, granted);
        story.check(expected, 0);
    };
    let (over, declined) = ([(Kind::OverLimit, 1)], [(Kind::DeclinedWithRoom, 1)]);
    // Another card of the department, which has 100 left; the company has 300.
    check(3, 100, Some(100), &[]);
    check(3, 200, Some(200), &over);
    check(3, 200, Some(100), &[]);
    check(3, 200, Some(99), &declined);
    check(3, 200, None, &declined);
    // A card of the other department, which has 700 left: a part is what is left of the least.
    check(2, 300, Some(300), &[]);
    check(2, 400, Some(400), &over);
    check(2, 400, Some(300), &[]);
    check(2, 400, Some(299), &declined);
}

#[test]
fn what_is_said_of_one_card_may_not_be_known_where_another_is_decided() {
    let (mut story, _news) = Story::sharing();
    story.with(1).asks(1, 700).answers(1, Some(700));
    let event = story.tells(1, |books| books.reversed(700));
    // It is acknowledged while the question about the other card is on its way.
    story.with(3).asks(2, 500).hears(event).answers(2, None);
    story.check(&[], 1);
    story.asks(3, 500).answers(3, None);
    story.check(&[(Kind::DeclinedWithRoom, 1)], 1);
}

#[test]
fn a_balance_is_what_was_credited_less_what_its_cards_use() {
    let (mut story, news) = Story::sharing();
    story.with(0).asks(1, 100).answers(1, None);
    story.check(&[], 0);
    let at_us = story.next();
    news.send(News::Leaves { customer: 0, round: 0, amount: 500, at_us }).unwrap();
    // It may be there already, or not yet.
    story.asks(2, 100).answers(2, None).asks(3, 100).answers(3, Some(100));
    story.check(&[], 1);
    let at_us = story.next();
    news.send(News::Durable { customer: 0, round: 0, at_us }).unwrap();
    story.with(10).asks(4, 400).answers(4, Some(400)).asks(5, 1).answers(5, None);
    story.check(&[], 1);
    // A refund gives back to a balance.
    let event = story.tells(4, |books| {
        let capture = Transaction { number: 1, is_refund: false, amount: -400, is_linked: true, created: 0 };
        books.settled(capture, true);
    });
    story.hears(event);
    let event = story.tells(4, |books| {
        let refund = Transaction { number: 2, is_refund: true, amount: 50, is_linked: true, created: 0 };
        books.settled(refund, true);
    });
    story.hears(event).asks(6, 51).answers(6, None).asks(7, 50).answers(7, Some(50));
    story.check(&[], 1);
    story.asks(8, 1).answers(8, Some(1));
    story.check(&[(Kind::OverLimit, 1)], 1);
}
