//! The policy file while the node runs: a new one decides at once, a bad one changes nothing and is told of.

use std::fs;

use rustix::process::Signal;

use crate::{
    deliveries::{Verdict, purchase, purchase_in},
    process::{Node, Site},
};

fn policy(limit: i64, more: &str) -> String {
    format!(
        "version: 1\ndefault:\n  spending_limits: [{{amount: {limit}, interval: all_time}}]\n{more}\
         groups:\n  frozen: {{paused: true}}\ncards:\n  ic_paused: {{paused: true}}\n"
    )
}

/// Writes the file as editors do, whole, and lets the node know.
fn publish(site: &Site, node: &Node, text: &str) {
    fs::write(site.path("policy.new"), text).unwrap();
    fs::rename(site.path("policy.new"), site.path("policy.yaml")).unwrap();
    node.process.signal(Signal::HUP);
}

async fn ask(node: &Node, card: &str, authorization: &str, amount: i64) -> String {
    Verdict::of(&node.deliver(&purchase(card, authorization, amount)).await).reason
}

/// What a card of this group is answered.
async fn ask_grouped(node: &Node, group: &str, authorization: &str) -> String {
    let mut purchase = purchase_in("usd", &format!("ic_of_{group}"), authorization, 1);
    purchase["data"]["object"]["card"]["metadata"]["tollgate_group"] = group.into();
    Verdict::of(&node.deliver(purchase.to_string().as_bytes()).await).reason
}

#[tokio::test]
async fn a_group_that_the_policy_lacks_is_told_of_and_declined_if_the_policy_says_so() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), policy(1_000, "")).unwrap();
    let mut node = site.start().await;
    let unknown = "tollgate_unknown_group_requests_total";
    assert_eq!(ask_grouped(&node, "frozen", "iauth_known").await, "card_paused");
    assert_eq!(node.metric(unknown).await.to_string(), "0");
    assert_eq!(ask_grouped(&node, "frosen", "iauth_unknown").await, "approved");
    assert_eq!(node.metric(unknown).await.to_string(), "1");
    let told = node
        .process
        .logged("the policy lacks the group of a card: correct `tollgate_group` in its metadata, or add the group")
        .await;
    assert_eq!((&told["level"], &told["card"]), (&"WARN".into(), &"ic_of_frosen".into()));
    assert_eq!(told["group"], "frosen");
    for (group, is_known) in [("frozen", true), ("frosen", false)] {
        let card = node.card(&format!("ic_of_{group}")).await;
        assert_eq!((&card["group"], &card["group_in_policy"]), (&group.into(), &is_known.into()));
    }

    publish(&site, &node, &format!("unknown_group: decline\n{}", policy(1_000, "")));
    node.process.logged("a new policy is in force").await;
    assert_eq!(ask_grouped(&node, "frosen", "iauth_declined").await, "unknown_group");
    let declined = node.authorization("iauth_declined").await;
    let explanation = declined["decisions"][0]["explanation"].as_str().unwrap();
    assert!(explanation.contains("the policy has no group \"frosen\""), "{explanation}");
    assert_eq!(ask(&node, "ic_without_a_group", "iauth_none", 1).await, "approved");
    assert_eq!(node.card("ic_without_a_group").await["group_in_policy"], serde_json::Value::Null);
    node.stop().await;
}

#[tokio::test]
async fn a_new_policy_decides_and_a_bad_one_does_not() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), policy(1_000, "")).unwrap();
    let mut node = site.start().await;
    assert_eq!(ask(&node, "ic_p", "iauth_1", 900).await, "approved");
    assert_eq!(ask(&node, "ic_p", "iauth_2", 200).await, "spending_limit");
    assert_eq!(ask(&node, "ic_paused", "iauth_3", 1).await, "card_paused");
    let mut grouped = purchase_in("usd", "ic_grouped", "iauth_4", 1);
    grouped["data"]["object"]["card"]["metadata"]["tollgate_group"] = "frozen".into();
    let grouped = node.deliver(grouped.to_string().as_bytes()).await;
    assert_eq!(Verdict::of(&grouped).reason, "card_paused");
    let before = node.card("ic_p").await;

    // What is spent under one policy is spent under the next.
    publish(&site, &node, &policy(2_000, ""));
    node.process.logged("a new policy is in force").await;
    assert_eq!(ask(&node, "ic_p", "iauth_5", 1_101).await, "spending_limit");
    assert_eq!(ask(&node, "ic_p", "iauth_6", 1_100).await, "approved");
    let after = node.card("ic_p").await;
    assert_ne!(before["policy"], after["policy"]);
    let decided_by = |authorization: &str| {
        let decisions = after["recent"].as_array().unwrap().iter();
        decisions.clone().find(|one| one["authorization"] == authorization).unwrap()["policy"].clone()
    };
    assert_eq!(
        (decided_by("iauth_1"), decided_by("iauth_6")),
        (before["policy"].clone(), after["policy"].clone())
    );

    for bad in ["version: 1\ndefault:\n  spending_limits: [{amount: 9999, interval: dayly}]\n", "{", ""] {
        publish(&site, &node, bad);
        let told = node.process.logged("the policy file has mistakes; the policy stays as it is").await;
        assert_eq!(told["level"], "WARN");
        assert_eq!(told["version"], after["policy"]);
        assert_eq!(ask(&node, "ic_p", &format!("iauth_bad_{}", bad.len()), 1).await, "spending_limit");
    }
    let log = node.process.log();
    assert!(log.contains("dayly") && log.contains("daily"), "the mistake is pointed at: {log}");
    let refused = node.metric("tollgate_policy_reloads_total{result=\"refused\"}").await;
    assert!((refused - 3.0).abs() < 0.5, "{refused}");

    publish(&site, &node, &policy(5_000, "  blocked_categories: [computer_software_stores]\n"));
    node.process.logged("a new policy is in force").await;
    assert_eq!(ask(&node, "ic_p", "iauth_7", 1).await, "category_blocked");
    // The same question keeps its answer, whatever the policy says today.
    assert_eq!(ask(&node, "ic_p", "iauth_6", 1_100).await, "approved");
    node.process.signal(Signal::HUP);
    node.process.logged("the file has not changed").await;
    node.stop().await;
}
