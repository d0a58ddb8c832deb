//! Several real nodes on one real PostgreSQL: that they find each other, that one of them answers for a card, and that
//! nothing which befalls them costs a limit, an answer or a promise.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

mod balancers;
pub(crate) mod proxy;
mod load;
mod membership;
mod forwarding;
mod trust;
mod faults;
mod failover;
mod upkeep;
mod restore;
mod policies;

use std::net::SocketAddr;

use tollgate::cluster::Placement;

use crate::{
    postgres::Server,
    process::{Node, Site},
};

/// Nodes that share a database.
pub(crate) struct Cluster {
    server: Server,
    sites: Vec<Site>,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// So many nodes with these settings, started, and known to each other. Nothing where there is no PostgreSQL.
    pub(crate) async fn start(nodes: usize, settings: &[(&str, &str)]) -> Option<Self> {
        Some(Self::prepare(nodes, settings).await?.started().await)
    }

    /// With all nodes started, and known to each other.
    async fn started(mut self) -> Self {
        for n in 0..self.nodes.len() {
            self.start_node(n).await;
        }
        self.settled().await;
        self
    }

    /// The same before any of them is started.
    async fn prepare(nodes: usize, settings: &[(&str, &str)]) -> Option<Self> {
        Some(Self::on(Server::start().await?, nodes, settings))
    }

    /// The same on this server.
    fn on(server: Server, nodes: usize, settings: &[(&str, &str)]) -> Self {
        let site = |n: usize| {
            let mut site = Site::new(settings);
            site.set("TOLLGATE_JOURNAL", &server.url());
            site.set("TOLLGATE_NODE_ID", &name(n));
            site.set("TOLLGATE_PEER_LISTEN", "127.0.0.1:0");
            site
        };
        let sites = (0..nodes).map(site).collect();
        Self { server, sites, nodes: (0..nodes).map(|_| None).collect() }
    }

    pub(crate) async fn start_node(&mut self, n: usize) {
        self.nodes[n] = Some(self.sites[n].start().await);
    }

    /// From now on a node that is started again answers where it does now.
    pub(crate) fn keep_addresses(&mut self, n: usize) {
        let (webhook, admin) = (self.node(n).webhook, self.node(n).admin);
        self.sites[n].set("TOLLGATE_LISTEN", &webhook.to_string());
        self.sites[n].set("TOLLGATE_ADMIN_LISTEN", &admin.to_string());
    }

    pub(crate) fn node(&self, n: usize) -> &Node {
        self.nodes[n].as_ref().expect("the node runs")
    }

    /// Ends all nodes in order. Their database.
    async fn stop(self) -> Server {
        for node in self.nodes.into_iter().flatten() {
            node.stop().await;
        }
        self.server
    }

    pub(crate) fn take(&mut self, n: usize) -> Node {
        self.nodes[n].take().expect("the node runs")
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// Where a balancer would send requests: every node that runs.
    pub(crate) fn targets(&self) -> Vec<SocketAddr> {
        self.running().map(|node| node.webhook).collect()
    }

    /// Waits until all running nodes see the same members, themselves, and have connections to each other.
    pub(crate) async fn settled(&self) {
        let names: Vec<String> =
            (0..self.nodes.len()).filter(|n| self.nodes[*n].is_some()).map(name).collect();
        for node in self.running() {
            node.eventually("/v1/node", |seen| {
                let members = seen["members"].as_array().unwrap();
                let is_reached =
                    |member: &serde_json::Value| member["is_here"] == true || member["connections"] == 2;
                members
                    .iter()
                    .map(|member| member["node"].as_str().unwrap())
                    .eq(names.iter().map(String::as_str))
                    && members.iter().all(is_reached)
            })
            .await;
        }
    }

    /// The node that owns a card while all nodes are there.
    fn owner(&self, card: &str) -> Option<usize> {
        let names: Vec<String> = (0..self.nodes.len()).map(name).collect();
        Placement::new(names.iter().map(String::as_str)).owner(card)
    }

    /// A card that node `n` owns, and another for each `number`.
    fn card_of(&self, n: usize, number: usize) -> String {
        let cards = (0..).map(|card| format!("ic_of_a_cluster_{card}"));
        cards.filter(|card| self.owner(card) == Some(n)).nth(number).unwrap()
    }

    /// The sum of a series over all running nodes.
    async fn metric(&self, series: &str) -> f64 {
        let mut sum = 0.0;
        for node in self.running() {
            sum += node.metric(series).await;
        }
        sum
    }
}

fn name(n: usize) -> String {
    format!("node-{n}")
}
