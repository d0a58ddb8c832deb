//! More requests than the journal can take, on a paused clock: how many are decided, when the others are refused, and how
//! soon the node is its old self afterwards.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::time::Duration;

use tokio::{
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tollgate::{
    actors::Directory,
    domain::{Account, Answer, Observation, Outcome, Reason, Source},
    journal::{Journal, Pace, Reach, Script},
};

use super::{House, roomy};
use crate::questions::{arrival, card, question, told};

const WITHIN: Duration = Duration::from_millis(1_500);
/// 200 appends a second, however they are batched.
const SLOW: Pace = Pace { batch: Duration::ZERO, append: Duration::from_millis(5) };

/// An answer, and when it was given.
#[derive(Clone, Copy, Debug)]
struct Given {
    source: Source,
    /// Since the load began.
    asked: Duration,
    took: Duration,
}

/// Asks so often a second for so many seconds, one card after another, and waits for all answers.
async fn load(house: &House, name: &str, per_second: u32, seconds: u32, cards: u32) -> Vec<Given> {
    let began = Instant::now();
    let mut answers = JoinSet::new();
    for number in 0..per_second * seconds {
        tokio::time::sleep_until(began + Duration::from_secs(1) * number / per_second).await;
        let directory = house.directory.clone();
        let request = question(&format!("{}", number % cards), &format!("{name}-{number}"), 1);
        answers.spawn(async move {
            let asked = Instant::now();
            let answer = directory.ask(request, arrival(WITHIN)).await.answer;
            Given { source: answer.source, asked: asked - began, took: asked.elapsed() }
        });
    }
    answers.join_all().await
}

/// Delivers a fact until it is recorded, as Stripe does: later after each time.
async fn deliver(directory: Directory, fact: Observation) {
    let mut pause = SECOND / 10;
    tokio::time::sleep(pause).await;
    while directory.book(fact.clone(), arrival(WITHIN)).await.is_err() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(2 * SECOND);
    }
}

/// The same as [`load`], and each answer is followed by Stripe's fact on it.
async fn load_with_facts(house: &House, name: &str, per_second: u32, seconds: u32, cards: u32) -> Vec<Given> {
    let began = Instant::now();
    let mut answers = JoinSet::new();
    for number in 0..per_second * seconds {
        tokio::time::sleep_until(began + Duration::from_secs(1) * number / per_second).await;
        let directory = house.directory.clone();
        let (card, name) = (format!("{}", number % cards), format!("{name}-{number}"));
        let request = question(&card, &name, 1);
        answers.spawn(async move {
            let asked = Instant::now();
            let answer = directory.ask(request, arrival(WITHIN)).await.answer;
            let given = Given { source: answer.source, asked: asked - began, took: asked.elapsed() };
            let approved = answer.outcome == Outcome::Approved;
            let reason = if approved { "webhook_approved" } else { "webhook_declined" };
            tokio::spawn(deliver(directory, told(&card, &name, 1, approved, reason)));
            given
        });
    }
    answers.join_all().await
}

fn decided(given: &[Given]) -> usize {
    given.iter().filter(|given| given.source == Source::Policy).count()
}

fn median(given: &[Given]) -> Duration {
    let mut took: Vec<Duration> = given.iter().map(|given| given.took).collect();
    took.sort_unstable();
    took[took.len() / 2]
}

fn house() -> House {
    House::new(roomy(), &[("all_time", i64::MAX)], Script::default())
}

