//! Where decisions become durable, which cards are in memory, and on which node.

use crate::{
    board::{
        Board,
        Kind::{Lines, Number, Stacked},
        Panel,
    },
    query::rates_by,
};

pub(super) fn board() -> Board {
    Board {
        file: "cluster-and-journal",
        title: "Tollgate: cluster and journal",
        description: "How fast decisions become durable, and which cards are in memory.",
        rows: vec![
            ("The journal", vec![commits(), commit_time(), batches(), written(), waiting(), trouble()]),
            ("Cards in memory", vec![resident(), holds(), passivations(), activations(), queue()]),
            ("Nodes", vec![readiness(), members(), hop(), routes(), forwards()]),
            ("Outgoing webhooks", vec![deliveries(), oldest_event(), delivery_time()]),
        ],
    }
}

fn commits() -> Panel {
    Panel::new(
        Number,
        "Commits",
        "ops",
        [
            "Group commits per second, each with one sync of the disk.",
            "Grows with traffic until the disk is fully busy; then batches grow.",
            "None despite requests: see the runbook TollgateJournalFailing.",
        ],
        &[("sum(rate(tollgate_journal_commit_duration_seconds_count{@}[@]))", "commits")],
    )
    .wide(4)
    .steps(&[(None, "blue")])
}

fn commit_time() -> Panel {
    let [half, nearly, last] = quantiles("tollgate_journal_commit_duration_seconds");
    Panel::new(
        Lines,
        "Commit time",
        "s",
        [
            "Time of one group commit, until it is durable.",
            "p99 below 10 ms.",
            "A slow sync makes every answer slow: use a dedicated disk with a power-safe cache.",
        ],
        &[(&half, "p50"), (&nearly, "p99"), (&last, "p99.9")],
    )
    .wide(10)
}

/// What half of a histogram's values stay below, and 99 and 99.9 in a hundred.
fn quantiles(histogram: &str) -> [String; 3] {
    ["0.5", "0.99", "0.999"]
        .map(|share| format!("histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{{@}}[@])))"))
}

fn batches() -> Panel {
    Panel::new(
        Lines,
        "Entries per commit",
        "none",
        [
            "Entries per group commit: average and 95th percentile.",
            "Grows with the load, and stays below TOLLGATE_JOURNAL_BATCH_MAX.",
            "At that limit the disk is too slow for the load, or the limit is too low.",
        ],
        &[
            (
                "sum(rate(tollgate_journal_batch_entries_sum{@}[@])) / sum(rate(tollgate_journal_batch_entries_count{@}[@]))",
                "mean",
            ),
            ("histogram_quantile(0.99, sum by (le) (rate(tollgate_journal_batch_entries_bucket{@}[@])))", "p99"),
        ],
    )
    .wide(10)
}

fn written() -> Panel {
    Panel::new(
        Lines,
        "Bytes written",
        "Bps",
        [
            "Bytes of durable entries per second.",
            "About 500 for each decision.",
            "Much more: cards with many open holds write large snapshots. Size the disk accordingly.",
        ],
        &[("sum by (instance) (rate(tollgate_journal_appended_bytes_total{@}[@]))", "{{instance}}")],
    )
    .wide(8)
}

fn waiting() -> Panel {
    Panel::new(
        Lines,
        "Waiting for the journal",
        "s",
        [
            "How long a decision made now would wait to be durable, and how long the oldest entry has been waiting.",
            "Milliseconds.",
            "Above half of TOLLGATE_ANSWER_WITHIN requests are answered by the stand-in at once: the disk is too slow for the load, or hangs.",
        ],
        &[
            ("max by (instance) (tollgate_journal_expected_wait_seconds{@})", "expected: {{instance}}"),
            ("max by (instance) (tollgate_journal_oldest_append_seconds{@})", "oldest: {{instance}}"),
        ],
    )
    .wide(8)
}

fn trouble() -> Panel {
    Panel::new(
        Lines,
        "Journal errors",
        "ops",
        [
            "Rejected appends, appends that were too late, conflicts, unknown outcomes, and failed reads.",
            "0 on one node; few conflicts in a cluster, when cards change owners.",
            "See the runbook TollgateJournalFailing.",
        ],
        &[
            (&rates_by("kind", "tollgate_journal_errors_total{@}"), "error: {{kind}}"),
            ("sum(rate(tollgate_journal_conflicts_total{@}[@]))", "conflict"),
            ("sum(rate(tollgate_journal_unknown_total{@}[@]))", "unknown"),
            ("sum(rate(tollgate_journal_expired_total{@}[@]))", "expired"),
            ("sum(rate(tollgate_journal_restored_entries_total{@}[@]))", "given back"),
            ("sum(rate(tollgate_journal_lost_entries_total{@}[@]))", "lost"),
            ("sum(rate(tollgate_journal_refused_primaries_total{@}[@]))", "primary refused"),
        ],
    )
    .wide(8)
}

fn resident() -> Panel {
    Panel::new(
        Lines,
        "Cards in memory",
        "none",
        [
            "Cards that nodes keep in memory to decide on.",
            "Below TOLLGATE_CARDS_RESIDENT_MAX.",
            "At that limit cards are evicted before they are idle, and loaded again: raise it.",
        ],
        &[("sum(tollgate_cards_resident{@})", "in memory")],
    )
    .wide(8)
}

fn holds() -> Panel {
    Panel::new(
        Lines,
        "Open holds",
        "none",
        [
            "Authorizations with an open hold, on the cards in memory.",
            "Follows the traffic and the number of cards in memory.",
            "It grows and the traffic does not: captures, reversals, or expiries do not arrive. See the events on cards and policy.",
        ],
        &[("sum by (instance) (tollgate_holds_open{@})", "{{instance}}")],
    )
    .wide(8)
}

