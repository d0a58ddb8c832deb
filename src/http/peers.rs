//! The listener for other nodes: members are let in, many requests at once on few connections, and their replies in any order;
//! all others are turned away, at a bounded cost. What is asked and answered is not here.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};

use super::{
    server::{Bounds, Stop, counted, not_accepted},
    webhook::{Desk, PeerDoor},
};
use crate::{
    clock::{self, sleep_until},
    cluster::{Connection, Gate, Message, Turn},
    log::Seldom,
    metrics::{Cut, Listener, Metrics, PeerRefusal},
};

/// Connections of members. Each node has two to each other one.
const CONNECTIONS_MAX: usize = 1_024;

/// Connections whose other side has not proved yet that it is a member. One more takes the slot of the oldest: a member
/// needs its slot for a few milliseconds, and one who says nothing does not keep it.
const STRANGERS_MAX: usize = 64;

/// Requests of one connection at the same time. One more waits at its sender, within its own time.
const IN_FLIGHT_MAX: usize = 1_024;

/// How many replies go out together, if they are there.
const REPLIES_AT_ONCE: usize = 64;

/// A node says something five times a second: one that is gone without a word is not waited for.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// Serves `listener` until `stop` says so, and returns when its last connection has ended.
pub async fn run_peers<D: Desk>(
    listener: TcpListener,
    gate: Gate,
    door: PeerDoor<D>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: Stop,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let strangers = Arc::new(Strangers::default());
    let odd = Seldom::default();
    let server = Arc::new(Server { gate, door, bounds, metrics, stop, odd, slots: Arc::clone(&slots) });
    let mut stopping = pin!(server.stop.stopping());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let slot = strangers.enter();
                tokio::spawn(Arc::clone(&server).connection(stream, from, slot));
            }
            Err(error) => not_accepted(&server.metrics, Listener::Peer, &error).await,
        }
    }
    drop(listener);
    let _ = slots.acquire_many(u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX)).await;
}

/// The connections that are not yet known to be members', oldest first.
#[derive(Default)]
struct Strangers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    entered: u64,
    oldest_first: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// One of [`STRANGERS_MAX`] slots, until it is dropped.
struct StrangerSlot {
    strangers: Arc<Strangers>,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Strangers {
    fn enter(self: &Arc<Self>) -> StrangerSlot {
        let (evict, evicted) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.oldest_first.len() == STRANGERS_MAX {
            // Dropped, it tells the connection.
            waiting.oldest_first.pop_front();
        }
        waiting.entered = waiting.entered.wrapping_add(1);
        let number = waiting.entered;
        waiting.oldest_first.push_back((number, evict));
        StrangerSlot { strangers: Arc::clone(self), number, evicted }
    }
}

impl Drop for StrangerSlot {
    fn drop(&mut self) {
        let mut waiting = self.strangers.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.oldest_first.retain(|(number, _)| *number != self.number);
    }
}

/// What all connections share.
struct Server<D> {
    gate: Gate,
    door: PeerDoor<D>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: Stop,
    odd: Seldom,
    slots: Arc<Semaphore>,
}

impl<D: Desk> Server<D> {
    async fn connection(self: Arc<Self>, stream: TcpStream, from: SocketAddr, slot: StrangerSlot) {
        let served = async {
            // A box, so that a stranger does not hold what a member needs.
            match self.admit(stream, from, slot).await {
                Some((connection, _slot)) => Box::pin(self.exchange(connection)).await,
                None => None,
            }
        };
        counted(&self.metrics, Listener::Peer, served).await;
    }

    /// A connection of a member, with its slot. Others are counted and logged.
    async fn admit(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        mut slot: StrangerSlot,
    ) -> Option<(Connection, OwnedSemaphorePermit)> {
        let admitted = tokio::select! {
            biased;
            _ = &mut slot.evicted => None,
            admitted = Box::pin(self.gate.admit(stream)) => Some(admitted),
        };
        drop(slot);
        match admitted {
            None => self.turned_away(from, PeerRefusal::Crowded, &"too many others came after it"),
            Some(Err(cause)) => self.turned_away(from, cause.cause(), &cause),
            Some(Ok(connection)) => match Arc::clone(&self.slots).try_acquire_owned() {
                Ok(slot) => return Some((connection, slot)),
                Err(_) => self.turned_away(from, PeerRefusal::Full, &"members have too many connections"),
            },
        }
        None
    }

