//! What runs come to: whether the promises held and the objectives were met, and what makes the figures doubtful.

use std::time::Duration;

use crate::{
    record::{Node, Outcomes, Run, Second, Setup, Verdict},
    scenario::{Objectives, Scenario},
};

/// A generator that is busy for more than this share of the time is what is measured.
const BUSY_MAX: f64 = 0.8;

/// A generator whose questions leave later than this, 1 in 100 of them, adds too much of its own to the times.
const LATENESS_MAX_US: u64 = 2_000;

/// The verdict on all runs of a scenario.
pub(crate) fn of(scenario: &Scenario, setup: &Setup, runs: &[Run]) -> Verdict {
    let sum = |of: fn(&Run) -> u64| runs.iter().map(of).fold(0, u64::saturating_add);
    let decisions = sum(|run| run.audit.decisions);
    let violations = sum(|run| run.audit.violations.values().copied().fold(0, u64::saturating_add));
    let mut verdict = Verdict {
        summary: format!("{violations} violations in {decisions} decisions"),
        decisions,
        violations,
        ..Verdict::default()
    };
    for run in runs {
        verdict.missed.extend(missed(scenario, run));
        verdict.warnings.extend(warnings(run));
    }
    if setup.build == "debug" {
        verdict.warnings.push("this is a debug build: its times say nothing".to_owned());
    }
    verdict.passed = violations == 0 && verdict.missed.is_empty();
    verdict
}

/// The objectives that a run has missed, in words.
fn missed(scenario: &Scenario, run: &Run) -> Vec<String> {
    let objectives = &scenario.objectives;
    let Outcomes { offered, invalid, late, failed, dropped, stand_in, .. } = run.outcomes;
    let mut missed = Vec::new();
    let unanswered = [invalid, late, failed, dropped].into_iter().fold(0, u64::saturating_add);
    let share = share(unanswered, offered);
    let of_several = objectives.unanswered_of_several_max.filter(|_| run.nodes.len() > 1);
    let unanswered_max = of_several.unwrap_or(objectives.unanswered_max);
    if share > unanswered_max {
        missed.push(format!(
            "expected at most {unanswered_max} of the requests without a valid answer in time, found {share:.5}: \
             {dropped} dropped, {late} late, {failed} failed, {invalid} invalid of {offered}"
        ));
    }
    let stand_in_share = self::share(stand_in, offered);
    if stand_in_share > objectives.stand_in_max {
        missed.push(format!(
            "expected at most {} of the requests with a stand-in decision, found {stand_in_share:.5}",
            objectives.stand_in_max
        ));
    }
    if let Some(most) = objectives.late_max.filter(|most| late > *most) {
        missed.push(format!("expected at most {most} requests answered after the deadline, found {late}"));
    }
    missed.extend(objectives.goodput_min.into_iter().flat_map(|least| lost_goodput(least, run)));
    missed.extend(unrest(scenario, run));
    missed.extend(slow_calm(scenario, run));
    let p99_ms = Duration::from_micros(run.latency.p99_us).as_secs_f64() * 1e3;
    if let Some(most) = objectives.p99_ms.filter(|most| p99_ms > *most) {
        missed.push(format!("expected 99 in 100 requests answered within {most} ms, found {p99_ms:.1} ms"));
    }
    let normal = run.marks.iter().filter_map(|mark| Some((mark, mark.normal_after_s?)));
    for (mark, after_s) in normal {
        if let Some(most) = objectives.normal_within_s.filter(|most| after_s > *most) {
            missed.push(format!(
                "expected everything to be {} again {most} s after the {} of {} at {:.1} s, found {after_s:.1} s",
                if mark.node.is_some() { "answered" } else { "decided" },
                mark.what,
                mark.target(),
                mark.at_s
            ));
        }
    }
    let grown = run.nodes.iter().filter_map(memory_growth).fold(0.0, f64::max);
    if let Some(most) = objectives.memory_growth_max.filter(|most| grown > *most) {
        missed.push(format!(
            "expected memory at most {most} above that in the second quarter of the run, found {grown:.3}"
        ));
    }
    if run.deliveries.undelivered > 0 {
        missed.push(format!(
            "expected every event acknowledged, found {} that are not",
            run.deliveries.undelivered
        ));
    }
    if scenario.database.is_some() && run.audit.cards_compared.is_none() {
        missed.push("expected a node that reads its journal at the end, found none".to_owned());
    }
    if run.audit.decisions == 0 {
        missed.push("expected decisions, found none".to_owned());
    }
    missed
}

