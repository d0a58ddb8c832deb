//! The port for other nodes: members prove their keys; what they forward is verified again, answered to them, and goes no
//! further. Others are turned away, counted and logged, and nothing that nodes send means anything on Stripe's port.

use std::time::Duration;

use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tollgate::{
    clock,
    cluster::{Cause, Connection, Local, Member, Message, PeerReply, Sealed, Turn},
};

use super::{CAPTURE, PURCHASE, Room, delivery, eventually, node, signed_header, within};
use crate::client::{Client, post};

const LONG: Duration = Duration::from_secs(20);

/// A node that forwards, over one connection.
struct Peer {
    connection: Connection,
    asked: u64,
    is_sent_away: bool,
}

impl Peer {
    async fn connect(room: &Room) -> Self {
        Self::of(&room.other, &room.here).await
    }

    async fn of(local: &Local, node: &Member) -> Self {
        let connection = Connection::connect(local, node).await.unwrap();
        Self { connection, asked: 0, is_sent_away: false }
    }

    /// Forwards what Stripe signed, to be answered within so long.
    async fn forward(&mut self, body: &'static [u8], waits: Duration) -> Option<PeerReply> {
        self.bring(Some(signature(body)), body, waits).await
    }

    async fn bring(
        &mut self,
        signature: Option<String>,
        body: &'static [u8],
        waits: Duration,
    ) -> Option<PeerReply> {
        let signature = signature.map(Into::into);
        self.ask(Sealed { signature, received_at: clock::now(), body: body.into() }, waits).await
    }

