//! Whether the promise is kept: answers in time, decided by the policy.

use crate::{
    board::{
        Board,
        Kind::{Lines, Number, Stacked, Table},
        Panel,
    },
    slo::OBJECTIVES,
};

pub(super) fn board() -> Board {
    Board {
        file: "overview",
        title: "Tollgate: overview",
        description: "Is the promise kept? Every question answered inside Stripe's 2 seconds, by the policy.",
        rows: vec![
            ("The promise", vec![budget(), questions(), stand_in(), approved(), ready()]),
            ("Answers", vec![burn(), latency(), outcomes(), stages()]),
            ("What goes wrong", vec![declines(), requests(), shed()]),
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
            "How much of each service level's error budget is left, of the last 30 days or as far back as Prometheus remembers.",
            "Above a quarter, all four.",
            "At 0 the promise is broken: stop risky changes, and follow the runbook of the alert that fired.",
        ],
        &[(r#"tollgate:slo_budget_left:ratio{job=~"$job"}"#, "{{slo}}")],
    )
    .wide(10)
    .steps(&[(None, "red"), (Some(0.0), "orange"), (Some(0.25), "green")])
}

fn questions() -> Panel {
    Panel::new(
        Number,
        "Questions",
        "reqps",
        [
            "Authorization requests decided a second.",
            "Follows the card programme's day.",
            "Stripe sends none: look at the endpoint in Stripe's dashboard, then at the requests by result below.",
        ],
        &[("sum(rate(tollgate_decisions_total{@, source=~\"policy|stand_in\"}[@]))", "questions")],
    )
    .wide(4)
    .steps(&[(None, "blue")])
}

fn stand_in() -> Panel {
    Panel::new(
        Number,
        "Answered by stand-in",
        "percentunit",
        [
            "The share of questions that were answered without the books.",
            "0.",
            "The reasons are on the board of cards and policy; see the runbook TollgateStandIn.",
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
            "The share of the policy's decisions that approve, in full or in part.",
            "As on other days at this hour.",
            "A sudden fall is a new policy, a wrong limit, or fraud: look at the declines by reason.",
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
            "See the runbook TollgateNotReady; a node that is missing altogether is in TollgateDown.",
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
            "How many times too fast each error budget is being used, over the last hour: at 1 it lasts exactly 30 days.",
            "Below 1.",
            "Above the dashed line at 14.4 somebody is paged; the alert names the runbook.",
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
            "From the headers of a request to its answer: median and tail, with the time that answers get.",
            "p99.9 below 0.5 s. Quantiles lie between the bounds of buckets, the lowest of which is 0.25 ms.",
            "Look at the time by stage: a long commit is the disk, a long queue is one hot card or too little processor.",
        ],
        &[
            (&half, "p50"),
            (&most, "p95"),
            (&nearly, "p99"),
            (&last, "p99.9"),
            ("min(tollgate_answer_within_seconds{@})", "deadline"),
        ],
    )
    .steps(&[(None, "green"), (Some(2.0), "red")])
    .colours(&[("deadline", "red")])
}

fn outcomes() -> Panel {
    Panel::new(
        Stacked,
        "Decisions by outcome",
        "reqps",
        [
            "Decisions a second, by outcome.",
            "The mix that the policy means.",
            "Declines are taken apart below, and on the board of cards and policy.",
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
            "The mean time of each stage of an answer; the whole is the mean answer.",
            "The commit is most of it, a few milliseconds.",
            "queue: hot cards or a busy processor. commit: the disk. route: cards that are being loaded. respond: Stripe's API.",
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
            "Declined questions a second, by reason.",
            "Reasons of the policy; no stand_in_…, no contract_violation.",
            "stand_in_…: the runbook TollgateStandIn. contract_violation: TollgateContractBroken.",
        ],
        &[("sum by (reason) (rate(tollgate_decisions_total{@, outcome=\"declined\"}[@]))", "{{reason}}")],
    )
}

fn requests() -> Panel {
    Panel::new(
        Lines,
        "Webhook requests by result",
        "reqps",
        [
            "Everything that came to the webhook, by what became of it.",
            "answered, booked and acknowledged only.",
            "bad_signature: a wrong secret or a stranger. not_booked: the journal. malformed: the endpoint's subscription.",
        ],
        &[("sum by (result) (rate(tollgate_webhook_requests_total{@}[@]))", "{{result}}")],
    )
}

fn shed() -> Panel {
    Panel::new(
        Lines,
        "Turned away",
        "reqps",
        [
            "Work that was refused or left to the stand-in, by the bound that it met.",
            "0.",
            "The bound's setting is in the documentation of the configuration; raise it, or add a node.",
        ],
        &[("sum by (cause) (rate(tollgate_requests_shed_total{@}[@]))", "{{cause}}")],
    )
    .wide(24)
}

fn nodes() -> Panel {
    Panel::new(
        Table,
        "Nodes",
        "none",
        [
            "Each node: whether it wants traffic, how long it has run, what it does now.",
            "All ready, none restarted without reason.",
            "See the runbooks TollgateNotReady and TollgateDown.",
        ],
        &[
            ("max by (instance) (tollgate_ready{@})", "ready"),
            ("max by (instance) (time() - process_start_time_seconds{@})", "up for (s)"),
            ("sum by (instance) (rate(tollgate_decisions_total{@}[@]))", "decisions (reqps)"),
            ("max by (instance) (tollgate_in_flight_requests{@})", "in flight"),
            ("max by (instance) (tollgate_cards_resident{@})", "cards in memory"),
            ("max by (instance) (process_resident_memory_bytes{@})", "memory (bytes)"),
        ],
    )
    .wide(24)
    .steps(&[(None, "text")])
}
