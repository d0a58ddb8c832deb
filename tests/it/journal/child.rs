//! This test binary once more, as a child that may be limited, mounted or killed. It runs one test, which finds the
//! journal's path in its environment, and says what it knows on its standard output.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const PATH: &str = "JOURNAL_OF_A_CHILD";
/// What tells the child's own lines from those of the test harness.
const PREFIX: &str = "child: ";

/// The journal's path, in a child.
#[allow(clippy::disallowed_methods, reason = "a child of a test has no configuration but this")]
pub(crate) fn path() -> Option<PathBuf> {
    env::var_os(PATH).map(PathBuf::from)
}

/// Says a line, at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{PREFIX}{line}").unwrap();
    out.flush().unwrap();
}

/// Starts a child that runs `test` on the journal at `path`, by way of `wrap`.
pub(crate) fn start(test: &str, path: &Path, wrap: impl FnOnce(Command) -> Command) -> Child {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    wrap(child).env(PATH, path).stdout(Stdio::piped()).spawn().unwrap()
}

/// What a child says, as it comes. An end in the middle of a line is no line.
pub(crate) fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    std::iter::from_fn(move || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        line.ends_with('\n').then_some(line)
    })
    .filter_map(|line| Some(line.strip_prefix(PREFIX)?.trim_end().to_owned()))
}

/// Runs a child to its good end, and gives what it said.
pub(crate) fn run(test: &str, path: &Path, wrap: impl FnOnce(Command) -> Command) -> Vec<String> {
    let mut child = start(test, path, wrap);
    let said: Vec<String> = lines(&mut child).collect();
    assert!(child.wait().unwrap().success(), "{said:?}");
    said
}
