//! A replay's findings as one HTML page: for the screen, light and dark, and for paper. It needs no network and has no
//! script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Reproduction, Verified, text::amounts};
use crate::trial::{Change, Changed, Report};

/// The look of the page.
const STYLE: &str = include_str!("page.css");

/// The page.
pub(super) fn html(report: &Report, verified: &Verified, reproduction: &Reproduction) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Replay under policy " (report.candidate) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Replay under policy " code { (report.candidate) } }
                (trust(verified))
                (outcomes(report))
                (became(report))
                (affected(report))
                (examples("Near misses", "New declines that 10 % less would have avoided.", &report.near_misses))
                (examples("Examples", "Requests whose answer would change, up to four of each kind, with both explanations.", &report.examples))
                (reproduce(reproduction))
            }
        }
    };
    page.into_string()
}

fn trust(verified: &Verified) -> Markup {
    let Verified { entries, cards, requests, equal, stand_ins, period, differences, .. } = verified;
    html! {
        section class=(if verified.is_equal() { "trust good" } else { "trust bad" }) {
            h2 { "Trust" }
            p.large { (equal) " of " (requests) " recorded answers came out the same" }
            p {
                (entries) " entries of " (cards) " cards"
                @if let Some((first, last)) = period { ", written from " (first) " to " (last) }
                ". " (stand_ins) " answers were given without the ledger."
            }
            @if !verified.is_equal() {
                p { b { "Do not rely on the rest of this page." } " These answers came out differently, the first of them:" }
                ul { @for difference in differences { li { (difference) } } }
            }
        }
    }
}

fn outcomes(report: &Report) -> Markup {
    let worlds = [&report.as_it_happened, &report.as_it_would_have_gone];
    html! {
        section {
            h2 { "What would change" }
            p {
                "Of " (report.requests) " requests. " i { "As it happened" } ": each request on the history that there was. "
                i { "As it would have gone" } ": the candidate decided everything before it as well, so that what it declined "
                "leaves room. The two differ for " (report.worlds_differ) " requests; " (report.not_asked)
                " increments would not have come."
            }
            div.wide { table {
                thead { tr { th { "" } th { "as it happened" } th { "amount" } th { "as it would have gone" } th { "amount" } } }
                tbody {
                    @for change in Change::ALL {
                        tr {
                            th { (change.as_str().replace('_', " ")) }
                            @for world in worlds {
                                @let money = world.changes.get(&change).cloned().unwrap_or_default();
                                td { (money.count) } td { (amounts(&money)) }
                            }
                        }
                    }
                    tr { th { "same" } @for world in worlds { td { (world.same) } td {} } }
                }
            } }
            @if !report.as_it_happened.newly_declined_by.is_empty() {
                h3 { "New declines by rule and limit" }
                div.wide { table {
                    thead { tr { th { "cause" } th { "requests" } th { "amount" } } }
                    tbody { @for (reason, money) in &report.as_it_happened.newly_declined_by {
                        tr { th { (reason) } td { (money.count) } td { (amounts(money)) } }
                    } }
                } }
            }
        }
    }
}

fn became(report: &Report) -> Markup {
    html! {
        @if !report.became.is_empty() {
            section {
                h2 { "What became of the newly declined" }
                p { "Captured purchases would have been lost. Reversed, expired and refunded ones cost nothing to lose." }
                div.wide { table {
                    thead { tr { th { "" } th { "authorizations" } th { "amount" } } }
                    tbody { @for (fate, money) in &report.became {
                        tr { th { (fate.as_str()) } td { (money.count) } td { (amounts(money)) } }
                    } }
                } }
            }
        }
    }
}

fn affected(report: &Report) -> Markup {
    let lists = [
        ("card", &report.most_affected_cards),
        ("category", &report.most_affected_categories),
        ("country", &report.most_affected_countries),
    ];
    html! {
        @if lists.iter().any(|(_, list)| !list.is_empty()) {
            section {
                h2 { "Who is affected most" }
                div.columns { @for (name, list) in lists {
                    table {
                        thead { tr { th { (name) } th { "new declines" } } }
                        tbody { @for (key, count) in list { tr { th { (key) } td { (count) } } } }
                    }
                } }
            }
        }
    }
}

fn examples(title: &str, about: &str, changed: &[Changed]) -> Markup {
    html! {
        @if !changed.is_empty() {
            section {
                h2 { (title) }
                p { (about) }
                @for one in changed {
                    article {
                        p { b { (one.change.as_str().replace('_', " ")) } " · " (one.at) " · " code { (one.authorization) } }
                        dl {
                            dt { "then" } dd { (one.before) }
                            dt { "candidate" } dd { (one.after) }
                        }
                    }
                }
            }
        }
    }
}

fn reproduce(reproduction: &Reproduction) -> Markup {
    let Reproduction {
        version,
        command,
        journal,
        journal_hash,
        policies,
        candidate,
        took_seconds,
        entries_per_second,
    } = reproduction;
    html! {
        section {
            h2 { "Reproduction" }
            dl {
                dt { "command" } dd { code { (command) } }
                dt { "version" } dd { (version) }
                dt { "journal" } dd { (journal) ", SHA-256 of what was read: " code { (journal_hash) } }
                dt { "policies in force" } dd { (policies.join(", ")) }
                dt { "candidate" } dd { code { (candidate) } }
                dt { "time" } dd { (format!("{took_seconds:.1} s, {entries_per_second:.0} entries/s")) }
            }
        }
    }
}
