//! Every query of every board against a real Prometheus that scrapes three real nodes under the load test, while one of
//! them is killed and comes back: an error or an answer without a number fails, and so does a board that missed it.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{spawn_blocking, yield_now},
};
use tollgate::clock;
use tollgate_dashboards::{Board, boards};
use tollgate_loadtest::{generator::Target, run::Against};

use super::{panels, prometheus::has, read};
use crate::{
    cluster::Cluster,
    deliveries::SECRET,
    loadtest::{honest, play, scenario},
    process::within,
};

/// How often Prometheus scrapes and evaluates here, instead of twice a minute.
const EVERY: &str = "500ms";
/// The load, in questions a second, and how long it lasts: long enough for both kills on a machine that is busy.
const RATE: f64 = 40.0;
const SECONDS: f64 = 45.0;

#[tokio::test]
async fn every_panel_shows_something_of_busy_nodes_one_of_which_is_killed() {
    if !has("prometheus") {
        return;
    }
    let mut scenario = scenario("smoke", RATE, SECONDS);
    scenario.stripe.retry = true;
    // Of two nodes that are asked the same at once, one may stand in where the other has decided: a known gap, which
    // is not for the boards to find.
    scenario.stripe.duplicated_questions = 0.0;
    // So many that there are always some that are new to a node.
    scenario.cards = 400;
    let limits = scenario.limits;
    let [each, all] = [limits.per_authorization, limits.all_time].map(|limit| limit.unwrap().to_string());
    let home = tempfile::tempdir().unwrap();
    let [candidate, endpoints] = ["next.yaml", "webhooks.yaml"].map(|name| home.path().join(name));
    fs::write(&candidate, "version: 1\ndefault: {spending_limits: [{amount: 1000, interval: daily}]}\n")
        .unwrap();
    fs::write(&endpoints, endpoints_of_nobody()).unwrap();
    let settings = [
        ("TOLLGATE_CARD_LIMIT_PER_AUTHORIZATION", &*each),
        ("TOLLGATE_CARD_LIMIT_ALL_TIME", &*all),
        ("TOLLGATE_SHADOW_POLICY", candidate.to_str().unwrap()),
        ("TOLLGATE_WEBHOOKS", endpoints.to_str().unwrap()),
    ];
    let Some(mut cluster) = Cluster::start(3, &settings).await else { return };
    let admins: Vec<SocketAddr> = cluster.running().map(|node| node.admin).collect();
    let prometheus = within("Prometheus starts", Prometheus::start(home.path(), &admins)).await;
    let began = clock::now().as_micros() / 1_000;

    let target = |address: SocketAddr| Target { address, host: address.to_string(), path: "/webhook".into() };
    let against = Against::There {
        targets: cluster.targets().into_iter().map(target).collect(),
        admins: vec![admins[0]],
        token: None,
        secrets: SECRET.to_owned(),
    };
    let directory = home.path().to_owned();
    let load = spawn_blocking(move || play(scenario, against, &directory));
    let killed = admins[1];
    cluster.keep_addresses(1);
    // Twice: those who decide for the killed node a second time have cards in memory on which it has decided since.
    for _ in 0..2 {
        prometheus.until("min(tollgate_members) == 3 and min(tollgate_ready) == 1").await;
        let decides = "sum(tollgate_journal_batch_entries_sum";
        prometheus.until(&format!("{decides}{{instance=\"{killed}\"}}) > 100")).await;
        // It hangs before it dies: what is forwarded to it in that time is not answered.
        cluster.node(1).process.signal(Signal::STOP);
        prometheus.until("sum(tollgate_forwards_total{result!~\"answered|undecided\"}) > 0").await;
        cluster.take(1).kill().await;
        prometheus.until("max(tollgate_members) == 2").await;
        prometheus.until(&format!("{decides}) - {decides} offset 2s) > 50")).await;
        cluster.start_node(1).await;
    }
    cluster.settled().await;
    for recorded in ["tollgate:slo_budget_left:ratio", "min(count_over_time(tollgate_ready[5s])) > 5"] {
        prometheus.until(recorded).await;
    }

    let mut asked = 0;
    let mut empty = Vec::new();
    for board in boards() {
        let board: Value = serde_json::from_str(&read(&format!("dashboards/{}.json", board.file))).unwrap();
        let choices = prometheus.choices(&board["templating"]["list"]).await;
        assert_eq!(choices.len(), 1 + admins.len(), "all nodes, and each");
        for choice in choices {
            for panel in panels(&board).iter().filter(|panel| panel["type"] != "row") {
                for target in panel["targets"].as_array().unwrap() {
                    let query = choice.fill(target["expr"].as_str().unwrap());
                    let shown = prometheus.ask(&query, began).await;
                    if !shown.iter().flat_map(|series| &series.values).any(|number| number.is_finite()) {
                        empty.push(format!("{}, {} has nothing for {query}", board["title"], panel["title"]));
                    }
                    asked += 1;
                }
            }
        }
    }
    assert!(empty.is_empty(), "{} of {asked} queries have no number:\n{}", empty.len(), empty.join("\n"));
    assert!(asked > 320, "only {asked} queries were asked");

    // What the kills have done is on the boards that are to show it.
    let of = |title: &'static str, legend: &'static str| prometheus.panel(title, legend, began);
    let members = of("Members", "{{instance}}").await;
    assert!(members.len() == 3 && members.iter().all(|node| node.has(3.0)), "{members:?}");
    assert!(members.iter().any(|node| node.has(2.0)), "nobody was missed: {members:?}");
    let conflicts = of("Journal errors", "conflict").await;
    assert!(conflicts.iter().any(Series::is_above_0), "{conflicts:?}");
    let restarts = of("Restarts", "restarts").await;
    assert!(restarts.iter().any(|one| one.has(2.0)), "{restarts:?}");
    let forwards = of("Forwards", "{{result}}").await;
    let was = |is_answered: bool| {
        let mut results = forwards.iter().filter(|one| one.is_above_0());
        results.any(|one| (one.labels["result"] == "answered") == is_answered)
    };
    assert!(was(true) && was(false), "{forwards:?}");
    let holds = of("Open holds", "{{instance}}").await;
    assert!(holds.len() == 3 && holds.iter().all(Series::is_above_0), "{holds:?}");
    println!("{asked} queries have numbers");
    drop(prometheus);
    honest(&load.await.unwrap());
}

