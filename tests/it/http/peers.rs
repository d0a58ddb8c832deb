//! The port for other nodes: what they forward is verified again, answered to them, and goes no further. Nothing but a
//! signature makes a request believed there, and nothing that is said there means anything on Stripe's port.

use std::{net::SocketAddr, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tollgate::{
    clock,
    cluster::{Cause, HOP, PeerReply, WITHIN_MS},
};

use super::{CAPTURE, PURCHASE, Room, delivery, signed_header, within};
use crate::client::{Client, post};

/// A node that forwards, over one connection.
struct Peer(SendRequest<Full<Bytes>>);

impl Peer {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a body with these headers.
    async fn send(&mut self, headers: &[(&str, &str)], body: &[u8]) -> (StatusCode, Bytes) {
        let mut request = Request::post("http://peer/webhook");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let response = within("a peer is answered", self.0.send_request(request)).await.unwrap();
        (response.status(), response.into_body().collect().await.unwrap().to_bytes())
    }

    /// Forwards what Stripe signed, to be answered within so many milliseconds.
    async fn forward(&mut self, body: &[u8], within_ms: &str) -> (StatusCode, Bytes) {
        let signature = signature(body);
        let headers = [("stripe-signature", signature.as_str()), (HOP, "node-b"), (WITHIN_MS, within_ms)];
        self.send(&headers, body).await
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
    let (status, body) = peer.forward(PURCHASE, "20000").await;
    assert_eq!(status, StatusCode::OK);
    let Some(PeerReply::Answer(answer)) = PeerReply::decode(&body) else { panic!("{body:?}") };
    assert_eq!(answer.decision.to_string(), "dec_0000000000000007");
    let (status, body) = peer.forward(CAPTURE, "20000").await;
    assert_eq!((status, PeerReply::decode(&body)), (StatusCode::OK, Some(PeerReply::Booked)));

    // A node is believed no more than a stranger.
    let forged = [("stripe-signature", "t=1,v1=00"), (HOP, "node-b"), (WITHIN_MS, "20000")];
    assert_eq!(peer.send(&forged, PURCHASE).await.0, StatusCode::BAD_REQUEST);
    let unsigned = [(HOP, "node-b"), (WITHIN_MS, "20000")];
    assert_eq!(peer.send(&unsigned, PURCHASE).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(room.desk.asked(), 1, "nobody was asked what nobody had signed");
}

#[tokio::test]
async fn only_nodes_are_answered_on_the_port_for_nodes() {
    let room = Room::open().await;
    let mut peer = Peer::connect(room.peers).await;
    let signature = signature(PURCHASE);
    let signed = ("stripe-signature", signature.as_str());
    for headers in
        [&[signed][..], &[signed, (HOP, "node-b")], &[signed, (HOP, "node-b"), (WITHIN_MS, "soon")]]
    {
        let (status, body) = peer.send(headers, PURCHASE).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(String::from_utf8_lossy(&body).contains("TOLLGATE_LISTEN"), "{body:?}");
    }
    assert_eq!(room.desk.asked(), 0);
}

/// Else whoever can reach Stripe's port would decide how long an answer may take, and where.
#[tokio::test]
async fn what_nodes_say_to_each_other_means_nothing_on_stripes_port() {
    let room = Room::open().await;
    let headers = format!("{}{HOP}: node-b\r\n{WITHIN_MS}: 1\r\n", signed_header(PURCHASE));
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
    peer.forward(PURCHASE, "250").await;
    peer.forward(PURCHASE, "3600000").await;
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
    let (status, body) = peer.forward(PURCHASE, "30").await;
    assert_eq!(PeerReply::decode(&body), Some(PeerReply::Undecided(Cause::Deadline)), "{status}");
    assert!(sent.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn what_nodes_have_sent_is_answered_before_the_port_closes() {
    let room = Room::open().await;
    let mut peer = Peer::connect(room.peers).await;
    assert_eq!(peer.forward(CAPTURE, "20000").await.0, StatusCode::OK);
    room.desk.close();
    let forwarded = tokio::spawn(async move { (peer.forward(PURCHASE, "20000").await, peer) });
    within("the question comes", room.desk.came(1)).await;
    room.drain.stop();
    within("the door is shut", async { while TcpStream::connect(room.peers).await.is_ok() {} }).await;
    room.desk.open();
    let ((status, body), _peer) = within("it is answered", forwarded).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(matches!(PeerReply::decode(&body), Some(PeerReply::Answer(_))), "{body:?}");
    room.ended().await;
}

#[tokio::test]
async fn noise_ends_its_own_connection_only() {
    let room = Room::open().await;
    let mut peer = Peer::connect(room.peers).await;
    let mut noise = Client::connect(room.peers).await;
    noise.send(delivery(PURCHASE)).await;
    // Either a word of the protocol and the end, or a reset.
    let _ = noise.end().await;
    assert_eq!(peer.forward(CAPTURE, "20000").await.0, StatusCode::OK);
}
