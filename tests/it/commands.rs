//! The real binary's commands `check` and `config`: what they print, and their exit codes.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::process::{Command, Output};

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
