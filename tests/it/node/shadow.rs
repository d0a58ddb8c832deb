//! A policy that is tried beside the one in force: what it would change is what a replay of the journal finds, whatever
//! happened meanwhile, and no answer is another one.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::{
    client::{Client, Response, request},
    deliveries::{event, purchase, purchase_in},
    process::{Node, Site},
};

const IN_FORCE: &str = "version: 1\ncurrency: usd\nbudgets:\n  team: {spending_limits: [{amount: 40000, interval: monthly}]}\n\
    default:\n  budgets: [team]\n  spending_limits: [{amount: 6000, interval: all_time}]\n  \
    rules: [{name: small, when: 'amount < 250', then: decline}]\n";

/// Windows, counts, rules, a budget with another limit, one more budget, an entry of metadata: nothing of it is in force.
const NEXT: &str = "version: 1\ncurrency: usd\nbudgets:\n  team: {spending_limits: [{amount: 20000, interval: monthly}]}\n  \
    holder: {per: cardholder, spending_limits: [{count: 30, interval: rolling(24h)}]}\n\
    default:\n  budgets: [team, holder]\n  spending_limits:\n    - {amount: 4500, interval: all_time}\n    - {count: 7, interval: rolling(36h)}\n  \
    rules:\n    - {name: often, when: 'attempts(1h) > 9', then: decline}\n    \
    - {name: gold, when: 'card.metadata.tier == \"gold\" && amount > 700', then: {cap: 600}}\n    \
    - {name: new, when: 'merchant.country == \"US\" && amount > 700', then: challenge}\n";

async fn deliver(node: &Node, body: &[u8]) {
    let response = node.deliver(body).await;
    assert_eq!(response.status, 200, "{}", response.body);
}

/// Purchases on six cards, a capture of one in three, a reversal of one in four.
async fn purchases(node: &Node, round: &str, count: i64) {
    for number in 0..count {
        let card = format!("ic_{}", number % 6);
        let authorization = format!("iauth_{round}_{number}");
        let mut request = purchase_in("usd", &card, &authorization, 150 + number * 97 % 1_000);
        if number % 2 == 0 {
            request["data"]["object"]["card"]["metadata"]["tier"] = "gold".into();
        }
        deliver(node, request.to_string().as_bytes()).await;
        if number % 3 == 0 {
            let mut capture = event("transaction-created-capture");
            capture["id"] = format!("evt_capture_{round}_{number}").into();
            capture["data"]["object"]["id"] = format!("ipi_{round}_{number}").into();
            capture["data"]["object"]["card"] = card.into();
            capture["data"]["object"]["authorization"] = authorization.into();
            capture["data"]["object"]["amount"] = (-150 - number).into();
            deliver(node, capture.to_string().as_bytes()).await;
        }
    }
}

/// The findings, once they are about this many requests.
async fn findings(node: &Node, requests: u64) -> Value {
    let is_there = |shadow: &Value| shadow["findings"]["report"]["requests"] == requests;
    node.eventually("/v1/shadow", is_there).await["findings"].clone()
}