    async fn ask(&mut self, sealed: Sealed, within_time: Duration) -> Option<PeerReply> {
        self.asked += 1;
        self.connection.send(&Message::Request { id: self.asked, sealed, within: within_time }).unwrap();
        loop {
            match within("a peer is answered", self.connection.turn(true)).await.unwrap() {
                Turn::Came(Message::Reply { id, reply, .. }) if id == self.asked => return reply,
                Turn::Came(Message::Leaving) => self.is_sent_away = true,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The value of the signature's header.
fn signature(body: &[u8]) -> String {
    signed_header(body).trim_end().split_once(": ").unwrap().1.to_owned()
}

#[tokio::test]
async fn what_a_node_forwards_is_verified_again_and_answered_to_it() {
    let room = Room::open().await;
    let mut peer = Peer::connect(&room).await;
    let Some(PeerReply::Answer(answer)) = peer.forward(PURCHASE, LONG).await else { panic!("no answer") };
    assert_eq!(answer.decision.to_string(), "dec_0000000000000007");
    assert_eq!(peer.forward(CAPTURE, LONG).await, Some(PeerReply::Booked));

    // A node is believed no more than a stranger.
    for signature in [Some("t=1,v1=00".to_owned()), Some(signature(CAPTURE)), None] {
        assert_eq!(peer.bring(signature, PURCHASE, LONG).await, None);
    }
    assert_eq!(peer.forward(b"no event", LONG).await, None);
    assert_eq!(room.desk.asked(), 1, "nobody was asked what nobody had signed");
}

/// Else whoever can reach Stripe's port would decide how long an answer may take, and where.
#[tokio::test]
async fn what_nodes_say_to_each_other_means_nothing_on_stripes_port() {
    let room = Room::open().await;
    let misplaced = Member { address: room.webhook.to_string(), ..room.here.clone() };
    let called = Connection::connect(&room.other, &misplaced).await;
    assert!(called.is_err(), "Stripe's port lets nodes in");
    let headers = format!("{}tollgate-hop: node-b\r\ntollgate-within-ms: 1\r\n", signed_header(PURCHASE));
    let response = Client::connect(room.webhook).await.exchange(post("/webhook", &headers, PURCHASE)).await;
    assert_eq!((response.status, response.json()["approved"].as_bool()), (200, Some(true)));
    let asked = room.desk.arrivals();
    let time = asked[0].deadline.saturating_duration_since(asked[0].received);
    assert_eq!(time, Duration::from_millis(1_200));
}

#[tokio::test]
async fn a_forwarded_request_has_the_time_that_its_node_waits_and_no_more() {
    let room = Room::open().await;
    let mut peer = Peer::connect(&room).await;
    peer.forward(PURCHASE, Duration::from_millis(250)).await;
    peer.forward(PURCHASE, Duration::from_hours(1)).await;
    let times: Vec<Duration> = room
        .desk
        .arrivals()
        .iter()
        .map(|arrival| arrival.deadline.saturating_duration_since(arrival.received))
        .collect();
    assert_eq!(times, [Duration::from_millis(250), Duration::from_millis(1_200)]);
    // One that is not answered in that time is told so: its node decides.
    room.desk.close();
    let sent = clock::instant();
    let reply = peer.forward(PURCHASE, Duration::from_millis(30)).await;
    assert_eq!(reply, Some(PeerReply::Undecided(Cause::Deadline)));
    assert!(sent.elapsed() >= Duration::from_millis(30));
}

/// Else two nodes that answer one delivery would decide it in two windows; and no clock that is wrong moves a window far.
#[tokio::test]
async fn the_time_that_counts_is_that_of_the_node_that_was_asked_if_it_can_be_right() {
    let room = Room::open().await;
    let mut peer = Peer::connect(&room).await;
    let before = clock::now();
    let (seconds, minutes) = (Duration::from_secs(30), Duration::from_mins(2));
    let told = [before.minus(seconds), before.plus(seconds), before.minus(minutes), before.plus(minutes)];
    for received_at in told {
        let signature = Some(signature(PURCHASE).into());
        let reply = peer.ask(Sealed { signature, received_at, body: PURCHASE.into() }, LONG).await;
        assert!(matches!(reply, Some(PeerReply::Answer(_))), "{reply:?}");
    }
    let asked = room.desk.0.asked.lock().unwrap();
    let times: Vec<_> = asked.iter().map(|(request, _)| request.received_at).collect();
    assert_eq!(times[..2], told[..2], "clocks may be a minute apart");
    let by_its_own = before..=clock::now();
    assert!(times[2..].iter().all(|time| by_its_own.contains(time)), "{times:?}");
}

#[tokio::test]
async fn what_nodes_have_sent_is_answered_before_the_port_closes() {
    let room = Room::open().await;
    let mut peer = Peer::connect(&room).await;
    assert_eq!(peer.forward(CAPTURE, LONG).await, Some(PeerReply::Booked));
    room.desk.close();
    let forwarded = tokio::spawn(async move { (peer.forward(PURCHASE, LONG).await, peer) });
    within("the question comes", room.desk.came(1)).await;
    room.drain.stop();
    within("the door is shut", async { while TcpStream::connect(room.peers).await.is_ok() {} }).await;
    room.desk.open();
    let (reply, peer) = within("it is answered", forwarded).await.unwrap();
    assert!(matches!(reply, Some(PeerReply::Answer(_))), "{reply:?}");
    assert!(peer.is_sent_away, "it would be asked again");
    drop(peer);
    room.ended().await;
}

/// The first bytes of a client of TLS 1.3 that says that its message is 16 MB long.
const ENDLESS: &[u8] = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff";

#[tokio::test]
async fn what_strangers_send_ends_their_own_connection_only_and_is_counted() {
    let room = Room::open().await;
    let mut peer = Peer::connect(&room).await;
    let long = [ENDLESS, &vec![0; 64 * 1024]].concat();
    for (what, noise, cause) in [
        ("a request of Stripe's", delivery(PURCHASE), "not_a_node"),
        ("a greeting of an earlier protocol", b"tollgate/1\n".to_vec(), "not_a_node"),
        ("a message without an end", long, "too_long"),
    ] {
        let before = refused(&room, cause);
        let mut stranger = Client::connect(room.peers).await;
        stranger.send(noise).await;
        // An alert of TLS, or a reset.
        let _ = within(what, stranger.end()).await;
        assert_eq!(peer.forward(CAPTURE, LONG).await, Some(PeerReply::Booked), "after {what}");
        eventually(what, || refused(&room, cause) == before + 1).await;
    }
}

/// A key that is made up is proved, and no member's; a node that was restarted is called by the key that it had.
#[tokio::test]
async fn only_members_are_let_in_and_only_by_who_knows_the_nodes_key() {
    let room = Room::open().await;
    let (stranger, made_up) = node("node-b", room.peers);
    assert!(Connection::connect(&stranger, &room.here).await.is_err());
    eventually("it is counted", || refused(&room, "unknown_key") == 1).await;
    let other = Member { key: made_up.key, ..room.here.clone() };
    assert!(Connection::connect(&room.other, &other).await.is_err());
    eventually("it is counted", || refused(&room, "other_server") == 1).await;
    assert_eq!(Peer::connect(&room).await.forward(CAPTURE, LONG).await, Some(PeerReply::Booked));
}

/// However many say nothing, a member gets in, and what it has stays open.
#[tokio::test]
async fn strangers_take_no_slot_of_members() {
    let room = Room::open().await;
    let mut before = Peer::connect(&room).await;
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(TcpStream::connect(room.peers).await.unwrap());
    }
    // The oldest made room: it is closed, long before its time is over.
    let mut rest = Vec::new();
    let _ = within("the oldest is closed", strangers[0].read_to_end(&mut rest)).await;
    eventually("they are counted", || refused(&room, "crowded") >= 200 - 64).await;
    let mut after = Peer::connect(&room).await;
    for peer in [&mut before, &mut after] {
        assert_eq!(peer.forward(CAPTURE, LONG).await, Some(PeerReply::Booked));
    }
}

fn refused(room: &Room, cause: &str) -> u64 {
    room.metric(&format!("tollgate_peer_connections_refused_total{{cause=\"{cause}\"}}")).parse().unwrap()
}
