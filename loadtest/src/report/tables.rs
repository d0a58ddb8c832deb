//! What is told in words and figures: the verdict, the setup, how questions ended, what the auditor found, what became of
//! kills, the repeats beside each other.

use maud::{Markup, html};

use super::over_time::{batch_entries, cpu_us_per_answer};
use crate::{
    record::{Audit, Latency, Outcomes, Record, Run, Setup, Verdict},
    words::{self, Spread, float, share},
};

/// The first line, and what else a reader must know before any figure.
pub(super) fn verdict(record: &Record) -> Markup {
    let Verdict { summary, passed, missed, warnings, .. } = &record.verdict;
    let scenario = &record.scenario;
    html! {
        h1 { (summary) }
        p.lead {
            span class={ "verdict " (if *passed { "passed" } else { "failed" }) } {
                (if *passed { "✓ passed" } else { "✗ failed" })
            }
            b { (scenario.name) } " " (scenario.about)
        }
        @for miss in missed { p.note.failed { b { "Missed " } (miss) } }
        @if !warnings.is_empty() {
            div.note.warning { @for warning in warnings { p { b { "Note " } (warning) } } }
        }
    }
}

/// The few figures that most readers came for, over all runs.
pub(super) fn key_figures(runs: &[Run]) -> Markup {
    let figures = runs_figures();
    html! {
        dl.figures {
            @for figure in figures.iter().filter(|figure| figure.is_key) {
                @if let Some(spread) = Spread::of(runs.iter().filter_map(|run| (figure.of)(run))) {
                    div {
                        dt { (figure.name) }
                        dd { (telling(figure, spread.median)) }
                        @if runs.len() > 1 {
                            dd.spread { (telling(figure, spread.min)) " to " (telling(figure, spread.max)) }
                        }
                    }
                }
            }
        }
    }
}

/// All runs beside each other, with the median and the extremes.
pub(super) fn repeats(runs: &[Run]) -> Markup {
    let figures = runs_figures();
    html! {
        div.wide { table {
            thead { tr {
                th.name { "run" } th { "seed" }
                @for figure in &figures { th { (figure.name) } }
            } }
            tbody {
                @for (number, run) in runs.iter().enumerate() {
                    tr {
                        td.name { (number.saturating_add(1)) } td { (run.seed) }
                        @for figure in &figures { td { (maybe(figure, (figure.of)(run))) } }
                    }
                }
            }
            @if runs.len() > 1 {
                tfoot {
                    (foot("median", &figures, runs, |spread| spread.median))
                    (foot("least", &figures, runs, |spread| spread.min))
                    (foot("most", &figures, runs, |spread| spread.max))
                }
            }
        } }
    }
}

/// A row of what all runs have in common.
fn foot(name: &str, figures: &[Figure], runs: &[Run], of: fn(Spread) -> f64) -> Markup {
    let spread = |figure: &Figure| Spread::of(runs.iter().filter_map(|run| (figure.of)(run)));
    html! {
        tr {
            td.name colspan="2" { (name) }
            @for figure in figures { td { (maybe(figure, spread(figure).map(of))) } }
        }
    }
}

/// A figure of a run.
struct Figure {
    name: &'static str,
    /// None where it was not measured.
    of: fn(&Run) -> Option<f64>,
    telling: fn(f64) -> String,
    is_key: bool,
}

fn runs_figures() -> Vec<Figure> {
    let figure = |name, is_key, telling, of| Figure { name, of, telling, is_key };
    vec![
        figure("answered in time", true, words::percent, |run| {
            Some(share(answered(&run.outcomes), run.outcomes.offered))
        }),
        figure("answers a second", true, words::rate, |run| {
            // Only while questions were asked: stories end later.
            let asked_s: f64 = run.stages.iter().map(|stage| stage.seconds).sum();
            (asked_s > 0.0).then(|| float(answered(&run.outcomes)) / asked_s)
        }),
        figure("p50", true, words::time, |run| measured(&run.latency, |latency| latency.p50_us)),
        figure("p99", true, words::time, |run| measured(&run.latency, |latency| latency.p99_us)),
        figure("p99.9", true, words::time, |run| measured(&run.latency, |latency| latency.p999_us)),
        figure("largest", true, words::time, |run| measured(&run.latency, |latency| latency.max_us)),
        figure("CPU an answer", true, words::time, cpu_us_per_answer),
        figure("appends a batch", false, words::three_digits, batch_entries),
        figure("generator busy", false, words::percent, |run| Some(run.generator.busy)),
        figure("violations", false, words::whole, |run| Some(float(run.audit.violations.values().sum()))),
    ]
}

