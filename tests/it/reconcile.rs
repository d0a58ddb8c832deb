//! `tollgate reconcile` with the real binary and a stub of Stripe's API: what was missed while the node was down is
//! booked once, and the books are then what they would have been.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::process::Output;

use rustix::process::Signal;
use serde_json::{Value, json};
use tollgate::clock;
use tollgate_loadtest::stripe_api::{Effect, Fault, StripeApi};

use crate::{
    deliveries::{event, purchase},
    process::{Node, Site},
    stripe_api::KEY,
};

const CARD: &str = "ic_1";
/// Every authorization of the story.
const AUTHORIZATIONS: [&str; 5] =
    ["iauth_old", "iauth_captured", "iauth_lowered", "iauth_forced", "iauth_refused"];

fn now() -> i64 {
    clock::now().as_seconds()
}

/// An authorization as the API has it.
fn authorization(id: &str, amount: i64, approved: bool, status: &str, created: i64) -> Value {
    let mut object = event("authorization-created-approved")["data"]["object"].take();
    object["id"] = json!(id);
    object["card"] = json!({"id": CARD, "currency": "usd"});
    object["amount"] = json!(amount);
    object["currency"] = json!("usd");
    object["approved"] = json!(approved);
    object["status"] = json!(status);
    object["created"] = json!(created);
    let reason = if approved { "webhook_approved" } else { "webhook_declined" };
    object["request_history"] =
        json!([{"amount": amount, "approved": approved, "created": created, "reason": reason}]);
    object
}

fn transaction(id: &str, authorization: Option<&str>, amount: i64) -> Value {
    let mut object = event("transaction-created-capture")["data"]["object"].take();
    object["id"] = json!(id);
    object["card"] = json!(CARD);
    object["authorization"] = json!(authorization);
    object["amount"] = json!(amount);
    object["currency"] = json!("usd");
    object["type"] = json!(if amount < 0 { "capture" } else { "refund" });
    object["created"] = json!(now());
    object
}

/// An object as the event that tells of it.
fn told(event_type: &str, object: &Value) -> Value {
    json!({
        "id": format!("evt_{}_{event_type}", object["id"].as_str().unwrap()), "object": "event",
        "created": now(), "livemode": false, "type": event_type, "data": {"object": object},
    })
}

/// What happened at Stripe: the objects as they are, and the events that told of it.
fn happened() -> (Vec<Value>, Vec<Value>) {
    // The old one was made long before, by the fixture's clock: only its event says that it changed.
    let old = authorization("iauth_old", 5_000, true, "reversed", 1_785_500_000);
    let capture = transaction("ipi_capture", Some("iauth_captured"), -12_000);
    let refund = transaction("ipi_refund", Some("iauth_captured"), 2_000);
    let mut captured = authorization("iauth_captured", 10_000, true, "closed", now() - 100);
    captured["transactions"] = json!([capture, refund]);
    let lowered = authorization("iauth_lowered", 3_000, true, "pending", now() - 90);
    let mut forced = authorization("iauth_forced", 4_000, true, "pending", now() - 80);
    forced["request_history"][0]["reason"] = json!("network_fallback");
    let refused = authorization("iauth_refused", 700, false, "closed", now() - 70);
    let unlinked = transaction("ipi_forced", None, -1_500);
    let updated = "issuing_authorization.updated";
    let events = vec![
        told(updated, &old),
        told(updated, &captured),
        told(updated, &lowered),
        told("issuing_authorization.created", &forced),
        told("issuing_authorization.created", &refused),
        told("issuing_transaction.created", &capture),
        told("issuing_transaction.created", &refund),
        told("issuing_transaction.created", &unlinked),
    ];
    (vec![old, captured, lowered, forced, refused, capture, refund, unlinked], events)
}

/// A node has answered three purchases; then it was down while the rest happened.
struct Story {
    site: Site,
    stub: StripeApi,
    events: Vec<Value>,
}

impl Story {
    async fn begin() -> Self {
        let stub = StripeApi::start(KEY).await.unwrap();
        let site = Site::new(&[("STRIPE_API_KEY", KEY), ("STRIPE_API_BASE", &stub.base_url())]);
        let node = site.start().await;
        Self::ask(&node).await;
        node.stop().await;
        let (objects, events) = happened();
        objects.into_iter().chain(events.clone()).for_each(|object| stub.put(object).unwrap());
        Self { site, stub, events }
    }

