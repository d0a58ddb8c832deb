//! Everything has a limit: each setting that bounds something is enforced by the real binary, counted where it turns work
//! away, and shown as a capacity. How connections are held to time is shown in `http/connections.rs`.

use std::{collections::BTreeSet, process::Command, time::Duration};

use rusqlite::Connection;
use serde_json::Value;

use crate::{
    client::{Client, Response, post, request},
    deliveries::{Verdict, purchase, signature, signed},
    process::{Node, Site},
};

/// Every bound: the setting, a small value, and the series that shows it. Each has a test below.
const BOUNDS: [(&str, &str, &str); 10] = [
    ("TOLLGATE_CONNECTIONS_MAX", "3", "{bound=\"connections\"} 3"),
    ("TOLLGATE_HEADER_BYTES_MAX", "8KiB", "{bound=\"header_bytes\"} 8192"),
    ("TOLLGATE_BODY_BYTES_MAX", "16KiB", "{bound=\"body_bytes\"} 16384"),
    ("TOLLGATE_IN_FLIGHT_MAX", "1", "{bound=\"in_flight\"} 1"),
    ("TOLLGATE_CARD_QUEUE_MAX", "1", "{bound=\"card_queue\"} 1"),
    ("TOLLGATE_CARDS_RESIDENT_MAX", "4", "{bound=\"cards_resident\"} 4"),
    ("TOLLGATE_LOADS_MAX", "1", "{bound=\"loads\"} 1"),
    // Nothing is turned away by it.
    ("TOLLGATE_UNCONFIRMED_MAX", "2", ""),
    ("TOLLGATE_JOURNAL_BATCH_MAX", "2", "{bound=\"journal_batch\"} 2"),
    // What it keeps is tested with a database that loses entries.
    ("TOLLGATE_JOURNAL_RESTORE_BYTES_MAX", "64KiB", "{bound=\"journal_restore_bytes\"} 65536"),
];

/// A node with this bound alone set.
async fn bounded(name: &str) -> (Site, Node) {
    let (_, value, _) = BOUNDS.iter().find(|(known, _, _)| *known == name).unwrap();
    let settings = [
        (name, *value),
        ("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000000"),
        ("TOLLGATE_ANSWER_WITHIN", "1900ms"),
        ("TOLLGATE_UNCONFIRMED_AFTER", "1ms"),
        ("TOLLGATE_BODY_READ_TIMEOUT", "1m"),
    ];
    let site = Site::new(&settings);
    let node = site.start().await;
    (site, node)
}

async fn shed(node: &Node, cause: &str) -> f64 {
    node.metric(&format!("tollgate_requests_shed_total{{cause=\"{cause}\"}}")).await
}

/// Sends questions about cards at once, each over its own connection.
async fn ask_at_once(node: &Node, cards: &[String]) -> Vec<Verdict> {
    let mut clients: Vec<Client> = Vec::new();
    for (n, card) in cards.iter().enumerate() {
        let mut client = node.connect().await;
        client.send(signed(&purchase(card, &format!("iauth_{n}"), 100))).await;
        clients.push(client);
    }
    let mut verdicts = Vec::new();
    for client in &mut clients {
        verdicts.push(Verdict::of(&client.response().await));
    }
    verdicts
}

fn count(verdicts: &[Verdict], reason: &str) -> usize {
    verdicts.iter().filter(|verdict| verdict.reason == reason).count()
}

