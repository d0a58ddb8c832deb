//! The boards and rules: what they ask for exists, what they say leads somewhere, and every rule has its story.

mod live;
mod prometheus;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tollgate::http::vocabulary;
use tollgate_dashboards::{Panel, alerts, boards, records, unknown};

/// What Grafana ships, and has not deprecated.
const PANEL_TYPES: [&str; 6] = ["row", "timeseries", "stat", "bargauge", "table", "heatmap"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every panel as it is on its board, headings included.
fn panels(board: &Value) -> &Vec<Value> {
    board["panels"].as_array().unwrap()
}

#[test]
fn nothing_asks_for_what_nobody_has() {
    let words = vocabulary();
    let boards = boards();
    let of_panels = boards.iter().flat_map(|board| board.panels()).flat_map(Panel::queries);
    let of_rules =
        records().into_iter().map(|record| record.query).chain(alerts().into_iter().map(|alert| alert.query));
    let queries: Vec<String> = of_panels.chain(of_rules).collect();
    for query in &queries {
        let problems = unknown(query, &words);
        assert!(problems.is_empty(), "{problems:?} in {query}");
    }
    assert!(queries.len() > 100, "only {} queries were looked at", queries.len());
}

#[test]
fn a_board_is_what_grafana_reads_and_a_person_understands() {
    let mut uids = BTreeSet::new();
    for board in boards() {
        let text = read(&format!("dashboards/{}.json", board.file));
        assert!(!text.contains("__inputs"), "{} cannot be provisioned", board.file);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["schemaVersion"], 39);
        assert!(uids.insert(json["uid"].as_str().unwrap().to_owned()), "{} is there twice", json["uid"]);
        assert_eq!(json["links"].as_array().unwrap().len(), boards().len() - 1);
        assert_eq!(json["templating"]["list"][0]["type"], "datasource");
        let mut ids = BTreeSet::new();
        for panel in panels(&json) {
            assert!(ids.insert(panel["id"].as_u64()), "an id twice: {panel:#}");
            assert!(PANEL_TYPES.contains(&panel["type"].as_str().unwrap()), "{panel:#}");
            if panel["type"] == "row" {
                continue;
            }
            let tells = panel["description"].as_str().unwrap();
            let parts: Vec<&str> = tells.split("\n\n").collect();
            let is_told = parts.len() == 3
                && parts[0].len() > 20
                && parts[1].starts_with("**Good:** ")
                && parts[2].starts_with("**If not:** ");
            assert!(is_told, "{}: {tells}", panel["title"]);
            assert!(panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()));
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap();
                assert_eq!(target["datasource"]["uid"], "${datasource}");
                let is_windowed = query.contains("rate(") || query.contains("increase(");
                let is_grafanas = query.contains("[$__rate_interval]") || query.contains("[$__range]");
                assert_eq!(is_windowed, is_grafanas, "{query}");
                assert!(query.contains("$job"), "{query} does not follow the variables");
            }
        }
    }
}

#[test]
fn panels_do_not_overlap() {
    for board in boards() {
        let json: Value = serde_json::from_str(&read(&format!("dashboards/{}.json", board.file))).unwrap();
        let mut taken = BTreeSet::new();
        for panel in panels(&json) {
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{} is too far to the right", panel["title"]);
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{}: {} lies on another", board.file, panel["title"]);
                }
            }
        }
    }
}

#[test]
fn every_runbook_that_is_named_is_there() {
    let page = read("docs/runbooks.md");
    let headings: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let rules = read("dashboards/prometheus/alerts.rules.yml");
    let mut named = BTreeSet::new();
    for alert in alerts() {
        assert!(headings.contains(alert.name), "docs/runbooks.md has no heading {}", alert.name);
        let url = format!("runbook_url: docs/runbooks.md#{}", alert.name.to_lowercase());
        assert!(rules.lines().any(|line| line.trim() == url), "{url} is not in the rules");
        named.insert(alert.name);
    }
    let unnamed: Vec<&&str> = headings.difference(&named).collect();
    assert!(unnamed.is_empty(), "{unnamed:?} belong to no alert");
    for board in boards() {
        for panel in board.panels() {
            let words = panel.tells.iter().flat_map(|tell| tell.split(|c: char| !c.is_alphanumeric()));
            for word in words.filter(|word| word.starts_with("Tollgate") && word.len() > 8) {
                assert!(headings.contains(word), "{} names the runbook {word}", panel.title);
            }
        }
    }
}

#[test]
fn every_rule_has_its_story() {
    let stories = read("dashboards/prometheus/alerts.test.yml");
    for alert in alerts() {
        let (name, severity) = (alert.name, alert.severity);
        let fires = stories.lines().any(|line| {
            line.contains("- {labels:")
                && line.contains(&format!("alertname=\"{name}\""))
                && line.contains(&format!("severity=\"{severity}\""))
        });
        assert!(fires, "{name} ({severity}) never fires in a story");
    }
    // A cause has a story of its own in which it is silent; the service levels have theirs together.
    let levels: BTreeSet<&str> = tollgate_dashboards::OBJECTIVES.iter().map(|slo| slo.alert).collect();
    for name in alerts().iter().map(|alert| alert.name).filter(|name| !levels.contains(name)) {
        assert!(stories.contains(&format!("# {name} does not.")), "{name} is never silent in a story");
    }
    assert!(stories.matches("exp_samples: []").count() > 10);
    let stories = read("dashboards/prometheus/slo.test.yml");
    for record in records() {
        assert!(stories.contains(&format!("{})", record.name)), "{} is in no story", record.name);
        assert!(stories.contains(&format!("slo=\"{}\"", record.slo)), "{} is in no story", record.slo);
    }
}
