//! Budgets, from the policy file and the admin API to the reply and the journal.

use serde_json::{Value, json};

use crate::{
    client::{Client, Response, request},
    deliveries::{Verdict, purchase_in},
    process::{Node, Site, within},
};

const POLICY: &str = r"
version: 1
currency: usd
budgets:
  company:  {spending_limits: [{amount: 100000, interval: monthly}], owners: [finance], warn_at: [50, 80, 100]}
  team:     {parent: company, per: card.metadata.team, spending_limits: [{amount: 9000, interval: daily}]}
  customer: {per: card.metadata.customer, prepaid: true}
default: {budgets: [team], spending_limits: [{amount: 50000, interval: daily}]}
groups: {customers: {budgets: [customer]}}
";

fn purchase(card: &str, metadata: &Value, authorization: &str, amount: i64) -> String {
    let mut event = purchase_in("usd", card, authorization, amount);
    event["data"]["object"]["card"]["metadata"] = metadata.clone();
    event.to_string()
}

async fn asks(node: &Node, card: &str, metadata: &Value, authorization: &str, amount: i64) -> Verdict {
    Verdict::of(&node.deliver(purchase(card, metadata, authorization, amount).as_bytes()).await)
}

async fn change(node: &Node, method: &str, path: &str, body: &Value) -> Response {
    let body = body.to_string();
    let head =
        String::from_utf8(request(method, path, &format!("Content-Length: {}\r\n", body.len()))).unwrap();
    let mut client = Client::connect(node.admin).await;
    client.exchange(format!("{head}{body}")).await
}

