//! Reports of records that are made up here, as runs would make them, from a seed.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up figures are small, and a test that overflows fails"
)]

use std::collections::BTreeMap;

use super::html;
use crate::{
    record::{
        Audit, Deliveries, FORMAT, Generator, Latency, Mark, Node, Outcomes, Record, Run, Sample, Second,
        Setup, Stage, Verdict, heat_row,
    },
    scenario::Scenario,
};

#[test]
fn the_first_line_is_the_count_of_violations() {
    let report = html(&record("steady", 1));
    let (_, body) = report.split_once("<body>").unwrap();
    let first = text(body).into_iter().next().unwrap();
    assert_eq!(first, "0 violations in 30,000 decisions");
    assert!(report.contains("<title>0 violations in 30,000 decisions"), "the title of the page says it too");
}

#[test]
fn a_report_needs_nothing_but_itself() {
    for name in ["steady", "saturation", "node-kill"] {
        let report = html(&record(name, 2));
        for outside in
            ["<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import", "javascript:"]
        {
            assert!(!report.contains(outside), "{name}: the report has `{outside}`");
        }
    }
}

#[test]
fn every_scenario_gives_a_whole_page() {
    let mut records: Vec<Record> = ["steady", "saturation", "node-kill", "ramp", "spike"]
        .into_iter()
        .flat_map(|name| [record(name, 1), record(name, 3)])
        .collect();
    let mut empty = record("smoke", 1);
    empty.runs.clear();
    records.push(empty);
    let mut nothing_came = record("smoke", 1);
    nothing_came.runs = vec![Run::default()];
    records.push(nothing_came);
    let mut refused = record("saturation", 1);
    for run in &mut refused.runs {
        run.latency = Latency::default();
        run.nodes.clear();
        run.stages.iter_mut().for_each(|stage| *stage = Stage { seconds: 1.0, ..Stage::default() });
        run.seconds_each.iter_mut().for_each(|second| *second = Second::default());
    }
    records.push(refused);
    for record in records {
        let report = html(&record);
        assert_eq!(
            unclosed(&report),
            Vec::<&str>::new(),
            "{}: elements that do not end",
            record.scenario.name
        );
        for wrong in ["NaN", "inf ", "inf\"", ">inf", "-0 ", "Some(", "None"] {
            assert!(!report.contains(wrong), "{}: the report has `{wrong}`", record.scenario.name);
        }
    }
}

#[test]
fn what_is_drawn_is_within_its_picture() {
    let report = html(&record("node-kill", 3));
    let mut seen = 0;
    for picture in report.split("<svg viewBox=\"0 0 ").skip(1) {
        let (size, rest) = picture.split_once('"').unwrap();
        let (width, height) = size.split_once(' ').unwrap();
        let (width, height): (f64, f64) = (width.parse().unwrap(), height.parse().unwrap());
        let (drawn, _) = rest.split_once("</svg>").unwrap();
        for (attribute, end) in [
            ("x", width),
            ("x1", width),
            ("x2", width),
            ("cx", width),
            ("y", height),
            ("y1", height),
            ("y2", height),
            ("cy", height),
        ] {
            for value in drawn.split(&format!(" {attribute}=\"")).skip(1) {
                let value: f64 = value.split_once('"').unwrap().0.parse().unwrap();
                assert!((0.0..=end).contains(&value), "{attribute}={value} is not within {end}");
                seen += 1;
            }
        }
        for path in drawn.split(" d=\"").skip(1) {
            let path = path.split_once('"').unwrap().0.trim_end_matches('Z');
            for point in path.split(['M', 'L']).filter(|point| !point.is_empty()) {
                let (x, y) = point.split_once(' ').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((0.0..=width).contains(&x) && (0.0..=height).contains(&y), "{x} {y} of {size}");
                seen += 1;
            }
        }
    }
    assert!(seen > 1_000, "only {seen} places were looked at");
}

