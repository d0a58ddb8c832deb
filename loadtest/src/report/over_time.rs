//! One run over its time: rates, the heat map of latencies, and what the nodes told of themselves, each with marks where
//! something was done to a node.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{
    latency::{promises, time_ticks},
    plot::{Axis, Plot, Size, round_step},
};
use crate::{
    record::{Node, Run, Sample, Second, grown, heat_row_end_us},
    words::{self, Spread, float},
};

/// More columns than this are told apart by nobody: several seconds share one.
const COLUMNS_MAX: usize = 240;
/// What memory is counted in.
const MIB: f64 = 1_048_576.0;
/// The shades of the heat map; their colours are the page's.
const SHADES: f64 = 8.0;

/// A percentile of a column.
type OfColumn = fn(&Column) -> u64;

/// The lines over the heat map, by their class.
const PERCENTILES: [(&str, OfColumn); 3] =
    [("p50", |column| column.p50_us), ("p99", |column| column.p99_us), ("p999", |column| column.p999_us)];

/// Offered, achieved and lost, a second.
pub(super) fn rates(run: &Run) -> Markup {
    let columns = columns(run);
    let top = columns.iter().map(|column| column.offered.max(column.answered)).fold(1.0, f64::max) * 1.05;
    let plot = Plot {
        size: Size::WIDE,
        x: axis(run),
        y: Axis::from_zero("requests a second", top, 5.0, words::rate),
    };
    let steps = |of: fn(&Column) -> f64| -> Vec<(f64, f64)> {
        columns.iter().flat_map(|column| [(column.from_s, of(column)), (column.to_s, of(column))]).collect()
    };
    let told = columns.iter().map(|column| {
        let words = format!(
            "{}: offered {}, answered in time {}, stand-in {}, unanswered {}, dropped {}",
            column.when(),
            words::rate(column.offered),
            words::rate(column.answered - column.stand_in),
            words::rate(column.stand_in),
            words::rate(column.unanswered),
            words::rate(column.dropped),
        );
        (column.from_s, column.to_s, words)
    });
    let drawing = html! {
        (plot.area("offered", &steps(|column| column.offered)))
        (plot.line("answered", steps(|column| column.answered)))
        (plot.area("stand-in", &steps(|column| column.stand_in)))
        (plot.area("lost", &steps(|column| column.unanswered + column.dropped)))
        (marks(&plot, run, true))
        (plot.told_at(told))
    };
    html! {
        figure {
            figcaption {
                b { "Rate" }
                span.key.offered { "offered" } span.key.answered { "answered" }
                span.key.stand-in { "stand-in" } span.key.lost { "dropped or unanswered" }
            }
            (plot.draw("Requests offered, answered and lost, a second, over the run", &drawing))
        }
    }
}

/// How many questions took how long, over time.
pub(super) fn heat(run: &Run) -> Markup {
    let columns = columns(run);
    let rows = || columns.iter().flat_map(|column| column.heat.keys().copied());
    let (Some(first), Some(last)) = (rows().min(), rows().max()) else {
        return html! { p.none { "No request was answered: there are no latencies." } };
    };
    // The first row begins at nothing; a row more at each end leaves the picture air.
    let (low, high) = (row_start_us(first.saturating_sub(1)), heat_row_end_us(last.saturating_add(1)));
    let plot = Plot {
        size: Size { height: 290.0, ..Size::WIDE },
        x: axis(run),
        y: Axis::log("latency", low, high, time_ticks()),
    };
    let densest = columns.iter().flat_map(|column| column.heat.values().copied()).max().unwrap_or(1);
    let told = columns.iter().map(|column| {
        let words = format!(
            "{}: p50 {}, p99 {}, p99.9 {}, largest {}",
            column.when(),
            words::time(float(column.p50_us)),
            words::time(float(column.p99_us)),
            words::time(float(column.p999_us)),
            words::time(float(column.max_us)),
        );
        (column.from_s, column.to_s, words)
    });
    let drawing = html! {
        @for column in &columns {
            @for (row, count) in &column.heat {
                @let class = format!("heat shade{}", shade(*count, densest));
                (plot.cell(&class, (column.from_s, column.to_s), (row_start_us(*row), heat_row_end_us(*row))))
            }
        }
        @for (class, of) in PERCENTILES {
            (plot.line(class, columns.iter().filter(|column| of(column) > 0).map(|column| {
                (f64::midpoint(column.from_s, column.to_s), float(of(column)))
            })))
        }
        (promises(&plot))
        (marks(&plot, run, true))
        (plot.told_at(told))
    };
    html! {
        figure {
            figcaption {
                b { "Latency" }
                span.key.heat { "few to many requests" } span.key.p50 { "half within" }
                span.key.p99 { "99 in 100 within" } span.key.p999 { "999 in 1000 within" }
            }
            (plot.draw("How many requests took how long, over the run", &drawing))
        }
    }
}

