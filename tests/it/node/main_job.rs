//! The main job: every event that Stripe sends is answered, its answer is found again, and stays what it was.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    client::Response,
    deliveries::Verdict,
    process::{Node, Site},
    stripe_fixtures::{self, fixture_names},
};

/// Whole windows only, and one that slides by a day: nothing resets while the test runs.
pub(super) const LIMITS: [(&str, &str); 2] =
    [("TOLLGATE_CARD_LIMIT_ALL_TIME", "40000"), ("TOLLGATE_CARD_VELOCITY", "50/24h")];

#[tokio::test]
async fn every_event_is_answered_found_again_and_still_the_same_after_any_end() {
    check(&Site::new(&LIMITS)).await;
}

/// The main job, on the journal of this site.
pub(super) async fn check(site: &Site) {
    let node = site.start().await;
    let mut replies = BTreeMap::new();
    for name in fixture_names() {
        replies.insert(name.clone(), reply(&node.deliver(&fixture(&name)).await));
    }
    check_answers(&node).await;
    let first = node.card("ic_1Pgag5B7WZ01zgkWephORn8N").await;
    assert_eq!(first["version"], 6, "repeats write nothing");
    let books = read_books(&node).await;
    check_authorizations(&books);
    check_card(&books["/v1/cards/ic_1Pgag5B7WZ01zgkWephORn8N"]);
    check_shapes(&books);

    let mut node = node;
    for end in ["nothing", "SIGTERM", "kill -9", "kill -9 again"] {
        let before = read_books(&node).await;
        if end != "nothing" {
            drop(if end == "SIGTERM" { node.stop().await } else { node.kill().await });
            node = site.start().await;
        }
        assert_eq!(read_books(&node).await, before, "after {end}");
        for (name, reply_before) in &replies {
            assert_eq!(reply(&node.deliver(&fixture(name)).await), *reply_before, "{name} after {end}");
        }
        assert_eq!(state(read_books(&node).await), state(books.clone()), "after {end}");
    }
}

/// The bytes of an event; all of them are test events here, since a node takes one kind only.
fn fixture(name: &str) -> Vec<u8> {
    let text = String::from_utf8(stripe_fixtures::fixture(name)).unwrap();
    text.replace("\"livemode\": true", "\"livemode\": false").into_bytes()
}

#[tokio::test]
async fn real_money_and_test_money_are_not_mixed() {
    let site = Site::new(&[]);
    let node = site.start().await;
    assert_eq!(node.deliver(&fixture("request-01-purchase.json")).await.status, 200);
    let live = node.deliver(&stripe_fixtures::fixture("request-10-private-preview.json")).await;
    assert_eq!((live.status, live.code().as_str()), (400, "wrong_mode"));
    assert_eq!(node.get("/v1/authorizations/iauth_preview").await.status, 404);
}

/// All of a reply but the time of day.
fn reply(response: &Response) -> (u16, Vec<(String, String)>, String) {
    let mut headers = response.headers.clone();
    headers.retain(|(name, _)| name != "date");
    (response.status, headers, response.body.clone())
}

