//! The port for other nodes: what they forward is verified again, answered to them, and goes no further. Nothing but a
//! signature makes a request believed there, and nothing that is said there means anything on Stripe's port.

use std::{net::SocketAddr, time::Duration};

use tokio::net::TcpStream;
use tollgate::{
    clock,
    cluster::{Cause, Line, Message, PeerReply, Sealed},
};

use super::{CAPTURE, PURCHASE, Room, delivery, signed_header, within};
use crate::client::{Client, post};

const LONG: Duration = Duration::from_secs(20);

/// A node that forwards, over one connection.
struct Peer {
    line: Line,
    asked: u64,
    is_sent_away: bool,
}

impl Peer {
    async fn connect(address: SocketAddr) -> Self {
        Self { line: Line::call(address).await.unwrap(), asked: 0, is_sent_away: false }
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
        self.line.say(&Message::Question { id: self.asked, sealed, within: within_time }).unwrap();
        loop {
            let heard = within("a peer is answered", self.line.turn(true)).await.unwrap();
            match heard.expect("an answer before the end") {
                Message::Reply { id, reply, .. } if id == self.asked => return reply,
                Message::Leaving => self.is_sent_away = true,
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
    let mut peer = Peer::connect(room.peers).await;
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
    let called = Line::call(room.webhook).await;
    assert!(called.is_err(), "Stripe's port greets nodes");
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
    let mut peer = Peer::connect(room.peers).await;
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
    let mut peer = Peer::connect(room.peers).await;
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
    let mut peer = Peer::connect(room.peers).await;
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

#[tokio::test]
async fn noise_ends_its_own_connection_only() {
    let room = Room::open().await;
    let mut peer = Peer::connect(room.peers).await;
    let greeted = |more: &[u8]| [b"tollgate/1\n", more].concat();
    let noises = [
        ("a request of Stripe's", delivery(PURCHASE)),
        ("a greeting of another age", b"tollgate/9\n".to_vec()),
        ("a message of four gigabytes", greeted(b"\xff\xff\xff\xff")),
        ("a message that no node writes", greeted(b"\0\0\0\x01Q")),
    ];
    for (what, noise) in noises {
        let mut stranger = Client::connect(room.peers).await;
        stranger.send(noise).await;
        // A greeting and the end, or a reset.
        let _ = within(what, stranger.end()).await;
        assert_eq!(peer.forward(CAPTURE, LONG).await, Some(PeerReply::Booked), "after {what}");
    }
}
