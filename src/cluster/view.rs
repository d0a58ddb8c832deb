//! The members as this node sees them, and with them who owns what. How a node learns of the others is not here.

use std::sync::Arc;

use super::{Placement, connection::Local, member::Member, peer::Peer};
use crate::domain::Account;

/// The members at one moment.
#[derive(Default)]
pub(super) struct View {
    pub(super) members: Vec<Known>,
    pub(super) placement: Placement,
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
    /// The view of these members, in the order of their names. Connections to those that `before` knew are kept.
    pub(super) fn of(mut members: Vec<Member>, here: &Member, local: &Arc<Local>, before: &Self) -> Self {
        members.sort_by(|one, other| one.node.cmp(&other.node));
        let placement = Placement::new(members.iter().map(|member| member.node.as_str()));
        let known = |member: Member| {
            let is_here = member.node == here.node && member.incarnation == here.incarnation;
            let peer = (!is_here).then(|| before.way_to(&member, local));
            Known { member, peer }
        };
        Self { members: members.into_iter().map(known).collect(), placement }
    }

    fn way_to(&self, member: &Member, local: &Arc<Local>) -> Arc<Peer> {
        let known = self.members.iter().find(|known| known.member == *member);
        let known = known.and_then(|known| known.peer.clone());
        known.unwrap_or_else(|| Arc::new(Peer::new(member.clone(), local)))
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
        self.members.len() == members.len()
            && members.iter().all(|member| self.members.iter().any(|known| known.member == *member))
    }
}
