//! What other nodes bring: Stripe's requests as they came, verified here once more, answered to the node and not to
//! Stripe. Nothing is forwarded from here: there is at most one hop.

use std::{sync::Arc, time::Duration};

use hyper::{
    HeaderMap, Request, StatusCode,
    body::Incoming,
    header::{HeaderName, HeaderValue},
};

use super::{
    Desk,
    door::{Admitted, Door},
};
use crate::{
    clock::{self, Instant, timeout},
    cluster::{Cause, HOP, NotBooked, PeerReply, RECEIVED_AT_US, WITHIN_MS},
    domain::Timestamp,
    http::{
        reply::{error, json},
        server::{Reply, Respond},
    },
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

    async fn reply(&self, request: Request<Incoming>, received: Instant, within: Duration) -> Reply {
        let asked_at = asked_at(request.headers(), clock::now());
        let admitted = self.door.admit(request, received, within, asked_at, self.desk.reading()).await;
        let Admitted { delivery, arrival, .. } = match admitted {
            Ok(admitted) => admitted,
            Err(ending) => return ending.reply,
        };
        let reply = match delivery {
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
        };
        json(StatusCode::OK, reply.encode())
    }
}

impl<D: Desk> Respond for PeerDoor<D> {
    async fn respond(&self, request: Request<Incoming>) -> Reply {
        let received = clock::instant();
        let Some(within) = within(request.headers()) else {
            let message = "expected a request that another node forwards, found none; Stripe and load balancers are \
                           answered at TOLLGATE_LISTEN";
            return error(StatusCode::BAD_REQUEST, "not_forwarded", message);
        };
        let within = within.min(self.within_max);
        let replied = timeout(within, self.reply(request, received, within)).await;
        replied.unwrap_or_else(|_| json(StatusCode::OK, PeerReply::Undecided(Cause::Deadline).encode()))
    }
}

/// How far the clock of another node may be from this one's for its time to be taken.
const CLOCKS_APART_MAX: Duration = Duration::from_mins(1);

/// When the node that forwards received the request. It moves windows, so that a time which no node's clock should have
/// is not believed.
fn asked_at(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(HeaderName::from_static(RECEIVED_AT_US)).map(HeaderValue::to_str)?.ok()?;
    let asked_at = Timestamp::from_micros(text.parse().ok()?);
    let apart = now.since(asked_at).max(asked_at.since(now));
    (apart <= CLOCKS_APART_MAX).then_some(asked_at)
}

/// How long the node that forwards waits, if it is one.
fn within(headers: &HeaderMap) -> Option<Duration> {
    headers.get(HeaderName::from_static(HOP))?;
    let text = headers.get(HeaderName::from_static(WITHIN_MS)).map(HeaderValue::to_str)?.ok()?;
    text.parse().ok().map(Duration::from_millis)
}
