//! The real binary's demo: what a newcomer sees, and that it leaves nothing behind unless told to.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use tollgate::stripe::SIGNATURE_HEADER;

use crate::{
    client::{Client, Response, post, request},
    postgres::{is_installed, open_directory},
    process::{all_have_gone_from, at_work_in},
};

/// The demo with a temporary directory of its own, in an environment whose settings it has to ignore.
fn demo(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command
        .arg("demo")
        .env_clear()
        .env("TMPDIR", directory)
        .env("TOLLGATE_LISTEN", "nowhere")
        .env("TOLLGATE_JOURNAL", "memory:")
        .env("STRIPE_WEBHOOK_SECRET", "whsec_of_somebody");
    command
}

/// Numbers change from run to run; everything else is as the README shows it.
fn without_numbers(line: &str) -> String {
    let line = line.trim_end_matches("  (debug build; use --release)");
    let mut masked = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            other => masked.push(other),
        }
    }
    masked
}

#[test]
fn a_newcomer_sees_what_the_readme_shows() {
    let directory = tempfile::tempdir().unwrap();
    let output = demo(directory.path()).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert_eq!(err, "");
    for line in [
        "declined: spending_limit",
        "148.00 would have been approved",
        "declined: category_blocked",
        "approved, 358.00 in total",
        "approved in part: 100.00",
        "same answer, byte for byte",
        "400 bad signature, no decision",
        "captured 42.00, held 0.00",
        "monthly limit of budget",
        "another starts from its journal",
        "same answers, byte for byte",
        "daily           500.00    460.00       40.00",
        "2000 more requests on 4 connections",
    ] {
        assert!(out.contains(line), "no `{line}` in\n{out}");
    }
    let too_long = out.lines().find(|line| line.chars().count() > 80);
    assert_eq!(too_long.filter(|line| !line.contains("debug build")), None);
    assert!(!out.contains('\u{1b}'), "colours without a terminal");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the demo left something behind");

    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, shown) = readme.split_once("```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let (shown, seen): (Vec<_>, Vec<_>) =
        (shown.lines().map(without_numbers).collect(), out.lines().map(without_numbers).collect());
    assert_eq!(shown, seen, "the README shows another demo");
}

/// A demo that runs; it goes with the test, however that ends.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = demo(directory);
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next line that starts so.
    fn line(&mut self, start: &str) -> String {
        let mut line = String::new();
        while self.out.read_line(&mut line).unwrap() > 0 {
            if line.starts_with(start) {
                return line.trim_end().to_owned();
            }
            line.clear();
        }
        panic!("no line starts with `{start}`");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_demo_answers_what_is_pasted_until_it_is_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Running::start(directory.path(), &["--keep"]);
    let curl = kept.line("curl -i ");
    let why = kept.line("curl -s http://");
    kept.line("'");

    let reply = paste(&curl).await;
    assert_eq!((reply.status, &reply.json()["approved"]), (200, &true.into()), "{reply:?}");

    let (address, path) = why.strip_prefix("curl -s http://").unwrap().split_once('/').unwrap();
    let mut admin = Client::connect(address.parse().unwrap()).await;
    let books = admin.exchange(request("GET", &format!("/{path}"), "")).await;
    assert_eq!((books.status, &books.json()["held"]), (200, &2_500.into()), "{books:?}");

    kept.signal("-INT");
    let stays = kept.line("The journal stays in ");
    assert_eq!(kept.child.wait().unwrap().code(), Some(0));
    let stays = Path::new(stays.strip_prefix("The journal stays in ").unwrap().trim_end_matches('.'));
    assert!(stays.join("tollgate.db").is_file() && stays.join("policy.yaml").is_file());
}