    fn turned_away(&self, from: SocketAddr, cause: PeerRefusal, what: &dyn std::fmt::Display) {
        self.metrics.cluster.refused.get(cause).increment(1);
        // A node that was restarted is asked for by its old key until the others have seen the new one.
        if cause == PeerRefusal::OtherServer {
            tracing::debug!(%from, "a caller at the port for other nodes asked for a key that is not this node's");
        } else if let Some(held_back) = self.odd.turn(clock::now()) {
            let cause = cause.as_str();
            tracing::warn!(%from, cause, %what, held_back, "turned away a connection at the port for other nodes");
        }
    }

    /// Answers until the other side or the node ends it. Says why the connection was cut, if it was.
    async fn exchange(self: &Arc<Self>, mut connection: Connection) -> Option<Cut> {
        // Never full: it has a slot for each request.
        let (replies, mut ready) = mpsc::channel::<Message>(IN_FLIGHT_MAX);
        let mut next = Vec::with_capacity(REPLIES_AT_ONCE);
        let mut in_flight: usize = 0;
        let mut stopping = pin!(self.stop.stopping());
        let mut is_leaving = false;
        let after = |span| clock::instant().checked_add(span).unwrap_or_else(clock::instant);
        let mut end = pin!(sleep_until(after(SILENT_MAX)));
        loop {
            // From a node that does not read what it is sent nothing more is read.
            let has_capacity = connection.has_capacity();
            let takes = has_capacity && in_flight < IN_FLIGHT_MAX;
            tokio::select! {
                turn = connection.turn(takes) => match turn {
                    Ok(Turn::Came(Message::Request { id, sealed, within })) => {
                        let (server, replies) = (Arc::clone(self), replies.clone());
                        in_flight = in_flight.saturating_add(1);
                        tokio::spawn(async move {
                            let asked = clock::instant();
                            let reply = server.door.reply(sealed, within).await;
                            let took = clock::instant().saturating_duration_since(asked);
                            // The connection is gone when this fails.
                            let _ = replies.send(Message::Reply { id, reply, took }).await;
                        });
                    }
                    Ok(Turn::Came(Message::Claim { id, claim })) => {
                        let reply = Some(self.door.agree(*claim));
                        if connection.send(&Message::Reply { id, reply, took: Duration::ZERO }).is_err() {
                            return Some(Cut::Broken);
                        }
                    }
                    Ok(Turn::Came(Message::Ping)) => {
                        if !is_leaving {
                            end.as_mut().reset(after(SILENT_MAX));
                        }
                        if connection.send(&Message::Ping).is_err() {
                            return Some(Cut::Broken);
                        }
                    }
                    Ok(Turn::Came(Message::Hello(_) | Message::Reply { .. } | Message::Leaving) | Turn::Sent) => {}
                    Ok(Turn::Ended) => return None,
                    Err(error) => return Some(cut(&error)),
                },
                count = ready.recv_many(&mut next, REPLIES_AT_ONCE), if has_capacity => {
                    in_flight = in_flight.saturating_sub(count);
                    for reply in next.drain(..) {
                        if connection.send(&reply).is_err() {
                            return Some(Cut::Broken);
                        }
                    }
                }
                () = &mut stopping, if !is_leaving => {
                    is_leaving = true;
                    end.as_mut().reset(after(self.bounds.drain_within));
                    if connection.send(&Message::Leaving).is_err() {
                        return Some(Cut::Broken);
                    }
                }
                () = &mut end => return Some(if is_leaving { Cut::Drain } else { Cut::Idle }),
            }
        }
    }
}

fn cut(error: &io::Error) -> Cut {
    match error.kind() {
        io::ErrorKind::InvalidData => Cut::Protocol,
        io::ErrorKind::TimedOut => Cut::Idle,
        _ => Cut::Broken,
    }
}
