//! Policies over the admin API of one node: in force on all of them.

use std::time::Duration;

use tollgate::clock;

use super::Cluster;
use crate::node::policy_api::put;

#[tokio::test]
async fn a_policy_that_one_node_takes_is_in_force_on_all_within_two_seconds() {
    let Some(cluster) = Cluster::start(2, &[("TOLLGATE_POLICY_APPROVALS", "1")]).await else { return };
    for (n, limit) in [(0, 1_000), (1, 2_000), (0, 3_000)] {
        let text = format!(
            "version: 1\ncurrency: usd\ndefault:\n  spending_limits: [{{amount: {limit}, interval: daily}}]\n"
        );
        let started = clock::instant();
        let response = put(cluster.node(n), "", &text).await;
        assert_eq!(response.status, 200, "{}", response.body);
        let version = response.json()["version"].clone();
        for n in 0..2 {
            let node = cluster.node(n).eventually("/v1/policy", |policy| policy["version"] == version).await;
            assert_eq!(node["text"], text);
        }
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        let seen = cluster.node(n).eventually("/v1/node", |node| {
            let members = node["members"].as_array().unwrap();
            members.len() == 2 && members.iter().all(|member| member["policy"] == version)
        });
        seen.await;
    }
    cluster.stop().await;
}