#[test]
fn what_was_measured_is_told() {
    let mut failed = record("node-kill", 1);
    failed.verdict.passed = false;
    failed.verdict.summary = "2 violations in 9,000 decisions".to_owned();
    failed.verdict.missed = vec!["normal again after 7.2 s, more than 6 s".to_owned()];
    failed.verdict.warnings = vec!["the generator was busy for 97 % of the time".to_owned()];
    let run = &mut failed.runs[0];
    run.marks[2].normal_after_s = None;
    run.audit.violations = BTreeMap::from([("approved_above_limit".to_owned(), 2)]);
    run.audit.examples = vec!["ic_7: 300,100 of 300,000 approved".to_owned()];
    run.outcomes.reasons.insert("stand_in_overload".to_owned(), 17);
    let told = text(&html(&failed)).join("\n");
    for expected in [
        "2 violations in 9,000 decisions",
        "✗ failed",
        "normal again after 7.2 s, more than 6 s",
        "the generator was busy for 97 % of the time",
        "approved_above_limit",
        "ic_7: 300,100 of 300,000 approved",
        "never",
        "stand_in_overload",
        "kill node 0",
        "2 s: Stripe's deadline",
        "AMD EPYC",
        "6.18.0",
        "1f2e3d4c",
        "sqlite:./data/tollgate.db on ext4",
        "./loadtest/run.sh node-kill --local 2 --seed 1",
    ] {
        assert!(told.contains(expected), "`{expected}` is not in the report");
    }
}

#[test]
fn repeats_stand_beside_each_other_with_their_spread() {
    let mut record = record("steady", 3);
    for (run, p99) in record.runs.iter_mut().zip([40_000, 20_000, 30_000]) {
        run.latency.p99_us = p99;
    }
    let told = text(&html(&record));
    let key = told.iter().position(|told| told == "p99").unwrap();
    assert_eq!(told[key + 1..=key + 2].join("|"), "30.0 ms|20.0 ms to 40.0 ms");
    assert!(told.iter().any(|told| told == "run 3, the middle one by its p99"), "which run is shown is told");
    assert!(told.iter().filter(|told| told.starts_with("Run ")).count() == 3, "two runs and the commands");
}

#[test]
fn where_the_knee_is_is_told_from_the_stages() {
    let check = |achieved_in_runs: &[[f64; 3]], expected: &str| {
        let mut record = record("ramp", 1);
        let run = |achieved: &[f64; 3]| {
            let stages = [100.0, 200.0, 400.0].into_iter().zip(achieved);
            let stage = |(offered, achieved): (f64, &f64)| Stage {
                offered_per_second: offered,
                achieved_per_second: *achieved,
                ..Stage::default()
            };
            Run { stages: stages.map(stage).collect(), ..record.runs[0].clone() }
        };
        record.runs = achieved_in_runs.iter().map(run).collect();
        let told = text(&html(&record)).join("\n");
        assert!(told.contains(expected), "`{expected}` is not in the report");
    };
    check(
        &[[100.0, 199.0, 250.0]],
        "Up to 200 requests a second at least 99.0 % were answered; at 400 a second 250 were.",
    );
    // Two good runs do not make up for a bad one.
    check(
        &[[100.0, 200.0, 400.0], [100.0, 180.0, 399.0], [100.0, 200.0, 400.0]],
        "Up to 100 requests a second at least 99.0 % were answered in each run; \
         at 200 a second 180 were in the worst run, 200 in the best.",
    );
    check(
        &[[100.0, 200.0, 400.0]],
        "At every stage, up to 400 requests a second, at least 99.0 % were answered: the knee is beyond.",
    );
    check(
        &[[50.0, 60.0, 70.0]],
        "Already at the lowest stage, 100 requests a second, fewer than 99.0 % were answered: 50 were.",
    );
}

#[test]
fn words_of_others_are_words() {
    let hostile = "<script>alert(1)</script>\" onload=\"x";
    let mut record = record("node-kill", 1);
    record.commands = vec![hostile.to_owned()];
    record.setup.processor = hostile.to_owned();
    record.scenario.about = hostile.to_owned();
    record.runs[0].marks[0].what = hostile.to_owned();
    record.runs[0].outcomes.reasons.insert(hostile.to_owned(), 3);
    record.runs[0].audit.examples.push(hostile.to_owned());
    let report = html(&record);
    assert!(!report.contains("<script") && !report.contains("\" onload"), "it is markup");
    assert_eq!(unclosed(&report), Vec::<&str>::new());
}

#[test]
fn the_percentiles_of_each_second_are_drawn() {
    let report = html(&record("steady", 1));
    for line in ["p50", "p99", "p999"] {
        assert!(report.contains(&format!("class=\"line {line}\"")), "{line} is not drawn");
    }
    let told = text(&report);
    let second = told.iter().find(|told| told.starts_with("7 s: p50 ")).unwrap();
    assert!(
        second.contains(", p99 ") && second.contains(", p99.9 ") && second.contains(", largest "),
        "{second}"
    );
}

