//! `tollgate test`: runs the tests of a policy, and shows what came out differently.

mod first_set;
mod junit;

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anstyle::{AnsiColor, Style};

use super::{
    TestOptions, Verdict,
    check::{Colours, Page},
};
use crate::{
    config::{
        Loaded, Problem,
        policy_file::{self, Mistake, Parsed, Severity},
    },
    policy::testing::{PolicyTest, Ran, run as run_test},
};

/// A test with the file that it is in, and what came of it.
struct Case {
    file: String,
    test: PolicyTest,
    ran: Ran,
}

/// Runs the tests that `options` name, or writes a first set of them. `load` reads the settings, for the journal.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    options: &TestOptions,
    load: impl FnOnce() -> Result<Loaded, Vec<Problem>>,
    colours: Colours,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let Some(parsed) = policy(&options.policy, colours, out, err)? else { return Ok(Verdict::BadSettings) };
    let beside = options.tests.clone().unwrap_or_else(|| tests_beside(&options.policy));
    if options.init {
        return first_set::write(options, &beside, &parsed, load, out, err);
    }
    let mut cases = Vec::new();
    for test in parsed.tests {
        let ran = run_test(&parsed.policy, &test);
        cases.push(Case { file: options.policy.display().to_string(), test, ran });
    }
    if options.tests.is_some() || beside.exists() {
        let Some(text) = text(&beside, err)? else { return Ok(Verdict::BadSettings) };
        match policy_file::read_tests(&text, parsed.currency) {
            Ok(tests) => cases.extend(tests.into_iter().map(|test| {
                let ran = run_test(&parsed.policy, &test);
                Case { file: beside.display().to_string(), test, ran }
            })),
            Err(mistakes) => {
                show(&mistakes, &text, &beside, colours, out)?;
                return Ok(Verdict::BadSettings);
            }
        }
    }
    if cases.is_empty() {
        writeln!(
            err,
            "tollgate: {} has no tests: add `tests:` to it, or write some from a journal with --init",
            options.policy.display()
        )?;
        return Ok(Verdict::BadSettings);
    }
    for case in &cases {
        case.show(colours, out)?;
    }
    let failed = cases.iter().filter(|case| !case.ran.is_passed()).count();
    writeln!(out, "\n{} passed, {failed} failed", cases.len().saturating_sub(failed))?;
    if let Some(path) = &options.junit {
        fs::write(path, junit::report(&cases))?;
        writeln!(err, "tollgate: wrote {}", path.display())?;
    }
    Ok(if failed == 0 { Verdict::Done } else { Verdict::Failed })
}

/// The policy; none if it has mistakes, which are shown.
fn policy(
    path: &Path,
    colours: Colours,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Option<Parsed>> {
    let bytes = match policy_file::load(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            writeln!(err, "tollgate: {} cannot be read: {error}", path.display())?;
            return Ok(None);
        }
    };
    let source = String::from_utf8_lossy(&bytes);
    match policy_file::read_bytes(&bytes) {
        Ok(parsed) => {
            let wrong: Vec<Mistake> = parsed
                .mistakes
                .iter()
                .filter(|mistake| mistake.severity != Severity::Warning)
                .cloned()
                .collect();
            show(&wrong, &source, path, colours, out)?;
            Ok(wrong.is_empty().then_some(parsed))
        }
        Err(mistakes) => {
            show(&mistakes, &source, path, colours, out)?;
            Ok(None)
        }
    }
}

fn show(
    mistakes: &[Mistake],
    source: &str,
    path: &Path,
    colours: Colours,
    out: &mut dyn Write,
) -> io::Result<()> {
    let page = Page { name: path.display().to_string(), lines: source.lines().collect(), colours };
    mistakes.iter().try_for_each(|mistake| page.show(mistake, out))
}

fn text(path: &Path, err: &mut dyn Write) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            writeln!(err, "tollgate: {} cannot be read: {error}", path.display())?;
            Ok(None)
        }
    }
}

/// `policy.yaml` has its tests in `policy.tests.yaml`.
fn tests_beside(policy: &Path) -> PathBuf {
    let mut name = policy.file_stem().map_or_else(OsString::new, OsString::from);
    name.push(".tests.yaml");
    policy.with_file_name(name)
}

impl Case {
    /// One line, and for one that failed, what was expected and what was found.
    fn show(&self, colours: Colours, out: &mut dyn Write) -> io::Result<()> {
        let style = |colour: AnsiColor| match colours {
            Colours::On => colour.on_default().bold(),
            Colours::Off => Style::new(),
        };
        let (red, green) = (style(AnsiColor::BrightRed), style(AnsiColor::BrightGreen));
        if self.ran.is_passed() {
            return writeln!(out, "{green}ok{green:#}    {}", self.test.name);
        }
        writeln!(out, "{red}FAIL{red:#}  {} ({}:{})", self.test.name, self.file, self.test.line)?;
        for (sign, line) in self.difference() {
            match sign {
                '-' => writeln!(out, "      {red}- {line}{red:#}")?,
                '+' => writeln!(out, "      {green}+ {line}{green:#}")?,
                _ => writeln!(out, "        {line}")?,
            }
        }
        writeln!(out, "      {}", self.ran.explanation)
    }

    /// The expectation as lines: `-` for what was expected and is not so, `+` for what came in its place.
    fn difference(&self) -> Vec<(char, String)> {
        let mut lines = Vec::new();
        for (field, expected, found) in &self.ran.fields {
            let line = |value: &str| format!("{}: {value}", field.as_str());
            match found {
                None => lines.push((' ', line(expected))),
                Some(found) => lines.extend([('-', line(expected)), ('+', line(found))]),
            }
        }
        lines
    }
}
