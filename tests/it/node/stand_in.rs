//! The stand-in: what is answered for which cause, and that what it approved is in the books.
//!
//! The journal is made to hang and to refuse by somebody else's lock on its file.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use tollgate::clock;

use crate::{
    client::Client,
    deliveries::{Verdict, purchase, signed},
    process::{Node, Site},
};

/// Holds the journal's write lock, as a person with a shell may.
struct Lock(Connection);

impl Lock {
    fn take(site: &Site) -> Self {
        let shell = Connection::open(site.journal()).unwrap();
        shell.busy_timeout(Duration::from_secs(20)).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(shell)
    }

    fn release(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

const LIMIT: i64 = 1_000;
const RULES: &str = "overload=approve:700x100,deadline=decline,journal=approve:600x10";

/// Waits for a journal that refuses, or for no longer than what the journal itself waits.
const PATIENT: &str = "1900ms";
const IMPATIENT: &str = "60ms";

async fn start(answer_within: &str) -> (Site, Node) {
    let mut site = Site::new(&[
        ("TOLLGATE_CARD_LIMIT_ALL_TIME", &LIMIT.to_string()),
        ("TOLLGATE_STAND_IN", RULES),
        ("TOLLGATE_ANSWER_WITHIN", PATIENT),
    ]);
    let node = site.start().await;
    assert!(ask(&node, "ic_c", "iauth_before", 100).await.approved);
    node.stop().await;
    site.set("TOLLGATE_ANSWER_WITHIN", answer_within);
    let node = site.start().await;
    (site, node)
}

async fn ask(node: &Node, card: &str, authorization: &str, amount: i64) -> Verdict {
    Verdict::of(&node.deliver(&purchase(card, authorization, amount)).await)
}

fn told(verdict: &Verdict) -> (bool, &str) {
    (verdict.approved, &verdict.reason)
}

#[tokio::test]
async fn a_journal_that_refuses_is_stood_in_for_by_its_own_rule_and_the_books_catch_up() {
    let (site, node) = start(PATIENT).await;
    let lock = Lock::take(&site);
    // Amounts up to the rule's, and no more; nor what was declined in memory, by the limit.
    for (authorization, amount, expected) in
        [("iauth_1", 600, true), ("iauth_2", 300, true), ("iauth_3", 601, false), ("iauth_5", 200, false)]
    {
        let verdict = ask(&node, "ic_c", authorization, amount).await;
        assert_eq!(told(&verdict), (expected, "stand_in_journal"), "{authorization}");
    }
    lock.release();
    check_booked(&node, "iauth_1", 600).await;
    check_booked(&node, "iauth_2", 300).await;
    let card = node.eventually("/v1/cards/ic_c", |card| card["limits"][0]["used"] == 1_000).await;
    assert_eq!(card["limits"][0]["remaining"], 0);
    assert_eq!(told(&ask(&node, "ic_c", "iauth_4", 1).await), (false, "spending_limit"));
    // The same question, the same answer, by the books now.
    assert_eq!(told(&ask(&node, "ic_c", "iauth_1", 600).await), (true, "stand_in_journal"));
    node.stop().await;
    let node = site.start().await;
    check_booked(&node, "iauth_2", 300).await;
}

/// The stand-in's approval is held, told by its source, and marked as an overrun.
async fn check_booked(node: &Node, authorization: &str, held: i64) {
    let path = format!("/v1/authorizations/{authorization}");
    let is_stood_in = |book: &Value| book["decisions"][0]["source"] == "stand_in";
    let book = node.eventually(&path, is_stood_in).await;
    let decision = &book["decisions"][0];
    assert_eq!((&book["approved"], &book["status"]), (&true.into(), &"pending".into()), "{book}");
    assert_eq!((book["held"].as_i64(), decision["amount"].as_i64()), (Some(held), Some(held)));
    assert_eq!(book["overrun"], held, "what the limits did not pass is marked: {book}");
    assert!(decision["explanation"].as_str().unwrap().contains("without the ledger"), "{decision}");
    assert_eq!(book["decisions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_journal_that_hangs_is_not_waited_for_and_its_late_decision_is_voided() {
    let (mut site, node) = start(IMPATIENT).await;
    let lock = Lock::take(&site);
    let began = clock::instant();
    let verdict = ask(&node, "ic_c", "iauth_late", 200).await;
    assert_eq!(told(&verdict), (false, "stand_in_deadline"));
    assert!(began.elapsed() < Duration::from_secs(2));
    lock.release();
    let path = "/v1/authorizations/iauth_late";
    let book = node.eventually(path, |book| book["decisions"][0]["source"] == "stand_in").await;
    assert_eq!((&book["approved"], &book["held"]), (&false.into(), &0.into()), "{book}");
    assert_eq!(told(&ask(&node, "ic_c", "iauth_late", 200).await), (false, "stand_in_deadline"), "again");
    let card = node.card("ic_c").await;
    assert_eq!(card["limits"][0]["used"], 100, "the late decision holds nothing");
    // That deadline is short for a busy machine, so that another run shows that all of the limit is free again.
    node.stop().await;
    site.set("TOLLGATE_ANSWER_WITHIN", PATIENT);
    let node = site.start().await;
    assert_eq!(told(&ask(&node, "ic_c", "iauth_after", 900).await), (true, "approved"));
}

#[tokio::test]
async fn an_overload_is_stood_in_for_by_its_own_rule_and_every_approval_is_booked() {
    let (mut site, node) = start(PATIENT).await;
    node.stop().await;
    site.set("TOLLGATE_IN_FLIGHT_MAX", "1");
    let node = site.start().await;
    // As many at once, of which one is inside at a time.
    let mut clients: Vec<Client> = Vec::new();
    for n in 0..60 {
        let mut client = node.connect().await;
        client.send(signed(&purchase("ic_wanted", &format!("iauth_{n}"), 700))).await;
        clients.push(client);
    }
    let mut stood_in = Vec::new();
    for (n, client) in clients.iter_mut().enumerate() {
        let verdict = Verdict::of(&client.response().await);
        match told(&verdict) {
            (true, "stand_in_overload") => stood_in.push(format!("iauth_{n}")),
            (_, "approved" | "spending_limit") => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(!stood_in.is_empty(), "nothing was stood in for");
    for authorization in stood_in {
        let path = format!("/v1/authorizations/{authorization}");
        let book = node.eventually(&path, |book| book["held"] == 700).await;
        assert_eq!((&book["approved"], &book["decisions"][0]["source"]), (&true.into(), &"stand_in".into()));
    }
}

#[tokio::test]
async fn what_the_stand_in_answered_is_booked_before_the_node_ends() {
    let (site, node) = start(PATIENT).await;
    let lock = Lock::take(&site);
    for n in 0..5 {
        assert!(ask(&node, &format!("ic_{n}"), &format!("iauth_{n}"), 600).await.approved);
    }
    lock.release();
    // At once: the node has to see to it while it goes down.
    node.stop().await;
    let node = site.start().await;
    for n in 0..5 {
        check_booked(&node, &format!("iauth_{n}"), 600).await;
    }
}
