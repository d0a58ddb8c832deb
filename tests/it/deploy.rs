//! The files in `deploy/`: what they set is what a node takes, their times fit each other, and the cluster on one machine
//! tells what happens to it and leaves nothing behind. The balancers in front of real nodes are in `cluster::balancers`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that is wrong shall stop"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    postgres::{is_installed, open_directory},
    process::all_have_gone_from,
};

/// Stripe hangs up.
const STRIPE_WAITS: Duration = Duration::from_secs(2);

fn deployed(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)).unwrap()
}

fn yaml(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&deployed(file)).unwrap()
}

/// A node as one of the files runs it.
struct Deployed {
    file: &'static str,
    settings: Vec<(String, String)>,
    /// How long it has to end.
    grace: Duration,
}

impl Deployed {
    /// What holds on it, as the program itself says, which must find no mistake.
    fn effective(&self) -> impl Fn(&str) -> String + use<> {
        let here = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = here.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let settings = self.settings.iter().map(|(name, value)| match &**name {
            name if name.ends_with("_FILE") => (name, file(name, &secret(value))),
            "TOLLGATE_POLICY" => ("TOLLGATE_POLICY", file("policy.yaml", "version: 1\n")),
            name => (name, value.clone()),
        });
        let mut config = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output = config.args(["config", "--json"]).env_clear().envs(settings).output().unwrap();
        assert!(output.status.success(), "{}: {}", self.file, String::from_utf8_lossy(&output.stderr));
        let effective: Value = serde_json::from_slice(&output.stdout).unwrap();
        move |name| {
            let setting = effective.as_array().unwrap().iter().find(|setting| setting["name"] == name);
            setting.unwrap()["value"].as_str().unwrap_or_default().to_owned()
        }
    }

    fn has(&self, name: &str) -> bool {
        self.settings.iter().any(|(set, _)| set.trim_end_matches("_FILE") == name)
    }
}

/// What is in a file with a secret: of the manifest's own, what it says.
fn secret(path: &str) -> String {
    let kubernetes = yaml("kubernetes.yaml");
    let own = path.strip_prefix("/etc/tollgate/secrets/").map(|name| {
        let pod = |object: &Value| object["spec"]["template"]["spec"]["volumes"].as_array().cloned();
        let volumes: Vec<Value> = kubernetes.iter().filter_map(pod).flatten().collect();
        let items = volumes.iter().find_map(|volume| volume["secret"]["items"].as_array()).unwrap();
        let key =
            &items.iter().find(|item| item["path"] == name).unwrap_or_else(|| panic!("no {path}"))["key"];
        let secrets = &kubernetes.iter().find(|object| object["kind"] == "Secret").unwrap()["stringData"];
        secrets[key.as_str().unwrap()].as_str().unwrap().to_owned()
    });
    own.unwrap_or_else(|| "whsec_of_a_file_with_enough_letters".to_owned())
}

