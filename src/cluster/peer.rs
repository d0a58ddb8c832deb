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
    connection::{BODY_BYTES_MAX, Connection, Local, NotConnected, Turn},
    member::Member,
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
async fn keep(link: Arc<Link>, member: Arc<Member>, local: Arc<Local>) {
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
                        Message::Hello(_) | Message::Ping | Message::Request { .. } => {}
                    }
                }
                Turn::Sent => {}
                Turn::Ended => return Ok(()),
            },
            _ = called.recv_many(&mut calls, CALLS_AT_ONCE), if takes => {
                for Call { sealed, deadline, reply } in calls.drain(..).filter(|call| !call.reply.is_closed()) {
                    let within = deadline.saturating_duration_since(clock::instant());
                    next_id = next_id.wrapping_add(1);
                    connection.send(&Message::Request { id: next_id, sealed, within })?;
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
    use crate::{
        clock::timeout,
        cluster::{Fingerprint, Gate, Hello, Identity},
        domain::Timestamp,
        journal::Lineage,
        metrics::{Metrics, PeerRefusal, Vocabulary},
    };

    /// A node that shows itself by this name.
    fn local(node: &str, journal: &str) -> Arc<Local> {
        let (node, version) = (node.to_owned(), "1.0.0".to_owned());
        let hello = Hello { journal: journal.to_owned(), lineage: None, node, incarnation: 1, version };
        let metrics = Arc::new(Metrics::new(&Vocabulary::default()));
        Arc::new(Local::new(Identity::generate().unwrap(), hello, metrics).unwrap())
    }

    fn member(local: &Local, address: &str) -> Member {
        let Hello { node, incarnation, version, .. } = local.hello();
        Member { node, incarnation, address: address.to_owned(), version, key: local.identity.fingerprint }
    }

    /// A node that listens, and another one that knows it as a peer.
    struct Two {
        listener: TcpListener,
        gate: Gate,
        peer: Arc<Peer>,
        caller: Arc<Local>,
    }

    impl Two {
        async fn new() -> Self {
            Self::of(&local("node-a", "journal"), local("node-b", "journal"), |_| ()).await
        }

        async fn of(here: &Arc<Local>, caller: Arc<Local>, change: impl FnOnce(&mut Member)) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let gate = gate(here, &[member(&caller, "127.0.0.1:1")]);
            let mut known = member(here, &listener.local_addr().unwrap().to_string());
            change(&mut known);
            let peer = Arc::new(Peer::new(known, &caller));
            Self { listener, gate, peer, caller }
        }

        async fn admit(&self) -> Result<Connection, NotConnected> {
            self.gate.admit(accepted(&self.listener).await).await
        }

        async fn until_refused(&self, cause: PeerRefusal) {
            let series = format!("tollgate_peer_connections_refused_total{{cause=\"{}\"}} ", cause.as_str());
            let counted = async {
                let is_counted = |line: &str| line.strip_prefix(&series).is_some_and(|count| count != "0");
                while !self.caller.metrics.render().lines().any(is_counted) {
                    yield_now().await;
                }
            };
            timeout(Duration::from_mins(1), counted).await.unwrap();
        }
    }

    fn gate(here: &Arc<Local>, members: &[Member]) -> Gate {
        Gate::new(Arc::clone(here), watch::channel(Arc::from(members)).1)
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
        let two = Two::new().await;
        // As a process does that is stopped: what is sent to it arrives.
        let mut silent = accepted(&two.listener).await;
        let mut first = [0; 1];
        silent.read_exact(&mut first).await.unwrap();
        assert_eq!(two.peer.links(), 0);
        // One that proves its key and says hello is there.
        let _connection = two.admit().await.unwrap();
        until(1, &two.peer).await;
    }

    #[tokio::test]
    async fn what_is_not_a_node_is_not_reached_and_is_counted() {
        let two = Two::new().await;
        let mut other = accepted(&two.listener).await;
        tokio::io::AsyncWriteExt::write_all(&mut other, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        // Until it is hung up.
        let _ = other.read_to_end(&mut rest).await;
        two.until_refused(PeerRefusal::NotANode).await;
        assert_eq!(two.peer.links(), 0);
    }

    /// Somebody who knows by which name to answer, and that a member calls, but has not the key.
    #[tokio::test]
    async fn another_key_at_a_members_address_is_not_reached() {
        let (here, caller) = (local("node-a", "journal"), local("node-b", "journal"));
        let two = Two::of(&here, Arc::clone(&caller), |_| ()).await;
        let fingerprint = here.identity.fingerprint;
        let identity = Identity { fingerprint, ..Identity::generate().unwrap() };
        let theirs = Local::new(identity, here.hello(), Arc::clone(&here.metrics)).unwrap();
        let impostor = gate(&Arc::new(theirs), &[member(&caller, "127.0.0.1:1")]);
        let admitted = impostor.admit(accepted(&two.listener).await).await;
        assert!(admitted.is_err(), "it was trusted");
        two.until_refused(PeerRefusal::Impostor).await;
        assert_eq!(two.peer.links(), 0);
    }

    #[tokio::test]
    async fn a_key_that_is_no_members_is_turned_away() {
        let (here, caller) = (local("node-a", "journal"), local("node-b", "journal"));
        let two = Two::of(&here, Arc::clone(&caller), |_| ()).await;
        // Its row may be on its way, and is waited for; what has another key is turned away in the end.
        let stranger = gate(&here, &[member(&local("node-b", "journal"), "127.0.0.1:1")]);
        let refused = stranger.admit(accepted(&two.listener).await).await.err().unwrap();
        assert!(
            matches!(refused, NotConnected::UnknownKey(key) if key == caller.identity.fingerprint),
            "{refused}"
        );
        let (rows, seen) = watch::channel(Arc::from([]));
        let gate = Gate::new(here, seen);
        let admitting = tokio::spawn({
            let stream = accepted(&two.listener).await;
            async move { gate.admit(stream).await.map(drop) }
        });
        rows.send_replace(Arc::from([member(&caller, "127.0.0.1:1")]));
        assert!(admitting.await.unwrap().is_ok(), "its row has come");
    }

    #[tokio::test]
    async fn a_node_that_was_started_again_is_reached_by_its_new_key_only() {
        let (here, caller) = (local("node-a", "journal"), local("node-b", "journal"));
        let two = Two::of(&here, caller, |known| known.key = Fingerprint::of(b"of the run before")).await;
        let refused = two.admit().await.err().unwrap();
        assert!(matches!(refused, NotConnected::OtherServer), "{refused}");
        assert_eq!(two.peer.links(), 0);
    }

    #[tokio::test]
    async fn a_member_with_another_journal_is_turned_away_and_both_say_so() {
        let two = Two::of(&local("node-a", "one"), local("node-b", "another"), |_| ()).await;
        let refused = two.admit().await.err().unwrap();
        assert!(refused.to_string().starts_with("expected a node of the journal one, found one of another"));
        two.until_refused(PeerRefusal::OtherJournal).await;
        assert_eq!(two.peer.links(), 0);
    }

    /// A dump that was restored elsewhere has the identity of the journal, and the rows of its members.
    #[tokio::test]
    async fn a_copy_of_the_journal_is_another_journal_and_a_failover_is_none() {
        let check = async |lineage: [Lineage; 2], is_let_in: bool| {
            let (here, caller) = (local("node-a", "journal"), local("node-b", "journal"));
            for (local, lineage) in [&here, &caller].into_iter().zip(lineage) {
                local.appends_to("journal".to_owned(), lineage);
            }
            let two = Two::of(&here, caller, |_| ()).await;
            assert_eq!(two.admit().await.is_ok(), is_let_in, "{lineage:?}");
        };
        let of = |system, timeline| Lineage { system, timeline };
        check([of(7, 1), of(7, 1)], true).await;
        check([of(7, 1), of(7, 2)], true).await;
        check([of(7, 1), of(8, 1)], false).await;
    }

    #[tokio::test]
    async fn a_member_that_calls_itself_by_anothers_name_is_turned_away() {
        let two = Two::of(&local("node-a", "journal"), local("node-b", "journal"), |known| {
            known.node = "node-c".to_owned();
        })
        .await;
        let _admitted = two.admit().await.unwrap();
        two.until_refused(PeerRefusal::OtherName).await;
        assert_eq!(two.peer.links(), 0);
    }

    #[tokio::test]
    async fn a_peer_that_stops_answering_is_given_up() {
        let two = Two::new().await;
        let _hangs = [two.admit().await.unwrap(), two.admit().await.unwrap()];
        until(LINKS, &two.peer).await;
        let asked = ask(&two.peer, "anything");
        until(0, &two.peer).await;
        assert_eq!(asked.await.unwrap(), Err(Forward::Broken));
    }

    /// A side that has more to send than fits sends the rest when there is room, and reads on.
    #[tokio::test]
    async fn a_full_outbox_is_emptied_by_a_side_that_reads_nothing_meanwhile() {
        let two = Two::new().await;
        let mut sender = two.admit().await.unwrap();
        let body = "x".repeat(100 * 1024);
        let sealed =
            Sealed { signature: None, received_at: Timestamp::from_micros(0), body: Bytes::from(body) };
        while sender.has_capacity() {
            let within = Duration::ZERO;
            sender.send(&Message::Request { id: 1, sealed: sealed.clone(), within }).unwrap();
        }
        let turn = timeout(Duration::from_mins(1), sender.turn(false)).await.unwrap();
        assert_eq!(turn.unwrap(), Turn::Sent);
        assert!(sender.has_capacity());
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
            let two = Two::new().await;
            let (has_one, does) = (Arc::new(Notify::new()), watch::Sender::new(Does::Keep));
            for _ in 0..LINKS {
                let connection = two.admit().await.unwrap();
                tokio::spawn(Self::answer(connection, Arc::clone(&has_one), does.subscribe()));
            }
            until(LINKS, &two.peer).await;
            Self { peer: two.peer, has_one, does }
        }

        async fn answer(mut connection: Connection, has_one: Arc<Notify>, mut does: watch::Receiver<Does>) {
            let mut kept = Vec::new();
            let booked = |id| Message::Reply { id, reply: Some(PeerReply::Booked), took: Duration::ZERO };
            loop {
                tokio::select! {
                    turn = connection.turn(true) => match turn {
                        Ok(Turn::Came(Message::Ping)) => connection.send(&Message::Ping).unwrap(),
                        Ok(Turn::Came(Message::Request { id, sealed, .. })) if sealed.body == "slow" => {
                            kept.push(id);
                            has_one.notify_one();
                        }
                        Ok(Turn::Came(Message::Request { id, .. })) => connection.send(&booked(id)).unwrap(),
                        _ => return,
                    },
                    Ok(()) = does.changed() => match *does.borrow_and_update() {
                        Does::Keep => {}
                        Does::Leave => connection.send(&Message::Leaving).unwrap(),
                        Does::Answer => for id in kept.drain(..) {
                            connection.send(&booked(id)).unwrap();
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
