//! What the webhook answers, to good input and to bad.

use std::{
    io,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use tollgate::domain::{Outcome, Reason};

use super::{CAPTURE, PURCHASE, Room, SECRET, delivery, signed_header};
use crate::client::{Client, post, request};

/// The default.
const BODY_BYTES_MAX: usize = 1024 * 1024;

#[tokio::test]
async fn a_signed_request_gets_the_desks_answer_and_few_headers() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    let response = client.exchange(delivery(PURCHASE)).await;
    assert_eq!(response.status, 200);
    assert_eq!(
        response.body,
        r#"{"approved":true,"metadata":{"tollgate_decision":"dec_0000000000000007","tollgate_reason":"approved"}}"#
    );
    assert_eq!(response.header("stripe-version"), Some("2022-08-01"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    let mut names: Vec<&str> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "date", "stripe-version"]);
    assert_eq!(
        room.metric(
            r#"tollgate_webhook_requests_total{event="issuing_authorization.request",result="answered"}"#
        ),
        "1"
    );
    assert_eq!(room.metric(r#"tollgate_signature_secrets_used_total{slot="1"}"#), "1");
    assert_eq!(room.metric(r#"tollgate_stage_duration_seconds_count{stage="verify"}"#), "1");
    assert_eq!(
        room.metric(r#"tollgate_decision_duration_seconds_count{outcome="approved",route="local"}"#),
        "1"
    );
}

#[tokio::test]
async fn an_answer_is_due_so_long_after_the_headers() {
    let room = Room::with(|settings| settings.answer_within = Duration::from_millis(345)).await;
    Client::connect(room.webhook).await.exchange(delivery(PURCHASE)).await;
    let asked = room.desk.0.asked.lock().unwrap();
    let (_, arrival) = &asked[0];
    assert_eq!(arrival.deadline - arrival.received, Duration::from_millis(345));
}

#[tokio::test]
async fn every_kind_of_event_is_answered_in_its_way() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    let mut check = async |body: &[u8], reply: &str, series: &str| {
        let response = client.exchange(delivery(body)).await;
        assert_eq!((response.status, response.body.as_str()), (200, reply));
        assert_eq!(room.metric(&format!("tollgate_webhook_requests_total{{{series}}}")), "1");
    };
    let received = r#"{"received":true}"#;
    check(CAPTURE, received, r#"event="issuing_transaction.created",result="booked""#).await;
    let foreign =
        br#"{"id":"evt_1","object":"event","created":1,"type":"charge.captured","data":{"object":{}}}"#;
    check(foreign, received, r#"event="other",result="acknowledged""#).await;
    *room.desk.0.answer.lock().unwrap() = {
        let mut answer = room.desk.0.answer.lock().unwrap().clone();
        (answer.outcome, answer.reason) = (Outcome::Declined, Reason::ContractViolation);
        answer
    };
    let broken = include_bytes!("../../fixtures/stripe/request-08-pending-request-null.json");
    let declined = r#"{"approved":false,"metadata":{"tollgate_decision":"dec_0000000000000007","tollgate_reason":"contract_violation"}}"#;
    check(broken, declined, r#"event="issuing_authorization.request",result="answered""#).await;
    assert_eq!(room.metric(r#"tollgate_contract_violations_total{kind="no_amount"}"#), "1");
    assert_eq!(room.desk.0.booked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_that_is_not_booked_is_asked_for_again() {
    let room = Room::open().await;
    room.desk.0.refuses_to_book.store(true, Ordering::SeqCst);
    let mut client = Client::connect(room.webhook).await;
    let response = client.exchange(delivery(CAPTURE)).await;
    assert_eq!((response.status, response.code().as_str()), (503, "not_booked"));
    assert!(response.header("retry-after").is_some());
    room.desk.0.refuses_to_book.store(false, Ordering::SeqCst);
    assert_eq!(client.exchange(delivery(CAPTURE)).await.status, 200);
}

/// Bodies that are signed as they should be, and are no events.
#[tokio::test]
async fn a_signed_body_that_is_no_event_is_a_400_and_no_question() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    let nested = vec![b'['; 200_000];
    let objects = br#"{"a":"#.repeat(40_000);
    let mut twice = PURCHASE.to_vec();
    twice.splice(0..1, br#"{"type":"issuing_authorization.request","#.iter().copied());
    let cases: [(&str, &[u8]); 11] = [
        ("nothing", b""),
        ("a word", b"approve"),
        ("a number", b"1e999"),
        ("a list", b"[]"),
        ("half an event", &PURCHASE[..PURCHASE.len() / 2]),
        ("two events", &[PURCHASE, PURCHASE].concat()),
        ("no UTF-8", b"{\"id\":\"evt_\xff\xfe\"}"),
        ("200,000 brackets", &nested),
        ("40,000 objects", &objects),
        ("a field twice", &twice),
        (
            "a thin event",
            br#"{"id":"evt_1","object":"v2.core.event","type":"issuing_authorization.request"}"#,
        ),
    ];
    for (what, body) in cases {
        let response = client.exchange(delivery(body)).await;
        assert_eq!((response.status, response.code().as_str()), (400, "malformed"), "{what}");
        assert_eq!(response.header("stripe-version"), None, "{what}");
    }
    assert_eq!(room.desk.asked(), 0);
    assert_eq!(client.exchange(delivery(PURCHASE)).await.status, 200, "the connection lives on");
}

#[tokio::test]
async fn a_request_without_a_valid_signature_is_a_400_and_no_question() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    let good = signed_header(PURCHASE);
    let cases = [
        ("none", String::new(), "missing_header"),
        ("empty", "stripe-signature:\r\n".into(), "malformed"),
        ("of another body", signed_header(CAPTURE), "mismatch"),
        ("a word", "stripe-signature: yes\r\n".into(), "malformed"),
        ("only v0", good.replace("v1=", "v0="), "no_candidate"),
        ("twice, each whole", format!("{good}{good}"), "malformed"),
        ("of 1970", "stripe-signature: t=1,v1=00\r\n".into(), "no_candidate"),
        ("too long", format!("stripe-signature: t=1,{}\r\n", "v1=00,".repeat(3_000)), "header_too_large"),
        ("bytes that are no text", "stripe-signature: t=\u{ff}\u{fe}\r\n".into(), "malformed"),
    ];
    for (what, headers, cause) in cases {
        let series = format!("tollgate_signature_failures_total{{cause=\"{cause}\"}}");
        let before: u32 = room.metric(&series).parse().unwrap();
        let response = client.exchange(post("/webhook", &headers, PURCHASE)).await;
        assert_eq!((response.status, response.code().as_str()), (400, "bad_signature"), "{what}");
        assert_eq!(room.metric(&series), (before + 1).to_string(), "{what}");
    }
    assert_eq!(room.desk.asked(), 0);
}

#[tokio::test]
async fn a_signature_may_come_in_two_header_lines() {
    let room = Room::open().await;
    let good = signed_header(PURCHASE);
    let (time, signature) = good.trim_end().split_once(',').unwrap();
    let headers = format!("{time}\r\nStripe-Signature: {signature}\r\n");
    let response = Client::connect(room.webhook).await.exchange(post("/webhook", &headers, PURCHASE)).await;
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn there_is_one_path_and_one_method() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    let cases = [
        (request("GET", "/webhook", ""), 405, "method_not_allowed"),
        (request("DELETE", "/webhook", ""), 405, "method_not_allowed"),
        (request("GET", "/", ""), 404, "not_found"),
        (request("GET", "/metrics", ""), 404, "not_found"),
        (request("GET", "/webhook/", ""), 404, "not_found"),
        (request("GET", "/webhook/../webhook", ""), 404, "not_found"),
    ];
    for (bytes, status, code) in cases {
        let response = client.exchange(&bytes).await;
        assert_eq!((response.status, response.code().as_str()), (status, code), "{}", bytes.escape_ascii());
        assert_eq!(response.header("allow"), (status == 405).then_some("POST"));
    }
    let query = client.exchange(post("/webhook?source=stripe", &signed_header(PURCHASE), PURCHASE)).await;
    assert_eq!(query.status, 200, "a query is nobody's business");
    // With a body that nobody reads, the connection ends; the answer arrives all the same.
    let mut client = Client::connect(room.webhook).await;
    let response = client.exchange(post("/elsewhere", &signed_header(PURCHASE), PURCHASE)).await;
    assert_eq!((response.status, response.header("connection")), (404, Some("close")));
    assert_eq!(client.end().await.unwrap(), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_announced_or_not() {
    let room = Room::open().await;
    let body = vec![b' '; 4 << 20];
    let announced = post("/webhook", &signed_header(&body), &body);
    let response = Client::connect(room.webhook).await.send_long(&announced).await;
    assert_eq!((response.status, response.code().as_str()), (413, "body_too_large"));

    // A client that looks up only when it has sent everything gets its answer too, and no reset.
    let mut client = Client::connect(room.webhook).await;
    assert_eq!(client.exchange(&announced).await.status, 413);
    client.send("and more: after a reset this would fail").await;
    client.finish().await;
    assert_eq!(client.end().await.unwrap(), 0);

    for bytes in [BODY_BYTES_MAX + 1, 4 << 20] {
        let body = &body[..bytes];
        let response = Client::connect(room.webhook).await.send_long(&chunked(body, 10_000)).await;
        assert_eq!((response.status, response.code().as_str()), (413, "body_too_large"), "{bytes}");
    }

    // Nothing but the announcement is needed.
    let mut client = Client::connect(room.webhook).await;
    let response = client.exchange(request("POST", "/webhook", "content-length: 1048577\r\n")).await;
    assert_eq!(response.status, 413);
    client.finish().await;
    assert_eq!(client.end().await.unwrap(), 0);
    assert_eq!(room.metric(r#"tollgate_webhook_requests_total{event="unread",result="too_large"}"#), "5");
    assert_eq!(room.desk.asked(), 0);
}

#[tokio::test]
async fn a_body_may_come_in_pieces_up_to_the_limit() {
    let room = Room::open().await;
    let mut body = PURCHASE.to_vec();
    body.resize(BODY_BYTES_MAX, b' ');
    let mut client = Client::connect(room.webhook).await;
    assert_eq!(client.send_long(&delivery(&body)).await.status, 200);
    assert_eq!(client.send_long(&chunked(&body, 10_000)).await.status, 200);
    assert_eq!(client.exchange(chunked(PURCHASE, 7)).await.status, 200);
}

/// A delivery of Stripe's in chunks, with all that may stand around them.
fn chunked(body: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let headers = format!("transfer-encoding: chunked\r\n{}", signed_header(body));
    let mut bytes = request("POST", "/webhook", &headers);
    for chunk in body.chunks(chunk_bytes) {
        bytes.extend_from_slice(format!("{:x};ext=1\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\nsome-trailer: 1\r\n\r\n");
    bytes
}

#[tokio::test]
async fn a_body_with_broken_chunks_is_a_400() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    client.send(request("POST", "/webhook", "transfer-encoding: chunked\r\n")).await;
    let response = client.exchange("zz\r\n").await;
    assert_eq!((response.status, response.code().as_str()), (400, "body_broken"));
    assert_eq!(room.metric(r#"tollgate_webhook_requests_total{event="unread",result="body_broken"}"#), "1");
}

#[tokio::test]
async fn whoever_asks_for_a_go_ahead_gets_it_only_for_a_body_that_is_read() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    let expect = format!("expect: 100-continue\r\n{}", signed_header(PURCHASE));
    let (head, body) = (post("/webhook", &expect, PURCHASE), PURCHASE);
    let go_ahead = client.exchange(&head[..head.len() - body.len()]).await;
    assert_eq!(go_ahead.status, 100);
    assert_eq!(client.exchange(body).await.status, 200);
    let too_large = "expect: 100-continue\r\ncontent-length: 1100000\r\n";
    assert_eq!(client.exchange(request("POST", "/webhook", too_large)).await.status, 413);
}

/// Where a log goes in a test.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_decisions_and_nothing_personal() {
    let paper = Paper::default();
    let writer = paper.clone();
    let lines = tracing_subscriber::fmt()
        .json()
        .with_env_filter("tollgate=trace")
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process: a scoped one would miss the lines that another test's thread has met first.
    tracing::subscriber::set_global_default(lines).unwrap();

    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    client.exchange(delivery(PURCHASE)).await;
    room.desk.0.answer.lock().unwrap().outcome = Outcome::Declined;
    client.exchange(delivery(PURCHASE)).await;
    client.exchange(delivery(b"{\"name\":\"Jenny Rosen\"}")).await;
    client.exchange(post("/webhook", "stripe-signature: t=1,v1=abcdef\r\n", PURCHASE)).await;

    let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    let levels: Vec<&str> =
        ["DEBUG", "INFO", "WARN"].into_iter().filter(|level| text.contains(level)).collect();
    assert_eq!(levels, ["DEBUG", "INFO", "WARN"], "{text}");
    assert!(text.contains("dec_0000000000000007"), "{text}");
    let event: serde_json::Value = serde_json::from_slice(PURCHASE).unwrap();
    let card = &event["data"]["object"]["card"];
    let personal = ["name", "email", "phone_number"].map(|field| card["cardholder"][field].as_str());
    let others = [card["last4"].as_str(), Some("Jenny"), Some(SECRET), Some("abcdef")];
    let mut checked = 0;
    for secret in personal.into_iter().chain(others).flatten().filter(|secret| secret.len() > 3) {
        checked += 1;
        assert!(!text.contains(secret), "the log has {secret}:\n{text}");
    }
    assert!(checked >= 5, "the event has nothing personal to look for");
}
