//! Outgoing webhooks of a real node, taken by a real server: what is sent, that nothing is lost by a crash, and that an
//! endpoint that fails holds up nothing.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    deliveries::{Verdict, event, purchase, purchase_in},
    process::{Node, Site, within},
    receiver::{ENDPOINT_SECRET, Receiver},
};

const POLICY: &str = r"
version: 1
currency: usd
budgets:
  eng:   {spending_limits: [{amount: 10000, interval: all_time}], warn_at: [50, 80]}
  other: {spending_limits: [{amount: 10000, interval: all_time}]}
default:
  spending_limits: [{amount: 100000, interval: all_time}]
  rules: [{name: look-at-it, when: 'amount == 777', then: flag}]
groups:
  eng:   {budgets: [eng]}
  other: {budgets: [other]}
cards:
  ic_paused: {paused: true}
";

/// A site with this policy, and endpoints as a file lists them.
fn site(endpoints: &str) -> Site {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml"), ("TOLLGATE_WEBHOOKS", "webhooks.yaml")]);
    fs::write(site.path("policy.yaml"), POLICY).unwrap();
    write(&site, endpoints);
    site
}

/// Writes the file whole, as editors do.
fn write(site: &Site, endpoints: &str) {
    fs::write(site.path("webhooks.new"), format!("version: 1\nendpoints:\n{endpoints}")).unwrap();
    fs::rename(site.path("webhooks.new"), site.path("webhooks.yaml")).unwrap();
}

/// An endpoint in the file.
fn endpoint(name: &str, url: &str, more: &str) -> String {
    format!("  {name}: {{url: \"{url}\", secret: {ENDPOINT_SECRET}{more}}}\n")
}

