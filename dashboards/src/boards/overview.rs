//! Whether the promise is kept: answers in time, decided by the policy.

use crate::{
    board::{
        Board,
        Kind::{Lines, Number, Stacked},
        Panel,
    },
    query::rates_by,
    slo::OBJECTIVES,
};

pub(super) fn board() -> Board {
    Board {
        file: "overview",
        title: "Tollgate: overview",
        description: "Whether every authorization request is decided by the policy within Stripe's 2 seconds.",
        rows: vec![
            ("Service levels", vec![budget(), questions(), stand_in(), approved(), ready()]),
            ("Decisions", vec![burn(), latency(), outcomes(), stages()]),
            ("Problems", vec![declines(), requests(), shed(), bounds()]),
            ("Nodes", vec![nodes()]),
        ],
    }
}

fn budget() -> Panel {
    Panel::new(
        Number,
        "Error budget left",
        "percentunit",
        [
            "The error budget that each service level has left, over 30 days or the retention of Prometheus.",
            "Above a quarter, all four.",
            "At 0 the service level is missed: stop risky changes, and follow the runbook of the alert that fired.",
        ],
        &[(r#"tollgate:slo_budget_left:ratio{job=~"$job"}"#, "{{slo}}")],
    )
    .wide(10)
    .steps(&[(None, "red"), (Some(0.0), "orange"), (Some(0.25), "green")])
}

fn questions() -> Panel {
    Panel::new(
        Number,
        "Authorization requests",
        "reqps",
        [
            "Authorization requests decided per second.",
            "Follows the daily pattern of the card program.",
            "None: check the endpoint in Stripe's Dashboard, then the requests by result below.",
        ],
        &[("sum(rate(tollgate_decisions_total{@, source=~\"policy|stand_in\"}[@]))", "questions")],
    )
    .wide(4)
    .steps(&[(None, "blue")])
}

fn stand_in() -> Panel {
    Panel::new(
        Number,
        "Stand-in decisions",
        "percentunit",
        [
            "The share of requests with a stand-in decision.",
            "0.",
            "The cards and policy dashboard shows the causes; see the runbook TollgateStandIn.",
        ],
        &[(
            "sum(rate(tollgate_decisions_total{@, source=\"stand_in\"}[@])) / \
             sum(rate(tollgate_decisions_total{@, source=~\"policy|stand_in\"}[@]))",
            "stand-in",
        )],
    )
    .wide(4)
    .steps(&[(None, "green"), (Some(0.0001), "orange"), (Some(0.01), "red")])
}

fn approved() -> Panel {
    Panel::new(
        Number,
        "Approved",
        "percentunit",
        [
            "The share of policy decisions that approve, in full or in part.",
            "As on other days at this hour.",
            "A sudden drop means a new policy, a wrong limit, or fraud: check the declines by reason.",
        ],
        &[(
            "sum(rate(tollgate_decisions_total{@, outcome=~\"approved|partial\", source=\"policy\"}[@])) / \
             sum(rate(tollgate_decisions_total{@, source=\"policy\"}[@]))",
            "approved",
        )],
    )
    .wide(3)
    .steps(&[(None, "blue")])
}

fn ready() -> Panel {
    Panel::new(
        Number,
        "Nodes ready",
        "none",
        [
            "Nodes that want traffic.",
            "All that you run.",
            "See the runbook TollgateNotReady, or TollgateDown for a node that is not scraped.",
        ],
        &[("sum(tollgate_ready{@})", "ready")],
    )
    .wide(3)
    .steps(&[(None, "red"), (Some(1.0), "green")])
}

fn burn() -> Panel {
    let targets = OBJECTIVES.map(|slo| {
        let query = format!(
            "tollgate:slo_errors:ratio_rate1h{{job=~\"$job\", slo=\"{}\"}} / {}",
            slo.name, slo.budget
        );
        (query, slo.name)
    });
    let targets: Vec<(&str, &'static str)> =
        targets.iter().map(|(query, name)| (query.as_str(), *name)).collect();
    Panel::new(
        Lines,
        "Burn rate",
        "none",
        [
            "How fast each error budget is used over the last hour: at 1 it lasts exactly 30 days.",
            "Below 1.",
            "Above the dashed line at 14.4 an alert pages; it names the runbook.",
        ],
        &targets,
    )
    .steps(&[(None, "green"), (Some(14.4), "red")])
}

fn latency() -> Panel {
    let quantile = |share: &str| {
        format!(
            "histogram_quantile({share}, sum by (le) (rate(tollgate_decision_duration_seconds_bucket{{@}}[@])))"
        )
    };
    let (half, most, nearly, last) = (quantile("0.5"), quantile("0.95"), quantile("0.99"), quantile("0.999"));
    Panel::new(
        Lines,
        "Time to answer",
        "s",
        [
            "Time from the headers of a request to its answer: median, tail, and the deadline.",
            "p99.9 below 0.5 s. Quantiles lie between the bounds of buckets, the lowest of which is 0.25 ms.",
            "Check the time by stage: a long commit is the disk, a long queue is a hot card or too little CPU.",
        ],
        &[
            (&half, "p50"),
            (&most, "p95"),
            (&nearly, "p99"),
            (&last, "p99.9"),
            ("min(tollgate_answer_within_seconds{@})", "deadline"),
            ("vector(2) and on () group(tollgate_ready{@})", "Stripe waits"),
        ],
    )
    .logarithmic()
    .colours(&[("deadline", "purple"), ("Stripe waits", "red")])
}

fn outcomes() -> Panel {
    Panel::new(
        Stacked,
        "Decisions by outcome",
        "reqps",
        [
            "Decisions a second, by outcome.",
            "The mix that the policy means.",
            "Declines by reason are below and on the cards and policy dashboard.",
        ],
        &[(
            "sum by (outcome) (rate(tollgate_decisions_total{@, source=~\"policy|stand_in\"}[@]))",
            "{{outcome}}",
        )],
    )
    .colours(&[("approved", "green"), ("partial", "yellow"), ("declined", "orange")])
}

fn stages() -> Panel {
    Panel::new(
        Stacked,
        "Time by stage",
        "s",
        [
            "The mean time of each stage; their sum is the mean time to answer.",
            "Commit is the largest, a few milliseconds.",
            "queue: hot cards or a busy CPU. commit: the disk. route: cards that are being loaded. respond: Stripe's API.",
        ],
        &[(
            "sum by (stage) (rate(tollgate_stage_duration_seconds_sum{@}[@])) / \
             sum by (stage) (rate(tollgate_stage_duration_seconds_count{@}[@]))",
            "{{stage}}",
        )],
    )
}

fn declines() -> Panel {
    Panel::new(
        Stacked,
        "Declines by reason",
        "reqps",
        [
            "Declines per second, by reason.",
            "Only reasons of the policy: no stand_in_…, no contract_violation.",
            "stand_in_…: the runbook TollgateStandIn. contract_violation: TollgateContractBroken.",
        ],
        &[(&rates_by("reason", "tollgate_decisions_total{@, outcome=\"declined\"}"), "{{reason}}")],
    )
}

fn requests() -> Panel {
    Panel::new(
        Lines,
        "Webhook requests by result",
        "reqps",
        [
            "All requests to the webhook, by result.",
            "Only `answered`, `booked`, and `acknowledged`.",
            "bad_signature: a wrong secret, or a sender that is not Stripe. not_booked: the journal. malformed: the endpoint's subscription.",
        ],
        &[(&rates_by("result", "tollgate_webhook_requests_total{@}"), "{{result}}")],
    )
}

fn shed() -> Panel {
    Panel::new(
        Lines,
        "Refused requests",
        "reqps",
        [
            "Requests that were refused or got a stand-in decision, by the limit that was reached.",
            "0.",
            "docs/configuration.md has the setting of each limit: raise it, or add a node.",
        ],
        &[(&rates_by("cause", "tollgate_requests_shed_total{@}"), "{{cause}}")],
    )
}

fn bounds() -> Panel {
    let share = |used: &str, bound: &str| {
        format!(
            "max(max by (instance) ({used}) / max by (instance) (tollgate_capacity{{@, bound=\"{bound}\"}}))"
        )
    };
    let in_flight = share("tollgate_in_flight_requests{@}", "in_flight");
    let connections = share("tollgate_connections{@, listener=\"webhook\"}", "connections");
    let queue = share("tollgate_card_queue_longest{@}", "card_queue");
    let cards = share("tollgate_cards_resident{@}", "cards_resident");
    Panel::new(
        Lines,
        "Use of limits",
        "percentunit",
        [
            "The use of each limit, on the node that uses most of it.",
            "Far below 80 %. Cards in memory may stay at 100 %: then the cards idle longest are evicted.",
            "See the runbook TollgateNearlyFull.",
        ],
        &[
            (&in_flight, "requests in progress"),
            (&connections, "connections"),
            (&queue, "queue of a card"),
            (&cards, "cards in memory"),
            ("max(process_open_fds{@} / process_max_fds{@})", "file descriptors"),
        ],
    )
    .steps(&[(None, "green"), (Some(0.8), "red")])
}

fn nodes() -> Panel {
    Panel::table(
        "Nodes",
        [
            "Each node: readiness, uptime, and current load.",
            "All ready, no unexpected restarts.",
            "See the runbooks TollgateNotReady and TollgateDown.",
        ],
        &[
            ("max by (instance) (tollgate_ready{@})", "ready", "none"),
            ("max by (instance) (time() - process_start_time_seconds{@})", "up for", "s"),
            ("sum by (instance) (rate(tollgate_decisions_total{@}[@]))", "decisions", "reqps"),
            ("max by (instance) (tollgate_in_flight_requests{@})", "in progress", "none"),
            ("max by (instance) (tollgate_cards_resident{@})", "cards in memory", "none"),
            ("max by (instance) (process_resident_memory_bytes{@})", "memory", "bytes"),
        ],
    )
    .wide(24)
}