    async fn ask(node: &Node) {
        for (id, amount) in [("iauth_old", 5_000), ("iauth_captured", 10_000), ("iauth_lowered", 6_000)] {
            assert_eq!(node.deliver(&purchase(CARD, id, amount)).await.status, 200);
        }
    }

    async fn reconcile(&self, more: &[&str]) -> Ran {
        let arguments = [&["reconcile", "--since", "24h"], more].concat();
        Ran::of(&self.site.run(&arguments, &[]).await)
    }

    /// What the books say, read from a node that runs for that long.
    async fn books(&self) -> Value {
        let node = self.site.start().await;
        let books = books(&node).await;
        node.stop().await;
        books
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let ran = Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
        assert!(!ran.out.contains(KEY) && !ran.err.contains(KEY), "the key is shown");
        assert!(!ran.err.contains('\u{1b}'), "a bar without a terminal: {}", ran.err);
        ran
    }

    #[track_caller]
    fn expect(&self, code: i32, last_line: &str) {
        let Self { out, err, .. } = self;
        assert_eq!((self.code, out.lines().last()), (Some(code), Some(last_line)), "{out}\n{err}");
    }
}

/// All that must be equal: each authorization, the card's windows and what belongs to no authorization.
async fn books(node: &Node) -> Value {
    let mut books = json!({});
    for id in AUTHORIZATIONS {
        let response = node.get(&format!("/v1/authorizations/{id}")).await;
        let full = if response.status == 200 { response.json() } else { Value::Null };
        for field in ["status", "approved", "held", "captured", "refunded", "overrun", "transactions"] {
            books[id][field] = full[field].clone();
        }
    }
    let card = node.card(CARD).await;
    books["card"] = json!([card["limits"], card["unlinked"]]);
    books
}

async fn version(site: &Site) -> Value {
    let node = site.start().await;
    let version = node.card(CARD).await["version"].clone();
    node.stop().await;
    version
}

#[tokio::test]
async fn what_was_missed_is_booked_as_if_the_events_had_come() {
    let story = Story::begin().await;
    let ran = story.reconcile(&[]).await;
    ran.expect(0, "differences: 10; events recorded: 8");
    assert!(
        ran.err.contains("4 authorizations read") && ran.err.contains("3 transactions read"),
        "{}",
        ran.err
    );

    // Another node hears the events themselves.
    let other = Site::new(&[]);
    let node = other.start().await;
    Story::ask(&node).await;
    for event in &story.events {
        assert_eq!(node.deliver(event.to_string().as_bytes()).await.status, 200);
    }
    let expected = books(&node).await;
    assert_eq!(expected["iauth_captured"]["captured"], 12_000);
    assert_eq!(expected["iauth_old"]["status"], "reversed");
    assert_eq!(expected["iauth_lowered"]["held"], 3_000);
    assert_eq!(expected["card"][1].as_array().unwrap().len(), 1);
    assert_eq!(story.books().await, expected);
}

#[tokio::test]
async fn a_second_run_finds_nothing_and_writes_nothing() {
    let story = Story::begin().await;
    story.reconcile(&[]).await.expect(0, "differences: 10; events recorded: 8");
    let (books, version_before) = (story.books().await, version(&story.site).await);
    story.reconcile(&[]).await.expect(0, "no differences: the ledger agrees with Stripe");
    assert_eq!(story.books().await, books);
    assert_eq!(version(&story.site).await, version_before);

    // The events come late: nothing changes either.
    let node = story.site.start().await;
    for event in &story.events {
        assert_eq!(node.deliver(event.to_string().as_bytes()).await.status, 200);
    }
    assert_eq!(self::books(&node).await, books);
}

