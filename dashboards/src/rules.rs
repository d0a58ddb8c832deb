//! Prometheus' rules: what is recorded of the service levels, and when somebody is called. Alerts on a service level
//! look at a long window, so that a blip wakes nobody, and at a short one, so that what is over stops calling; and at
//! least `ERRORS_MIN` must have gone wrong, so that one question in a quiet night is no incident.

use std::fmt::Write as _;

use crate::slo::{OBJECTIVES, Objective};

/// One rule that records.
#[derive(Debug)]
pub struct Record {
    /// The name of its series.
    pub name: String,
    /// The service level.
    pub slo: &'static str,
    /// What is recorded.
    pub query: String,
}

/// One rule that calls somebody.
#[derive(Debug)]
pub struct Alert {
    /// Its name, and the heading of its page in the runbooks.
    pub name: &'static str,
    /// `page`: now. `ticket`: in working hours.
    pub severity: &'static str,
    /// When.
    pub query: String,
    /// Once it has been so for so long.
    pub lasts: &'static str,
    /// What is wrong, in one sentence.
    pub summary: String,
}

/// Fewer broken promises than this within the long window call nobody.
const ERRORS_MIN: u32 = 5;

/// So many times too fast, over a long window and over a short one.
type Burn = (f64, &'static str, &'static str);

/// How fast the budget of thirty days burns, and over which windows that is looked at; after chapter 5 of Google's Site
/// Reliability Workbook, <https://sre.google/workbook/alerting-on-slos/>.
const BURNS: [(&str, [Burn; 2]); 2] =
    [("page", [(14.4, "1h", "5m"), (6.0, "6h", "30m")]), ("ticket", [(3.0, "1d", "2h"), (1.0, "3d", "6h")])];

/// The windows that alerts and boards look at.
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];
/// The long ones of [`BURNS`].
const LONG_WINDOWS: [&str; 4] = ["1h", "6h", "1d", "3d"];

/// Where the runbooks are read, from the top of the repository.
const RUNBOOKS: &str = "docs/runbooks.md";

/// The runbook of an alert.
#[must_use]
pub fn runbook(alert: &str) -> String {
    format!("{RUNBOOKS}#{}", alert.to_lowercase())
}

/// Everything that is recorded.
#[must_use]
pub fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for slo in OBJECTIVES {
        let record = |name: String, query: String| Record { name, slo: slo.name, query };
        for window in WINDOWS {
            records.push(record(format!("tollgate:slo_errors:ratio_rate{window}"), slo.error_ratio(window)));
        }
        for window in LONG_WINDOWS {
            records.push(record(format!("tollgate:slo_errors:increase{window}"), slo.errors(window)));
        }
        let left = format!("1 - ({}) / {}", slo.error_ratio("30d"), slo.budget);
        records.push(record("tollgate:slo_budget_left:ratio".to_owned(), left));
    }
    records
}

/// Everything that somebody is called for.
#[must_use]
pub fn alerts() -> Vec<Alert> {
    let levels =
        OBJECTIVES.iter().flat_map(|slo| BURNS.iter().map(|(severity, burns)| burning(slo, severity, burns)));
    levels.chain(causes()).collect()
}

fn burning(slo: &Objective, severity: &'static str, burns: &[Burn]) -> Alert {
    let ratio = |window: &str| format!("tollgate:slo_errors:ratio_rate{window}{{slo=\"{}\"}}", slo.name);
    let both = |(times, long, short): &Burn| {
        let (name, budget) = (slo.name, slo.budget);
        format!(
            "({} > {times} * {budget} and {} > {times} * {budget} and tollgate:slo_errors:increase{long}{{slo=\"{name}\"}} \
             >= {ERRORS_MIN})",
            ratio(long),
            ratio(short),
        )
    };
    Alert {
        name: slo.alert,
        severity,
        query: burns.iter().map(both).collect::<Vec<_>>().join(" or "),
        lasts: "1m",
        summary: format!("The error budget of “{}” is burning", slo.promise),
    }
}

/// The few causes that are worth a call before a service level suffers, or that none of them shows.
fn causes() -> Vec<Alert> {
    of_nodes().into_iter().chain(of_requests()).collect()
}

fn cause(
    name: &'static str,
    severity: &'static str,
    lasts: &'static str,
    summary: &str,
    query: &str,
) -> Alert {
    Alert { name, severity, lasts, summary: summary.to_owned(), query: query.to_owned() }
}

