//! Never overspend, on one card that everybody asks for at once.

use std::collections::BTreeMap;

use crate::{
    client::Client,
    deliveries::{Verdict, purchase, signed},
    process::{Node, Site},
};

const QUESTIONS: usize = 200;
const AMOUNT: i64 = 300;
/// Has room for 33 of them.
const LIMIT: i64 = 10_000;

#[tokio::test]
async fn two_hundred_at_once_get_as_many_approvals_as_fit() {
    check(&[("TOLLGATE_CARD_QUEUE_MAX", "1000")], &["approved", "spending_limit"]).await;
}

#[tokio::test]
async fn so_they_do_where_the_queue_of_a_card_is_shorter_than_that() {
    check(&[], &["approved", "spending_limit", "stand_in_overload"]).await;
}

#[tokio::test]
async fn so_they_do_where_the_card_leaves_memory_between_two_questions() {
    let settings = [("TOLLGATE_CARD_QUEUE_MAX", "1000"), ("TOLLGATE_CARD_IDLE_AFTER", "1ms")];
    check(&settings, &["approved", "spending_limit"]).await;
}

async fn check(settings: &[(&str, &str)], reasons: &[&str]) {
    let mut site = Site::new(settings);
    site.set("TOLLGATE_CARD_LIMIT_ALL_TIME", &LIMIT.to_string());
    site.set("TOLLGATE_ANSWER_WITHIN", "1900ms");
    let node = site.start().await;
    let verdicts = ask_at_once(&node, QUESTIONS).await;
    let approved = verdicts.iter().filter(|verdict| verdict.approved).count();
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in &verdicts {
        *told.entry(&verdict.reason).or_default() += 1;
    }
    assert!(told.keys().all(|reason| reasons.contains(reason)), "{told:?}");
    assert_eq!(approved, usize::try_from(LIMIT / AMOUNT).unwrap(), "{told:?}");
    let books = node.card("ic_wanted").await;
    assert_eq!(books["limits"][0]["used"], LIMIT / AMOUNT * AMOUNT);
    assert_eq!(books["holds"].as_array().unwrap().len(), approved);
    node.stop().await;
}

/// Asks over as many connections, all of which are there before the first question goes out.
async fn ask_at_once(node: &Node, questions: usize) -> Vec<Verdict> {
    let mut clients: Vec<Client> = Vec::with_capacity(questions);
    for _ in 0..questions {
        clients.push(node.connect().await);
    }
    let deliveries: Vec<Vec<u8>> =
        (0..questions).map(|n| signed(&purchase("ic_wanted", &format!("iauth_{n}"), AMOUNT))).collect();
    for (client, delivery) in clients.iter_mut().zip(&deliveries) {
        client.send(delivery).await;
    }
    let mut verdicts = Vec::with_capacity(questions);
    for client in &mut clients {
        verdicts.push(Verdict::of(&client.response().await));
    }
    verdicts
}