/// What comes of a `curl` command, read as the shell would.
async fn paste(curl: &str) -> Response {
    let words: Vec<&str> = curl.split('\'').collect();
    let [_, url, _, signature, _, _, _, file, _] = words[..] else { panic!("{curl}") };
    let signature = signature.strip_prefix("Stripe-Signature: ").unwrap();
    let event = fs::read(file.strip_prefix('@').unwrap()).unwrap();
    let address = url.strip_prefix("http://").unwrap().strip_suffix("/webhook").unwrap().parse().unwrap();
    let headers = format!("{SIGNATURE_HEADER}: {signature}\r\n");
    Client::connect(address).await.exchange(post("/webhook", &headers, &event)).await
}

/// No file of the demo is left, and no process that it started: all of them work in its directory.
fn assert_nothing_is_left(directory: &Path) {
    assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "the demo left something behind");
    assert_eq!(at_work_in(directory), 0, "processes still run");
}

#[test]
fn nobody_who_pays_with_a_card_notices_that_its_node_is_killed() {
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let output = demo(directory.path()).args(["--nodes", "3"]).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), &*err), (Some(0), ""), "{out}");
    for line in [
        "148.00 would have been approved",
        "4 duplicates, to each node       same answers, byte for byte",
        "is killed (kill -9):",
        "412.00 of the 500.00 USD daily limit is used",
        "6 duplicates, to each node       same answers, byte for byte",
        "restarts and takes it back",
        "approved in part: 88.00",
        "7 duplicates, to each node       same answers, byte for byte",
        "daily           500.00    500.00        0.00",
        "rolling(1h)         10         4           6",
        "all answered:",
        "s of the kill: ",
        "every approval is in the ledger once: no limit exceeded, nothing lost",
        "killed; back after ",
    ] {
        assert!(out.contains(line), "no `{line}` in\n{out}");
    }
    let asked = |n: usize| {
        out.lines().any(|line| line.starts_with("  ✓") && line.contains(&format!(", at node-{n} ")))
    };
    assert!((1..=3).filter(|n| asked(*n)).count() >= 2, "one node took all purchases:\n{out}");
    let too_long = out.lines().find(|line| line.chars().count() > 80);
    assert_eq!(too_long.filter(|line| !line.contains("debug build")), None);
    assert!(!out.contains('\u{1b}'), "colours without a terminal");
    assert_nothing_is_left(directory.path());
}

#[test]
fn a_demo_of_several_nodes_that_is_ended_in_the_middle_leaves_nothing_behind() {
    if !is_installed() {
        return;
    }
    for line in ["2 Tollgate nodes", "other cards. Meanwhile"] {
        let directory = open_directory();
        let mut running = Running::start(directory.path(), &["--nodes", "2"]);
        running.line(line);
        running.signal("-TERM");
        assert_eq!(running.child.wait().unwrap().code(), Some(1));
        assert_nothing_is_left(directory.path());
    }
}

#[tokio::test]
async fn a_demo_that_is_killed_takes_its_nodes_and_their_database_with_it() {
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let mut running = Running::start(directory.path(), &["--nodes", "2"]);
    running.line("other cards. Meanwhile");
    assert!(at_work_in(directory.path()) > 3, "two nodes, a server and its processes");
    running.child.kill().unwrap();
    all_have_gone_from(directory.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_nodes_give_one_answer_to_what_is_pasted_until_they_are_interrupted() {
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let mut kept = Running::start(directory.path(), &["--nodes", "2", "--keep"]);
    let [one, other] = [kept.line("curl -i "), kept.line("curl -i ")];
    let why = kept.line("curl -s http://");
    let (one, other) = (paste(&one).await, paste(&other).await);
    assert_eq!((one.status, &one.json()["approved"]), (200, &false.into()), "{one:?}");
    assert_eq!(one.body, other.body);
    let (address, path) = why.strip_prefix("curl -s http://").unwrap().split_once('/').unwrap();
    let mut admin = Client::connect(address.parse().unwrap()).await;
    let books = admin.exchange(request("GET", &format!("/{path}"), "")).await.json();
    assert_eq!(books["decisions"][0]["reason"], "spending_limit", "{books}");
    kept.signal("-INT");
    assert_eq!(kept.child.wait().unwrap().code(), Some(0));
    assert_nothing_is_left(directory.path());
}