fn of_nodes() -> Vec<Alert> {
    vec![
        cause(
            "TollgateDown",
            "page",
            "1m",
            "Prometheus cannot scrape a node",
            r#"up{job=~".*tollgate.*"} == 0"#,
        ),
        cause("TollgateNotReady", "ticket", "10m", "A node is running and not ready", "tollgate_ready == 0"),
        cause(
            "TollgateJournalFailing",
            "page",
            "1m",
            "The journal rejects appends, or cannot be read",
            "sum by (job, instance) (increase(tollgate_journal_errors_total[5m])) > 0",
        ),
        cause(
            "TollgatePolicyRefused",
            "ticket",
            "0m",
            "A new policy has mistakes; the previous one stays in force",
            "sum by (job, instance) (increase(tollgate_policy_reloads_total{result=\"refused\"}[15m])) > 0",
        ),
        cause(
            "TollgatePoliciesDiffer",
            "ticket",
            "1m",
            "Nodes use different policies",
            "count by (job) (count by (job, version) (tollgate_policy_info)) > 1",
        ),
        cause(
            "TollgateEndpointFailing",
            "ticket",
            "15m",
            "An endpoint of outgoing webhooks does not take events",
            "sum by (job, instance) (tollgate_outgoing_endpoints{state=\"failing\"}) > 0 or \
             sum by (job, instance) (increase(tollgate_outgoing_deliveries_total{result=\"given_up\"}[1h])) > 0",
        ),
        cause(
            "TollgateShadowDropping",
            "ticket",
            "0m",
            "Requests are not compared with the candidate",
            "sum by (job, instance) (increase(tollgate_shadow_dropped_total[15m])) > 0",
        ),
        cause(
            "TollgateNearlyFull",
            "ticket",
            "5m",
            "A node uses 80 % of one of its limits",
            "tollgate_in_flight_requests > ignoring (bound) 0.8 * tollgate_capacity{bound=\"in_flight\"} or \
             tollgate_connections{listener=\"webhook\"} > ignoring (bound, listener) 0.8 * \
             tollgate_capacity{bound=\"connections\"} or tollgate_card_queue_longest > ignoring (bound) 0.8 * \
             tollgate_capacity{bound=\"card_queue\"} or process_open_fds > 0.8 * process_max_fds",
        ),
        cause(
            "TollgateStarved",
            "ticket",
            "10m",
            "Tasks wait for a CPU",
            "histogram_quantile(0.99, sum by (job, instance, le) (rate(tokio_wake_delay_seconds_bucket[5m]))) > 0.05",
        ),
    ]
}

fn of_requests() -> Vec<Alert> {
    vec![
        cause(
            "TollgateSignaturesFail",
            "page",
            "2m",
            "Most requests have no valid signature",
            "sum by (job) (increase(tollgate_signature_failures_total[5m])) > 10 and sum by (job) \
             (increase(tollgate_signature_failures_total[5m])) > 0.5 * sum by (job) \
             (increase(tollgate_webhook_requests_total[5m]))",
        ),
        cause(
            "TollgateSignedRefused",
            "page",
            "2m",
            "Most requests have a valid signature and are refused",
            "sum by (job) (increase(tollgate_signed_requests_refused_total[5m])) > 10 and sum by (job) \
             (increase(tollgate_signed_requests_refused_total[5m])) > 0.5 * sum by (job) \
             (increase(tollgate_webhook_requests_total[5m]))",
        ),
        cause(
            "TollgateSignedRefused",
            "ticket",
            "0m",
            "A request with a valid signature was refused",
            "sum by (job, cause) (increase(tollgate_signed_requests_refused_total[15m])) > 0",
        ),
        cause(
            "TollgateContractBroken",
            "ticket",
            "0m",
            "Requests violate Stripe's contract and are declined",
            "sum by (job, kind) (increase(tollgate_contract_violations_total[15m])) > 0",
        ),
        cause(
            "TollgateEventsLost",
            "ticket",
            "0m",
            "Events were acknowledged and not recorded",
            "sum by (job, cause) (increase(tollgate_unbooked_events_total{cause!=\"not_ours\"}[15m])) > 0 or \
             sum by (job, event) (increase(tollgate_webhook_requests_total{\
             event=\"v2.core.health.event_generation_failure.resolved\"}[15m])) > 0",
        ),
        cause(
            "TollgateStripeMissesAnswers",
            "page",
            "0m",
            "Stripe reports that answers do not reach it",
            "sum by (job, event) (increase(tollgate_webhook_requests_total{\
             event=~\"v2.core.health.issuing_authorization_request_timeout.firing|\
             v2.core.health.issuing_authorization_request_errors.firing\"}[15m])) > 0",
        ),
        cause(
            "TollgateUnknownGroup",
            "ticket",
            "0m",
            "Cards name a group that the policy lacks",
            "sum by (job) (increase(tollgate_unknown_group_requests_total[15m])) > 0",
        ),
        cause(
            "TollgateBudgetNearlyUsed",
            "ticket",
            "5m",
            "A budget has passed the last share that its policy warns at",
            "max by (job, budget) (tollgate_budget_used_ratio) >= max by (job, budget) (tollgate_budget_warn_ratio)",
        ),
        cause(
            "TollgateUnconfirmed",
            "ticket",
            "30m",
            "Stripe does not confirm decisions",
            "sum by (job) (tollgate_unconfirmed_decisions) > 10",
        ),
    ]
}

/// The file of what is recorded.
pub(crate) fn recording_file() -> String {
    let (budgets, rates): (Vec<Record>, Vec<Record>) =
        records().into_iter().partition(|record| record.name.contains("budget"));
    let mut text = format!("{HEADER}groups:\n");
    for (group, interval, records) in [("tollgate-slo", "30s", rates), ("tollgate-slo-budget", "5m", budgets)]
    {
        let _ = writeln!(text, "  - name: {group}\n    interval: {interval}\n    rules:");
        for Record { name, slo, query } in records {
            let query = quoted(&query);
            let _ = writeln!(
                text,
                "      - record: {name}\n        expr: {query}\n        labels: {{slo: {slo}}}"
            );
        }
    }
    text
}

/// The file of what somebody is called for.
pub(crate) fn alerting_file() -> String {
    let mut text = format!("{HEADER}groups:\n  - name: tollgate-alerts\n    rules:\n");
    for Alert { name, severity, query, lasts, summary } in alerts() {
        let (query, summary, runbook) = (quoted(&query), quoted(&summary), runbook(name));
        let _ = write!(
            text,
            "      - alert: {name}\n        expr: {query}\n        for: {lasts}\n        labels: {{severity: {severity}}}\n\
             \x20       annotations:\n          summary: {summary}\n          runbook_url: {runbook}\n"
        );
    }
    text
}

const HEADER: &str = "# Generated from dashboards/src: change it there. A runbook_url starts at the top of Tollgate's repository.\n";

/// A text between quotes, as YAML and JSON both read it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
