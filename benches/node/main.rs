//! What a whole node costs: server CPU for each request against a bare hyper server, one hot card against many, latency
//! at half of the saturation rate, and memory for each resident card. `cargo bench --bench node` runs all of it; as a
//! test (`cargo test --benches`) it makes a tiny pass that checks the answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, prints, and stops at the first surprise"
)]

mod plan;
mod events;
mod generator;
mod server;
mod cluster;
mod budgets;
mod instructions;
mod report;
#[path = "../../tests/it/log.rs"]
#[allow(dead_code, reason = "the bench needs a part of it")]
mod log;
#[path = "../../tests/it/needs.rs"]
#[allow(dead_code, reason = "the bench needs a part of it")]
mod needs;
#[path = "../../tests/it/postgres.rs"]
#[allow(dead_code, reason = "the bench needs a part of it")]
mod postgres;

use std::time::Duration;

use crate::{
    events::{Cards, Events, Writer},
    generator::{Load, Pace},
    plan::Plan,
    report::{Latencies, Row, Spread},
    server::{Batches, Journal, Process},
};

/// The node, as it was built with this benchmark.
const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
/// How many connections the generator keeps open.
const CONNECTIONS: usize = 64;
/// Above this share of its core, the generator may be what limits the rate.
const GENERATOR_SHARE_MAX: f64 = 0.95;

fn main() {
    match Plan::from_arguments(std::env::args().skip(1)) {
        Plan::Bare => tollgate_loadtest::bare::serve().unwrap(),
        Plan::List => println!("whole_node: test"),
        Plan::Measure(scale) => measure(&scale),
    }
}

/// How much is measured.
pub(crate) struct Scale {
    rounds: usize,
    requests: usize,
    cards: usize,
    open_loop: Duration,
    memory_cards: usize,
    /// How long a node's memory must not have fallen.
    memory_settles: Duration,
    parts: Vec<String>,
    /// Another build of the node, measured in the same rounds.
    other: Option<String>,
}

impl Scale {
    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|named| named == part)
    }
}

fn measure(scale: &Scale) {
    server::pin_generator();
    let mut writer = Writer::new();
    report::setup(&writer, scale.cards, CONNECTIONS);
    let mut saturation = None;
    if scale.has("cpu") || scale.has("hot") {
        saturation = Some(closed_loop(scale, &mut writer));
    }
    if scale.has("latency") {
        open_loop(scale, &mut writer, saturation);
    }
    if scale.has("memory") {
        memory(scale, &mut writer);
    }
    // Only where it is asked for by name: it needs valgrind.
    if scale.parts.iter().any(|part| part == "instructions") {
        instructions::measure(scale, &mut writer);
    }
    // Only where it is asked for by name: it starts a server, and nine nodes.
    if scale.parts.iter().any(|part| part == "cluster") {
        cluster::measure(scale, &mut writer);
    }
    if scale.parts.iter().any(|part| part == "budgets") {
        budgets::measure(scale, &mut writer);
    }
}

/// A server under test with what was measured of it.
struct Subject {
    name: &'static str,
    process: Process,
    many: Vec<Sample>,
    hot: Vec<Sample>,
    batches: Batches,
}

/// One round of one server.
struct Sample {
    cpu_us: f64,
    page_faults: f64,
    rate: f64,
    generator_share: f64,
}

impl Subject {
    fn new(name: &'static str, process: Process) -> Self {
        Self { name, process, many: Vec::new(), hot: Vec::new(), batches: Batches::default() }
    }

    fn load(&self, events: &Events) -> Sample {
        Sample::of(self.name, &self.process, events)
    }
}

impl Sample {
    /// What these requests take of a server.
    fn of(name: &str, process: &Process, events: &Events) -> Self {
        let (before, faults_before) = (process.cpu(), process.page_faults());
        let load = generator::run(&[process.webhook], events, CONNECTIONS, Pace::AsFastAsAnswered);
        let cpu = process.cpu().saturating_sub(before);
        let page_faults = process.page_faults() - faults_before;
        check(name, &load, events);
        Self {
            cpu_us: cpu.as_secs_f64() * 1e6 / events.len() as f64,
            page_faults: page_faults as f64 / events.len() as f64,
            rate: events.len() as f64 / load.took.as_secs_f64(),
            generator_share: 1.0 - load.idle.as_secs_f64() / load.took.as_secs_f64(),
        }
    }
}

/// Every question of a bench fits its limits: an answer that is no approval is a fault, and measures something else.
fn check(name: &str, load: &Load, events: &Events) {
    assert_eq!(load.approved, events.len(), "{name}: not every request was approved");
}

