//! Programs that a test needs besides Rust. If one is not installed, its tests are skipped, and the summary at the end of
//! `cargo test` counts them; with `TEST_SERVERS_REQUIRED` set they fail.
//!
//! The summary is a test program of its own, `loadtest/tests/summary.rs`: what it counts is one line a test in a file that
//! only this run of `cargo test` writes and reads.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use rustix::process::getppid;

/// A program that tests need.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    /// As people call it.
    pub(crate) name: &'static str,
    /// The command that installs it.
    pub(crate) install: &'static str,
}

/// Whether `program` can be used in this test, which is to end here if not.
pub(crate) fn has(program: Program, is_installed: bool) -> bool {
    let Program { name, install } = program;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    note(&format!("{}\t{name}\t{install}\t{test}\n", if is_installed { "checked" } else { "skipped" }));
    if !is_installed {
        #[allow(clippy::disallowed_methods, reason = "a test has no configuration but this")]
        let is_required = env::var_os("TEST_SERVERS_REQUIRED").is_some();
        assert!(!is_required, "{name} is not installed, and TEST_SERVERS_REQUIRED is set: {install}");
    }
    is_installed
}

/// Whether a program of this name is in one of the directories where programs are; the first that is there.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "a test looks for programs where a shell does")]
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|place| place.join(program)).find(|path| path.is_file())
}

/// Adds a line to the file of this run. All test programs of one `cargo test` have the same parent, and so the same file.
fn note(line: &str) {
    let Some(parent) = getppid() else { return };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = directory.join(format!("needs-{}.tsv", parent.as_raw_nonzero()));
    let opened =
        fs::create_dir_all(directory).and_then(|()| OpenOptions::new().create(true).append(true).open(file));
    // One write a line: tests run side by side.
    let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    written.expect("the target directory can be written");
}
