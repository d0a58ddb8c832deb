//! Events as Stripe delivers them, made from the fixtures by replacing what a test cares about, and signed.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use serde_json::{Value, json};
use tollgate::{
    clock,
    stripe::{Secret, sign},
};

use crate::{client::post, stripe_fixtures::fixture};

/// The secret of the tests' nodes.
pub(crate) const SECRET: &str = "whsec_of_a_real_node";

/// A delivery to the webhook, signed now.
pub(crate) fn signed(body: &[u8]) -> Vec<u8> {
    signed_with(SECRET, body)
}

/// A delivery that is signed with another secret.
pub(crate) fn signed_with(secret: &str, body: &[u8]) -> Vec<u8> {
    post("/webhook", &signature(secret, body), body)
}

/// A delivery that is signed with each of several secrets, as Stripe does while one takes the place of another.
pub(crate) fn signed_with_all(secrets: &[&str], body: &[u8]) -> Vec<u8> {
    let now = clock::now().as_seconds();
    let signatures = secrets.iter().map(|secret| sign(&Secret::new(secret).unwrap(), now, body));
    let candidates: Vec<String> =
        signatures.map(|signature| signature.split_once(",v1=").unwrap().1.to_owned()).collect();
    post("/webhook", &format!("stripe-signature: t={now},v1={}\r\n", candidates.join(",v1=")), body)
}

/// The line of the signature's header.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    let signature = sign(&Secret::new(secret).unwrap(), clock::now().as_seconds(), body);
    format!("stripe-signature: {signature}\r\n")
}

/// An event from a fixture, to be changed.
pub(crate) fn event(name: &str) -> Value {
    serde_json::from_slice(&fixture(&format!("{name}.json"))).unwrap()
}

/// The question whether a card may hold so much, asked by an event that is named after the authorization.
pub(crate) fn purchase(card: &str, authorization: &str, amount: i64) -> Vec<u8> {
    purchase_in("usd", card, authorization, amount).to_string().into_bytes()
}

/// The same in another currency, to be changed further.
pub(crate) fn purchase_in(currency: &str, card: &str, authorization: &str, amount: i64) -> Value {
    let mut event = event("request-01-purchase");
    event["id"] = json!(format!("evt_{authorization}"));
    let object = &mut event["data"]["object"];
    object["id"] = json!(authorization);
    object["card"]["id"] = json!(card);
    object["card"]["currency"] = json!(currency);
    object["currency"] = json!(currency);
    object["pending_request"]["amount"] = json!(amount);
    object["pending_request"]["currency"] = json!(currency);
    event
}

/// The news that an approved amount was captured.
pub(crate) fn capture(card: &str, authorization: &str, amount: i64) -> Vec<u8> {
    let mut event = event("transaction-created-capture");
    event["id"] = json!(format!("evt_capture_{authorization}"));
    let object = &mut event["data"]["object"];
    object["id"] = json!(format!("ipi_{authorization}"));
    object["authorization"] = json!(authorization);
    object["card"] = json!(card);
    object["amount"] = json!(-amount);
    event.to_string().into_bytes()
}

/// What a reply to a question says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    pub(crate) approved: bool,
    pub(crate) amount: Option<i64>,
    pub(crate) decision: String,
    pub(crate) reason: String,
}

impl Verdict {
    pub(crate) fn of(response: &crate::client::Response) -> Self {
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(response.header("stripe-version"), Some("2022-08-01"));
        let body = response.json();
        let text = |key: &str| body["metadata"][key].as_str().unwrap().to_owned();
        Self {
            approved: body["approved"].as_bool().unwrap(),
            amount: body["amount"].as_i64(),
            decision: text("tollgate_decision"),
            reason: text("tollgate_reason"),
        }
    }
}