/// CPU for each request and the rate at saturation, in interleaved rounds. Gives the rates of memory and SQLite.
fn closed_loop(scale: &Scale, writer: &mut Writer) -> (f64, f64) {
    let mut subjects = vec![
        Subject::new("bare hyper", Process::bare()),
        Subject::new("tollgate, memory", Process::tollgate(TOLLGATE, Journal::Memory)),
        Subject::new("tollgate, sqlite", Process::tollgate(TOLLGATE, Journal::Sqlite)),
    ];
    if let Some(other) = &scale.other {
        subjects.push(Subject::new("other, memory", Process::tollgate(other, Journal::Memory)));
        subjects.push(Subject::new("other, sqlite", Process::tollgate(other, Journal::Sqlite)));
    }
    let warm = writer.write(scale.cards.max(CONNECTIONS), Cards::Many(scale.cards));
    for subject in &subjects {
        subject.load(&warm);
    }
    for round in 0..scale.rounds {
        let many = writer.write(scale.requests, Cards::Many(scale.cards));
        for subject in &mut subjects {
            let before = subject.process.batches();
            subject.many.push(subject.load(&many));
            subject.batches.add(subject.process.batches().since(&before));
        }
        if scale.has("hot") {
            let hot = writer.write(scale.requests / 2, Cards::Hot(round));
            for subject in &mut subjects[1..] {
                subject.hot.push(subject.load(&hot));
            }
        }
    }
    let rows: Vec<Row> = subjects.iter().map(|subject| row(subject, &subjects[0])).collect();
    report::closed_loop(&rows);
    if let [_, memory, sqlite, other_memory, other_sqlite] = subjects.as_slice() {
        report::against_other([cpu_ratio(memory, other_memory), cpu_ratio(sqlite, other_sqlite)]);
    }
    (rows[1].rate.median, rows[2].rate.median)
}

fn row(subject: &Subject, bare: &Subject) -> Row {
    let spread = |of: fn(&Sample) -> f64| Spread::of(subject.many.iter().map(of).collect());
    Row {
        name: subject.name,
        cpu_us: spread(|sample| sample.cpu_us),
        ratio: cpu_ratio(subject, bare),
        page_faults: spread(|sample| sample.page_faults),
        rate: spread(|sample| sample.rate),
        generator_share: spread(|sample| sample.generator_share),
        batch_entries: subject.batches.mean(),
        hot_ratio: ratio(&subject.hot, &subject.many, |sample| sample.rate),
    }
}

fn cpu_ratio(this: &Subject, that: &Subject) -> Spread {
    ratio(&this.many, &that.many, |sample| sample.cpu_us)
}

/// Round by round: what slowed the machine down for a while slowed both down.
fn ratio(these: &[Sample], others: &[Sample], of: fn(&Sample) -> f64) -> Spread {
    Spread::of(these.iter().zip(others).map(|(this, that)| of(this) / of(that)).collect())
}

/// Latency from the time at which a request should have left, at half of what saturates the node. The bare server gets
/// the node's rate: what it shows is the machine's own, with whatever else runs on it.
fn open_loop(scale: &Scale, writer: &mut Writer, saturation: Option<(f64, f64)>) {
    let mut servers = vec![
        ("bare hyper", Process::bare()),
        ("tollgate, memory", Process::tollgate(TOLLGATE, Journal::Memory)),
        ("tollgate, sqlite", Process::tollgate(TOLLGATE, Journal::Sqlite)),
    ];
    if let Some(other) = &scale.other {
        servers.push(("other, memory", Process::tollgate(other, Journal::Memory)));
        servers.push(("other, sqlite", Process::tollgate(other, Journal::Sqlite)));
    }
    let warm = writer.write(scale.cards.max(CONNECTIONS), Cards::Many(scale.cards));
    let mut rates = Vec::new();
    for (name, process) in &servers {
        let loaded = generator::run(&[process.webhook], &warm, CONNECTIONS, Pace::AsFastAsAnswered);
        check(name, &loaded, &warm);
        let events = writer.write(scale.requests, Cards::Many(scale.cards));
        let load = generator::run(&[process.webhook], &events, CONNECTIONS, Pace::AsFastAsAnswered);
        rates.push(events.len() as f64 / load.took.as_secs_f64());
    }
    let (memory, sqlite) = saturation.unwrap_or((rates[1], rates[2]));
    // Another build gets this one's rates too.
    let halves = [memory, memory, sqlite, memory, sqlite].map(|rate| rate / 2.0);
    let mut latencies: Vec<_> = servers.iter().map(|(name, _)| (*name, Vec::new())).collect();
    let mut order: Vec<usize> = (0..servers.len()).collect();
    for _ in 0..scale.rounds {
        // Each time in another order: one build had four times the p99 of itself where it was always asked after the same one.
        fastrand::shuffle(&mut order);
        for &place in &order {
            let ((_, process), half, (name, rounds)) =
                (&servers[place], halves[place], &mut latencies[place]);
            let requests = (half * scale.open_loop.as_secs_f64()) as usize;
            let events = writer.write(requests.max(CONNECTIONS), Cards::Many(scale.cards));
            let load = generator::run(&[process.webhook], &events, CONNECTIONS, Pace::PerSecond(half));
            check(name, &load, &events);
            rounds.push(Latencies::of(&load));
        }
    }
    report::open_loop(&latencies, &halves);
}

/// What a card with ten purchases takes in memory, when nobody asks about it.
fn memory(scale: &Scale, writer: &mut Writer) {
    const PURCHASES: usize = 10;
    let process = Process::tollgate(TOLLGATE, Journal::Sqlite);
    // What the node itself grows to under this load, on few cards.
    for _ in 0..PURCHASES {
        let warm = writer.write(scale.memory_cards, Cards::Many(CONNECTIONS));
        check(
            "warm-up",
            &generator::run(&[process.webhook], &warm, CONNECTIONS, Pace::AsFastAsAnswered),
            &warm,
        );
    }
    let before = process.settled_memory(scale.memory_settles);
    for _ in 0..PURCHASES {
        let events = writer.write(scale.memory_cards, Cards::EachOnce(scale.memory_cards));
        let load = generator::run(&[process.webhook], &events, CONNECTIONS, Pace::AsFastAsAnswered);
        check("cards", &load, &events);
    }
    let after = process.settled_memory(scale.memory_settles);
    report::memory(before, after, scale.memory_cards, PURCHASES);
}
