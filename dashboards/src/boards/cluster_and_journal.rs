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
        description: "How fast decisions become durable, and how cards move in and out of memory.",
        rows: vec![
            ("The journal", vec![commits(), commit_time(), batches(), written(), waiting(), trouble()]),
            ("Cards in memory", vec![resident(), holds(), passivations(), activations(), queue()]),
            ("Nodes", vec![readiness(), members(), hop(), routes(), forwards()]),
        ],
    }
}

fn commits() -> Panel {
    Panel::new(
        Number,
        "Commits",
        "ops",
        [
            "Group commits a second, each with one sync of the disk.",
            "Grows with the traffic until the disk is busy all the time; then the batches grow.",
            "None although questions come: see the runbook TollgateJournalFailing.",
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
        "Time of a commit",
        "s",
        [
            "One group commit, until it is durable.",
            "p99 below 10 ms.",
            "A disk whose sync is slow makes every answer slow: use one with a power-safe cache, and nothing else on it.",
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
        "Entries in a commit",
        "none",
        [
            "How many cards' entries went down together, on average and at most times.",
            "Grows with the load, and stays below TOLLGATE_JOURNAL_BATCH_MAX.",
            "At that bound the disk is too slow for the load, or the bound too small.",
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
        "Written",
        "Bps",
        [
            "Bytes of entries that became durable.",
            "About 500 for each decision.",
            "Much more: cards with many open holds write large snapshots. Plan the disk by it.",
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
        "Trouble with the journal",
        "ops",
        [
            "Appends that were refused, too late, lost their place, or whose fate was unknown; entries that could not be read.",
            "0 on one node; few conflicts in a cluster, when cards change their owner.",
            "See the runbook TollgateJournalFailing.",
        ],
        &[
            (&rates_by("kind", "tollgate_journal_errors_total{@}"), "error: {{kind}}"),
            ("sum(rate(tollgate_journal_conflicts_total{@}[@]))", "conflict"),
            ("sum(rate(tollgate_journal_unknown_total{@}[@]))", "unknown"),
            ("sum(rate(tollgate_journal_expired_total{@}[@]))", "expired"),
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
            "Cards whose books are in memory, and those of them that have an actor.",
            "Below TOLLGATE_CARDS_RESIDENT_MAX.",
            "At that bound cards leave before they are idle, and are loaded again: raise it.",
        ],
        &[
            ("sum(tollgate_cards_resident{@})", "in memory"),
            ("sum(tollgate_card_actors{@})", "with an actor"),
        ],
    )
    .wide(8)
}

fn holds() -> Panel {
    Panel::new(
        Lines,
        "Open holds",
        "none",
        [
            "Authorizations that hold money, on the cards that are in memory.",
            "Follows the traffic, and the cards that come and go.",
            "Growing while the traffic does not: captures, reversals or expiries do not come. See the events on cards and policy.",
        ],
        &[("sum by (instance) (tollgate_holds_open{@})", "{{instance}}")],
    )
    .wide(8)
}

fn passivations() -> Panel {
    Panel::new(
        Stacked,
        "Cards that come and go",
        "ops",
        [
            "Cards that left memory, by cause, and cards that were loaded.",
            "idle only.",
            "pressure: too small a bound. failure: an actor failed; the log says why.",
        ],
        &[
            (&rates_by("cause", "tollgate_card_passivations_total{@}"), "left: {{cause}}"),
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
            "From the first question about a card to its books being in memory.",
            "Milliseconds.",
            "Longer: the disk is busy, or the card's history is long; see the time by stage on the overview.",
        ],
        &[(&half, "p50"), (&nearly, "p99")],
    )
}

fn queue() -> Panel {
    Panel::new(
        Lines,
        "Waiting for a card",
        "none",
        [
            "Requests waiting at the card where most wait, looked at once a second.",
            "A few.",
            "At TOLLGATE_CARD_QUEUE_MAX they are turned away: one card is asked about too often, or the processor is busy.",
        ],
        &[("max by (instance) (tollgate_card_queue_longest{@})", "{{instance}}")],
    )
}

fn readiness() -> Panel {
    Panel::new(
        Lines,
        "Nodes that want traffic",
        "none",
        [
            "1 for each node while it wants traffic.",
            "All of them, except during a rollout.",
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
            "How many live nodes each node sees in the journal's database, itself included.",
            "The same on every node: all that you run.",
            "A node that sees fewer is cut off from the database, or about to be taken for dead by the others.",
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
            "Requests that were brought to their card's owner, by what became of them.",
            "Answered by the owner, all but a few.",
            "Others are decided where they arrived, and cost more: the owner is slow or gone, or the network between is.",
        ],
        &[(&rates_by("result", "tollgate_forwards_total{@}"), "{{result}}")],
    )
}

fn hop() -> Panel {
    let [half, nearly, last] = quantiles("tollgate_hop_duration_seconds");
    Panel::new(
        Lines,
        "Time of a hop",
        "s",
        [
            "How much longer a forwarded request took than it took its owner: there and back, and waiting at either end.",
            "p50 below 1 ms, p99 a few.",
            "More on all nodes: the network between them. More to or from one: it is short of processor.",
        ],
        &[(&half, "p50"), (&nearly, "p99"), (&last, "p99.9")],
    )
    .wide(8)
}

fn routes() -> Panel {
    Panel::new(
        Stacked,
        "Where questions were decided",
        "reqps",
        [
            "Decisions by route: on the node that Stripe reached, or forwarded to the card's owner.",
            "One node decides everything locally; of several, each decides its share.",
            "Everything local on several nodes: they do not see each other.",
        ],
        &[("sum by (route) (rate(tollgate_decision_duration_seconds_count{@}[@]))", "{{route}}")],
    )
}
