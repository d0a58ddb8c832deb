//! As many cards in memory as there may be: who leaves for another one, and what becomes of it where nobody can.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{collections::BTreeSet, time::Duration};

use tokio::task::JoinSet;
use tollgate::{
    actors::Settings,
    clock,
    domain::{Outcome, Reason},
    journal::Script,
};

use super::{House, SOON, approved, roomy};
use crate::questions::{arrival, question, told};

#[tokio::test]
async fn cards_over_the_bound_leave_the_longest_unused_first() {
    let settings = Settings { cards_resident_max: 4, card_idle_after: Duration::from_millis(40), ..roomy() };
    let house = House::new(settings, &[("all_time", 1_000)], Script::default());
    let mut seen = BTreeSet::new();
    for name in 0..4 {
        let request = question(&format!("card-{name}"), &format!("{name}"), 100);
        house.directory.ask(request, arrival(SOON)).await;
        seen.insert(house.directory.resident());
    }
    assert!(seen.last().is_some_and(|most| *most <= 5), "{seen:?}");
    while house.directory.resident() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_card_is_turned_away_early_where_none_of_those_in_memory_can_leave() {
    let house =
        House::new(Settings { cards_resident_max: 1, ..roomy() }, &[("all_time", 1_000)], Script::default());
    let gate = house.journal.hold_next();
    let mut stuck = JoinSet::new();
    for name in ["a", "b"] {
        let directory = house.directory.clone();
        stuck.spawn(async move { directory.ask(question(name, name, 100), arrival(SOON)).await.answer });
    }
    gate.arrived().await;
    while house.directory.resident() < 2 {
        tokio::task::yield_now().await;
    }
    let asked = clock::instant();
    let refused = house.directory.ask(question("c", "c", 100), arrival(SOON)).await.answer;
    assert_eq!((refused.outcome, refused.reason), (Outcome::Declined, Reason::StandInOverload));
    assert!(clock::instant().duration_since(asked) < SOON / 2, "it was queued for its whole time");
    assert!(!house.metrics.render().contains(r#"tollgate_requests_shed_total{cause="cards_resident"} 0"#));
    // So does an event; Stripe delivers it again.
    let told_of = told("d", "d", 100, true, "network_fallback");
    assert!(house.directory.book(told_of.clone(), arrival(SOON)).await.is_err());
    gate.open();
    assert_eq!(approved(&stuck.join_all().await), 2);
    for name in ["e", "f", "g"] {
        let answer = house.directory.ask(question(name, name, 100), arrival(SOON)).await.answer;
        assert_eq!(answer.outcome, Outcome::Approved, "{name}");
        house.directory.book(told_of.clone(), arrival(SOON)).await.unwrap();
    }
}
