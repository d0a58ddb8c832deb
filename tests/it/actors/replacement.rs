//! Cards that replace each other: one budget for the whole chain, whatever is known of it when, and whoever fails.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tollgate::{
    actors::Settings,
    clock,
    domain::{
        Account, Answer, AuthorizationRequest, CardSeen, Currency, Event, EventId, Fact, Observation,
        Outcome, Reason, Source, Timestamp, TransactionId, TransactionKind, TransactionSeen,
    },
    journal::{Fault, Journal, Memory, Odds, Reach, Script, record},
};

use super::{House, SOON, roomy};
use crate::questions::{arrival, card, question, told};

const LIMIT: i64 = 1_000;

/// A question on a card, which tells that the card replaces another.
pub(super) fn asked(on: &str, replaced: Option<&str>, name: &str, amount: i64) -> AuthorizationRequest {
    AuthorizationRequest { replacement_for: replaced.map(card), ..question(on, name, amount) }
}

/// The news that a card was made, or has changed.
pub(super) fn made(on: &str, replaced: Option<&str>, is_update: bool) -> Observation {
    Observation {
        event: EventId::new(&format!("evt_{on}_{is_update}")).unwrap(),
        replacement_for: replaced.map(card),
        fact: Fact::Card(Box::new(CardSeen {
            is_update,
            is_active: true,
            currency: Some(Currency::USD),
            group: None,
            before: None,
        })),
        ..told(on, "nothing", 0, true, "")
    }
}

/// A capture, which knows its card by id alone.
pub(super) fn captured(on: &str, name: &str, amount: i64) -> Observation {
    let request = question(on, name, amount);
    Observation {
        event: EventId::new(&format!("evt_capture_{name}")).unwrap(),
        fact: Fact::Transaction(Box::new(TransactionSeen {
            id: TransactionId::new(&format!("ipi_{name}")).unwrap(),
            is_update: false,
            created: Timestamp::from_seconds(clock::now().as_seconds()),
            kind: TransactionKind::Capture,
            amount: -amount,
            currency: Some(Currency::USD),
            authorization: Some(request.authorization),
            merchant: request.merchant,
        })),
        ..told(on, name, amount, true, "")
    }
}

impl House {
    pub(super) async fn asks(&self, request: AuthorizationRequest) -> Answer {
        self.directory.ask(request, arrival(SOON)).await.answer
    }

    pub(super) async fn books(&self, observation: Observation) {
        self.directory.book(observation, arrival(SOON)).await.unwrap();
    }

    /// Used, held and captured, as the books of this card tell.
    async fn told(&self, of: &str) -> (i64, i64, i64) {
        let view = self.directory.card(&card(of), clock::now()).await.unwrap().unwrap();
        (view.limits[0].used, view.held, view.totals.captured)
    }
}

#[tokio::test]
async fn a_new_card_goes_on_with_what_was_spent_on_the_old_one() {
    let house = House::new(roomy(), &[("all_time", LIMIT)], Script::default());
    assert_eq!(house.ask("before", 700).await.outcome, Outcome::Approved);
    let declined = house.asks(asked("new", Some("one"), "over", 400)).await;
    assert_eq!((declined.outcome, declined.reason), (Outcome::Declined, Reason::SpendingLimit));
    // Later events may have the card's id alone.
    assert_eq!(house.asks(asked("new", None, "fits", 300)).await.outcome, Outcome::Approved);
    assert_eq!(house.asks(asked("new", Some("one"), "full", 1)).await.outcome, Outcome::Declined);
    // Late captures on both, one of them over its hold.
    house.books(captured("one", "before", 900)).await;
    house.books(captured("new", "fits", 200)).await;
    for name in ["one", "new"] {
        assert_eq!(house.told(name).await, (1_200, 100, 1_100), "{name}");
    }
    let view = house.directory.card(&card("new"), clock::now()).await.unwrap().unwrap();
    assert_eq!((view.card, view.replacement_for), (card("new"), Some(card("one"))));
    let fits = question("new", "fits", 0).authorization;
    let view = house.directory.authorization(&fits).await.unwrap().unwrap();
    assert_eq!((view.card, view.record.captured()), (Some(card("new")), 200));
    // The old card is not dead before the new one is in use.
    assert_eq!(house.ask("old-card", 1).await.outcome, Outcome::Declined);
}

