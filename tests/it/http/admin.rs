//! What operators get, and who does not get it.

use std::net::IpAddr;

use tollgate::http::{Caller, NamedToken, Role, Settings, Token, TokenFile, TokenHash};

use super::{Room, TOKEN};
use crate::client::{Client, post, request};

#[tokio::test]
async fn the_routes_and_who_may_take_them() {
    let room = Room::open().await;
    room.readiness.ready();
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let wrong = "authorization: Bearer operators-only-9876543210\r\n";
    let mut client = Client::connect(room.admin).await;
    let mut check = async |path: &str, headers: &str, status: u16, body: &str| {
        let response = client.exchange(request("GET", path, headers)).await;
        assert_eq!(response.status, status, "{path}");
        assert!(response.body.contains(body), "{path}: {}", response.body);
        assert_eq!(response.header("www-authenticate"), (status == 401).then_some("Bearer"), "{path}");
        if status >= 400 {
            response.code();
        }
    };
    check("/livez", "", 200, "live").await;
    check("/readyz", "", 200, "ready").await;
    check("/metrics", "", 200, "tollgate_webhook_requests_total{").await;
    check("/v1/cards/ic_known", "", 401, "unauthorized").await;
    check("/v1/cards/ic_known", wrong, 401, "unauthorized").await;
    check("/v1/nowhere", "", 401, "unauthorized").await;
    check("/v1", "", 401, "unauthorized").await;
    check("/v1/cards/ic_known", &bearer, 200, r#"{"card":"ic_known","#).await;
    check("/v1/authorizations/iauth_known", &bearer, 200, r#"{"authorization":"iauth_known","#).await;
    check("/v1/decisions", "", 401, "unauthorized").await;
    check("/v1/decisions?cursor=12-1", &bearer, 200, r#""next":"12-1""#).await;
    check("/v1/decisions?outcome=aproved", &bearer, 400, "the nearest is `approved`").await;
    check("/v1/decisions?outcom=approved", &bearer, 400, "the nearest is `outcome`").await;
    check("/v1/decisions?after=now", &bearer, 200, r#""next":"7""#).await;
    check("/v1/node?verbose=1", &bearer, 400, "expected no parameters").await;
    check("/metrics?verbose=1", "", 200, "tollgate_ready").await;
    check("/v1/policies", &bearer, 200, r#"{"policies":[]}"#).await;
    check("/v1/policies/unknown", &bearer, 404, "not_found").await;
    check("/v1/policy", &bearer, 200, r#""version":"known""#).await;
    check("/v1/openapi.json", &bearer, 200, r#""openapi": "3.1.0""#).await;
    check("/v1/openapi.json", "", 401, "unauthorized").await;
    check("/v1/cards/ic_unknown", &bearer, 404, "not_found").await;
    check("/v1/authorizations/iauth_unknown", &bearer, 404, "not_found").await;
    check("/v1/cards/ic_broken", &bearer, 503, "books_unreadable").await;
    check("/v1/authorizations/iauth_broken", &bearer, 503, "books_unreadable").await;
    check("/v1/slow", "", 401, "unauthorized").await;
    check("/v1/slow", &bearer, 200, r#"{"slow":[]}"#).await;
    check("/v1/log", "", 401, "unauthorized").await;
    check("/v1/cards/", &bearer, 404, "not_found").await;
    check("/v1/cards", &bearer, 404, "not_found").await;
    check(&format!("/v1/cards/{}", "a".repeat(300)), &bearer, 404, "not_found").await;
    check("/v1/nowhere", &bearer, 404, "not_found").await;
    check("/", "", 404, "not_found").await;
    check("/webhook", "", 404, "not_found").await;
}

/// A node that goes down does not wait for those who wait for decisions.
#[tokio::test]
async fn a_search_that_waits_ends_with_the_node() {
    let room = Room::open().await;
    room.readiness.ready();
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let mut client = Client::connect(room.admin).await;
    client.send(request("GET", "/v1/decisions?after=now&wait=30", &bearer)).await;
    let mut other = Client::connect(room.admin).await;
    assert_eq!(other.exchange(request("GET", "/livez", "")).await.status, 200);
    room.readiness.draining();
    let response = client.response().await;
    assert_eq!((response.status, response.json()["next"].as_str()), (200, Some("7")));
}

#[tokio::test]
async fn probes_and_metrics_are_answered_while_the_node_starts() {
    let settings = Settings { admin_token: None, ..Settings::default() };
    let room = Room::guarded(settings, IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)).await;
    let mut client = Client::connect(room.admin).await;
    let mut check = async |path: &str, status: u16, body: &str| {
        let response = client.exchange(request("GET", path, "")).await;
        assert_eq!(response.status, status, "{path}");
        assert!(response.body.contains(body), "{path}: {}", response.body);
        assert_eq!(response.header("retry-after"), (body == "starting" && path != "/readyz").then_some("1"));
    };
    check("/livez", 200, "live").await;
    check("/readyz", 503, "starting").await;
    check("/metrics", 200, "tollgate_ready 0").await;
    check("/v1/slow", 200, "slow").await;
    for path in ["/v1/cards/ic_known", "/v1/authorizations/iauth_known", "/v1/node", "/v1/unconfirmed"] {
        check(path, 503, "starting").await;
    }
    room.start();
    check("/v1/cards/ic_known", 200, "ic_known").await;
}

#[tokio::test]
async fn what_is_refused_is_counted_by_its_cause() {
    let room = Room::open().await;
    let refused =
        |cause: &str| room.metric(&format!(r#"tollgate_admin_requests_refused_total{{cause="{cause}"}}"#));
    let mut client = Client::connect(room.admin).await;
    for (bytes, status, cause) in [
        (request("GET", "/v1/cards/ic_known", ""), 401, "unauthorized"),
        (request("GET", "/nowhere", ""), 404, "unknown_path"),
        (request("DELETE", "/livez", ""), 405, "wrong_method"),
    ] {
        assert_eq!(refused(cause), "0");
        assert_eq!(client.exchange(bytes).await.status, status);
        assert_eq!(refused(cause), "1", "{cause}");
    }
    // A card that was never seen is an answer.
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(client.exchange(request("GET", "/v1/cards/ic_unknown", &bearer)).await.status, 404);
    assert_eq!(refused("unknown_path"), "1");
}

/// A web page that is open on the operator's machine, under a name that its owner lets point to 127.0.0.1.
#[tokio::test]
async fn a_page_that_rebinds_its_name_to_this_machine_reads_nothing() {
    let room = Room::with(|settings| settings.admin_token = None).await;
    let rebound = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: evil.example:9464\r\n\r\n");
    let mut client = Client::connect(room.admin).await;
    for path in ["/v1/cards/ic_known", "/v1/node", "/v1/log", "/metrics"] {
        let response = client.exchange(rebound(path)).await;
        assert_eq!((response.status, response.code().as_str()), (421, "wrong_host"), "{path}");
    }
    assert_eq!(client.exchange(rebound("/livez")).await.status, 200, "a probe tells nothing");
    let put = "PUT /v1/log HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 3\r\n\r\noff";
    assert_eq!(client.exchange(put).await.status, 421);
    assert_eq!(room.metric(r#"tollgate_admin_requests_refused_total{cause="wrong_host"}"#), "5");
}

#[tokio::test]
async fn only_reading_is_possible() {
    let room = Room::open().await;
    let mut client = Client::connect(room.admin).await;
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        let response = client.exchange(request(method, "/livez", "")).await;
        assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let response = client.exchange(post("/v1/cards/ic_known", "", b"{}")).await;
    assert_eq!((response.status, response.header("connection")), (405, Some("close")));
}

/// The tests' own process keeps no log: what is put is looked at, and changes nothing.
#[tokio::test]
async fn a_filter_of_the_log_is_put_by_who_may() {
    let room = Room::open().await;
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let mut client = Client::connect(room.admin).await;
    let put = |headers: &str, body: &str| {
        let length = body.len();
        let headers = format!("content-length: {length}\r\n{headers}");
        [request("PUT", "/v1/log", &headers), body.as_bytes().to_vec()].concat()
    };
    let bearer = format!("{bearer}tollgate-reason: a missing \u{e9}v\u{e9}nement\r\n");
    let response = client.exchange(put(&bearer, "loud")).await;
    assert_eq!((response.status, response.code().as_str()), (400, "bad_filter"));
    let response = client.exchange(put(&bearer, "info,tollgate::http=debug\n")).await;
    assert_eq!((response.status, response.code().as_str()), (404, "not_found"));
    let response = client.exchange(request("POST", "/v1/log", "")).await;
    assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD, PUT")));
    let response = client.exchange(put("", "info")).await;
    assert_eq!((response.status, response.header("connection")), (401, Some("close")));
    let mut client = Client::connect(room.admin).await;
    let response = client.exchange(put(&bearer, &"a".repeat(5_000))).await;
    assert_eq!((response.status, response.header("connection")), (400, Some("close")));
}

#[tokio::test]
async fn a_head_has_the_headers_of_a_get_and_no_body() {
    let room = Room::open().await;
    let mut client = Client::connect(room.admin).await;
    let get = client.exchange(request("GET", "/livez", "")).await;
    client.send(request("HEAD", "/livez", "connection: close\r\n")).await;
    client.finish().await;
    let head = client.head().await;
    assert_eq!((head.status, head.header("content-length")), (200, get.header("content-length")));
    assert_eq!(head.header("content-type"), get.header("content-type"));
    assert_eq!(client.end().await.unwrap(), 0, "a body came");
}

#[tokio::test]
async fn readiness_follows_the_node() {
    let room = Room::open().await;
    let mut client = Client::connect(room.admin).await;
    let mut check = async |status: u16, word: &str, gauge: &str| {
        let response = client.exchange(request("GET", "/readyz", "")).await;
        assert_eq!((response.status, response.json()["status"].as_str()), (status, Some(word)));
        assert_eq!(client.exchange(request("GET", "/livez", "")).await.status, 200);
        assert_eq!(room.metric("tollgate_ready"), gauge);
    };
    check(503, "starting", "0").await;
    room.readiness.ready();
    check(200, "ready", "1").await;
    room.readiness.draining();
    check(503, "draining", "0").await;
}

#[tokio::test]
async fn metrics_need_the_token_where_others_can_reach_them_and_probes_do_not() {
    let settings = Settings { admin_token: Token::new(TOKEN), ..Settings::default() };
    let room = Room::guarded(settings, "10.0.0.1".parse::<IpAddr>().unwrap()).await;
    room.readiness.ready();
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let mut client = Client::connect(room.admin).await;
    let mut check = async |path: &str, headers: &str, status: u16| {
        assert_eq!(client.exchange(request("GET", path, headers)).await.status, status, "{path}");
    };
    check("/metrics", "", 401).await;
    check("/metrics", &bearer, 200).await;
    check("/livez", "", 200).await;
    check("/readyz", "", 200).await;
}

#[tokio::test]
async fn without_a_token_a_loopback_address_is_open() {
    let room = Room::with(|settings| settings.admin_token = None).await;
    let mut client = Client::connect(room.admin).await;
    assert_eq!(client.exchange(request("GET", "/v1/cards/ic_known", "")).await.status, 200);
}

#[tokio::test]
async fn metrics_come_as_prometheus_text() {
    let room = Room::open().await;
    let response = Client::connect(room.admin).await.exchange(request("GET", "/metrics", "")).await;
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in response.body.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

/// The text of the token with this role.
fn token_of(role: Role) -> String {
    format!("the-token-of-the-{}", role.as_str())
}

/// A room with a token for each role.
async fn room_of_roles() -> Room {
    let named = |role: Role| NamedToken {
        hash: TokenHash::of(token_of(role).as_bytes()),
        caller: Caller { name: format!("the-{}", role.as_str()).into(), role },
    };
    let tokens = Role::ALL.into_iter().map(named).collect();
    let file = TokenFile { path: "tokens".into(), tokens };
    let room = Room::with(|settings| settings.admin_token_file = Some(file)).await;
    room.readiness.ready();
    room
}

/// Everything in the OpenAPI document is served to the role that it states and to higher ones, and to no lower one.
#[tokio::test]
async fn each_route_is_for_the_role_that_the_documentation_states() {
    let room = room_of_roles().await;
    let document: serde_json::Value = serde_json::from_str(&tollgate::http::openapi()).unwrap();
    let (mut refused, mut served) = (0, 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "x").replace("{name}", "x").replace("{version}", "x");
        for (method, operation) in methods.as_object().unwrap() {
            let Some(needed) = operation["security"][0]["token"][0].as_str() else { continue };
            let needed = Role::named(needed).unwrap();
            assert_eq!(needed > Role::Viewer, method != "get", "{method} {path}: only a change needs more");
            for role in Role::ALL {
                let bearer = format!("authorization: Bearer {}\r\n", token_of(role));
                let mut client = Client::connect(room.admin).await;
                let response = client.exchange(request(&method.to_uppercase(), &path, &bearer)).await;
                let may = role >= needed;
                assert_eq!(response.status != 403, may, "{method} {path} {role:?}: {}", response.body);
                assert_ne!(response.status, 401);
                if may {
                    served += 1;
                } else {
                    let expected = format!("expected a token with the role {}", needed.as_str());
                    assert!(response.body.contains(&expected), "{}", response.body);
                    assert!(response.body.contains(&format!("found that of the-{}", role.as_str())));
                    assert!(!response.body.contains(&token_of(role)));
                    refused += 1;
                }
            }
        }
    }
    assert!(refused >= 6 && served >= 50, "{refused} {served}");
    let counted = room.metric(r#"tollgate_admin_requests_refused_total{cause="forbidden"}"#);
    assert_eq!(counted, refused.to_string());
}

#[tokio::test]
async fn a_session_has_the_name_and_the_role_of_its_token() {
    let room = room_of_roles().await;
    let form = format!("target=/console&token={}", token_of(Role::Support));
    let mut client = Client::connect(room.admin).await;
    let response = client.exchange(post("/console/login", "", form.as_bytes())).await;
    let cookie = response.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let page = client.exchange(request("GET", "/console", &format!("cookie: {cookie}\r\n"))).await;
    assert!(page.status == 200 && page.body.contains("the-support, support"), "{}", page.body);
}

/// Without a token, a page of any site could send a form to a loopback address.
#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let room = Room::with(|settings| settings.admin_token = None).await;
    let body = br#"{"id": "a", "amount": 1, "currency": "usd", "note": "theirs"}"#;
    let status = async |headers: &str| {
        let mut client = Client::connect(room.admin).await;
        client.exchange(post("/v1/budgets/team/credits", headers, body)).await.status
    };
    assert_eq!(status("origin: https://evil.example\r\n").await, 403);
    assert_eq!(status("origin: null\r\n").await, 403);
    assert_eq!(status("").await, 503, "the ledger of this test takes no credit");
}
