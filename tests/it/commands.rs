//! The real binary's commands that need no node: what they print, and their exit codes.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Runs the binary with these arguments in this environment alone.
fn tollgate(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

/// The command ends with this code, and prints these parts to stdout and stderr.
#[track_caller]
fn check(arguments: &[&str], environment: &[(&str, &str)], code: i32, out: &str, err: &str) {
    let output = tollgate(arguments, environment);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stdout}{stderr}");
    assert!(stdout.contains(out), "{stdout}");
    assert!(stderr.contains(err), "{stderr}");
    assert!(!stdout.contains('\u{1b}'), "colours without a terminal");
}

#[test]
fn exit_codes_tell_mistakes_apart() {
    check(&["check", "docs/policy.example.yaml"], &[], 0, "is good: policy ", "");
    check(&["check", "docs/policy.schema.json"], &[], 1, "mistakes in docs/policy.schema.json", "");
    check(&["check", "no-such-file.yaml"], &[], 1, "", "no-such-file.yaml cannot be read");
    check(&["check", "--schema"], &[], 0, "\"title\": \"Tollgate policy\"", "");
    check(&["check"], &[], 2, "", "Usage");
    check(&["confg"], &[], 2, "", "config");
    check(
        &["config"],
        &[("TOLLGATE_ANSWER_WITHIN", "1h")],
        78,
        "",
        "TOLLGATE_ANSWER_WITHIN=1h: expected a time",
    );
}

#[test]
fn settings_are_shown_with_value_and_source_and_without_secrets() {
    let environment = [("TOLLGATE_LISTEN", "127.0.0.1:9"), ("STRIPE_WEBHOOK_SECRET", "whsec_topsecret")];
    let shown = String::from_utf8(tollgate(&["config"], &environment).stdout).unwrap();
    let line = |name: &str| shown.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(
        line("TOLLGATE_LISTEN").contains("127.0.0.1:9") && line("TOLLGATE_LISTEN").contains("(environment)")
    );
    assert!(line("TOLLGATE_STAND_IN").contains("decline") && line("TOLLGATE_STAND_IN").contains("(default)"));
    assert!(line("STRIPE_WEBHOOK_SECRET").contains("not shown"));
    let json = String::from_utf8(tollgate(&["config", "--json"], &environment).stdout).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    let listen = rows.as_array().unwrap().iter().find(|row| row["name"] == "TOLLGATE_LISTEN").unwrap();
    assert_eq!(
        (listen["value"].as_str(), listen["source"].as_str()),
        (Some("127.0.0.1:9"), Some("environment"))
    );
    assert!(!shown.contains("topsecret") && !json.contains("topsecret"));
}

#[test]
fn generated_pages_need_no_usable_settings() {
    let broken = [("TOLLGATE_LISTEN", "nowhere")];
    check(&["config", "--env-example"], &broken, 0, "# TOLLGATE_LISTEN=127.0.0.1:4242", "");
    check(&["config", "--markdown"], &broken, 0, "# Configuration", "");
}

/// Every line fits 100 columns, which is what help assumes without a terminal, and no word is broken.
#[test]
fn help_and_settings_are_wrapped_at_words() {
    for arguments in [&["--help"][..], &["purchase", "--help"], &["serve", "--help"], &["config"]] {
        let shown = String::from_utf8(tollgate(arguments, &[]).stdout).unwrap();
        for line in shown.lines() {
            let is_one_word = line.split_whitespace().count() == 1;
            assert!(line.chars().count() <= 100 || is_one_word, "{arguments:?}: {line}");
        }
    }
}

#[test]
fn shells_and_manuals_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        check(&["completions", shell], &[], 0, "reconcile", "");
    }
    check(&["man"], &[], 0, ".TH tollgate 1", "");
    let directory = tempfile::tempdir().unwrap();
    check(&["man", "--directory", directory.path().to_str().unwrap()], &[], 0, "", "");
    for page in ["tollgate.1", "tollgate-serve.1", "tollgate-purchase.1"] {
        assert!(directory.path().join(page).is_file(), "{page}");
    }
}

#[test]
fn the_version_has_the_commit_inside_and_outside_a_repository() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let built =
        Command::new("rustc").args(["--edition", "2024", "-o"]).arg(&script).arg(source).status().unwrap();
    assert!(built.success());
    let version = |root: &Path, more: &[(&str, &str)]| {
        let output = Command::new(&script)
            .env("CARGO_PKG_VERSION", "1.2.3")
            .env("CARGO_MANIFEST_DIR", root)
            .env("PROFILE", "release")
            .env("GIT_CEILING_DIRECTORIES", directory.path())
            .env_remove("BUILD_COMMIT")
            .envs(more.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=BUILD_VERSION=")).unwrap().to_owned()
    };
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    assert_eq!(version(&source, &[]), "1.2.3");
    assert_eq!(version(&source, &[("BUILD_COMMIT", "abc")]), "1.2.3 (abc)");
    assert_eq!(version(&source, &[("PROFILE", "debug")]), "1.2.3 (debug build)");

    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        let output = Command::new("git").arg("-C").arg(&source).args(who).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet"]);
    git(&["commit", "--quiet", "--allow-empty", "--message", "Add nothing"]);
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    assert_eq!(version(&source, &[]), format!("1.2.3 ({commit})"));
    // A directory inside a repository is not that repository.
    let inside = source.join("vendored");
    fs::create_dir(&inside).unwrap();
    assert_eq!(version(&inside, &[]), "1.2.3");
}
