//! The node and the members of its cluster.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    cluster::{JournalStatus, MemberView, NodeView},
    domain::{PolicyRecord, PolicyVersion},
};

/// This node, and the members of its cluster as it sees them.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct NodeBody {
    /// Its name.
    pub node: String,
    /// Its version.
    pub version: &'static str,
    /// The version of the policy in force here.
    pub policy: String,
    /// The members, by name; empty for a node without a cluster.
    pub members: Vec<MemberBody>,
    /// Cards in memory.
    pub cards_resident: usize,
    /// Appends that another node had overtaken.
    pub conflicts: u64,
    /// Requests that were forwarded to other members.
    pub forwards: ForwardsBody,
    /// The database of the journal; absent if the journal is in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalBody>,
}

/// The database of the journal.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct JournalBody {
    /// `open`, `restoring`, or `away`.
    pub phase: &'static str,
    /// The server that takes entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The system identifier of the server: a number that is too large for JavaScript.
    pub system: String,
    /// The timeline of the server.
    pub timeline: u32,
    /// Synchronous standbys.
    pub standbys: u32,
    /// How many servers have an entry before it is acknowledged.
    pub copies: u32,
    /// Entries that were given back after a failover.
    pub restored: u64,
    /// Entries that were lost.
    pub lost: u64,
}

/// A member of the cluster.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct MemberBody {
    /// Its name.
    pub node: String,
    /// Where other nodes reach it.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The version of the policy that it put in force last; it should be the same for all. Absent if the journal cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Whether it is the node that answers.
    pub is_here: bool,
    /// The share of all cards that it owns, from 0 to 1.
    pub share: f64,
    /// Open connections to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// Requests that were forwarded to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwards: Option<ForwardsBody>,
}

/// Requests that were forwarded. Those without an answer were decided elsewhere.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, Default)]
pub struct ForwardsBody {
    /// With an answer.
    pub answered: u64,
    /// Without an answer.
    pub failed: u64,
}

impl NodeBody {
    /// Of a node where the policy `in_force` is in force; `records` are what the journal has of policies, oldest first.
    pub(in crate::http) fn new(view: &NodeView, in_force: &PolicyVersion, records: &[PolicyRecord]) -> Self {
        let members = view.members.iter().map(|member| MemberBody::new(member, records));
        let members: Vec<MemberBody> = members.collect();
        let to_members = members.iter().filter_map(|member| member.forwards);
        let forwards = to_members.fold(ForwardsBody::default(), |sum, one| ForwardsBody {
            answered: sum.answered.saturating_add(one.answered),
            failed: sum.failed.saturating_add(one.failed),
        });
        Self {
            node: view.node.clone(),
            policy: in_force.as_str().to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            members,
            cards_resident: view.cards_resident,
            conflicts: view.conflicts,
            forwards,
            journal: view.journal.as_ref().map(JournalBody::from),
        }
    }
}

impl From<&JournalStatus> for JournalBody {
    fn from(status: &JournalStatus) -> Self {
        Self {
            phase: status.phase.as_str(),
            server: status.server.clone(),
            system: status.lineage.system.to_string(),
            timeline: status.lineage.timeline,
            standbys: status.standbys,
            copies: status.copies,
            restored: status.restored,
            lost: status.lost,
        }
    }
}

impl MemberBody {
    fn new(view: &MemberView, records: &[PolicyRecord]) -> Self {
        let way = view.way;
        let mut by_nodes = records.iter().filter(|record| record.step.attribution().is_none());
        let last = by_nodes.rfind(|record| *record.node == *view.member.node);
        Self {
            node: view.member.node.clone(),
            address: view.member.address.clone(),
            version: view.member.version.clone(),
            policy: last.map(|last| last.version.as_str().to_owned()),
            is_here: way.is_none(),
            share: (view.share * 1_000.0).round() / 1_000.0,
            connections: way.map(|way| way.connections),
            forwards: way.map(|way| ForwardsBody { answered: way.answered, failed: way.failed }),
        }
    }
}
