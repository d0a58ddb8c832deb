//! The node and the members of its cluster as JSON: the shape of `GET /v1/node`.

use serde::Serialize;

use crate::cluster::{JournalStatus, MemberView, NodeView};

#[derive(Serialize)]
pub(super) struct NodeBody {
    node: String,
    version: &'static str,
    members: Vec<MemberBody>,
    cards_resident: usize,
    conflicts: u64,
    forwards: ForwardsBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<JournalBody>,
}

/// How the database of the journal is.
#[derive(Serialize)]
struct JournalBody {
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// Too large for a number of JavaScript's.
    system: String,
    timeline: u32,
    standbys: u32,
    /// How many servers have an entry before it is acknowledged.
    copies: u32,
    restored: u64,
    lost: u64,
}

#[derive(Serialize)]
struct MemberBody {
    node: String,
    address: String,
    version: String,
    /// Whether it is the node that tells this.
    is_here: bool,
    /// The part of all cards that it owns, from 0 to 1.
    share: f64,
    /// Open connections to it, and what was forwarded to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwards: Option<ForwardsBody>,
}

/// Requests that were forwarded. Those that were not answered were decided elsewhere.
#[derive(Serialize, Clone, Copy, Default)]
struct ForwardsBody {
    answered: u64,
    failed: u64,
}

impl From<&NodeView> for NodeBody {
    fn from(view: &NodeView) -> Self {
        let members: Vec<MemberBody> = view.members.iter().map(MemberBody::from).collect();
        let to_members = members.iter().filter_map(|member| member.forwards);
        let forwards = to_members.fold(ForwardsBody::default(), |sum, one| ForwardsBody {
            answered: sum.answered.saturating_add(one.answered),
            failed: sum.failed.saturating_add(one.failed),
        });
        Self {
            node: view.node.clone(),
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

impl From<&MemberView> for MemberBody {
    fn from(view: &MemberView) -> Self {
        let way = view.way;
        Self {
            node: view.member.node.clone(),
            address: view.member.address.clone(),
            version: view.member.version.clone(),
            is_here: way.is_none(),
            share: (view.share * 1_000.0).round() / 1_000.0,
            connections: way.map(|way| way.connections),
            forwards: way.map(|way| ForwardsBody { answered: way.answered, failed: way.failed }),
        }
    }
}
