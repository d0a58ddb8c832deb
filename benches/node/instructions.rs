//! What a request costs a whole node in instructions and allocations, as callgrind counts them: the same whatever else the
//! machine does. Only the program's own instructions count, not the kernel's.

use std::{collections::BTreeMap, fs};

use tempfile::TempDir;

use crate::{
    Scale, TOLLGATE, check,
    events::{Cards, Writer},
    generator::{self, Pace},
    report,
    server::{Journal, Process},
};

/// Few, since a node under callgrind is fifty times slower, and has to answer in time.
const CONNECTIONS: usize = 4;
/// Requests before any is counted, and those that are counted.
const WARM: usize = 500;
const COUNTED: usize = 2_000;
/// Callgrind's processor has no instructions for this: it is told apart.
const SHA_256: &str = "sha2::sha256::compress256";
/// What allocates, and what changes the size of an allocation.
const ALLOCATORS: [&str; 3] = ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned"];

/// For each request: instructions without those of SHA-256, those, and allocations; and the functions that cost the most.
pub(crate) struct Counts {
    pub(crate) name: &'static str,
    pub(crate) instructions: f64,
    pub(crate) sha_256: f64,
    pub(crate) allocations: f64,
    pub(crate) functions: Vec<(String, f64)>,
}

pub(crate) fn measure(scale: &Scale, writer: &mut Writer) {
    let mut subjects = vec![("memory", TOLLGATE, Journal::Memory), ("sqlite", TOLLGATE, Journal::Sqlite)];
    if let Some(other) = &scale.other {
        subjects.extend([
            ("other, memory", &**other, Journal::Memory),
            ("other, sqlite", &**other, Journal::Sqlite),
        ]);
    }
    let counts = subjects.into_iter().map(|(name, program, journal)| count(name, program, journal, writer));
    report::instructions(&counts.collect::<Vec<_>>());
}

fn count(name: &'static str, program: &str, journal: Journal<'_>, writer: &mut Writer) -> Counts {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("callgrind.out");
    let process = Process::counted(program, journal, &file);
    for (requests, is_counted) in [(WARM, false), (COUNTED, true)] {
        process.count(is_counted);
        let events = writer.write(requests, Cards::Many(requests));
        let load = generator::run(&[process.webhook], &events, CONNECTIONS, Pace::AsFastAsAnswered);
        check(name, &load, &events);
    }
    process.count(false);
    process.end();
    counts(name, &fs::read_to_string(&file).unwrap())
}

/// Reads what callgrind has written: <https://valgrind.org/docs/manual/cl-format.html>.
fn counts(name: &'static str, text: &str) -> Counts {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut own: BTreeMap<&str, f64> = BTreeMap::new();
    let mut calls: BTreeMap<&str, f64> = BTreeMap::new();
    let (mut function, mut callee, mut is_call) = ("", "", false);
    for line in text.lines() {
        if let Some(text) = line.strip_prefix("fn=") {
            function = resolved(&mut names, text);
        } else if let Some(text) = line.strip_prefix("cfn=") {
            callee = resolved(&mut names, text);
        } else if let Some(text) = line.strip_prefix("calls=") {
            *calls.entry(callee).or_default() += number(text.split(' ').next());
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // The line behind a call has what it cost all in all.
            if !std::mem::take(&mut is_call) {
                *own.entry(function).or_default() += number(line.split(' ').nth(1));
            }
        }
    }
    let each = COUNTED as f64;
    let (sha_256, others): (Vec<_>, Vec<_>) =
        own.iter().partition(|(function, _)| function.contains(SHA_256));
    let sum = |of: &[(&&str, &f64)]| of.iter().map(|(_, cost)| **cost).sum::<f64>() / each;
    let mut functions: Vec<(String, f64)> =
        others.iter().map(|(function, cost)| ((**function).to_owned(), **cost / each)).collect();
    functions.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let allocations = ALLOCATORS.iter().filter_map(|name| calls.get(name)).sum::<f64>() / each;
    Counts { name, instructions: sum(&others), sha_256: sum(&sha_256), allocations, functions }
}

/// The name of a function: it is written out where it is first used, and is a number from then on.
fn resolved<'a>(names: &mut BTreeMap<&'a str, &'a str>, text: &'a str) -> &'a str {
    let (number, name) = text.split_once(' ').unwrap_or((text, ""));
    if !name.is_empty() {
        names.insert(number, name);
    }
    names.get(number).copied().unwrap_or(text)
}

fn number(text: Option<&str>) -> f64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0.0)
}
