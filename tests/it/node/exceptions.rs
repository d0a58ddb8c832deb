//! Exceptions, from the admin API and the command line to decisions, and back from the journal.

use serde_json::{Value, json};

use crate::{
    client::{Client, Response, request},
    deliveries::{Verdict, purchase_in},
    process::{Node, Site},
};

const POLICY: &str = r"
version: 1
currency: usd
budgets:
  team: {spending_limits: [{amount: 60000, interval: monthly}, {count: 50, interval: rolling(1h)}], owners: [ann]}
default: {budgets: [team], spending_limits: [{amount: 50000, interval: daily}]}
";

async fn orders(node: &Node, path: &str, body: &Value) -> Response {
    let body = body.to_string();
    let head =
        String::from_utf8(request("POST", path, &format!("Content-Length: {}\r\n", body.len()))).unwrap();
    let mut client = Client::connect(node.admin).await;
    client.exchange(format!("{head}{body}")).await
}

async fn asks(node: &Node, card: &str, authorization: &str, amount: i64) -> String {
    let event = purchase_in("usd", card, authorization, amount).to_string();
    Verdict::of(&node.deliver(event.as_bytes()).await).reason
}

/// A body with an id and a reason.
fn with(id: &str, fields: &Value) -> Value {
    let mut body = json!({"id": id, "reason": "ticket 7"});
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[tokio::test]
async fn limits_are_raised_and_purchases_granted_by_the_admin_api() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    std::fs::write(site.path("policy.yaml"), POLICY).unwrap();
    let node = site.start().await;
    assert_eq!(asks(&node, "ic_a", "iauth_1", 50_000).await, "approved");
    assert_eq!(asks(&node, "ic_a", "iauth_2", 5_000).await, "spending_limit");
    // To the end of the day, since it says nothing else.
    let raise = with("r-1", &json!({"amount": 5_000}));
    let raised = orders(&node, "/v1/cards/ic_a/raises", &raise).await;
    assert_eq!(raised.status, 200, "{:?}", raised.json());
    let card = raised.json();
    let limit = &card["limits"][0];
    assert_eq!((&limit["max"], &limit["raised"]), (&json!(55_000), &json!(5_000)));
    assert_eq!(limit["raised_until"], limit["resets_at"]);
    let exception = &card["exceptions"][0];
    assert_eq!(
        (&exception["kind"], &exception["by"], &exception["reason"], &exception["window"]),
        (&json!("raise"), &json!("local"), &json!("ticket 7"), &json!("daily"))
    );
    // Once, however often it is sent; and nothing else under its id.
    assert_eq!(orders(&node, "/v1/cards/ic_a/raises", &raise).await.json()["limits"][0]["max"], 55_000);
    let other = with("r-1", &json!({"amount": 5_001}));
    let refused = orders(&node, "/v1/cards/ic_a/raises", &other).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (409, &json!("id_in_use")));
    let pause = orders(&node, "/v1/cards/ic_a/pause", &with("r-1", &json!({}))).await;
    assert_eq!(pause.status, 409);
    assert_eq!(asks(&node, "ic_a", "iauth_3", 5_000).await, "approved");
    let decision = node.authorization("iauth_3").await["decisions"][0].clone();
    let sentence = decision["explanation"].as_str().unwrap();
    assert!(
        sentence.starts_with(
            "approved: 50.00 USD; 550.00 of the 550.00 USD daily limit (500.00 raised by 50.00 until "
        ),
        "{sentence}"
    );
    assert_eq!(
        (&decision["limits"][0]["max"], &decision["limits"][0]["raised"]),
        (&json!(55_000), &json!(5_000))
    );
    // A grant passes the card's limit and the team's.
    let until = "2099-01-01T00:00:00Z";
    let grant = with("g-1", &json!({"amount": 20_000, "currency": "usd", "until": until}));
    assert_eq!(orders(&node, "/v1/cards/ic_a/grants", &grant).await.status, 200);
    assert_eq!(asks(&node, "ic_a", "iauth_4", 20_000).await, "approved");
    assert_eq!(node.authorization("iauth_4").await["decisions"][0]["grant"], "g-1");
    assert_eq!(asks(&node, "ic_a", "iauth_5", 1).await, "spending_limit");
    assert_eq!(node.card("ic_a").await["exceptions"].as_array().unwrap().len(), 1, "the grant is used up");
    // The same after a restart, from the journal; and the id still counts once.
    node.stop().await;
    let node = site.start().await;
    assert_eq!(node.card("ic_a").await["limits"][0]["max"], 55_000);
    assert_eq!(orders(&node, "/v1/cards/ic_a/grants", &grant).await.status, 200);
    assert_eq!(asks(&node, "ic_a", "iauth_6", 1).await, "spending_limit");
    for (path, body) in [
        ("/v1/cards/ic_a/raises", json!({"id": "x", "amount": 1})),
        ("/v1/cards/ic_a/raises", with("x", &json!({}))),
        ("/v1/cards/ic_a/raises", with("x", &json!({"amount": 0}))),
        ("/v1/cards/ic_a/raises", with("x", &json!({"amount": 1, "count": 1}))),
        ("/v1/cards/ic_a/raises", with("x", &json!({"amount": 1, "interval": "weekly"}))),
        ("/v1/cards/ic_a/raises", with("x", &json!({"amount": 1, "until": "2020-01-01T00:00:00Z"}))),
        ("/v1/cards/ic_a/raises", with("x", &json!({"amount": 1, "by": "me"}))),
        ("/v1/cards/iauth_1/raises", with("x", &json!({"amount": 1}))),
        ("/v1/cards/ic_a/grants", with("x", &json!({"amount": 1, "currency": "usd"}))),
        ("/v1/budgets/team/raises", with("x", &json!({"count": 1}))),
        ("/v1/cards/ic_a/pause", with("a b", &json!({}))),
    ] {
        let refused = orders(&node, path, &body).await;
        assert_eq!(refused.status, 400, "{body}: {:?}", refused.json());
    }
    assert_eq!(orders(&node, "/v1/budgets/nowhere/pause", &with("x", &json!({}))).await.status, 404);
    // What it decided comes out again from its journal, which this looks at.
    node.stop().await;
}

