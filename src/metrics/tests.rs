//! The catalogue against what is really exported.

use std::{collections::BTreeMap, time::Duration};

use super::*;

fn words() -> Vocabulary {
    Vocabulary {
        events: vec!["request", "unread"],
        outcomes: vec!["approved", "declined"],
        reasons: vec!["approved", "spending_limit", "paused"],
        sources: vec!["policy", "stand_in"],
        violations: vec!["no_card"],
        signature_failures: vec!["no_header", "mismatch"],
        malformed: vec!["not_json"],
        unbooked: vec!["not_ours"],
    }
}

/// The series of an export by family, each as it stands before its value.
fn series(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut families = BTreeMap::<&str, Vec<&str>>::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap();
            assert!(!families.contains_key(current), "{current} is exported twice");
            families.insert(current, Vec::new());
        } else if !line.starts_with('#') {
            let name = line.rsplit_once(' ').unwrap().0;
            assert!(name.starts_with(current), "{name} stands under {current}");
            families.get_mut(current).unwrap().push(name);
        }
    }
    families
}

#[test]
fn every_family_of_the_catalogue_is_exported_from_the_start_and_no_other() {
    let metrics = Metrics::new(&words());
    metrics.policy.in_force("env", 1.0);
    let text = metrics.render();
    let exported = series(&text);
    let declared: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    for name in &declared {
        assert!(exported.get(name).is_some_and(|series| !series.is_empty()), "{name} is not exported");
    }
    for name in exported.keys() {
        assert!(declared.contains(name), "{name} is not in the catalogue");
    }
}

#[test]
fn each_family_has_a_series_for_every_combination_of_its_labels() {
    let words = words();
    let metrics = Metrics::new(&words);
    metrics.policy.in_force("env", 1.0);
    let budgets: Vec<String> = (0..2 * NAMES_MAX).map(|number| format!("budget-{number}")).collect();
    metrics.budgets.in_force(budgets.iter().map(String::as_str));
    let text = metrics.render();
    let exported = series(&text);
    for family in FAMILIES {
        assert_eq!(exported[family.name].len(), family.series(&words), "{}", family.name);
    }
}

#[test]
fn names_carry_their_prefix_and_their_base_unit() {
    for family in FAMILIES {
        let name = family.name;
        let prefixed = ["tollgate_", "process_", "tokio_"].iter().any(|prefix| name.starts_with(prefix));
        assert!(prefixed, "{name}");
        let stem = match family.kind {
            Kind::Counter => {
                name.strip_suffix("_total").unwrap_or_else(|| panic!("{name} counts without _total"))
            }
            Kind::Gauge | Kind::Histogram => name,
        };
        assert_eq!(stem.ends_with("_seconds"), family.unit == Unit::Seconds, "{name}");
        assert_eq!(stem.ends_with("_bytes"), family.unit == Unit::Bytes, "{name}");
        assert_eq!(stem.ends_with("_info"), family.unit == Unit::Info, "{name}");
        assert_eq!(stem.ends_with("_ratio"), family.unit == Unit::Ratio, "{name}");
        assert!(family.unit.buckets().is_sorted(), "{name}");
    }
}

#[test]
fn what_is_told_is_what_is_exported() {
    let metrics = Metrics::new(&words());
    metrics.decisions.made.get(["declined", "paused", "policy"]).increment(2);
    metrics.decisions.made.get(["declined", "no such reason", "policy"]).increment(5);
    metrics.webhook.requests.get(["request", WebhookResult::Answered.as_str()]).increment(3);
    metrics.decisions.stages.get(Stage::Commit).record(Duration::from_millis(3));
    metrics.policy.in_force("a \"b\"\\\n", 7.0);
    let text = metrics.render();
    let check = |line: &str| assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    check(r#"tollgate_decisions_total{outcome="declined",reason="paused",source="policy"} 2"#);
    check(r#"tollgate_webhook_requests_total{event="request",result="answered"} 3"#);
    check(r#"tollgate_stage_duration_seconds_bucket{stage="commit",le="0.0025"} 0"#);
    check(r#"tollgate_stage_duration_seconds_bucket{stage="commit",le="0.005"} 1"#);
    check(r#"tollgate_policy_info{version="a \"b\"\\\n"} 1"#);
    assert!(!text.contains("no such reason"));
}

#[test]
fn nodes_in_one_process_count_for_themselves() {
    let (one, other) = (Metrics::new(&words()), Metrics::new(&words()));
    one.decisions.repeats.increment(1);
    assert!(one.render().contains("tollgate_repeated_questions_total 1"));
    assert!(other.render().contains("tollgate_repeated_questions_total 0"));
}

#[test]
fn the_catalogue_names_every_family_and_value() {
    let (list, page) = (overview(&words()), markdown(&words()));
    for family in FAMILIES {
        let row = page.lines().filter(|line| line.starts_with(&format!("| `{}` | ", family.name)));
        assert_eq!(row.map(|line| line.matches(" | ").count()).collect::<Vec<_>>(), [5], "{}", family.name);
        assert!(list.contains(&format!("  {} (", family.name)), "{}", family.name);
        assert_eq!(page.matches(&format!("\n## {}\n", family.section)).count(), 1, "{}", family.section);
    }
    assert!(page.contains("`cause`: `no_header`, `mismatch`") && list.contains("cause: no_header, mismatch"));
}
