//! The same scenarios over the wire: each step a full event as Stripe sends it, signed, posted to a real node, and read
//! back from the admin API. In order, and then the news of each story backwards and twice, on another card.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    deliveries::{event, signed},
    process::{Node, Site, setting},
};

/// A policy under which a step may be approved or, by its category, declined, as its story wants.
const POLICY: &str = "version: 1\ncurrency: usd\ndefault:\n  \
    spending_limits: [{amount: 100000000, interval: all_time}]\n  \
    blocked_categories: [betting_casino_gambling]\n";

#[tokio::test]
async fn every_story_ends_the_same_over_the_wire() {
    let mut site = site();
    site.set("TOLLGATE_JOURNAL", "memory:");
    let node = site.start().await;
    for scenario in scenarios() {
        let name = scenario["name"].as_str().unwrap();
        let told = Telling::of(&scenario, name, "");
        for body in &told.events {
            deliver(&node, name, body).await;
        }
        check(&node, name, &told, &scenario["expect"]).await;
        let again = Telling::of(&scenario, name, "_again");
        let (asked, news): (Vec<&Value>, Vec<&Value>) =
            again.events.iter().partition(|event| event["type"] == "issuing_authorization.request");
        for body in asked.into_iter().chain(news.iter().rev().copied()).chain(news.iter().copied()) {
            deliver(&node, name, body).await;
        }
        check(&node, &format!("{name}, backwards and twice"), &again, &scenario["expect"]).await;
    }
}

