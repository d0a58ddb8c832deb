//! SIGTERM under load: the node says that it leaves, answers all the same, and forgets nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use tokio::task::JoinSet;
use tollgate::clock;

use crate::{
    client::{Client, Response},
    deliveries::{Verdict, purchase, signed},
    process::{Node, Site, within},
};

const CONNECTIONS: usize = 8;
/// How long the node still takes requests, and how long the clients still send some: they have seen it leave, and the
/// last of them is on its way long before the door is shut.
const DRAIN_DELAY: Duration = Duration::from_millis(1_500);
const CLIENTS_LEAVE_AFTER: Duration = Duration::from_millis(300);

#[tokio::test]
async fn nobody_is_turned_away_before_the_door_is_shut_and_nothing_is_lost() {
    let site = Site::new(&[
        ("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000000"),
        ("TOLLGATE_DRAIN_DELAY", &format!("{}ms", DRAIN_DELAY.as_millis())),
        ("TOLLGATE_DRAIN_TIMEOUT", "30s"),
        ("TOLLGATE_ANSWER_WITHIN", "1900ms"),
        ("TOLLGATE_BODY_READ_TIMEOUT", "30s"),
    ]);
    let node = site.start().await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for n in 0..CONNECTIONS {
        clients.spawn(shop(node.webhook, n, Arc::clone(&stop), Arc::clone(&answered)));
    }
    within("there is traffic", async {
        while answered.load(Ordering::SeqCst) < 50 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(node.get("/readyz").await.status, 200);
    node.process.signal(Signal::TERM);
    let leaving = clock::instant();
    within("it says that it leaves", async { while node.get("/readyz").await.status != 503 {} }).await;
    let before = answered.load(Ordering::SeqCst);
    // The signal is seen by the clients too: replies are the last of their connections.
    let late = node.deliver(&purchase("ic_late", "iauth_late", 100)).await;
    assert_eq!((Verdict::of(&late).approved, late.header("connection")), (true, Some("close")));
    while leaving.elapsed() < CLIENTS_LEAVE_AFTER {
        assert_eq!(node.get("/readyz").await.json()["status"], "draining");
    }
    let (mut half_sent, rest) = half_a_question(&node).await;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = BTreeMap::new();
    while let Some(ended) = clients.join_next().await {
        acknowledged.extend(ended.unwrap());
    }
    assert!(answered.load(Ordering::SeqCst) > before, "it answered nothing after it said that it leaves");

    let address = node.webhook;
    within("the door is shut", async { while Client::try_connect(address).await.is_ok() {} }).await;
    // What was in flight when the door was shut is still answered.
    let response = half_sent.exchange(rest).await;
    let verdict = Verdict::of(&response);
    half_sent.finish().await;
    let ending = node.process.ended().await;
    assert_eq!(ending.code, Some(0), "{}", ending.log);
    assert!(ending.log.contains("everything that was answered is in the journal"), "{}", ending.log);

    acknowledged.insert("iauth_half".to_owned(), verdict);
    acknowledged.insert("iauth_late".to_owned(), Verdict::of(&late));
    let node = site.start().await;
    for (authorization, verdict) in acknowledged {
        let book = node.authorization(&authorization).await;
        assert_eq!(book["decisions"][0]["id"], *verdict.decision, "{authorization}");
        assert_eq!(book["approved"], verdict.approved, "{authorization}");
    }
}

/// Asks one question after another, on one connection as long as the node keeps it, until told to stop. Every one has to
/// be answered.
async fn shop(
    address: std::net::SocketAddr,
    n: usize,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
) -> BTreeMap<String, Verdict> {
    let mut verdicts = BTreeMap::new();
    let mut client = Client::connect(address).await;
    for question in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let authorization = format!("iauth_{n}_{question}");
        let body = purchase(&format!("ic_drained_{}", question % 10), &authorization, 100);
        let response: Response =
            client.try_exchange(&signed(&body)).await.expect("every question is answered");
        verdicts.insert(authorization, Verdict::of(&response));
        answered.fetch_add(1, Ordering::SeqCst);
        if response.header("connection") == Some("close") {
            client = Client::connect(address).await;
        }
    }
    verdicts
}

/// A question whose headers the node has read, and the body that it waits for.
async fn half_a_question(node: &Node) -> (Client, Vec<u8>) {
    let body = purchase("ic_half", "iauth_half", 100);
    let head = String::from_utf8(signed(&body)[..signed(&body).len() - body.len()].to_vec()).unwrap();
    let head = head.replacen("\r\n", "\r\nexpect: 100-continue\r\n", 1);
    let mut client = node.connect().await;
    assert_eq!(client.exchange(head).await.status, 100);
    (client, body)
}

#[tokio::test]
async fn a_terminal_ends_it_as_the_system_does() {
    let site = Site::new(&[]);
    let node = site.start().await;
    assert!(Verdict::of(&node.deliver(&purchase("ic_c", "iauth_c", 100)).await).approved);
    node.process.signal(Signal::INT);
    assert_eq!(node.process.ended().await.code, Some(0));
    assert_eq!(site.start().await.authorization("iauth_c").await["approved"], true);
}
