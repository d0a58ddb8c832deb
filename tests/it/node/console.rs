//! Support tickets, each answered on the console in at most three steps: a step is what is typed into the box and sent,
//! or a click. The steps go over real sockets and need no JavaScript; the page at the end is shown by a real Chromium, and
//! the answer is what a person then reads.

use std::{fs, path::PathBuf, process::Command};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    client::{Client, request},
    deliveries::{Verdict, capture, event, purchase_in},
    needs::{self, Program},
    process::{Node, Site, within},
};

const POLICY: &str = r#"version: 1
currency: usd
budgets:
  company: {spending_limits: [{amount: 400000, interval: all_time}], owners: [finance]}
  engineering: {parent: company, spending_limits: [{amount: 100000, interval: all_time}], owners: [ada, grace]}
  sales: {parent: company, spending_limits: [{amount: 500000, interval: all_time}]}
  customer: {per: card.metadata.customer, prepaid: true}
default:
  spending_limits:
    - {amount: 50000, interval: all_time}
    - {count: 4, interval: rolling(24h)}
  blocked_merchant_countries: [NG]
  rules:
    - {name: no-gambling, when: 'category == "betting_casino_gambling"', then: decline, message: "This card cannot be used for gambling."}
groups:
  fuel: {spending_limits: [{amount: 8000, interval: all_time}]}
  frozen: {paused: true}
  team: {budgets: [engineering], spending_limits: [{amount: 500000, interval: all_time}]}
  prepaid: {budgets: [customer], spending_limits: [{amount: 500000, interval: all_time}]}
"#;

