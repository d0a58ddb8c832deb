//! How answers reach Stripe, asked of the real binary with a stub of Stripe's API beside it: over the API, directly, or
//! split; never both, always in time, and always the same answer.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tollgate_loadtest::stripe_api::{Effect, Fault, StripeApi};

use crate::{
    client::Response,
    deliveries::{Verdict, purchase, purchase_in},
    process::{Node, Site},
    stripe_api::KEY,
};

const RECEIVED: &str = r#"{"received":true}"#;

/// A site whose nodes answer like this, and the stub that they know.
async fn site(answer_by: &str, more: &[(&str, &str)]) -> (Site, StripeApi) {
    let stub = StripeApi::start(KEY).await.unwrap();
    let mut site = Site::new(&[
        ("STRIPE_API_KEY", KEY),
        ("STRIPE_API_BASE", &stub.base_url()),
        ("TOLLGATE_ANSWER_BY", answer_by),
    ]);
    for (name, value) in more {
        site.set(name, value);
    }
    (site, stub)
}

/// Lets Stripe know the authorization, and asks the node.
async fn ask(node: &Node, stub: &StripeApi, event: &[u8]) -> Response {
    let read: Value = serde_json::from_slice(event).unwrap();
    let object = &read["data"]["object"];
    if stub.get(object["id"].as_str().unwrap()).is_none() {
        stub.put(object.clone()).unwrap();
    }
    node.deliver(event).await
}

/// How many answers went each way: directly, over the API, by falling back.
async fn ways(node: &Node) -> String {
    let mut counts = Vec::new();
    for way in ["direct", "api", "fallback"] {
        let count = node.metric(&format!("tollgate_answers_total{{way=\"{way}\"}}")).await;
        counts.push(format!("{count} {way}"));
    }
    counts.join(", ")
}

#[tokio::test]
async fn over_the_api_stripe_has_the_answer_before_the_reply_which_decides_nothing() {
    let (site, stub) = site("api", &[]).await;
    let node = site.start().await;
    let approved = ask(&node, &stub, &purchase("ic_1", "iauth_1", 20_000)).await;
    assert_eq!((approved.status, approved.body.as_str()), (200, RECEIVED));
    assert_eq!(approved.header("stripe-version"), None);
    let at_stripe = stub.get("iauth_1").unwrap();
    assert_eq!((&at_stripe["approved"], &at_stripe["amount"]), (&json!(true), &json!(20_000)));
    let books = node.authorization("iauth_1").await;
    let decision = &books["decisions"][0];
    assert_eq!(decision["answer_by"], "api");
    assert_eq!(at_stripe["metadata"]["tollgate_decision"], decision["id"]);
    assert_eq!(at_stripe["metadata"]["tollgate_reason"], "approved");

    let declined = ask(&node, &stub, &purchase("ic_1", "iauth_2", 40_000)).await;
    assert_eq!((declined.status, declined.body.as_str()), (200, RECEIVED));
    let at_stripe = stub.get("iauth_2").unwrap();
    assert_eq!((&at_stripe["approved"], &at_stripe["status"]), (&json!(false), &json!("closed")));
    assert_eq!(at_stripe["metadata"]["tollgate_reason"], "spending_limit");

    let mut fuel = purchase_in("usd", "ic_1", "iauth_3", 40_000);
    fuel["data"]["object"]["pending_request"]["is_amount_controllable"] = json!(true);
    ask(&node, &stub, fuel.to_string().as_bytes()).await;
    assert_eq!(stub.get("iauth_3").unwrap()["amount"], 30_000, "what is left of the day");
    assert_eq!(ways(&node).await, "0 direct, 3 api, 0 fallback");
}

#[tokio::test]
async fn a_repeated_question_gets_the_byte_same_reply_and_is_taken_once() {
    let (site, stub) = site("api", &[]).await;
    let node = site.start().await;
    let event = purchase("ic_1", "iauth_1", 20_000);
    let first = ask(&node, &stub, &event).await;
    let again = ask(&node, &stub, &event).await;
    assert_eq!((&again.body, again.status), (&first.body, first.status));
    node.kill().await;
    let node = site.start().await;
    let after_restart = ask(&node, &stub, &event).await;
    assert_eq!(after_restart.body, first.body);
    assert_eq!(stub.get("iauth_1").unwrap()["request_history"].as_array().unwrap().len(), 1);
    let keys: Vec<_> = stub.calls().into_iter().map(|call| call.idempotency_key.unwrap()).collect();
    // Once by each process: the first one remembers that the API took it.
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
}

#[tokio::test]
async fn what_the_reply_has_carried_is_carried_by_the_reply_to_a_duplicate() {
    let (site, stub) = site("api", &[("TOLLGATE_ANSWER_WITHIN", "600ms")]).await;
    let node = site.start().await;
    stub.plan(Fault::always("/v1", Effect::ServerError(500)));
    let event = purchase("ic_1", "iauth_1", 20_000);
    let first = ask(&node, &stub, &event).await;
    assert!(Verdict::of(&first).approved);
    // The API works again, and would take it.
    stub.heal();
    let calls = stub.calls().len();
    let again = ask(&node, &stub, &event).await;
    assert_eq!((again.body, stub.calls().len()), (first.body, calls));
}

