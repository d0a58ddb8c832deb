//! What the stand-in checks before it approves: everything that needs no ledger, what is in memory, and how often.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tollgate::{
    actors::{Cause, Settings, StandIn, StandInRule},
    domain::{
        AuthorizationRequest, Category, Currency, Interval, Limit, Measure, Money, Outcome, Overrides,
        Policy, PolicyVersion, Reason, Source, Window, Zone,
    },
    journal::Script,
};

use super::{House, SOON, roomy};
use crate::questions::{arrival, question};

const APPROVALS_MAX: u32 = 2;

fn house() -> House {
    let rule = StandInRule::Approve { amount_max: 5_000, approvals_max: APPROVALS_MAX };
    let stand_in = StandIn { overload: rule, deadline: rule, journal: rule };
    House::new(Settings { stand_in, ..roomy() }, &[("daily", 2_000)], Script::default())
}

/// At most 2,000 a day and 1,500 an authorization; no restaurants with service.
fn policy() -> Policy {
    let limit = |interval: &str, max| Limit {
        max,
        window: Arc::new(Window {
            measure: Measure::Amount(None),
            interval: Interval::parse(interval).unwrap(),
            time_zone: Zone::UTC,
            categories: None,
            merchants: None,
            occurrence: tollgate::domain::Occurrence::Approval,
        }),
    };
    let default = Overrides {
        spending_limits: Some(vec![limit("daily", 2_000), limit("per_authorization", 1_500)]),
        blocked_categories: Some(BTreeSet::from([Category::named("eating_places_restaurants").unwrap()])),
        ..Overrides::default()
    };
    let (groups, cards) = Default::default();
    Policy::new(PolicyVersion::new("strict"), &default, &groups, cards)
}

#[tokio::test]
async fn everything_that_needs_no_ledger_is_checked() {
    let house = house();
    house.policy.send_replace(Arc::new(policy()));
    let check = |name: &str, change: fn(&mut AuthorizationRequest), expected: bool| {
        let mut request = question(name, name, 1_000);
        change(&mut request);
        let answer = house.stand_in(request, Cause::Journal);
        assert_eq!(answer.outcome == Outcome::Approved, expected, "{name}: {answer:?}");
        assert_eq!((answer.source, answer.reason), (Source::StandIn, Reason::StandInJournal), "{name}");
    };
    check("plain", |_| {}, true);
    check("paused", |request| request.is_paused = true, false);
    check(
        "blocked",
        |request| request.merchant.category = Category::named("eating_places_restaurants").unwrap(),
        false,
    );
    check("other_currency", |request| request.asked = Ok(Money::new(1_000, "eur".parse().unwrap())), false);
    check("large", |request| request.asked = Ok(Money::new(1_501, Currency::USD)), false);
    check("at_the_limit", |request| request.asked = Ok(Money::new(1_500, Currency::USD)), true);
}

#[tokio::test]
async fn a_card_is_approved_a_few_times_a_day() {
    let house = house();
    let ask = |card: &str, name: &str, days: u64| {
        let mut request = question(card, name, 100);
        request.received_at = request.received_at.plus(Duration::from_hours(24 * days));
        house.stand_in(request, Cause::Overload).outcome
    };
    let of_one: Vec<Outcome> = ["a", "b", "c", "d"].map(|name| ask("one", name, 0)).into();
    assert_eq!(of_one, [Outcome::Approved, Outcome::Approved, Outcome::Declined, Outcome::Declined]);
    assert_eq!(ask("one", "a", 0), Outcome::Approved, "a duplicate gets its answer");
    assert_eq!(ask("two", "e", 0), Outcome::Approved, "another card");
    assert_eq!(ask("one", "f", 1), Outcome::Approved, "another day");
}

#[tokio::test]
async fn what_was_declined_in_memory_stays_declined() {
    let house = house();
    assert_eq!(house.ask("first", 1_500).await.outcome, Outcome::Approved);
    for (name, amount, expected) in
        [("fits", 400, Outcome::Approved), ("does_not_fit", 600, Outcome::Declined)]
    {
        let gate = house.journal.hold_next();
        let directory = house.directory.clone();
        let asked = tokio::spawn(async move {
            directory.ask(question("one", name, amount), arrival(Duration::from_millis(50))).await.answer
        });
        gate.arrived().await;
        let answer = asked.await.unwrap();
        assert_eq!((answer.source, answer.outcome), (Source::StandIn, expected), "{name}");
        gate.open();
        // In memory again, and durable.
        let again = house.directory.ask(question("one", name, amount), arrival(SOON)).await.answer;
        assert_eq!(again, answer, "{name}");
    }
    assert_eq!(house.used().await, 1_900);
}