#[test]
fn the_same_record_gives_the_same_report() {
    assert_eq!(html(&record("saturation", 2)), html(&record("saturation", 2)));
}

/// All text between elements, in order.
fn text(html: &str) -> Vec<String> {
    let pieces = html.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, text)| text.trim());
    let unescaped = |text: &str| text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    pieces.filter(|text| !text.is_empty()).map(unescaped).collect()
}

/// Elements that begin and do not end, or end without having begun.
fn unclosed(html: &str) -> Vec<&str> {
    let mut open = Vec::new();
    for piece in html.split('<').skip(1) {
        let name = piece.split(['>', ' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(ended) if open.last() == Some(&ended) => {
                open.pop();
            }
            None if ["!DOCTYPE", "meta"].contains(&name) => {}
            Some(_) | None => open.push(name),
        }
    }
    open
}

/// A record of so many runs of a bundled scenario, played by a queue with one server that can do 1,400 a second.
pub(super) fn record(name: &str, runs: u64) -> Record {
    let mut scenario = Scenario::load(name).unwrap();
    scenario.rate = scenario.rate.min(1_000.0);
    let runs: Vec<Run> = (1..=runs).map(|seed| run(&scenario, seed)).collect();
    let decisions: u64 = runs.iter().map(|run| run.audit.decisions).sum();
    Record {
        format: FORMAT,
        verdict: Verdict {
            summary: format!("0 violations in {} decisions", crate::words::count(decisions)),
            passed: true,
            decisions,
            ..Verdict::default()
        },
        setup: Setup {
            started_at: "2026-11-22T07:10:00Z".to_owned(),
            processor: "AMD EPYC 9B45".to_owned(),
            cores: 2,
            memory_bytes: 25_200_000_000,
            kernel: "Linux 6.18.0".to_owned(),
            commit: "1f2e3d4c".to_owned(),
            build: "release".to_owned(),
            server: BTreeMap::from([("version".to_owned(), "0.1.0".to_owned())]),
            journal: "sqlite:./data/tollgate.db".to_owned(),
            file_system: "ext4".to_owned(),
            targets: vec![
                "http://127.0.0.1:4242/webhook".to_owned(),
                "http://127.0.0.1:4243/webhook".to_owned(),
            ],
            is_local: true,
        },
        commands: vec![format!("./loadtest/run.sh {name} --local 2 --seed 1")],
        scenario,
        runs,
    }
}

/// A question of the made-up run: when it was due, and how long it took.
type Question = (f64, u64);

fn run(scenario: &Scenario, seed: u64) -> Run {
    let mut random = fastrand::Rng::with_seed(seed);
    let duration = scenario.duration_s;
    let (mut questions, mut stages, mut from) = (Vec::new(), Vec::new(), 0.0);
    let mut free_at = 0.0_f64;
    let (mut dropped, mut dropped_at) = (0, BTreeMap::<usize, u64>::new());
    for stage in &scenario.stages {
        let (seconds, begun) = (stage.share * duration, questions.len());
        let rate = scenario.rate * f64::midpoint(stage.from, stage.to.unwrap_or(stage.from));
        let offered = (rate * seconds) as usize;
        let dropped_before = dropped;
        for number in 0..offered {
            let due = from + seconds * number as f64 / offered as f64;
            if free_at - due > 1.5 {
                dropped += 1;
                *dropped_at.entry(due as usize).or_default() += 1;
                continue;
            }
            let noise = (random.f64() + random.f64() + random.f64() - 1.5) * 1.6;
            let stall = if random.u32(..20_000) == 0 { 0.1 } else { 0.0 };
            free_at = free_at.max(due) + 0.000_7 * (0.6 + 0.8 * random.f64()) + stall;
            questions.push((due, ((free_at - due) * 1e6 * noise.exp()) as u64));
        }
        let answered = &questions[begun..];
        stages.push(Stage {
            from_s: from,
            seconds,
            offered_per_second: rate,
            achieved_per_second: answered.len() as f64 / seconds,
            dropped: dropped - dropped_before,
            unanswered: 0,
            latency: latency(answered),
            nodes_cpu: Some(rate.min(1_000.0) * 4e-4),
            generator_cpu: rate * 2e-4,
        });
        from += seconds;
    }
    let answered = questions.len() as u64;
    Run {
        seed,
        seconds: duration,
        outcomes: Outcomes {
            offered: answered + dropped,
            approved: answered * 8 / 10,
            partial: answered / 20,
            declined: answered - answered * 8 / 10 - answered / 20,
            dropped,
            duplicates: answered / 100,
            reasons: BTreeMap::from([
                ("approved".to_owned(), answered * 8 / 10 + answered / 20),
                ("spending_limit".to_owned(), answered / 10),
                ("category_blocked".to_owned(), answered / 20),
            ]),
            ..Outcomes::default()
        },
        latency: latency(&questions),
        deliveries: Deliveries {
            events: answered,
            attempts: answered,
            latency: latency(&questions),
            ..Deliveries::default()
        },
        seconds_each: (0..duration as usize)
            .map(|second| second_of(&questions, second, &dropped_at))
            .collect(),
        stages,
        marks: marks(scenario),
        generator: Generator {
            cpu: 0.21,
            busy: 0.34,
            lateness: latency(&questions[..100]),
            connections_max: 64,
        },
        nodes: (0..2).map(|node| samples(scenario, node)).collect(),
        credits: None,
        audit: Audit { decisions: answered + dropped, cards_compared: Some(2_000), ..Audit::default() },
    }
}