/// What is said to the questions; any other event is received.
async fn check_answers(node: &Node) {
    let expected: BTreeMap<&str, (bool, Option<i64>, &str)> = [
        ("request-01-purchase", (true, None, "approved")),
        ("request-02-foreign-currency", (true, None, "approved")),
        ("request-03-increment", (true, None, "approved")),
        // A pump asks for one unit, and holds a hundred.
        ("request-04-fuel-dispenser-controllable", (true, Some(10_000), "approved")),
        ("request-05-cashback-controllable", (true, Some(6_000), "approved")),
        // 42.00, 4.00, 42.00 + 8.00, 100.00 and 60.00 are spent; 203.00 more are above 400.00.
        ("request-06-atm", (false, None, "spending_limit")),
        ("request-07-connect-minimal", (true, None, "approved")),
        ("request-08-pending-request-null", (false, None, "contract_violation")),
        ("request-09-legacy-2018", (false, None, "contract_violation")),
        ("request-10-private-preview", (true, None, "approved")),
        ("request-11-spending-controls", (true, None, "approved")),
        ("request-12-card-as-id", (true, None, "approved")),
    ]
    .into();
    for name in fixture_names() {
        let response = node.deliver(&fixture(&name)).await;
        let name = name.trim_end_matches(".json");
        if let Some(expected) = expected.get(name) {
            let Verdict { approved, amount, decision, reason } = Verdict::of(&response);
            assert_eq!((approved, amount, reason.as_str()), *expected, "{name}");
            assert!(decision.starts_with("dec_"), "{name}: {decision}");
        } else {
            assert!(!name.starts_with("request-"), "{name} has no line here");
            assert_eq!((response.status, response.body.as_str()), (200, r#"{"received":true}"#), "{name}");
        }
    }
}

/// Everything that the books say about the cards and authorizations in the fixtures, by path.
async fn read_books(node: &Node) -> BTreeMap<String, Value> {
    let mut paths = BTreeSet::new();
    for name in fixture_names() {
        let event: Value = serde_json::from_slice(&fixture(&name)).unwrap();
        let object = &event["data"]["object"];
        for (kind, id) in [
            ("authorizations", &object["id"]),
            ("authorizations", &object["authorization"]),
            ("authorizations", &object["authorization"]["id"]),
            ("cards", &object["card"]),
            ("cards", &object["card"]["id"]),
            ("cards", &object["id"]),
        ] {
            let prefix = if kind == "cards" { "ic_" } else { "iauth_" };
            paths
                .extend(id.as_str().filter(|id| id.starts_with(prefix)).map(|id| format!("/v1/{kind}/{id}")));
        }
    }
    let mut books = BTreeMap::new();
    for path in paths {
        let response = node.get(&path).await;
        if path == "/v1/authorizations/iauth_cardless" {
            assert_eq!((response.status, response.code().as_str()), (404, "not_found"), "it names no card");
            continue;
        }
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        books.insert(path, response.json());
    }
    assert!(books.len() >= 30, "{} of the fixtures' cards and authorizations", books.len());
    books
}

/// A repeated event may be written again; it changes nothing.
fn state(mut books: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    for book in books.values_mut() {
        for log in ["version", "history"] {
            book.as_object_mut().unwrap().remove(log);
        }
    }
    books
}

/// What each authorization came to.
fn check_authorizations(books: &BTreeMap<String, Value>) {
    let check = |id: &str, status: &str, approved: bool, [held, captured, refunded, overrun]: [i64; 4]| {
        let book = &books[&format!("/v1/authorizations/{id}")];
        let found = ["held", "captured", "refunded", "overrun"].map(|key| book[key].as_i64().unwrap());
        let told = (book["status"].as_str().unwrap(), book["approved"].as_bool().unwrap());
        assert_eq!(told, (status, approved), "{id}");
        assert_eq!(found, [held, captured, refunded, overrun], "{id}");
    };
    check("iauth_composed0001", "pending", true, [4_200, 0, 0, 0]);
    // What Stripe had approved before the first question that we saw was not ours.
    check("iauth_composed0003", "pending", true, [5_000, 0, 0, 4_200]);
    check("iauth_composed0004", "pending", true, [10_000, 0, 0, 0]);
    check("iauth_composed0006", "closed", false, [0, 0, 0, 0]);
    check("iauth_minimal", "pending", true, [4_250, 0, 0, 0]);
    check("iauth_nothingasked", "closed", false, [0, 0, 0, 0]);
    check("iauth_approved", "pending", true, [8_800, 0, 0, 8_800]);
    check("iauth_fraud", "closed", false, [0, 0, 0, 0]);
    check("iauth_reversed", "reversed", true, [0, 0, 0, 0]);
    // Of these only the money was heard of.
    check("iauth_capture", "closed", false, [0, 12_345, 0, 12_345]);
    check("iauth_refund", "closed", false, [0, 0, 2_500, 0]);
}

/// The card that most questions are about: 256.00 of 400.00 in five authorizations, one of them approved twice.
fn check_card(card: &Value) {
    let limit = |kind: &str| card["limits"].as_array().unwrap().iter().find(|limit| limit["limit"] == kind);
    let (amount, count) = (limit("amount").unwrap(), limit("count").unwrap());
    let numbers = |limit: &Value| ["used", "remaining"].map(|key| limit[key].as_i64().unwrap());
    assert_eq!((numbers(amount), numbers(count)), ([25_600, 14_400], [4, 46]));
    assert_eq!((&amount["window"], &count["window"]), (&"all_time".into(), &"rolling(24h)".into()));
    assert_eq!((amount["resets_at"].is_null(), count["resets_at"].is_string()), (true, true));
    assert_eq!(card["holds"].as_array().unwrap().len(), 5);
    let reasons: Vec<&str> =
        card["recent"].as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons[0], "spending_limit", "newest first");
}

/// Every key that others build on is there, and of its type.
fn check_shapes(books: &BTreeMap<String, Value>) {
    let (mut decisions, mut limits, mut holds) = (0, 0, 0);
    for (path, book) in books {
        let decided = if path.starts_with("/v1/cards") {
            has(book, "card version owner currency? limits holds recent", path);
            for limit in book["limits"].as_array().unwrap() {
                has(limit, "limit window used remaining resets_at?", path);
                limits += 1;
            }
            for hold in book["holds"].as_array().unwrap() {
                has(hold, "authorization amount since", path);
                holds += 1;
            }
            &book["recent"]
        } else {
            has(
                book,
                "authorization card? status approved currency? held captured refunded overrun decisions",
                path,
            );
            &book["decisions"]
        };
        for decision in decided.as_array().unwrap() {
            has(
                decision,
                "id at event authorization card? outcome amount reason explanation limits largest_approvable? \
                 policy source stage_us",
                path,
            );
            has(&decision["stage_us"], "verify parse route queue decide commit", path);
            for check in decision["limits"].as_array().unwrap() {
                has(check, "limit window before after max", path);
            }
            decisions += 1;
        }
    }
    assert!(decisions >= 20 && limits >= 20 && holds >= 8, "{decisions} {limits} {holds}");
}

/// The object has these keys, each of the type that it has everywhere; `?` may be null.
#[track_caller]
fn has(object: &Value, keys: &str, path: &str) {
    for key in keys.split_whitespace() {
        let name = key.trim_end_matches('?');
        let value = object.get(name).unwrap_or_else(|| panic!("{path} has no {name}: {object}"));
        let is_right = match name {
            "version" | "used" | "remaining" | "amount" | "held" | "captured" | "refunded" | "overrun"
            | "before" | "after" | "max" | "largest_approvable" | "verify" | "parse" | "route" | "queue"
            | "decide" | "commit" => value.is_i64() || value.is_u64(),
            "limits" | "holds" | "recent" | "decisions" => value.is_array(),
            "approved" => value.is_boolean(),
            "stage_us" => value.is_object(),
            "at" | "since" | "resets_at" => {
                value.as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok())
            }
            _ => value.as_str().is_some_and(|text| !text.is_empty()),
        };
        assert!(is_right || (key.ends_with('?') && value.is_null()), "{path}: {name} is {value}");
    }
}
