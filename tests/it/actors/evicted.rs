//! What leaves memory changes no sum: one card whose records are evicted after every step, and another that keeps them all,
//! hold the same after every step, whatever is spoken of again.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use tokio::task::JoinSet;
use tollgate::{
    actors::Settings,
    domain::{
        Account, AuthorizationRequest, AuthorizationSeen, AuthorizationStatus, Currency, EventId, Fact,
        ListedTransaction, Money, Observation, Outcome, Timestamp, TransactionId, TransactionKind,
        TransactionSeen,
    },
    journal::{Journal, Reach, Script},
};

use super::{House, SOON, roomy};
use crate::questions::{arrival, card, question, told};

use AuthorizationStatus::{Closed, Expired, Pending, Reversed};
use TransactionKind::{Capture, Refund};

/// Two houses that are told the same.
struct Pair {
    keeps: House,
    evicts: House,
    /// When Stripe created everything.
    started: Timestamp,
    now: Timestamp,
    events: usize,
}

/// A capture or refund as its own event tells it.
#[derive(Clone, Debug)]
struct Settled {
    id: &'static str,
    is_update: bool,
    kind: TransactionKind,
    amount: i64,
    place: Option<&'static str>,
}

impl Pair {
    fn new() -> Self {
        let limits = [("all_time", 1_000_000), ("yearly", 1_000_000), ("monthly", 1_000_000)];
        let at_once = Settings { card_idle_after: Duration::from_millis(1), ..roomy() };
        let started = Timestamp::parse("2026-01-04T09:00:00Z").unwrap();
        Self {
            started,
            now: started,
            keeps: House::new(roomy(), &limits, Script::default()),
            evicts: House::new(at_once, &limits, Script::default()),
            events: 0,
        }
    }

    /// The time of the next step, by when everything that has settled before is evicted.
    fn step(&mut self) -> EventId {
        self.now = self.now.plus(Duration::from_hours(50));
        self.events += 1;
        EventId::new(&format!("evt_{:04}", self.events)).unwrap()
    }

    fn observation(&mut self, fact: Fact) -> Observation {
        let event = self.step();
        let created = Timestamp::from_seconds(self.now.as_seconds());
        Observation { event, created, received_at: self.now, fact, ..told("one", "a", 0, true, "") }
    }

    async fn asks(&mut self, name: &str, amount: i64, history: u32, before: i64) -> Outcome {
        let event = self.step();
        let request = AuthorizationRequest {
            event,
            history_entries: history,
            approved_before: before,
            received_at: self.now,
            created: self.started,
            ..question("one", name, amount)
        };
        let answers = (self.keeps.asks(request.clone()).await, self.evicts.asks(request).await);
        assert_eq!(answers.0, answers.1);
        self.agree("a request").await;
        answers.0.outcome
    }

    async fn books(&mut self, observation: Observation, what: &str) {
        self.keeps.books(observation.clone()).await;
        self.evicts.books(observation).await;
        self.agree(what).await;
    }

    async fn settles(&mut self, settled: &Settled) -> Observation {
        let what = format!("{settled:?}");
        let observation = self.observation(Fact::Transaction(Box::new(TransactionSeen {
            id: transaction(settled.id),
            is_update: settled.is_update,
            created: self.started,
            kind: settled.kind,
            amount: settled.amount,
            currency: Some(Currency::USD),
            authorization: settled.place.map(|place| question("one", place, 0).authorization),
            merchant: question("one", "a", 0).merchant,
        })));
        self.books(observation.clone(), &what).await;
        observation
    }