/// How much more than the nodes decide at most a stage has to offer, for the load to be too much.
const OVERLOAD: f64 = 2.0;

/// Stages with too much load, in which the nodes decided less than they can.
fn lost_goodput(least: f64, run: &Run) -> Vec<String> {
    let decided: Vec<(f64, f64)> = run
        .stages
        .iter()
        .map(|stage| {
            let each = (0_u32..).map(f64::from).zip(&run.seconds_each);
            let inside =
                each.filter(|(at, _)| *at >= stage.from_s && *at + 1.0 <= stage.from_s + stage.seconds);
            let each: Vec<f64> = inside.map(|(_, second)| decided_in(second)).collect();
            let seconds: f64 = each.iter().map(|_| 1.0).sum();
            (stage.offered_per_second, if seconds > 0.0 { each.iter().sum::<f64>() / seconds } else { 0.0 })
        })
        .collect();
    let peak = decided.iter().map(|(_, decided)| *decided).fold(0.0, f64::max);
    let offered = decided.iter().map(|(offered, _)| *offered).fold(0.0, f64::max);
    let mut missed = Vec::new();
    if offered < OVERLOAD * peak {
        missed.push(format!(
            "expected a stage with {OVERLOAD} times the load that the nodes decide at most, {peak:.0} a second; found at most \
             {offered:.0}: use a higher --rate"
        ));
    }
    for (offered, decided) in decided {
        if offered > peak && decided < least * peak {
            missed.push(format!(
                "expected at least {least} of the {peak:.0} a second that the nodes decide at most, found {decided:.0} a second \
                 at a load of {offered:.0}"
            ));
        }
    }
    missed
}

/// Decisions of the policy.
#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn decided_in(second: &Second) -> f64 {
    second.approved.saturating_add(second.declined) as f64
}

/// Whether requests were still slow when the last stage should have been calm.
fn slow_calm(scenario: &Scenario, run: &Run) -> Option<String> {
    let Objectives { calm_within_s, calm_p99_ms, .. } = scenario.objectives;
    let (calm_from, most) = (calm_within_s?, calm_p99_ms?);
    let slowest = calm_seconds(calm_from, run)?.map(|(_, second)| second.p99_us).max()?;
    let found = Duration::from_micros(slowest).as_secs_f64() * 1e3;
    (found > most).then(|| {
        format!(
            "expected 99 in 100 requests of each calm second answered within {most} ms, found {found:.1} ms"
        )
    })
}

/// The seconds of the last stage, from so many after its beginning.
fn calm_seconds(calm_from: f64, run: &Run) -> Option<impl DoubleEndedIterator<Item = (f64, &Second)>> {
    let last = run.stages.last()?;
    let (from, ends) = (last.from_s + calm_from, last.from_s + last.seconds);
    let each: Vec<(f64, &Second)> = (0_u32..).map(f64::from).zip(&run.seconds_each).collect();
    Some(each.into_iter().filter(move |(at, _)| *at >= from && *at < ends))
}

/// Whether requests were still refused or unanswered when the last stage should have been calm.
fn unrest(scenario: &Scenario, run: &Run) -> Option<String> {
    let (most, last) = (scenario.objectives.calm_within_s?, run.stages.last()?);
    let is_odd = |second: &Second| second.stand_in > 0 || second.unanswered > 0 || second.dropped > 0;
    let (at, _) = calm_seconds(most, run)?.rfind(|(_, second)| is_odd(second))?;
    Some(format!(
        "expected every request decided by the policy {most} s after the last stage began, found otherwise {:.0} s after",
        at - last.from_s
    ))
}

