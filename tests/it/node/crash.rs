//! `kill -9` of the real binary under load, again and again on one journal: what was acknowledged is there, and no card
//! is over its limit.
//!
//! `CRASH_ROUNDS` makes it longer, `CRASH_SEED` repeats the questions and the moments of a run.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    client::{Client, Response},
    deliveries::{Verdict, capture, purchase, signed},
    process::{Node, Site, setting, within},
};

const CARDS: usize = 12;
const CONNECTIONS: usize = 6;
const LIMIT: i64 = 20_000;

#[tokio::test]
async fn whatever_was_acknowledged_outlives_every_crash() {
    check_rounds(&site()).await;
}

/// Cards leave memory all the time, so that crashes meet snapshots and loads too.
pub(super) fn site() -> Site {
    Site::new(&[
        ("TOLLGATE_CARD_LIMIT_ALL_TIME", &LIMIT.to_string()),
        ("TOLLGATE_CARD_IDLE_AFTER", "20ms"),
        ("TOLLGATE_ANSWER_WITHIN", "1900ms"),
    ])
}

/// Crash after crash, on the journal of this site.
pub(super) async fn check_rounds(site: &Site) {
    let (rounds, seed) = (setting("CRASH_ROUNDS", 4), setting("CRASH_SEED", 20_261_122));
    println!("CRASH_ROUNDS={rounds} CRASH_SEED={seed}");
    let ledger = Arc::new(Ledger::default());
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..rounds {
        let node = site.start().await;
        check(&node, &ledger, &mut random).await;
        let acknowledged = ledger.acknowledged.load(Ordering::SeqCst);
        ledger.kill_at.store(acknowledged + random.usize(1..250), Ordering::SeqCst);
        let mut connections = JoinSet::new();
        for n in 0..CONNECTIONS {
            let random = random.fork();
            let shopper = Shopper { name: format!("{round}_{n}"), random, ledger: Arc::clone(&ledger) };
            connections.spawn(shopper.shop(node.connect().await));
        }
        within("enough is acknowledged", ledger.enough.notified()).await;
        node.kill().await;
        while let Some(ended) = connections.join_next().await {
            ended.unwrap();
        }
    }
    let node = site.start().await;
    check(&node, &ledger, &mut random).await;
    let questions = ledger.questions.lock().unwrap();
    let told = |reason: &str| questions.values().filter(|one| one.verdict.reason == reason).count();
    assert!(told("approved") > 20, "{} approvals", told("approved"));
    println!("{} approved, {} declined", told("approved"), told("spending_limit"));
}

/// What the outside world knows.
#[derive(Default)]
struct Ledger {
    /// Answered questions, by authorization.
    questions: Mutex<BTreeMap<String, Question>>,
    /// Captures that were received, by authorization.
    captured: Mutex<BTreeMap<String, i64>>,
    /// Deliveries that were never answered.
    unanswered: Mutex<Vec<Sent>>,
    acknowledged: AtomicUsize,
    kill_at: AtomicUsize,
    enough: Notify,
}

#[derive(Clone)]
struct Question {
    card: String,
    amount: i64,
    body: Vec<u8>,
    verdict: Verdict,
    /// The body of the reply.
    reply: String,
}

/// A delivery on its way.
#[derive(Clone)]
enum Sent {
    Purchase { card: String, authorization: String, amount: i64 },
    Capture { card: String, authorization: String, amount: i64 },
}

impl Sent {
    fn body(&self) -> Vec<u8> {
        match self {
            Self::Purchase { card, authorization, amount } => purchase(card, authorization, *amount),
            Self::Capture { card, authorization, amount } => capture(card, authorization, *amount),
        }
    }
}