/// The stories go on side by side, and `kill -9` comes between any two steps of each: some deliveries of a step have
/// been acknowledged then, some are on their way. Stripe delivers them all again.
///
/// `CRASH_SEED` chooses the moments.
#[tokio::test]
async fn every_story_ends_the_same_through_a_kill_between_any_two_of_its_steps() {
    let seed = setting("CRASH_SEED", 20_261_122);
    println!("CRASH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let scenarios: Vec<Value> = scenarios().collect();
    let stories: Vec<(&str, Telling)> = scenarios
        .iter()
        .map(|scenario| scenario["name"].as_str().unwrap())
        .zip(&scenarios)
        .map(|(name, scenario)| (name, Telling::of(scenario, name, "")))
        .collect();
    let site = site();
    let mut node = site.start().await;
    let steps = stories.iter().map(|(_, told)| told.events.len()).max().unwrap();
    for step in 0..steps {
        let mut deliveries: Vec<(&str, &Value)> =
            stories.iter().filter_map(|(name, told)| Some((*name, told.events.get(step)?))).collect();
        random.shuffle(&mut deliveries);
        let (acknowledged, lost) = deliveries.split_at(random.usize(0..=deliveries.len()));
        let mut replies = Vec::with_capacity(acknowledged.len());
        for (name, event) in acknowledged {
            replies.push(deliver(&node, name, event).await);
        }
        let mut on_their_way = Vec::with_capacity(lost.len());
        for (_, event) in lost {
            let mut client = node.connect().await;
            client.send(signed(event.to_string().as_bytes())).await;
            on_their_way.push(client);
        }
        node.kill().await;
        drop(on_their_way);
        node = site.start().await;
        for ((name, event), reply) in acknowledged.iter().zip(&replies) {
            assert_eq!(deliver(&node, name, event).await, *reply, "{name}: step {step} again");
        }
        for (name, event) in lost {
            deliver(&node, name, event).await;
        }
    }
    node.kill().await;
    let node = site.start().await;
    for ((name, told), scenario) in stories.iter().zip(&scenarios) {
        check(&node, name, told, &scenario["expect"]).await;
    }
}

fn site() -> Site {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    std::fs::write(site.path("policy.yaml"), POLICY).unwrap();
    site
}

fn scenarios() -> impl Iterator<Item = Value> {
    let files = [
        include_str!("../../fixtures/lifecycle-scenarios.json"),
        include_str!("../../fixtures/lifecycle-more.json"),
    ];
    files.into_iter().flat_map(|file| {
        let file: Value = serde_json::from_str(file).unwrap();
        file["scenarios"].as_array().unwrap().clone()
    })
}

/// The body of the reply.
async fn deliver(node: &Node, name: &str, event: &Value) -> String {
    let response = node.deliver(event.to_string().as_bytes()).await;
    assert_eq!(response.status, 200, "{name}: {} was answered {}", event["type"], response.body);
    response.body
}

/// Compares what the admin API says with what is expected of the story.
async fn check(node: &Node, name: &str, told: &Telling, expect: &Value) {
    let card = node.card(&told.card).await;
    for (field, key) in [("open_hold", "held"), ("captured", "captured"), ("refunded", "refunded")] {
        assert_eq!(card[key], expect[field], "{name}: {key} of {card}");
    }
    assert_eq!(
        card["limits"][0]["used"].as_i64().unwrap(),
        card["held"].as_i64().unwrap() + card["captured"].as_i64().unwrap(),
        "{name}: the window holds what is held and captured"
    );
    if let Some(status) = expect["auth_status"].as_str() {
        let authorization = node.authorization(&told.authorization("same")).await;
        assert_eq!(authorization["status"], status, "{name}: {authorization}");
    }
}

/// A scenario as events on a card of its own, with what the next delta builds on.
struct Telling {
    card: String,
    seconds: i64,
    events: Vec<Value>,
    authorizations: BTreeMap<String, Value>,
    transactions: BTreeMap<String, Value>,
}

impl Telling {
    fn of(scenario: &Value, name: &str, suffix: &str) -> Self {
        let mut told = Self {
            card: format!("ic_{name}{suffix}"),
            seconds: 1_790_000_000,
            events: Vec::new(),
            authorizations: BTreeMap::new(),
            transactions: BTreeMap::new(),
        };
        let steps = scenario["steps"].as_array().unwrap();
        for (place, step) in steps.iter().enumerate() {
            told.seconds += 60;
            let reply = steps.get(place + 1).map_or(&Value::Null, |next| &next["reply"]);
            match step["event"].as_str() {
                Some("issuing_authorization.request") => told.ask(step, reply),
                Some(kind) if kind.starts_with("issuing_authorization") => told.snapshot(kind, step),
                Some(kind) => told.settle(kind, step),
                None => {}
            }
        }
        told
    }

    fn authorization(&self, name: &str) -> String {
        format!("iauth_{name}_{}", self.card)
    }

    fn push(&mut self, kind: &str, mut object: Value) {
        object["card"]["id"] = json!(self.card);
        let mut envelope = event("request-01-purchase");
        envelope["id"] = json!(format!("evt_{}_{}", self.events.len(), self.card));
        envelope["created"] = json!(self.seconds);
        envelope["type"] = json!(kind);
        envelope["data"]["object"] = object;
        self.events.push(envelope);
    }

    /// The authorization as it was told last.
    fn last(&self, name: &str) -> Value {
        self.authorizations.get(name).cloned().unwrap_or_else(|| {
            let mut object = event("request-01-purchase")["data"]["object"].clone();
            object["id"] = json!(self.authorization(name));
            object["created"] = json!(1_790_000_000);
            object
        })
    }

    fn ask(&mut self, step: &Value, reply: &Value) {
        let name = step["authorization"].as_str().unwrap_or("same");
        let mut object = self.last(name);
        let pending = &step["pending_request"];
        let before = pending["top_level_amount"].as_i64();
        object["amount"] = json!(before.unwrap_or(0));
        object["pending_request"] = event("request-01-purchase")["data"]["object"]["pending_request"].clone();
        object["pending_request"]["amount"] = pending["amount"].clone();
        object["pending_request"]["is_amount_controllable"] =
            json!(pending["is_amount_controllable"].as_bool().unwrap_or(false));
        let is_no = match reply {
            Value::String(words) => words.contains("approved false"),
            reply => reply["approved"] == json!(false) || reply["then_stand_in"] == json!(false),
        };
        let category =
            if is_no { "betting_casino_gambling" } else { step["category"].as_str().unwrap_or("") };
        object["merchant_data"]["category"] = json!(category);
        object["merchant_data"]["category_code"] = Value::Null;
        if before.is_none() {
            object["request_history"] = json!([]);
        }
        if let Some(entries) = step["history_entries"].as_u64() {
            let entry = json!({"amount": 1, "approved": true, "reason": "webhook_approved", "created": 1});
            object["request_history"] = (0..entries).map(|_| entry.clone()).collect();
        }
        self.push("issuing_authorization.request", object);
    }

    fn snapshot(&mut self, kind: &str, step: &Value) {
        let name = step["authorization"].as_str().unwrap_or("same").to_owned();
        let mut object = self.last(&name);
        object["pending_request"] = Value::Null;
        for key in ["amount", "approved", "status", "request_history"] {
            if let Some(value) = step.get(key) {
                object[key] = value.clone();
            }
        }
        for entry in object["request_history"].as_array_mut().unwrap() {
            if entry.get("created").is_none() {
                entry["created"] = json!(self.seconds - 60);
            }
        }
        let id = json!(self.authorization(&name));
        let booked = self.transactions.values().filter(|booked| booked["authorization"] == id);
        object["transactions"] = booked.cloned().collect();
        self.authorizations.insert(name, object.clone());
        self.push(kind, object);
    }

    fn settle(&mut self, kind: &str, step: &Value) {
        let name = step["transaction"].as_str().map_or_else(|| self.events.len().to_string(), str::to_owned);
        let mut object = self.transactions.get(&name).cloned().unwrap_or_else(|| {
            let mut object = event("transaction-created-capture")["data"]["object"].clone();
            object["id"] = json!(format!("ipi_{name}_{}", self.card));
            object["created"] = json!(self.seconds);
            object["card"] = json!({});
            object["currency"] = json!("usd");
            object
        });
        for key in ["amount", "type"] {
            if let Some(value) = step.get(key) {
                object[key] = value.clone();
            }
        }
        if let Some(place) = step.get("authorization") {
            let place = place.as_str().map(|name| self.authorization(name));
            object["authorization"] = place.map_or(Value::Null, Value::from);
        }
        self.transactions.insert(name, object.clone());
        self.push(kind, object);
    }
}