async fn metric(node: &Node, series: &str) -> Option<f64> {
    let text = node.get("/metrics").await.body;
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// Waits until a series that is sampled once a second has this value.
async fn sampled(node: &Node, series: &str, expected: f64) {
    within(series, async {
        while metric(node, series).await.is_none_or(|value| (value - expected).abs() > 1e-9) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn cards_of_a_team_share_its_budget_and_the_companys() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    std::fs::write(site.path("policy.yaml"), POLICY).unwrap();
    let node = site.start().await;
    let (red, blue) = (json!({"team": "red"}), json!({"team": "blue"}));
    assert_eq!(asks(&node, "ic_a", &red, "iauth_1", 6_000).await.reason, "approved");
    assert_eq!(asks(&node, "ic_b", &red, "iauth_2", 4_000).await.reason, "spending_limit");
    assert_eq!(asks(&node, "ic_b", &blue, "iauth_3", 4_000).await.reason, "approved");
    let decision = node.authorization("iauth_2").await["decisions"][0].clone();
    let accounts: Vec<&str> = decision["limits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|limit| limit["account"].as_str().unwrap())
        .collect();
    assert_eq!(accounts, ["card", "budget:team/red", "budget:company"]);
    assert_eq!(decision["legs"], json!(accounts));
    let sentence = decision["explanation"].as_str().unwrap();
    assert!(
        sentence.starts_with(
            "declined: 60.00 of the 90.00 USD daily limit of budget team (red) is used; at most 30.00 would have been approved"
        ),
        "{sentence}"
    );
    assert_eq!(decision["largest_approvable"], 3_000);
    assert_eq!(metric(&node, "tollgate_budget_declines_total{budget=\"team\"}").await, Some(1.0));
    assert_eq!(metric(&node, "tollgate_budget_declines_total{budget=\"company\"}").await, Some(0.0));
    sampled(&node, "tollgate_budget_accounts_resident{budget=\"team\"}", 2.0).await;
    sampled(&node, "tollgate_budget_used_ratio{budget=\"company\"}", 0.1).await;
    sampled(&node, "tollgate_budget_held_ratio{budget=\"company\"}", 0.1).await;
    sampled(&node, "tollgate_budget_warn_ratio{budget=\"company\"}", 0.8).await;
    assert_eq!(metric(&node, "tollgate_budget_used_ratio{budget=\"team\"}").await, None, "of no single key");
    let team = node.books("/v1/budgets/team/red").await;
    assert_eq!((&team["held"], &team["limits"][0]["remaining"]), (&json!(6_000), &json!(3_000)));
    assert_eq!(team["movements"][0]["id"], "iauth_1");
    assert_eq!(team["movements"].as_array().unwrap().len(), 1, "a declined request moves nothing: {team}");
    let company = node.books("/v1/budgets/company").await;
    assert_eq!((&company["held"], &company["children"]), (&json!(10_000), &json!(["team"])));
    assert_eq!(node.card("ic_a").await["budgets"], json!(["budget:team/red", "budget:company"]));
    assert_eq!(node.books("/v1/budgets").await["budgets"].as_array().unwrap().len(), 3);
    // The same after a restart, from the journal; and an answer is repeated to the byte.
    node.stop().await;
    let node = site.start().await;
    assert_eq!(node.books("/v1/budgets/company").await["held"], 10_000);
    assert_eq!(asks(&node, "ic_b", &red, "iauth_2", 4_000).await.reason, "spending_limit");
    assert_eq!(asks(&node, "ic_c", &red, "iauth_4", 3_000).await.reason, "approved");
    assert_eq!(node.books("/v1/budgets/team/red").await["limits"][0]["used"], 9_000);
}

#[tokio::test]
async fn a_balance_is_credited_by_the_admin_api() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    std::fs::write(site.path("policy.yaml"), POLICY).unwrap();
    let node = site.start().await;
    let acme = json!({"customer": "acme", "tollgate_group": "customers"});
    assert_eq!(asks(&node, "ic_a", &acme, "iauth_1", 100).await.reason, "insufficient_balance");
    let credit = json!({"id": "top-up-1", "amount": 5_000, "currency": "usd", "note": "invoice 17"});
    let path = "/v1/budgets/customer/acme/credits";
    let credited = change(&node, "POST", path, &credit).await;
    assert_eq!((credited.status, &credited.json()["available"]), (200, &json!(5_000)));
    let again = change(&node, "POST", path, &credit).await;
    assert_eq!((again.status, &again.json()["available"]), (200, &json!(5_000)));
    // Whoever repeats it, and whatever is noted then: the first one stands.
    let noted = json!({"id": "top-up-1", "amount": 5_000, "currency": "usd", "note": "invoice 17, again"});
    let noted = change(&node, "POST", path, &noted).await;
    assert_eq!((noted.status, &noted.json()["available"]), (200, &json!(5_000)));
    let movement = &noted.json()["movements"][0];
    assert_eq!((&movement["by"], &movement["reason"]), (&json!("local"), &json!("invoice 17")));
    let other = json!({"id": "top-up-1", "amount": 6_000, "currency": "usd", "note": "again"});
    assert_eq!(change(&node, "POST", path, &other).await.status, 409);
    assert_eq!(asks(&node, "ic_a", &acme, "iauth_2", 4_000).await.reason, "approved");
    assert_eq!(asks(&node, "ic_b", &acme, "iauth_3", 1_001).await.reason, "insufficient_balance");
    assert_eq!(asks(&node, "ic_b", &acme, "iauth_4", 1_000).await.reason, "approved");
    let decision = node.authorization("iauth_3").await["decisions"][0].clone();
    assert_eq!(
        decision["explanation"],
        "declined: 40.00 of the 50.00 USD credited of budget customer (acme) is used; at most 10.00 would have been approved"
    );
    let stated =
        json!({"amount": 2_500, "currency": "usd", "as_of": "2020-01-01T00:00:00Z", "note": "of the core"});
    let stated = change(&node, "PUT", "/v1/budgets/customer/acme/available", &stated).await;
    // All of it happened after the statement, the credit too.
    assert_eq!((stated.status, &stated.json()["available"]), (200, &json!(2_500)));
    for (wrong, status) in [
        (json!({"id": "x", "amount": 1, "currency": "eur", "note": "r"}), 400),
        (json!({"id": "x", "amount": 1.5, "currency": "usd", "note": "r"}), 400),
        (json!({"id": "a b", "amount": 1, "currency": "usd", "note": "r"}), 400),
        (json!({"amount": 1, "currency": "usd", "note": "r"}), 400),
        (json!({"id": "x", "amount": 1, "currency": "usd", "note": "a\nb"}), 400),
        (json!({"id": "x", "amount": 1, "currency": "usd", "note": "r", "by": "me"}), 400),
    ] {
        assert_eq!(change(&node, "POST", path, &wrong).await.status, status, "{wrong}");
    }
    let body = json!({"id": "x", "amount": 1, "currency": "usd", "note": "r"});
    assert_eq!(change(&node, "POST", "/v1/budgets/company/credits", &body).await.status, 404);
    assert_eq!(node.get("/v1/budgets/nowhere").await.status, 404);
    // Programs that credit need not say why.
    let bare = json!({"id": "x", "amount": 1, "currency": "usd"});
    let bare = change(&node, "POST", path, &bare).await;
    assert_eq!((bare.status, &bare.json()["movements"][0]["reason"]), (200, &json!(null)));
    // What it decided comes out again from its journal, which this looks at.
    node.stop().await;
}
