//! The search of decisions and the list of policies, on a node that decides: what is found is what was answered.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    deliveries::{Verdict, purchase_in},
    postgres::Server,
    process::{Node, Site},
};

/// What the node was asked.
#[derive(Clone)]
struct Asked {
    card: String,
    cardholder: String,
    group: &'static str,
    amount: i64,
    authorization: String,
    verdict: Verdict,
}

const GROUPS: [&str; 3] = ["travel", "fuel", "office & more"];

const POLICY: &str = "version: 1\ndefault:\n  spending_limits: [{amount: 1500, interval: all_time}]\n";

async fn ask(node: &Node, n: usize) -> Asked {
    let (card, cardholder) = (format!("ic_{}", n % 7), format!("ich_{}", n % 5));
    let (group, authorization) = (GROUPS[n % 3], format!("iauth_{n}"));
    let amount = i64::try_from(n * 37 % 900).unwrap() + 1;
    let mut event = purchase_in("usd", &card, &authorization, amount);
    event["data"]["object"]["card"]["metadata"]["tollgate_group"] = group.into();
    event["data"]["object"]["card"]["cardholder"]["id"] = cardholder.clone().into();
    event["data"]["object"]["cardholder"] = cardholder.clone().into();
    let verdict = Verdict::of(&node.deliver(event.to_string().as_bytes()).await);
    Asked { card, cardholder, group, amount, authorization, verdict }
}

/// All pages of a search, by authorization.
async fn found(node: &Node, query: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = node.books(&format!("/v1/decisions?{query}&limit={limit}&cursor={cursor}")).await;
        let decisions = page["decisions"].as_array().unwrap();
        assert!(decisions.len() <= limit);
        all.extend(decisions.iter().cloned());
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return all,
        }
    }
}

async fn check(site: &Site) {
    fs::write(site.path("policy.yaml"), POLICY).unwrap();
    let node = site.start().await;
    let mut asked = Vec::new();
    for n in 0..60 {
        asked.push(ask(&node, n).await);
    }
    let declined = |one: &Asked| !one.verdict.approved;
    assert!(asked.iter().filter(|one| declined(one)).count() > 10);
    let middle = node.authorization("iauth_30").await["decisions"][0]["recorded_at"].clone();
    let middle = middle.as_str().unwrap();
    let place = |one: &Asked| one.authorization.strip_prefix("iauth_").unwrap().parse::<usize>().unwrap();
    let check = async |query: &str, takes: &dyn Fn(&Asked) -> bool| {
        let expected: Vec<&Asked> = asked.iter().rev().filter(|one| takes(one)).collect();
        for limit in [3, 200] {
            let found = found(&node, query, limit).await;
            let ids: Vec<&str> = found.iter().map(|one| one["authorization"].as_str().unwrap()).collect();
            let expected: Vec<&str> = expected.iter().map(|one| one.authorization.as_str()).collect();
            assert_eq!(ids, expected, "{query} {limit}");
        }
        assert!(!expected.is_empty(), "{query} finds nothing");
    };
    check("", &|_| true).await;
    check("outcome=declined", &declined).await;
    check("outcome=approved", &|one| !declined(one)).await;
    check("reason=spending_limit", &declined).await;
    check("reason=approved", &|one| !declined(one)).await;
    check("source=policy", &|_| true).await;
    check("card=ic_3", &|one| one.card == "ic_3").await;
    check("card=ic_3&outcome=declined", &|one| one.card == "ic_3" && declined(one)).await;
    check("cardholder=ich_2", &|one| one.cardholder == "ich_2").await;
    check("group=office+%26+more", &|one| one.group == "office & more").await;
    check("min_amount=800", &|one| one.amount >= 800).await;
    check(&format!("since={middle}"), &|one| place(one) >= 30).await;
    check(&format!("until={middle}"), &|one| place(one) < 30).await;
    check(&format!("since={middle}&card=ic_4"), &|one| place(one) >= 30 && one.card == "ic_4").await;
    check("since=1h&cardholder=ich_1&outcome=declined&group=fuel", &|one| {
        one.cardholder == "ich_1" && declined(one) && one.group == "fuel"
    })
    .await;
    assert!(found(&node, "until=1h", 10).await.is_empty());
    assert!(found(&node, "source=stand_in", 10).await.is_empty());
    assert!(found(&node, "card=ic_unknown", 10).await.is_empty());

    let one = &found(&node, "", 1).await[0];
    let last = asked.last().unwrap();
    assert_eq!(
        (&one["id"], &one["card"]),
        (&last.verdict.decision.clone().into(), &last.card.clone().into())
    );
    assert_eq!((&one["cardholder"], &one["group"]), (&last.cardholder.clone().into(), &last.group.into()));
    assert_eq!(one["category"], "computer_software_stores");

    let start = node.books("/v1/decisions?after=now").await["next"].as_str().unwrap().to_owned();
    let waits = async {
        let path = format!("/v1/decisions?after={start}&wait=30&outcome=declined");
        node.books(&path).await
    };
    let asks = async {
        let mut more = Vec::new();
        for n in 60..75 {
            more.push(ask(&node, n).await);
        }
        more
    };
    let (followed, more) = tokio::join!(waits, asks);
    let first = more.iter().find(|one| declined(one)).unwrap();
    assert_eq!(followed["decisions"][0]["authorization"], *first.authorization);
    every_reply_is_as_documented(&node).await;
    policies(site, node).await;
}