async fn ask(node: &Node, card: &str, group: &str, authorization: &str, amount: i64) -> String {
    let mut purchase = purchase_in("usd", card, authorization, amount);
    purchase["data"]["object"]["card"]["metadata"]["tollgate_group"] = group.into();
    Verdict::of(&node.deliver(purchase.to_string().as_bytes()).await).reason
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_endpoint_is_notified_of_what_it_asks_for_signed() {
    let (all, few, slack) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let mut site = site(
        &[
            endpoint("all", &all.url(), ""),
            endpoint("few", &few.url(), ", reasons: [spending_limit], budgets: [eng], min_amount: 9000"),
            endpoint("slack", &slack.url(), ", format: slack, events: [budget.warned]"),
        ]
        .concat(),
    );
    site.set("TOLLGATE_LOG", "debug");
    let node = site.start().await;
    node.eventually("/v1/webhooks", |all| {
        all["endpoints"].as_array().unwrap().iter().all(|one| one["state"] == "up")
    })
    .await;
    assert_eq!(ask(&node, "ic_a", "eng", "iauth_1", 4_000).await, "approved");
    assert_eq!(ask(&node, "ic_b", "eng", "iauth_2", 1_000).await, "approved");
    assert_eq!(ask(&node, "ic_b", "eng", "iauth_3", 9_000).await, "spending_limit");
    assert_eq!(ask(&node, "ic_b", "eng", "iauth_4", 6_000).await, "spending_limit");
    assert_eq!(ask(&node, "ic_o", "other", "iauth_5", 10_001).await, "spending_limit");
    assert_eq!(ask(&node, "ic_paused", "eng", "iauth_6", 1).await, "card_paused");
    assert_eq!(ask(&node, "ic_f", "other", "iauth_7", 777).await, "approved");
    // The edge at 80 % is passed; what is between the edges is none.
    assert_eq!(ask(&node, "ic_a", "eng", "iauth_8", 2_500).await, "approved");
    assert_eq!(ask(&node, "ic_a", "eng", "iauth_9", 600).await, "approved");

    let declined = all.takes("decision.declined", 4).await;
    // They come in any order.
    let is_it = |event: &&Value| event["data"]["decision"]["authorization"] == "iauth_3";
    let event = declined.iter().find(is_it).unwrap();
    let first = &event["data"]["decision"];
    assert_eq!(
        (&first["authorization"], &first["reason"], &first["asked"], &first["legs"]),
        (&json!("iauth_3"), &json!("spending_limit"), &json!(9_000), &json!(["card", "budget:eng"]))
    );
    assert_eq!(first, &node.authorization("iauth_3").await["decisions"][0], "as the admin API shows it");
    assert_eq!(event["livemode"], false);
    let id = event["id"].as_str().unwrap();
    assert!(id.starts_with("tev_") && id.len() == 36, "{id}");
    let flagged = all.takes("decision.flagged", 1).await;
    assert_eq!(flagged[0]["data"]["decision"]["flags"], json!(["look-at-it"]));
    let warned = all.takes("budget.warned", 2).await;
    let mut warned = warned;
    warned.sort_by_key(|event| event["data"]["percent"].as_i64());
    let percents: Vec<(&Value, &Value)> =
        warned.iter().map(|event| (&event["data"]["percent"], &event["data"]["used"])).collect();
    assert_eq!(percents, [(&json!(50), &json!(5_000)), (&json!(80), &json!(8_100))]);
    assert_eq!(
        (&warned[0]["data"]["budget"], &warned[0]["data"]["max"], &warned[0]["data"]["window"]),
        (&json!("eng"), &json!(10_000), &json!("all_time"))
    );
    let messages = within("Slack", async {
        while slack.taken().len() < 2 {
            tokio::task::yield_now().await;
        }
        slack.taken()
    })
    .await;
    let half = json!({"text": "*Budget eng at 50 %* 50.00 USD of 100.00 USD (all_time) are used."});
    assert!(messages.contains(&half), "{messages:?}");

    // A node that is started again sends nothing again, and another policy is told of once.
    node.stop().await;
    let before = all.taken().len();
    let node = site.start().await;
    fs::write(site.path("policy.yaml"), format!("{POLICY}  ic_other: {{paused: true}}\n")).unwrap();
    node.process.signal(Signal::HUP);
    let changed = all.takes("policy.changed", 1).await;
    assert_eq!(changed[0]["data"]["version"], node.books("/v1/policy").await["version"]);
    assert_eq!(kinds(&all.taken()[before..]), ["policy.changed"]);
    // Only what passes the whole filter: of the declines one.
    let authorizations: Vec<Value> = few
        .taken()
        .iter()
        .filter(|event| event["type"] == "decision.declined")
        .map(|event| event["data"]["decision"]["authorization"].clone())
        .collect();
    assert_eq!(authorizations, ["iauth_3"]);
    let log = node.stop().await;
    assert!(!log.contains(ENDPOINT_SECRET) && !log.contains("/hooks"), "{log}");
}

#[tokio::test]
async fn an_event_survives_a_kill_before_its_delivery() {
    // The port is taken by nobody: every attempt is refused.
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    let site = site(
        &[
            endpoint("gone", &format!("http://{address}/hooks"), ", events: [decision.declined]"),
            endpoint("there", &url, ", events: [decision.declined]"),
        ]
        .concat(),
    );
    drop(gone);
    let node = site.start().await;
    node.eventually("/v1/webhooks", |all| all["endpoints"][1]["state"] == "up").await;
    for number in 0..3 {
        assert_eq!(ask(&node, "ic_paused", "eng", &format!("iauth_{number}"), 1).await, "card_paused");
    }
    let there = receiver.takes("decision.declined", 3).await;
    node.until_metric("tollgate_outgoing_endpoints{state=\"failing\"}", |count| count > 0.5).await;
    node.until_metric("tollgate_outgoing_oldest_event_seconds", |age| age > 0.0).await;
    node.kill().await;
    let late = Receiver::at(address).await;
    let node = site.start().await;
    let mut found = late.takes("decision.declined", 3).await;
    let mut expected = there.clone();
    for events in [&mut found, &mut expected] {
        events.sort_by_key(|event| event["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(found, expected, "the same events with the same ids");
    // What the other endpoint has is recorded at the latest two seconds later: no more than that is sent again.
    for repeated in receiver.taken().iter().skip(3) {
        assert!(there.contains(repeated), "{repeated}");
    }
    node.eventually("/v1/webhooks", |all| all["endpoints"][0]["state"] == "up").await;
    node.stop().await;
}

#[tokio::test]
async fn endpoints_that_fail_or_hang_hold_up_neither_answers_nor_other_endpoints() {
    let (good, bad, silent) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    bad.refuses("");
    silent.is_silent();
    let site = site(
        &[
            endpoint("bad", &bad.url(), ""),
            endpoint("good", &good.url(), ""),
            endpoint("silent", &silent.url(), ""),
        ]
        .concat(),
    );
    let node = site.start().await;
    node.eventually("/v1/webhooks", |all| {
        all["endpoints"].as_array().unwrap().iter().all(|one| one["state"] != "starting")
    })
    .await;
    for number in 0..20 {
        assert_eq!(ask(&node, "ic_paused", "eng", &format!("iauth_{number}"), 1).await, "card_paused");
    }
    assert_eq!(good.takes("decision.declined", 20).await.len(), 20);
    let all = node
        .eventually("/v1/webhooks", |all| {
            all["endpoints"][0]["state"] == "failing" && all["endpoints"][1]["waiting"] == 0
        })
        .await;
    let (bad_one, good_one) = (&all["endpoints"][0], &all["endpoints"][1]);
    assert_eq!(
        (&bad_one["name"], &bad_one["host"], &bad_one["waiting"]),
        (&json!("bad"), &json!("127.0.0.1"), &json!(20))
    );
    assert_eq!(bad_one["last_failure"], "it replied with status 500");
    assert_eq!(
        (&good_one["state"], &good_one["delivered"], &good_one["failed"]),
        (&json!("up"), &json!(20), &json!(0))
    );
    // Those of the first attempts, and then one at a time with pauses: nobody is flooded.
    assert!(bad.refused().len() <= 12, "{}", bad.refused().len());
    node.until_metric("tollgate_outgoing_endpoints{state=\"failing\"}", |count| count > 0.5).await;
    node.stop().await;
}

#[tokio::test]
async fn an_event_is_sent_again_until_it_is_taken_and_holds_back_no_other() {
    let receiver = Receiver::start().await;
    receiver.refuses("iauth_never");
    let site = site(&endpoint("one", &receiver.url(), ", events: [decision.declined]"));
    let node = site.start().await;
    node.eventually("/v1/webhooks", |all| all["endpoints"][0]["state"] == "up").await;
    receiver.replies(&[503, 500]);
    for authorization in ["iauth_a", "iauth_never", "iauth_b"] {
        assert_eq!(ask(&node, "ic_paused", "eng", authorization, 1).await, "card_paused");
    }
    let taken = receiver.takes("decision.declined", 2).await;
    let mut authorizations: Vec<&str> =
        taken.iter().map(|event| event["data"]["decision"]["authorization"].as_str().unwrap()).collect();
    authorizations.sort_unstable();
    assert_eq!(authorizations, ["iauth_a", "iauth_b"]);
    for first in receiver.refused().iter().filter(|event| !event.to_string().contains("iauth_never")) {
        assert!(taken.contains(first), "what is sent again is the same event: {first}");
    }
    node.stop().await;
}

#[tokio::test]
async fn what_stripe_did_otherwise_is_told_once() {
    let receiver = Receiver::start().await;
    let site = site(&endpoint("one", &receiver.url(), ", events: [stripe.differed]"));
    let node = site.start().await;
    node.eventually("/v1/webhooks", |all| all["endpoints"][0]["state"] == "up").await;
    let created = |authorization: &str, approved: bool, reason: &str| {
        let mut created = event("authorization-created-approved");
        created["id"] = json!(format!("evt_created_{authorization}"));
        let object = &mut created["data"]["object"];
        object["id"] = json!(authorization);
        object["card"]["id"] = json!("ic_a");
        object["approved"] = json!(approved);
        let entry = &mut object["request_history"][0];
        entry["approved"] = json!(approved);
        entry["reason"] = json!(reason);
        created.to_string()
    };
    let amount = event("authorization-created-approved")["data"]["object"]["amount"].as_i64().unwrap();
    for authorization in ["iauth_1", "iauth_2"] {
        assert!(Verdict::of(&node.deliver(&purchase("ic_a", authorization, amount)).await).approved);
    }
    assert_eq!(node.deliver(created("iauth_1", true, "webhook_approved").as_bytes()).await.status, 200);
    let declined = created("iauth_2", false, "webhook_timeout");
    assert_eq!(node.deliver(declined.as_bytes()).await.status, 200);
    let differed = receiver.takes("stripe.differed", 1).await;
    let data = &differed[0]["data"];
    assert_eq!(
        (
            &data["authorization"],
            &data["decision"]["outcome"],
            &data["stripe"]["approved"],
            &data["stripe"]["reason"]
        ),
        (&json!("iauth_2"), &json!("approved"), &json!(false), &json!("webhook_timeout"))
    );
    // Stripe delivers an event more than once.
    assert_eq!(node.deliver(declined.as_bytes()).await.status, 200);
    node.stop().await;
    let node = site.start().await;
    assert_eq!(ask(&node, "ic_paused", "eng", "iauth_3", 1).await, "card_paused");
    node.stop().await;
    assert_eq!(receiver.taken().len(), 1, "{:?}", receiver.taken());
}

#[tokio::test]
async fn a_changed_file_changes_where_events_go_and_a_bad_one_does_not() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let site = site(&endpoint("first", &first.url(), ""));
    let mut node = site.start().await;
    node.eventually("/v1/webhooks", |all| all["endpoints"][0]["state"] == "up").await;
    write(&site, "  first: {url: nowhere}\n");
    node.process.signal(Signal::HUP);
    let told = node.process.logged("the webhooks file has mistakes; the endpoints stay as they are").await;
    assert_eq!(told["level"], "WARN");
    assert_eq!(ask(&node, "ic_paused", "eng", "iauth_1", 1).await, "card_paused");
    first.takes("decision.declined", 1).await;
    write(&site, &endpoint("second", &second.url(), ""));
    node.process.signal(Signal::HUP);
    node.eventually("/v1/webhooks", |all| {
        all["endpoints"][0]["name"] == "second" && all["endpoints"][0]["state"] == "up"
    })
    .await;
    assert_eq!(ask(&node, "ic_paused", "eng", "iauth_2", 1).await, "card_paused");
    let taken = second.takes("decision.declined", 1).await;
    assert_eq!(taken[0]["data"]["decision"]["authorization"], "iauth_2");
    assert_eq!(first.taken().len(), 1);
    node.stop().await;
    // A file with mistakes is no start.
    write(&site, "  first: {url: nowhere}\n");
    let ending = site.refuses_to_start().await;
    assert_eq!(ending.code, Some(78), "{}", ending.log);
    assert!(ending.log.contains("line 3, column 16"), "{}", ending.log);
}

#[tokio::test]
async fn a_file_is_checked_and_its_endpoints_are_tried_out() {
    let receiver = Receiver::start().await;
    let site = site(
        &[endpoint("works", &receiver.url(), ""), endpoint("slack", &receiver.url(), ", format: slack")]
            .concat(),
    );
    let check = async |arguments: &[&str]| {
        let output = site.run(&[&["check", "--webhooks", "webhooks.yaml"], arguments].concat(), &[]).await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(check(&[]).await, (Some(0), "webhooks.yaml is good: 2 endpoints\n".to_owned()));
    let (code, text) = check(&["--send"]).await;
    assert_eq!((code, text.matches("took a test event").count()), (Some(0), 2), "{text}");
    assert_eq!(receiver.taken()[0]["type"], "endpoint.test");
    receiver.replies(&[404]);
    let (code, text) = check(&["--send"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("works: did not take a test event: it replied with status 404"), "{text}");
    write(&site, "  one: {url: nowhere, secret: x, evnets: []}\n");
    let (code, text) = check(&[]).await;
    assert_eq!(code, Some(1), "{text}");
    for part in
        ["webhooks.yaml:3:14 (endpoints.one.url)", "did you mean `events`?", "3 mistakes in webhooks.yaml"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}
