//! Deciding a journal again: every answer comes out as it is recorded, whatever happened meanwhile; and what was changed in
//! the journal is found.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::fs;

use rusqlite::Connection;
use rustix::process::Signal;

use crate::{
    deliveries::{event, purchase, purchase_in},
    process::{Node, Site, replayed},
};

const FEW: &str =
    "version: 1\ncurrency: usd\ndefault:\n  spending_limits: [{amount: 10000, interval: daily}]\n";
/// A limit that reaches back to before it was made, a count, a group, and the card's own controls at Stripe.
const MORE: &str = "version: 1\ncurrency: usd\ndefault:\n  mirror_stripe_controls: true\n  spending_limits:\n    \
    - {amount: 9000, interval: all_time}\n    - {count: 40, interval: rolling(36h)}\n  rules:\n    \
    - {name: history, when: 'attempts(1h) + declines(6h) * 1000 + distinct(merchant.id, 7d) > 1000', then: {tag: {h: a}}}\n    \
    - {name: new, when: 'is_first(merchant.country) || since_last(attempt) < 1s || since_last(approval) > 1h', then: flag}\n    \
    - {name: tier, when: 'card.metadata.tier == \"gold\" && remaining(all_time) < 5000', then: {score: 60}}\n    \
    - {name: small, when: amount < 400, then: {score: 50}}\n    \
    - {name: stop, when: amount > 900, then: {block: 1s}}\n\
    groups:\n  frozen: {paused: true}\n";

async fn deliver(node: &Node, body: &[u8]) {
    let response = node.deliver(body).await;
    assert_eq!(response.status, 200, "{}", response.body);
}

