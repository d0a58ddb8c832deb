//! What people see: a line while it runs, and the figures at the end. On a terminal the line stays in its place.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write},
};

use crate::{
    generator::Progress,
    record::{Latency, Record, Run},
};

/// Without a terminal a long run gets a line every so many seconds.
const EVERY_S: u64 = 10;

/// Up to this many seconds a run gets a line each second everywhere.
const SHORT_S: f64 = 60.0;

/// Shows progress on the standard error, so that the standard output has the result alone.
pub struct Screen {
    is_terminal: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self { is_terminal: io::stderr().is_terminal() }
    }
}

impl Screen {
    /// Shows how it goes. A screen that cannot be written is no reason to stop.
    pub fn show(&self, progress: &Progress) {
        let is_due = self.is_terminal
            || progress.of_s <= SHORT_S
            || progress.at_s.checked_rem(EVERY_S).is_none_or(|rest| rest == 0);
        if !is_due {
            return;
        }
        let line = line(progress);
        let mut err = io::stderr().lock();
        let _ = if self.is_terminal { write!(err, "\r\x1b[2K{line}") } else { writeln!(err, "{line}") };
        let _ = err.flush();
    }

    /// Leaves the line.
    pub fn done(&self) {
        if self.is_terminal {
            let _ = writeln!(io::stderr());
        }
    }
}

fn line(progress: &Progress) -> String {
    let Progress { at_s, of_s, second, p50_us, p99_us, outcomes, open } = progress;
    format!(
        "{at_s:>4}/{of_s:.0} s  {:>6}/s of {:>6}/s  p50 {} p99 {}  approved {} declined {} stand-in {}  dropped {} unanswered {}  \
         open {open}",
        second.answered,
        second.offered,
        time(*p50_us),
        time(*p99_us),
        outcomes.approved.saturating_add(outcomes.partial),
        outcomes.declined,
        outcomes.stand_in,
        outcomes.dropped,
        outcomes.invalid.saturating_add(outcomes.late).saturating_add(outcomes.failed),
    )
}

/// The result in words; its first line is the verdict on the promises.
#[must_use]
pub fn result(record: &Record) -> String {
    let mut text = format!("{}\n", record.verdict.summary);
    // Writing to a text cannot fail.
    let _ = tell(&mut text, record);
    text
}

fn tell(text: &mut String, record: &Record) -> std::fmt::Result {
    for run in &record.runs {
        for example in &run.audit.examples {
            writeln!(text, "  {example}")?;
        }
    }
    writeln!(text, "{}: {}", record.scenario.name, record.scenario.about)?;
    for (number, run) in record.runs.iter().enumerate() {
        if record.runs.len() > 1 {
            writeln!(text, "run {} of {}", number.saturating_add(1), record.runs.len())?;
        }
        tell_run(text, run)?;
    }
    for missed in &record.verdict.missed {
        writeln!(text, "MISSED: {missed}")?;
    }
    for warning in &record.verdict.warnings {
        writeln!(text, "warning: {warning}")?;
    }
    writeln!(text, "{}", if record.verdict.passed { "passed" } else { "FAILED" })
}

