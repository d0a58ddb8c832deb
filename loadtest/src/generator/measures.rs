//! What is measured during a run: distributions of times, counts for each second and each stage. What is done with them
//! is in the record.

use std::{io, time::Duration};

use hdrhistogram::{
    Histogram,
    serialization::{V2DeflateSerializer, interval_log::IntervalLogWriterBuilder},
};

use super::pacer::Span;
use crate::{
    clock,
    record::{self, Latency, Outcomes, Second, heat_row},
};

/// The longest time that is told apart from longer ones: two minutes.
const LONGEST_US: u64 = 120_000_000;

/// How a question ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    Approved,
    Partial,
    Declined,
    StandIn { approved: bool },
    Invalid,
    Late,
    Failed,
}

impl Ending {
    const fn is_answer(self) -> bool {
        match self {
            Self::Approved | Self::Partial | Self::Declined | Self::StandIn { .. } => true,
            Self::Invalid | Self::Late | Self::Failed => false,
        }
    }
}

/// All that is counted and timed.
pub(super) struct Measures {
    pub(super) outcomes: Outcomes,
    questions: Times,
    pub(super) deliveries: Times,
    pub(super) lateness: Times,
    seconds: Vec<(Second, Times)>,
    stages: Vec<(record::Stage, Times)>,
    /// For each tenth of a second, whether a question ended in it without an answer.
    tenths_bad: Vec<bool>,
    /// The same for those that were not decided: answered by the stand-in, or not at all.
    tenths_undecided: Vec<bool>,
    /// How long Stripe waits.
    deadline_us: u64,
}

/// A distribution of times.
#[derive(Clone)]
pub(super) struct Times(Option<Histogram<u64>>);

impl Times {
    /// Told apart to so many digits.
    pub(super) fn new(digits: u8) -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, digits).ok())
    }

    pub(super) fn record(&mut self, us: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(us.max(1));
        }
    }

    pub(super) fn quantile_us(&self, quantile: f64) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.value_at_quantile(quantile))
    }

    pub(super) fn latency(&self) -> Latency {
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Latency::default();
        };
        let at = |quantile| histogram.value_at_quantile(quantile);
        let curve = histogram.iter_quantiles(5).map(|step| (step.quantile(), step.value_iterated_to()));
        Latency {
            count: histogram.len(),
            mean_us: histogram.mean(),
            min_us: histogram.min(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: histogram.max(),
            curve: curve.collect(),
        }
    }

    fn heat(&self) -> Vec<(u32, u64)> {
        let mut heat: Vec<(u32, u64)> = Vec::new();
        for step in self.0.iter().flat_map(Histogram::iter_recorded) {
            let row = heat_row(step.value_iterated_to());
            match heat.last_mut().filter(|(last, _)| *last == row) {
                Some((_, count)) => *count = count.saturating_add(step.count_at_value()),
                None => heat.push((row, step.count_at_value())),
            }
        }
        heat
    }
}

impl Measures {
    pub(super) fn new(stages: &[Span], deadline_ms: u64) -> Self {
        let stages = stages.iter().map(|span| {
            let stage = record::Stage {
                from_s: span.from_s,
                seconds: span.to_s - span.from_s,
                ..record::Stage::default()
            };
            (stage, Times::new(3))
        });
        Self {
            outcomes: Outcomes::default(),
            questions: Times::new(3),
            deliveries: Times::new(3),
            lateness: Times::new(3),
            seconds: Vec::new(),
            stages: stages.collect(),
            tenths_bad: Vec::new(),
            tenths_undecided: Vec::new(),
            deadline_us: deadline_ms.saturating_mul(1_000),
        }
    }

    /// A question was due.
    pub(super) fn offered(&mut self, stage: usize, due_us: u64) {
        grow(&mut self.outcomes.offered);
        grow(&mut self.second(due_us).0.offered);
        if let Some((stage, _)) = self.stages.get_mut(stage) {
            stage.offered_per_second += 1.0;
        }
    }

