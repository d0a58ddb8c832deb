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
    cluster::{Connection, Fingerprint, Gate, Hello, Identity, Message, NotConnected, Turn},
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
    let sealed = Sealed { signature: None, received_at: Timestamp::from_micros(0), body: Bytes::from(body) };
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
