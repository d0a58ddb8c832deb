//! How the room closes: nothing in flight is lost, nothing on its way is reset, and nothing lasts for ever.

use std::time::Duration;

use tokio::net::TcpStream;

use super::{PURCHASE, Room, delivery, within};
use crate::client::{Client, request};

#[tokio::test]
async fn what_is_in_flight_is_answered_and_then_the_door_is_shut() {
    let room = Room::open().await;
    room.desk.close();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(room.webhook).await;
        client.send(delivery(PURCHASE)).await;
        clients.push(client);
    }
    within("the questions come", room.desk.came(20)).await;
    room.drain.stop();
    let mut idle = Client::connect(room.admin).await;
    assert_eq!(idle.end().await.unwrap(), 0, "the listeners are on their way out");
    room.desk.open();
    for client in &mut clients {
        let response = client.response().await;
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
        client.finish().await;
        assert_eq!(client.end().await.unwrap(), 0);
    }
    let address = room.webhook;
    room.ended().await;
    assert!(TcpStream::connect(address).await.is_err(), "the door is open");
}

#[tokio::test]
async fn a_request_that_was_on_its_way_is_answered() {
    let room = Room::open().await;
    let mut used = Client::connect(room.webhook).await;
    assert_eq!(used.exchange(delivery(PURCHASE)).await.status, 200);
    let mut unused = Client::connect(room.webhook).await;
    room.drain.stop();
    // Nothing has run since: the room learns of these requests and of its end at the same time.
    let mut fresh = Client::connect(room.webhook).await;
    for client in [&mut used, &mut unused, &mut fresh] {
        let response = client.exchange(delivery(PURCHASE)).await;
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
        client.finish().await;
        assert_eq!(client.end().await.unwrap(), 0);
    }
    room.ended().await;
}

#[tokio::test]
async fn idle_connections_are_closed_in_order() {
    let room = Room::open().await;
    let mut used = Client::connect(room.webhook).await;
    assert_eq!(used.exchange(delivery(PURCHASE)).await.status, 200);
    let mut unused = Client::connect(room.webhook).await;
    room.drain.stop();
    assert_eq!(used.end().await.unwrap(), 0);
    assert_eq!(unused.end().await.unwrap(), 0);
    room.ended().await;
}

#[tokio::test]
async fn before_it_stops_it_sends_its_clients_elsewhere_one_by_one() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    assert_eq!(client.exchange(delivery(PURCHASE)).await.header("connection"), None);
    room.drain.leave();
    let last = client.exchange(delivery(PURCHASE)).await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    let mut late = Client::connect(room.webhook).await;
    let response = late.exchange(delivery(PURCHASE)).await;
    assert_eq!((response.status, response.header("connection")), (200, Some("close")), "it is still open");
    drop((client, late));
    room.drain.stop();
    room.ended().await;
}

#[tokio::test]
async fn whoever_never_ends_is_cut() {
    let room = Room::with(|settings| {
        settings.bounds.drain_within = Duration::from_millis(40);
    })
    .await;
    room.desk.close();
    let mut client = Client::connect(room.webhook).await;
    client.send(delivery(PURCHASE)).await;
    within("the question comes", room.desk.came(1)).await;
    let mut drip = Client::connect(room.webhook).await;
    drip.send(&request("POST", "/webhook", "")[..20]).await;
    room.drain.stop();
    let metrics = std::sync::Arc::clone(&room.metrics);
    room.ended().await;
    let text = metrics.render();
    let cut = r#"tollgate_connections_cut_total{listener="webhook",cause="drain"} 2"#;
    assert!(text.contains(cut), "{text}");
}
