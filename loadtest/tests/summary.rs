//! Not a test: the end of `cargo test`. It says which programs the tests were run with, and which tests were skipped since
//! a program is not installed. It is here because Cargo runs the tests of this package last. What it reads is written by
//! `tests/it/needs.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, ExitCode},
};

use rustix::process::getppid;

/// The tests that need one program.
#[derive(Default)]
struct Tests {
    install: String,
    checked: BTreeSet<String>,
    skipped: BTreeSet<String>,
}

fn main() -> ExitCode {
    // A tool that lists tests first, as cargo-nextest does, finds none here.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let Some(cargo) = getppid() else { return ExitCode::SUCCESS };
    let file = format!("needs-{}.tsv", cargo.as_raw_nonzero());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let lines = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    match write(&read(&lines), elapsed(cargo.as_raw_nonzero().get()).as_deref(), &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn read(lines: &str) -> BTreeMap<String, Tests> {
    let mut programs: BTreeMap<String, Tests> = BTreeMap::new();
    for line in lines.lines() {
        let [outcome, name, install, test] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
        let tests = programs.entry(name.to_owned()).or_default();
        install.clone_into(&mut tests.install);
        let of_outcome = if outcome == "skipped" { &mut tests.skipped } else { &mut tests.checked };
        of_outcome.insert(test.to_owned());
    }
    programs
}

fn write(programs: &BTreeMap<String, Tests>, elapsed: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    match elapsed {
        Some(elapsed) => writeln!(out, "\nSummary of this run, {elapsed} with compiling")?,
        None => writeln!(out, "\nSummary of this run")?,
    }
    if programs.is_empty() {
        return writeln!(out, "  No test of this run needs a program besides Rust and a C compiler.\n");
    }
    let is_checked = |tests: &&Tests| tests.skipped.is_empty();
    for (name, tests) in programs.iter().filter(|(_, tests)| is_checked(tests)) {
        writeln!(out, "  checked with {name}: {}", counted(tests.checked.len()))?;
    }
    let skipped: usize = programs.values().map(|tests| tests.skipped.len()).sum();
    if skipped == 0 {
        return writeln!(out, "  skipped: none\n");
    }
    writeln!(out, "  SKIPPED {}: what they check was not checked", counted(skipped))?;
    for (name, tests) in programs.iter().filter(|(_, tests)| !is_checked(tests)) {
        writeln!(out, "    {} for want of {name}: {}", counted(tests.skipped.len()), tests.install)?;
        for test in &tests.skipped {
            writeln!(out, "      {test}")?;
        }
    }
    writeln!(out)
}

fn counted(tests: usize) -> String {
    if tests == 1 { "1 test".to_owned() } else { format!("{tests} tests") }
}

/// How long a process has been running, as `[[days-]hours:]minutes:seconds`.
fn elapsed(process: i32) -> Option<String> {
    let output = Command::new("ps").args(["-o", "etime=", "-p", &process.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