/// As many endpoints as there may be, so that each node delivers to some; nobody listens there.
fn endpoints_of_nobody() -> String {
    let endpoint = |number: usize| {
        format!("  nobody-{number}: {{url: \"http://127.0.0.1:9/\", secret: whsec_for_local_tests_only}}\n")
    };
    format!("version: 1\nendpoints:\n{}", (0..16).map(endpoint).collect::<String>())
}

/// A Prometheus with the rules of the repository, which scrapes these nodes; ended when it is dropped.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

/// One line of a panel.
#[derive(Debug)]
struct Series {
    labels: Value,
    values: Vec<f64>,
}

impl Series {
    fn has(&self, number: f64) -> bool {
        self.values.iter().any(|value| (value - number).abs() < 1e-9)
    }

    fn is_above_0(&self) -> bool {
        self.values.iter().any(|value| *value > 0.0)
    }
}

/// Values of a board's variables.
struct Choice {
    job: String,
    node: String,
}

impl Choice {
    fn all() -> Self {
        Self { job: ".*".to_owned(), node: ".*".to_owned() }
    }

    /// The query as Grafana sends it.
    fn fill(&self, query: &str) -> String {
        query
            .replace("$__rate_interval", "10s")
            .replace("$__range", "2m")
            .replace("$job", &self.job)
            .replace("$node", &self.node)
    }
}

impl Prometheus {
    /// Returns when it is ready. Another process may take the port that was free a moment ago: then another is tried.
    async fn start(home: &Path, nodes: &[SocketAddr]) -> Self {
        for rules in ["slo.rules.yml", "alerts.rules.yml"] {
            let text = read(&format!("dashboards/prometheus/{rules}"));
            let text = text.replace("interval: 5m", "interval: 1s").replace("interval: 30s", "interval: 1s");
            fs::write(home.join(rules), text).unwrap();
        }
        let nodes = nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join("', '");
        let configuration = read("dashboards/prometheus/prometheus.yml")
            .replace("_interval: 15s", &format!("_interval: {EVERY}"))
            .replace("127.0.0.1:9464", &nodes);
        assert!(configuration.contains(EVERY) && configuration.contains(&nodes));
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
                yield_now().await;
            }
        }
    }

    /// Waits until a query gives anything at all.
    async fn until(&self, query: &str) {
        let fields = encoded(&[("query", query)]);
        within(query, async {
            loop {
                let answer = self.json(&format!("/api/v1/query?{fields}")).await;
                assert_eq!(answer["status"], "success", "{query}: {answer}");
                if answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty()) {
                    return;
                }
                yield_now().await;
            }
        })
        .await;
    }

    /// What a query of a panel gives since then, for all nodes.
    async fn panel(&self, title: &str, legend: &str, since_ms: i64) -> Vec<Series> {
        let boards = boards();
        let targets = boards.iter().flat_map(Board::panels).filter(|panel| panel.title == title);
        let query = targets
            .flat_map(|panel| panel.targets.iter().zip(panel.queries()))
            .find_map(|(target, query)| (target.legend == legend).then_some(query))
            .unwrap_or_else(|| panic!("no panel is called {title} and has {legend}"));
        self.ask(&Choice::all().fill(&query), since_ms).await
    }

    /// What a query gives since then, twice for each scrape: nothing that was scraped is passed over.
    async fn ask(&self, query: &str, since_ms: i64) -> Vec<Series> {
        let now = clock::now().as_micros() / 1_000;
        let time = |millis: i64| format!("{}.{:03}", millis / 1_000, millis % 1_000);
        let fields = [("query", query), ("start", &time(since_ms)), ("end", &time(now)), ("step", "0.25")];
        let answer = self.json(&format!("/api/v1/query_range?{}", encoded(&fields))).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap();
        let number = |value: &Value| value[1].as_str().unwrap().parse().unwrap();
        let values = |one: &Value| one["values"].as_array().unwrap().iter().map(number).collect();
        series.iter().map(|one| Series { labels: one["metric"].clone(), values: values(one) }).collect()
    }

    /// Everything that a reader may choose: all, and each value that a variable finds.
    async fn choices(&self, variables: &Value) -> Vec<Choice> {
        let mut found = Vec::new();
        for variable in variables.as_array().unwrap().iter().filter(|one| one["type"] == "query") {
            let query = variable["query"]["query"].as_str().unwrap().replace("$job", ".*");
            let inside = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
            let (series, label) = inside.rsplit_once(", ").unwrap();
            let fields = encoded(&[("match[]", series)]);
            let answer = self.json(&format!("/api/v1/label/{label}/values?{fields}")).await;
            let values = answer["data"].as_array().unwrap();
            assert!(!values.is_empty(), "{query} finds nothing");
            found.push(values.iter().map(|value| value.as_str().unwrap().to_owned()).collect::<Vec<_>>());
        }
        let [jobs, nodes] = found.try_into().unwrap();
        let mut choices = vec![Choice::all()];
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
