//! One question, asked more than once at about the same time: whoever asks is told the same, also where the stand-in
//! has answered one of them.

use tokio::task::JoinHandle;
use tollgate::{
    actors::{Settings, TimedAnswer},
    domain::{Answer, Outcome, Source},
    journal::{Gate, Script},
};

use super::{House, SOON, roomy};
use crate::questions::{arrival, question};

/// A node with one place for requests.
fn narrow() -> House {
    House::new(Settings { in_flight_max: 1, ..roomy() }, &[("daily", 5_000)], Script::default())
}

/// A question whose append is held.
async fn held(house: &House, name: &'static str, amount: i64) -> (Gate, JoinHandle<TimedAnswer>) {
    let gate = house.journal.hold_next();
    let directory = house.directory.clone();
    let asked =
        tokio::spawn(async move { directory.ask(question("one", name, amount), arrival(SOON)).await });
    gate.arrived().await;
    (gate, asked)
}

async fn told(held: (Gate, JoinHandle<TimedAnswer>)) -> Answer {
    let (gate, asked) = held;
    gate.open();
    asked.await.unwrap().answer
}

#[tokio::test]
async fn askers_of_one_question_get_one_answer_where_one_of_them_is_gone() {
    let house = House::new(roomy(), &[("daily", 5_000)], Script::default());
    let gate = house.journal.hold_next();
    let [gone, waiting] = [(); 2].map(|()| {
        let directory = house.directory.clone();
        tokio::spawn(async move { directory.ask(question("one", "asked-twice", 700), arrival(SOON)).await })
    });
    gate.arrived().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.open();
    let answer = waiting.await.unwrap().answer;
    assert_eq!((answer.outcome, answer.source), (Outcome::Declined, Source::StandIn));
    assert_eq!(house.ask("asked-twice", 700).await, answer);
    assert_eq!(house.used().await, 0);
}

#[tokio::test]
async fn a_question_that_was_answered_is_not_stood_in_for() {
    let house = narrow();
    let before = house.ask("answered", 700).await;
    assert_eq!(before.outcome, Outcome::Approved);
    let other = held(&house, "held", 100).await;
    assert_eq!(house.ask("another", 100).await.source, Source::StandIn, "there is no room");
    assert_eq!(house.ask("answered", 700).await, before);
    assert_eq!(told(other).await.outcome, Outcome::Approved);
}

#[tokio::test]
async fn an_answer_that_the_stand_in_took_the_place_of_is_not_remembered() {
    let house = narrow();
    let first = held(&house, "refused", 700).await;
    let refused = house.ask("refused", 700).await;
    assert_eq!((refused.outcome, refused.source), (Outcome::Declined, Source::StandIn), "there is no room");
    assert_eq!(told(first).await, refused);
    assert_eq!(house.ask("between", 100).await.outcome, Outcome::Approved);
    let other = held(&house, "other", 100).await;
    assert_eq!(house.ask("refused", 700).await, refused, "it holds nothing");
    assert_eq!(told(other).await.outcome, Outcome::Approved);
    assert_eq!(house.used().await, 200);
}