    /// A question never started.
    pub(super) fn dropped(&mut self, stage: usize, due_us: u64, now_us: u64) {
        grow(&mut self.outcomes.dropped);
        grow(&mut self.second(due_us).0.dropped);
        self.is_bad(now_us);
        if let Some((stage, _)) = self.stages.get_mut(stage) {
            grow(&mut stage.dropped);
        }
    }

    /// A question ended.
    pub(super) fn ended(
        &mut self,
        ending: Ending,
        reason: Option<&str>,
        stage: usize,
        due_us: u64,
        now_us: u64,
    ) {
        let outcomes = &mut self.outcomes;
        grow(match ending {
            Ending::Approved => &mut outcomes.approved,
            Ending::Partial => &mut outcomes.partial,
            Ending::Declined => &mut outcomes.declined,
            Ending::StandIn { .. } => &mut outcomes.stand_in,
            Ending::Invalid => &mut outcomes.invalid,
            Ending::Late => &mut outcomes.late,
            Ending::Failed => &mut outcomes.failed,
        });
        if let Some(reason) = reason {
            match outcomes.reasons.get_mut(reason) {
                Some(count) => grow(count),
                None => {
                    outcomes.reasons.insert(reason.to_owned(), 1);
                }
            }
        }
        let took_us = now_us.saturating_sub(due_us);
        // What fails at once has not been answered at once.
        let took_us = match ending {
            Ending::Invalid | Ending::Failed => took_us.max(self.deadline_us),
            Ending::Approved | Ending::Partial | Ending::Declined | Ending::StandIn { .. } | Ending::Late => {
                took_us
            }
        };
        self.questions.record(took_us);
        if matches!(ending, Ending::StandIn { .. }) {
            note(&mut self.tenths_undecided, now_us);
        }
        let (second, times) = self.second(now_us);
        times.record(took_us);
        match ending {
            Ending::Approved | Ending::Partial => grow(&mut second.approved),
            Ending::Declined => grow(&mut second.declined),
            Ending::StandIn { approved } => {
                grow(&mut second.stand_in);
                grow(if approved { &mut second.approved } else { &mut second.declined });
            }
            Ending::Invalid | Ending::Late | Ending::Failed => grow(&mut second.unanswered),
        }
        if ending.is_answer() {
            grow(&mut second.answered);
        } else {
            self.is_bad(now_us);
        }
        if let Some((stage, times)) = self.stages.get_mut(stage) {
            times.record(took_us);
            if ending.is_answer() {
                stage.achieved_per_second += 1.0;
            } else {
                grow(&mut stage.unanswered);
            }
        }
    }

    /// The stage that a moment is in; the last one after its end.
    pub(super) fn stage_at(&self, us: u64) -> usize {
        let at_s = Duration::from_micros(us).as_secs_f64();
        let begun = self.stages.partition_point(|(stage, _)| stage.from_s <= at_s);
        begun.saturating_sub(1)
    }

    /// An event was acknowledged.
    pub(super) fn delivered(&mut self, took_us: u64, now_us: u64) {
        self.deliveries.record(took_us);
        grow(&mut self.second(now_us).0.delivered);
    }

    /// The generator's CPU share in a stage.
    pub(super) fn stage_cpu(&mut self, stage: usize, share: f64) {
        if let Some((stage, _)) = self.stages.get_mut(stage) {
            stage.generator_cpu = share;
        }
    }

    /// The second before the one that `now_us` is in: counts, median, 99 in 100.
    pub(super) fn last_second(&self, now_us: u64) -> (Second, u64, u64) {
        let place = second_of(now_us).checked_sub(1).and_then(|place| self.seconds.get(place));
        place.map_or_else(Default::default, |(second, times)| {
            (second.clone(), times.quantile_us(0.5), times.quantile_us(0.99))
        })
    }

    /// All questions.
    pub(super) fn latency(&self) -> Latency {
        self.questions.latency()
    }

