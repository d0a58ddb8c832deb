//! Searching decisions: every answer once, as it left, newest first.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::time::Duration;

use tollgate::{
    actors::{DecisionFilter, DecisionPage, Place},
    domain::{Outcome, Reason, Source},
    journal::{Scan as _, Script},
};

use super::{
    House, SOON,
    replacement::{asked, made},
    roomy,
};
use crate::questions::{arrival, card, question};

/// Names of authorizations.
fn names(page: &DecisionPage) -> Vec<&str> {
    let ids = page.decisions.iter().map(|view| view.decided.request.authorization.as_str());
    ids.map(|id| id.strip_prefix("iauth_").unwrap()).collect()
}

impl House {
    /// All pages of a search, each of at most `limit`.
    async fn found(&self, filter: &DecisionFilter, limit: usize) -> DecisionPage {
        let (mut all, mut cursor) = (DecisionPage::default(), None);
        loop {
            let page = self.directory.decisions(filter, cursor, limit).await.unwrap();
            assert!(page.decisions.len() <= limit);
            all.decisions.extend(page.decisions);
            cursor = page.next;
            if cursor.is_none() {
                return all;
            }
        }
    }
}

#[tokio::test]
async fn a_decision_that_the_stand_in_voided_is_listed_once_as_the_stand_in_decision() {
    let house = House::new(roomy(), &[("all_time", 50_000)], Script::default());
    let gate = house.journal.hold_next();
    let late = tokio::spawn({
        let directory = house.directory.clone();
        async move {
            directory.ask(question("one", "late", 1_000), arrival(Duration::from_millis(30))).await.answer
        }
    });
    gate.arrived().await;
    assert_eq!(late.await.unwrap().outcome, Outcome::Declined);
    gate.open();
    assert_eq!(house.ask("next", 1_000).await.outcome, Outcome::Approved);
    for (filter, limit) in [
        (DecisionFilter::default(), 10),
        (DecisionFilter::default(), 1),
        (DecisionFilter { card: Some(card("one")), ..DecisionFilter::default() }, 1),
    ] {
        let page = house.found(&filter, limit).await;
        assert_eq!(page.decisions.len(), 2, "{filter:?}");
        let late = page.decisions.iter().find(|view| view.decided.decision.reason == Reason::StandInDeadline);
        assert_eq!(late.unwrap().decided.decision.source, Source::StandIn);
    }
    let approved = DecisionFilter { outcome: Some(Outcome::Approved), ..DecisionFilter::default() };
    assert_eq!(names(&house.found(&approved, 10).await), ["next"], "nobody was told of the late approval");
}

#[tokio::test]
async fn decisions_of_a_replacement_card_are_listed_once_and_under_their_own_card() {
    let house = House::new(roomy(), &[("all_time", 10_000)], Script::default());
    assert_eq!(house.ask("old", 100).await.outcome, Outcome::Approved);
    // The new card is used before anything says what it replaces: what it spent is copied later.
    assert_eq!(house.asks(asked("new", None, "early", 200)).await.outcome, Outcome::Approved);
    house.books(made("new", Some("one"), false)).await;
    assert_eq!(house.asks(asked("new", None, "linked", 300)).await.outcome, Outcome::Approved);
    for limit in [1, 2, 10] {
        let all = house.found(&DecisionFilter::default(), limit).await;
        assert_eq!(names(&all), ["linked", "early", "old"], "{limit}");
        for (of, expected) in [("one", &["old"][..]), ("new", &["linked", "early"])] {
            let filter = DecisionFilter { card: Some(card(of)), ..DecisionFilter::default() };
            assert_eq!(names(&house.found(&filter, limit).await), *expected, "{of}");
        }
    }
    let unknown = DecisionFilter { card: Some(card("unknown")), ..DecisionFilter::default() };
    assert!(house.found(&unknown, 10).await.decisions.is_empty());
}

/// Several decisions of one card wait for one append: a page may end between them.
#[tokio::test]
async fn a_page_may_end_between_two_decisions_of_one_entry() {
    let house = House::new(roomy(), &[("all_time", 10_000)], Script::default());
    let gate = house.journal.hold_next();
    let ask = |name: &str| {
        let (directory, request) = (house.directory.clone(), question("one", name, 100));
        tokio::spawn(async move { directory.ask(request, arrival(SOON)).await.answer })
    };
    let first = ask("first");
    gate.arrived().await;
    let rest: Vec<_> = (0..7).map(|n| ask(&format!("later{n}"))).collect();
    // All of them are at the card before the first is durable.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    gate.open();
    first.await.unwrap();
    for one in rest {
        one.await.unwrap();
    }
    let entries = house.journal.scan(0, usize::MAX).await.unwrap();
    assert!(entries.len() < 8, "each decision has an entry of its own");
    let whole = house.found(&DecisionFilter::default(), 100).await;
    assert_eq!(whole.decisions.len(), 8);
    for limit in [1, 3, 8] {
        assert_eq!(names(&house.found(&DecisionFilter::default(), limit).await), names(&whole), "{limit}");
    }
}

#[tokio::test]
async fn who_follows_sees_each_decision_once_and_oldest_first() {
    let house = House::new(roomy(), &[("all_time", 500)], Script::default());
    house.ask("before", 100).await;
    let filter = DecisionFilter { outcome: Some(Outcome::Declined), ..DecisionFilter::default() };
    let start = house.directory.decisions_after(&filter, None, 10).await.unwrap();
    assert!(start.decisions.is_empty());
    for (name, amount) in [("a", 900), ("b", 100), ("c", 800)] {
        house.ask(name, amount).await;
    }
    let (mut after, mut seen): (Option<Place>, Vec<String>) = (start.next, Vec::new());
    for _ in 0..3 {
        let page = house.directory.decisions_after(&filter, after, 1).await.unwrap();
        seen.extend(names(&page).into_iter().map(ToOwned::to_owned));
        after = page.next;
    }
    assert_eq!(seen, ["a", "c"]);
    let all = house.directory.decisions_after(&DecisionFilter::default(), start.next, 10).await.unwrap();
    assert_eq!(names(&all), ["a", "b", "c"]);
}
