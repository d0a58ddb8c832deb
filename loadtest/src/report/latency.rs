//! Latencies of whole runs: the percentile plot, and latency against offered load to beyond the knee.

use maud::{Markup, html};

use super::plot::{Axis, Plot, Size};
use crate::{
    record::{Latency, Run, Stage},
    words::{self, Spread, float},
};

/// The least share of what was offered that a stage must have answered in time to count as held.
const HELD_SHARE: f64 = 0.99;
/// Fewer stages show no curve.
const STAGES_MIN: usize = 3;

/// Share of all questions against the time that they stayed within; the share as a logarithm of what is left, so that
/// each nine has as much room as the one before it.
pub(super) fn percentiles(runs: &[Run], shown: usize) -> Markup {
    let most = runs.iter().map(|run| run.latency.count).max().unwrap_or(0);
    if most == 0 {
        return html! { p.none { "No request was measured." } };
    }
    let slowest = runs.iter().map(|run| run.latency.max_us).max().unwrap_or(1);
    let fastest = runs.iter().map(|run| run.latency.min_us).min().unwrap_or(1);
    let low = float(fastest.max(10)).min(1e4) * 0.8;
    let nines = [
        (0.0, "0"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
        (0.99999, "99.999 %"),
        (0.999_999, "99.9999 %"),
    ];
    let ticks = nines.into_iter().map(|(share, words)| (1.0 / (1.0 - share), words.to_owned())).collect();
    let plot = Plot {
        size: Size { height: 320.0, ..Size::WIDE },
        x: Axis::log("share of all requests", 1.0, float(most).max(10.0), ticks),
        y: Axis::log("answered within", low, float(slowest).max(3e6), time_ticks()),
    };
    let drawing = html! {
        (promises(&plot))
        @for (number, run) in runs.iter().enumerate() {
            @if number != shown { (plot.line("other", curve(&run.latency))) }
        }
        @if let Some(run) = runs.get(shown) {
            (plot.line("answered", curve(&run.latency)))
            (plot.told_at(told(&run.latency)))
        }
    };
    html! {
        figure {
            figcaption {
                b { "Percentiles" }
                span.key.answered { "run " (shown.saturating_add(1)) }
                @if runs.len() > 1 { span.key.other { "its repeats" } }
            }
            (plot.draw("The share of requests answered within each time", &drawing))
        }
    }
}

fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    latency.curve.iter().map(|(share, us)| (one_in(*share, latency.count), float(*us))).collect()
}

/// Of how many questions one took longer. The last of all has none behind it: it is its own.
fn one_in(share: f64, count: u64) -> f64 {
    (1.0 / (1.0 - share).max(f64::MIN_POSITIVE)).min(float(count.max(1)))
}

/// A column from each point of the curve to the next.
fn told(latency: &Latency) -> Vec<(f64, f64, String)> {
    let points = latency.curve.iter().zip(latency.curve.iter().skip(1));
    let columns = points.map(|((from, _), (to, us))| {
        let words = format!("{} within {}", exact_percent(*to), words::time(float(*us)));
        (one_in(*from, latency.count), one_in(*to, latency.count), words)
    });
    columns.filter(|(from, to, _)| to > from).collect()
}

