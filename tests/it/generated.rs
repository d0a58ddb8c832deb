//! Files that are generated from the code are as the code would write them now. `UPDATE_GENERATED=1` writes them.
#![allow(
    clippy::disallowed_methods,
    reason = "a switch for whoever runs the tests, not a setting of the program"
)]
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{fmt::Write as _, fs, path::Path};

use serde::de::DeserializeOwned;
use tollgate::{
    config,
    http::{admin_api_page, openapi, vocabulary},
    metrics,
    policy::testing::run,
};
use tollgate_loadtest::{
    compare::{Comparison, Server, Turn},
    record::{Record, Stage},
    report,
};

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
fn the_documentation_of_the_admin_api_is_fresh() {
    check("docs/openapi.json", &openapi());
    check("docs/admin-api.md", &admin_api_page());
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

/// The README's figures are those of the committed reports, and change with them.
#[test]
fn the_figures_of_the_readme_are_those_of_the_reports() {
    const BOUNDS: [&str; 2] =
        ["<!-- figures: generated from loadtest/results -->\n", "<!-- end of figures -->\n"];
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (before, rest) = readme.split_once(BOUNDS[0]).unwrap();
    let (_, after) = rest.split_once(BOUNDS[1]).unwrap();
    check("README.md", &[before, BOUNDS[0], &figures(), BOUNDS[1], after].concat());
}

fn figures() -> String {
    let compared: Comparison = result("compare");
    let turn = |server: &Server, of: fn(&Turn) -> f64| median(server.turns.iter().map(of).collect());
    let cpu = |turn: &Turn| turn.cpu_us + turn.database_cpu_us.unwrap_or(0.0);
    let rate = |turn: &Turn| f64::from(u32::try_from(turn.questions).unwrap()) / turn.seconds;
    let mut text = String::from("| server | keeps | CPU per request, µs | requests/s |\n|---|---|---|---|\n");
    for server in &compared.servers {
        let (name, keeps) = (&server.name, &server.keeps);
        let _ = writeln!(
            text,
            "| {name} | {keeps} | {:.0} | {} |",
            turn(server, cpu),
            thousands(turn(server, rate))
        );
    }
    let Record { setup, verdict, runs, .. } = result("saturation");
    let is_answered = |stage: &&Stage| stage.dropped == 0 && stage.unanswered == 0;
    let answered = runs.iter().map(|run| run.stages.iter().take_while(is_answered).count()).min().unwrap();
    let last: Vec<&Stage> = runs.iter().map(|run| &run.stages[answered - 1]).collect();
    let offered = median(last.iter().map(|stage| stage.offered_per_second).collect());
    let p99: Vec<u64> = last.iter().map(|stage| stage.latency.p99_us / 1_000).collect();
    let (lowest, highest) = (p99.iter().min().unwrap(), p99.iter().max().unwrap());
    let _ = writeln!(
        text,
        "\nThe [load test](loadtest/README.md#reference-runs) audits every answer: {}. At {} requests a\nsecond, and about as \
         many other events, every request was answered in each of {} runs, p99 {lowest} to {highest} ms. All on {} cores of\nan \
         {}, shared by node, load generator, and disk.",
        grouped(&verdict.summary),
        thousands(offered),
        runs.len(),
        setup.cores,
        setup.processor,
    );
    text
}

fn result<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/loadtest/results/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rounded to hundreds, with separators.
fn thousands(value: f64) -> String {
    grouped(&format!("{:.0}", (value / 100.0).round() * 100.0))
}

/// Every number in a text with separators between its thousands.
fn grouped(text: &str) -> String {
    let word = |word: &str| match word.parse::<u64>() {
        Ok(number) if number >= 1_000 => {
            let digits = number.to_string();
            let groups = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap());
            groups.collect::<Vec<_>>().join(",")
        }
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
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
fn the_policies_in_the_documentation_have_no_mistake_and_pass_their_tests() {
    let mut tests = 0;
    for page in ["docs/policy.md", "README.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let policies: Vec<&str> = blocks.filter(|block| block.contains("version: 1")).collect();
        assert!(!policies.is_empty(), "{page}");
        for policy in policies {
            let parsed =
                config::policy_file::read(policy).unwrap_or_else(|mistakes| panic!("{page}: {mistakes:#?}"));
            assert_eq!(parsed.mistakes, [], "{page}");
            for test in &parsed.tests {
                let ran = run(&parsed.policy, test);
                assert!(ran.is_passed(), "{page}: {}: {ran:#?}", test.name);
            }
            tests += parsed.tests.len();
        }
    }
    assert!(tests >= 3);
}

#[test]
fn the_reports_of_the_reference_runs_are_fresh() {
    for name in ["steady", "saturation"] {
        let record: Record = result(name);
        check(&format!("loadtest/results/{name}.html"), &report::html(&record));
    }
}