#[tokio::test]
async fn every_bound_is_a_setting_a_capacity_and_a_test() {
    let listed: Vec<Value> = {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tollgate")).args(["config", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let names = listed.iter().map(|setting| setting["name"].as_str().unwrap());
    let bounds: BTreeSet<&str> = names.filter(|name| name.ends_with("_MAX")).collect();
    assert_eq!(bounds, BOUNDS.iter().map(|(name, _, _)| *name).collect());

    let settings: Vec<(&str, &str)> = BOUNDS.iter().map(|(name, value, _)| (*name, *value)).collect();
    let site = Site::new(&settings);
    let node = site.start().await;
    let metrics = node.get("/metrics").await.body;
    for (name, _, capacity) in BOUNDS {
        let line = format!("tollgate_capacity{capacity}");
        assert!(metrics.contains(&line), "{name}: no {line} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_body_has_a_size() {
    let (_site, node) = bounded("TOLLGATE_BODY_BYTES_MAX").await;
    let padded = |bytes: usize| {
        let mut body = purchase("ic_b", "iauth_b", 100);
        body.resize(bytes, b' ');
        post("/webhook", &signature(crate::deliveries::SECRET, &body), &body)
    };
    assert_eq!(node.connect().await.send_long(&padded(16_384)).await.status, 200);
    let refused: Response = node.connect().await.send_long(&padded(16_385)).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "body_too_large"));
    let series = "tollgate_webhook_requests_total{event=\"unread\",result=\"too_large\"}";
    assert!((node.metric(series).await - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn headers_have_a_size() {
    let (_site, node) = bounded("TOLLGATE_HEADER_BYTES_MAX").await;
    let with = |bytes: usize| request("GET", "/webhook", &format!("x-padding: {}\r\n", "x".repeat(bytes)));
    assert_eq!(node.connect().await.exchange(with(8_000)).await.status, 405);
    assert_eq!(node.connect().await.send_long(&with(8_300)).await.status, 431);
    let cut = "tollgate_connections_cut_total{listener=\"webhook\",cause=\"protocol\"}";
    // The connection lingers until its client is done.
    node.until_metric(cut, |connections| connections > 0.5).await;
}

#[tokio::test]
async fn connections_have_a_number() {
    let (_site, node) = bounded("TOLLGATE_CONNECTIONS_MAX").await;
    let mut clients = Vec::new();
    for n in 0..3 {
        let mut client = node.connect().await;
        // In the middle of its request: nobody takes its place.
        let question = signed(&purchase("ic_n", &format!("iauth_n_{n}"), 100));
        client.send(&question[..question.len() - 1]).await;
        clients.push((client, question));
    }
    node.until_metric("tollgate_in_flight_requests", |requests| requests > 2.5).await;
    let refused = node.connect().await.response().await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "too_many_connections"));
    assert!((shed(&node, "connections").await - 1.0).abs() < 0.5);
    let mut clients: Vec<Client> = {
        let mut done = Vec::new();
        for (mut client, question) in clients {
            assert!(Verdict::of(&client.exchange(&question[question.len() - 1..]).await).approved);
            done.push(client);
        }
        done
    };
    // A place that is left is taken again.
    let mut gone = clients.pop().unwrap();
    gone.finish().await;
    assert_eq!(gone.end().await.unwrap(), 0);
    node.until_metric("tollgate_connections{listener=\"webhook\"}", |open| open < 2.5).await;
    assert_eq!(node.deliver(&purchase("ic_n", "iauth_n_3", 100)).await.status, 200);
}

/// File descriptors that the test leaves to the rest of its process.
const SPARE_FDS: u32 = 1_000;

/// Ten thousand, or what the limit on file descriptors leaves. The node is a process of its own: its memory is nobody
/// else's.
#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_leave_the_others_alone() {
    let site = Site::new(&[("TOLLGATE_CONNECTIONS_MAX", "10002")]);
    let node = site.start().await;
    let fds = node.metric("process_max_fds").await;
    let most = (1..=10_000).rev().find(|&count| f64::from(count + SPARE_FDS) <= fds).unwrap();
    let memory = async || node.metric("process_resident_memory_bytes").await;

    assert_eq!(node.deliver(&purchase("ic_i", "iauth_i_0", 100)).await.status, 200);
    let before = memory().await;
    let mut clients = Vec::new();
    for _ in 0..most {
        clients.push(node.connect().await);
    }
    node.until_metric("tollgate_connections{listener=\"webhook\"}", |open| open >= f64::from(most)).await;
    let unused = (memory().await - before) / f64::from(most);
    assert_eq!(node.deliver(&purchase("ic_i", "iauth_i_1", 100)).await.status, 200);

    for some in clients.chunks_mut(100) {
        for client in &mut *some {
            client.send(post("/webhook", "", b"{}")).await;
        }
        for client in some {
            assert_eq!(client.response().await.status, 400);
        }
    }
    let used = (memory().await - before) / f64::from(most);
    let last = clients.first_mut().unwrap().exchange(signed(&purchase("ic_i", "iauth_i_2", 100))).await;
    assert!(Verdict::of(&last).approved);
    println!("{most} connections: {unused:.0} bytes each when opened, {used:.0} after a request");
    assert!(unused < 8_192.0, "{unused} bytes for a connection that was never used");
    assert!(used < 20_480.0, "{used} bytes for an idle connection");
}

#[tokio::test]
async fn requests_in_flight_have_a_number() {
    let (site, node) = bounded("TOLLGATE_IN_FLIGHT_MAX").await;
    let before = node.deliver(&purchase("ic_f", "iauth_before", 100)).await;
    assert!(Verdict::of(&before).approved);
    // Somebody's lock keeps the first one inside.
    let shell = Connection::open(site.journal()).unwrap();
    shell.busy_timeout(Duration::from_secs(20)).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let verdicts = ask_at_once(&node, &vec!["ic_f".to_owned(); 20]).await;
    drop(shell);
    assert_eq!(count(&verdicts, "stand_in_overload") + count(&verdicts, "stand_in_journal"), 20);
    let refused = u32::try_from(count(&verdicts, "stand_in_overload")).unwrap();
    assert!(refused > 0 && (shed(&node, "in_flight").await - f64::from(refused)).abs() < 0.5);
}

#[tokio::test]
async fn cards_in_memory_have_a_number() {
    let (_site, node) = bounded("TOLLGATE_CARDS_RESIDENT_MAX").await;
    for n in 0..40 {
        let verdict =
            Verdict::of(&node.deliver(&purchase(&format!("ic_{n}"), &format!("iauth_first_{n}"), 100)).await);
        assert!(verdict.approved, "card {n} found no room: {}", verdict.reason);
        // The number itself, and the tenth that is let in between two sweeps.
        assert!(node.metric("tollgate_cards_resident").await < 5.5);
    }
    assert!(node.metric("tollgate_card_passivations_total{cause=\"pressure\"}").await > 34.5);
    assert!(shed(&node, "cards_resident").await < 0.5);
    // Those that had to leave come back with their books.
    for n in 0..20 {
        let verdict =
            Verdict::of(&node.deliver(&purchase(&format!("ic_{n}"), &format!("iauth_again_{n}"), 100)).await);
        assert!(verdict.approved, "card {n}, again: {}", verdict.reason);
        assert_eq!(node.card(&format!("ic_{n}")).await["limits"][0]["used"], 200, "card {n}");
    }
}

/// How many are loaded at a time cannot be seen from outside; that a bound of one starves nobody can.
#[tokio::test]
async fn cards_that_wait_to_be_loaded_are_all_served() {
    let (_site, node) = bounded("TOLLGATE_LOADS_MAX").await;
    let cards: Vec<String> = (0..60).map(|n| format!("ic_{n}")).collect();
    assert_eq!(count(&ask_at_once(&node, &cards).await, "approved"), 60);
}

#[tokio::test]
async fn a_commit_has_a_number_of_entries() {
    let (_site, node) = bounded("TOLLGATE_JOURNAL_BATCH_MAX").await;
    let cards: Vec<String> = (0..60).map(|n| format!("ic_{n}")).collect();
    assert_eq!(count(&ask_at_once(&node, &cards).await, "approved"), 60);
    let all = node.metric("tollgate_journal_batch_entries_count").await;
    let small = node.metric("tollgate_journal_batch_entries_bucket{le=\"2\"}").await;
    assert!(all >= 30.0 && (all - small).abs() < 0.5, "{small} of {all} commits were small enough");
}

#[tokio::test]
async fn unconfirmed_answers_have_a_number() {
    let (_site, node) = bounded("TOLLGATE_UNCONFIRMED_MAX").await;
    for n in 0..5 {
        node.deliver(&purchase("ic_u", &format!("iauth_{n}"), 100)).await;
    }
    let listed = |answer: &Value| answer["unconfirmed"].as_array().map_or(0, Vec::len);
    let answer = node.eventually("/v1/unconfirmed", |answer| listed(answer) >= 2).await;
    assert_eq!(listed(&answer), 2, "{answer}");
}
