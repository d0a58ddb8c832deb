//! Nothing personal is kept: events whose every field but the few that a decision needs is a marker, and not one marker
//! in the logs, the metrics, the admin API or any byte of the journal.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    client::post,
    deliveries::{SECRET, event, signature, signed},
    process::{Node, Site},
    stripe_fixtures::fixture_names,
};

/// The last words of the paths whose values are kept, or checked against a closed list. Everything else is marked.
const NEEDED: [&str; 46] = [
    "state",
    "wallet",
    "level",
    "program",
    "payment_facilitator_id",
    "sub_merchant_id",
    "three_d_secure.result",
    "cvc_check",
    "expiry_check",
    "address_line1_check",
    "address_postal_code_check",
    "merchant_currency",
    "merchant_amount",
    "hold_amount",
    "network_risk_score",
    "atm_fee",
    "score",
    "id",
    "object",
    "type",
    "livemode",
    "created",
    "amount",
    "approved",
    "status",
    "currency",
    "pending_request.currency",
    "is_amount_controllable",
    "cashback_amount",
    "card_presence",
    "authorization_method",
    "verified_by_fraud_challenge",
    "merchant_data.category",
    "merchant_data.category_code",
    "merchant_data.country",
    "merchant_data.network_id",
    "metadata.tollgate_group",
    "data.object.authorization",
    "data.object.card",
    "replacement_for",
    "account",
    "reason",
    "requested_at",
    "pending_held_amount",
    "held_amount",
    "authorized_amount",
];

/// What could be said about a person, and where Stripe says it. Added to every object of these names.
fn personal() -> Vec<(&'static str, Value)> {
    vec![
        (
            "cardholder",
            json!({
                "billing": {"address": {"city": "", "country": "", "line1": "", "line2": "", "postal_code": "", "state": ""}},
                "company": {"tax_id_provided": ""},
                "email": "",
                "individual": {
                    "card_issuing": {"user_terms_acceptance": {"date": 0, "ip": "", "user_agent": ""}},
                    "dob": {"day": 0, "month": 0, "year": 0},
                    "first_name": "",
                    "last_name": "",
                    "verification": {"document": {"back": "", "front": ""}}
                },
                "metadata": {"employee": "", "cost_centre": ""},
                "name": "",
                "phone_number": "",
                "preferred_locales": ["", ""]
            }),
        ),
        (
            "card",
            json!({
                "brand": "", "cvc": "", "number": "", "last4": "", "exp_month": 0, "exp_year": 0, "second_line": "",
                "metadata": {"nickname": ""},
                "shipping": {
                    "address": {"city": "", "country": "", "line1": "", "line2": "", "postal_code": "", "state": ""},
                    "name": "", "phone_number": "", "tracking_number": "", "customs": {"eori_number": ""}
                },
                "wallets": {"primary_account_identifier": ""}
            }),
        ),
        (
            "merchant_data",
            json!({
                "name": "", "city": "", "state": "", "postal_code": "", "tax_id": "", "terminal_id": "", "url": ""
            }),
        ),
        ("verification_data", json!({"postal_code": "", "address_line1_check": ""})),
        (
            "network_data",
            json!({"transaction_id": "", "system_trace_audit_number": "", "authorization_code": ""}),
        ),
        ("fleet", json!({"cardholder_prompt_data": {"driver_id": "", "vehicle_number": "", "odometer": 0}})),
        (
            "purchase_details",
            json!({"flight": {"passenger_name": "", "segments": [{"flight_number": ""}]}, "reference": ""}),
        ),
        (
            "token",
            json!({"device_fingerprint": "", "last4": "", "network_data": {"device": {"ip_address": "", "phone_number": ""}}}),
        ),
        ("metadata", json!({"customer": "", "note": ""})),
    ]
}

/// Puts markers into events, and remembers them.
#[derive(Default)]
struct Marker {
    /// What each marker stands for.
    marks: BTreeMap<String, String>,
}

impl Marker {
    /// The whole event with a marker wherever nothing is needed.
    fn mark(&mut self, value: &mut Value, path: &str) {
        let key = path.rsplit('.').next().unwrap();
        if let Some((_, more)) = personal().into_iter().find(|(name, _)| *name == key)
            && let Some(object) = value.as_object_mut()
        {
            merge(object, more);
        }
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    self.mark(field, &format!("{path}.{name}"));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mark(item, path)),
            _ if NEEDED.iter().any(|needed| path.ends_with(&format!(".{needed}"))) => {}
            Value::String(_) | Value::Null => *value = json!(self.next(path, "canary")),
            Value::Number(_) => *value = json!(self.next(path, "").parse::<i64>().unwrap()),
            Value::Bool(_) => {}
        }
    }

    /// A text or number that is nowhere else.
    fn next(&mut self, path: &str, prefix: &str) -> String {
        let marker = format!("{prefix}7{:07}3", self.marks.len() * 7919 + 1_234_567);
        self.marks.insert(marker.clone(), path.to_owned());
        marker
    }
}

