//! Every query of every board against a real Prometheus that scrapes a real node under load: an error or an answer
//! without a number fails.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tollgate::clock;
use tollgate_dashboards::boards;

use super::{panels, prometheus::has, read};
use crate::{
    client::post,
    deliveries::{capture, event, purchase, signature},
    process::{Node, Site, within},
};

/// How often Prometheus scrapes and evaluates here, instead of twice a minute.
const EVERY: &str = "200ms";

#[tokio::test]
async fn every_panel_shows_something_when_the_node_is_busy() {
    if !has("prometheus") {
        return;
    }
    let site = Site::new(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000"), ("TOLLGATE_CARD_VELOCITY", "20/1h")]);
    let node = site.start().await;
    let prometheus =
        within("Prometheus starts", Prometheus::start(&site.path("prometheus"), node.admin)).await;
    let mut round = 0;
    for recorded in ["tollgate:slo_budget_left:ratio", "count_over_time(tollgate_ready[5s]) > 10"] {
        within(recorded, async {
            while prometheus.ask(recorded).await.is_empty() {
                round += 1;
                busy(&node, round).await;
            }
        })
        .await;
    }

    let mut asked = 0;
    let mut empty = Vec::new();
    for board in boards() {
        let board: Value = serde_json::from_str(&read(&format!("dashboards/{}.json", board.file))).unwrap();
        for choice in prometheus.choices(&board["templating"]["list"]).await {
            for panel in panels(&board).iter().filter(|panel| panel["type"] != "row") {
                for target in panel["targets"].as_array().unwrap() {
                    let query = choice.fill(target["expr"].as_str().unwrap());
                    let numbers = prometheus.ask(&query).await;
                    if !numbers.iter().any(|number| number.is_finite()) {
                        empty
                            .push(format!("{}, {}: {numbers:?} for {query}", board["title"], panel["title"]));
                    }
                    asked += 1;
                }
            }
        }
        round += 1;
        busy(&node, round).await;
    }
    assert!(empty.is_empty(), "{} of {asked} queries have no number:\n{}", empty.len(), empty.join("\n"));
    assert!(asked > 160, "only {asked} queries were asked");
    drop(prometheus);
    node.stop().await;
}

/// A bit of everything that a node can be sent.
async fn busy(node: &Node, round: usize) {
    for place in 0..4 {
        let (card, authorization) = (format!("ic_busy_{round}"), format!("iauth_busy_{round}_{place}"));
        let question = purchase(&card, &authorization, 400);
        assert_eq!(node.deliver(&question).await.status, 200);
        assert_eq!(node.deliver(&question).await.status, 200, "asked again");
        for (is_update, approved) in [("created", place < 2), ("updated", true)] {
            let told = told(&card, &authorization, is_update, approved);
            assert_eq!(node.deliver(&told).await.status, 200);
        }
    }
    let taken = capture(&format!("ic_busy_{round}"), &format!("iauth_busy_{round}_0"), 700);
    assert_eq!(node.deliver(&taken).await.status, 200, "more than was held");
    assert_eq!(node.deliver(b"no event").await.status, 400);
    let body = purchase("ic_x", "iauth_x", 1);
    let unsigned = post("/webhook", &signature("whsec_of_a_stranger", &body), &body);
    assert_eq!(node.connect().await.exchange(unsigned).await.status, 400);
}

/// What Stripe says became of an authorization.
fn told(card: &str, authorization: &str, kind: &str, approved: bool) -> Vec<u8> {
    let now = clock::now().as_seconds();
    let mut event = event("authorization-created-approved");
    event["created"] = json!(now);
    event["id"] = json!(format!("evt_{kind}_{authorization}"));
    event["type"] = json!(format!("issuing_authorization.{kind}"));
    let object = &mut event["data"]["object"];
    object["id"] = json!(authorization);
    object["card"]["id"] = json!(card);
    object["currency"] = json!("usd");
    object["created"] = json!(now);
    object["approved"] = json!(approved);
    object["amount"] = json!(400);
    object["request_history"] =
        json!([{"amount": 400, "approved": approved, "created": now, "reason": "webhook_approved"}]);
    event.to_string().into_bytes()
}

/// A Prometheus with the rules of the repository, which scrapes one node; ended when it is dropped.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

/// Values of a board's variables.
struct Choice {
    job: String,
    node: String,
}

impl Choice {
    /// The query as Grafana sends it.
    fn fill(&self, query: &str) -> String {
        query
            .replace("$__rate_interval", "10s")
            .replace("$__range", "1m")
            .replace("$job", &self.job)
            .replace("$node", &self.node)
    }
}

impl Prometheus {
    /// Returns when it is ready. Another process may take the port that was free a moment ago: then another is tried.
    async fn start(home: &Path, node: SocketAddr) -> Self {
        fs::create_dir_all(home).unwrap();
        for rules in ["slo.rules.yml", "alerts.rules.yml"] {
            let text = read(&format!("dashboards/prometheus/{rules}"));
            let text = text.replace("interval: 5m", "interval: 1s").replace("interval: 30s", "interval: 1s");
            fs::write(home.join(rules), text).unwrap();
        }
        let configuration = read("dashboards/prometheus/prometheus.yml")
            .replace("_interval: 15s", &format!("_interval: {EVERY}"))
            .replace("127.0.0.1:9464", &node.to_string());
        assert!(configuration.contains(EVERY) && configuration.contains(&node.to_string()));
        fs::write(home.join("prometheus.yml"), configuration).unwrap();
        loop {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
            let process = Command::new("prometheus")
                .arg("--config.file=prometheus.yml")
                .arg("--storage.tsdb.path=data")
                .arg(format!("--web.listen-address={address}"))
                .current_dir(home)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut prometheus = Self { process, address };
            while prometheus.process.try_wait().unwrap().is_none() {
                if prometheus.get("/-/ready").await.is_some_and(|(status, _)| status == 200) {
                    return prometheus;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Every number that a query gives over the last ten seconds.
    async fn ask(&self, query: &str) -> Vec<f64> {
        let now = clock::now().as_micros() / 1_000;
        let time = |millis: i64| format!("{}.{:03}", millis / 1_000, millis % 1_000);
        let fields = [("query", query), ("start", &time(now - 10_000)), ("end", &time(now)), ("step", "1")];
        let answer = self.json(&format!("/api/v1/query_range?{}", encoded(&fields))).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap();
        let values = series.iter().flat_map(|one| one["values"].as_array().unwrap());
        values.map(|value| value[1].as_str().unwrap().parse().unwrap()).collect()
    }

    /// Everything that a reader may choose: all, and each value that a variable finds.
    async fn choices(&self, variables: &Value) -> Vec<Choice> {
        let mut found = Vec::new();
        for variable in variables.as_array().unwrap().iter().filter(|one| one["type"] == "query") {
            let query = variable["definition"].as_str().unwrap().replace("$job", ".*");
            let inside = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
            let (series, label) = inside.rsplit_once(", ").unwrap();
            let fields = encoded(&[("match[]", series)]);
            let answer = self.json(&format!("/api/v1/label/{label}/values?{fields}")).await;
            let values = answer["data"].as_array().unwrap();
            assert!(!values.is_empty(), "{query} finds nothing");
            found.push(values.iter().map(|value| value.as_str().unwrap().to_owned()).collect::<Vec<_>>());
        }
        let [jobs, nodes] = found.try_into().unwrap();
        let mut choices = vec![Choice { job: ".*".to_owned(), node: ".*".to_owned() }];
        for job in &jobs {
            choices.extend(nodes.iter().map(|node| Choice { job: job.clone(), node: node.clone() }));
        }
        choices
    }

    async fn json(&self, path: &str) -> Value {
        let (_, body) = self.get(path).await.unwrap_or_else(|| panic!("Prometheus does not answer {path}"));
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}"))
    }

    /// Asked in HTTP/1.0, so that the answer comes whole and ends with its connection.
    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn encoded(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}