#[tokio::test]
async fn what_is_said_of_a_card_holds_for_that_card_alone() {
    let house = House::new(roomy(), &[("all_time", LIMIT)], Script::default());
    house.books(made("new", Some("one"), false)).await;
    let mut canceled = made("one", None, true);
    if let Fact::Card(seen) = &mut canceled.fact {
        seen.is_active = false;
    }
    house.books(canceled).await;
    assert_eq!(house.ask("old-card", 1).await.reason, Reason::CardPaused);
    assert_eq!(house.asks(asked("new", None, "new-card", LIMIT)).await.outcome, Outcome::Approved);
    let mut inactive = made("new", None, true);
    if let Fact::Card(seen) = &mut inactive.fact {
        seen.is_active = false;
    }
    house.books(inactive).await;
    assert_eq!(house.asks(asked("new", None, "paused", 0)).await.reason, Reason::CardPaused);
}

#[tokio::test]
async fn whatever_is_heard_first_of_a_chain_of_cards_its_books_end_the_same() {
    for order in 0..120 {
        let house = House::new(roomy(), &[("all_time", LIMIT)], Script::default());
        let mut steps = vec![0, 1, 2, 3, 4];
        let mut rank = order;
        for left in (1..=5).rev() {
            // The next of those that are left goes to the end.
            let step = steps.remove(rank % left);
            rank /= left;
            steps.push(step);
        }
        for step in &steps {
            match step {
                0 => drop(house.asks(asked("first", None, "a", 500)).await),
                1 => drop(house.asks(asked("second", None, "b", 300)).await),
                2 => drop(house.asks(asked("third", Some("second"), "c", 100)).await),
                3 => house.books(made("second", Some("first"), false)).await,
                _ => house.books(made("third", Some("second"), false)).await,
            }
        }
        assert_eq!(
            house.asks(asked("third", None, "over", 101)).await.outcome,
            Outcome::Declined,
            "{steps:?}"
        );
        assert_eq!(
            house.asks(asked("second", None, "rest", 100)).await.outcome,
            Outcome::Approved,
            "{steps:?}"
        );
        house.books(captured("second", "b", 300)).await;
        for name in ["first", "second", "third"] {
            assert_eq!(house.told(name).await, (LIMIT, 700, 300), "{name} after {steps:?}");
        }
    }
}

