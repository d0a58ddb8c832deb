//! The catalogue of metrics against the program: nothing is declared that is never told, the number of series is known,
//! and counting takes no memory.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use tollgate::{
    http::vocabulary,
    metrics::{FAMILIES, Metrics, Stage},
};

use crate::{
    journal::child,
    tidy::{files, source_without_text},
};

/// The cost of a scrape, and of keeping it: with the words that the program has now.
const SERIES_MAX: usize = 1_250;

#[test]
fn the_number_of_series_is_bounded() {
    let words = vocabulary();
    let metrics = Metrics::new(&words);
    metrics.policy.in_force("env", 1.0);
    let budgets: Vec<String> = (0..1_000).map(|number| format!("budget-{number}")).collect();
    metrics.budgets.in_force(budgets.iter().map(String::as_str));
    let exported = metrics.render();
    let exported = exported.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    let declared: usize = FAMILIES.iter().map(|family| family.series(&words)).sum();
    assert_eq!(exported, declared);
    assert!(declared <= SERIES_MAX, "{declared} series");
}

/// A handle for every family is in the room's structures, under the name of the family as its first word of
/// documentation; some other room has to name that handle, or the room itself in what it offers to others.
#[test]
fn whatever_is_declared_is_told() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let room = fs::read_to_string(src.join("metrics/mod.rs")).unwrap();
    let handles = handles(&room);
    let read = fs::read_to_string(src.join("metrics/process.rs")).unwrap();
    let others = files(&src, "rs").into_iter().filter(|file| !file.starts_with(src.join("metrics")));
    let told: String = others.map(|file| source_without_text(&fs::read_to_string(file).unwrap())).collect();
    let told: String = told.split_whitespace().collect();
    let mut looked_at = 0;
    for family in FAMILIES {
        if let Some((group, field)) = handles.get(family.name) {
            let is_told =
                told.contains(&format!("{group}.{field}")) || room.contains(&format!("self.{field}."));
            assert!(is_told, "{} is declared, and nobody tells {group}.{field}", family.name);
            looked_at += 1;
        } else {
            let is_read = family.name.starts_with("process_") || family.name.starts_with("tokio_");
            assert!(is_read || family.name.ends_with("_info"), "{} has no handle", family.name);
        }
    }
    assert_eq!(looked_at, handles.len(), "a handle is documented under a name that no family has");
    assert!(looked_at > 30 && read.contains("PROCESS_"), "only {looked_at} handles were looked at");
}

/// The group and the field of each family's handle.
fn handles(source: &str) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let (mut group, mut family) = (String::new(), None);
    for line in source.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub struct ") {
            group = name.trim_end_matches(" {").to_lowercase();
        } else if let Some(rest) = line.strip_prefix("/// `") {
            family = rest.split_once('`').map(|(name, _)| name.to_owned());
        } else if let (Some(rest), Some(name)) = (line.strip_prefix("pub "), family.take()) {
            let field = rest.split_once(':').unwrap().0.to_owned();
            found.insert(name, (group.clone(), field));
        }
    }
    found
}

/// Nobody scrapes: what is told is counted where it stands. Told in a process of its own, since memory is the
/// process's.
#[test]
fn counting_takes_no_memory_however_long_nobody_asks() {
    if child::path().is_some() {
        let metrics = Metrics::new(&vocabulary());
        let mut resident = Vec::new();
        // The first round is not looked at: it brings the program itself into memory.
        for _ in 0..3 {
            for told in 0..TOLD {
                let spell = Duration::from_micros(told % 3_000_000);
                metrics.decisions.made.get(["approved", "approved", "policy"]).increment(1);
                metrics.decisions.stages.get(Stage::Commit).record(spell);
                metrics.decisions.duration.get(["approved", "local"]).record(spell);
                metrics.webhook.in_flight.increment(1.0);
            }
            resident.push(resident_kib());
        }
        return child::say(&format!("{} {}", resident[1], resident[2]));
    }
    if !cfg!(target_os = "linux") {
        return;
    }
    let test = "metrics::counting_takes_no_memory_however_long_nobody_asks";
    let directory = tempfile::tempdir().unwrap();
    let said = child::run(test, directory.path(), |command: Command| command);
    let (before, after) = said[0].split_once(' ').unwrap();
    let grown = after.parse::<u64>().unwrap().saturating_sub(before.parse().unwrap());
    // A byte for each of the four would be four megabytes.
    assert!(grown < 1_024, "{grown} KiB more after {TOLD} more of each");
}

const TOLD: u64 = 1_000_000;

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