fn latency(questions: &[Question]) -> Latency {
    let mut sorted: Vec<u64> = questions.iter().map(|(_, us)| *us).collect();
    sorted.sort_unstable();
    let Some(last) = sorted.len().checked_sub(1) else { return Latency::default() };
    let at = |share: f64| sorted[((sorted.len() as f64 * share) as usize).min(last)];
    let shares = (0..90).map(|step| 1.0 - 10.0_f64.powf(-f64::from(step) / 15.0));
    Latency {
        count: sorted.len() as u64,
        mean_us: sorted.iter().sum::<u64>() as f64 / sorted.len() as f64,
        min_us: sorted[0],
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        p9999_us: at(0.9999),
        max_us: sorted[last],
        curve: shares.map(|share| (share, at(share))).chain([(1.0, sorted[last])]).collect(),
    }
}

fn second_of(questions: &[Question], second: usize, dropped: &BTreeMap<usize, u64>) -> Second {
    let here: Vec<Question> = questions.iter().copied().filter(|(due, _)| *due as usize == second).collect();
    let mut heat = BTreeMap::new();
    for (_, us) in &here {
        *heat.entry(heat_row(*us)).or_default() += 1;
    }
    let (answered, dropped) = (here.len() as u64, dropped.get(&second).copied().unwrap_or(0));
    let latency = latency(&here);
    Second {
        offered: answered + dropped,
        answered,
        dropped,
        approved: answered * 8 / 10,
        declined: answered - answered * 8 / 10,
        p50_us: latency.p50_us,
        p99_us: latency.p99_us,
        p999_us: latency.p999_us,
        max_us: latency.max_us,
        heat: heat.into_iter().collect(),
        ..Second::default()
    }
}

fn marks(scenario: &Scenario) -> Vec<Mark> {
    let disturbances = scenario.disturbances.iter();
    disturbances
        .flat_map(|disturbance| {
            let at_s = disturbance.at * scenario.duration_s;
            let back_s = at_s + disturbance.away_ms as f64 / 1e3;
            let mark = |at_s, what: &str, normal_after_s| Mark {
                at_s,
                what: what.to_owned(),
                node: Some(disturbance.node),
                normal_after_s,
            };
            [mark(at_s, "kill", Some(back_s - at_s + 0.4)), mark(back_s, "ready", None)]
        })
        .collect()
}

/// What a node tells: its counters begin anew half-way.
fn samples(scenario: &Scenario, node: usize) -> Node {
    let seconds = scenario.duration_s as usize;
    let samples = (0..=seconds).map(|second| {
        let age = if second * 2 > seconds { second - seconds / 2 } else { second } as f64;
        Sample {
            at_s: second as f64,
            cpu_seconds: age * (0.2 + 0.05 * node as f64),
            memory_bytes: 4e7 + age * 1e6,
            cards_resident: age * 30.0,
            journal_entries: age * 500.0,
            journal_batches: age * (100.0 + 10.0 * (second % 3) as f64),
            ..Sample::default()
        }
    });
    Node { admin: format!("http://127.0.0.1:946{node}"), samples: samples.collect(), ..Node::default() }
}