#[tokio::test]
async fn a_dry_run_shows_the_differences_and_changes_nothing() {
    let story = Story::begin().await;
    let (books, version_before) = (story.books().await, version(&story.site).await);
    let ran = story.reconcile(&["--dry-run"]).await;
    ran.expect(1, "differences: 10; nothing was recorded");
    let rows: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["object", "field", "ours", "stripe's"]);
    for row in [
        &["iauth_old", "status", "pending", "reversed"][..],
        &["iauth_old", "held", "5000", "0"],
        &["iauth_captured", "ipi_capture", "unknown", "capture", "-12000"],
        &["iauth_lowered", "held", "6000", "3000"],
        &["iauth_forced", "authorization", "unknown", "pending", "approved", "4000"],
        &["none", "ipi_forced", "unknown", "capture", "-1500"],
    ] {
        assert!(rows.iter().any(|found| found == row), "{row:?} is not in\n{}", ran.out);
    }
    assert_eq!((story.books().await, version(&story.site).await), (books, version_before));
    story.reconcile(&[]).await.expect(0, "differences: 10; events recorded: 8");
    story.reconcile(&["--dry-run"]).await.expect(0, "no differences: the ledger agrees with Stripe");
}

#[tokio::test]
async fn a_running_node_is_told_over_its_own_ports() {
    let mut story = Story::begin().await;
    story.site.set("TOLLGATE_ADMIN_TOKEN", "operators-only-0123456789");
    let mut node = story.site.start().await;
    node.token = Some("operators-only-0123456789".to_owned());
    let (webhook, admin) = (node.webhook.to_string(), node.admin.to_string());
    let here = [("TOLLGATE_LISTEN", webhook.as_str()), ("TOLLGATE_ADMIN_LISTEN", admin.as_str())];
    let arguments = ["reconcile", "--since", "24h"];
    let ran = Ran::of(&story.site.run(&arguments, &here).await);
    ran.expect(0, "differences: 10; events recorded: 8");
    assert_eq!(node.authorization("iauth_captured").await["captured"], 12_000);
    let verified = r#"tollgate_webhook_requests_total{event="issuing_transaction.created",result="booked"}"#;
    assert_eq!(node.metric(verified).await.to_string(), "3");

    // Without the way to it, nothing is guessed.
    let lost = Ran::of(&story.site.run(&arguments, &[]).await);
    assert_eq!(lost.code, Some(69), "{}", lost.err);
    assert!(lost.err.contains("TOLLGATE_LISTEN is needed to reach it"), "{}", lost.err);
    let secret = [here[0], here[1], ("STRIPE_WEBHOOK_SECRET", "whsec_of_another")];
    story.stub.put(authorization("iauth_new", 100, true, "pending", now())).unwrap();
    let stranger = Ran::of(&story.site.run(&arguments, &secret).await);
    assert!(stranger.code == Some(69) && stranger.err.contains("(bad_signature)"), "{}", stranger.err);
}

#[tokio::test]
async fn a_run_that_is_killed_again_and_again_comes_to_the_same_end() {
    let unharmed = Story::begin().await;
    unharmed.reconcile(&[]).await.expect(0, "differences: 10; events recorded: 8");
    let story = Story::begin().await;
    let mut killed = 0;
    for lines in 1..12 {
        let mut run = story.site.follow(&["reconcile", "--since", "24h"]);
        // The heading, and a difference for each line more: shown before it is booked.
        for _ in 0..lines {
            if run.next_line().await.is_none() {
                break;
            }
        }
        run.signal(Signal::KILL);
        killed += usize::from(run.ended().await.code.is_none());
    }
    assert!(killed >= 3, "only {killed} runs were killed before their end");
    assert_eq!(story.reconcile(&[]).await.code, Some(0));
    story.reconcile(&["--dry-run"]).await.expect(0, "no differences: the ledger agrees with Stripe");
    assert_eq!(story.books().await, unharmed.books().await);
}

#[tokio::test]
async fn a_correction_takes_the_place_of_what_is_booked() {
    let story = Story::begin().await;
    story.reconcile(&[]).await.expect(0, "differences: 10; events recorded: 8");
    story.stub.put(transaction("ipi_forced", None, -1_800)).unwrap();
    story.reconcile(&[]).await.expect(0, "differences: 1; events recorded: 1");
    assert_eq!(
        story.books().await["card"][1],
        json!([{"id": "ipi_forced", "type": "capture", "amount": -1_800}])
    );
}

