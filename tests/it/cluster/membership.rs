//! How nodes find each other, agree on who owns a card, come and go.

use serde_json::Value;

use super::{Cluster, name};
use crate::deliveries::{Verdict, purchase};

#[tokio::test]
async fn nodes_agree_on_who_owns_a_card_while_they_come_and_go() {
    let Some(mut cluster) = Cluster::start(2, &[]).await else { return };
    let cards: Vec<String> = (0..60).map(|n| format!("ic_placed_{n}")).collect();
    for card in &cards {
        let answer = cluster.node(0).deliver(&purchase(card, &format!("iauth_{card}"), 100)).await;
        assert!(Verdict::of(&answer).approved);
    }
    let two = owners(&cluster, &cards).await;
    cluster.sites.push(crate::process::Site::new(&[
        ("TOLLGATE_JOURNAL", &cluster.server.url()),
        ("TOLLGATE_NODE_ID", &name(2)),
        ("TOLLGATE_PEER_LISTEN", "127.0.0.1:0"),
    ]));
    cluster.nodes.push(None);
    cluster.start_node(2).await;
    cluster.settled().await;
    let three = owners(&cluster, &cards).await;
    for (before, after) in two.iter().zip(&three) {
        assert!(after == before || *after == name(2), "a card went from {before} to {after}");
    }
    let moved = three.iter().filter(|owner| **owner == name(2)).count();
    assert!((5..=40).contains(&moved), "{moved} of 60 cards moved to the third node");

    // One that leaves in order is gone at once; one that is killed, when its heartbeat is missed.
    cluster.take(2).stop().await;
    cluster.settled().await;
    assert_eq!(owners(&cluster, &cards).await, two);
    cluster.take(1).kill().await;
    cluster.settled().await;
    assert!(owners(&cluster, &cards).await.iter().all(|owner| *owner == name(0)));
}

/// Who owns each card, on which all running nodes agree.
async fn owners(cluster: &Cluster, cards: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for card in cards {
        let mut owners = Vec::new();
        for node in cluster.running() {
            owners.push(node.card(card).await["owner"].as_str().unwrap().to_owned());
        }
        assert!(owners.iter().all(|owner| *owner == owners[0]), "{card}: {owners:?}");
        all.push(owners.swap_remove(0));
    }
    all
}

#[tokio::test]
async fn a_node_shows_the_members_as_it_sees_them() {
    let Some(cluster) = Cluster::start(3, &[]).await else { return };
    let seen = cluster.node(1).books("/v1/node").await;
    assert_eq!((&seen["node"], &seen["version"]), (&"node-1".into(), &env!("CARGO_PKG_VERSION").into()));
    let members = seen["members"].as_array().unwrap();
    let here: Vec<bool> = members.iter().map(|member| member["is_here"].as_bool().unwrap()).collect();
    assert_eq!(here, [false, true, false]);
    let shares: f64 = members.iter().map(|member| member["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 0.01, "{members:?}");
    assert!(members.iter().all(|member| member["address"].as_str().unwrap().starts_with("127.0.0.1:")));
    assert_eq!(seen["forwards"], serde_json::json!({"answered": 0, "failed": 0}));
    for node in cluster.running() {
        assert!((node.metric("tollgate_members").await - 3.0).abs() < 0.1);
    }
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_again_when_its_node_is_gone() {
    let Some(mut cluster) = Cluster::prepare(2, &[]).await else { return };
    cluster.sites[1].set("TOLLGATE_NODE_ID", &name(0));
    cluster.start_node(0).await;
    let ending = cluster.sites[1].refuses_to_start().await;
    assert_eq!(ending.code, Some(78), "{}", ending.log);
    let address = cluster.node(0).books("/v1/node").await["members"][0]["address"].clone();
    let told = format!(
        "TOLLGATE_NODE_ID=node-0: another node of this name is alive at {}",
        address.as_str().unwrap()
    );
    assert!(ending.log.contains(&told), "{}", ending.log);
    // The same name after a kill: the row is still warm, and is waited for.
    cluster.take(0).kill().await;
    cluster.start_node(1).await;
    let seen: Value = cluster.node(1).books("/v1/node").await;
    assert_eq!(seen["members"].as_array().unwrap().len(), 1);
}
