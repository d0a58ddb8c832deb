//! What the books of a card make of facts that contradict each other: other merchants, other currencies, clocks that
//! run ahead, records that come back.

use std::time::Duration;

use tollgate::domain::{
    Authorization, Card, CardSeen, Currency, Event, Fact, Interval, Measure, Mention, Merchant, Money,
    Recalled, Source, Timestamp, TransactionKind, Window, Zone,
};

use super::facts::{self, Snapshot};

/// Books with a window for each measure and category.
fn card(windows: &[(Measure, &str, Option<&str>)]) -> Card {
    let windows: Vec<_> = windows
        .iter()
        .map(|(measure, interval, category)| {
            let categories = category.map(|name| [facts::merchant(name, None).category].into());
            let interval = Interval::parse(interval).unwrap();
            Window {
                measure: *measure,
                interval,
                time_zone: Zone::UTC,
                categories,
                merchants: None,
                occurrence: tollgate::domain::Occurrence::Approval,
            }
            .into()
        })
        .collect();
    let mut card = Card::default();
    card.adopt(windows.iter(), false, Timestamp::default()).unwrap();
    card
}

fn used(card: &Card) -> Vec<i64> {
    card.tallies.iter().map(|tally| tally.used(card.time)).collect()
}

fn noon() -> Timestamp {
    facts::at("2026-11-22T12:00:00Z")
}

fn told(amount: i64, now: Timestamp) -> Snapshot {
    Snapshot {
        amount,
        approved: true,
        status: tollgate::domain::AuthorizationStatus::Pending,
        history: vec![facts::entry(amount, true, "network_fallback", now)],
        transactions: 0,
        listed: Vec::new(),
    }
}

fn capture(
    number: usize,
    name: &str,
    authorization: Option<&str>,
    is_update: bool,
    place: &Merchant,
) -> Event {
    let authorization = authorization.map(facts::authorization);
    let (id, now) = (facts::transaction(name), noon().plus(Duration::from_secs(number.try_into().unwrap())));
    let told = (TransactionKind::Capture, -700);
    facts::observed(number, now, facts::settled(&id, is_update, noon(), told, authorization.as_ref(), place))
}

#[test]
fn a_policy_that_changes_whether_refunds_give_back_counts_the_purchases_anew() {
    let mut card = card(&[(Measure::Amount(None), "all_time", None)]);
    let (bakery, id) = (facts::merchant("bakeries", None), facts::authorization("a"));
    card.apply(&capture(1, "t", Some("a"), false, &bakery));
    let refund = (TransactionKind::Refund, 200);
    let (refunded, later) = (facts::transaction("r"), noon().plus(Duration::from_secs(2)));
    card.apply(&facts::observed(
        2,
        later,
        facts::settled(&refunded, false, later, refund, Some(&id), &bakery),
    ));
    let windows: Vec<_> = card.tallies.iter().map(|tally| tally.window.clone()).collect();
    assert_eq!(used(&card), [700]);
    card.adopt(windows.iter(), true, card.time).unwrap();
    assert_eq!(used(&card), [500], "refunds give back");
    card.adopt(windows.iter(), false, card.time).unwrap();
    assert_eq!(used(&card), [700], "and no longer do");
}

#[test]
fn a_sum_gives_back_what_it_counted_where_the_merchant_is_told_differently() {
    let amount = Measure::Amount(None);
    let mut card = card(&[(amount, "all_time", Some("bakeries")), (amount, "all_time", Some("book_stores"))]);
    let (bakery, books) = (facts::merchant("bakeries", None), facts::merchant("book_stores", None));
    card.apply(&capture(1, "t", Some("a"), false, &bakery));
    assert_eq!(used(&card), [700, 0]);
    let now = noon().plus(Duration::from_secs(2));
    let id = facts::authorization("a");
    card.apply(&facts::observed(2, now, facts::snapshot(&id, false, now, &told(900, now), &books)));
    assert_eq!(used(&card), [0, 900], "the authorization knows better than the transaction");
    let mut question = facts::question(3, &id, 900, now);
    question.merchant = bakery;
    let answer = facts::answer(&question, Some(900), Source::Policy);
    card.apply(&facts::decided(question, answer));
    assert_eq!(used(&card), [900, 0], "the question knows best");
}