fn pairs(map: &Value) -> Vec<(String, String)> {
    map.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `NAME=VALUE`s, as the file of the image and that of systemd write them.
fn assignments(text: &str) -> Vec<(String, String)> {
    let words = text.split_whitespace().map(|word| word.trim_start_matches("Environment="));
    let pairs = words.filter_map(|word| word.split_once('='));
    let settings = pairs.filter(|(name, _)| name.starts_with("TOLLGATE_") || name.starts_with("STRIPE_"));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The time behind a word that is there once.
fn time(text: &str, word: &str) -> Duration {
    let found: Vec<&str> = text.split(word).skip(1).map(str::trim_start).collect();
    assert_eq!(found.len(), 1, "`{word}`");
    let time = found[0].split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap();
    humantime::parse_duration(time).unwrap()
}

fn all() -> Vec<Deployed> {
    let service = deployed("tollgate.service");
    let mut all = vec![Deployed {
        file: "tollgate.service",
        settings: assignments(&service),
        grace: time(&service, "TimeoutStopSec="),
    }];
    let image = assignments(&deployed("Dockerfile"));
    let compose = yaml("compose.yaml").remove(0);
    for n in 1..=3 {
        let service = &compose["services"][format!("tollgate-{n}")];
        let mut settings = image.clone();
        settings.extend(pairs(&service["environment"]));
        let grace = humantime::parse_duration(service["stop_grace_period"].as_str().unwrap()).unwrap();
        all.push(Deployed { file: "compose.yaml", settings, grace });
    }
    let kubernetes = yaml("kubernetes.yaml");
    let of_kind = |kind: &str| kubernetes.iter().find(|object| object["kind"] == kind).unwrap();
    let pod = &of_kind("StatefulSet")["spec"]["template"]["spec"];
    let variables = pod["containers"][0]["env"].as_array().unwrap().iter().map(|variable| {
        // Of what only the pod knows, the name.
        let value =
            variable["value"].as_str().unwrap_or("tollgate-0").replace("$(TOLLGATE_NODE_ID)", "tollgate-0");
        (variable["name"].as_str().unwrap().to_owned(), value)
    });
    let settings = image.into_iter().chain(variables).collect();
    let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap());
    all.push(Deployed { file: "kubernetes.yaml", settings, grace });
    all
}

#[test]
fn every_deployed_setting_is_one_that_a_node_takes_and_every_node_has_time_to_end() {
    let all = all();
    assert_eq!(all.len(), 5);
    for deployed in all {
        let effective = deployed.effective();
        let time = |name: &str| humantime::parse_duration(&effective(name)).unwrap();
        let to_end = time("TOLLGATE_DRAIN_DELAY") + time("TOLLGATE_DRAIN_TIMEOUT") + STRIPE_WAITS;
        assert!(deployed.grace > to_end, "{}: {:?} to end, of {to_end:?}", deployed.file, deployed.grace);
        let admin: std::net::SocketAddr = effective("TOLLGATE_ADMIN_LISTEN").parse().unwrap();
        assert!(admin.ip().is_loopback() || deployed.has("TOLLGATE_ADMIN_TOKEN"), "{}", deployed.file);
        let is_clustered = deployed.has("TOLLGATE_PEER_LISTEN");
        assert_eq!(is_clustered, effective("TOLLGATE_JOURNAL").starts_with("postgres://"));
        assert_eq!(is_clustered, deployed.has("TOLLGATE_NODE_ID") && deployed.has("TOLLGATE_PEER_ADDRESS"));
        // A balancer that asks another node after one that hangs.
        assert_eq!(is_clustered, time("TOLLGATE_ANSWER_WITHIN") == Duration::from_millis(700));
    }
}

/// What a card with ten authorizations was measured to take (docs/operating.md, Sizing), and a node without cards.
const CARD_BYTES: u64 = 11 * 1_024;
const NODE_BYTES: u64 = 64 << 20;

#[test]
fn the_memory_that_is_deployed_holds_the_cards_that_a_node_keeps() {
    let limits = [
        ("tollgate.service", "MemoryMax=", "G", 1 << 30),
        ("kubernetes.yaml", "limits: {memory: ", "Gi}", 1 << 30),
    ];
    for (file, start, end, unit) in limits {
        let text = deployed(file);
        let limit = text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).unwrap().0;
        let limit = limit.parse::<u64>().unwrap() * unit;
        let cards = all().into_iter().find(|one| one.file == file).unwrap().effective()(
            "TOLLGATE_CARDS_RESIDENT_MAX",
        );
        let needed = NODE_BYTES + CARD_BYTES * cards.replace('_', "").parse::<u64>().unwrap();
        assert!(limit > needed, "{file}: {limit} bytes, of {needed}");
    }
}

#[test]
fn two_attempts_through_a_balancer_fit_in_what_stripe_waits_and_a_draining_node_is_noticed() {
    let answer_within = Duration::from_millis(700);
    let (nginx, haproxy) = (deployed("nginx.conf"), deployed("haproxy.cfg"));
    let patience = [
        ("nginx", time(&nginx, "proxy_connect_timeout"), time(&nginx, "proxy_read_timeout")),
        ("HAProxy", time(&haproxy, "timeout connect"), time(&haproxy, "timeout server")),
    ];
    for (balancer, connect, read) in patience {
        assert!(read > answer_within, "{balancer} hangs up before a node answers");
        assert!(
            connect + read + connect.max(read) < STRIPE_WAITS,
            "{balancer}: no time for a second attempt"
        );
    }
    let of_a_node = all().remove(0).effective();
    let [idle, drain] = ["TOLLGATE_IDLE_TIMEOUT", "TOLLGATE_DRAIN_DELAY"]
        .map(|name| humantime::parse_duration(&of_a_node(name)).unwrap());
    // The word is in a comment of each file, too.
    let after_comments = |file: &str| {
        file.lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .fold(String::new(), |text, line| text + line + "\n")
    };
    assert!(time(&after_comments(&nginx), "keepalive_timeout") < idle);
    assert!(time(&after_comments(&haproxy), "timeout http-keep-alive") < idle);
    // Two checks must fail.
    assert!(haproxy.contains("fall 2") && time(&haproxy, "check inter") * 3 < drain);
    let script = deployed("local-cluster.sh");
    assert!(time(&script, "TOLLGATE_DRAIN_DELAY:-") >= time(&haproxy, "check inter") * 3);
}