/// A batch has a price of its own, as on a disk that takes 100 KB a second in pages: about 70 appends a second in batches of a
/// quarter of a second. The stand-in's entries must not fill them.
#[tokio::test(start_paused = true)]
async fn a_disk_whose_batches_are_dear_decides_what_it_can_and_is_calm_at_once() {
    let house = house();
    house.journal.slow_down(Pace { batch: Duration::from_millis(80), append: Duration::from_millis(10) });
    let given = load(&house, "wave", 500, 15, 500).await;
    let decided = decided(&given);
    eprintln!("{decided} of 1,020 possible decisions; median {:?}", median(&given));
    assert!(decided >= 900, "{decided} of 1,020 possible decisions");
    assert_eq!(given.iter().filter(|given| given.took > WITHIN).count(), 0, "late answers");
    let calm = load(&house, "calm", 10, 20, 500).await;
    let refused = calm.iter().filter(|given| given.source != Source::Policy);
    let latest = refused.map(|given| given.asked).max();
    assert!(latest.is_none_or(|latest| latest < 2 * SECOND), "refused {latest:?} after the load");
}

/// Nor must facts, which Stripe delivers again and again: several times the load for 12 s, then little, while the disk stays slow
/// and takes what has piled up. About half of what the disk takes in the wave are decisions.
#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_behind_the_facts_that_a_slow_disk_has_not_taken() {
    for (batch, append, at_least) in [(0, 20, 330), (150, 20, 130), (20, 25, 215), (300, 5, 270)] {
        let house = house();
        let disk = Pace { batch: Duration::from_millis(batch), append: Duration::from_millis(append) };
        house.journal.slow_down(disk);
        let given = load_with_facts(&house, "wave", 150, 12, 2_000).await;
        let decided = decided(&given);
        let calm = load_with_facts(&house, "calm", 3, 12, 2_000).await;
        let late = given.iter().chain(&calm).filter(|given| given.took > WITHIN).count();
        let refused =
            calm.iter().filter(|given| given.source != Source::Policy && given.asked > SECOND).count();
        let slowest = calm.iter().map(|given| given.took).max();
        eprintln!("{disk:?}: {decided} decided; the slowest after the load took {slowest:?}");
        assert_eq!((late, refused), (0, 0), "{disk:?}: late, and refused after the load");
        assert!(decided >= at_least, "{disk:?}: {decided} decided");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_decides_what_it_can_and_the_rest_is_refused_at_once() {
    let house = house();
    house.journal.slow_down(SLOW);
    let given = load(&house, "wave", 1_000, 15, 500).await;
    let decided = decided(&given);
    eprintln!("{decided} of 3,000 possible decisions; median {:?}", median(&given));
    assert!(decided >= 2_700, "{decided} of 3,000 possible decisions");
    assert!(median(&given) < Duration::from_millis(10), "median {:?}", median(&given));
    let late = given.iter().filter(|given| given.took > WITHIN).count();
    assert_eq!(late, 0, "late answers");
    // The load ends, and the disk stays slow.
    let calm = load(&house, "calm", 50, 10, 500).await;
    let refused: Vec<_> = calm.iter().filter(|given| given.source != Source::Policy).collect();
    let latest = refused.iter().map(|given| given.asked).max();
    assert!(
        latest.is_none_or(|latest| latest < Duration::from_secs(1)),
        "refused after the load: {refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_refused_for_at_once_and_trusted_again_at_once() {
    let house = house();
    load(&house, "before", 100, 1, 50).await;
    let gate = house.journal.hold_next();
    let hanging = load(&house, "hanging", 100, 20, 50).await;
    // What came before it was clear that the disk hangs waits for its whole time; nothing is decided.
    let waited = hanging.iter().filter(|given| given.took > Duration::from_millis(10)).count();
    assert!(waited < 150, "{waited} of 2,000 waited");
    assert_eq!(hanging.iter().filter(|given| given.took > WITHIN).count(), 0, "late answers");
    assert_eq!(decided(&hanging), 0);
    gate.open();
    let after = load(&house, "after", 100, 2, 50).await;
    assert!(decided(&after) >= 195, "{} of 200 after the hang", decided(&after));
}

#[tokio::test(start_paused = true)]
async fn what_came_too_late_is_undone_without_the_journal() {
    let house = House::new(roomy(), &[("all_time", 1_000)], Script::default());
    assert_eq!(house.ask("first", 300).await.outcome, Outcome::Approved);
    let loaded = ask_within(&house, "other", "loaded", 1, SECOND).await;
    assert_eq!(loaded.unwrap().outcome, Outcome::Approved);
    house.journal.fail_loads(usize::MAX);
    let gate = house.journal.hold_next();
    let other = ask_within(&house, "other", "other", 1, SECOND);
    gate.arrived().await;
    // The first is submitted and waits behind the other card's; the next two wait for it.
    let late = [("late", 500), ("behind", 100)]
        .map(|(name, amount)| ask_within(&house, "one", name, amount, SECOND));
    let patient = ask_within(&house, "one", "patient", 600, 10 * SECOND);
    tokio::time::sleep(2 * SECOND).await;
    gate.open();
    assert_eq!(other.await.unwrap().reason, Reason::StandInDeadline);
    for late in late {
        assert_eq!(late.await.unwrap().source, Source::StandIn);
    }
    // It was declined behind 300 and 500, and is decided again behind 300 alone.
    assert_eq!(patient.await.unwrap().outcome, Outcome::Approved);
    assert_eq!(house.ask("last", 100).await.outcome, Outcome::Approved);
    house.journal.fail_loads(0);
    assert_eq!(house.used().await, 1_000);
    let entries = house.journal.load(&Account::from(&card("one")), Reach::Genesis).await.unwrap();
    let written =
        |name: &str| entries.iter().filter(|entry| entry.body.contains(&format!("evt_{name}\""))).count();
    assert_eq!((written("late"), written("behind")), (1, 1), "only the stand-in's answers are written");
}

const SECOND: Duration = Duration::from_secs(1);

fn ask_within(house: &House, card: &str, name: &str, amount: i64, within: Duration) -> JoinHandle<Answer> {
    let (directory, request) = (house.directory.clone(), question(card, name, amount));
    tokio::spawn(async move { directory.ask(request, arrival(within)).await.answer })
}

/// Requests, facts and duplicates on a few cards while the disk is now fast, now slow, and hangs: what a card has in
/// memory is what its entries say, and what was approved fits the limit.
#[tokio::test(start_paused = true)]
async fn what_is_in_memory_is_what_is_in_the_journal_whatever_was_undone() {
    let mut by_policy = 0;
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let house = House::new(roomy(), &[("all_time", 20_000)], Script::default());
        let (mut asked, mut booked) = (Vec::new(), Vec::new());
        for number in 0..400 {
            if rng.u8(..20) == 0 {
                let (batch, append) = match rng.u8(..4) {
                    0 => (0, 0),
                    1 => (rng.u64(..50), rng.u64(..30)),
                    2 => (0, rng.u64(..200)),
                    _ => (rng.u64(..3_000), 0),
                };
                let [batch, append] = [batch, append].map(Duration::from_millis);
                house.journal.slow_down(Pace { batch, append });
            }
            let within = Duration::from_millis(rng.u64(50..1_500));
            let name = format!("{}", rng.usize(number / 2..=number));
            if rng.u8(..4) > 0 {
                asked.push(ask_within(&house, "one", &name, 100, within));
            } else {
                let (directory, fact) =
                    (house.directory.clone(), told("one", &name, 100, true, "webhook_approved"));
                booked.push(tokio::spawn(async move { directory.book(fact, arrival(within)).await }));
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(..20))).await;
        }
        for answer in asked {
            by_policy += usize::from(answer.await.unwrap().source == Source::Policy);
        }
        for booked in booked {
            let _ = booked.await.unwrap();
        }
        house.journal.slow_down(Pace::default());
        tokio::time::sleep(5 * SECOND).await;
        let used = house.used().await;
        assert_eq!(house.ask("probe", 1).await.source, Source::Policy, "seed {seed}");
        let probe = question("one", "probe", 0).authorization;
        let view = house.directory.authorization(&probe).await.unwrap().unwrap();
        let before = view.decisions[0].decided.decision.limits[0].before;
        assert_eq!(before, used, "seed {seed}: in memory and in the journal");
    }
    assert!(by_policy > 1_000, "only {by_policy} decisions");
}
