//! The rules as Prometheus' own tool sees them, and the real Prometheus as a process. Where it is not installed,
//! the tests that need it are skipped.

use std::{path::Path, process::Command};

use crate::needs::{self, Program};

/// Whether a program of Prometheus' can be run here.
pub(super) fn has(program: &'static str) -> bool {
    let is_there =
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    needs::has(Program { name: program, install: "apt-get install prometheus" }, is_there)
}

/// Runs `promtool` beside the rules, and expects it to be content.
fn promtool(arguments: &[&str]) {
    if !has("promtool") {
        return;
    }
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/prometheus");
    let output = Command::new("promtool").args(arguments).current_dir(rules).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success() && said.contains("SUCCESS"), "promtool {arguments:?}: {said}");
}

#[test]
fn the_rules_are_well_formed() {
    promtool(&["check", "rules", "slo.rules.yml", "alerts.rules.yml"]);
}

#[test]
fn the_example_configuration_is_well_formed() {
    promtool(&["check", "config", "prometheus.yml"]);
}

#[test]
fn what_is_recorded_is_what_the_stories_say() {
    promtool(&["test", "rules", "slo.test.yml"]);
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    promtool(&["test", "rules", "alerts.test.yml", "burn.test.yml"]);
}
