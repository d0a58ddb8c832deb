//! Queries in `PromQL`: the selector that every one of them carries, and what they ask for that nobody has.

use std::collections::BTreeSet;

use tollgate::metrics::{FAMILIES, Family, Kind, Vocabulary};

use crate::rules::records;

/// A query as boards carry it: `{@}` becomes the selector of the board's variables, `[@]` Grafana's own choice of a
/// window for rates.
#[must_use]
pub(crate) fn on_board(query: &str) -> String {
    query
        .replace('\n', " ")
        .replace("{@", r#"{job=~"$job", instance=~"$node""#)
        .replace("[@]", "[$__rate_interval]")
}

/// The names and labels in a query that neither the program's catalogue nor the recording rules have, as sentences.
#[must_use]
pub fn unknown(query: &str, words: &Vocabulary) -> Vec<String> {
    let recorded: BTreeSet<String> = records().into_iter().map(|record| record.name).collect();
    let mut problems = Vec::new();
    for (name, matchers) in selectors(query) {
        if recorded.contains(&name) || name == "up" || name == "ALERTS" {
            continue;
        }
        let Some(family) = family(&name) else {
            problems.push(format!("no metric is called {name}"));
            continue;
        };
        for (label, value) in matchers {
            if ["job", "instance", "le"].contains(&label.as_str()) {
                continue;
            }
            match family.labels.iter().find(|(known, _)| *known == label) {
                None => problems.push(format!("{name} has no label {label}")),
                Some((_, values)) => {
                    let known = values.list(words);
                    let asked = value.split('|');
                    let strange = asked.filter(|one| !known.is_empty() && !known.contains(one));
                    problems.extend(strange.map(|one| format!("{name} has no {label}={one:?}")));
                }
            }
        }
    }
    problems
}

/// The family that has series of this name.
fn family(series: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| {
        let end = series.strip_prefix(family.name);
        match family.kind {
            Kind::Counter | Kind::Gauge => end == Some(""),
            Kind::Histogram => end.is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end)),
        }
    })
}

/// What a query selects: each name of a series with its matchers.
fn selectors(query: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '"') {
        let (_, from) = rest.split_at(at);
        if let Some(text) = from.strip_prefix('"') {
            // What stands between quotes is no name.
            rest = text.split_once('"').map_or("", |(_, behind)| behind);
            continue;
        }
        let end =
            from.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(from.len());
        let (name, behind) = from.split_at(end);
        rest = behind;
        let is_series =
            ["tollgate_", "tollgate:", "process_", "tokio_"].iter().any(|known| name.starts_with(known))
                || (["up", "ALERTS"].contains(&name) && behind.starts_with('{'));
        if !is_series {
            continue;
        }
        let mut matchers = Vec::new();
        if let Some((inside, behind)) = behind.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            matchers = inside.split(',').filter_map(matcher).collect();
            rest = behind;
        }
        found.push((name.to_owned(), matchers));
    }
    found
}

/// `label=~"value"`: the label, and the value without its quotes.
fn matcher(text: &str) -> Option<(String, String)> {
    let (label, value) = text.split_once(['=', '!'])?;
    let value = value.trim_start_matches(['=', '~']).trim_matches('"');
    Some((label.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use tollgate::http::vocabulary;

    use super::*;

    #[test]
    fn what_nobody_has_is_found() {
        let check =
            |query: &str, expected: &[&str]| assert_eq!(unknown(query, &vocabulary()), expected, "{query}");
        check("sum(rate(tollgate_decisions_total[5m]))", &[]);
        check(r#"up{job="x"} == 0 and tollgate:slo_errors:ratio_rate5m > 0"#, &[]);
        check(r#"tollgate_decisions_total{job=~"$job", source=~"policy|stand_in"}"#, &[]);
        check(r#"histogram_quantile(0.9, tollgate_stage_duration_seconds_bucket{le="0.5"})"#, &[]);
        check("tollgate_decision_total", &["no metric is called tollgate_decision_total"]);
        check("tollgate_stage_duration_seconds", &["no metric is called tollgate_stage_duration_seconds"]);
        check("tollgate:slo", &["no metric is called tollgate:slo"]);
        check(r#"tollgate_ready{card="x"}"#, &["tollgate_ready has no label card"]);
        check(
            r#"tollgate_decisions_total{source!~"policy|nobody"}"#,
            &[r#"tollgate_decisions_total has no source="nobody""#],
        );
    }
}
