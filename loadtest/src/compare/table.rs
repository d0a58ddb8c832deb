//! A comparison as people read it: medians with the least and the most of the rounds, and ratios within each round.

use std::fmt::Write as _;

use super::{Comparison, Server, Turn};
use crate::words::{self, Spread, float};

/// From this share of a core on, the generator may be what limits the rate.
const GENERATOR_BUSY: f64 = 0.9;

/// All of it: setup, table, what to know about it.
pub(super) fn table(comparison: &Comparison) -> String {
    let mut out = setup(comparison);
    let _ = writeln!(
        out,
        "\n{:<30} {:>26} {:>24} {:>9} {:>22} {:>22} {:>22}",
        "server", "requests/s", "CPU µs a request", "database", "CPU beside bare", "p50 ms", "p99 ms"
    );
    let bare = comparison.servers.first();
    for server in &comparison.servers {
        let _ = writeln!(out, "{}", row(server, bare));
    }
    let _ = writeln!(
        out,
        "\nMedian (least to most) of the rounds. CPU is that of the server's processes and of its database's;"
    );
    let _ = writeln!(
        out,
        "p50 and p99 are with every connection in use: the length of the queue, not the time of one request."
    );
    for server in &comparison.servers {
        let _ = writeln!(out, "{:<30} keeps {}", server.name, server.keeps);
    }
    for server in &comparison.servers {
        out.push_str(&doubts(server));
    }
    for skipped in &comparison.skipped {
        let _ = writeln!(out, "SKIPPED {skipped}");
    }
    out
}

fn setup(comparison: &Comparison) -> String {
    let Comparison { setup, load_before, connections, cards, body_bytes, servers, .. } = comparison;
    let rounds = servers.first().map_or(0, |server| server.turns.len());
    format!(
        "{}, {} cores, {}, {} build of {}, {}\n{rounds} rounds in turn, {connections} connections, {cards} cards, bodies of {body_bytes} bytes; \
         load before the start {load_before}\n",
        setup.processor, setup.cores, setup.kernel, setup.build, setup.commit, setup.file_system,
    )
}

fn row(server: &Server, bare: Option<&Server>) -> String {
    let spread = |of: &dyn Fn(&Turn) -> f64| Spread::of(server.turns.iter().map(of));
    let beside = bare.map(|bare| {
        server
            .turns
            .iter()
            .zip(&bare.turns)
            .filter(|(_, bare)| bare.cpu_us > 0.0)
            .map(|(turn, bare)| turn.cpu_us_in_all() / bare.cpu_us)
    });
    let database = Spread::of(server.turns.iter().filter_map(|turn| turn.database_cpu_us));
    format!(
        "{:<30} {:>26} {:>24} {:>9} {:>22} {:>22} {:>22}",
        server.name,
        told(spread(&Turn::per_second), words::rate),
        told(spread(&Turn::cpu_us_in_all), words::three_digits),
        database.map_or_else(|| "–".to_owned(), |database| words::three_digits(database.median)),
        told(beside.and_then(Spread::of), |ratio| format!("{ratio:.1}")),
        told(spread(&|turn| float(turn.p50_us)), milliseconds),
        told(spread(&|turn| float(turn.p99_us)), milliseconds),
    )
}

/// What makes a server's figures doubtful.
fn doubts(server: &Server) -> String {
    let mut out = String::new();
    let other: u64 = server.turns.iter().map(|turn| turn.other).sum();
    if other > 0 {
        let _ = writeln!(
            out,
            "NOTE {}: {} requests were not approved, though each fits its limit",
            server.name,
            words::count(other)
        );
    }
    let busy = Spread::of(server.turns.iter().map(|turn| turn.generator_cpu));
    if let Some(busy) = busy.filter(|busy| busy.median > GENERATOR_BUSY) {
        let _ = writeln!(
            out,
            "NOTE {}: the generator used {:.2} of a core, which may be what limits the rate",
            server.name, busy.median
        );
    }
    out
}

fn told(spread: Option<Spread>, words: fn(f64) -> String) -> String {
    let Some(Spread { median, min, max }) = spread else { return "–".to_owned() };
    // One turn has no spread.
    if min.to_bits() == max.to_bits() {
        return words(median);
    }
    format!("{} ({} to {})", words(median), words(min), words(max))
}

fn milliseconds(us: f64) -> String {
    format!("{:.1}", us / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Setup;

    fn server(name: &str, turns: &[(f64, f64)]) -> Server {
        let turns = turns.iter().map(|(seconds, cpu_us)| Turn {
            questions: 1_000,
            approved: 1_000,
            seconds: *seconds,
            cpu_us: *cpu_us,
            p50_us: 1_500,
            ..Turn::default()
        });
        Server { name: name.to_owned(), keeps: "nothing".to_owned(), turns: turns.collect() }
    }

    fn comparison() -> Comparison {
        let mut peer = server("peer", &[(1.0, 30.0), (2.0, 30.0), (0.5, 90.0)]);
        peer.turns.iter_mut().for_each(|turn| turn.database_cpu_us = Some(10.0));
        Comparison {
            setup: Setup::default(),
            load_before: "0.10".to_owned(),
            connections: 64,
            cards: 10,
            body_bytes: 4_000,
            servers: vec![server("bare", &[(0.1, 10.0), (0.1, 20.0), (0.1, 10.0)]), peer],
            skipped: vec!["a third: it is not there".to_owned()],
        }
    }

    #[test]
    fn ratios_are_of_the_same_round_and_count_the_database() {
        let table = table(&comparison());
        let peer = table.lines().find(|line| line.starts_with("peer")).unwrap();
        for expected in ["1,000 (500 to 2,000)", "40.0 (40.0 to 100)", "4.0 (2.0 to 10.0)", " 1.5 ", " 10.0 "]
        {
            assert!(peer.contains(expected), "`{expected}` is not in `{peer}`");
        }
        assert!(table.contains("SKIPPED a third: it is not there"), "{table}");
        assert!(!table.contains("NOTE"), "{table}");
    }

    #[test]
    fn what_makes_figures_doubtful_is_said() {
        let mut comparison = comparison();
        comparison.servers[1].turns[0].other = 7;
        comparison.servers[0].turns.iter_mut().for_each(|turn| turn.generator_cpu = 0.97);
        let table = table(&comparison);
        assert!(table.contains("NOTE peer: 7 requests were not approved"), "{table}");
        assert!(table.contains("NOTE bare: the generator used 0.97 of a core"), "{table}");
    }
}