    async fn sees(&mut self, name: &str, status: AuthorizationStatus, amount: i64, listed: &[(&str, i64)]) {
        let created = self.started;
        let listed = listed.iter().map(|(id, amount)| ListedTransaction {
            id: transaction(id),
            kind: if *amount < 0 { Capture } else { Refund },
            amount: *amount,
            created,
        });
        let asked = question("one", name, 0);
        let fact = Fact::Authorization(Box::new(AuthorizationSeen {
            holder: None,
            differs: false,
            id: asked.authorization,
            is_update: true,
            created: self.started,
            amount: Money::new(amount, Currency::USD),
            amount_before: None,
            approved: true,
            status,
            history: Vec::new(),
            transactions: 0,
            listed: listed.collect(),
            merchant: asked.merchant,
        }));
        let observation = self.observation(fact);
        self.books(observation, &format!("{name} is {status}")).await;
    }

    /// Both say the same, and what one has settled leaves its memory.
    async fn agree(&self, after: &str) {
        let mut told = Vec::new();
        for house in [&self.keeps, &self.evicts] {
            let view = house.directory.card(&card("one"), self.now).await.unwrap().unwrap();
            let used: Vec<i64> = view.limits.iter().map(|limit| limit.used).collect();
            told.push((used, view.held, view.totals));
        }
        assert_eq!(told[0], told[1], "step {}, {after}: kept, evicted", self.events);
        while self.evicts.directory.resident() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn transaction(name: &str) -> TransactionId {
    TransactionId::new(&format!("ipi_{name}")).unwrap()
}

/// More captures without an authorization than are kept, all later than `now`.
async fn loose_captures(pair: &mut Pair) {
    let mut booked = JoinSet::new();
    for number in 0..1_100 {
        let event = EventId::new(&format!("evt_loose_{number}")).unwrap();
        let fact = Fact::Transaction(Box::new(TransactionSeen {
            id: transaction(&format!("loose_{number}")),
            is_update: false,
            created: pair.now.plus(Duration::from_secs(5)),
            kind: Capture,
            amount: -1,
            currency: Some(Currency::USD),
            authorization: None,
            merchant: question("one", "a", 0).merchant,
        }));
        let observation = Observation { event, ..pair.observation(fact) };
        pair.now = observation.created.minus(Duration::from_hours(50)).plus(Duration::from_secs(10));
        for directory in [pair.keeps.directory.clone(), pair.evicts.directory.clone()] {
            let observation = observation.clone();
            booked.spawn(async move { directory.book(observation, arrival(SOON)).await.unwrap() });
        }
    }
    booked.join_all().await;
}

#[tokio::test]
async fn an_evicted_capture_without_an_authorization_is_counted_once() {
    let mut pair = Pair::new();
    let first = Settled { id: "first", is_update: false, kind: Capture, amount: -500, place: None };
    let delivered = pair.settles(&first).await;
    loose_captures(&mut pair).await;
    pair.agree("many captures").await;
    let used = pair.evicts.used().await;
    assert_eq!(used, 1_600);
    let entries = pair.evicts.journal.load(&Account::from(&card("one")), Reach::Snapshot).await.unwrap();
    assert!(!entries[0].body.contains("ipi_first"), "it was evicted");
    pair.books(delivered.clone(), "delivered again").await;
    assert_eq!(pair.evicts.used().await, 1_600);
    // A correction changes the sum by the difference, and one that names an authorization moves it.
    pair.settles(&Settled { is_update: true, amount: -700, ..first.clone() }).await;
    assert_eq!(pair.evicts.used().await, 1_800);
    pair.settles(&Settled { is_update: true, amount: -600, place: Some("a"), ..first }).await;
    pair.books(delivered, "delivered a third time").await;
    assert_eq!(pair.evicts.used().await, 1_700);
}

#[tokio::test]
async fn a_capture_of_an_evicted_authorization_is_moved_and_not_doubled() {
    for is_listed in [false, true] {
        let mut pair = Pair::new();
        assert_eq!(pair.asks("a", 900, 0, 0).await, Outcome::Approved);
        let first = Settled { id: "1", is_update: false, kind: Capture, amount: -900, place: Some("a") };
        if is_listed {
            pair.sees("a", Closed, 900, &[("1", -900)]).await;
        } else {
            pair.settles(&first).await;
        }
        // A correction names no authorization, another one's, and the first again.
        for (place, amount) in [(None, -800), (Some("b"), -700), (Some("a"), -600), (Some("b"), -500)] {
            pair.settles(&Settled { is_update: true, amount, place, ..first.clone() }).await;
            pair.settles(&first).await;
            pair.sees("a", Closed, 900, &[("1", -900)]).await;
        }
        assert_eq!(pair.evicts.used().await, 500, "{is_listed}");
        assert_eq!(pair.asks("b", 300, 1, 0).await, Outcome::Approved);
    }
}

#[tokio::test]
async fn a_refund_that_names_another_cards_authorization_brings_no_hold_of_that_card() {
    let mut pair = Pair::new();
    let theirs = AuthorizationRequest {
        received_at: pair.now,
        created: pair.started,
        ..question("two", "theirs", 700)
    };
    for house in [&pair.keeps, &pair.evicts] {
        assert_eq!(house.asks(theirs.clone()).await.outcome, Outcome::Approved);
    }
    // Something has settled here, and leaves memory.
    pair.asks("a", 100, 0, 0).await;
    pair.sees("a", Closed, 100, &[("1", -100)]).await;
    pair.asks("b", 100, 0, 0).await;
    let refund = Settled { id: "r", is_update: false, kind: Refund, amount: 300, place: Some("theirs") };
    let delivered = pair.settles(&refund).await;
    pair.asks("c", 100, 0, 0).await;
    pair.books(delivered, "the refund again").await;
    pair.settles(&Settled { is_update: true, amount: 200, ..refund }).await;
    let view = pair.evicts.directory.card(&card("one"), pair.now).await.unwrap().unwrap();
    assert_eq!((view.limits[0].used, view.held), (300, 200));
    let theirs = pair.evicts.directory.card(&card("two"), pair.now).await.unwrap().unwrap();
    assert_eq!((theirs.limits[0].used, theirs.held, theirs.totals.refunded), (700, 700, 0));
}

#[tokio::test]
async fn random_events_about_what_was_evicted_change_no_sum() {
    for seed in 0..8 {
        let mut random = Rng::with_seed(seed);
        let mut pair = Pair::new();
        let (names, ids) = (["a", "b", "c"], ["1", "2", "3", "4"]);
        let first_places =
            BTreeMap::from([("1", Some("a")), ("2", Some("b")), ("3", None), ("4", Some("a"))]);
        let mut delivered: Vec<Observation> = Vec::new();
        for _ in 0..40 {
            let (name, id) = (names[random.usize(..3)], ids[random.usize(..4)]);
            let amount = random.i64(1..900);
            match random.u8(..8) {
                0 => drop(pair.asks(name, amount, random.u32(..3), random.i64(0..2) * 300).await),
                1 => {
                    let status = [Closed, Reversed, Expired, Pending][random.usize(..4)];
                    let mut listed = Vec::new();
                    for id in ids {
                        if random.u8(..3) == 0 {
                            listed.push((id, random.i64(-900..400)));
                        }
                    }
                    pair.sees(name, status, amount, &listed).await;
                }
                2 if !delivered.is_empty() => {
                    let again = delivered[random.usize(..delivered.len())].clone();
                    pair.books(again, "delivered again").await;
                }
                _ => {
                    let is_refund = random.u8(..4) == 0;
                    let (kind, amount) = if is_refund { (Refund, amount) } else { (Capture, -amount) };
                    let is_update = random.bool();
                    // Only a correction names another authorization than the first event did.
                    let moved = names.into_iter().filter(|_| random.bool()).last();
                    let place = if is_update { moved } else { first_places[id] };
                    let settled = Settled { id, is_update, kind, amount, place };
                    delivered.push(pair.settles(&settled).await);
                }
            }
        }
        assert!(pair.evicts.snapshots().await > 10, "it has left memory again and again");
    }
}
