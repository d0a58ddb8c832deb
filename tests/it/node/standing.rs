//! What Stripe says of cards, cardholders and accounts, told to the real binary over its webhook, and remembered
//! through a kill: pauses, groups, replacements, and the events of another account.

use std::fs;

use serde_json::{Value, json};

use crate::{
    deliveries::{Verdict, event, purchase_in},
    process::{Node, Site},
};

const POLICY: &str = "version: 1\ndefault:\n  spending_limits: [{amount: 1000, interval: all_time}]\n\
    groups:\n  rich: {spending_limits: [{amount: 9000, interval: all_time}]}\n";

fn site() -> Site {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), POLICY).unwrap();
    site
}

/// A purchase on a card of this cardholder, with more of the event changed.
async fn ask(
    node: &Node,
    (card, of): (&str, &str),
    name: &str,
    amount: i64,
    change: fn(&mut Value),
) -> Verdict {
    let mut event = purchase_in("usd", card, &format!("iauth_{name}"), amount);
    event["data"]["object"]["card"]["cardholder"]["id"] = json!(of);
    change(&mut event);
    Verdict::of(&node.deliver(event.to_string().as_bytes()).await)
}

async fn reason(node: &Node, card: (&str, &str), name: &str, amount: i64) -> String {
    ask(node, card, name, amount, |_| {}).await.reason
}

/// The news of a card or cardholder, at the second `at`.
async fn tell(node: &Node, kind: &str, at: i64, id: &str, fields: Value) -> u16 {
    let (fixture, _) = kind.split_once('.').unwrap();
    let name = if fixture == "issuing_card" { "card-updated-canceled" } else { "cardholder-updated" };
    let mut event = event(name);
    event["id"] = json!(format!("evt_{kind}_{id}_{at}"));
    event["type"] = json!(kind);
    event["created"] = json!(1_790_000_000 + at);
    event["data"]["object"]["id"] = json!(id);
    for (field, value) in fields.as_object().unwrap() {
        event["data"]["object"][field] = value.clone();
    }
    node.deliver(event.to_string().as_bytes()).await.status
}

#[tokio::test]
async fn a_card_or_cardholder_that_is_not_active_declines_until_it_is_again() {
    let site = site();
    let mut node = site.start().await;
    let (card, holder) = ("issuing_card.updated", "issuing_cardholder.updated");
    let mine = ("ic_1", "ich_1");
    let mut number = 0;
    for (kind, id, status, expected) in [
        (card, "ic_1", "inactive", "card_paused"),
        (card, "ic_1", "active", "approved"),
        (card, "ic_1", "canceled", "card_paused"),
        (card, "ic_1", "active", "approved"),
        (holder, "ich_1", "inactive", "card_paused"),
        (holder, "ich_1", "active", "approved"),
        (holder, "ich_1", "blocked", "card_paused"),
    ] {
        number += 1;
        assert_eq!(tell(&node, kind, number, id, json!({"status": status})).await, 200);
        assert_eq!(reason(&node, mine, &format!("{number}"), 1).await, expected, "{kind} {status}");
        // An event of before, late, changes nothing.
        assert_eq!(tell(&node, kind, 0, id, json!({"status": "active"})).await, 200);
        assert_eq!(reason(&node, mine, &format!("{number}-late"), 1).await, expected, "{kind} {status}");
        node.kill().await;
        node = site.start().await;
        assert_eq!(reason(&node, mine, &format!("{number}-again"), 1).await, expected, "{kind} {status}");
    }
    assert_eq!(reason(&node, ("ic_2", "ich_1"), "second", 1).await, "card_paused", "all of its cards");
    assert_eq!(reason(&node, ("ic_3", "ich_3"), "other", 1).await, "approved", "and no others");
    // What the request itself embeds counts too.
    let canceled = |event: &mut Value| event["data"]["object"]["card"]["status"] = json!("canceled");
    assert_eq!(ask(&node, ("ic_3", "ich_3"), "embedded", 1, canceled).await.reason, "card_paused");
    let blocked =
        |event: &mut Value| event["data"]["object"]["card"]["cardholder"]["status"] = json!("blocked");
    assert_eq!(ask(&node, ("ic_3", "ich_3"), "blocked", 1, blocked).await.reason, "card_paused");
    let explained = node.authorization("iauth_blocked").await;
    assert!(explained["decisions"][0]["explanation"].as_str().unwrap().contains("not active"), "{explained}");
    assert_eq!(reason(&node, ("ic_3", "ich_3"), "next", 1).await, "approved");
    // Cards are born inactive: one that asks was made active since, and the news of it is on its way.
    assert_eq!(tell(&node, "issuing_card.created", 1, "ic_4", json!({"status": "inactive"})).await, 200);
    assert_eq!(reason(&node, ("ic_4", "ich_3"), "born", 1).await, "approved");
}

