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
fn the_reference_of_the_policy_file_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md");
    let page = fs::read_to_string(path).unwrap();
    let end_of_prose =
        page.find("<!-- generated").and_then(|start| Some(start + page[start..].find('\n')?)).unwrap();
    check("docs/policy.md", &format!("{}\n\n{}", &page[..end_of_prose], config::policy_file::reference()));
}

#[test]
fn the_policies_in_the_documentation_have_no_mistake() {
    for page in ["docs/policy.md", "README.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let policies: Vec<&str> = blocks.filter(|block| block.contains("version: 1")).collect();
        assert!(!policies.is_empty(), "{page}");
        for policy in policies {
            let read = config::policy_file::read(policy);
            assert_eq!(read.map(|parsed| parsed.mistakes), Ok(Vec::new()), "{page}");
        }
    }
}

#[test]
fn the_reports_of_the_reference_runs_are_fresh() {
    for name in ["steady", "saturation"] {
        let record = format!("{}/loadtest/results/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let record: Record = serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
        check(&format!("loadtest/results/{name}.html"), &report::html(&record));
    }
}
