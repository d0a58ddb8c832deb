//! The scripts for load generators that users know, against a real node: wrk where it is installed, and the script for k6
//! under plain Node with stand-ins for k6's own modules, since k6 is in no registry that tests install from.
//!
//! Where a program is not installed, its test says so and passes; `TEST_SERVERS_REQUIRED` makes that a failure for wrk.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]
#![allow(clippy::disallowed_methods, reason = "switches for whoever runs the tests, and today's date")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;
use tollgate_loadtest::{
    clock, corpus,
    nodes::Nodes,
    scenario::{Limits, Scenario},
    signature::Signer,
};

const SECRET: &str = "whsec_of_the_clients";
/// More than all purchases here together.
const LIMIT: i64 = 1_000_000_000;

/// A node, where it takes webhooks, and a directory for the test.
struct Site {
    directory: TempDir,
    url: String,
    _nodes: Nodes,
}

impl Site {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits { all_time: Some(LIMIT), ..Limits::default() };
        let binary = Path::new(env!("CARGO_BIN_EXE_tollgate"));
        let nodes =
            Nodes::start(1, binary, &directory.path().join("nodes"), SECRET, &limits, None, &[]).unwrap();
        let url = format!("http://{}/webhook", nodes.webhooks().next().unwrap());
        Self { directory, url, _nodes: nodes }
    }

    fn corpus(&self, count: usize) -> PathBuf {
        let scenario = Scenario::load("steady").unwrap();
        let now = clock::unix_seconds();
        let questions = corpus::questions(&scenario, &Signer::new(SECRET), 1, count, now);
        let path = self.directory.path().join("corpus.txt");
        corpus::write(&questions, &mut fs::File::create(&path).unwrap()).unwrap();
        path
    }
}

#[test]
fn wrk_replays_a_corpus_that_the_node_takes() {
    if !is_installed("wrk", true) {
        return;
    }
    let site = Site::start();
    let wrk = |corpus: &Path| {
        let mut command = Command::new("wrk");
        command.args(["--threads", "2", "--connections", "4", "--duration", "1s", "--script"]);
        command.arg(root("loadtest/wrk/replay.lua")).arg(&site.url);
        output(command.env("CORPUS", corpus).env("WRK_THREADS", "2"))
    };
    let corpus = site.corpus(500);
    let said = wrk(&corpus);
    let counts = counts(&said);
    assert!(counts[0] > 0 && counts[1..] == [0, 0, 0], "approved, declined, refused, broken: {said}");

    let text = fs::read_to_string(&corpus).unwrap().replace("v1=", "v1=0");
    fs::write(&corpus, text).unwrap();
    let said = wrk(&corpus);
    let counts = self::counts(&said);
    assert!(counts[2] > 0 && counts[..2] == [0, 0], "all of these are badly signed: {said}");
}

/// The figures of the script's last line.
fn counts(said: &str) -> Vec<u64> {
    let line =
        said.lines().find(|line| line.trim().starts_with("approved ")).unwrap_or_else(|| panic!("{said}"));
    line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_script_for_k6_asks_what_the_node_answers() {
    if !is_installed("node", false) {
        return;
    }
    said_loudly("k6 itself: its script runs under Node, with stand-ins for its modules");
    let site = Site::start();
    let home = site.directory.path();
    let k6 = home.join("node_modules/k6");
    fs::create_dir_all(&k6).unwrap();
    fs::copy(root("loadtest/k6/authorizations.js"), home.join("authorizations.js")).unwrap();
    for (path, text) in K6 {
        fs::write(home.join(path), text).unwrap();
    }
    let run = |secret: &str| {
        let mut command = Command::new("node");
        command.arg("driver.js").current_dir(home);
        output(command.env("TARGET", &site.url).env("SECRET", secret).env("RUN", secret))
    };
    let said = run(SECRET);
    assert_eq!(said.trim(), "answered 4 of 4, approved 4, declined 0, constant-arrival-rate", "{said}");
    let said = run("whsec_of_somebody_else");
    assert_eq!(said.trim(), "answered 0 of 4, approved 0, declined 0, constant-arrival-rate", "{said}");
}

/// As much of k6 as the script uses, and what runs it. A request blocks in k6, so it does here.
const K6: [(&str, &str); 8] = [
    ("package.json", r#"{"type": "module"}"#),
    (
        "node_modules/k6/package.json",
        r#"{"name": "k6", "type": "module", "exports": {".": "./k6.js", "./*": "./*.js"}}"#,
    ),
    (
        "node_modules/k6/k6.js",
        "export const check = (value, checks) => Object.values(checks).every((holds) => holds(value));",
    ),
    (
        "node_modules/k6/http.js",
        r"import {execFileSync} from 'node:child_process';
const send = `const [url, body, headers] = JSON.parse(require('fs').readFileSync(0, 'utf8'));
fetch(url, {method: 'POST', body, headers}).then(async (reply) =>
  console.log(JSON.stringify({status: reply.status, body: await reply.text()})));`;
export default {post(url, body, {headers}) {
  const reply = JSON.parse(execFileSync('node', ['-e', send], {input: JSON.stringify([url, body, headers])}));
  return {status: reply.status, json: (name) => JSON.parse(reply.body)[name]};
}};",
    ),
    (
        "node_modules/k6/crypto.js",
        "import {createHmac} from 'node:crypto';
export default {hmac: (kind, secret, text, form) => createHmac(kind, secret).update(text).digest(form)};",
    ),
    (
        "node_modules/k6/metrics.js",
        "export const all = {};
class Metric { constructor(name) { all[name] = []; this.name = name; } add(value) { all[this.name].push(value); } }
export {Metric as Counter, Metric as Rate};",
    ),
    ("node_modules/k6/execution.js", "export default {scenario: {iterationInTest: 0}};"),
    (
        "driver.js",
        r"globalThis.__ENV = process.env;
const {default: iterate, options} = await import('./authorizations.js');
const {all} = await import('k6/metrics');
const {default: execution} = await import('k6/execution');
for (; execution.scenario.iterationInTest < 4; execution.scenario.iterationInTest++) iterate();
const count = (name) => all[name].filter(Boolean).length;
console.log(`answered ${count('answered')} of ${all.answered.length}, approved ${count('approved')}, ` +
  `declined ${count('declined')}, ${options.scenarios.authorizations.executor}`);",
    ),
];

fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&stderr));
    said
}

fn is_installed(program: &str, is_required_in_ci: bool) -> bool {
    let is_there = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(program).is_file());
    if !is_there {
        let is_required = is_required_in_ci && std::env::var_os("TEST_SERVERS_REQUIRED").is_some();
        assert!(
            !is_required,
            "{program} is not installed, and TEST_SERVERS_REQUIRED is set: apt install {program}"
        );
        said_loudly(&format!("{program} is not installed"));
    }
    is_there
}

/// What `eprintln` says is not shown where a test passes.
fn said_loudly(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