#[test]
fn who_asks_for_metrics_brings_the_token() {
    let prometheus = yaml("prometheus.yml").remove(0);
    let scrape = &prometheus["scrape_configs"][0];
    let nodes = all().into_iter().filter(|deployed| deployed.file == "compose.yaml");
    let targets: Vec<&str> =
        scrape["static_configs"][0]["targets"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for (node, target) in nodes.zip(targets) {
        let set = |name: &str| {
            let found = node.settings.iter().rfind(|(set, _)| set == name);
            found.map(|(_, value)| value.clone()).unwrap()
        };
        assert_eq!(scrape["authorization"]["credentials"], set("TOLLGATE_ADMIN_TOKEN"));
        let (name, port) = target.split_once(':').unwrap();
        assert_eq!((name, port), (&*set("TOLLGATE_NODE_ID"), &set("TOLLGATE_ADMIN_LISTEN")[8..]));
    }
    // Without it a scraper gets 401: no annotation can bring it.
    assert!(!deployed("kubernetes.yaml").contains("prometheus.io/scrape"));
}

/// The script with three nodes of this build, as it runs.
struct LocalCluster {
    script: Child,
    said: BufReader<ChildStderr>,
}

impl LocalCluster {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local-cluster.sh"))
            .args(["--binary", env!("CARGO_BIN_EXE_tollgate")])
            // Others may run it at the same time.
            .args(["--ports", &fastrand::u16(15_000..32_000).to_string()])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("TMPDIR", directory)
            .env("TOLLGATE_DRAIN_DELAY", "0s")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(script.stderr.take().unwrap());
        Self { script, said }
    }

    /// The next line that has this in it.
    fn line(&mut self, part: &str) -> String {
        let mut said = String::new();
        while self.said.read_line(&mut said).unwrap() > 0 {
            if let Some(line) = said.lines().next_back().filter(|line| line.contains(part)) {
                return line.to_owned();
            }
        }
        panic!("no `{part}` in\n{said}");
    }

    fn signal(&self, signal: &str) {
        kill(signal, &self.script.id().to_string());
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

fn kill(signal: &str, process: &str) {
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

#[tokio::test]
async fn a_local_cluster_tells_that_a_node_is_gone_and_removes_all_of_itself() {
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let mut cluster = LocalCluster::start(directory.path(), &["--balancer", "none"]);
    let process = cluster.line("tollgate-2 ").rsplit(' ').next().unwrap().to_owned();
    cluster.line("Ctrl-C stops everything");
    kill("-KILL", &process);
    cluster.line("tollgate-2 has ended (code 137)");
    cluster.signal("-TERM");
    assert_eq!(cluster.script.wait().unwrap().code(), Some(0));
    all_have_gone_from(directory.path()).await;
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_local_cluster_started_ends_when_the_script_is_killed() {
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let mut cluster = LocalCluster::start(directory.path(), &["--balancer", "none"]);
    cluster.line("Ctrl-C stops everything");
    cluster.script.kill().unwrap();
    all_have_gone_from(directory.path()).await;
}

#[test]
fn a_local_cluster_says_what_is_wrong_before_it_starts_anything_and_what_a_node_said() {
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let check = |arguments: &[&str], said: &str, code: i32| {
        let mut cluster = LocalCluster::start(directory.path(), arguments);
        cluster.line(said);
        assert_eq!(cluster.script.wait().unwrap().code(), Some(code));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    };
    check(&["--balancer", "cat"], "unknown balancer: cat", 1);
    check(&["--binary", "/nowhere"], "/nowhere is not a program", 1);
    check(&["--nodes", "3"], "--balancer nginx|haproxy|none", 2);
    check(&["--balancer", "none", "--binary", "/bin/false"], "tollgate-1 has ended", 1);
}
