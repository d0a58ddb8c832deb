//! The console over real sockets: who sees it, how a session begins and ends, and what a browser is told.

use tollgate::http::Settings;

use super::{Room, TOKEN};
use crate::client::{Client, Response, post, request};

/// Sends the form with the token.
async fn sign_in(client: &mut Client, token: &str, target: &str, headers: &str) -> Response {
    let form = format!("target={target}&token={token}");
    client.exchange(post("/console/login", headers, form.as_bytes())).await
}

/// The cookie that a reply sets, as the next request brings it.
fn cookie(response: &Response) -> String {
    let set = response.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/"), "{set}");
    assert!(!set.contains(TOKEN), "{set}");
    format!("cookie: {}\r\n", set.split(';').next().unwrap())
}

#[tokio::test]
async fn a_session_begins_with_the_token_and_reads_what_the_token_reads() {
    let room = Room::open().await;
    room.readiness.ready();
    let mut client = Client::connect(room.admin).await;
    for path in ["/console", "/console/cards/ic_known", "/console/cluster", "/console/live"] {
        let response = client.exchange(request("GET", path, "")).await;
        assert_eq!(response.status, 401, "{path}");
        assert!(
            response.body.contains("name=\"token\"") && response.body.contains(path),
            "{}",
            response.body
        );
    }
    let response = sign_in(&mut client, "operators-only-9876543210", "/console", "").await;
    assert_eq!((response.status, response.header("set-cookie")), (401, None));
    let mut client = Client::connect(room.admin).await;
    let response = sign_in(&mut client, TOKEN, "/console/cards/ic_known", "").await;
    assert_eq!((response.status, response.header("location")), (303, Some("/console/cards/ic_known")));
    let session = cookie(&response);
    let mut check = async |method: &str, path: &str, expected: u16| {
        let response = client.exchange(request(method, path, &session)).await;
        assert_eq!(response.status, expected, "{method} {path}: {}", response.body);
        response
    };
    assert!(check("GET", "/console/cards/ic_known", 200).await.body.contains("Sign out"));
    check("GET", "/console", 200).await;
    check("GET", "/console/policies", 200).await;
    check("GET", "/console/cluster", 200).await;
    check("GET", "/console/authorizations/iauth_known", 200).await;
    check("GET", "/console/authorizations/iauth_unknown", 404).await;
    check("GET", "/console/authorizations/iauth_broken", 503).await;
    check("GET", "/console/policies/unknown", 404).await;
    check("GET", "/console/nowhere", 404).await;
    check("GET", "/console?outcome=aproved", 400).await;
    check("GET", "/v1/cards/ic_known", 200).await;
    check("GET", "/v1/node", 200).await;
    // A session only reads.
    check("PUT", "/v1/log", 401).await;
    let mut client = Client::connect(room.admin).await;
    let response = client.exchange(post("/console/logout", &session, b"")).await;
    assert!(response.header("set-cookie").unwrap().contains("Max-Age=0"));
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let mut client = Client::connect(room.admin).await;
    assert_eq!(client.exchange(request("GET", "/console", &bearer)).await.status, 200);
}

#[tokio::test]
async fn a_form_of_another_page_and_a_target_elsewhere_are_refused() {
    let room = Room::open().await;
    let mut client = Client::connect(room.admin).await;
    let response = sign_in(&mut client, TOKEN, "/console", "origin: https://evil.example\r\n").await;
    assert_eq!((response.status, response.header("set-cookie")), (403, None));
    for target in ["https://evil.example", "//evil.example", "/console%0d%0aset-cookie:a=b", ""] {
        let mut client = Client::connect(room.admin).await;
        let response = sign_in(&mut client, TOKEN, target, "").await;
        assert_eq!((response.status, response.header("location")), (303, Some("/console")), "{target}");
    }
    let mut client = Client::connect(room.admin).await;
    let response = client.exchange(post("/console", "", b"")).await;
    assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD")));
    let mut client = Client::connect(room.admin).await;
    let response = client.exchange(post("/console/login", "", "a".repeat(20_000).as_bytes())).await;
    assert_eq!(response.status, 400);
}

#[tokio::test]
async fn a_browser_loads_nothing_from_elsewhere_and_keeps_nothing() {
    let room = Room::with(|settings| settings.admin_token = None).await;
    let mut client = Client::connect(room.admin).await;
    let page = client.exchange(request("GET", "/console", "")).await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    for (path, kind) in [("/console/look.css", "text/css"), ("/console/live.js", "text/javascript")] {
        assert!(page.body.contains(path));
        let file = client.exchange(request("GET", path, "")).await;
        assert_eq!(file.status, 200);
        assert!(file.header("content-type").unwrap().starts_with(kind));
        assert!(!file.body.contains("http://") && !file.body.contains("https://"), "{path}");
    }
    let page = page.body.replace("/console", "").replace("/v1", "");
    assert!(!page.contains("http:") && !page.contains("style=") && !page.contains("onclick"), "{page}");
    let rebound = client.exchange("GET /console HTTP/1.1\r\nhost: evil.example\r\n\r\n").await;
    assert_eq!(rebound.status, 421);
}

#[tokio::test]
async fn one_box_takes_every_id() {
    let room = Room::with(|settings| settings.admin_token = None).await;
    let mut client = Client::connect(room.admin).await;
    for (wanted, place) in [
        ("iauth_1", "/console/authorizations/iauth_1"),
        ("+ic_1+", "/console/cards/ic_1"),
        ("ich_1", "/console/cardholders/ich_1"),
        ("evt_known", "/console/authorizations/iauth_known"),
        ("travel", "/console?group=travel"),
        ("R%26D+east", "/console?group=R%26D+east"),
        ("other_team", "/console?group=other_team"),
    ] {
        let response = client.exchange(request("GET", &format!("/console?q={wanted}"), "")).await;
        assert_eq!((response.status, response.header("location")), (303, Some(place)), "{wanted}");
    }
    let response = client.exchange(request("GET", "/console?q=evt_unknown", "")).await;
    assert_eq!(response.status, 404);
}

#[tokio::test]
async fn while_the_node_starts_the_console_says_so() {
    let settings = Settings { admin_token: None, ..Settings::default() };
    let room = Room::guarded(settings, std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)).await;
    let mut client = Client::connect(room.admin).await;
    let response = client.exchange(request("GET", "/console", "")).await;
    assert_eq!(response.status, 503);
    assert!(response.body.contains("starting"));
}