/// What a person does.
enum Step {
    /// Types this into the box, and sends it.
    Type(&'static str),
    /// Clicks the link with this text.
    Click(&'static str),
}

use Step::{Click, Type};

/// What is asked, how it is looked up from the first page, and what the last page shows.
const TICKETS: [(&str, &[Step], &[&str]); 28] = [
    (
        "Why was iauth_limit declined?",
        &[Type("iauth_limit")],
        &["400.00 of the 500.00 USD lifetime limit is used"],
    ),
    ("What would have passed?", &[Type("iauth_limit")], &["Would have passed:", "100.00 USD"]),
    (
        "What can I write to the cardholder?",
        &[Type("iauth_limit")],
        &["The purchase of 200.00 USD was declined because", "Up to 100.00 USD is available now."],
    ),
    (
        "Which rule declined it?",
        &[Type("iauth_rule")],
        &["no-gambling", "category = betting_casino_gambling"],
    ),
    ("I have only the decision's id", &[Type("DECISION")], &["iauth_limit", "spending limit"]),
    (
        "I have only the event's id",
        &[Type("evt_iauth_country")],
        &["merchants in the country NG are blocked"],
    ),
    (
        "I have only the transaction's id",
        &[Type("ipi_iauth_captured")],
        &["iauth_captured", "captured 100.00 USD"],
    ),
    ("What is left on the card?", &[Type("ic_main")], &["400.00 USD of 500.00 USD used", "100.00 USD left"]),
    ("What is still open on the card?", &[Type("ic_main")], &["Open holds", "iauth_held", "300.00 USD"]),
    (
        "Was it captured?",
        &[Type("ic_main"), Click("100.00 USD; 100.00 of")],
        &["captured", "-100.00 USD", "ipi_iauth_captured"],
    ),
    (
        "Did Stripe do what we said?",
        &[Type("iauth_disagrees")],
        &["Stripe declined", "against the decision here"],
    ),
    ("A capture exceeded the hold", &[Type("iauth_over")], &["20.00 USD over the approved amount"]),
    (
        "Which purchases of the cardholder were declined?",
        &[Type("ich_main")],
        &["gambling", "lifetime limit is used; at most"],
    ),
    ("Why is the card declined every time?", &[Type("ic_frozen")], &["the card is paused"]),
    ("What happened in the group fuel?", &[Type("fuel")], &["group fuel", "80.00 USD lifetime limit"]),
    (
        "Show all declines",
        &[Click("Declined")],
        &["merchants in the country NG are blocked", "the card is paused"],
    ),
    ("Which approvals are partial?", &[Click("Partial")], &["approved in part: 80.00 USD"]),
    ("Who changed the policy?", &[Click("Policies")], &["policy.yaml", "in force", "local"]),
    (
        "What did the change change?",
        &[Click("Policies"), Click("in force")],
        &["-    - {amount: 40000, interval: all_time}", "+    - {amount: 50000, interval: all_time}"],
    ),
    (
        "Is the node well, and what was slow?",
        &[Click("Cluster")],
        &["ready", "Slowest decisions of the last hour", "Stripe did otherwise"],
    ),
    (
        "Which shared limit ran out, and who can raise it?",
        &[Type("iauth_shared")],
        &["900.00 of the 1000.00 USD lifetime limit of budget engineering is used", "ask ada, grace"],
    ),
    (
        "What can I write to its cardholder? Not that it is the card's limit",
        &[Type("iauth_shared")],
        &["limit of 1000.00 USD of the budget that this card shares with others"],
    ),
    (
        "What is left of the budget?",
        &[Click("Budgets"), Click("engineering")],
        &["900.00 USD of 1000.00 USD used", "100.00 USD left", "ada, grace"],
    ),
    ("Who used the budget?", &[Type("engineering")], &["Last movements", "iauth_team", "ic_team"]),
    (
        "How much of the company's budget is engineering's?",
        &[Click("Budgets"), Click("company")],
        &["Budgets below", "engineering", "25 %", "100 %", "Together, the budgets below have 150 %"],
    ),
    (
        "Which budgets does the card charge?",
        &[Type("ic_team"), Click("engineering"), Click("company")],
        &["Budget", "900.00 USD of 4000.00 USD used"],
    ),
    (
        "Has the customer any money left?",
        &[Type("budget:customer/acme")],
        &["Available", "20.00 USD", "30.00 USD of 50.00 USD credited used", "first payment", "by local"],
    ),
    (
        "Why was the customer's purchase declined?",
        &[Type("iauth_poor")],
        &[
            "30.00 of the 50.00 USD credited of budget customer (acme) is used",
            "it exceeds the balance that is left",
        ],
    ),
];

/// Purchases of every kind, and what became of them.
async fn past(site: &Site, node: &mut Node) -> String {
    publish(site, node, POLICY).await;
    let ask = async |card: &str, authorization: &str, amount: i64, change: &dyn Fn(&mut Value)| {
        let mut event = purchase_in("usd", card, authorization, amount);
        event["data"]["object"]["cardholder"] = "ich_main".into();
        event["data"]["object"]["card"]["cardholder"]["id"] = "ich_main".into();
        change(&mut event["data"]["object"]);
        Verdict::of(&node.deliver(event.to_string().as_bytes()).await)
    };
    let group = |name: &'static str| {
        move |object: &mut Value| object["card"]["metadata"]["tollgate_group"] = name.into()
    };
    assert!(ask("ic_main", "iauth_captured", 10_000, &|_| ()).await.approved);
    confirm(node, "ic_main", "iauth_captured", 10_000, true).await;
    assert_eq!(node.deliver(&capture("ic_main", "iauth_captured", 10_000)).await.status, 200);
    assert!(ask("ic_main", "iauth_held", 30_000, &|_| ()).await.approved);
    let limit = ask("ic_main", "iauth_limit", 20_000, &|_| ()).await;
    assert_eq!(limit.reason, "spending_limit");
    let gambling =
        |object: &mut Value| object["merchant_data"]["category"] = "betting_casino_gambling".into();
    assert_eq!(ask("ic_main", "iauth_rule", 100, &gambling).await.reason, "rule");
    let abroad = |object: &mut Value| object["merchant_data"]["country"] = "NG".into();
    assert_eq!(ask("ic_other", "iauth_country", 100, &abroad).await.reason, "country_blocked");
    assert_eq!(ask("ic_frozen", "iauth_frozen", 100, &group("frozen")).await.reason, "card_paused");
    let partial = |object: &mut Value| {
        group("fuel")(object);
        object["pending_request"]["is_amount_controllable"] = true.into();
    };
    assert_eq!(ask("ic_fuel", "iauth_partial", 9_000, &partial).await.amount, Some(8_000));
    assert!(ask("ic_disagrees", "iauth_disagrees", 500, &|_| ()).await.approved);
    confirm(node, "ic_disagrees", "iauth_disagrees", 500, false).await;
    assert!(ask("ic_over", "iauth_over", 10_000, &|_| ()).await.approved);
    confirm(node, "ic_over", "iauth_over", 10_000, true).await;
    assert_eq!(node.deliver(&capture("ic_over", "iauth_over", 12_000)).await.status, 200);
    shared(node, &ask, &group).await;
    limit.decision
}

/// Purchases on a budget that two cards share, and on a balance.
async fn shared<G: Fn(&mut Value)>(
    node: &Node,
    ask: &impl AsyncFn(&str, &str, i64, &dyn Fn(&mut Value)) -> Verdict,
    group: &impl Fn(&'static str) -> G,
) {
    assert!(ask("ic_team", "iauth_team", 90_000, &group("team")).await.approved);
    assert_eq!(ask("ic_mate", "iauth_shared", 20_000, &group("team")).await.reason, "spending_limit");
    let credit = json!({"id": "p1", "amount": 5_000, "currency": "usd", "note": "first payment"});
    let credit = credit.to_string();
    let head = request(
        "POST",
        "/v1/budgets/customer/acme/credits",
        &format!("Content-Length: {}\r\n", credit.len()),
    );
    let head = String::from_utf8(head).unwrap();
    assert_eq!(Client::connect(node.admin).await.exchange(format!("{head}{credit}")).await.status, 200);
    let acme = |object: &mut Value| {
        group("prepaid")(object);
        object["card"]["metadata"]["customer"] = "acme".into();
    };
    assert!(ask("ic_acme", "iauth_rich", 3_000, &acme).await.approved);
    assert_eq!(ask("ic_acme", "iauth_poor", 3_000, &acme).await.reason, "insufficient_balance");
}

/// What Stripe reports of an authorization afterwards.
async fn confirm(node: &Node, card: &str, authorization: &str, amount: i64, approved: bool) {
    let mut created = event("authorization-created-approved");
    created["id"] = json!(format!("evt_created_{authorization}"));
    let object = &mut created["data"]["object"];
    object["id"] = json!(authorization);
    object["card"]["id"] = json!(card);
    object["currency"] = json!("usd");
    object["amount"] = json!(if approved { amount } else { 0 });
    object["approved"] = json!(approved);
    object["status"] = json!(if approved { "pending" } else { "closed" });
    let reason = if approved { "webhook_approved" } else { "insufficient_funds" };
    object["request_history"] =
        json!([{"amount": amount, "approved": approved, "reason": reason, "created": 1_790_000_000}]);
    let response = node.deliver(created.to_string().as_bytes()).await;
    assert_eq!(response.body, r#"{"received":true}"#, "{authorization}");
    let view = node.authorization(authorization).await;
    assert_eq!(view["outcomes"].as_array().unwrap().len(), 1, "{view}");
}

/// Puts another policy in force.
async fn publish(site: &Site, node: &mut Node, text: &str) {
    fs::write(site.path("policy.new"), text).unwrap();
    fs::rename(site.path("policy.new"), site.path("policy.yaml")).unwrap();
    node.process.signal(Signal::HUP);
    node.process.logged("a new policy is in force").await;
}

/// A browser without JavaScript: where it is, and what it got there.
struct Browser<'a> {
    node: &'a Node,
    path: String,
    page: String,
}

impl<'a> Browser<'a> {
    async fn open(node: &'a Node) -> Self {
        let mut browser = Self { node, path: String::new(), page: String::new() };
        browser.go("/console").await;
        browser
    }

    async fn go(&mut self, path: &str) {
        path.clone_into(&mut self.path);
        for _ in 0..3 {
            let response =
                Client::connect(self.node.admin).await.exchange(request("GET", &self.path, "")).await;
            if let Some(location) = response.header("location") {
                location.clone_into(&mut self.path);
                continue;
            }
            assert_eq!(response.status, 200, "{}: {}", self.path, response.body);
            self.page = response.body;
            return;
        }
        panic!("{path} leads round and round");
    }

    async fn take(&mut self, step: &Step, decision: &str) {
        match step {
            Type(text) => {
                assert!(self.page.contains("name=\"q\""), "{} has no box", self.path);
                self.go(&format!("/console?q={}", text.replace("DECISION", decision))).await;
            }
            Click(text) => {
                let link = self.link(text);
                self.go(&link).await;
            }
        }
    }

    /// Where the first link leads whose text, or whose cell of a table, has this in it.
    fn link(&self, text: &str) -> String {
        let links = self.page.split("<a ").skip(1).filter_map(|link| {
            let (attributes, rest) = link.split_once('>')?;
            let (shown, behind) = rest.split_once("</a>")?;
            let cell =
                behind.split("</td>").next().filter(|cell| !cell.contains("<section")).unwrap_or_default();
            let path = attributes.split("href=\"").nth(1)?.split('"').next()?;
            (shown.contains(text) || cell.contains(text)).then(|| path.replace("&amp;", "&"))
        });
        let found: Vec<String> = links.collect();
        assert!(!found.is_empty(), "no link {text:?} on {}: {}", self.path, self.page);
        found[0].clone()
    }
}

/// Debian's Chromium.
fn chromium() -> Option<PathBuf> {
    let found = needs::find("chromium");
    let wanted = Program { name: "Chromium", install: "apt-get install chromium" };
    needs::has(wanted, found.is_some()).then_some(found).flatten()
}

/// The page as Chromium has it after it was loaded and its script has run, and what it wrote to its console.
async fn shown(chromium: &PathBuf, node: &Node, path: &str) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    // It is ended by somebody else if it does not end by itself.
    let mut command = Command::new("timeout");
    command
        .arg("50")
        .arg(chromium)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args(["--disable-extensions", "--enable-logging=stderr", "--log-level=0", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}{path}", node.admin));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = within("Chromium shows a page", output).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn support_tickets_are_answered_in_three_steps_each() {
    let Some(chromium) = chromium() else { return };
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), POLICY.replace("50000", "40000")).unwrap();
    let mut node = site.start().await;
    let decision = past(&site, &mut node).await;
    for (ticket, steps, expected) in TICKETS {
        assert!(steps.len() <= 3, "{ticket}");
        let mut browser = Browser::open(&node).await;
        for step in steps {
            browser.take(step, &decision).await;
        }
        let (dom, log) = shown(&chromium, &node, &browser.path).await;
        for text in expected {
            assert!(dom.contains(text), "{ticket}: {} does not show {text:?}:\n{dom}", browser.path);
        }
        assert!(
            dom.contains("GET /v1/") || dom.contains("GET /metrics"),
            "{ticket}: no call of the API is named"
        );
        let complaints = ["Content Security Policy", "Uncaught", "Refused to"];
        let complaint = log.lines().find(|line| complaints.iter().any(|word| line.contains(word)));
        assert_eq!(complaint, None, "{ticket}");
    }
    node.stop().await;
}

/// The rows that come while the page is open.
#[tokio::test]
async fn new_decisions_come_as_events_for_the_open_page() {
    let site = Site::new(&[]);
    let node = site.start().await;
    let page = node.get("/console?outcome=approved").await.body;
    let live = page.split("data-live=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let events = node.get(&live);
    let asks = async {
        for (authorization, amount) in [("iauth_declined", 99_999), ("iauth_new", 100)] {
            node.deliver(purchase_in("usd", "ic_live", authorization, amount).to_string().as_bytes()).await;
        }
    };
    let (events, ()) = tokio::join!(events, asks);
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert!(events.body.contains("event: rows\ndata: <li id=\"d-iauth_new\">"), "{}", events.body);
    assert!(!events.body.contains("iauth_declined"), "the filter of the page holds for what comes");
    let id = events.body.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    node.deliver(purchase_in("usd", "ic_live", "iauth_next", 100).to_string().as_bytes()).await;
    let known = format!("last-event-id: {id}\r\n");
    let next = Client::connect(node.admin).await.exchange(request("GET", &live, &known)).await;
    assert!(next.body.contains("d-iauth_next") && !next.body.contains("d-iauth_new\""), "{}", next.body);
    node.stop().await;
}