#[tokio::test]
async fn cards_and_budgets_are_paused_and_raised_from_the_command_line() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    std::fs::write(site.path("policy.yaml"), POLICY).unwrap();
    let node = site.start().await;
    let admin = node.admin.to_string();
    let run = async |arguments: &[&str]| {
        let why = ["--reason", "ticket 7", "--admin", &admin];
        let output = site.run(&[arguments, &why].concat(), &[]).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let (code, shown) = run(&["pause", "budget:team", "--id", "p-1"]).await;
    assert_eq!((code, &*shown), (0, "pause, until it is resumed (id p-1)\n"));
    assert_eq!(asks(&node, "ic_a", "iauth_1", 100).await, "budget_paused");
    let decision = node.authorization("iauth_1").await["decisions"][0].clone();
    assert_eq!(decision["explanation"], "declined: budget team is paused");
    assert_eq!(node.books("/v1/budgets/team").await["paused"], true);
    let (code, shown) = run(&["resume", "budget:team", "--id", "p-2"]).await;
    assert_eq!((code, &*shown), (0, "recorded; it is not paused (id p-2)\n"));
    assert_eq!(asks(&node, "ic_a", "iauth_2", 100).await, "approved");
    let (code, shown) = run(&["pause", "ic_a", "--until", "24h"]).await;
    assert!(code == 0 && shown.starts_with("pause, until 2"), "{shown}");
    assert_eq!(asks(&node, "ic_a", "iauth_3", 100).await, "card_paused");
    assert_eq!(asks(&node, "ic_b", "iauth_4", 100).await, "approved");
    let (code, shown) =
        run(&["raise", "budget:team", "200.00", "--until", "2099-01-01T00:00:00Z", "--id", "r-1"]).await;
    assert_eq!((code, &*shown), (0, "raise of 200.00 USD, monthly, until 2099-01-01T00:00:00Z (id r-1)\n"));
    let (code, shown) = run(&["raise", "ic_b", "--count", "3"]).await;
    assert!(code == 1 && shown.contains("expected the `interval` of a limit on approvals"), "{shown}");
    let (code, shown) = run(&["grant", "ic_b", "700.00", "--until", "1h", "--id", "g-1"]).await;
    assert!(code == 0 && shown.starts_with("grant of 700.00 USD, until "), "{shown}");
    assert_eq!(asks(&node, "ic_b", "iauth_5", 70_000).await, "approved");
    let team = node.books("/v1/budgets/team").await;
    assert_eq!((&team["limits"][0]["max"], &team["limits"][0]["used"]), (&json!(80_000), &json!(70_200)));
    let kinds: Vec<&str> =
        team["movements"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["purchase", "raise", "purchase", "purchase", "resume", "pause"]);
    let (code, shown) = run(&["pause", "budget:nowhere"]).await;
    assert!(
        code == 1 && shown.contains("404 from /v1/budgets/nowhere/pause: the policy in force has no budget"),
        "{shown}"
    );
    node.stop().await;
}
