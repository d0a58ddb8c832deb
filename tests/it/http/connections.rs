//! Connections that are slow, silent, many, half closed, or speak something else.

use std::time::Duration;

use super::{CAPTURE, PURCHASE, Room, delivery, eventually, within};
use crate::client::{Client, request};

const SOON: Duration = Duration::from_millis(40);

#[tokio::test]
async fn headers_that_drip_are_cut_with_a_408() {
    let room = Room::with(|settings| settings.bounds.head_within = SOON).await;
    let mut client = Client::connect(room.webhook).await;
    client.send("POST /webhook HTTP/1.1\r\nx-a: 1\r\n").await;
    let response = client.response().await;
    assert_eq!((response.status, response.code().as_str()), (408, "headers_late"));
    assert_eq!(client.end().await.unwrap(), 0);
    eventually("the cut is counted", || {
        room.metric(r#"tollgate_connections_cut_total{listener="webhook",cause="head_late"}"#) == "1"
    })
    .await;
}

#[tokio::test]
async fn a_body_that_drips_is_cut_with_a_408() {
    let room = Room::with(|settings| settings.bounds.body_within = SOON).await;
    let whole = delivery(PURCHASE);
    for missing in [1, PURCHASE.len()] {
        let mut client = Client::connect(room.webhook).await;
        let response = client.exchange(&whole[..whole.len() - missing]).await;
        assert_eq!((response.status, response.code().as_str()), (408, "body_late"), "{missing} missing");
        client.finish().await;
        assert_eq!(client.end().await.unwrap(), 0);
    }
    assert_eq!(room.desk.asked(), 0);
    assert_eq!(room.metric(r#"tollgate_webhook_requests_total{event="unread",result="body_late"}"#), "2");
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_body_may() {
    let room = Room::with(|settings| {
        settings.bounds.body_within = SOON;
        settings.bounds.head_within = SOON;
        settings.bounds.idle_within = SOON * 4;
    })
    .await;
    room.desk.close();
    let mut client = Client::connect(room.webhook).await;
    client.send(delivery(PURCHASE)).await;
    // An idle connection that was opened later is cut while the answer is still being made.
    let mut idle = Client::connect(room.webhook).await;
    assert_eq!(idle.end().await.unwrap(), 0);
    room.desk.open();
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_order_used_or_not() {
    let room = Room::with(|settings| settings.bounds.idle_within = SOON).await;
    let mut unused = Client::connect(room.webhook).await;
    assert_eq!(unused.end().await.unwrap(), 0);
    let mut used = Client::connect(room.webhook).await;
    assert_eq!(used.exchange(delivery(PURCHASE)).await.status, 200);
    assert_eq!(used.end().await.unwrap(), 0);
    eventually("both are counted", || {
        room.metric(r#"tollgate_connections_cut_total{listener="webhook",cause="idle"}"#) == "2"
    })
    .await;
    assert_eq!(room.metric(r#"tollgate_connections{listener="webhook"}"#), "0");
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_still_gets_its_answer() {
    let room = Room::open().await;
    room.desk.close();
    let mut client = Client::connect(room.webhook).await;
    client.send(delivery(PURCHASE)).await;
    client.finish().await;
    within("the question comes", room.desk.came(1)).await;
    room.desk.open();
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.end().await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let room = Room::open().await;
    room.desk.close();
    let mut client = Client::connect(room.webhook).await;
    client.send(delivery(PURCHASE)).await;
    within("the question comes", room.desk.came(1)).await;
    assert_eq!(room.metric("tollgate_in_flight_requests"), "1");
    drop(client);
    room.desk.open();
    eventually("nothing is in flight", || room.metric("tollgate_in_flight_requests") == "0").await;
    eventually("nothing is open", || room.metric(r#"tollgate_connections{listener="webhook"}"#) == "0").await;
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_one_after_another() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    let bytes = [delivery(PURCHASE), delivery(CAPTURE), request("GET", "/", ""), delivery(PURCHASE)].concat();
    client.send(bytes).await;
    for (status, begins) in
        [(200, r#"{"approved""#), (200, r#"{"received""#), (404, r#"{"error""#), (200, r#"{"approved""#)]
    {
        let response = client.response().await;
        assert_eq!(response.status, status);
        assert!(response.body.starts_with(begins), "{response:?}");
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests_byte_by_byte_too() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    for _ in 0..20 {
        assert_eq!(client.exchange(delivery(PURCHASE)).await.status, 200);
    }
    for byte in delivery(PURCHASE) {
        client.send([byte]).await;
    }
    assert_eq!(client.response().await.status, 200);
    assert_eq!(room.metric(r#"tollgate_connections_accepted_total{listener="webhook"}"#), "1");
}

#[tokio::test]
async fn old_clients_are_served() {
    let room = Room::open().await;
    let mut client = Client::connect(room.webhook).await;
    let bytes = String::from_utf8(delivery(PURCHASE)).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(client.exchange(bytes).await.status, 200);
    assert_eq!(client.end().await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_no_http_or_too_much_of_it_is_a_4xx() {
    let room = Room::open().await;
    let many = "x-header: 1\r\n".repeat(200);
    let long = format!("x-header: {}\r\n", "a".repeat(40_000));
    let path = format!("/{}", "a".repeat(70_000));
    let cases: [(&str, Vec<u8>, &[u16]); 7] = [
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[400]),
        ("a word", b"approve\r\n\r\n".to_vec(), &[400]),
        ("two lengths", request("POST", "/webhook", "content-length: 1\r\ncontent-length: 2\r\n"), &[400]),
        ("a negative length", request("POST", "/webhook", "content-length: -1\r\n"), &[400]),
        ("200 headers", request("POST", "/webhook", &many), &[431]),
        ("40 KB of headers", request("POST", "/webhook", &long), &[431]),
        ("a path of 70 KB", request("POST", &path, ""), &[414, 431]),
    ];
    for (what, bytes, expected) in cases {
        let mut client = Client::connect(room.webhook).await;
        let response = client.send_long(&bytes).await;
        assert!(expected.contains(&response.status), "{what}: {response:?}");
        client.finish().await;
        assert_eq!(client.end().await.unwrap(), 0, "{what}");
    }
    // A client that assumes HTTP/2 understands nothing but the end.
    let mut client = Client::connect(room.webhook).await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.finish().await;
    assert_eq!(client.end().await.unwrap(), 0);
    assert_eq!(room.desk.asked(), 0);
    assert_eq!(Client::connect(room.webhook).await.exchange(delivery(PURCHASE)).await.status, 200);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_the_others_do_not_notice() {
    let room = Room::with(|settings| settings.bounds.connections_max = 2).await;
    let mut first = Client::connect(room.webhook).await;
    let mut second = Client::connect(room.webhook).await;
    room.desk.close();
    for client in [&mut first, &mut second] {
        client.send(delivery(PURCHASE)).await;
    }
    within("both ask", room.desk.came(2)).await;
    let mut third = Client::connect(room.webhook).await;
    let response = third.exchange(delivery(PURCHASE)).await;
    assert_eq!((response.status, response.code().as_str()), (503, "too_many_connections"));
    third.finish().await;
    assert_eq!(third.end().await.unwrap(), 0);
    assert_eq!(room.metric(r#"tollgate_requests_shed_total{cause="connections"}"#), "1");
    room.desk.open();
    for client in [&mut first, &mut second] {
        assert_eq!(client.response().await.status, 200);
    }

    drop(second);
    eventually("a place is free", || room.metric(r#"tollgate_connections{listener="webhook"}"#) == "1").await;
    assert_eq!(Client::connect(room.webhook).await.exchange(delivery(PURCHASE)).await.status, 200);
}

#[tokio::test]
async fn one_connection_too_many_takes_the_place_of_the_longest_idle_on_either_port() {
    let room = Room::with(|settings| settings.bounds.connections_max = 3).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(room.webhook).await;
        assert_eq!(client.exchange(delivery(PURCHASE)).await.status, 200);
        clients.push(client);
    }
    // The first one asks again: the second has been idle the longest.
    assert_eq!(clients[0].exchange(delivery(PURCHASE)).await.status, 200);
    let mut fourth = Client::connect(room.webhook).await;
    assert_eq!(fourth.exchange(delivery(PURCHASE)).await.status, 200);
    assert_eq!(clients[1].end().await.unwrap(), 0);
    for client in [0, 2] {
        assert_eq!(clients[client].exchange(delivery(PURCHASE)).await.status, 200);
    }
    let evicted = |listener: &str| {
        room.metric(&format!(r#"tollgate_connections_cut_total{{listener="{listener}",cause="evicted"}}"#))
    };
    eventually("it is counted", || evicted("webhook") == "1").await;
    assert_eq!(room.metric(r#"tollgate_requests_shed_total{cause="connections"}"#), "0");

    // Operators get in, whoever else holds connections without asking anything.
    let mut idle = Vec::new();
    for _ in 0..256 {
        idle.push(Client::connect(room.admin).await);
    }
    eventually("all are open", || room.metric(r#"tollgate_connections{listener="admin"}"#) == "256").await;
    let mut operator = Client::connect(room.admin).await;
    assert_eq!(operator.exchange(request("GET", "/livez", "")).await.status, 200);
    assert_eq!(idle[0].end().await.unwrap(), 0);
    eventually("it is counted", || evicted("admin") == "1").await;
}