/// The report of a replay under `next.yaml`.
async fn replayed(site: &Site) -> Value {
    let output = site.run(&["replay", "--policy", "next.yaml", "--json", "report.json"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&fs::read(site.path("report.json")).unwrap()).unwrap()
}

async fn put(node: &Node, body: &Value) -> Response {
    let body = body.to_string();
    let head = request("PUT", "/v1/shadow", &format!("content-length: {}\r\n", body.len()));
    Client::connect(node.admin).await.exchange([head, body.into_bytes()].concat()).await
}

fn site(settings: &[(&str, &str)]) -> Site {
    let mut site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml"), ("TOLLGATE_CARD_IDLE_AFTER", "1ms")]);
    for (name, value) in settings {
        site.set(name, value);
    }
    fs::write(site.path("policy.yaml"), IN_FORCE).unwrap();
    fs::write(site.path("next.yaml"), NEXT).unwrap();
    site
}

#[tokio::test]
async fn a_candidate_beside_a_node_finds_what_a_replay_of_the_journal_finds() {
    let site = site(&[("TOLLGATE_SHADOW_POLICY", "next.yaml")]);
    let node = site.start().await;
    purchases(&node, "one", 90).await;
    let found = findings(&node, 90).await;
    let metric = |world: &str| format!("tollgate_shadow_changes_total{{world=\"{world}\"");
    let counted = node.metric("tollgate_shadow_requests_total").await;
    let (happened, gone) = (node.metric(&metric("happened")).await, node.metric(&metric("gone")).await);
    node.stop().await;
    let replay = replayed(&site).await;
    assert_eq!((&found["dropped"], &found["restarted"]), (&json!(0), &json!(0)), "{found:#}");
    for (section, value) in found["report"].as_object().unwrap() {
        assert_eq!(&replay[section], value, "{section}");
    }
    // Of each kind there is something, and the two histories part.
    let report = &found["report"];
    let changes = |world: &str| report[world]["changes"].as_object().unwrap().clone();
    let kinds: BTreeSet<String> = changes("as_it_happened").keys().cloned().collect();
    assert!(
        ["newly_declined", "newly_approved", "newly_challenged"].iter().all(|kind| kinds.contains(*kind)),
        "{report:#}"
    );
    assert!(report["worlds_differ"].as_u64() > Some(5), "{report:#}");
    let sum =
        |world: &str| changes(world).values().map(|money| money["count"].as_f64().unwrap()).sum::<f64>();
    assert_eq!((counted, happened, gone), (90.0, sum("as_it_happened"), sum("as_it_would_have_gone")));
}

#[tokio::test]
async fn what_was_found_survives_a_restart() {
    let site = site(&[("TOLLGATE_SHADOW_POLICY", "next.yaml")]);
    // A budget that is not in force has no entries to begin again from.
    fs::write(site.path("next.yaml"), NEXT.replace("[team, holder]", "[team]")).unwrap();
    let node = site.start().await;
    purchases(&node, "one", 40).await;
    // What is not recorded yet is recorded when the node stops.
    node.stop().await;
    let node = site.start().await;
    purchases(&node, "two", 40).await;
    let found = findings(&node, 80).await;
    node.stop().await;
    let replay = replayed(&site).await;
    assert_eq!(replay["as_it_happened"], found["report"]["as_it_happened"]);
    assert_eq!(replay["became"], found["report"]["became"]);
}

#[tokio::test]
async fn an_operator_tries_a_policy_and_ends_the_trial() {
    let site = site(&[]);
    let node = site.start().await;
    deliver(&node, &purchase("ic_before", "iauth_before", 4_400)).await;
    assert_eq!(node.books("/v1/shadow").await["candidate"], Value::Null);
    let change = |policy: Option<&str>| json!({"policy": policy, "reason": "ticket 7"});
    let refused = put(&node, &change(None)).await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (409, Some("nothing_tried")));
    let refused = put(&node, &change(Some("version: 1\ndefault: {spending_limit: []}\n"))).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("spending_limits"), "{}", refused.body);
    let refused = put(&node, &json!({"policy": NEXT, "reason": " "})).await;
    assert_eq!(refused.status, 400);
    let set = put(&node, &change(Some(NEXT))).await;
    assert_eq!((set.status, set.json()["by"].as_str()), (200, Some("local")), "{}", set.body);
    assert_eq!(put(&node, &change(Some(NEXT))).await.status, 409);
    node.until_metric("tollgate_shadow_candidate", |is_tried| is_tried > 0.5).await;
    // The candidate counts what was spent before it was tried, and the answer is that of the policy in force.
    let answer = node.deliver(&purchase("ic_before", "iauth_after", 300)).await.json();
    assert_eq!(answer["approved"], true);
    let found = findings(&node, 1).await;
    assert_eq!(found["report"]["as_it_happened"]["changes"]["newly_declined"]["count"], 1, "{found:#}");
    assert_eq!(found["report"]["examples"][0]["authorization"], "iauth_after");
    let ended = put(&node, &change(None)).await;
    assert_eq!((ended.status, &ended.json()["candidate"]), (200, &Value::Null), "{}", ended.body);
    node.until_metric("tollgate_shadow_candidate", |is_tried| is_tried < 0.5).await;
    deliver(&node, &purchase("ic_before", "iauth_later", 200)).await;
    let shadow = node.books("/v1/shadow").await;
    assert_eq!(shadow["findings"]["report"]["requests"], 1, "what was found stays: {shadow:#}");
    node.stop().await;
}