fn tell_run(text: &mut String, run: &Run) -> std::fmt::Result {
    let outcomes = &run.outcomes;
    writeln!(
        text,
        "  {} requests in {:.1} s: {} approved, {} in part, {} declined, {} by stand-in; {} late, {} failed, {} invalid, \
         {} dropped",
        outcomes.offered,
        run.seconds,
        outcomes.approved,
        outcomes.partial,
        outcomes.declined,
        outcomes.stand_in,
        outcomes.late,
        outcomes.failed,
        outcomes.invalid,
        outcomes.dropped
    )?;
    writeln!(text, "  answered in {}", latency(&run.latency))?;
    writeln!(
        text,
        "  {} events delivered in {}; {} attempts, {} of them in vain",
        run.deliveries.events.saturating_sub(run.deliveries.undelivered),
        latency(&run.deliveries.latency),
        run.deliveries.attempts,
        run.deliveries.failed
    )?;
    let others = [
        ("asked twice", outcomes.duplicates),
        ("asked again after a broken connection", outcomes.retried),
        ("badly signed and refused", outcomes.forged_refused),
        ("ambiguous for what was in flight", run.audit.ambiguous),
    ];
    for (what, count) in others.into_iter().filter(|(_, count)| *count > 0) {
        writeln!(text, "  {count} {what}")?;
    }
    let between_nodes = [
        ("appends that another node was faster than", run.grown(|sample| sample.journal_conflicts)),
        ("forwards to another node that it did not answer", run.grown(|sample| sample.forwards_failed)),
    ];
    for (what, count) in between_nodes.into_iter().filter(|(_, count)| *count > 0.0) {
        writeln!(text, "  {count:.0} {what}")?;
    }
    if let (Some(cards), Some(authorizations)) = (run.audit.cards_compared, run.audit.authorizations_compared)
    {
        writeln!(text, "  ledger compared at the end: {cards} cards, {authorizations} authorizations")?;
    }
    if let Some(budgets) = run.audit.budgets_compared {
        let credits = run.credits.map_or(0, |credits| credits.count);
        writeln!(text, "  budgets compared at the end: {budgets} accounts; {credits} credits of balances")?;
    }
    if run.stages.len() > 1 {
        for stage in &run.stages {
            writeln!(
                text,
                "  from {:>5.1} s: {:>7.0}/s offered, {:>7.0}/s answered, {} dropped, {} unanswered, p50 {} p99 {}{}",
                stage.from_s,
                stage.offered_per_second,
                stage.achieved_per_second,
                stage.dropped,
                stage.unanswered,
                time(stage.latency.p50_us),
                time(stage.latency.p99_us),
                stage.nodes_cpu.map_or_else(String::new, |cpu| format!(", nodes {cpu:.2} cores")),
            )?;
        }
    }
    for mark in &run.marks {
        let normal =
            mark.normal_after_s.map_or_else(String::new, |s| format!(", all answered again after {s:.1} s"));
        writeln!(text, "  at {:.1} s: {} of {}{normal}", mark.at_s, mark.what, mark.target())?;
    }
    for (number, node) in run.nodes.iter().enumerate().filter(|(_, node)| node.programs.len() > 1) {
        writeln!(text, "  node {number} was {}", node.programs.join(", then "))?;
    }
    let nodes: Vec<String> = run
        .nodes
        .iter()
        .filter_map(|node| crate::watch::cpu_seconds(node, 0.0, f64::MAX).map(|_| node))
        .filter_map(|node| {
            let (first, last) = (node.samples.first()?, node.samples.last()?);
            let used = crate::watch::cpu_seconds(node, first.at_s, last.at_s)?;
            Some(format!("{:.2}", used / (last.at_s - first.at_s)))
        })
        .collect();
    writeln!(
        text,
        "  CPU in cores: generator {:.2} (busy {:.0} in 100 of the time), nodes {}",
        run.generator.cpu,
        run.generator.busy * 100.0,
        if nodes.is_empty() { "unknown".to_owned() } else { nodes.join(" ") }
    )
}

fn latency(latency: &Latency) -> String {
    format!(
        "p50 {} p90 {} p99 {} p99.9 {} max {}",
        time(latency.p50_us),
        time(latency.p90_us),
        time(latency.p99_us),
        time(latency.p999_us),
        time(latency.max_us)
    )
}

/// A time to two digits or three, in the unit that suits it.
#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "two minutes are far below 2^53 microseconds"
)]
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..10_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.0} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        for (us, text) in [(999, "999 us"), (1_234, "1.23 ms"), (12_345, "12.3 ms"), (2_000_000, "2000 ms")] {
            assert_eq!(time(us), text);
        }
    }
}
