//! The listener for other nodes: many questions at once on few connections, and their replies in any order. What is asked and
//! answered is not here.

use std::{io, pin::pin, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::{
    server::{Bounds, Stop, counted, not_accepted},
    webhook::{Desk, PeerDoor},
};
use crate::{
    clock::{self, sleep_until},
    cluster::{Line, Message},
    metrics::{Cut, Listener, Metrics},
};

/// Each node has two connections to each other one.
const CONNECTIONS_MAX: usize = 1_024;

/// Questions of one connection at the same time. One more waits at its sender, within its own time.
const IN_FLIGHT_MAX: usize = 1_024;

/// How many replies go out together, if they are there.
const REPLIES_AT_ONCE: usize = 64;

/// A node says something five times a second: one that is gone without a word is not waited for.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// Serves `listener` until `stop` says so, and returns when its last connection has ended.
pub async fn run_peers<D: Desk>(
    listener: TcpListener,
    door: PeerDoor<D>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: Stop,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let server = Arc::new(Server { door, bounds, metrics, stop });
    let mut stopping = pin!(server.stop.stopping());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // One above the bound is just closed: whoever is no node has nothing to do here.
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    tokio::spawn(Arc::clone(&server).connection(stream, place));
                }
            }
            Err(error) => not_accepted(&server.metrics, Listener::Peer, &error).await,
        }
    }
    drop(listener);
    let _ = places.acquire_many(u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX)).await;
}

/// What all connections share.
struct Server<D> {
    door: PeerDoor<D>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: Stop,
}

impl<D: Desk> Server<D> {
    async fn connection(self: Arc<Self>, stream: TcpStream, place: OwnedSemaphorePermit) {
        counted(&self.metrics, Listener::Peer, self.exchange(stream)).await;
        drop(place);
    }

    /// Answers until the other side or the node ends it. Says why the connection was cut, if it was.
    async fn exchange(self: &Arc<Self>, stream: TcpStream) -> Option<Cut> {
        let mut line = match Line::take(stream).await {
            Ok(line) => line,
            Err(error) => return Some(cut(&error)),
        };
        // Never full: it has a place for each question.
        let (replies, mut ready) = mpsc::channel::<Message>(IN_FLIGHT_MAX);
        let mut next = Vec::with_capacity(REPLIES_AT_ONCE);
        let mut in_flight: usize = 0;
        let mut stopping = pin!(self.stop.stopping());
        let mut is_leaving = false;
        let after = |span| clock::instant().checked_add(span).unwrap_or_else(clock::instant);
        let mut end = pin!(sleep_until(after(SILENT_MAX)));
        loop {
            // Who does not read what is said is not listened to.
            let has_room = line.has_room();
            let listens = has_room && in_flight < IN_FLIGHT_MAX;
            tokio::select! {
                heard = line.turn(listens) => match heard {
                    Ok(Some(Message::Question { id, sealed, within })) => {
                        let (server, replies) = (Arc::clone(self), replies.clone());
                        in_flight = in_flight.saturating_add(1);
                        tokio::spawn(async move {
                            let asked = clock::instant();
                            let reply = server.door.reply(sealed, within).await;
                            let took = clock::instant().saturating_duration_since(asked);
                            // Nobody is there to hear it when this fails.
                            let _ = replies.send(Message::Reply { id, reply, took }).await;
                        });
                    }
                    Ok(Some(Message::Ping)) => {
                        if !is_leaving {
                            end.as_mut().reset(after(SILENT_MAX));
                        }
                        if line.say(&Message::Ping).is_err() {
                            return Some(Cut::Broken);
                        }
                    }
                    Ok(Some(Message::Reply { .. } | Message::Leaving)) => {}
                    Ok(None) => return None,
                    Err(error) => return Some(cut(&error)),
                },
                count = ready.recv_many(&mut next, REPLIES_AT_ONCE), if has_room => {
                    in_flight = in_flight.saturating_sub(count);
                    for reply in next.drain(..) {
                        if line.say(&reply).is_err() {
                            return Some(Cut::Broken);
                        }
                    }
                }
                () = &mut stopping, if !is_leaving => {
                    is_leaving = true;
                    end.as_mut().reset(after(self.bounds.drain_within));
                    if line.say(&Message::Leaving).is_err() {
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
