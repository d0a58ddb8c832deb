//! What was measured, as tables with their setup. Nothing is measured here.

use std::{fmt, fs, process::Command, time::Duration};

use crate::{
    GENERATOR_SHARE_MAX,
    events::Writer,
    generator::{self, Latency, Load},
    instructions::Counts,
    server,
};

/// A median with the extremes around it.
pub(crate) struct Spread {
    pub(crate) median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        Self { median: at(values.len() / 2), min: at(0), max: at(values.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = self;
        let text = match f.precision() {
            _ if median.is_nan() => "-".to_owned(),
            Some(precision) => format!("{median:.precision$} ({min:.precision$} to {max:.precision$})"),
            None => format!("{median:.0} ({min:.0} to {max:.0})"),
        };
        f.pad_integral(true, "", &text)
    }
}

/// One server of the closed loop.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) cpu_us: Spread,
    pub(crate) ratio: Spread,
    pub(crate) page_faults: Spread,
    pub(crate) rate: Spread,
    pub(crate) generator_share: Spread,
    pub(crate) batch_entries: Option<f64>,
    pub(crate) hot_ratio: Spread,
}

/// What any figure below depends on.
pub(crate) fn setup(writer: &Writer, cards: usize, connections: usize) {
    let first_line = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.rsplit(": ").next().unwrap_or_default().to_owned()
    };
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map_or_else(
            |_| "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let build = if cfg!(debug_assertions) { "debug, figures mean nothing" } else { "release, thin LTO" };
    let pinning = if server::can_pin() {
        "server on core 0 (one runtime thread), generator on core 1"
    } else {
        "not pinned: ratios are rough"
    };
    println!("commit      {}", output("git", &["describe", "--always", "--dirty"]));
    println!("build       {build}, {}", output("rustc", &["--version"]));
    println!("allocator   mimalloc in the node, the system's in the bare server");
    println!("cpu         {}", first_line("/proc/cpuinfo", "model name"));
    println!("kernel      {}", first_line("/proc/sys/kernel/osrelease", ""));
    println!("threads     {pinning}");
    println!("load        {} over the last minute, before the start", generator::load_average());
    println!(
        "requests    {} bytes of body, {connections} keep-alive connections, {cards} cards, no id twice",
        writer.body_bytes()
    );
    println!("policy      {}", server::POLICY.map(|(name, value)| format!("{name}={value}")).join(" "));
}

pub(crate) fn closed_loop(rows: &[Row]) {
    println!("\nclosed loop: median (minimum to maximum) of the rounds");
    println!(
        "{:<18} {:>22} {:>22} {:>22} {:>28} {:>10} {:>22} {:>22}",
        "server",
        "CPU us/request",
        "ratio to bare hyper",
        "page faults/request",
        "requests/s",
        "batch",
        "one hot card",
        "generator's core"
    );
    for row in rows {
        let batch = row.batch_entries.map_or_else(|| "-".to_owned(), |entries| format!("{entries:.1}"));
        println!(
            "{:<18} {:>22.1} {:>22.2} {:>22.2} {:>28} {batch:>10} {:>22.2} {:>22.2}",
            row.name, row.cpu_us, row.ratio, row.page_faults, row.rate, row.hot_ratio, row.generator_share
        );
        if row.generator_share.median > GENERATOR_SHARE_MAX {
            println!("  warning: the generator's core is full; the rate of {} may be its limit", row.name);
        }
    }
}

/// This build against the other one.
pub(crate) fn against_other([memory, sqlite]: [Spread; 2]) {
    println!("CPU of this build to the other's: memory {memory:.3}, sqlite {sqlite:.3}");
}

/// One round of an open loop.
pub(crate) struct Latencies {
    sorted: Vec<Duration>,
    late_max: Duration,
}

impl Latencies {
    pub(crate) fn of(load: &Load) -> Self {
        Self::some(load, |_| true)
    }

