//! The commands beside the load test itself: a report anew, questions for other clients, other servers to compare with,
//! Stripe's API for tests by hand.

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
};

use clap::Subcommand;
use tollgate_loadtest::{
    bare, clock,
    compare::{Database, Options, compare, table},
    corpus,
    generator::Target,
    record::{FORMAT, Record},
    report,
    scenario::Scenario,
    signature::Signer,
    stripe_api::{Endpoint, StripeApi},
};

use crate::{beside, is_loopback, setting, target};

#[derive(Subcommand)]
pub(crate) enum Also {
    /// Write the report of a record again
    Report {
        /// The record.json of a load test
        record: PathBuf,
        /// The report file [default: beside the record, as report.html]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print signed requests, each as two lines, signature and body; `STRIPE_WEBHOOK_SECRET` has the secret
    Corpus {
        /// Number of requests
        #[arg(long, default_value_t = 20_000)]
        count: usize,
        /// Number of cards
        #[arg(long, default_value_t = 10_000)]
        cards: usize,
    },
    /// Measure Tollgate and other servers in turn; `./loadtest/compare.sh` prepares what that needs
    Compare {
        /// Tollgate's program [default: the tollgate beside this program]
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// The directory of the Node.js servers, with their packages
        #[arg(long, value_name = "DIRECTORY")]
        peers: Option<PathBuf>,
        /// A PostgreSQL server with databases `tollgate` and `peer`, and no other users
        #[arg(long, value_name = "URL", requires = "database_process")]
        database: Option<String>,
        /// The id of its main process
        #[arg(long, value_name = "PID")]
        database_process: Option<u32>,
        /// Rounds; each server runs once per round
        #[arg(long, default_value_t = 5)]
        rounds: u64,
        /// Requests per round; the Node.js servers get a quarter of them
        #[arg(long, default_value_t = 40_000)]
        requests: usize,
        /// Number of cards
        #[arg(long, default_value_t = 10_000)]
        cards: usize,
        /// Connections, each with one request in progress
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Directory for compare.json and the files of the servers
        #[arg(long, value_name = "DIRECTORY", default_value = "target/loadtest/compare")]
        out: PathBuf,
    },
    /// Serve Stripe's API with its test helpers until killed; `STRIPE_WEBHOOK_SECRET` signs the webhooks
    Stripe {
        /// The webhook URL of a node; the path is /webhook if none is given
        #[arg(long, value_name = "URL")]
        forward_to: String,
        /// The address of the API
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:12111")]
        listen: SocketAddr,
        /// The API key that calls need
        #[arg(long, value_name = "KEY", default_value = "sk_test_local")]
        key: String,
    },
    /// Serve a constant answer on a free port until killed
    Bare,
}

/// Runs it. An error is told in words.
pub(crate) fn run(also: &Also) -> Result<(), String> {
    match also {
        Also::Report { record, out } => {
            let out = out.clone().unwrap_or_else(|| record.with_file_name("report.html"));
            write_report(record, &out)
        }
        Also::Corpus { count, cards } => print_corpus(*count, *cards),
        Also::Compare {
            binary,
            peers,
            database,
            database_process,
            rounds,
            requests,
            cards,
            connections,
            out,
        } => {
            let database = database.clone().zip(*database_process);
            let options = Options {
                binary: binary.clone().unwrap_or_else(beside),
                peers: peers.clone(),
                database: database.map(|(url, process)| Database { url, process }),
                rounds: *rounds,
                questions: *requests,
                cards: *cards,
                connections: *connections,
                directory: out.clone(),
            };
            let compared = compare(&options, |what| {
                let _ = writeln!(io::stderr(), "{what}");
            });
            let compared = compared.map_err(|cause| cause.to_string())?;
            let place = out.join("compare.json");
            print(&format!("{}figures: {}\n", table(&compared), place.display()))
        }
        Also::Stripe { forward_to, listen, key } => be_stripe(forward_to, *listen, key),
        Also::Bare => bare::serve().map_err(|cause| format!("cannot serve: {cause}")),
    }
}

fn be_stripe(forward_to: &str, listen: SocketAddr, key: &str) -> Result<(), String> {
    let secret = setting("STRIPE_WEBHOOK_SECRET")
        .ok_or("expected the signing secret of --forward-to in STRIPE_WEBHOOK_SECRET, found nothing")?;
    if !is_loopback(listen.ip()) {
        return Err(format!(
            "expected an address of this machine for --listen, found {listen}: it is for tests"
        ));
    }
    let Target { address, host, path } = target(forward_to, false)?;
    let endpoint = Endpoint { address, host, path, signer: Signer::new(&secret) };
    let failed = |cause: io::Error| format!("cannot serve at {listen}: {cause}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let api = StripeApi::listen(listen, key, Some(endpoint)).await.map_err(failed)?;
        print(&format!("Stripe's API at {}, key {key}; events go to {forward_to}\n", api.base_url()))?;
        std::future::pending().await
    })
}

fn write_report(record: &PathBuf, out: &PathBuf) -> Result<(), String> {
    let told = |what: &str, cause: &dyn std::fmt::Display| format!("{}: {what}: {cause}", record.display());
    let text = fs::read_to_string(record).map_err(|cause| told("cannot be read", &cause))?;
    let read: Record =
        serde_json::from_str(&text).map_err(|cause| told("expected the record of a load test", &cause))?;
    if read.format != FORMAT {
        let found = format!("found {}; the load test that wrote it can report it", read.format);
        return Err(told(&format!("expected a record of format {FORMAT}"), &found));
    }
    fs::write(out, report::html(&read))
        .map_err(|cause| format!("cannot write {}: {cause}", out.display()))?;
    print(&format!("{}\nreport: {}\n", read.verdict.summary, out.display()))
}

fn print_corpus(count: usize, cards: usize) -> Result<(), String> {
    let secret = setting("STRIPE_WEBHOOK_SECRET")
        .ok_or("expected the signing secret of the server in STRIPE_WEBHOOK_SECRET, found nothing")?;
    let mut scenario = Scenario::load("saturation").map_err(|cause| cause.to_string())?;
    scenario.cards = cards;
    scenario.check()?;
    let now = clock::unix_seconds();
    let run = u64::try_from(now).unwrap_or_default();
    let questions = corpus::questions(&scenario, &Signer::new(&secret), run, count, now);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = corpus::write(&questions, &mut out).and_then(|()| out.flush());
    written.map_err(|cause| format!("cannot write the requests: {cause}"))
}

fn print(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|cause| format!("cannot print: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_written_beside_its_record_or_it_is_said_why_not() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("record.json");
        let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/results/steady.json");
        let text = fs::read_to_string(reference).unwrap();
        let report = |text: &str| {
            fs::write(&record, text).unwrap();
            run(&Also::Report { record: record.clone(), out: None })
        };
        assert_eq!(report(&text), Ok(()));
        let page = fs::read_to_string(directory.path().join("report.html")).unwrap();
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let summary = told["verdict"]["summary"].as_str().unwrap();
        assert!(
            summary.starts_with("0 violations in ") && page.contains(summary),
            "{summary} is not in {page}"
        );
        let cause = report("{}").unwrap_err();
        assert!(cause.contains("expected the record of a load test: missing field"), "{cause}");
        let cause = report(&text.replacen("\"format\": 1", "\"format\": 7", 1)).unwrap_err();
        assert!(cause.contains("expected a record of format 1: found 7"), "{cause}");
        fs::remove_file(&record).unwrap();
        let cause = run(&Also::Report { record, out: None }).unwrap_err();
        assert!(cause.contains("record.json: cannot be read: "), "{cause}");
    }
}
