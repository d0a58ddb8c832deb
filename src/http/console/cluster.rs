//! The node and its cluster: answers since the start, members, journal, the slowest decisions, unconfirmed decisions.

use maud::{Markup, html};

use super::{
    decision::milliseconds,
    parts::{ago, api, authorization_link, card_link, share, time, words},
};
use crate::{
    domain::Timestamp,
    http::{
        bodies::{NodeBody, UnconfirmedListBody},
        slow::DecisionTimes,
    },
};

/// How many of the slowest and of the unconfirmed are shown.
const SHOWN_MAX: usize = 10;

/// What the page shows.
pub(super) struct Seen {
    pub(super) node: NodeBody,
    pub(super) unconfirmed: UnconfirmedListBody,
    pub(super) slow: Vec<DecisionTimes>,
    pub(super) status: &'static str,
    /// The text of `/metrics`.
    pub(super) metrics: String,
}

/// The page.
pub(super) fn page(seen: &Seen, now: Timestamp) -> Markup {
    let Seen { node, unconfirmed, slow, status, metrics } = seen;
    let is_ready = *status == "ready";
    html! {
        h1 { "Node " (node.node) " " span class=(if is_ready { "badge good" } else { "badge warn" }) { (status) } }
        (counters(node, metrics))
        (members(node))
        (journal(node))
        (slowest(slow))
        (waiting(unconfirmed, now))
    }
}

/// Sums since the start of the process.
fn counters(node: &NodeBody, metrics: &str) -> Markup {
    let decisions = |label: &str| sum(metrics, "tollgate_decisions_total{", label);
    let all = decisions("");
    let counted = [
        ("Approved", decisions("outcome=\"approved\"")),
        ("Partial", decisions("outcome=\"partial\"")),
        ("Declined", decisions("outcome=\"declined\"")),
        ("By stand-in", decisions("source=\"stand_in\"")),
        ("Refused early (overload)", sum(metrics, "tollgate_requests_shed_total{", "")),
        ("Stripe did otherwise", sum(metrics, "tollgate_stripe_outcomes_total{", "agrees=\"false\"")),
        ("Journal conflicts", sum(metrics, "tollgate_journal_conflicts_total", "")),
    ];
    html! {
        section.card {
            h2 { "Since the start of this process" }
            dl.facts {
                @for (name, count) in counted {
                    div { dt { (name) } dd { (whole(count)) @if all > 0.0 && name != "Journal conflicts" { " " span.soft { (percent(count / all)) } } } }
                }
                div { dt { "Cards in memory" } dd { (node.cards_resident) } }
                div { dt { "Version" } dd { (node.version) } }
            }
            (api("/metrics"))
        }
    }
}

fn members(node: &NodeBody) -> Markup {
    html! {
        section {
            h2 { "Members" }
            @if node.members.is_empty() { p.soft { "This node is not part of a cluster: it owns every card." } } @else {
                div.wide { table {
                    thead { tr { th { "node" } th { "address" } th { "version" } th.n { "share of cards" } th.n { "forwarded" } th.n { "without an answer" } } }
                    tbody { @for member in &node.members {
                        tr {
                            td { b { (member.node) } @if member.is_here { " " span.badge { "this node" } } }
                            td { code { (member.address) } } td { (member.version) } td.n { (percent(member.share)) }
                            td.n { @if let Some(forwards) = member.forwards { (forwards.answered) } }
                            td.n { @if let Some(forwards) = member.forwards { (forwards.failed) } }
                        }
                    } }
                } }
            }
            (api("/v1/node"))
        }
    }
}

fn journal(node: &NodeBody) -> Markup {
    html! {
        @if let Some(journal) = &node.journal {
            section {
                h2 { "Journal " span class=(if journal.phase == "open" { "badge good" } else { "badge bad" }) { (journal.phase) } }
                dl.facts {
                    @if let Some(server) = &journal.server { div { dt { "Primary" } dd { code { (server) } } } }
                    div { dt { "Timeline" } dd { (journal.timeline) } }
                    div { dt { "Synchronous standbys" } dd { (journal.standbys) } }
                    div { dt { "Servers with each entry" } dd { (journal.copies) } }
                    div { dt { "Entries given back" } dd { (journal.restored) } }
                    div { dt { "Entries lost" } dd { (journal.lost) } }
                }
                (api("/v1/node"))
            }
        }
    }
}

fn slowest(slow: &[DecisionTimes]) -> Markup {
    let most = slow.iter().map(|one| one.taken_us).max().unwrap_or(0);
    html! {
        section {
            h2 { "Slowest decisions of the last hour" }
            @if slow.is_empty() { p.soft { "None." } } @else {
                div.wide { table {
                    thead { tr { th.n { "took" } th { "" } th { "authorization" } th { "outcome" } th.n { "queue" } th.n { "decide" } th.n { "commit" } } }
                    tbody { @for one in slow.iter().take(SHOWN_MAX) {
                        tr {
                            td.n { (milliseconds(one.taken_us)) }
                            td.bar-cell { svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(milliseconds(one.taken_us)) {
                                rect.used x="0" y="0" height="10" width=(share(one.taken_us.into(), most.into())) {}
                            } }
                            td { (authorization_link(&one.authorization)) } td { (one.outcome) ", " (words(one.reason)) }
                            td.n { (milliseconds(one.stage_us.queue)) } td.n { (milliseconds(one.stage_us.decide)) } td.n { (milliseconds(one.stage_us.commit)) }
                        }
                    } }
                } }
            }
            (api("/v1/slow"))
        }
    }
}

fn waiting(list: &UnconfirmedListBody, now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Unconfirmed decisions: " (list.unconfirmed.len()) }
            @if !list.unconfirmed.is_empty() {
                p.soft { "Stripe has not reported what it did with these. " code { "tollgate reconcile --since 24h" } " reads it from Stripe's API." }
                div.wide { table {
                    thead { tr { th { "decided" } th { "age" } th { "authorization" } th { "card" } } }
                    tbody { @for one in list.unconfirmed.iter().take(SHOWN_MAX) {
                        tr {
                            td { (time(one.at)) } td { (ago(one.at, now)) } td { (authorization_link(&one.authorization)) }
                            td { @if let Some(card) = &one.card { (card_link(card)) } }
                        }
                    } }
                } }
            }
            (api("/v1/unconfirmed"))
        }
    }
}

/// The sum of all series that begin with `family` and have `label`.
fn sum(metrics: &str, family: &str, label: &str) -> f64 {
    let series = metrics.lines().filter(|line| line.starts_with(family) && line.contains(label));
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn whole(count: f64) -> String {
    format!("{count:.0}")
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_label_are_summed() {
        let text = "# HELP a_total x\na_total{outcome=\"approved\",source=\"policy\"} 3\n\
                    a_total{outcome=\"approved\",source=\"stand_in\"} 2\na_total{outcome=\"declined\"} 7\nab_total{} 9\n";
        let shown = |label: &str| whole(sum(text, "a_total{", label));
        assert_eq!(
            (shown("outcome=\"approved\""), shown("source=\"stand_in\""), shown("")),
            ("5".into(), "2".into(), "12".into())
        );
    }
}
