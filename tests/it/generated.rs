//! Files that are generated from the code are as the code would write them now. `UPDATE_GENERATED=1` writes them.
#![allow(
    clippy::disallowed_methods,
    reason = "a switch for whoever runs the tests, not a setting of the program"
)]
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::{fs, path::Path};

use tollgate::{config, http::vocabulary, metrics};
use tollgate_loadtest::{record::Record, report};

/// The file at `path` in the repository holds `expected`.
#[track_caller]
fn check(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{} is stale: run the tests with UPDATE_GENERATED=1", path.display());
}

#[test]
fn the_example_environment_is_fresh() {
    check(".env.example", &config::env_example());
}

#[test]
fn the_page_of_settings_is_fresh() {
    check("docs/configuration.md", &config::markdown());
}

#[test]
fn the_page_of_metrics_is_fresh() {
    check("docs/metrics.md", &metrics::markdown(&vocabulary()));
}

#[test]
fn the_boards_and_rules_are_fresh() {
    for (path, text) in tollgate_dashboards::files() {
        check(&path, &text);
    }
}

#[test]
fn the_schema_of_the_policy_file_is_fresh() {
    check("docs/policy.schema.json", &config::policy_file::json_schema());
}

#[test]
fn the_reports_of_the_reference_runs_are_fresh() {
    for name in ["steady", "saturation"] {
        let record = format!("{}/loadtest/results/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let record: Record = serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
        check(&format!("loadtest/results/{name}.html"), &report::html(&record));
    }
}