    /// Of a part of the requests.
    pub(crate) fn some(load: &Load, is_one: impl Fn(&Latency) -> bool) -> Self {
        let ones = load.latencies.iter().filter(|latency| is_one(latency));
        let mut sorted: Vec<Duration> = ones.map(|latency| latency.took).collect();
        sorted.sort_unstable();
        Self { sorted, late_max: load.late_max }
    }

    fn ms(&self, part: f64) -> f64 {
        let place = (self.sorted.len() as f64 * part) as usize;
        self.sorted
            .get(place.min(self.sorted.len().saturating_sub(1)))
            .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

pub(crate) fn open_loop(subjects: &[(&str, Vec<Latencies>)], rates: &[f64]) {
    println!(
        "\nopen loop at half of saturation: ms from the intended time, median (minimum to maximum) of the rounds"
    );
    println!(
        "{:<18} {:>10} {:>22} {:>22} {:>22} {:>24}",
        "server", "requests/s", "p50", "p99", "p99.9", "generator late by up to"
    );
    for ((name, rounds), rate) in subjects.iter().zip(rates) {
        let part = |part| Spread::of(rounds.iter().map(|round| round.ms(part)).collect());
        let late = Spread::of(rounds.iter().map(|round| round.late_max.as_secs_f64() * 1e3).collect());
        println!(
            "{name:<18} {rate:>10.0} {:>22.2} {:>22.2} {:>22.2} {late:>24.2}",
            part(0.5),
            part(0.99),
            part(0.999)
        );
    }
}

pub(crate) fn memory(before: u64, after: u64, cards: usize, purchases: usize) {
    let each = after.saturating_sub(before) as f64 / cards as f64;
    println!("\nmemory: {cards} idle cards with {purchases} purchases each: {each:.0} bytes a card");
    println!("(resident: {} KiB before, {} KiB with them)", before / 1024, after / 1024);
}

/// Counts of callgrind, and where they are.
pub(crate) fn instructions(counts: &[Counts]) {
    const FUNCTIONS_SHOWN: usize = 20;
    println!(
        "\n{:<16} {:>14} {:>14} {:>12}",
        "for each request", "instructions", "and SHA-256", "allocations"
    );
    for Counts { name, instructions, sha_256, allocations, .. } in counts {
        println!("{name:<16} {instructions:>14.0} {sha_256:>14.0} {allocations:>12.1}");
    }
    for Counts { name, functions, .. } in counts {
        println!("\n{name}, by function:");
        for (function, cost) in functions.iter().take(FUNCTIONS_SHOWN) {
            println!("{cost:>10.0}  {function}");
        }
    }
}

/// A cluster of one size under one load.
pub(crate) struct ClusterRow {
    pub(crate) name: String,
    pub(crate) connections: usize,
    pub(crate) cpu_us: Spread,
    /// To the single node's in the same round, with the same number of connections a node.
    pub(crate) ratio: Spread,
    pub(crate) rates: Spread,
    /// For each request.
    pub(crate) database_us: f64,
    pub(crate) wakeups: f64,
    pub(crate) rows_a_statement: f64,
    /// For a thousand requests, by name.
    pub(crate) counts: Vec<(&'static str, f64)>,
}

pub(crate) fn cluster(rows: &[ClusterRow]) {
    println!(
        "\nclusters, closed loop: all nodes share the server's core; compared where each node has as many connections"
    );
    println!(
        "{:<16} {:<12} {:>24} {:>22} {:>24} {:>10} {:>10} {:>10}",
        "nodes",
        "connections",
        "CPU us/request, all",
        "ratio to one node",
        "requests/s",
        "switches",
        "database",
        "rows"
    );
    for row in rows {
        println!(
            "{:<16} {:<12} {:>24.1} {:>22.2} {:>24} {:>10.2} {:>7.0} us {:>10.1}",
            row.name,
            row.connections,
            row.cpu_us,
            row.ratio,
            row.rates,
            row.wakeups,
            row.database_us,
            row.rows_a_statement,
        );
    }
    println!(
        "(switches: how often a thread of theirs gave the processor up, for each request; database: its processor time for each request; rows in a statement)"
    );
    println!("\nin a thousand requests");
    for row in rows {
        let counts: Vec<String> =
            row.counts.iter().map(|(name, count)| format!("{name} {count:.1}")).collect();
        println!("{:<16} {:<12} {}", row.name, row.connections, counts.join(", "));
    }
}

/// Nodes whose cards charge so many budgets.
pub(crate) struct BudgetsRow {
    pub(crate) name: String,
    pub(crate) cpu_us: Spread,
    /// To the node whose cards charge none, in the same round.
    pub(crate) ratio: Spread,
    pub(crate) rate: Spread,
    /// Its rate over many cards, to that of one card alone that charges none.
    pub(crate) to_hot: Spread,
    pub(crate) database_us: Spread,
    /// Appended for each request.
    pub(crate) bytes: f64,
}

pub(crate) fn budgets(journal: &str, rows: &[BudgetsRow]) {
    println!("\nbudgets, {journal}, closed loop: median (minimum to maximum) of the rounds");
    println!(
        "{:<20} {:>22} {:>22} {:>26} {:>24} {:>20} {:>8}",
        "legs",
        "CPU us/request",
        "ratio to card alone",
        "requests/s",
        "rate to one hot card",
        "database us",
        "bytes"
    );
    for row in rows {
        println!(
            "{:<20} {:>22.1} {:>22.3} {:>26} {:>24.2} {:>20.0} {:>8.0}",
            row.name, row.cpu_us, row.ratio, row.rate, row.to_hot, row.database_us, row.bytes
        );
    }
}

/// What the way to another node adds: requests that were asked at their owner, and those that were asked elsewhere, in the
/// same rounds.
pub(crate) struct HopRow {
    pub(crate) name: String,
    pub(crate) rate: f64,
    pub(crate) rounds: Vec<Hop>,
}

/// One round of it.
pub(crate) struct Hop {
    pub(crate) local: Latencies,
    pub(crate) forwarded: Latencies,
    /// How many hops took so many milliseconds at most, by the nodes' own count: what a request took its owner is not in it.
    pub(crate) way: [(f64, f64); 9],
}

impl Hop {
    /// What that part of all hops stays below, in milliseconds, as Prometheus reads it out of a histogram; not a number where
    /// the nodes do not count them.
    fn way_ms(&self, part: f64) -> f64 {
        let rank = part * self.way.last().map_or(0.0, |(_, all)| *all);
        let mut below = (0.0, 0.0);
        for (ms, count) in self.way {
            if count >= rank && count > below.1 {
                return below.0 + (ms - below.0) * (rank - below.1) / (count - below.1);
            }
            below = (ms, count);
        }
        f64::NAN
    }
}

pub(crate) fn hops(rows: &[HopRow]) {
    println!(
        "\nthe hop: ms from the intended time, of requests asked at the card's owner and of those asked elsewhere, in the same rounds"
    );
    println!(
        "{:<16} {:>10} {:>7} {:>22} {:>22} {:>22} {:>22}",
        "nodes", "requests/s", "", "at the owner", "elsewhere", "more by", "the way, each"
    );
    for row in rows {
        for (name, part) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let of = |take: &dyn Fn(&Hop) -> f64| Spread::of(row.rounds.iter().map(take).collect());
            println!(
                "{:<16} {:>10.0} {name:>7} {:>22.2} {:>22.2} {:>22.2} {:>22.2}",
                row.name,
                row.rate,
                of(&|hop| hop.local.ms(part)),
                of(&|hop| hop.forwarded.ms(part)),
                of(&|hop| hop.forwarded.ms(part) - hop.local.ms(part)),
                of(&|hop| hop.way_ms(part)),
            );
        }
    }
}