fn passivations() -> Panel {
    Panel::new(
        Stacked,
        "Card loads and evictions",
        "ops",
        [
            "Evicted cards, by cause, and loaded cards.",
            "idle only.",
            "pressure: the limit is too low. failure: an actor failed; the log has the cause.",
        ],
        &[
            (&rates_by("cause", "tollgate_card_passivations_total{@}"), "evicted: {{cause}}"),
            (&rates_by("result", "tollgate_card_activations_total{@}"), "loaded: {{result}}"),
        ],
    )
    .wide(8)
}

fn activations() -> Panel {
    let quantile = |share: &str| {
        format!(
            "histogram_quantile({share}, sum by (le) (rate(tollgate_card_activation_duration_seconds_bucket{{@}}[@])))"
        )
    };
    let (half, nearly) = (quantile("0.5"), quantile("0.99"));
    Panel::new(
        Lines,
        "Time to load a card",
        "s",
        [
            "Time to load a card from the journal.",
            "Milliseconds.",
            "Longer: the disk is busy, or the card has a long history; see the time by stage on the overview.",
        ],
        &[(&half, "p50"), (&nearly, "p99")],
    )
}

fn queue() -> Panel {
    Panel::new(
        Lines,
        "Longest card queue",
        "none",
        [
            "Requests in the longest card queue, sampled once a second.",
            "A few.",
            "At TOLLGATE_CARD_QUEUE_MAX requests are refused: one card is too hot, or the CPU is busy.",
        ],
        &[("max by (instance) (tollgate_card_queue_longest{@})", "{{instance}}")],
    )
}

fn readiness() -> Panel {
    Panel::new(
        Lines,
        "Readiness",
        "none",
        [
            "1 for each node that is ready for traffic.",
            "All nodes, except during a restart.",
            "See the runbook TollgateNotReady.",
        ],
        &[("max by (instance) (tollgate_ready{@})", "{{instance}}")],
    )
    .wide(8)
}

fn members() -> Panel {
    Panel::new(
        Lines,
        "Members",
        "none",
        [
            "Members of the cluster as each node sees it, itself included.",
            "The number of nodes that you run, on every node.",
            "A node that sees fewer is partitioned from the database, or the others consider it down.",
        ],
        &[("max by (instance) (tollgate_members{@})", "{{instance}}")],
    )
    .wide(8)
}

fn forwards() -> Panel {
    Panel::new(
        Lines,
        "Forwards",
        "reqps",
        [
            "Requests forwarded to the owner of their card, by result.",
            "Nearly all answered.",
            "Others are decided by the receiving node, at a higher cost: the owner or the network is slow or down. Such an answer is claimed first from the node that all others ask about this card; an unanswered claim may mean two answers to one request.",
        ],
        &[
            (&rates_by("result", "tollgate_forwards_total{@}"), "{{result}}"),
            (&rates_by("result", "tollgate_claims_total{@}"), "claim {{result}}"),
        ],
    )
}

fn hop() -> Panel {
    let [half, nearly, last] = quantiles("tollgate_hop_duration_seconds");
    Panel::new(
        Lines,
        "Forwarding time",
        "s",
        [
            "Time that forwarding adds to a request: the network in both directions, and queues at both nodes.",
            "p50 below 1 ms, p99 a few.",
            "Higher on all nodes: the network. Higher on one node: its CPU is busy.",
        ],
        &[(&half, "p50"), (&nearly, "p99"), (&last, "p99.9")],
    )
    .wide(8)
}

fn deliveries() -> Panel {
    Panel::new(
        Lines,
        "Deliveries to endpoints",
        "ops",
        [
            "Attempts to deliver events to the endpoints of TOLLGATE_WEBHOOKS, by result, and endpoints that take no events.",
            "delivered only.",
            "failed or failing: see the runbook TollgateEndpointFailing. given_up: events that an endpoint did not take for three days.",
        ],
        &[
            (&rates_by("result", "tollgate_outgoing_deliveries_total{@}"), "{{result}}"),
            ("sum(tollgate_outgoing_endpoints{@, state=\"failing\"})", "failing endpoints"),
        ],
    )
    .wide(8)
}

fn oldest_event() -> Panel {
    Panel::new(
        Lines,
        "Oldest event not delivered",
        "s",
        [
            "Age of the oldest event that an endpoint has not taken.",
            "A second at most.",
            "It grows: an endpoint is slow or down; GET /v1/webhooks names it.",
        ],
        &[("max by (instance) (tollgate_outgoing_oldest_event_seconds{@})", "{{instance}}")],
    )
    .wide(8)
}

fn delivery_time() -> Panel {
    let [half, nearly, last] = quantiles("tollgate_outgoing_delivery_duration_seconds");
    Panel::new(
        Lines,
        "Delivery time",
        "s",
        [
            "Time of an attempt to deliver an event, until the endpoint has replied.",
            "Below a second.",
            "At 10 s attempts are ended and count as failed.",
        ],
        &[(&half, "p50"), (&nearly, "p99"), (&last, "p99.9")],
    )
    .wide(8)
}

fn routes() -> Panel {
    Panel::new(
        Stacked,
        "Decisions by route",
        "reqps",
        [
            "Decisions by route: on the node that received the request, or forwarded to the owner of the card.",
            "One node decides everything locally; several nodes decide their share each.",
            "Everything local on several nodes: they do not reach each other.",
        ],
        &[("sum by (route) (rate(tollgate_decision_duration_seconds_count{@}[@]))", "{{route}}")],
    )
}
