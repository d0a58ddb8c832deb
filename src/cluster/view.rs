//! The members as this node sees them, and with them who owns what. How a node learns of the others is not here.

use std::sync::Arc;

use super::{Placement, connection::Local, member::Member, peer::Peer};
use crate::domain::Account;

/// The members at one moment.
#[derive(Default)]
pub(super) struct View {
    pub(super) members: Vec<Known>,
    pub(super) placement: Placement,
    /// The nodes that may be there, this one among them, and what each of them is the arbiter of: also one that cannot reach
    /// the database, as none can while that is away.
    nodes: Vec<Known>,
    arbiters: Placement,
}

/// A member, and the way to it.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) member: Member,
    /// Nothing where the member is this node.
    pub(super) peer: Option<Arc<Peer>>,
}

impl Known {
    fn is_reachable(&self) -> bool {
        self.peer.as_ref().is_none_or(|peer| peer.links() > 0)
    }
}

impl View {
    /// The view of these members, and of the nodes that may be there beside them. Connections to those that `before` knew are
    /// kept.
    pub(super) fn of(
        members: &[Member],
        nodes: &[Member],
        here: &Member,
        local: &Arc<Local>,
        before: &Self,
    ) -> Self {
        let known = |member: &Member| {
            let is_here = member.node == here.node && member.incarnation == here.incarnation;
            let peer = (!is_here).then(|| before.way_to(member, local));
            Known { member: member.clone(), peer }
        };
        let others = nodes.iter().filter(|node| node.node != here.node);
        let nodes: Vec<Known> = sorted(others.chain([here])).map(known).collect();
        // One way to each, whichever list it is in.
        let of_nodes = |member: &Member| nodes.iter().find(|known| known.member == *member).cloned();
        let members: Vec<Known> =
            sorted(members.iter()).map(|member| of_nodes(member).unwrap_or_else(|| known(member))).collect();
        let placement = |of: &[Known]| Placement::new(of.iter().map(|known| known.member.node.as_str()));
        Self { placement: placement(&members), arbiters: placement(&nodes), members, nodes }
    }

    fn way_to(&self, member: &Member, local: &Arc<Local>) -> Arc<Peer> {
        let known = self.nodes.iter().chain(&self.members).find(|known| known.member == *member);
        let known = known.and_then(|known| known.peer.clone());
        known.unwrap_or_else(|| Arc::new(Peer::new(member.clone(), local)))
    }

    /// The node that all others ask before they answer a request of this account; nothing where it is this one.
    pub(super) fn arbiter(&self, account: &Account) -> Option<Arc<Peer>> {
        let is_reachable = |place| self.nodes.get(place).is_some_and(Known::is_reachable);
        self.nodes.get(self.arbiters.owner_among(account.as_str(), is_reachable)?)?.peer.clone()
    }

    /// The member that owns an account; nothing where there is no member. One that cannot be reached owns nothing: its
    /// heir is the same for all who have lost it, long before its heartbeat is missed.
    pub(super) fn owner(&self, account: &Account) -> Option<&Known> {
        let owner = self.members.get(self.placement.owner(account.as_str())?)?;
        if owner.is_reachable() {
            return Some(owner);
        }
        let is_reachable = |place| self.members.get(place).is_some_and(Known::is_reachable);
        self.members.get(self.placement.owner_among(account.as_str(), is_reachable)?)
    }

    /// Whether these are the members already.
    pub(super) fn is_of(&self, members: &[Member]) -> bool {
        are(&self.members, members)
    }

    /// Whether these are the other nodes already.
    pub(super) fn has_nodes(&self, nodes: &[Member], here: &Member) -> bool {
        let others: Vec<Member> = nodes.iter().filter(|node| node.node != here.node).cloned().collect();
        let known: Vec<Known> =
            self.nodes.iter().filter(|known| known.member.node != here.node).cloned().collect();
        are(&known, &others)
    }
}

fn are(known: &[Known], members: &[Member]) -> bool {
    known.len() == members.len()
        && members.iter().all(|member| known.iter().any(|known| known.member == *member))
}

/// In the order of their names.
fn sorted<'a>(members: impl Iterator<Item = &'a Member>) -> impl Iterator<Item = &'a Member> {
    let mut members: Vec<&Member> = members.collect();
    members.sort_by(|one, other| one.node.cmp(&other.node));
    members.into_iter()
}
