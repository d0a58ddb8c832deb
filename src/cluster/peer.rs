//! Another node, and the ways to it: several connections that are kept open and looked after, and one forwarded
//! request over one of them. Which requests go to which node is not decided here.

use std::{
    collections::HashMap,
    io,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    line::{BODY_BYTES_MAX, Line},
    wire::{Message, PeerReply, Sealed},
};
use crate::{
    clock::{self, Instant, MissedTickBehavior, interval, sleep, timeout_at},
    metrics::Forward,
};

/// Connections to each peer: a packet that is lost on one of them does not hold up the others.
const LINKS: usize = 2;

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

/// One connection, as long as there is one.
#[derive(Default)]
struct Link(Mutex<Option<mpsc::Sender<Call>>>);

/// A question on its way to the peer. No reply will come once `reply` is dropped.
struct Call {
    sealed: Sealed,
    /// Until when its reply is of use.
    deadline: Instant,
    reply: oneshot::Sender<(Option<PeerReply>, Duration)>,
}

/// What a peer said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    pub(super) reply: PeerReply,
    /// How much longer it took than it took the peer: there and back, and what either side's messages waited.
    pub(super) hop: Duration,
}

impl Peer {
    /// A peer at this address, `host:port`. Connections to it are kept open until it is dropped.
    pub(super) fn new(address: &str) -> Self {
        let links: [Arc<Link>; LINKS] = Default::default();
        let keep = |link: &Arc<Link>| tokio::spawn(keep(Arc::clone(link), address.to_owned()));
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

    async fn exchange(&self, sealed: Sealed, deadline: Instant) -> Result<Heard, Forward> {
        if sealed.body.len() > BODY_BYTES_MAX {
            return Err(Forward::Refused);
        }
        let calls = self.calls().ok_or(Forward::Unreachable)?;
        let asked = clock::instant();
        let (reply, replied) = oneshot::channel();
        calls.try_send(Call { sealed, deadline, reply }).map_err(|_| Forward::Unreachable)?;
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

impl Link {
    fn is_open(&self) -> bool {
        self.calls().is_some()
    }

    fn calls(&self) -> Option<mpsc::Sender<Call>> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.as_ref().filter(|calls| !calls.is_closed()).cloned()
    }

    fn set(&self, calls: Option<mpsc::Sender<Call>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = calls;
    }
}

/// Keeps one connection open, for ever.
async fn keep(link: Arc<Link>, address: String) {
    let mut pause = PAUSE_FIRST;
    loop {
        if let Ok(line) = Line::call(&address).await {
            tracing::debug!(peer = %address, "connected to a peer");
            let (calls, called) = mpsc::channel(CALLS_MAX);
            link.set(Some(calls));
            // However it ends, the next one is looked for.
            let ended = converse(line, called).await;
            link.set(None);
            pause = PAUSE_FIRST;
            tracing::debug!(peer = %address, error = ended.err().map(tracing::field::display), "lost a connection to a peer");
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

/// Brings questions to a peer and its replies to who asked, until one side is gone or has nothing more to say.
async fn converse(mut line: Line, mut called: mpsc::Receiver<Call>) -> io::Result<()> {
    let mut waiting: HashMap<u64, oneshot::Sender<(Option<PeerReply>, Duration)>> = HashMap::new();
    let mut next_id: u64 = 0;
    let mut calls = Vec::with_capacity(CALLS_AT_ONCE);
    let mut is_leaving = false;
    let mut pings = interval(PING_EVERY);
    // A process that was stopped gives its peers the time to answer after it.
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unanswered: u32 = 0;
    while !(is_leaving && waiting.is_empty()) {
        let takes = line.has_room() && !(is_leaving && called.is_empty());
        tokio::select! {
            heard = line.turn(true) => {
                unanswered = 0;
                match heard? {
                    // Whoever has given up is not there any more.
                    Some(Message::Reply { id, reply, took }) => {
                        if let Some(asker) = waiting.remove(&id) {
                            let _ = asker.send((reply, took));
                        }
                    }
                    Some(Message::Leaving) => {
                        is_leaving = true;
                        called.close();
                    }
                    Some(Message::Ping | Message::Question { .. }) => {}
                    None => return Ok(()),
                }
            }
            _ = called.recv_many(&mut calls, CALLS_AT_ONCE), if takes => {
                for Call { sealed, deadline, reply } in calls.drain(..).filter(|call| !call.reply.is_closed()) {
                    let within = deadline.saturating_duration_since(clock::instant());
                    next_id = next_id.wrapping_add(1);
                    line.say(&Message::Question { id: next_id, sealed, within })?;
                    waiting.insert(next_id, reply);
                }
            }
            _ = pings.tick() => {
                if unanswered == PINGS_UNANSWERED_MAX {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                unanswered = unanswered.saturating_add(1);
                waiting.retain(|_, asker| !asker.is_closed());
                line.say(&Message::Ping)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpStream},
        sync::{Notify, watch},
        task::yield_now,
    };
    use tokio_util::bytes::Bytes;

    use super::*;
    use crate::{clock::timeout, domain::Timestamp};

    async fn listener() -> (TcpListener, Arc<Peer>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer::new(&listener.local_addr().unwrap().to_string());
        (listener, Arc::new(peer))
    }

    async fn accepted(listener: &TcpListener) -> TcpStream {
        listener.accept().await.unwrap().0
    }

    async fn until(links: usize, peer: &Peer) {
        let reached = async {
            while peer.links() != links {
                yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), reached).await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_takes_connections_and_says_nothing_is_not_reached() {
        let (listener, peer) = listener().await;
        // As a process does that is stopped: what is sent to it arrives.
        let mut silent = accepted(&listener).await;
        let mut greeting = [0; 9];
        silent.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"tollgate/");
        assert_eq!(peer.links(), 0);
        // One that greets is there.
        let _line = Line::take(accepted(&listener).await).await.unwrap();
        until(1, &peer).await;
    }

    #[tokio::test]
    async fn whoever_is_no_node_is_not_reached() {
        let (listener, peer) = listener().await;
        let mut other = accepted(&listener).await;
        tokio::io::AsyncWriteExt::write_all(&mut other, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        // Until it is hung up.
        let _ = other.read_to_end(&mut rest).await;
        assert_eq!(peer.links(), 0);
    }

    #[tokio::test]
    async fn a_peer_that_stops_answering_is_given_up() {
        let (listener, peer) = listener().await;
        let _hangs = [
            Line::take(accepted(&listener).await).await.unwrap(),
            Line::take(accepted(&listener).await).await.unwrap(),
        ];
        until(LINKS, &peer).await;
        let asked = ask(&peer, "anything");
        until(0, &peer).await;
        assert_eq!(asked.await.unwrap(), Err(Forward::Broken));
    }

    /// A peer that keeps questions of the body `slow` until it is let, and answers all others at once.
    struct Slow {
        peer: Arc<Peer>,
        has_one: Arc<Notify>,
        does: watch::Sender<Does>,
    }

    /// What a slow peer does about what it has kept.
    #[derive(Clone, Copy, PartialEq)]
    enum Does {
        Keep,
        Leave,
        Answer,
    }

    impl Slow {
        async fn new() -> Self {
            let (listener, peer) = listener().await;
            let (has_one, does) = (Arc::new(Notify::new()), watch::Sender::new(Does::Keep));
            for _ in 0..LINKS {
                let line = Line::take(accepted(&listener).await).await.unwrap();
                tokio::spawn(Self::answer(line, Arc::clone(&has_one), does.subscribe()));
            }
            until(LINKS, &peer).await;
            Self { peer, has_one, does }
        }

        async fn answer(mut line: Line, has_one: Arc<Notify>, mut does: watch::Receiver<Does>) {
            let mut kept = Vec::new();
            let booked = |id| Message::Reply { id, reply: Some(PeerReply::Booked), took: Duration::ZERO };
            loop {
                tokio::select! {
                    heard = line.turn(true) => match heard {
                        Ok(Some(Message::Ping)) => line.say(&Message::Ping).unwrap(),
                        Ok(Some(Message::Question { id, sealed, .. })) if sealed.body == "slow" => {
                            kept.push(id);
                            has_one.notify_one();
                        }
                        Ok(Some(Message::Question { id, .. })) => line.say(&booked(id)).unwrap(),
                        _ => return,
                    },
                    Ok(()) = does.changed() => match *does.borrow_and_update() {
                        Does::Keep => {}
                        Does::Leave => line.say(&Message::Leaving).unwrap(),
                        Does::Answer => for id in kept.drain(..) {
                            line.say(&booked(id)).unwrap();
                        },
                    },
                }
            }
        }
    }

    fn ask(peer: &Arc<Peer>, body: &'static str) -> JoinHandle<Result<PeerReply, Forward>> {
        let (peer, now) = (Arc::clone(peer), clock::instant());
        let after = |span: Duration| now.checked_add(span).unwrap();
        let patience = Patience { silent: after(SILENT), living: after(SILENT.saturating_mul(10)) };
        let sealed = Sealed {
            signature: None,
            received_at: Timestamp::from_micros(0),
            body: Bytes::from_static(body.as_bytes()),
        };
        tokio::spawn(async move { peer.ask(sealed, patience).await.map(|heard| heard.reply) })
    }

    const SILENT: Duration = Duration::from_mins(10);

    /// Lets the time of a silent peer pass, and all who wait see that.
    async fn silence_is_over() {
        tokio::time::pause();
        tokio::time::advance(SILENT).await;
        tokio::time::resume();
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_peer_that_answers_others_is_waited_for() {
        let slow = Slow::new().await;
        let asked = ask(&slow.peer, "slow");
        slow.has_one.notified().await;
        assert_eq!(ask(&slow.peer, "quick").await.unwrap(), Ok(PeerReply::Booked));
        silence_is_over().await;
        slow.does.send_replace(Does::Answer);
        assert_eq!(asked.await.unwrap(), Ok(PeerReply::Booked));
    }

    #[tokio::test]
    async fn a_peer_that_answers_nobody_is_not_waited_for() {
        let slow = Slow::new().await;
        assert_eq!(ask(&slow.peer, "quick").await.unwrap(), Ok(PeerReply::Booked));
        let asked = ask(&slow.peer, "slow");
        slow.has_one.notified().await;
        silence_is_over().await;
        assert_eq!(asked.await.unwrap(), Err(Forward::Late));
    }

    #[tokio::test]
    async fn a_peer_that_leaves_answers_what_it_has_and_is_asked_no_more() {
        let slow = Slow::new().await;
        let asked = ask(&slow.peer, "slow");
        slow.has_one.notified().await;
        slow.does.send_replace(Does::Leave);
        until(0, &slow.peer).await;
        assert_eq!(ask(&slow.peer, "quick").await.unwrap(), Err(Forward::Unreachable));
        slow.does.send_replace(Does::Answer);
        assert_eq!(asked.await.unwrap(), Ok(PeerReply::Booked));
    }

    #[tokio::test]
    async fn what_no_message_can_hold_is_not_forwarded() {
        let slow = Slow::new().await;
        let body = "x".repeat(BODY_BYTES_MAX + 1);
        assert_eq!(ask(&slow.peer, body.leak()).await.unwrap(), Err(Forward::Refused));
        let largest = "x".repeat(BODY_BYTES_MAX);
        assert_eq!(ask(&slow.peer, largest.leak()).await.unwrap(), Ok(PeerReply::Booked));
    }
}
