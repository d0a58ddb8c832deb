//! What an operator sees of single decisions while the node runs: the slowest, their stages, their traces, and more
//! lines in the log without a restart.

use serde_json::Value;

use crate::{
    client::{Client, post, request},
    deliveries::{SECRET, purchase, signature},
    process::{Node, Site},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Asks a question that belongs to a trace.
async fn ask(node: &Node, name: &str, amount: i64) {
    let body = purchase("ic_seen", &format!("iauth_{name}"), amount);
    let headers = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n{}", signature(SECRET, &body));
    let response = node.connect().await.exchange(post("/webhook", &headers, &body)).await;
    assert_eq!(response.status, 200);
}

/// Puts a filter of the log in force.
async fn put_filter(node: &Node, filter: &str) {
    let length = filter.len();
    let head = request("PUT", "/v1/log", &format!("content-length: {length}\r\n"));
    let response =
        Client::connect(node.admin).await.exchange([head, filter.as_bytes().to_vec()].concat()).await;
    assert_eq!(response.json()["filter"].as_str(), Some(filter));
    assert_eq!(node.books("/v1/log").await["filter"].as_str(), Some(filter));
}

#[tokio::test]
async fn the_slowest_decisions_tell_where_their_time_went() {
    let site = Site::new(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000")]);
    let node = site.start().await;
    ask(&node, "approved", 900).await;
    ask(&node, "declined", 900).await;
    ask(&node, "declined", 900).await;
    let slow = node.books("/v1/slow").await;
    let slow = slow["slow"].as_array().unwrap();
    assert_eq!(slow.len(), 3, "{slow:?}");
    let taken = |one: &Value| one["taken_us"].as_u64().unwrap();
    assert!(slow.is_sorted_by(|one, next| taken(one) >= taken(next)), "{slow:?}");
    let approved = slow.iter().find(|one| one["authorization"] == "iauth_approved").unwrap();
    assert_eq!((&approved["outcome"], &approved["card"]), (&"approved".into(), &"ic_seen".into()));
    assert_eq!(approved["trace_id"], TRACE);
    let stages = approved["stage_us"].as_object().unwrap();
    let whole: u64 = stages.values().map(|stage| stage.as_u64().unwrap()).sum();
    assert!(stages.len() == 7 && stages["commit"].as_u64() > Some(0), "{stages:?}");
    assert!(whole <= taken(approved), "{approved}");
    let explained = node.authorization("iauth_approved").await;
    assert_eq!(explained["decisions"][0]["id"], approved["decision"]);
    node.stop().await;
}

#[tokio::test]
async fn the_log_says_more_when_it_is_told_to_and_stops_when_it_is_told_to() {
    let site = Site::new(&[]);
    let node = site.start().await;
    ask(&node, "before", 1).await;
    put_filter(&node, "info,tollgate::http=debug").await;
    ask(&node, "meanwhile", 1).await;
    put_filter(&node, "info").await;
    ask(&node, "after", 1).await;
    let log = node.stop().await;
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answered: Vec<Value> = lines.filter(|line| line["message"] == "answered").collect();
    assert_eq!(answered.len(), 1, "{answered:?}");
    let line = &answered[0];
    assert_eq!(line["authorization"], "iauth_meanwhile");
    assert_eq!(line["trace_id"], TRACE);
    for stage in ["verify", "parse", "route", "queue", "decide", "commit", "respond"] {
        assert!(line[format!("{stage}_us")].is_u64(), "{stage} is missing in {line}");
    }
}
