//! What other nodes bring: Stripe's requests as they came, verified here once more, answered to the node and not to
//! Stripe. Nothing is forwarded from here: there is at most one hop.

use std::{sync::Arc, time::Duration};

use super::{Desk, door::Door};
use crate::{
    clock::{self, timeout},
    cluster::{Cause, Claim, NotBooked, PeerReply, Sealed},
    domain::Timestamp,
    stripe::Incoming as Delivery,
};

/// Answers other nodes.
pub struct PeerDoor<D> {
    desk: D,
    door: Arc<Door>,
    /// However long the other node would wait.
    within_max: Duration,
}

impl<D: Desk> PeerDoor<D> {
    pub(super) const fn new(desk: D, door: Arc<Door>, within_max: Duration) -> Self {
        Self { desk, door, within_max }
    }

    /// What the node is told that has forwarded this, and waits so long; nothing where it is not believed.
    pub(in crate::http) async fn reply(&self, sealed: Sealed, within: Duration) -> Option<PeerReply> {
        let within = within.min(self.within_max);
        let replied = timeout(within, self.decide(sealed, within)).await;
        replied.unwrap_or(Some(PeerReply::Undecided(Cause::Deadline)))
    }

    /// What this node, as the arbiter, says to one that is about to answer. A member is believed what it answers.
    pub(in crate::http) fn agree(&self, claim: Claim) -> PeerReply {
        PeerReply::Answer(self.desk.agree(claim))
    }

    async fn decide(&self, sealed: Sealed, within: Duration) -> Option<PeerReply> {
        let (received, now) = (clock::instant(), clock::now());
        let sealed = Sealed { received_at: believed(sealed.received_at, now), ..sealed };
        let opened = self.door.open(&sealed, now, received, within, self.desk.reading());
        let (delivery, arrival) = opened.ok()?;
        // Its bytes are held no longer than they are read.
        drop(sealed);
        Some(match delivery {
            Delivery::Request(request) => match self.desk.answer_peer(request.into(), arrival).await {
                Ok(timed) => PeerReply::Answer(timed.answer),
                Err(cause) => PeerReply::Undecided(cause),
            },
            Delivery::Observation(observation) => match self.desk.book_peer(*observation, arrival).await {
                Ok(()) => PeerReply::Booked,
                Err(NotBooked::Now(cause)) => PeerReply::Undecided(cause),
                Err(NotBooked::WrongAccount) => PeerReply::WrongAccount,
            },
            // No node forwards what is not about a card; a version that does finds that it is not booked.
            Delivery::Acknowledged { .. } => PeerReply::Undecided(Cause::Journal),
        })
    }
}

/// How far the clock of another node may be from this one's for its time to be taken.
const CLOCKS_APART_MAX: Duration = Duration::from_mins(1);

/// When the node that forwards received the request. It moves windows, so that a time which no node's clock should have
/// is not believed.
fn believed(received_at: Timestamp, now: Timestamp) -> Timestamp {
    let apart = now.since(received_at).max(received_at.since(now));
    if apart <= CLOCKS_APART_MAX { received_at } else { now }
}
