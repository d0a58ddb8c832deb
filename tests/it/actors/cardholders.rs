//! What is said of a cardholder holds for all of its cards, in whichever order it is heard, and over a restart. What
//! is said by another connected account holds for none.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::sync::Arc;

use tollgate::{
    actors::NotBooked,
    domain::{
        Answer, AuthorizationRequest, CardholderId, CardholderSeen, ConnectedAccountId, EventId, Fact,
        Observation, Outcome, Reason, Source, Subject, Timestamp,
    },
    journal::{Journal, Memory, Script},
};

use super::{House, SOON, roomy};
use crate::questions::{arrival, question, told};

fn cardholder() -> CardholderId {
    CardholderId::new("ich_1").unwrap()
}

fn asked(on: &str, name: &str) -> AuthorizationRequest {
    AuthorizationRequest { cardholder: Some(cardholder()), ..question(on, name, 100) }
}

/// The news that the cardholder is so, as of this second.
fn changed(second: i64, is_active: bool) -> Observation {
    Observation {
        event: EventId::new(&format!("evt_cardholder_{second}")).unwrap(),
        created: Timestamp::from_seconds(1_790_000_000 + second),
        subject: Subject::Cardholder(cardholder()),
        fact: Fact::Cardholder(Box::new(CardholderSeen {
            is_update: second > 0,
            is_active,
            group: None,
            before: None,
        })),
        ..told("one", "nothing", 0, true, "")
    }
}

fn of(account: Option<&str>) -> Option<ConnectedAccountId> {
    account.map(|account| ConnectedAccountId::new(account).unwrap())
}

async fn asks(house: &House, request: AuthorizationRequest) -> Answer {
    house.directory.ask(request, arrival(SOON)).await.answer
}

#[tokio::test]
async fn a_cardholder_that_is_not_active_pauses_its_cards_in_whichever_order_it_is_heard() {
    let news = [(0, true), (1, false), (2, true), (3, false), (4, true)];
    for last in 1..news.len() {
        for seed in 0..8 {
            let mut heard: Vec<_> = news[..=last].iter().chain(&news[..=last]).copied().collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut heard);
            let journal: Arc<dyn Journal> = Arc::new(Memory::new());
            let house = House::on(Arc::clone(&journal), roomy(), &[("all_time", 1_000)], Script::default());
            assert_eq!(asks(&house, asked("one", "before")).await.outcome, Outcome::Approved);
            for (second, is_active) in heard {
                house.directory.book(changed(second, is_active), arrival(SOON)).await.unwrap();
            }
            let expected = if news[last].1 { Reason::Approved } else { Reason::CardPaused };
            for card in ["one", "two"] {
                let answer = asks(&house, asked(card, &format!("after-{card}"))).await;
                assert_eq!(answer.reason, expected, "{card}, last {last}, seed {seed}");
            }
            let restarted = House::on(journal, roomy(), &[("all_time", 1_000)], Script::default());
            let answer = asks(&restarted, asked("one", "restarted")).await;
            assert_eq!(answer.reason, expected, "after a restart, last {last}, seed {seed}");
            let stranger = question("one", "stranger", 100);
            assert_eq!(asks(&restarted, stranger).await.outcome, Outcome::Approved, "of another cardholder");
        }
    }
}

#[tokio::test]
async fn a_cardholder_whose_books_cannot_be_read_is_what_was_known_of_it() {
    let house = House::new(roomy(), &[("all_time", 1_000)], Script::default());
    house.journal.fail_loads(1);
    assert_eq!(asks(&house, asked("one", "unread")).await.reason, Reason::StandInJournal);
    assert_eq!(asks(&house, asked("one", "read")).await.outcome, Outcome::Approved);
    house.journal.fail_loads(usize::MAX);
    assert_eq!(asks(&house, asked("one", "known")).await.outcome, Outcome::Approved);
}

#[tokio::test]
async fn what_another_account_says_of_a_card_is_never_booked_with_it() {
    let journal: Arc<dyn Journal> = Arc::new(Memory::new());
    let mut house = House::on(Arc::clone(&journal), roomy(), &[("all_time", 1_000)], Script::default());
    let ours = AuthorizationRequest { connected_account: of(Some("acct_a")), ..question("one", "ours", 700) };
    assert_eq!(asks(&house, ours.clone()).await.outcome, Outcome::Approved);
    for round in 0..2 {
        let name = format!("theirs-{round}");
        let theirs =
            AuthorizationRequest { connected_account: of(Some("acct_b")), ..question("one", &name, 100) };
        let answer = asks(&house, theirs.clone()).await;
        let told_apart = (answer.outcome, answer.reason, answer.source);
        assert_eq!(told_apart, (Outcome::Declined, Reason::ContractViolation, Source::Policy));
        assert_eq!(asks(&house, theirs).await, answer, "asked again");
        let news = Observation {
            connected_account: of(Some("acct_b")),
            ..told("one", &name, 500, true, "webhook_approved")
        };
        assert_eq!(house.directory.book(news, arrival(SOON)).await, Err(NotBooked::WrongAccount));
        assert_eq!(house.used().await, 700);
        let rendered = house.metrics.render();
        let line = r#"tollgate_contract_violations_total{kind="wrong_account"} 3"#;
        assert!(rendered.contains(line), "no {line} in\n{rendered}");
        // An event without an account says nothing against it.
        let plain = told("one", "ours", 700, true, "webhook_approved");
        house.directory.book(plain, arrival(SOON)).await.unwrap();
        assert_eq!(asks(&house, ours.clone()).await.outcome, Outcome::Approved);
        house = House::on(Arc::clone(&journal), roomy(), &[("all_time", 1_000)], Script::default());
    }
}
