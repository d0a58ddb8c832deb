//! The gauge of open holds: exact while cards come, rest, leave, lose their place to another node, and join other books.

use std::{sync::Arc, time::Duration};

use tollgate::{
    actors::Settings,
    domain::{AuthorizationStatus, Fact, Observation, Outcome},
    journal::{Fault, Journal, Memory, Script},
};

use super::{
    House,
    replacement::{asked, captured, made},
    roomy,
};
use crate::{process::within, questions::told};

const LIMITS: [(&str, i64); 1] = [("all_time", 1_000)];

impl House {
    /// What the gauge says.
    pub(super) fn holds_open(&self) -> u32 {
        let page = self.metrics.render();
        let value = page.lines().find_map(|line| line.strip_prefix("tollgate_holds_open "));
        value.unwrap_or_else(|| panic!("no gauge of open holds in\n{page}")).parse().unwrap()
    }

    async fn until_open(&self, holds: u32) {
        within(&format!("{holds} holds are open"), async {
            while self.holds_open() != holds {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn until_all_have_left(&self) {
        within("the cards leave memory", async {
            while self.directory.resident() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Stripe's word that nothing is held any more.
fn reversed(name: &str) -> Observation {
    let mut told = told("one", name, 300, true, "webhook_approved");
    if let Fact::Authorization(seen) = &mut told.fact {
        seen.is_update = true;
        seen.status = AuthorizationStatus::Reversed;
    }
    told
}

#[tokio::test]
async fn a_hold_is_open_from_its_approval_until_its_money_is_taken_or_given_back() {
    let house = House::new(roomy(), &LIMITS, Script::default());
    assert_eq!(house.holds_open(), 0);
    for (name, amount, outcome, open) in [
        ("taken", 600, Outcome::Approved, 1),
        ("given-back", 300, Outcome::Approved, 2),
        ("too-much", 300, Outcome::Declined, 2),
        ("taken", 600, Outcome::Approved, 2),
    ] {
        assert_eq!(house.ask(name, amount).await.outcome, outcome, "{name}");
        assert_eq!(house.holds_open(), open, "after {name}");
    }
    for (name, observation, open) in [
        ("a capture of a part", captured("one", "taken", 500), 2),
        ("a reversal", reversed("given-back"), 1),
        ("a hold that we were not asked for", told("one", "unasked", 50, true, "network_fallback"), 2),
        ("its capture", captured("one", "unasked", 50), 1),
    ] {
        house.books(observation).await;
        assert_eq!(house.holds_open(), open, "after {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_holds_of_a_card_are_counted_while_it_is_in_memory() {
    let journal: Arc<dyn Journal> = Arc::new(Memory::new());
    let on = |settings| House::on(Arc::clone(&journal), settings, &LIMITS, Script::default());
    let leaves = || Settings { card_idle_after: Duration::from_millis(50), ..roomy() };

    let house = on(roomy());
    for (name, open) in [("first", 1), ("second", 2), ("third", 3)] {
        house.ask(name, 100).await;
        assert_eq!(house.holds_open(), open);
    }

    let house = on(leaves());
    house.ask("fourth", 100).await;
    house.until_all_have_left().await;
    assert_eq!(house.holds_open(), 0, "left behind a snapshot");

    let house = on(roomy());
    house.ask("first", 100).await;
    assert_eq!(house.holds_open(), 4, "come back");

    let house = on(leaves());
    let written = journal.scan(0, 100).await.unwrap().len();
    house.ask("first", 100).await;
    house.until_all_have_left().await;
    assert_eq!(house.holds_open(), 0, "left, with nothing to write");
    assert_eq!(journal.scan(0, 100).await.unwrap().len(), written);
}

#[tokio::test]
async fn books_that_are_read_again_are_counted_anew() {
    let journal: Arc<dyn Journal> = Arc::new(Memory::new());
    let on = || House::on(Arc::clone(&journal), roomy(), &LIMITS, Script::default());
    let (one, other) = (on(), on());
    one.ask("first", 100).await;
    other.ask("second", 100).await;
    assert_eq!((one.holds_open(), other.holds_open()), (1, 2));
    one.ask("third", 100).await;
    assert_eq!(one.directory.conflicts(), 1);
    assert_eq!(one.holds_open(), 3);

    one.journal.then(Fault::Rejected);
    assert_eq!(one.ask("nowhere", 100).await.outcome, Outcome::Declined);
    one.until_open(3).await;
}

#[tokio::test]
async fn a_hold_that_is_carried_over_to_other_books_is_counted_once() {
    let house = House::new(roomy(), &LIMITS, Script::default());
    house.asks(asked("new", None, "early", 400)).await;
    house.ask("old-card", 300).await;
    assert_eq!(house.holds_open(), 2);
    house.books(made("new", Some("one"), false)).await;
    // It is answered when the carrying is done.
    assert_eq!(house.asks(asked("new", None, "late", 100)).await.outcome, Outcome::Approved);
    assert_eq!(house.holds_open(), 3);
    house.books(captured("new", "early", 400)).await;
    assert_eq!(house.holds_open(), 2);
}
