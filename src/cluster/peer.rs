//! Another node: several connections to it, and one forwarded request over one of them. Which requests go to which node is
//! not decided here.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    connection::{BODY_BYTES_MAX, Local},
    link::{Asked, Call, Link, keep},
    member::Member,
    wire::{PeerReply, Sealed},
};
use crate::{
    actors::Claim,
    clock::{self, Instant, timeout_at},
    domain::Answer,
    metrics::Forward,
};

/// Connections to each peer: a packet that is lost on one of them does not hold up the others.
const LINKS: usize = 2;

/// Until when a reply is waited for.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// With a peer that answers nothing at all meanwhile.
    pub(super) silent: Instant,
    /// With one that answers others. This is what it is told that it has.
    pub(super) living: Instant,
}

/// Another node.
pub(super) struct Peer {
    links: [Arc<Link>; LINKS],
    next: AtomicUsize,
    answered: AtomicU64,
    failed: AtomicU64,
    keepers: Vec<JoinHandle<()>>,
}

/// What a peer said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    pub(super) reply: PeerReply,
    /// How much longer it took than it took the peer: there and back, and what either side's messages waited.
    pub(super) hop: Duration,
}

impl Peer {
    /// The way to a member. Connections to it are kept open until it is dropped.
    pub(super) fn new(member: Member, local: &Arc<Local>) -> Self {
        let links: [Arc<Link>; LINKS] = Default::default();
        let member = Arc::new(member);
        let keep =
            |link: &Arc<Link>| tokio::spawn(keep(Arc::clone(link), Arc::clone(&member), Arc::clone(local)));
        let keepers = links.iter().map(keep).collect();
        let (answered, failed) = Default::default();
        Self { links, next: AtomicUsize::new(0), answered, failed, keepers }
    }

    /// How many of its connections are open.
    pub(super) fn links(&self) -> usize {
        self.links.iter().filter(|link| link.is_open()).count()
    }

    /// How many forwarded requests it has answered, and how many it has not.
    pub(super) fn told(&self) -> [u64; 2] {
        [&self.answered, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }

    /// Brings a request to the peer and waits for its reply. A peer that answers others meanwhile is only slow: whoever
    /// decided in its place would be slower still, with books to read first, and would cost it the append that it is at.
    pub(super) async fn ask(&self, sealed: Sealed, patience: Patience) -> Result<Heard, Forward> {
        let answered_before = self.answered.load(Ordering::Relaxed);
        let mut exchange = pin!(self.exchange(sealed, patience.living));
        let in_time = match timeout_at(patience.silent, &mut exchange).await {
            Err(late) if self.answered.load(Ordering::Relaxed) == answered_before => Err(late),
            Err(_) => timeout_at(patience.living, exchange).await,
            in_time @ Ok(_) => in_time,
        };
        let heard = in_time.unwrap_or(Err(Forward::Late));
        let count = if heard.is_ok() { &self.answered } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        heard
    }

    /// Tells the peer, as the arbiter, what is about to be answered; gives the answer that it was told first. Nothing: it has
    /// not said.
    pub(super) async fn claim(&self, claim: Claim, deadline: Instant) -> Option<Answer> {
        let said = timeout_at(deadline, self.call(Asked::Claim(Box::new(claim)), deadline)).await;
        match said.ok()?.ok()?.reply {
            PeerReply::Answer(answer) => Some(answer),
            PeerReply::Booked | PeerReply::WrongAccount | PeerReply::Undecided(_) => None,
        }
    }

    async fn exchange(&self, sealed: Sealed, deadline: Instant) -> Result<Heard, Forward> {
        if sealed.body.len() > BODY_BYTES_MAX {
            return Err(Forward::Refused);
        }
        self.call(Asked::Request(sealed), deadline).await
    }

    async fn call(&self, what: Asked, deadline: Instant) -> Result<Heard, Forward> {
        let calls = self.calls().ok_or(Forward::Unreachable)?;
        let asked = clock::instant();
        let (reply, replied) = oneshot::channel();
        calls.try_send(Call { asked: what, deadline, reply }).map_err(|_| Forward::Unreachable)?;
        let (reply, took) = replied.await.map_err(|_| Forward::Broken)?;
        let hop = clock::instant().saturating_duration_since(asked).saturating_sub(took);
        Ok(Heard { reply: reply.ok_or(Forward::Refused)?, hop })
    }

    /// Where an open connection takes questions, each connection in its turn.
    fn calls(&self) -> Option<mpsc::Sender<Call>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, after) = self.links.split_at(turn % LINKS);
        after.iter().chain(before).find_map(|link| link.calls())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for keeper in &self.keepers {
            keeper.abort();
        }
    }
}

#[cfg(test)]
mod tests;