/// A share with as many nines as it has.
fn exact_percent(share: f64) -> String {
    let text = format!("{:.5}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Latency and what was achieved against what was offered, for scenarios with several stages.
pub(super) fn against_load(runs: &[Run]) -> Markup {
    let steps = steps(runs);
    if steps.len() < STAGES_MIN {
        return html! {};
    }
    html! {
        section {
            h2 { "Against offered load" }
            p { (held(&steps)) }
            div.halves { (achieved(&steps)) (latencies(&steps)) }
            (table(&steps))
        }
    }
}

/// Lines at half a second, at a second and a half, and where Stripe stops waiting.
pub(super) fn promises(plot: &Plot) -> Markup {
    html! {
        (plot.level("quiet", 500_000.0, "0.5 s", false))
        (plot.level("quiet", 1_500_000.0, "1.5 s", false))
        (plot.level("deadline", 2_000_000.0, "2 s: Stripe's deadline", true))
    }
}

/// Words at 1 and 3 of each power of ten, for an axis of times.
pub(super) fn time_ticks() -> Vec<(f64, String)> {
    let powers = [10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
    let values = powers.into_iter().flat_map(|power| [power, 3.0 * power]);
    values.map(|us| (us, words::round_time(us))).collect()
}

/// One stage of the scenario in all runs.
struct Step<'a> {
    of_runs: Vec<&'a Stage>,
}

impl Step<'_> {
    fn spread(&self, of: impl Fn(&Stage) -> f64) -> Spread {
        let none = Spread { median: 0.0, min: 0.0, max: 0.0 };
        Spread::of(self.of_runs.iter().map(|stage| of(stage))).unwrap_or(none)
    }

    fn offered(&self) -> f64 {
        self.spread(|stage| stage.offered_per_second).median
    }

    /// In each run: one that fell short is not made good by the others.
    fn is_held(&self) -> bool {
        let answered =
            |stage: &Stage| stage.achieved_per_second / stage.offered_per_second.max(f64::MIN_POSITIVE);
        self.spread(answered).min >= HELD_SHARE
    }

    /// How many questions a second were answered, in words.
    fn answered(&self) -> String {
        let Spread { median, min, max } = self.spread(|stage| stage.achieved_per_second);
        if self.of_runs.len() == 1 {
            return format!("{} were", words::rate(median));
        }
        format!("{} were in the worst run, {} in the best", words::rate(min), words::rate(max))
    }
}

/// The stages in order of what was offered in them.
fn steps(runs: &[Run]) -> Vec<Step<'_>> {
    let stages = runs.iter().map(|run| run.stages.len()).min().unwrap_or(0);
    let mut steps: Vec<Step> = (0..stages)
        .map(|number| Step { of_runs: runs.iter().filter_map(|run| run.stages.get(number)).collect() })
        .collect();
    steps.sort_by(|one, other| one.offered().total_cmp(&other.offered()));
    steps
}

/// How far it held, in a sentence.
fn held(steps: &[Step]) -> String {
    let share = words::percent(HELD_SHARE);
    let is_repeated = steps.iter().any(|step| step.of_runs.len() > 1);
    let in_each_run = if is_repeated { " in each run" } else { "" };
    let held = steps.iter().take_while(|step| step.is_held()).last().map(Step::offered);
    let beyond = steps.iter().find(|step| !step.is_held());
    match (held, beyond) {
        (Some(held), Some(beyond)) => format!(
            "Up to {} requests a second at least {share} were answered{in_each_run}; at {} a second {}.",
            words::rate(held),
            words::rate(beyond.offered()),
            beyond.answered(),
        ),
        (Some(held), None) => format!(
            "At every stage, up to {} requests a second, at least {share} were answered{in_each_run}: the knee is beyond.",
            words::rate(held),
        ),
        (None, Some(beyond)) => format!(
            "Already at the lowest stage, {} requests a second, fewer than {share} were answered: {}.",
            words::rate(beyond.offered()),
            beyond.answered(),
        ),
        (None, None) => String::new(),
    }
}

fn load_axis(steps: &[Step]) -> Axis {
    let top = steps.last().map_or(1.0, Step::offered);
    Axis::from_zero("offered a second", top, 5.0, words::rate)
}

fn achieved(steps: &[Step]) -> Markup {
    let top = steps.last().map_or(1.0, Step::offered);
    let plot = Plot {
        size: Size::HALF,
        x: load_axis(steps),
        y: Axis::from_zero("answered a second", top, 5.0, words::rate),
    };
    let of = |stage: &Stage| stage.achieved_per_second;
    let drawing = html! {
        (plot.line("ideal", [(0.0, 0.0), (top, top)]))
        (measured(&plot, steps, "answered", of))
        (plot.told_at(columns(steps, |step| format!("{} of {}", words::rate(step.spread(of).median), words::rate(step.offered())))))
    };
    html! {
        figure {
            figcaption { b { "Answered" } span.key.answered { "answered" } span.key.ideal { "all that was offered" } }
            (plot.draw("Requests answered a second against requests offered a second", &drawing))
        }
    }
}

