//! Pages that can be pasted from top to end: their commands run one after another in a shell, with this build in place of a
//! release, and with free ports.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use crate::{
    needs::{self, Program},
    postgres::free_port,
};

#[test]
fn the_commands_of_the_readme_run_from_top_to_end() {
    run(
        "README.md",
        &[
            "same answers, byte for byte",
            "25.00  book_stores                      approved\n",
            "approved in part: 475.00",
            "\"used\":50000",
            "docs/policy.example.yaml is good: policy ",
        ],
    );
}

#[test]
fn the_commands_of_the_migration_run_from_top_to_end() {
    run(
        "docs/migrate.md",
        &[
            "policy.yaml is good: policy ",
            "\"tollgate_reason\":\"spending_limit\"",
            "{\"received\":true}",
            "agrees=\"false\"} 1\n",
            "\"agrees\":false\n",
            "\"held\":60000\n",
            "sample.yaml is good: policy ",
            "25.00  eating_places_restaurants        approved\n",
            "\"available\":130000\n",
        ],
    );
}

/// Runs the commands of a page, whose output must have these parts.
fn run(page: &str, parts: &[&str]) {
    if !needs::has(Program { name: "curl", install: "apt-get install curl" }, needs::find("curl").is_some()) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(page)).unwrap();
    let blocks: Vec<&str> =
        text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 3, "{blocks:?}");
    let [webhook, admin] = [free_port(), free_port()];
    // A node that a failed command leaves behind would hold the output open for ever.
    let script = format!("trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{}", blocks.concat())
        .replace("cargo run --release --", env!("CARGO_BIN_EXE_tollgate"))
        .replace("target/release/tollgate", env!("CARGO_BIN_EXE_tollgate"))
        .replace(":9464", &format!(":{admin}"))
        .replace(":4242", &format!(":{webhook}"));
    let directory = tempfile::tempdir().unwrap();
    symlink(root.join("docs"), directory.path().join("docs")).unwrap();
    let output = Command::new("bash")
        .args(["-e", "-c", &script])
        .current_dir(directory.path())
        .env("TOLLGATE_LISTEN", format!("127.0.0.1:{webhook}"))
        .env("TOLLGATE_ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
        .env("TOLLGATE_DRAIN_DELAY", "0s")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{out}\n{err}");
    for part in parts {
        assert!(out.contains(part), "no `{part}` in\n{out}\n{err}");
    }
}