/// By which share a node's memory was larger in the last quarter of its samples than in the second.
fn memory_growth(node: &Node) -> Option<f64> {
    let quarter = node.samples.len().checked_div(4).filter(|quarter| *quarter > 0)?;
    let mean = |from: usize| -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for sample in node.samples.iter().skip(from).take(quarter) {
            sum += sample.memory_bytes;
            count += 1.0;
        }
        sum / count
    };
    let last = node.samples.len().saturating_sub(quarter);
    Some(mean(last) / mean(quarter) - 1.0)
}

fn warnings(run: &Run) -> Vec<String> {
    let mut warnings = Vec::new();
    let generator = &run.generator;
    if generator.busy > BUSY_MAX {
        warnings.push(format!(
            "the generator was busy {:.0} in 100 of the time, with {:.2} cores: it, or whatever else runs on its machine, \
             limits this run; use fewer requests a second, or another machine for it",
            generator.busy * 100.0,
            generator.cpu
        ));
    }
    if generator.lateness.p99_us > LATENESS_MAX_US {
        let late_ms = Duration::from_micros(generator.lateness.p99_us).as_secs_f64() * 1e3;
        warnings.push(format!(
            "1 in 100 requests left the generator {late_ms:.1} ms late or more: that much of the times is its own"
        ));
    }
    if run.audit.cards_compared.is_none() {
        warnings.push(
            "the ledger was not compared at the end: name the admin ports of the nodes with --admin"
                .to_owned(),
        );
    }
    warnings.extend(run.audit.notes.iter().cloned());
    warnings
}