impl Ledger {
    /// Notes what a reply acknowledges. What was acknowledged before must be acknowledged in the same words.
    fn note(&self, sent: &Sent, response: &Response) {
        match sent {
            Sent::Purchase { card, authorization, amount } => {
                let verdict = Verdict::of(response);
                let (card, body, reply) = (card.clone(), sent.body(), response.body.clone());
                let question = Question { card, amount: *amount, body, verdict, reply };
                let before = self.questions.lock().unwrap().insert(authorization.clone(), question);
                if let Some(before) = before {
                    assert_eq!(before.reply, response.body, "{authorization}");
                }
            }
            Sent::Capture { authorization, amount, .. } => {
                assert_eq!((response.status, response.body.as_str()), (200, r#"{"received":true}"#));
                self.captured.lock().unwrap().insert(authorization.clone(), *amount);
            }
        }
        if self.acknowledged.fetch_add(1, Ordering::SeqCst) + 1 >= self.kill_at.load(Ordering::SeqCst) {
            self.enough.notify_one();
        }
    }
}

/// One connection's stream of deliveries.
struct Shopper {
    name: String,
    random: fastrand::Rng,
    ledger: Arc<Ledger>,
}

impl Shopper {
    /// Buys, asks again, and has things captured, until the node is gone.
    async fn shop(mut self, mut client: Client) {
        let mut mine: Vec<Sent> = Vec::new();
        for n in 0.. {
            let sent = self.next(n, &mut mine);
            match client.try_exchange(&signed(&sent.body())).await {
                Ok(response) => self.ledger.note(&sent, &response),
                Err(error) => {
                    assert_ne!(error.kind(), io::ErrorKind::TimedOut);
                    return self.ledger.unanswered.lock().unwrap().push(sent);
                }
            }
        }
    }

    fn next(&mut self, n: usize, mine: &mut Vec<Sent>) -> Sent {
        let earlier = self.random.choice(mine.iter()).cloned();
        match (self.random.u8(..10), earlier) {
            (0, Some(again)) => again,
            (1 | 2, Some(Sent::Purchase { card, authorization, .. })) => {
                let questions = self.ledger.questions.lock().unwrap();
                let question = &questions[&authorization];
                let amount = question.amount;
                if question.verdict.approved {
                    Sent::Capture { card, authorization, amount }
                } else {
                    Sent::Purchase { card, authorization, amount }
                }
            }
            _ => {
                let card = format!("ic_crash_{}", self.random.usize(..CARDS));
                let authorization = format!("iauth_{}_{n}", self.name);
                mine.push(Sent::Purchase { card, authorization, amount: self.random.i64(100..900) });
                mine[mine.len() - 1].clone()
            }
        }
    }
}

/// Holds the books against what the outside world knows.
async fn check(node: &Node, ledger: &Ledger, random: &mut fastrand::Rng) {
    let questions = ledger.questions.lock().unwrap().clone();
    let captured = ledger.captured.lock().unwrap().clone();
    for (authorization, question) in &questions {
        let book = node.authorization(authorization).await;
        let decisions = book["decisions"].as_array().unwrap();
        assert_eq!(decisions.len(), 1, "{authorization} was asked about once: {book}");
        let approved = decisions[0]["outcome"] == "approved";
        assert_eq!(decisions[0]["id"], *question.verdict.decision, "{authorization}");
        assert_eq!(decisions[0]["reason"], *question.verdict.reason, "{authorization}");
        assert_eq!(approved, question.verdict.approved, "{authorization}");
        let money = ["held", "captured", "overrun"].map(|key| book[key].as_i64().unwrap());
        let expected = match (captured.get(authorization), approved) {
            (Some(amount), _) => [[0, *amount, 0]; 2],
            // A capture may be booked and its acknowledgement lost.
            (None, true) => [[question.amount, 0, 0], [0, question.amount, 0]],
            (None, false) => [[0, 0, 0]; 2],
        };
        assert!(expected.contains(&money), "{authorization}: {money:?}, not {expected:?}");
        if random.u8(..4) == 0 {
            let again = node.deliver(&question.body).await;
            assert_eq!(again.body, question.reply, "{authorization}");
        }
    }
    for card in 0..CARDS {
        check_card(node, &format!("ic_crash_{card}"), &questions).await;
    }
    // Whatever was on its way may be asked again, and is decided once.
    let unanswered = std::mem::take(&mut *ledger.unanswered.lock().unwrap());
    for sent in unanswered {
        let body = signed(&sent.body());
        let response = node.connect().await.try_exchange(&body).await.expect("the node answers");
        ledger.note(&sent, &response);
    }
}

async fn check_card(node: &Node, card: &str, questions: &BTreeMap<String, Question>) {
    let of_card = questions.values().filter(|question| question.card == card);
    let approved: i64 = of_card.filter(|one| one.verdict.approved).map(|one| one.amount).sum();
    assert!(approved <= LIMIT, "{card}: {approved} were approved");
    let response = node.get(&format!("/v1/cards/{card}")).await;
    if response.status == 404 {
        return assert_eq!(approved, 0, "{card} is forgotten");
    }
    let book: Value = response.json();
    let used = book["limits"][0]["used"].as_i64().unwrap();
    assert!((approved..=LIMIT).contains(&used), "{card}: {used} used, {approved} acknowledged");
}
