//! One question, asked more than once at about the same time: whoever asks is told the same, also where the stand-in
//! has answered one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    time::Duration,
};

use tokio::task::{JoinHandle, JoinSet};
use tollgate::{
    actors::{Cause, Settings, StandIn, StandInRule, TimedAnswer},
    clock,
    domain::{Answer, Outcome, Reason, Source},
    journal::{Fault, Gate, Script},
};

use super::{House, SOON, roomy, undecided};
use crate::questions::{arrival, card, question};

/// A node with one place for requests.
fn narrow() -> House {
    House::new(Settings { in_flight_max: 1, ..roomy() }, &[("all_time", 5_000)], Script::default())
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
    let house = House::new(roomy(), &[("all_time", 5_000)], Script::default());
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
    assert_eq!((answer.outcome, answer.source), (Outcome::Approved, Source::Policy));
    assert_eq!(house.ask("asked-twice", 700).await, answer);
    assert_eq!(house.used().await, 700);
}

/// A balancer that gives a node up asks another one, which finds the decision in the journal: it must not be undone then.
#[tokio::test]
async fn what_was_decided_for_a_client_that_went_away_stands() {
    let house = narrow();
    let (gate, asked) = held(&house, "gone", 700).await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    assert_eq!(house.ask("other", 100).await.reason, Reason::StandInOverload, "its place is taken");
    gate.open();
    let mut names = (0..).map(|n| format!("later-{n}"));
    while house.ask(&names.next().unwrap(), 100).await.source == Source::StandIn {
        tokio::task::yield_now().await;
    }
    let again = house.ask("gone", 700).await;
    assert_eq!((again.outcome, again.source), (Outcome::Approved, Source::Policy));
    assert_eq!(house.used().await, 800);
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

/// At whatever moment between the journal and the first asker the second one is refused.
#[tokio::test]
async fn an_answer_on_its_way_out_gives_way_to_one_of_the_stand_in() {
    let mut sources = BTreeSet::new();
    for moments in 0..24 {
        let house = narrow();
        let (gate, asked) = held(&house, "asked-twice", 700).await;
        gate.open();
        let directory = house.directory.clone();
        let refused = tokio::spawn(async move {
            for _ in 0..moments {
                tokio::task::yield_now().await;
            }
            directory.stand_in(&undecided(question("one", "asked-twice", 700), Cause::Overload)).answer
        });
        let refused = refused.await.unwrap();
        assert_eq!(asked.await.unwrap().answer, refused, "after {moments} moments");
        sources.insert(refused.source.as_str());
    }
    assert_eq!(sources.len(), 2, "only {sources:?}: the moments are not enough");
}

/// Askers with little time, some of whom go away, of few questions, at a card with short queues on a journal that is slow
/// and fails.
#[tokio::test(start_paused = true)]
async fn whoever_asks_is_told_the_same_whatever_becomes_of_the_others() {
    const SEEDS: u64 = 120;
    const LIMIT: i64 = 1_000;
    let mut by_stand_in = 0;
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let approves = StandIn {
            deadline: StandInRule::Approve { amount_max: 300, approvals_max: 1_000 },
            ..StandIn::default()
        };
        let stand_in = if random.bool() { approves } else { StandIn::default() };
        let settings = Settings { card_queue_max: random.usize(1..4), stand_in, ..Settings::default() };
        let house = House::new(settings, &[("all_time", LIMIT)], slow_and_failing(&mut random));
        let mut asked = JoinSet::new();
        for _ in 0..24 {
            let (number, starts) = (random.u8(..6), Duration::from_millis(random.u64(..400)));
            let within = Duration::from_millis(random.u64(20..400));
            let leaves = random.bool().then(|| Duration::from_millis(random.u64(..300)));
            let directory = house.directory.clone();
            asked.spawn(async move {
                clock::sleep(starts).await;
                let request = question("one", &number.to_string(), 100 * i64::from(number + 1));
                let asking = directory.ask(request, arrival(within));
                let answer = clock::timeout(leaves.unwrap_or(SOON), asking).await.ok();
                answer.map(|timed| (number, timed.answer))
            });
        }
        let mut told: BTreeMap<u8, Answer> = BTreeMap::new();
        for (number, answer) in asked.join_all().await.into_iter().flatten() {
            let first = told.entry(number).or_insert_with(|| answer.clone());
            assert_eq!(*first, answer, "question {number}, seed {seed}");
        }
        house.journal.heal();
        let (mut held, mut approved_by_policy) = (0, 0);
        for number in 0..6 {
            let amount = 100 * i64::from(number + 1);
            let now = house.ask(&number.to_string(), amount).await;
            let before = told.get(&number).cloned().unwrap_or_else(|| now.clone());
            assert_eq!(now, before, "question {number} asked again, seed {seed}");
            by_stand_in += usize::from(now.source == Source::StandIn);
            let granted = if now.outcome == Outcome::Approved { amount } else { 0 };
            held += granted;
            approved_by_policy += if now.source == Source::Policy { granted } else { 0 };
        }
        let settled = clock::timeout(SOON, async {
            while used(&house).await != held {
                clock::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(settled.await.is_ok(), "{held} were approved, {} are used, seed {seed}", used(&house).await);
        assert!(approved_by_policy <= LIMIT, "{approved_by_policy} of {LIMIT} were approved, seed {seed}");
    }
    assert!(by_stand_in > 50, "{by_stand_in} answers were the stand-in's: too few to show anything");
}

/// What the books count, as soon as there are any.
async fn used(house: &House) -> i64 {
    let view = house.directory.card(&card("one"), clock::now()).await.unwrap();
    view.map_or(0, |view| view.limits[0].used)
}

/// Appends that take their time, and then fail or not.
fn slow_and_failing(random: &mut fastrand::Rng) -> Script {
    let fault = |random: &mut fastrand::Rng| match random.u8(..10) {
        0 => Fault::Rejected,
        1 => Fault::LostBefore,
        2 => Fault::LostAfter,
        _ => Fault::None,
    };
    let slow = iter::repeat_with(|| {
        let takes = Duration::from_millis(random.u64(..250));
        Fault::Delayed(takes, Box::new(fault(random)))
    });
    Script::of(slow.take(100))
}