#[tokio::test]
async fn metadata_of_a_card_or_its_cardholder_regroups_it() {
    let site = site();
    let mut node = site.start().await;
    let rich = json!({"metadata": {"tollgate_group": "rich"}, "status": "active"});
    for (kind, id, card) in [
        ("issuing_card.updated", "ic_1", ("ic_1", "ich_1")),
        ("issuing_cardholder.updated", "ich_2", ("ic_2", "ich_2")),
    ] {
        assert_eq!(reason(&node, card, &format!("before-{id}"), 1_001).await, "spending_limit");
        assert_eq!(tell(&node, kind, 1, id, rich.clone()).await, 200);
        assert_eq!(reason(&node, card, &format!("after-{id}"), 8_999).await, "approved");
        node.kill().await;
        node = site.start().await;
        assert_eq!(reason(&node, card, &format!("again-{id}"), 2).await, "spending_limit");
        assert_eq!(reason(&node, card, &format!("last-{id}"), 1).await, "approved");
        let plain = json!({"metadata": {}, "status": "active"});
        assert_eq!(tell(&node, kind, 2, id, plain).await, 200);
        assert_eq!(reason(&node, card, &format!("left-{id}"), 1).await, "spending_limit");
    }
    // The request knows best.
    let embedded = |event: &mut Value| {
        event["data"]["object"]["card"]["metadata"] = json!({"tollgate_group": "rich"});
    };
    assert_eq!(ask(&node, ("ic_3", "ich_3"), "embedded", 9_000, embedded).await.reason, "approved");
}

#[tokio::test]
async fn a_replacement_goes_on_with_what_was_spent_through_a_kill() {
    let site = site();
    let mut node = site.start().await;
    let (old, new) = (("ic_old", "ich_1"), ("ic_new", "ich_1"));
    assert_eq!(reason(&node, old, "old", 600).await, "approved");
    let replaces = |event: &mut Value| event["data"]["object"]["card"]["replacement_for"] = json!("ic_old");
    // The question comes before the news of the card.
    assert_eq!(ask(&node, new, "over", 401, replaces).await.reason, "spending_limit");
    node.kill().await;
    node = site.start().await;
    let first = ask(&node, new, "fits", 300, replaces).await;
    assert_eq!(first.reason, "approved");
    let made = json!({"replacement_for": "ic_old", "replacement_reason": "lost", "status": "active"});
    assert_eq!(tell(&node, "issuing_card.created", 1, "ic_new", made).await, 200);
    assert_eq!(tell(&node, "issuing_card.updated", 2, "ic_old", json!({"status": "canceled"})).await, 200);
    node.kill().await;
    node = site.start().await;
    assert_eq!(ask(&node, new, "fits", 300, replaces).await, first, "the same question, the same answer");
    assert_eq!(reason(&node, new, "rest", 100).await, "approved");
    assert_eq!(reason(&node, new, "more", 1).await, "spending_limit");
    for card in ["ic_old", "ic_new"] {
        let books = node.card(card).await;
        assert_eq!((&books["held"], &books["limits"][0]["used"]), (&json!(1_000), &json!(1_000)), "{books}");
    }
    assert_eq!(node.card("ic_new").await["replacement_for"], "ic_old");
    assert_eq!(node.authorization("iauth_fits").await["card"], "ic_new");
}

#[tokio::test]
async fn the_events_of_another_account_are_refused_and_alarmed() {
    let site = site();
    let node = site.start().await;
    let from = |account: &str, name: &str| {
        let mut event = purchase_in("usd", "ic_1", &format!("iauth_{name}"), 100);
        event["account"] = json!(account);
        event
    };
    let ours = node.deliver(from("acct_a", "ours").to_string().as_bytes()).await;
    assert_eq!(Verdict::of(&ours).reason, "approved");
    let theirs = node.deliver(from("acct_b", "theirs").to_string().as_bytes()).await;
    assert_eq!(Verdict::of(&theirs).reason, "contract_violation");
    let mut told = event("authorization-created-approved");
    told["account"] = json!("acct_b");
    told["data"]["object"]["card"] = json!({"id": "ic_1", "currency": "usd"});
    let refused = node.deliver(told.to_string().as_bytes()).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "wrong_account"));
    assert_eq!(node.card("ic_1").await["held"], 100);
    let declined = node.authorization("iauth_theirs").await;
    let explanation = declined["decisions"][0]["explanation"].as_str().unwrap();
    assert!(explanation.contains("another connected account"), "{explanation}");
    let counted = node.metric("tollgate_contract_violations_total{kind=\"wrong_account\"}").await;
    assert!((counted - 2.0).abs() < 0.5, "{counted}");
    assert!(node.stop().await.contains("names another connected account"));
}
