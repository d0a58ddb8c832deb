//! Policies by connected account: which layer a card gets follows from the `account` of Stripe's events.

use std::fs;

use crate::{
    deliveries::{Verdict, purchase_in},
    process::{Node, Site},
};

const POLICY: &str = "\
version: 1
currency: usd
budgets:
  acme: {spending_limits: [{amount: 5000, interval: all_time}]}
default: {spending_limits: [{amount: 1000, interval: all_time}]}
accounts:
  acct_large: {spending_limits: [{amount: 3000, interval: all_time}]}
  acct_acme: {budgets: [acme], spending_limits: [{amount: 4000, interval: all_time}]}
groups:
  careful: {spending_limits: [{amount: 500, interval: all_time}]}
";

/// What a card of a connected account is answered.
async fn ask(node: &Node, account: Option<&str>, card: &str, authorization: &str, amount: i64) -> String {
    let mut event = purchase_in("usd", card, authorization, amount);
    if let Some(account) = account {
        event["account"] = account.into();
    }
    if card.contains("careful") {
        event["data"]["object"]["card"]["metadata"]["tollgate_group"] = "careful".into();
    }
    Verdict::of(&node.deliver(event.to_string().as_bytes()).await).reason
}

#[tokio::test]
async fn a_card_gets_the_settings_of_its_connected_account() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), POLICY).unwrap();
    let node = site.start().await;
    let large = Some("acct_large");
    assert_eq!(ask(&node, None, "ic_own", "iauth_1", 1_001).await, "spending_limit");
    assert_eq!(ask(&node, Some("acct_other"), "ic_other", "iauth_2", 1_001).await, "spending_limit");
    assert_eq!(ask(&node, large, "ic_large", "iauth_3", 2_900).await, "approved");
    assert_eq!(ask(&node, large, "ic_large", "iauth_4", 101).await, "spending_limit");
    assert_eq!(ask(&node, large, "ic_careful", "iauth_5", 501).await, "spending_limit");
    assert_eq!(node.card("ic_large").await["limits"][0]["max"], 3_000);
    // A request that names no account gets what all cards get, the next one that names it gets the account's.
    assert_eq!(ask(&node, None, "ic_late", "iauth_late_1", 1_001).await, "spending_limit");
    assert_eq!(ask(&node, large, "ic_late", "iauth_late_2", 1_001).await, "approved");
    assert_eq!(ask(&node, None, "ic_late", "iauth_late_3", 1).await, "spending_limit");
    // The budget of an account is charged by its cards alone.
    let acme = Some("acct_acme");
    assert_eq!(ask(&node, acme, "ic_acme_1", "iauth_6", 4_000).await, "approved");
    assert_eq!(ask(&node, acme, "ic_acme_2", "iauth_7", 1_001).await, "spending_limit");
    assert_eq!(ask(&node, acme, "ic_acme_2", "iauth_8", 1_000).await, "approved");
    assert_eq!(node.books("/v1/budgets/acme").await["held"], 5_000);
    // The same from the journal after a restart, and when the journal is decided again.
    node.stop().await;
    let node = site.start().await;
    assert_eq!(ask(&node, large, "ic_large", "iauth_9", 101).await, "spending_limit");
    assert_eq!(ask(&node, large, "ic_large", "iauth_10", 100).await, "approved");
    node.stop().await;
}
