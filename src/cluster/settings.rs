//! What a node of a cluster is told at start.

use std::{net::SocketAddr, time::Duration};

use super::identity::Identity;

/// The room's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this node, another for each.
    pub node_id: String,
    /// Where other nodes are answered; nothing for a cluster of one.
    pub peers: Option<Peers>,
    /// How long the owner of a card may take before the node that was asked decides itself.
    pub forward_within: Duration,
}

/// How nodes find each other.
#[derive(Clone, Debug)]
pub struct Peers {
    /// Where other nodes are answered.
    pub listen: SocketAddr,
    /// Where other nodes reach this one, as `host:port`; nothing where that is the address it listens on.
    pub address: Option<String>,
    /// The key and certificates of this node, where an authority of the operator's signs them; nothing where a key is made at
    /// each start.
    pub identity: Option<Identity>,
}