#[test]
fn an_amount_without_a_currency_is_one_of_the_cards_own() {
    let euro: Currency = "eur".parse().unwrap();
    let (own, usd, eur) =
        (Measure::Amount(None), Measure::Amount(Some(Currency::USD)), Measure::Amount(Some(euro)));
    let all = [(own, "all_time", None), (usd, "all_time", None), (eur, "all_time", None)];
    for authorization in [None, Some("a")] {
        let mut card = card(&all);
        let Event::Observed(mut observation) =
            capture(1, "t", authorization, false, &facts::merchant("bakeries", None))
        else {
            unreachable!("a capture is observed")
        };
        if let Fact::Transaction(seen) = &mut observation.fact {
            seen.currency = None;
        }
        card.apply(&Event::Observed(observation));
        assert_eq!(used(&card), [700, 0, 0]);
        card.apply(&facts::observed(2, noon(), standing(Currency::USD)));
        assert_eq!(used(&card), [700, 700, 0], "it is known now what they were");
    }
    // An amount that was taken for the card's own, until the card said otherwise.
    let mut card = card(&all);
    let mut question = facts::question(1, &facts::authorization("a"), 500, noon());
    (question.asked, question.card_currency) = (Ok(Money::new(500, euro)), None);
    let answer = facts::answer(&question, Some(500), Source::Policy);
    card.apply(&facts::decided(question, answer));
    assert_eq!(used(&card), [500, 0, 500]);
    card.apply(&facts::observed(2, noon(), standing(Currency::USD)));
    assert_eq!(used(&card), [0, 0, 500]);
}

fn standing(currency: Currency) -> Fact {
    Fact::Card(Box::new(CardSeen {
        is_update: true,
        is_active: true,
        currency: Some(currency),
        group: None,
        before: None,
    }))
}

#[test]
fn nothing_counts_later_than_it_is_when_stripes_clock_is_ahead() {
    let mut card = card(&[(Measure::Amount(None), "daily", None)]);
    let (ours, theirs) = (facts::at("2026-11-22T23:59:58Z"), facts::at("2026-11-23T00:00:03Z"));
    let (id, place) = (facts::authorization("a"), facts::merchant("bakeries", None));
    let fact = facts::snapshot(&id, false, theirs, &told(900, theirs), &place);
    let Event::Observed(mut observation) = facts::observed(1, theirs, fact) else {
        unreachable!("a snapshot is observed")
    };
    observation.received_at = ours;
    card.apply(&Event::Observed(observation));
    assert_eq!(used(&card), [900]);
    let later = facts::question(2, &facts::authorization("b"), 0, facts::at("2026-11-23T00:00:04Z"));
    let answer = facts::answer(&later, None, Source::Policy);
    card.apply(&facts::decided(later, answer));
    assert_eq!(used(&card), [0], "it belongs to the day it came in");
}

#[test]
fn the_stand_ins_answer_stands_whichever_was_booked_first() {
    let question = facts::question(1, &facts::authorization("a"), 1_000, noon());
    let policy = facts::decided(question.clone(), facts::answer(&question, None, Source::Policy));
    let stand_in = facts::decided(question.clone(), facts::answer(&question, Some(1_000), Source::StandIn));
    for order in [[&policy, &stand_in], [&stand_in, &policy], [&stand_in, &stand_in]] {
        let mut card = card(&[(Measure::Amount(None), "daily", None), (Measure::Count, "daily", None)]);
        for event in order {
            card.apply(event);
        }
        assert_eq!((card.held(), used(&card)), (1_000, vec![1_000, 1]));
        assert_eq!(card.answer_to(&question).unwrap().answer.source, Source::StandIn);
    }
}

#[test]
fn a_transaction_that_was_moved_is_not_booked_again_when_its_first_record_comes_back() {
    let mut card = card(&[(Measure::Amount(None), "all_time", None)]);
    let place = facts::merchant("bakeries", None);
    let first = capture(1, "t", Some("a"), false, &place);
    card.apply(&first);
    let id = facts::authorization("a");
    let authorizations = vec![(id.clone(), card.authorizations[&id].clone())];
    let recalled = Recalled { authorizations, ..Recalled::default() };
    card.apply(&capture(2, "t", Some("b"), true, &place));
    assert_eq!(card.authorizations.len(), 1, "nothing is left of the first");
    card.apply(&Event::Recalled(Box::new(recalled)));
    card.apply(&first);
    let captured: Vec<i64> = card.authorizations.values().map(Authorization::captured).collect();
    assert_eq!((captured, used(&card)), (vec![700], vec![700]));
}

#[test]
fn what_was_let_go_is_known_to_have_been_there_though_nobody_said_when_it_was_created() {
    let mut card = card(&[]);
    let id = facts::authorization("a");
    card.apply(&capture(1, "t", Some("a"), false, &facts::merchant("bakeries", None)));
    let late = facts::snapshot(&id, false, noon(), &told(700, noon()), &facts::merchant("bakeries", None));
    assert!(card.evicted_of_fact(&late).is_empty(), "it is there");
    card.forget(noon().plus(Duration::from_hours(48)));
    assert_eq!(card.evicted_of_fact(&late), [Mention::from(&id)], "its snapshot, late, asks the journal");
}
