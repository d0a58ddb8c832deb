//! One connection to another node: kept open and looked after, and the requests and replies that go over it. Which connection
//! a request takes is not decided here.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    connection::{Connection, Local, NotConnected, Turn},
    member::Member,
    wire::{Message, PeerReply, Sealed},
};
use crate::{
    actors::Claim,
    clock::{self, Instant, MissedTickBehavior, interval, sleep},
};

/// How often a peer is asked whether it is there, and how often it may say nothing until the next time. A peer that hangs, or
/// that the network has swallowed, is given up after the last of them; until then what is forwarded to it costs its budget.
const PING_EVERY: Duration = Duration::from_millis(200);
const PINGS_UNANSWERED_MAX: u32 = 2;

/// How long to wait before connecting again; the wait doubles with each failure.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How many questions may wait until a connection takes them; one more is decided where it came in. All that a node has in
/// flight by default may come at once, and what waits here costs no more than where it waited before.
const CALLS_MAX: usize = 10_000;

/// How many questions go out together, if they are there.
const CALLS_AT_ONCE: usize = 64;

/// One connection, as long as there is one.
#[derive(Default)]
pub(super) struct Link(Mutex<Option<mpsc::Sender<Call>>>);

/// What a peer is asked.
pub(super) enum Asked {
    /// To decide a request.
    Request(Sealed),
    /// Whether it knows of another answer.
    Claim(Box<Claim>),
}

/// A question on its way to the peer. No reply will come once `reply` is dropped.
pub(super) struct Call {
    pub(super) asked: Asked,
    /// Until when its reply is of use.
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<(Option<PeerReply>, Duration)>,
}

impl Link {
    pub(super) fn is_open(&self) -> bool {
        self.calls().is_some()
    }

    /// Where it takes questions, while it is open.
    pub(super) fn calls(&self) -> Option<mpsc::Sender<Call>> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.as_ref().filter(|calls| !calls.is_closed()).cloned()
    }

    fn set(&self, calls: Option<mpsc::Sender<Call>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = calls;
    }
}

/// Keeps one connection open, for ever.
pub(super) async fn keep(link: Arc<Link>, member: Arc<Member>, local: Arc<Local>) {
    let (node, address) = (&member.node, &member.address);
    let mut pause = PAUSE_FIRST;
    let mut is_warned = false;
    loop {
        match Connection::connect(&local, &member).await {
            Ok(connection) => {
                tracing::debug!(node, address, "connected to a peer");
                let (calls, called) = mpsc::channel(CALLS_MAX);
                link.set(Some(calls));
                // However it ends, the next one is looked for.
                let ended = converse(connection, called).await;
                link.set(None);
                (pause, is_warned) = (PAUSE_FIRST, false);
                let error = ended.err().map(tracing::field::display);
                tracing::debug!(node, address, error, "lost a connection to a peer");
            }
            Err(cause) => is_warned = not_connected(&cause, &member, &local, is_warned),
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

/// Notes why a member is not connected. What only an attack or a wrong setting explains is counted, and logged where it is
/// new; what a node that comes or goes explains is not.
fn not_connected(cause: &NotConnected, member: &Member, local: &Local, is_warned: bool) -> bool {
    let (node, address) = (&member.node, &member.address);
    let is_odd = match cause {
        NotConnected::Impostor
        | NotConnected::NotANode(_)
        | NotConnected::NotSigned(_)
        | NotConnected::TooLong
        | NotConnected::UnknownKey(_)
        | NotConnected::OtherName { .. }
        | NotConnected::OtherJournal { .. } => true,
        // The other side knows why.
        NotConnected::Rejected(_)
        | NotConnected::Late
        | NotConnected::OtherServer
        | NotConnected::Broken(_) => false,
    };
    if !is_odd {
        tracing::debug!(node, address, %cause, "no connection to a peer");
        return is_warned;
    }
    local.metrics.cluster.refused.get(cause.cause()).increment(1);
    if !is_warned {
        tracing::warn!(node, address, %cause, "what answers at a peer's address is not trusted; nothing is forwarded there");
    }
    true
}

/// Brings requests to a peer and its replies to who asked, until one side is gone or has nothing more to say.
async fn converse(mut connection: Connection, mut called: mpsc::Receiver<Call>) -> io::Result<()> {
    let mut waiting: HashMap<u64, oneshot::Sender<(Option<PeerReply>, Duration)>> = HashMap::new();
    let mut next_id: u64 = 0;
    let mut calls = Vec::with_capacity(CALLS_AT_ONCE);
    let mut is_leaving = false;
    let mut pings = interval(PING_EVERY);
    // A process that was stopped gives its peers the time to answer after it.
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unanswered: u32 = 0;
    while !(is_leaving && waiting.is_empty()) {
        let takes = connection.has_capacity() && !(is_leaving && called.is_empty());
        tokio::select! {
            turn = connection.turn(true) => match turn? {
                Turn::Came(message) => {
                    unanswered = 0;
                    match message {
                        Message::Reply { id, reply, took } => {
                            if let Some(caller) = waiting.remove(&id) {
                                // One that has given up is not there any more.
                                let _ = caller.send((reply, took));
                            }
                        }
                        Message::Leaving => {
                            is_leaving = true;
                            called.close();
                        }
                        Message::Hello(_) | Message::Ping | Message::Request { .. } | Message::Claim { .. } => {}
                    }
                }
                Turn::Sent => {}
                Turn::Ended => return Ok(()),
            },
            _ = called.recv_many(&mut calls, CALLS_AT_ONCE), if takes => {
                for Call { asked, deadline, reply } in calls.drain(..).filter(|call| !call.reply.is_closed()) {
                    next_id = next_id.wrapping_add(1);
                    connection.send(&match asked {
                        Asked::Request(sealed) => {
                            let within = deadline.saturating_duration_since(clock::instant());
                            Message::Request { id: next_id, sealed, within }
                        }
                        Asked::Claim(claim) => Message::Claim { id: next_id, claim },
                    })?;
                    waiting.insert(next_id, reply);
                }
            }
            _ = pings.tick() => {
                if unanswered == PINGS_UNANSWERED_MAX {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                unanswered = unanswered.saturating_add(1);
                waiting.retain(|_, caller| !caller.is_closed());
                connection.send(&Message::Ping)?;
            }
        }
    }
    Ok(())
}
