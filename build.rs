//! Gives the program its version with the commit that it is built from, for `tollgate --version`. Needs no network, and
//! no git: outside a repository the version stands alone.
//!
//! Names without `TOLLGATE_`: Cargo also sets them for `cargo run`, where every `TOLLGATE_…` has to be a setting.
//! `BUILD_COMMIT` names the commit for builds whose source has no repository, such as an image. A debug build names no
//! commit, so that a new commit alone compiles nothing again.
#![allow(clippy::disallowed_methods, reason = "Cargo passes everything to a build script by the environment")]
#![allow(clippy::print_stdout, reason = "the way to speak to Cargo")]

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let is_debug = env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let given = env::var("BUILD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let build = match given {
        Some(commit) => Some(commit),
        None if is_debug => Some("debug build".to_owned()),
        None => commit(&root),
    };
    let build = build.map(|build| format!(" ({build})")).unwrap_or_default();
    println!("cargo::rustc-env=BUILD_VERSION={version}{build}");
}

/// The commit that is checked out, if `root` is the top of a repository. Cargo runs this again when that changes.
fn commit(root: &Path) -> Option<String> {
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // The reflog has a line for every commit and checkout.
    for name in ["HEAD", "logs/HEAD"] {
        let path = root.join(git(root, &["rev-parse", "--git-path", name])?);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(root, &["rev-parse", "--short=12", "HEAD"])
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