/// CPU, memory and batch sizes of each node.
pub(super) fn resources(run: &Run) -> Markup {
    let is_told = run.nodes.iter().any(|node| node.samples.len() > 1);
    if !is_told {
        return html! { p.none { "No data from the nodes: no admin API was given." } };
    }
    html! {
        figcaption {
            b { "Nodes" }
            @for (number, _) in run.nodes.iter().enumerate() {
                span class={ "key node" (number % 6) } { "node " (number) }
            }
            span.key.generator { "generator (mean)" }
        }
        div.thirds {
            (of_nodes(run, "CPU, in cores", cpu_of, |cores| format!("{cores:.2}"), Some(run.generator.cpu)))
            (of_nodes(run, "memory, in MiB", memory_of, words::whole, None))
            (of_nodes(run, "appends a batch", batch_of, words::up_to_three_digits, None))
        }
    }
}

/// CPU seconds of all nodes for each question that was answered, in microseconds; none where the nodes do not tell.
pub(super) fn cpu_us_per_answer(run: &Run) -> Option<f64> {
    let answered: u64 = run.seconds_each.iter().map(|second| second.answered).sum();
    let cpu = run.grown(|sample| sample.cpu_seconds);
    (answered > 0 && cpu > 0.0).then(|| cpu * 1e6 / float(answered))
}

/// Appends for each batch over the whole run.
pub(super) fn batch_entries(run: &Run) -> Option<f64> {
    let batches = run.grown(|sample| sample.journal_batches);
    (batches > 0.0).then(|| run.grown(|sample| sample.journal_entries) / batches)
}

/// One or more seconds of the run, as rates; the latencies are the worst of them.
#[derive(Default)]
struct Column {
    from_s: f64,
    to_s: f64,
    offered: f64,
    answered: f64,
    stand_in: f64,
    unanswered: f64,
    dropped: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    heat: BTreeMap<u32, u64>,
}

impl Column {
    fn of(first: usize, seconds: &[Second]) -> Self {
        let long = float(seconds.len().try_into().unwrap_or(u64::MAX));
        let from_s = float(first.try_into().unwrap_or(u64::MAX));
        let rate = |of: fn(&Second) -> u64| float(seconds.iter().map(of).sum()) / long;
        let worst = |of: fn(&Second) -> u64| seconds.iter().map(of).max().unwrap_or(0);
        let mut heat: BTreeMap<u32, u64> = BTreeMap::new();
        for (row, count) in seconds.iter().flat_map(|second| &second.heat) {
            let sum = heat.entry(*row).or_default();
            *sum = sum.saturating_add(*count);
        }
        Self {
            from_s,
            to_s: from_s + long,
            offered: rate(|second| second.offered),
            answered: rate(|second| second.answered),
            stand_in: rate(|second| second.stand_in),
            unanswered: rate(|second| second.unanswered),
            dropped: rate(|second| second.dropped),
            p50_us: worst(|second| second.p50_us),
            p99_us: worst(|second| second.p99_us),
            p999_us: worst(|second| second.p999_us),
            max_us: worst(|second| second.max_us),
            heat,
        }
    }