#[tokio::test]
async fn one_card_alone_is_read() {
    let story = Story::begin().await;
    story.reconcile(&["--card", "ic_other"]).await.expect(0, "no differences: the ledger agrees with Stripe");
    story.reconcile(&["--card", CARD]).await.expect(0, "differences: 10; events recorded: 8");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_the_rest_is_booked() {
    let story = Story::begin().await;
    let mut odd = authorization("iauth_odd", 100, true, "pending", now());
    odd["status"] = json!("elsewhere");
    story.stub.put(odd).unwrap();
    let ran = story.reconcile(&[]).await;
    ran.expect(1, "differences: 10; events recorded: 8; objects passed over: 1");
    assert!(
        ran.err.contains("iauth_odd cannot be recorded: expected a known `data.object.status`"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn one_object_that_the_node_refuses_is_passed_over_and_the_rest_is_booked() {
    let mut story = Story::begin().await;
    story.site.set("TOLLGATE_BODY_BYTES_MAX", "16KiB");
    let mut large = authorization("iauth_large", 100, true, "pending", now());
    for key in 0..40 {
        large["metadata"][format!("key_{key}")] = json!("x".repeat(500));
    }
    story.stub.put(large).unwrap();
    for _ in 0..2 {
        let ran = story.reconcile(&[]).await;
        assert_eq!(ran.code, Some(1), "{}\n{}", ran.out, ran.err);
        assert!(ran.out.trim_end().ends_with("; objects passed over: 1"), "{}", ran.out);
        assert!(
            ran.err.contains("iauth_large is passed over: the node at ")
                && ran.err.contains("(body_too_large)")
        );
    }
    story.site.unset("TOLLGATE_BODY_BYTES_MAX");
    story.reconcile(&[]).await.expect(0, "differences: 1; events recorded: 1");
}

#[tokio::test]
async fn an_authorization_with_long_receipts_is_booked_without_them() {
    let mut story = Story::begin().await;
    story.site.set("TOLLGATE_BODY_BYTES_MAX", "16KiB");
    let line =
        json!({"description": "PART 004711 STEEL BOLT M8", "quantity": 1.0, "total": 4, "unit_cost": 4});
    let mut capture = transaction("ipi_long", Some("iauth_long"), -100);
    capture["purchase_details"] = json!({"receipt": vec![line; 900], "reference": "PO 4711"});
    let mut long = authorization("iauth_long", 100, true, "closed", now());
    long["transactions"] = json!([capture]);
    story.stub.put(long).unwrap();
    story.stub.put(capture).unwrap();
    story.reconcile(&[]).await.expect(0, "differences: 12; events recorded: 10");
}

#[tokio::test]
async fn one_transaction_that_cannot_be_read_leaves_its_authorization_to_be_booked() {
    let story = Story::begin().await;
    let mut odd = transaction("ipi_odd", Some("iauth_odd"), -40);
    odd["type"] = json!("elsewhere");
    let mut authorization = authorization("iauth_odd", 100, true, "pending", now());
    authorization["transactions"] = json!([odd, transaction("ipi_even", Some("iauth_odd"), -60)]);
    story.stub.put(authorization).unwrap();
    let ran = story.reconcile(&[]).await;
    ran.expect(1, "differences: 12; events recorded: 10; objects passed over: 1");
    assert!(ran.err.contains("ipi_odd cannot be recorded: expected `data.object.type`"), "{}", ran.err);
}

/// A card or cardholder as the API has it.
fn with_state(kind: &str, id: &str, status: &str, group: Option<&str>) -> Value {
    json!({
        "id": id, "object": kind, "created": 1_785_500_000, "livemode": false, "status": status, "currency": "usd",
        "cardholder": {"id": "ich_1", "object": "issuing.cardholder", "created": 1_785_500_000, "status": status},
        "metadata": group.map_or_else(|| json!({}), |group| json!({"tollgate_group": group})),
    })
}

/// A node that was told of the states of its card and cardholder, and then missed that they changed.
async fn with_states_that_changed() -> Story {
    let story = Story::begin().await;
    story.reconcile(&[]).await.expect(0, "differences: 10; events recorded: 8");
    let node = story.site.start().await;
    for (kind, id) in [("issuing.card", CARD), ("issuing.cardholder", "ich_1")] {
        let object = with_state(kind, id, "active", Some("staff"));
        let mut event = told(&format!("{}.updated", kind.replace('.', "_")), &object);
        // An event of the second in which Stripe is read may be the later word.
        event["created"] = json!(now() - 60);
        assert_eq!(node.deliver(event.to_string().as_bytes()).await.status, 200);
    }
    node.stop().await;
    story
}

#[tokio::test]
async fn cards_and_cardholders_are_what_stripe_says_now() {
    let story = with_states_that_changed().await;
    story.stub.put(with_state("issuing.card", CARD, "inactive", None)).unwrap();
    story.stub.put(with_state("issuing.cardholder", "ich_1", "inactive", Some("staff"))).unwrap();
    // Nothing is known of these, nor will be before their first request.
    story.stub.put(with_state("issuing.card", "ic_unheard_of", "canceled", None)).unwrap();
    story.stub.put(with_state("issuing.cardholder", "ich_unheard_of", "inactive", None)).unwrap();
    let dry = story.reconcile(&["--dry-run"]).await;
    dry.expect(1, "differences: 3; nothing was recorded");
    let ran = story.reconcile(&[]).await;
    ran.expect(0, "differences: 3; events recorded: 2");
    let rows: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [
        [CARD, "status", "active", "inactive"],
        [CARD, "tollgate_group", "staff", "none"],
        ["ich_1", "status", "active", "inactive"],
    ] {
        assert!(rows.iter().any(|found| *found == row), "{row:?} is not in\n{}", ran.out);
    }
    assert!(ran.err.contains("2 cards read") && ran.err.contains("2 cardholders read"), "{}", ran.err);
    story.reconcile(&[]).await.expect(0, "no differences: the ledger agrees with Stripe");
    let node = story.site.start().await;
    assert_eq!(node.card(CARD).await["state"], json!({"active": false, "group": null}));
    let cardholder = node.get("/v1/cardholders/ich_1").await.json();
    assert_eq!(cardholder["state"], json!({"active": false, "group": "staff"}));
    assert_eq!(node.get("/v1/cardholders/ich_unheard_of").await.status, 404);
    node.stop().await;
}

#[tokio::test]
async fn one_card_alone_is_read_with_its_cardholder() {
    let story = with_states_that_changed().await;
    story.stub.put(with_state("issuing.card", CARD, "inactive", Some("staff"))).unwrap();
    story.reconcile(&["--card", "ic_other"]).await.expect(0, "no differences: the ledger agrees with Stripe");
    // The cardholder as it stands in the card: of no group.
    story.reconcile(&["--card", CARD]).await.expect(0, "differences: 3; events recorded: 2");
    story.reconcile(&["--card", CARD]).await.expect(0, "no differences: the ledger agrees with Stripe");
}

#[tokio::test]
async fn cards_that_stripe_does_not_give_are_said_and_fail_no_run() {
    for status in [404, 403] {
        let story = Story::begin().await;
        story.stub.plan(Fault::always("/v1/issuing/card", Effect::ServerError(status)));
        let ran = story.reconcile(&[]).await;
        ran.expect(0, "differences: 10; events recorded: 8");
        for path in ["/v1/issuing/cards", "/v1/issuing/cardholders"] {
            assert!(ran.err.contains(&format!("{path} is not compared: ")), "{}", ran.err);
        }
    }
}

#[tokio::test]
async fn a_run_where_there_is_no_journal_makes_none() {
    let stub = StripeApi::start(KEY).await.unwrap();
    let site = Site::new(&[("STRIPE_API_KEY", KEY), ("STRIPE_API_BASE", &stub.base_url())]);
    for more in [&[][..], &["--dry-run"]] {
        let ran = Ran::of(&site.run(&[&["reconcile", "--since", "24h"], more].concat(), &[]).await);
        assert_eq!(ran.code, Some(69), "{}", ran.err);
        let expected = format!("expected a journal at sqlite:{}", site.journal().display());
        assert!(ran.err.contains(&expected), "{}", ran.err);
        assert!(!site.path("data").exists(), "it made one");
    }
}

#[tokio::test]
async fn what_stops_a_run_says_what_to_do() {
    let mut story = Story::begin().await;
    story.site.set("STRIPE_API_KEY", "sk_test_wrong");
    let ran = story.reconcile(&[]).await;
    assert_eq!(ran.code, Some(69), "{}", ran.err);
    assert!(ran.err.contains("Stripe refused the API key (401)") && !ran.err.contains("sk_test_wrong"));
    story.site.unset("STRIPE_API_KEY");
    let ran = story.reconcile(&[]).await;
    assert!(ran.code == Some(78) && ran.err.contains("expected STRIPE_API_KEY"), "{}", ran.err);
}