#[tokio::test]
async fn a_split_uses_one_way_for_each_authorization_and_stays_with_it() {
    let (mut site, stub) = site("split:50", &[("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000000")]).await;
    let node = site.start().await;
    let mut chosen = BTreeMap::new();
    for number in 0..60 {
        let id = format!("iauth_{number}");
        let response = ask(&node, &stub, &purchase(&format!("ic_{number}"), &id, 100)).await;
        let calls = stub.calls_to(&format!("/{id}/approve")).len();
        let is_direct = response.body != RECEIVED;
        assert_eq!(calls, usize::from(!is_direct), "{id}: {}", response.body);
        if is_direct {
            assert!(Verdict::of(&response).approved);
        }
        let books = node.authorization(&id).await;
        assert_eq!(books["decisions"][0]["answer_by"], if is_direct { "direct" } else { "api" });
        chosen.insert(id, response.body);
    }
    let direct = chosen.values().filter(|body| *body != RECEIVED).count();
    assert!((15..=45).contains(&direct), "{direct} of 60 directly");

    // Another share, after a restart: what was answered before keeps its way.
    node.stop().await;
    site.set("TOLLGATE_ANSWER_BY", "split:100");
    let node = site.start().await;
    for (number, (id, body)) in chosen.iter().enumerate().filter(|(number, _)| number % 10 == 0) {
        let card = format!("ic_{}", id.trim_start_matches("iauth_"));
        assert_eq!(ask(&node, &stub, &purchase(&card, id, 100)).await.body, *body, "{number}");
    }
}

/// The API fails like this: the reply is the answer, in time, and Stripe has no other one.
async fn falls_back(effect: Effect, calls: std::ops::RangeInclusive<usize>) {
    let (site, stub) = site("api", &[("TOLLGATE_ANSWER_WITHIN", "600ms")]).await;
    let node = site.start().await;
    stub.plan(Fault::always("/v1", effect));
    let started = tokio::time::Instant::now();
    let response = ask(&node, &stub, &purchase("ic_1", "iauth_1", 20_000)).await;
    let taken = started.elapsed();
    assert!(taken < Duration::from_millis(1_500), "{effect:?}: {taken:?}");
    let verdict = Verdict::of(&response);
    assert!(verdict.approved, "{effect:?}");
    assert!(calls.contains(&stub.calls().len()), "{effect:?}: {} calls", stub.calls().len());
    let at_stripe = stub.get("iauth_1").unwrap();
    let is_undecided = !at_stripe["pending_request"].is_null();
    assert!(
        is_undecided || at_stripe["approved"] == true,
        "{effect:?}: both say the same, if both say anything"
    );
    assert_eq!(ways(&node).await, "0 direct, 0 api, 1 fallback", "{effect:?}");
    let log = node.stop().await;
    assert!(log.contains("answered with the reply, since Stripe's API did not take the answer"), "{log}");
    assert!(!log.contains(KEY), "the log has the key");
}

#[tokio::test]
async fn an_api_that_hangs_does_not_hold_the_answer_up() {
    falls_back(Effect::Hang, 1..=1).await;
}

#[tokio::test]
async fn an_api_that_fails_is_tried_again_while_there_is_time() {
    falls_back(Effect::ServerError(500), 2..=3).await;
    falls_back(Effect::RateLimited { retry_after: Some(1) }, 1..=1).await;
    falls_back(Effect::TooLate, 1..=1).await;
}

#[tokio::test]
async fn an_answer_that_was_taken_unheard_agrees_with_the_reply() {
    falls_back(Effect::DropAfter, 1..=3).await;
}

#[tokio::test]
async fn a_failure_that_passes_leaves_no_trace() {
    let (site, stub) = site("api", &[]).await;
    let node = site.start().await;
    stub.plan(Fault::once("/approve", Effect::DropAfter));
    let response = ask(&node, &stub, &purchase("ic_1", "iauth_1", 20_000)).await;
    assert_eq!(response.body, RECEIVED);
    assert_eq!(stub.get("iauth_1").unwrap()["request_history"].as_array().unwrap().len(), 1);
    assert_eq!((stub.calls().len(), &*ways(&node).await), (2, "0 direct, 1 api, 0 fallback"));
}

#[tokio::test]
async fn a_decision_is_durable_before_stripe_hears_of_it() {
    let (site, stub) = site("api", &[]).await;
    let node = site.start().await;
    stub.plan(Fault::always("", Effect::Hang));
    let event = purchase("ic_1", "iauth_1", 20_000);
    let mut client = node.connect().await;
    client.send(crate::deliveries::signed(&event)).await;
    stub.called(1).await;
    node.kill().await;
    let node = site.start().await;
    let books = node.authorization("iauth_1").await;
    assert_eq!(books["decisions"][0]["outcome"], "approved");
    assert_eq!(books["held"], 20_000);
}

#[tokio::test]
async fn an_answer_goes_to_the_account_that_asked() {
    let (site, stub) = site("api", &[]).await;
    let node = site.start().await;
    let mut event = purchase_in("usd", "ic_1", "iauth_1", 100);
    event["account"] = json!("acct_1");
    stub.put_for("acct_1", event["data"]["object"].clone()).unwrap();
    assert_eq!(node.deliver(event.to_string().as_bytes()).await.body, RECEIVED);
    assert_eq!(stub.calls()[0].account.as_deref(), Some("acct_1"));
}

#[tokio::test]
async fn answers_over_the_api_without_a_key_are_refused_at_start() {
    let ending = Site::new(&[("TOLLGATE_ANSWER_BY", "split:99")]).refuses_to_start().await;
    assert_eq!(ending.code, Some(78), "{}", ending.log);
    assert!(ending.log.contains("STRIPE_API_KEY"), "{}", ending.log);
}
