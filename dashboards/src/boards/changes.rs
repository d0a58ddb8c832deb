//! Changes of the policy before they decide: what a candidate would change.

use crate::{
    board::{
        Board,
        Kind::{Bars, Lines, Number},
        Panel,
    },
    query::{counts_by, rates_by},
};

pub(super) fn board() -> Board {
    Board {
        file: "changes",
        title: "Tollgate: policy changes",
        description: "What the next policy would change, and whether the comparison is complete.",
        rows: vec![(
            "Shadow",
            vec![candidate(), share(), changes(), over_time(), queue(), accounts(), left_out()],
        )],
    }
}

fn candidate() -> Panel {
    Panel::new(
        Number,
        "Nodes with a candidate",
        "none",
        [
            "The number of nodes that try a policy beside the one in force.",
            "During a trial all of them, otherwise 0.",
            "A node that stays out cannot read the candidate: its log says why. GET /v1/shadow shows who tries what.",
        ],
        &[("sum(tollgate_shadow_candidate{@})", "nodes")],
    )
    .wide(6)
}

fn share() -> Panel {
    Panel::new(
        Number,
        "Newly declined",
        "percentunit",
        [
            "The share of requests in the selected time range that were approved and that the candidate would decline, on the history that there was.",
            "What you expect of the candidate.",
            "GET /v1/shadow has the reasons, examples with both explanations, and the cards concerned.",
        ],
        &[(
            "sum(increase(tollgate_shadow_changes_total{@, world=\"happened\", change=\"newly_declined\"}[$__range])) / \
             sum(increase(tollgate_shadow_requests_total{@}[$__range]))",
            "newly declined",
        )],
    )
    .wide(6)
}

fn changes() -> Panel {
    Panel::new(
        Bars,
        "Changes by kind",
        "none",
        [
            "Answers in the selected time range that the candidate would change, on the history that there was.",
            "What you expect of the candidate.",
            "GET /v1/shadow explains examples of each kind.",
        ],
        &[(&counts_by("change", "tollgate_shadow_changes_total{@, world=\"happened\"}"), "{{change}}")],
    )
}

fn over_time() -> Panel {
    Panel::new(
        Lines,
        "Changes over time",
        "reqps",
        [
            "Changes per second on both histories: the one that there was, and the one that the candidate would have made.",
            "Steady. Declines of the second are fewer: what the candidate declines leaves room for the next purchase.",
            "A step names a merchant, a category or a limit: GET /v1/shadow lists them.",
        ],
        &[(&rates_by("world, change", "tollgate_shadow_changes_total{@}"), "{{world}} {{change}}")],
    )
}

fn queue() -> Panel {
    Panel::new(
        Lines,
        "Waiting to be compared",
        "none",
        [
            "Appends that wait until the candidate decides their requests.",
            "What is appended in half a second.",
            "Growth means that the machine has no CPU left for it: see TollgateShadowDropping.",
        ],
        &[("sum by (instance) (tollgate_shadow_queue_appends{@})", "{{instance}}")],
    )
}

fn accounts() -> Panel {
    Panel::new(
        Lines,
        "Accounts of the candidate",
        "none",
        [
            "Cards and budgets whose state the candidate has in memory.",
            "Below TOLLGATE_CARDS_RESIDENT_MAX.",
            "At the limit, accounts that were not used for the longest leave, and begin again from their state.",
        ],
        &[("sum by (instance) (tollgate_shadow_accounts{@})", "{{instance}}")],
    )
}

fn left_out() -> Panel {
    Panel::new(
        Lines,
        "Left out",
        "reqps",
        [
            "Appends that were not compared, and accounts that began again from their state.",
            "dropped: 0. restarted: near 0 on one node, more while cards move between nodes.",
            "See the runbook TollgateShadowDropping.",
        ],
        &[
            ("sum(rate(tollgate_shadow_dropped_total{@}[@]))", "dropped"),
            ("sum(rate(tollgate_shadow_restarted_accounts_total{@}[@]))", "restarted"),
        ],
    )
}