/// Purchases on a few cards, some of them in a group, each with a capture of one in three.
async fn purchases(node: &Node, round: &str) {
    for number in 0..24 {
        let card = format!("ic_{}", number % 4);
        let authorization = format!("iauth_{round}_{number}");
        let mut request = purchase_in("usd", &card, &authorization, 100 + number * 37);
        if number % 5 == 0 {
            request["data"]["object"]["card"]["metadata"]["tollgate_group"] = "frozen".into();
        }
        if number % 2 == 0 {
            request["data"]["object"]["card"]["metadata"]["tier"] = "gold".into();
        }
        if number % 7 == 0 {
            request["data"]["object"]["card"]["spending_controls"] = serde_json::json!({
                "blocked_categories": ["bakeries"],
                "spending_limits": [{"amount": 500 + number, "interval": "daily", "categories": null}],
            });
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

async fn policy(site: &Site, node: &mut Node, text: &str) {
    fs::write(site.path("policy.new"), text).unwrap();
    fs::rename(site.path("policy.new"), site.path("policy.yaml")).unwrap();
    node.process.signal(Signal::HUP);
    node.process.logged("a new policy is in force").await;
}

/// A journal with two policies, evictions, a restart, and a kill.
async fn journal() -> Site {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml"), ("TOLLGATE_CARD_IDLE_AFTER", "1ms")]);
    fs::write(site.path("policy.yaml"), FEW).unwrap();
    let mut node = site.start().await;
    purchases(&node, "few").await;
    policy(&site, &mut node, MORE).await;
    purchases(&node, "more").await;
    node.kill().await;
    let mut node = site.start().await;
    policy(&site, &mut node, FEW).await;
    purchases(&node, "again").await;
    node.stop().await;
    site
}

#[tokio::test]
async fn every_answer_comes_out_as_it_is_recorded() {
    let site = journal().await;
    let node = site.start().await;
    let replayed = replayed(&site.journal()).await;
    let report = String::from_utf8(replayed.stdout).unwrap();
    assert_eq!(replayed.status.code(), Some(0), "{report}");
    assert!(report.contains("72 of 72 answers") && report.contains("2 policies"), "{report}");
    // It read beside a node, which did not notice.
    deliver(&node, &purchase("ic_0", "iauth_beside", 1)).await;
    node.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_changed_is_found() {
    let site = journal().await;
    let change = |from: &str, to: &str| {
        let journal = Connection::open(site.journal()).unwrap();
        let sql = "UPDATE entry SET body = replace(body, ?1, ?2) WHERE instr(body, ?1) > 0";
        assert!(journal.execute(sql, [from, to]).unwrap() > 0, "nothing in the journal says {from}");
    };
    // Each is found by itself, and put back: a request, an answer, a limit of a policy.
    for (from, to, expected) in [
        ("\"asked\":137,", "\"asked\":138,", "recorded approved 137 (approved), now approved 138 (approved)"),
        (
            "\"granted\":174,",
            "\"granted\":175,",
            "recorded approved 175 (approved), now approved 174 (approved)",
        ),
        ("{amount: 10000,", "{amount: 20000,", "with other numbers"),
    ] {
        change(from, to);
        let replayed = replayed(&site.journal()).await;
        let report = String::from_utf8(replayed.stdout).unwrap();
        assert_eq!(replayed.status.code(), Some(1), "{from}: {report}");
        assert!(report.contains(expected), "{from}: {report}");
        change(to, from);
    }
}

#[tokio::test]
async fn what_is_no_journal_is_said() {
    let site = Site::new(&[]);
    fs::write(site.path("empty.db"), "").unwrap();
    fs::write(site.path("other.db"), "a file of somebody else, which is long enough to be looked at")
        .unwrap();
    for (name, expected) in
        [("empty.db", "found none"), ("nowhere.db", "found none"), ("other.db", "not a database")]
    {
        let replayed = replayed(&site.path(name)).await;
        let said = String::from_utf8(replayed.stderr).unwrap();
        assert_eq!(replayed.status.code(), Some(74), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

fn limited_to(limit: i64) -> String {
    format!(
        "version: 1\ncurrency: usd\ndefault:\n  spending_limits: [{{amount: {limit}, interval: all_time}}]\n"
    )
}

/// Three purchases, of which a lower limit would decline two, or one if it had declined the other before.
async fn three_purchases() -> Site {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), limited_to(10_000)).unwrap();
    let node = site.start().await;
    for (authorization, amount) in [("iauth_first", 4_000), ("iauth_second", 4_000), ("iauth_third", 900)] {
        deliver(&node, &purchase("ic_one", authorization, amount)).await;
    }
    let mut capture = event("transaction-created-capture");
    capture["id"] = "evt_capture".into();
    capture["data"]["object"]["card"] = "ic_one".into();
    capture["data"]["object"]["authorization"] = "iauth_second".into();
    capture["data"]["object"]["amount"] = (-4_000).into();
    deliver(&node, capture.to_string().as_bytes()).await;
    fs::write(site.path("lower.yaml"), limited_to(5_000)).unwrap();
    node.stop().await;
    site
}

#[tokio::test]
async fn another_policy_is_tried_on_history_in_both_worlds() {
    let site = three_purchases().await;
    let arguments = ["replay", "--policy", "lower.yaml", "--json", "report.json", "--html", "report.html"];
    let output = site.run(&arguments, &[]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("3 of 3 answers") && shown.contains("new declines by reason: spending_limit 2"),
        "{shown}"
    );
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(site.path("report.json")).unwrap()).unwrap();
    assert_eq!(report["identical"], true);
    assert_eq!(report["requests"], 3);
    let declined = |world: &str| report[world]["changes"]["newly_declined"].clone();
    assert_eq!(declined("as_it_happened"), serde_json::json!({"count": 2, "amount": {"usd": 4_900}}));
    assert_eq!(declined("as_it_would_have_gone"), serde_json::json!({"count": 1, "amount": {"usd": 4_000}}));
    assert_eq!(report["worlds_differ"], 1);
    assert_eq!(report["became"]["captured"]["amount"]["usd"], 4_000);
    assert_eq!(report["became"]["open"]["amount"]["usd"], 900);
    assert_eq!(report["most_affected_cards"], serde_json::json!([["ic_one", 2]]));
    let page = fs::read_to_string(site.path("report.html")).unwrap();
    assert!(
        page.contains("3 of 3 recorded answers came out the same") && page.contains("iauth_second"),
        "{page}"
    );
    assert!(!page.contains("<script") && !page.contains("http"), "it needs no script and no network");
}

#[tokio::test]
async fn the_policy_in_force_changes_nothing() {
    let site = three_purchases().await;
    let arguments = ["replay", "--policy", "policy.yaml", "--json", "report.json"];
    assert_eq!(site.run(&arguments, &[]).await.status.code(), Some(0));
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(site.path("report.json")).unwrap()).unwrap();
    for world in ["as_it_happened", "as_it_would_have_gone"] {
        assert_eq!(report[world]["same"], 3, "{report}");
    }
}

#[tokio::test]
async fn a_pipeline_fails_where_too_much_would_change() {
    let site = three_purchases().await;
    let check = async |more: &[&str], code: i32| {
        let arguments: Vec<&str> = ["replay", "--policy", "lower.yaml"].iter().chain(more).copied().collect();
        let output = site.run(&arguments, &[]).await;
        assert_eq!(output.status.code(), Some(code), "{more:?}: {output:?}");
    };
    check(&["--fail-if", "newly_declined_share > 60%"], 1).await;
    check(&["--fail-if", "newly_declined_share > 70%"], 0).await;
    check(&["--fail-if", "newly_declined_count >= 2"], 1).await;
    check(&["--fail-if", "newly_declined_count > 0", "--cards", "ic_other"], 0).await;
    check(&["--fail-if", "newly_declined_count > 0", "--since", "2099-01-01T00:00:00Z"], 0).await;
    check(&["--fail-if", "newly_declined > 0"], 2).await;
    fs::write(site.path("lower.yaml"), "version: 1\ndefault: {spending_limit: []}\n").unwrap();
    check(&[], 78).await;
}