fn telling(figure: &Figure, value: f64) -> String {
    (figure.telling)(value)
}

fn maybe(figure: &Figure, value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), figure.telling)
}

fn measured(latency: &Latency, of: fn(&Latency) -> u64) -> Option<f64> {
    (latency.count > 0).then(|| float(of(latency)))
}

/// Answered with something that Stripe takes for a decision, in time; a stand-in's answer is one.
fn answered(outcomes: &Outcomes) -> u64 {
    let Outcomes { approved, partial, declined, stand_in, .. } = outcomes;
    [approved, partial, declined, stand_in].into_iter().fold(0, |sum, part| sum.saturating_add(*part))
}

/// Machine, build, journal.
pub(super) fn setup(record: &Record) -> Markup {
    let Setup {
        started_at,
        processor,
        cores,
        memory_bytes,
        kernel,
        commit,
        build,
        server,
        journal,
        file_system,
        targets,
        is_local,
    } = &record.setup;
    let scenario = &record.scenario;
    let node = server.iter().map(|(label, value)| format!("{label} {value}")).collect::<Vec<_>>().join(", ");
    let nodes = match (targets.len(), is_local) {
        (number, true) => format!("{number}, on the generator's machine, sharing its processors"),
        (number, false) => format!("{number}, elsewhere: {}", targets.join(" ")),
    };
    let runs = record.runs.first().into_iter();
    let upgraded =
        runs.flat_map(|run| run.nodes.iter().enumerate()).filter(|(_, node)| node.programs.len() > 1);
    let programs = upgraded
        .map(|(number, node)| format!("node {number} {}", node.programs.join(", then ")))
        .collect::<Vec<_>>()
        .join("; ");
    let journal =
        if file_system.is_empty() { journal.clone() } else { format!("{journal} on {file_system}") };
    let shares = record.runs.iter().filter_map(|run| {
        let nodes = cpu_us_per_answer(run)? * float(answered(&run.outcomes))
            / 1e6
            / run.seconds.max(f64::MIN_POSITIVE);
        Some((nodes, run.generator.cpu))
    });
    let shares: Vec<(f64, f64)> = shares.collect();
    let cores_of = |of: fn(&(f64, f64)) -> f64| {
        Spread::of(shares.iter().map(of)).map(|spread| format!("{:.2}", spread.median))
    };
    let cpu = cores_of(|share| share.0).zip(cores_of(|share| share.1));
    let rows = [
        ("Started", started_at.clone()),
        ("Processor", format!("{processor}, {cores} for the generator's process")),
        ("Memory", if *memory_bytes == 0 { String::new() } else { words::bytes(float(*memory_bytes)) }),
        ("Kernel", kernel.clone()),
        ("Commit", commit.clone()),
        ("Build", build.clone()),
        ("Node", node),
        ("Nodes", nodes),
        ("Programs", programs),
        ("Journal", journal),
        (
            "CPU shares",
            cpu.map_or_else(String::new, |(nodes, own)| format!("nodes {nodes} cores, generator {own}")),
        ),
        (
            "Load",
            format!(
                "{} a second for {} s, {:?} arrivals, {} cards, seed {}",
                words::rate(scenario.rate),
                scenario.duration_s,
                scenario.arrivals,
                words::rate(float(u64::try_from(scenario.cards).unwrap_or(u64::MAX))),
                scenario.seed,
            )
            .to_lowercase(),
        ),
        ("Connections", format!("{} to each node at most", scenario.connections)),
    ];
    html! {
        dl.setup {
            @for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
                dt { (name) } dd { (value) }
            }
        }
    }
}