fn latencies(steps: &[Step]) -> Markup {
    let all = || steps.iter().flat_map(|step| &step.of_runs).map(|stage| &stage.latency);
    let low = all().map(|latency| latency.p50_us).min().unwrap_or(1).max(10);
    let high = all().map(|latency| latency.p999_us).max().unwrap_or(1);
    let plot = Plot {
        size: Size::HALF,
        x: load_axis(steps),
        y: Axis::log("latency", float(low) / 2.0, float(high).max(3e6), time_ticks()),
    };
    let p50 = |stage: &Stage| float(stage.latency.p50_us);
    let p99 = |stage: &Stage| float(stage.latency.p99_us);
    let p999 = |stage: &Stage| float(stage.latency.p999_us);
    let drawing = html! {
        (promises(&plot))
        (measured(&plot, steps, "node0", p50))
        (measured(&plot, steps, "node1", p99))
        (measured(&plot, steps, "node2", p999))
        (plot.told_at(columns(steps, |step| {
            let time = |of: fn(&Stage) -> f64| words::time(step.spread(of).median);
            format!("p50 {}, p99 {}, p99.9 {}", time(p50), time(p99), time(p999))
        })))
    };
    html! {
        figure {
            figcaption { b { "Latency" } span.key.node0 { "p50" } span.key.node1 { "p99" } span.key.node2 { "p99.9" } }
            (plot.draw("Latency against requests offered a second", &drawing))
        }
    }
}

/// A line through the medians of all runs, in the band of what was measured.
fn measured(plot: &Plot, steps: &[Step], class: &str, of: impl Fn(&Stage) -> f64 + Copy) -> Markup {
    let spread = |step: &Step| (step.offered(), step.spread(of));
    let band: Vec<(f64, f64, f64)> =
        steps.iter().map(spread).map(|(at, spread)| (at, spread.min, spread.max)).collect();
    let medians = || steps.iter().map(spread).map(|(at, spread)| (at, spread.median));
    html! {
        @if steps.iter().any(|step| step.of_runs.len() > 1) { (plot.band(class, &band)) }
        (plot.line(class, medians()))
        (plot.dots(class, medians()))
    }
}

/// A column for each stage, half-way to its neighbours.
fn columns(steps: &[Step], words: impl Fn(&Step) -> String) -> Vec<(f64, f64, String)> {
    let at: Vec<f64> = steps.iter().map(Step::offered).collect();
    let between = |one: usize| Some(f64::midpoint(*at.get(one)?, *at.get(one.checked_add(1)?)?));
    let column = |(number, step): (usize, &Step)| {
        let from = number.checked_sub(1).and_then(between).unwrap_or(0.0);
        (from, between(number).unwrap_or(step.offered()), words(step))
    };
    steps.iter().enumerate().map(column).collect()
}

fn table(steps: &[Step]) -> Markup {
    html! {
        div.wide { table {
            thead { tr {
                th { "offered a second" } th { "answered" } th { "dropped" } th { "unanswered" } th { "p50" } th { "p99" }
                th { "p99.9" } th { "largest" } th { "CPU of nodes" } th { "of generator" }
            } }
            tbody {
                @for step in steps {
                    @let time = |of: fn(&Latency) -> u64| words::time(step.spread(|stage| float(of(&stage.latency))).median);
                    tr {
                        td { (words::rate(step.offered())) }
                        td { (words::rate(step.spread(|stage| stage.achieved_per_second).median)) }
                        td { (words::whole(step.spread(|stage| float(stage.dropped)).median)) }
                        td { (words::whole(step.spread(|stage| float(stage.unanswered)).median)) }
                        td { (time(|latency| latency.p50_us)) }
                        td { (time(|latency| latency.p99_us)) }
                        td { (time(|latency| latency.p999_us)) }
                        td { (time(|latency| latency.max_us)) }
                        td { (cores(step)) }
                        td { (format!("{:.2}", step.spread(|stage| stage.generator_cpu).median)) }
                    }
                }
            }
        } }
    }
}

fn cores(step: &Step) -> String {
    let cores = step.of_runs.iter().filter_map(|stage| stage.nodes_cpu);
    Spread::of(cores).map_or_else(|| "–".to_owned(), |spread| format!("{:.2}", spread.median))
}