    fn when(&self) -> String {
        if self.to_s - self.from_s > 1.5 {
            format!("{:.0} to {:.0} s", self.from_s, self.to_s)
        } else {
            format!("{:.0} s", self.from_s)
        }
    }
}

fn columns(run: &Run) -> Vec<Column> {
    let width = run.seconds_each.len().div_ceil(COLUMNS_MAX).max(1);
    let chunks = run.seconds_each.chunks(width).enumerate();
    chunks.map(|(number, seconds)| Column::of(number.saturating_mul(width), seconds)).collect()
}

/// The run's own time. Seconds are told whole, and the last one may be begun only.
fn axis(run: &Run) -> Axis {
    let told = float(run.seconds_each.len().try_into().unwrap_or(u64::MAX));
    let end = told.max(run.seconds.ceil()).max(1.0);
    let step = round_step(end / 10.0).max(1.0);
    Axis::between("seconds since the start", 0.0, end, step, |second| format!("{second:.0}"))
}

/// What was done to nodes; in a small plot without words.
fn marks(plot: &Plot, run: &Run, has_words: bool) -> Markup {
    html! {
        @for mark in &run.marks {
            @let class = if mark.is_end() { "end-of-node" } else { "node-back" };
            @let words = if has_words && class == "end-of-node" {
                format!("{} {}", mark.what, mark.target())
            } else {
                String::new()
            };
            (plot.moment(class, mark.at_s, &words))
        }
    }
}

fn row_start_us(row: u32) -> f64 {
    row.checked_sub(1).map_or(32.0, heat_row_end_us)
}

/// The shade of a cell: each is twice as full as the one before, back from the densest.
fn shade(count: u64, densest: u64) -> String {
    let halvings = (float(densest.max(1)) / float(count.max(1))).log2();
    format!("{:.0}", (SHADES - 1.0 - halvings).clamp(0.0, SHADES - 1.0))
}

/// A small plot with a line for each node, and one for the generator's mean where there is one.
fn of_nodes(
    run: &Run,
    title: &str,
    of: fn(&[Sample]) -> Option<f64>,
    words: fn(f64) -> String,
    mean: Option<f64>,
) -> Markup {
    let points = |node: &Node| -> Vec<(f64, f64)> {
        let pairs = node.samples.windows(2);
        pairs.filter_map(|pair| Some((pair.last()?.at_s, of(pair)?))).collect()
    };
    let nodes: Vec<Vec<(f64, f64)>> = run.nodes.iter().map(points).collect();
    let values = || nodes.iter().flatten().map(|(_, value)| *value);
    let top = Spread::of(values().chain(mean)).map_or(1.0, |spread| spread.max);
    let plot = Plot { size: Size::THIRD, x: axis(run), y: Axis::from_zero(title, top, 4.0, words) };
    let told =
        nodes.iter().flatten().map(|(at, value)| (at - 1.0, *at, format!("{at:.0} s: {}", words(*value))));
    let drawing = html! {
        (marks(&plot, run, false))
        @if let Some(mean) = mean {
            (plot.line("generator", [(0.0, mean), (run.seconds, mean)]))
        }
        @for (number, points) in nodes.iter().enumerate() {
            (plot.line(&format!("node{}", number % 6), points.iter().copied()))
        }
        @if nodes.len() == 1 { (plot.told_at(told)) }
    };
    html! { figure { (plot.draw(&format!("{title}, over the run"), &drawing)) } }
}

fn cpu_of(pair: &[Sample]) -> Option<f64> {
    let [before, after] = pair else { return None };
    let seconds = after.at_s - before.at_s;
    (seconds > 0.0).then(|| grown(pair, |sample| sample.cpu_seconds) / seconds)
}

fn memory_of(pair: &[Sample]) -> Option<f64> {
    Some(pair.last()?.memory_bytes / MIB)
}

fn batch_of(pair: &[Sample]) -> Option<f64> {
    let batches = grown(pair, |sample| sample.journal_batches);
    (batches > 0.0).then(|| grown(pair, |sample| sample.journal_entries) / batches)
}