#[tokio::test]
async fn what_was_booked_before_the_replacement_was_known_is_carried_over_once() {
    let journal: Arc<dyn Journal> = Arc::new(Memory::new());
    let house = House::on(Arc::clone(&journal), roomy(), &[("all_time", LIMIT)], Script::default());
    let first = house.asks(asked("new", None, "early", 400)).await;
    house.books(told("new", "unasked", 100, true, "network_fallback")).await;
    assert_eq!(house.ask("old-card", 300).await.outcome, Outcome::Approved);
    // The step is written, what follows is not: as if the node had died in between.
    house.journal.then(Fault::None);
    house.journal.then(Fault::Rejected);
    house.journal.then(Fault::Rejected);
    house.books(made("new", Some("one"), false)).await;
    for round in 0..2 {
        let house = House::on(Arc::clone(&journal), roomy(), &[("all_time", LIMIT)], Script::default());
        let again = house.asks(asked("new", None, "early", 400)).await;
        assert_eq!(again, first, "round {round}: the same question, the same answer");
        assert_eq!(
            house.asks(asked("new", None, &format!("over-{round}"), 201)).await.outcome,
            Outcome::Declined
        );
        for name in ["one", "new"] {
            assert_eq!(house.told(name).await.0, 800, "round {round}, {name}");
        }
    }
    let house = House::on(journal, roomy(), &[("all_time", LIMIT)], Script::default());
    house.books(captured("new", "early", 400)).await;
    assert_eq!(house.told("one").await, (800, 400, 400));
    let early = question("new", "early", 0).authorization;
    let view = house.directory.authorization(&early).await.unwrap().unwrap();
    assert_eq!((view.decisions.len(), view.record.hold(), view.card), (1, 0, Some(card("new"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_cards_never_spend_more_than_one_budget_on_two_nodes_that_fail() {
    for seed in 0..12 {
        eprintln!("seed {seed}");
        let odds =
            Odds { rejected: 3, overtaken: 10, lost_before: 10, lost_after: 10, half_lost: 5, unreadable: 0 };
        let settings = || Settings { card_idle_after: Duration::from_millis(3), ..roomy() };
        let journal: Arc<dyn Journal> = Arc::new(Memory::new());
        let house = |node: u64| {
            let script = Script::seeded(seed * 2 + node, odds);
            Arc::new(House::on(Arc::clone(&journal), settings(), &[("all_time", 50_000)], script))
        };
        let nodes = [house(0), house(1)];
        // A card decides for its successor until it hears what it replaces itself: here it has.
        let replaces = made("two", Some("one"), false);
        while nodes[0].directory.book(replaces.clone(), arrival(SOON)).await.is_err() {}
        let mut asked_at_once = JoinSet::new();
        for n in 0..200_usize {
            let node = Arc::clone(&nodes[n / 3 % 2]);
            let request = match n % 3 {
                0 => question("one", &format!("{n}"), 1_000),
                1 => asked("two", Some("one"), &format!("{n}"), 1_000),
                _ => asked("three", Some("two"), &format!("{n}"), 1_000),
            };
            asked_at_once.spawn(async move { node.asks(request).await });
            if n % 20 == 19 {
                tokio::task::yield_now().await;
            }
        }
        let answers = asked_at_once.join_all().await;
        let by_policy = answers.iter().filter(|answer| answer.source == Source::Policy);
        let approved = by_policy.filter(|answer| answer.outcome == Outcome::Approved).count();
        assert!(approved <= 50, "seed {seed}: {approved} approved");
        for node in &nodes {
            node.journal.heal();
        }
        let fresh = House::on(Arc::clone(&journal), roomy(), &[("all_time", 50_000)], Script::default());
        let expected = i64::try_from(approved).unwrap() * 1_000;
        for name in ["one", "two", "three"] {
            let used = fresh.told(name).await.0;
            // An approval may be in the books though the stand-in has answered in its place, until Stripe's word.
            assert!(
                (expected..=50_000).contains(&used),
                "seed {seed}, {name}: {used} used, {expected} approved"
            );
        }
        // A purchase of its own tells a card what it replaces: none is decided in the card's own books. Nobody replaces
        // the third, so that it decides for nobody else either.
        assert_eq!(deciders(&*journal, "two").await.get("ic_two"), None, "seed {seed}");
        assert_eq!(deciders(&*journal, "three").await, BTreeMap::new(), "seed {seed}");
    }
}

/// For which cards purchases were decided in the books of this one, and how many.
async fn deciders(journal: &dyn Journal, of: &str) -> BTreeMap<String, usize> {
    let mut decided = BTreeMap::new();
    for entry in journal.load(&Account::from(&card(of)), Reach::Genesis).await.unwrap() {
        for event in record::decode(&entry.body).unwrap() {
            if let Event::Decided(one) = event {
                let card = one.request.card.as_ref().expect("every question here names its card");
                *decided.entry(card.to_string()).or_default() += 1;
            }
        }
    }
    decided
}

#[tokio::test]
async fn a_card_may_decide_for_its_successor_before_it_hears_what_it_replaces_itself() {
    let house = House::new(roomy(), &[("all_time", LIMIT)], Script::default());
    assert_eq!(house.ask("first", 300).await.outcome, Outcome::Approved);
    assert_eq!(house.asks(asked("three", Some("two"), "third", 400)).await.outcome, Outcome::Approved);
    let journal: Arc<dyn Journal> = house.journal.clone();
    assert_eq!(deciders(&*journal, "two").await, BTreeMap::from([("ic_three".to_owned(), 1)]));
    // The first purchase of its own tells; what was decided before it counts from then on, once.
    assert_eq!(house.asks(asked("two", Some("one"), "over", 301)).await.outcome, Outcome::Declined);
    assert_eq!(house.asks(asked("two", Some("one"), "second", 300)).await.outcome, Outcome::Approved);
    assert_eq!(house.asks(asked("three", Some("two"), "late", 1)).await.outcome, Outcome::Declined);
    for name in ["one", "two", "three"] {
        assert_eq!(house.told(name).await.0, LIMIT, "{name}");
    }
}

#[tokio::test]
async fn cards_that_replace_each_other_in_a_circle_share_the_limits_of_the_smallest() {
    let house = House::new(roomy(), &[("all_time", LIMIT)], Script::default());
    for (card, replaced) in [("one", "two"), ("two", "third"), ("third", "one")] {
        house.books(made(card, Some(replaced), false)).await;
    }
    let mut approved = 0;
    for number in 0..40 {
        let card = ["one", "two", "third"][number % 3];
        let answer = house.asks(asked(card, None, &format!("circle-{number}"), LIMIT / 20)).await;
        assert_eq!(answer.source, Source::Policy, "request {number} on {card}");
        approved += usize::from(answer.outcome == Outcome::Approved);
    }
    assert_eq!(approved, 20, "their purchases count together");
    let itself = house.asks(asked("three", Some("three"), "itself", 100)).await;
    assert_eq!(itself.outcome, Outcome::Approved, "a card cannot replace itself");
}
