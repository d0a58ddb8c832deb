//! What an operator sees of single decisions while the node runs: the slowest, their stages, their traces, and more
//! lines in the log without a restart.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use crate::{
    client::{Client, post, request},
    deliveries::{SECRET, purchase, signature},
    process::{Node, Site, within},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Asks a question that belongs to a trace which is kept.
async fn ask(node: &Node, name: &str, amount: i64) {
    ask_traced(node, name, amount, "01").await;
}

async fn ask_traced(node: &Node, name: &str, amount: i64, flags: &str) {
    let body = purchase("ic_seen", &format!("iauth_{name}"), amount);
    let headers = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-{flags}\r\n{}", signature(SECRET, &body));
    let response = node.connect().await.exchange(post("/webhook", &headers, &body)).await;
    assert_eq!(response.status, 200);
}

/// Puts a filter of the log in force.
async fn put_filter(node: &Node, filter: &str) {
    let length = filter.len();
    let head = request("PUT", "/v1/log", &format!("content-length: {length}\r\ntollgate-reason: a test\r\n"));
    let response =
        Client::connect(node.admin).await.exchange([head, filter.as_bytes().to_vec()].concat()).await;
    assert_eq!(response.json()["filter"].as_str(), Some(filter));
    assert_eq!(node.books("/v1/log").await["filter"].as_str(), Some(filter));
}

#[tokio::test]
async fn a_filter_that_silences_the_log_is_in_the_log() {
    let site = Site::new(&[]);
    let node = site.start().await;
    put_filter(&node, "off").await;
    let log = node.stop().await;
    let line = log.lines().find(|line| line.contains("the filter of the log is about to change"));
    assert!(line.is_some_and(|line| line.contains(r#""before":"info","after":"off""#)), "{log}");
    assert!(!log.contains("the log has another filter"), "{log}");
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

#[tokio::test]
async fn a_decline_is_logged_with_what_was_asked_for_and_without_stage_times() {
    let site = Site::new(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "100")]);
    let node = site.start().await;
    node.deliver(&purchase("ic_logged", "iauth_approved", 100)).await;
    node.deliver(&purchase("ic_logged", "iauth_declined", 2_500)).await;
    let log = node.stop().await;
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answered: Vec<Value> = lines.filter(|line| line["message"] == "answered").collect();
    assert_eq!(answered.len(), 1, "{answered:?}");
    let line = &answered[0];
    assert_eq!((&line["level"], &line["reason"]), (&"INFO".into(), &"spending_limit".into()));
    assert_eq!((line["asked"].as_i64(), &line["currency"]), (Some(2_500), &"usd".into()));
    assert_eq!(line["category"], "computer_software_stores");
    assert!(line["taken_us"].is_u64() && line["commit_us"].is_null(), "{line}");
}

/// The next batch of spans that comes to a collector.
async fn spans(collector: &TcpListener) -> (String, Vec<Value>) {
    let (stream, _) = collector.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        head += &line;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
    (head, spans.as_array().unwrap().clone())
}

#[tokio::test]
async fn a_collector_gets_the_decisions_of_traces_that_are_kept() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", collector.local_addr().unwrap());
    let site = Site::new(&[("TOLLGATE_TRACES_ENDPOINT", &address)]);
    let node = site.start().await;
    ask_traced(&node, "unkept", 1, "00").await;
    ask(&node, "kept", 1).await;
    let (head, spans) = within("spans come", spans(&collector)).await;
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
    assert_eq!(spans.len(), 1, "{spans:?}");
    let span = &spans[0];
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&TRACE.into(), &"00f067aa0ba902b7".into()));
    assert_eq!(span["spanId"].as_str().unwrap().len(), 16);
    let nanos = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos("endTimeUnixNano") > nanos("startTimeUnixNano"), "{span}");
    let attributes = span["attributes"].as_array().unwrap();
    let told: BTreeMap<&str, &Value> =
        attributes.iter().map(|one| (one["key"].as_str().unwrap(), &one["value"])).collect();
    assert_eq!(told["tollgate.authorization"]["stringValue"], "iauth_kept");
    assert_eq!(told["tollgate.outcome"]["stringValue"], "approved");
    assert!(told["tollgate.commit_us"]["intValue"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    // Nothing but these leaves the node.
    let words = ["decision", "event", "authorization", "card", "outcome", "reason", "source"];
    let stages = ["verify_us", "parse_us", "route_us", "queue_us", "decide_us", "commit_us", "respond_us"];
    let mut allowed: Vec<String> = words.iter().chain(&stages).map(|key| format!("tollgate.{key}")).collect();
    allowed.sort_unstable();
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), allowed);
    node.until_metric("tollgate_trace_spans_total{result=\"exported\"}", |count| count > 0.5).await;
    node.stop().await;
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_no_answer() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let site = Site::new(&[("TOLLGATE_TRACES_ENDPOINT", &format!("http://{address}"))]);
    let node = site.start().await;
    for place in 0..5 {
        ask(&node, &format!("gone_{place}"), 1).await;
    }
    node.until_metric("tollgate_trace_spans_total{result=\"dropped\"}", |count| count > 4.5).await;
    let log = node.stop().await;
    assert!(log.contains("does not take spans"), "{log}");
}
