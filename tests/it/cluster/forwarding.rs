//! A request that reaches another node goes to the card's owner, once, and is answered in its words; where the owner does
//! not answer, the node that was asked does.

use rustix::process::Signal;
use tollgate::clock;

use super::Cluster;
use crate::deliveries::{Verdict, capture, purchase};

pub(super) const ANSWERED: &str = "tollgate_forwards_total{result=\"answered\"}";

#[tokio::test]
async fn whichever_node_is_asked_the_owner_answers() {
    let Some(cluster) = Cluster::start(3, &[("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000")]).await else { return };
    let card = cluster.card_of(1, 0);
    let mut replies = Vec::new();
    for n in 0..3 {
        let body = purchase(&card, &format!("iauth_forwarded_{n}"), 400);
        let first = cluster.node(n).deliver(&body).await;
        replies.push((Verdict::of(&first).approved, Verdict::of(&first).reason));
        for again in 0..3 {
            let response = cluster.node(again).deliver(&body).await;
            let all = |response: &crate::client::Response| {
                let mut headers = response.headers.clone();
                headers.retain(|(name, _)| name != "date");
                (response.status, headers, response.body.clone())
            };
            assert_eq!(all(&response), all(&first), "node {again} answers in other words");
        }
    }
    let approved = (true, "approved".to_owned());
    assert_eq!(replies, [approved.clone(), approved, (false, "spending_limit".to_owned())]);
    let received = cluster.node(2).deliver(&capture(&card, "iauth_forwarded_0", 400)).await;
    assert_eq!((received.status, received.body.as_str()), (200, r#"{"received":true}"#));
    for node in cluster.running() {
        let book = node.card(&card).await;
        assert_eq!((&book["owner"], &book["captured"]), (&"node-1".into(), &400.into()));
    }

    // Nodes 0 and 2 forwarded all of theirs, and node 1 none: only it has the card in memory.
    let mut forwards = Vec::new();
    for node in cluster.running() {
        let route = "tollgate_decision_duration_seconds_count{outcome=\"approved\",route=\"forwarded\"}";
        let seen = node.books("/v1/node").await;
        let hops = node.metric("tollgate_hop_duration_seconds_count").await;
        assert!((hops - node.metric(ANSWERED).await).abs() < 0.1, "{hops} hops were timed");
        forwards.push((
            node.metric(ANSWERED).await,
            node.metric(route).await,
            seen["cards_resident"].as_i64(),
        ));
    }
    assert_eq!(forwards, [(4.0, 3.0, Some(0)), (0.0, 0.0, Some(1)), (5.0, 2.0, Some(0))]);
    for (series, expected) in [("tollgate_decisions_total", 3.0), ("tollgate_journal_conflicts_total", 0.0)] {
        let sum = cluster.metric(series).await;
        assert!((sum - expected).abs() < 0.1, "{series}: {sum}, not {expected}");
    }
}

#[tokio::test]
async fn what_the_owner_does_not_answer_in_its_time_is_decided_where_it_came_in() {
    let limit = ("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000");
    let Some(cluster) = Cluster::start(2, &[limit, ("TOLLGATE_FORWARD_WITHIN", "100ms")]).await else {
        return;
    };
    let card = cluster.card_of(1, 0);
    let ask = async |name: &str| {
        let sent = clock::instant();
        let verdict = Verdict::of(&cluster.node(0).deliver(&purchase(&card, name, 300)).await);
        (verdict.approved, sent.elapsed())
    };
    assert!(ask("iauth_before").await.0);
    cluster.node(1).process.hang().await;
    let (approved, took) = ask("iauth_while_it_hangs").await;
    assert!(approved, "node 0 has the journal, and knows what node 1 approved");
    println!("decided after {took:?}, of which 100 ms are the owner's");
    // The connections are given up long before the membership is; from then on nothing is waited for.
    cluster.node(0).until_metric("tollgate_forwards_total{result=\"late\"}", |late| late >= 1.0).await;
    cluster.node(0).eventually("/v1/node", |seen| seen["members"][1]["connections"] != 2).await;
    cluster.node(1).process.signal(Signal::CONT);
    cluster.settled().await;
    // Node 1 has the books as they were before it hung. Its append loses its place; then it sees what node 0 did.
    assert!(ask("iauth_after").await.0);
    assert!(!ask("iauth_over_the_limit").await.0, "1200 of 1000");
    assert!(cluster.node(1).metric("tollgate_journal_conflicts_total").await >= 1.0);
    for name in ["iauth_before", "iauth_while_it_hangs", "iauth_after"] {
        assert_eq!(cluster.node(1).authorization(name).await["approved"], true, "{name}");
    }
}