#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Audit, Deliveries, Generator, Latency, Mark, Sample, Stage};

    /// A run that has met every objective of the scenario `spike`.
    fn sound() -> Run {
        Run {
            outcomes: Outcomes { offered: 1_000, approved: 1_000, ..Outcomes::default() },
            latency: Latency { p99_us: 400_000, ..Latency::default() },
            audit: Audit { decisions: 1_000, cards_compared: Some(10), ..Audit::default() },
            ..Run::default()
        }
    }

    /// A run with little load, what the nodes take, twice that, five times that, and little: so much was decided in each.
    fn overloaded(decided: [u64; 5]) -> Run {
        let stage = |from_s: f64, offered_per_second: f64| Stage {
            from_s,
            seconds: 2.0,
            offered_per_second,
            ..Stage::default()
        };
        let second = |decided| Second { approved: decided, p99_us: 2_000, ..Second::default() };
        Run {
            stages: vec![
                stage(0.0, 100.0),
                stage(2.0, 1_000.0),
                stage(4.0, 2_000.0),
                stage(6.0, 5_000.0),
                stage(8.0, 100.0),
            ],
            seconds_each: decided
                .into_iter()
                .flat_map(|decided| [second(decided), second(decided)])
                .collect(),
            ..sound()
        }
    }

    #[test]
    fn with_several_nodes_every_request_is_answered_while_one_is_killed() {
        let scenario = Scenario::load("node-kill").unwrap();
        let nodes = |count: usize| Run {
            outcomes: Outcomes { offered: 1_000, approved: 999, late: 1, ..Outcomes::default() },
            latency: Latency::default(),
            nodes: vec![Node::default(); count],
            ..sound()
        };
        assert!(missed(&scenario, &nodes(1)).is_empty());
        let found = missed(&scenario, &nodes(3));
        assert!(matches!(&found[..], [one] if one.contains("1 late")), "{found:?}");
    }

    fn overload(scenario: &Scenario) {
        let mut scenario = scenario.clone();
        let Objectives { late_max, goodput_min, calm_within_s, calm_p99_ms, .. } =
            Scenario::load("overload").unwrap().objectives;
        scenario.objectives =
            Objectives { late_max, goodput_min, calm_within_s, calm_p99_ms, ..scenario.objectives };
        let check = |run: Run, expected: &[&str]| {
            let verdict = of(&scenario, &Setup::default(), &[run]);
            assert_eq!(verdict.missed.len(), expected.len(), "{verdict:?}");
            assert!(
                verdict.missed.iter().zip(expected).all(|(missed, part)| missed.contains(part)),
                "{verdict:?}"
            );
        };
        check(overloaded([100, 1_000, 950, 910, 100]), &[]);
        check(overloaded([100, 1_000, 950, 890, 100]), &["found 890 a second at a load of 5000"]);
        check(overloaded([100, 1_000, 17, 950, 100]), &["found 17 a second at a load of 2000"]);
        check(overloaded([100, 1_000, 2_000, 4_000, 100]), &["use a higher --rate"]);
        let outcomes = Outcomes { late: 1, ..sound().outcomes };
        let late = Run { outcomes, ..overloaded([100, 1_000, 950, 950, 100]) };
        check(
            late,
            &["without a valid answer", "expected at most 0 requests answered after the deadline, found 1"],
        );
        let mut slow = overloaded([100, 1_000, 950, 950, 100]);
        slow.seconds_each[9].p99_us = 60_000;
        check(slow, &["each calm second answered within 50 ms, found 60.0 ms"]);
    }

    #[test]
    fn a_verdict_says_what_was_missed() {
        let mut scenario = Scenario::load("spike").unwrap();
        scenario.objectives.normal_within_s = Some(5.0);
        scenario.objectives.memory_growth_max = Some(0.1);
        scenario.objectives.calm_within_s = Some(1.0);
        let check = |run: Run, expected: &str| {
            let verdict = of(&scenario, &Setup::default(), &[sound(), run]);
            let told = [verdict.missed.clone(), verdict.warnings.clone()].concat().join(" ");
            assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{verdict:?}");
            assert_eq!(verdict.passed, verdict.missed.is_empty() && verdict.violations == 0, "{verdict:?}");
            verdict
        };
        assert_eq!(check(sound(), "").summary, "0 violations in 2000 decisions");
        let outcomes = Outcomes { dropped: 1, ..sound().outcomes };
        check(Run { outcomes, ..sound() }, "1 dropped, 0 late, 0 failed, 0 invalid of 1000");
        let outcomes = Outcomes { stand_in: 20, ..sound().outcomes };
        check(Run { outcomes, ..sound() }, "with a stand-in decision, found 0.02000");
        let latency = Latency { p99_us: 600_000, ..Latency::default() };
        check(
            Run { latency, ..sound() },
            "expected 99 in 100 requests answered within 500 ms, found 600.0 ms",
        );
        let deliveries = Deliveries { undelivered: 3, ..Deliveries::default() };
        check(Run { deliveries, ..sound() }, "found 3 that are not");
        let stages = vec![Stage { from_s: 1.0, seconds: 3.0, ..Stage::default() }];
        let second = |stand_in| Second { stand_in, ..Second::default() };
        let seconds = |last: [u64; 4]| last.map(second).into();
        check(Run { stages: stages.clone(), seconds_each: seconds([5, 5, 0, 0]), ..sound() }, "");
        check(Run { stages, seconds_each: seconds([5, 5, 5, 1]), ..sound() }, "found otherwise 2 s after");
        overload(&scenario);
        let mark = Mark { what: "kill".to_owned(), normal_after_s: Some(6.0), ..Mark::default() };
        check(Run { marks: vec![mark], ..sound() }, "found 6.0 s");
        let node = |memory: [f64; 8]| Node {
            samples: memory.map(|memory_bytes| Sample { memory_bytes, ..Sample::default() }).into(),
            ..Node::default()
        };
        let nodes = |last| vec![node([1e8; 8]), node([1e7, 5e7, 9e7, 11e7, 30e7, 10e7, 10e7, last])];
        check(Run { nodes: nodes(11.8e7), ..sound() }, "");
        check(Run { nodes: nodes(12.4e7), ..sound() }, "second quarter of the run, found 0.120");
        let generator = Generator { busy: 0.9, ..Generator::default() };
        check(Run { generator, ..sound() }, "busy 90 in 100 of the time");
        let mut unread = sound();
        unread.audit.cards_compared = None;
        let mut failed_over = scenario.clone();
        failed_over.database = Scenario::load("database-silent").unwrap().database;
        let verdict = of(&failed_over, &Setup::default(), &[unread]);
        assert_eq!(verdict.missed, ["expected a node that reads its journal at the end, found none"]);
        let mut violated = sound();
        violated.audit.violations.insert("over_limit".to_owned(), 2);
        let verdict = check(violated, "");
        assert_eq!((verdict.summary.as_str(), verdict.passed), ("2 violations in 2000 decisions", false));
    }
}
