//! The report of a load test: one HTML file from a record, for the screen (light and dark) and for paper. It needs no
//! network and has no script. Nothing is measured here, and nothing is judged.

mod latency;
mod over_time;
mod plot;
mod tables;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::record::{Record, Run};

/// The look of the page.
const STYLE: &str = include_str!("report/page.css");

/// The report of all runs of a record.
#[must_use]
pub fn html(record: &Record) -> String {
    page(record).into_string()
}

fn page(record: &Record) -> Markup {
    let shown = middle(&record.runs);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (record.verdict.summary) " · " (record.scenario.name) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { (tables::verdict(record)) (tables::key_figures(&record.runs)) }
                main {
                    @if let Some(run) = record.runs.get(shown) {
                        (run_in_full(record, shown, run))
                    } @else {
                        section { p.none { "There was no run." } }
                    }
                    (latency::against_load(&record.runs))
                    @if record.runs.len() > 1 {
                        section { h2 { "Repeats" } (tables::repeats(&record.runs)) (other_runs(record, shown)) }
                    }
                    section { h2 { "Setup" } (tables::setup(record)) }
                    section {
                        h2 { "Run it yourself" }
                        pre { @for command in &record.commands { (command) "\n" } }
                    }
                }
                footer {
                    "Latency counts from the time at which a request was due, not from when it was sent. CPU an answer is \
                    that of the nodes, with what they did for other events."
                }
            }
        }
    }
}

/// The run that is shown in full: the middle one by its p99, which is neither the luckiest nor the unluckiest.
fn middle(runs: &[Run]) -> usize {
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|number| runs.get(*number).map(|run| run.latency.p99_us));
    order.get(order.len() / 2).copied().unwrap_or(0)
}

fn run_in_full(record: &Record, number: usize, run: &Run) -> Markup {
    html! {
        section {
            h2 { "Over time" @if record.runs.len() > 1 { small { "run " (number.saturating_add(1)) ", the middle one by its p99" } } }
            (over_time(run))
        }
        section {
            h2 { "Latency" }
            (latency::percentiles(&record.runs, number))
            (tables::latencies(run))
        }
        section { h2 { "Outcomes" } (tables::outcomes(&run.outcomes)) }
        section { h2 { "Audit" } (tables::audit(run)) }
    }
}

fn over_time(run: &Run) -> Markup {
    html! { (over_time::rates(run)) (over_time::heat(run)) (tables::marks(run)) (over_time::resources(run)) }
}

/// The runs that are not shown in full, folded away.
fn other_runs(record: &Record, shown: usize) -> Markup {
    html! {
        @for (number, run) in record.runs.iter().enumerate().filter(|(number, _)| *number != shown) {
            details {
                summary { "Run " (number.saturating_add(1)) ", seed " (run.seed) }
                (over_time(run)) (tables::latencies(run)) (tables::outcomes(&run.outcomes)) (tables::audit(run))
            }
        }
    }
}

#[cfg(test)]
mod tests;