/// How questions ended, and why.
pub(super) fn outcomes(outcomes: &Outcomes) -> Markup {
    let Outcomes {
        offered,
        approved,
        partial,
        declined,
        stand_in,
        invalid,
        late,
        failed,
        dropped,
        duplicates,
        retried,
        forged_refused,
        reasons,
    } = outcomes;
    let endings = [
        ("approved", "approved", approved),
        ("partial", "approved in part", partial),
        ("declined", "declined", declined),
        ("stand-in", "stand-in", stand_in),
        ("lost", "no decision in the answer", invalid),
        ("lost", "late", late),
        ("lost", "connection failed", failed),
        ("lost", "dropped", dropped),
    ];
    let besides = [
        ("duplicates answered", duplicates),
        ("sent again", retried),
        ("forged and refused", forged_refused),
    ];
    let most = reasons.values().copied().max().unwrap_or(1);
    html! {
        div.bar role="img" aria-label="Shares of the endings" {
            @for (class, name, count) in endings.into_iter().filter(|(_, _, count)| **count > 0) {
                span class=(class) style={ "flex-grow:" (count) } title={ (name) ": " (words::count(*count)) } {}
            }
        }
        div.halves {
            table {
                thead { tr { th.name { "questions" } th { (words::count(*offered)) } th {} } }
                tbody {
                    @for (class, name, count) in endings.into_iter().filter(|(class, _, count)| **count > 0 || *class != "lost") {
                        tr {
                            td.name { span class={ "key " (class) } { (name) } }
                            td { (words::count(*count)) } td { (words::percent(share(*count, *offered))) }
                        }
                    }
                    @for (name, count) in besides.into_iter().filter(|(_, count)| **count > 0) {
                        tr.besides { td.name { (name) } td { (words::count(*count)) } td {} }
                    }
                }
            }
            table {
                thead { tr { th.name { "reason" } th {} th { "answers" } } }
                tbody {
                    @for (reason, count) in reasons {
                        tr {
                            td.name { code { (reason) } }
                            td.meter { span style={ "width:" (format!("{:.1}%", share(*count, most) * 100.0)) } {} }
                            td { (words::count(*count)) }
                        }
                    }
                }
            }
        }
    }
}

/// Times of questions and of deliveries.
pub(super) fn latencies(run: &Run) -> Markup {
    let rows = [
        ("questions", &run.latency),
        ("events delivered", &run.deliveries.latency),
        ("the generator's own lateness", &run.generator.lateness),
    ];
    html! {
        div.wide { table {
            thead { tr {
                th.name { "from the intended time" } th { "count" } th { "mean" } th { "p50" } th { "p90" } th { "p99" } th { "p99.9" }
                th { "p99.99" } th { "largest" }
            } }
            tbody {
                @for (name, latency) in rows.into_iter().filter(|(_, latency)| latency.count > 0) {
                    tr {
                        td.name { (name) } td { (words::count(latency.count)) } td { (words::time(latency.mean_us)) }
                        @for us in [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.p9999_us, latency.max_us] {
                            td { (words::time(float(us))) }
                        }
                    }
                }
            }
        } }
    }
}

/// What was done to nodes, and how long it took until all was as before.
pub(super) fn marks(run: &Run) -> Markup {
    html! {
        @if !run.marks.is_empty() {
            div.wide { table.narrow {
                thead { tr { th { "at" } th.name { "what" } th.name { "node" } th { "normal again after" } } }
                tbody {
                    @for mark in &run.marks {
                        @let is_end = mark.is_end();
                        tr {
                            td { (format!("{:.1} s", mark.at_s)) } td.name { (mark.what) } td.name { (mark.target()) }
                            td {
                                @match mark.normal_after_s {
                                    Some(seconds) => { (format!("{seconds:.1} s")) }
                                    None if is_end => { b.failed { "never" } }
                                    None => {}
                                }
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// What the auditor looked at, and what it found.
pub(super) fn audit(run: &Run) -> Markup {
    let Audit { decisions, violations, examples, ambiguous, notes, .. } = &run.audit;
    let Audit { cards_compared, authorizations_compared, budgets_compared, .. } = &run.audit;
    let compared = |what: &str, count: Option<u64>| match count {
        Some(count) => format!("{} {what} compared with Stripe's state at the end.", words::count(count)),
        None => format!("No {what} compared at the end: there was no admin API to ask."),
    };
    html! {
        p {
            (words::count(*decisions)) " answers judged. " (compared("cards", *cards_compared)) " "
            (compared("authorizations", *authorizations_compared))
            @if let Some(budgets) = budgets_compared {
                " " (words::count(*budgets)) " accounts that cards share compared with the sums over their cards."
            }
            @if let Some(credits) = &run.credits {
                " " (words::count(credits.count)) " credits of balances, the slowest durable after " (words::time(float(credits.longest_us))) "; "
                (words::count(credits.repeated)) " were sent again."
            }
            @if *ambiguous > 0 {
                " " (words::count(*ambiguous)) " declines or partial approvals may or may not have had room, for what was on its way meanwhile."
            }
        }
        @if !violations.is_empty() {
            table.narrow {
                thead { tr { th.name { "violation" } th { "found" } } }
                tbody { @for (kind, count) in violations { tr { td.name { b.failed { (kind) } } td { (words::count(*count)) } } } }
            }
        }
        @if !examples.is_empty() { ul { @for example in examples { li { (example) } } } }
        @for note in notes { p.note.warning { b { "Note " } (note) } }
    }
}