    /// Each second.
    pub(super) fn seconds(&self) -> Vec<Second> {
        let told = self.seconds.iter().map(|(second, times)| Second {
            p50_us: times.quantile_us(0.5),
            p99_us: times.quantile_us(0.99),
            p999_us: times.quantile_us(0.999),
            max_us: times.quantile_us(1.0),
            heat: times.heat(),
            ..second.clone()
        });
        told.collect()
    }

    /// Each stage.
    pub(super) fn stages(&self) -> Vec<record::Stage> {
        let told = self.stages.iter().map(|(stage, times)| record::Stage {
            offered_per_second: stage.offered_per_second / stage.seconds,
            achieved_per_second: stage.achieved_per_second / stage.seconds,
            latency: times.latency(),
            ..stage.clone()
        });
        told.collect()
    }

    /// From `from_us` on, how long it took until the last question that was not answered had ended, up to `to_us`.
    pub(super) fn normal_after_us(&self, from_us: u64, to_us: u64) -> u64 {
        after_last(&self.tenths_bad, from_us, to_us)
    }

    /// The same for the last question that was not decided.
    pub(super) fn decided_after_us(&self, from_us: u64, to_us: u64) -> u64 {
        after_last(&self.tenths_undecided, from_us, to_us)
    }

    /// The histograms of the seconds as an `.hlog`, for the tools of `HdrHistogram`.
    pub(super) fn hlog(&self, comment: &str) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment(comment)
            .with_max_value_divisor(1_000.0)
            .begin_log_with(&mut out, &mut serializer)?;
        for (place, (_, times)) in self.seconds.iter().enumerate() {
            if let Some(histogram) = &times.0 {
                let start = Duration::from_secs(u64::try_from(place).unwrap_or_default());
                log.write_histogram(histogram, start, Duration::from_secs(1), None)
                    .map_err(|cause| io::Error::other(format!("{cause:?}")))?;
            }
        }
        Ok(out)
    }

    fn is_bad(&mut self, now_us: u64) {
        note(&mut self.tenths_bad, now_us);
        note(&mut self.tenths_undecided, now_us);
    }

    fn second(&mut self, us: u64) -> (&mut Second, &mut Times) {
        let place = second_of(us);
        while self.seconds.len() <= place {
            self.seconds.push((Second::default(), Times::new(2)));
        }
        match self.seconds.get_mut(place) {
            Some((second, times)) => (second, times),
            None => unreachable!("there are as many seconds as have begun"),
        }
    }
}

const TENTH_US: u64 = 100_000;

/// Notes the tenth of a second that a moment is in.
fn note(tenths: &mut Vec<bool>, us: u64) {
    let place = tenth_of(us);
    if tenths.len() <= place {
        tenths.resize(place.saturating_add(1), false);
    }
    if let Some(tenth) = tenths.get_mut(place) {
        *tenth = true;
    }
}

/// How long it takes from one moment to the end of the last noted tenth before another.
fn after_last(tenths: &[bool], from_us: u64, to_us: u64) -> u64 {
    let within = tenth_of(from_us)..=tenth_of(to_us);
    let mut noted = tenths.iter().enumerate().filter(|(place, noted)| **noted && within.contains(place));
    noted.next_back().map_or(0, |(place, _)| {
        let end_us = u64::try_from(place).unwrap_or(u64::MAX).saturating_add(1).saturating_mul(TENTH_US);
        end_us.saturating_sub(from_us)
    })
}

fn tenth_of(us: u64) -> usize {
    us.checked_div(TENTH_US).and_then(|tenth| usize::try_from(tenth).ok()).unwrap_or_default()
}

fn second_of(us: u64) -> usize {
    us.checked_div(clock::us(Duration::from_secs(1)))
        .and_then(|second| usize::try_from(second).ok())
        .unwrap_or_default()
}

fn grow(count: &mut u64) {
    *count = count.saturating_add(1);
}