/// What the API replies has the shape that its own document gives it.
async fn every_reply_is_as_documented(node: &Node) {
    let document = node.books("/v1/openapi.json").await;
    let policy = node.books("/v1/policy").await["version"].as_str().unwrap().to_owned();
    let mut checked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let schema = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if !schema["$ref"].is_string() {
            continue;
        }
        let of =
            [("/authorizations/{id}", "iauth_1"), ("/cards/{id}", "ic_3"), ("/policies/{version}", &policy)];
        let asked = of.iter().fold(path.clone(), |path, (end, id)| match path.strip_suffix(end) {
            Some(start) => format!("{start}{}{id}", end.split('{').next().unwrap()),
            None => path,
        });
        if asked.contains('{') {
            continue;
        }
        let reply = node.books(&asked).await;
        fits(&document, schema, &reply, &asked);
        checked += 1;
    }
    assert!(checked >= 10, "only {checked}");
}

/// Whether a value is what a schema says; an object has no other fields either.
#[track_caller]
fn fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        return fits(document, schema, value, place);
    }
    if let Some(either) = schema["anyOf"].as_array() {
        let (null, other): (Vec<&Value>, Vec<&Value>) = either.iter().partition(|one| one["type"] == "null");
        assert!(!value.is_null() || !null.is_empty(), "{place} is null");
        if !value.is_null() {
            fits(document, other[0], value, place);
        }
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    let is_it = types.iter().any(|one| *one == kind || (*one == "number" && kind == "integer"));
    assert!(is_it, "{place} is {kind}, expected {types:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place} is {value}, expected one of {words:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], item, &format!("{place}[]"));
    }
    let Some(object) = value.as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(required.as_str().unwrap()), "{place} lacks {required}");
    }
    for (name, field) in object {
        let known = &schema["properties"][name];
        let known = if known.is_null() { &schema["additionalProperties"] } else { known };
        assert!(!known.is_null(), "{place}.{name} is not documented");
        fits(document, known, field, &format!("{place}.{name}"));
    }
}

/// `tollgate tail` shows what was decided last, and goes on with what is decided next.
#[tokio::test]
async fn the_tail_shows_each_decision_as_one_line() {
    let mut site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), POLICY).unwrap();
    let node = site.start().await;
    ask(&node, 1).await;
    ask(&node, 2).await;
    site.set("TOLLGATE_ADMIN_LISTEN", &node.admin.to_string());
    let shown = site.run(&["tail", "--no-follow", "-n", "1"], &[]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.lines().count() == 1 && shown.contains("iauth_2 ic_2"), "{shown}");
    assert!(shown.contains("approved       0.75 USD"), "{shown}");
    let mut tail = site.follow(&["tail", "--card", "ic_3"]);
    // It follows from now on only when it has connected: what it shows first says so.
    ask(&node, 3).await;
    let first = tail.line(|line| line.contains("iauth_3 ic_3").then(|| line.to_owned())).await;
    assert!(first.contains("computer software stores, US"), "{first}");
    ask(&node, 4).await;
    ask(&node, 10).await;
    let next = tail.next_line().await.unwrap();
    assert!(next.contains("iauth_10 ic_3"), "the filter holds: {next}");
    tail.signal(Signal::TERM);
    let wrong = site.run(&["tail", "--outcome", "aproved"], &[]).await;
    assert_eq!(wrong.status.code(), Some(2));
    let nowhere = site.run(&["tail", "--admin", "127.0.0.1:1"], &[]).await;
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8(nowhere.stderr).unwrap().contains("no node answers at 127.0.0.1:1"));
    node.stop().await;
}

/// Another policy, and the first one again.
async fn policies(site: &Site, mut node: Node) {
    let first = node.books("/v1/policy").await;
    assert_eq!(first["text"], POLICY);
    let changed = POLICY.replace("1500", "4000");
    for text in [changed.as_str(), POLICY] {
        fs::write(site.path("policy.new"), text).unwrap();
        fs::rename(site.path("policy.new"), site.path("policy.yaml")).unwrap();
        node.process.signal(Signal::HUP);
        node.process.logged("a new policy is in force").await;
    }
    assert_eq!(node.books("/v1/policy").await, first);
    let listed = node.books("/v1/policies").await;
    let listed = listed["policies"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    let in_force: Vec<bool> = listed.iter().map(|one| one["in_force"].as_bool().unwrap()).collect();
    assert_eq!(in_force, [true, false, true]);
    assert!(listed.iter().all(|one| one["origin"] == "policy.yaml" && one["node"].is_string()));
    let version = listed[1]["version"].as_str().unwrap();
    let second = node.books(&format!("/v1/policies/{version}")).await;
    assert_eq!((&second["text"], &second["before"]), (&changed.into(), &first["version"]));
    let diff = second["diff"].as_str().unwrap();
    assert!(diff.contains("\n-  spending_limits: [{amount: 1500"), "{diff}");
    assert!(diff.contains("\n+  spending_limits: [{amount: 4000"), "{diff}");
    assert_eq!(node.get("/v1/policies/unknown").await.status, 404);
    node.stop().await;
}

#[tokio::test]
async fn what_is_found_is_what_was_answered() {
    check(&Site::new(&[("TOLLGATE_POLICY", "policy.yaml")])).await;
}

#[tokio::test]
async fn what_is_found_in_postgresql_is_what_was_answered() {
    let Some(server) = Server::start().await else { return };
    check(&Site::new(&[("TOLLGATE_POLICY", "policy.yaml"), ("TOLLGATE_JOURNAL", &server.url())])).await;
}