fn merge(object: &mut serde_json::Map<String, Value>, more: Value) {
    let Value::Object(more) = more else { unreachable!("it is written as an object") };
    for (name, value) in more {
        match (object.get_mut(&name), value) {
            (Some(Value::Object(known)), Value::Object(value)) => merge(known, Value::Object(value)),
            (_, value) => drop(object.insert(name, value)),
        }
    }
}

#[tokio::test]
async fn nothing_personal_is_found_anywhere() {
    let site = Site::new(&[
        ("TOLLGATE_LOG", "trace"),
        ("TOLLGATE_RECORD_MERCHANT_NAMES", "never"),
        ("TOLLGATE_CARD_LIMIT_ALL_TIME", "3000"),
    ]);
    let node = site.start().await;
    let mut marker = Marker::default();
    let mut kinds = BTreeMap::<String, usize>::new();
    let mut paths = Vec::new();
    for name in fixture_names() {
        let mut event = event(name.trim_end_matches(".json"));
        event["livemode"] = json!(false);
        marker.mark(&mut event, "event");
        event["data"]["object"]["livemode"] = json!(false);
        let body = event.to_string().into_bytes();
        let response = node.deliver(&body).await;
        assert_eq!(response.status, 200, "{name}: {}", response.body);
        *kinds.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
        for (id, kind) in [
            (&event["data"]["object"]["id"], "authorizations"),
            (&event["data"]["object"]["card"]["id"], "cards"),
        ] {
            paths.extend(id.as_str().map(|id| format!("/v1/{kind}/{id}")));
        }
        deliver_badly(&node, &body).await;
    }
    assert!(kinds.len() >= 8 && marker.marks.len() > 1_000, "{kinds:?}, {} markers", marker.marks.len());

    let mut shown = String::new();
    for path in paths.iter().map(String::as_str).chain([
        "/metrics",
        "/v1/unconfirmed",
        "/v1/slow",
        "/v1/log",
        "/readyz",
    ]) {
        shown += &node.get(path).await.body;
    }
    // What the write-ahead log has before it is folded is looked at too.
    let mut bytes = files(&site.path("data"));
    let log = node.stop().await;
    bytes.extend(files(&site.path("data")));
    assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "the log is quiet");
    assert!(shown.contains("iauth_composed0001") && bytes.len() > 20_000, "there is nothing to look at");
    for (place, text) in
        [("the log", log.as_bytes()), ("the admin port", shown.as_bytes()), ("the journal", &bytes)]
    {
        check(&marker, place, text);
    }
}

/// The same event as a stranger sends it, cut, and with something behind it.
async fn deliver_badly(node: &Node, body: &[u8]) {
    let unsigned = post("/webhook", &signature("whsec_of_a_stranger", body), body);
    assert_eq!(node.connect().await.exchange(unsigned).await.status, 400);
    let cut = &body[..body.len() - 40];
    assert_eq!(node.connect().await.exchange(signed(cut)).await.status, 400);
    let traced =
        format!("traceparent: canary7traceparent\r\nbaggage: canary7baggage\r\n{}", signature(SECRET, body));
    assert_eq!(node.connect().await.exchange(post("/webhook", &traced, body)).await.status, 200);
    let longer = [body, b"\n{}"].concat();
    assert_eq!(node.connect().await.exchange(signed(&longer)).await.status, 400);
}

/// All bytes of all files in a directory.
fn files(directory: &Path) -> Vec<u8> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| fs::read(path).unwrap()).collect()
}

/// Every word of letters and digits is looked up: no marker is one of them, nor the part of one.
fn check(marker: &Marker, place: &str, text: &[u8]) {
    for word in text.split(|byte| !byte.is_ascii_alphanumeric()) {
        let word = std::str::from_utf8(word).unwrap();
        let canary = word.find("canary").map(|at| &word[at..]);
        let found = canary.or_else(|| marker.marks.contains_key(word).then_some(word));
        if let Some(found) = found {
            let path = marker.marks.iter().find(|(mark, _)| found.starts_with(mark.as_str()));
            panic!("{place} has `{word}`, which is {path:?}");
        }
    }
}
