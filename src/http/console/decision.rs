//! An authorization: each decision with its reasons, what would have passed, what Stripe did, and what came later.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::{
    find::{line, stripe_outcome},
    parts::{
        ago, api, card_link, cardholder_link, check_bar, money, outcome, policy_link, share, time, window,
        words,
    },
};
use crate::{
    domain::Timestamp,
    http::bodies::{AuthorizationBody, CheckBody, DecisionBody, EntryBody, RuledBody, StagesBody},
};

/// The page.
pub(super) fn page(body: &AuthorizationBody, now: Timestamp) -> Markup {
    let call = format!("/v1/authorizations/{}", body.authorization);
    html! {
        h1 { "Authorization " span.id { (body.authorization) } }
        @for decision in body.decisions.iter().rev() { (one(decision, now)) }
        @if body.decisions.is_empty() {
            p.sentence { "Nothing was decided here." }
            p.soft { "Stripe reported this authorization, and no request for it was received." }
        }
        (stripe(body))
        (history(&body.history, body.currency.as_deref()))
        (api(&call))
    }
}

fn one(decision: &DecisionBody, now: Timestamp) -> Markup {
    let currency = decision.currency.as_deref();
    html! {
        section.card {
            (outcome(decision)) " " span.soft { (time(decision.at)) ", " (ago(decision.at, now)) }
            p.sentence { (decision.explanation) }
            (would_pass(decision))
            dl.facts {
                @if let Some(asked) = decision.asked { (fact("Requested", &html! { (money(asked, currency)) })) }
                (fact("Approved", &html! { (money(decision.amount, currency)) }))
                (fact("Reason", &html! { (words(decision.reason)) }))
                @if let Some(card) = &decision.card { (fact("Card", &card_link(card))) }
                @if let Some(cardholder) = &decision.cardholder { (fact("Cardholder", &cardholder_link(cardholder))) }
                @if let Some(group) = &decision.group { (fact("Group", &html! { (group) })) }
                @if let Some(category) = &decision.category { (fact("Category", &html! { (words(category)) })) }
                @if let Some(country) = &decision.country { (fact("Country", &html! { (country) })) }
                @if let Some(merchant) = &decision.merchant { (fact("Merchant", &html! { span.id { (merchant) } })) }
                @if let Some(presence) = &decision.presence { (fact("Card presence", &html! { (words(presence)) })) }
                (fact("Policy", &policy_link(&decision.policy)))
                (fact("Decision", &html! { span.id { (decision.id) } }))
            }
        }
        (limits(&decision.limits, currency))
        @if let Some(rule) = &decision.rule { (rules(rule)) }
        section {
            h2 { "Text for the cardholder" }
            textarea readonly rows="3" aria-label="Text for the cardholder" { (for_the_cardholder(decision)) }
        }
        (stages(decision.stage_us))
    }
}

fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// The smallest changes with which a request would have passed.
fn would_pass(decision: &DecisionBody) -> Markup {
    let largest =
        decision.largest_approvable.filter(|largest| *largest > 0 && decision.outcome == "declined");
    let other = decision.would_pass.as_ref();
    html! {
        @if largest.is_some() || other.is_some() {
            p.note {
                "Would have passed: "
                @if let Some(largest) = largest { "up to " b { (money(largest, decision.currency.as_deref())) } }
                @if let Some(other) = other {
                    @if let Some(at) = &other.at { @if largest.is_some() { ", or " } "the same request from " b { (at) } }
                    @if let Some(rule) = &other.without_rule { @if largest.is_some() || other.at.is_some() { ", or " } "without the rule " b { (rule) } }
                }
                "."
            }
        }
    }
}

fn limits(limits: &[CheckBody], currency: Option<&str>) -> Markup {
    html! {
        @if !limits.is_empty() {
            section {
                h2 { "Limits" }
                div.key { span.used { i {} "used before" } span.asked { i {} "requested" } span.over { i {} "requested, exceeds the limit" } }
                @for check in limits { (check_bar(check, currency)) }
            }
        }
    }
}

fn rules(rule: &RuledBody) -> Markup {
    html! {
        section {
            h2 { "Rules" }
            @if let Some(name) = &rule.rule { p { "Decided by the rule " b { (name) } "." } }
            @if !rule.conditions.is_empty() {
                div.wide { table {
                    thead { tr { th { "condition" } th { "value" } th { "holds" } } }
                    tbody { @for condition in &rule.conditions {
                        tr { td { code { (condition.condition) } } td { code { (condition.value) } } td { @if condition.holds { "yes" } @else { "no" } } }
                    } }
                } }
            }
            @if !rule.scores.is_empty() {
                p { "Score: " (rule.scores.iter().map(|one| format!("{} {}", one.rule, one.score)).collect::<Vec<_>>().join(" + ")) }
            }
            @if !rule.flags.is_empty() { p { "Flags: " (rule.flags.join(", ")) } }
            @if !rule.tags.is_empty() {
                p { "Tags: " (rule.tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")) }
            }
            @if let Some(until) = &rule.blocks_until { p { "Blocks the card until " (until) "." } }
        }
    }
}

fn stripe(body: &AuthorizationBody) -> Markup {
    let currency = body.currency.as_deref();
    html! {
        section {
            h2 { "At Stripe" }
            div { span.badge { (words(body.status)) } (line(body)) }
            @if !body.outcomes.is_empty() {
                div.wide { table {
                    thead { tr { th { "time" } th { "outcome" } th.n { "requested" } } }
                    tbody { @for one in &body.outcomes {
                        tr { td { (time(one.at)) } td { (stripe_outcome(one)) } td.n { (money(one.asked, currency)) } }
                    } }
                } }
            }
            @if !body.transactions.is_empty() {
                div.wide { table {
                    thead { tr { th { "transaction" } th { "type" } th.n { "amount" } } }
                    tbody { @for one in &body.transactions {
                        tr { td { span.id { (one.id) } } td { (words(one.kind)) } td.n { (money(one.amount, currency)) } }
                    } }
                } }
            }
        }
    }
}

fn history(history: &[EntryBody], currency: Option<&str>) -> Markup {
    html! {
        section {
            h2 { "Everything that was recorded" }
            div.wide { table {
                thead { tr { th { "recorded" } th { "what" } th { "status" } th.n { "amount" } th { "event" } } }
                tbody { @for entry in history {
                    tr {
                        td { (time(entry.at)) }
                        td { (words(entry.kind)) }
                        td { (entry.status.map(words).unwrap_or_default()) }
                        td.n { @if let Some(amount) = entry.amount { (money(amount, currency)) } }
                        td { @if let Some(event) = &entry.event { span.id { (event) } } }
                    }
                } }
            } }
        }
    }
}

fn stages(stages: StagesBody) -> Markup {
    let StagesBody { verify, parse, route, queue, decide, commit } = stages;
    let all = [
        ("verify", verify),
        ("parse", parse),
        ("route", route),
        ("queue", queue),
        ("decide", decide),
        ("commit", commit),
    ];
    let whole = all.iter().fold(0_u32, |sum, (_, micros)| sum.saturating_add(*micros));
    html! {
        @if whole > 0 {
            section {
                h2 { "Time: " (milliseconds(whole)) }
                div.wide { table {
                    tbody { @for (name, micros) in all {
                        tr {
                            td { (name) } td.n { (milliseconds(micros)) }
                            td.bar-cell {
                                svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(milliseconds(micros)) {
                                    rect.used x="0" y="0" height="10" width=(share(micros.into(), whole.into())) {}
                                }
                            }
                        }
                    } }
                } }
            }
        }
    }
}

/// Microseconds as milliseconds, with the decimals that they need.
pub(super) fn milliseconds(micros: u32) -> String {
    format!("{:.2} ms", f64::from(micros) / 1_000.0)
}

/// What support can write to the cardholder: what happened, and what is possible.
pub(super) fn for_the_cardholder(decision: &DecisionBody) -> String {
    let currency = decision.currency.as_deref();
    let asked = decision.asked.map_or_else(|| "the amount".to_owned(), |asked| money(asked, currency));
    match decision.outcome {
        "approved" => return format!("The purchase of {asked} was approved."),
        "partial" => {
            let granted = money(decision.amount, currency);
            return format!("{granted} of the purchase of {asked} was approved.");
        }
        _ => {}
    }
    if let Some(message) = decision.rule.as_ref().and_then(|rule| rule.message.as_ref()) {
        return format!("The purchase of {asked} was declined. {message}");
    }
    let because = match decision.reason {
        "spending_limit" | "velocity_limit" | "insufficient_balance" => return exceeded(decision, &asked),
        "budget_paused" => "a budget that this card uses is paused",
        "category_blocked" | "category_not_allowed" => {
            "purchases at this kind of merchant are not allowed on this card"
        }
        "country_blocked" | "country_not_allowed" => "purchases in this country are not allowed on this card",
        "merchant_blocked" | "merchant_not_allowed" => {
            "purchases at this merchant are not allowed on this card"
        }
        "presence_blocked" => "this way of paying is not allowed on this card",
        "card_paused" => "the card is paused",
        "unknown_group" => "the card is not set up completely",
        "currency_mismatch" => "this card cannot be used in this currency",
        "rule" => "it is not allowed on this card",
        _ => "it could not be checked in time; please try again",
    };
    format!("The purchase of {asked} was declined because {because}.")
}

fn exceeded(decision: &DecisionBody, asked: &str) -> String {
    let currency = decision.currency.as_deref();
    let is_count = decision.reason == "velocity_limit";
    let failing = decision
        .limits
        .iter()
        .filter(|check| (check.limit == "count") == is_count && check.after > check.max);
    let Some(check) = failing.min_by_key(|check| check.max.saturating_sub(check.before)) else {
        return format!("The purchase of {asked} was declined because a limit of the card is reached.");
    };
    // A shared limit that ran out is not the card's.
    let is_shared = check.account != "card";
    let limit = if is_count {
        let of = if is_shared { " in the budget that this card shares with others" } else { "" };
        format!("the number of purchases{of} is limited to {} ({})", check.max, window(&check.window, false))
    } else if check.limit == "balance" {
        "it exceeds the balance that is left".to_owned()
    } else {
        let on = if is_shared { "of the budget that this card shares with others" } else { "on this card" };
        format!(
            "it exceeds the {} limit of {} {on}",
            window(&check.window, false),
            money(check.max, currency)
        )
    };
    let mut text = format!("The purchase of {asked} was declined because {limit}.");
    if let Some(largest) = decision.largest_approvable.filter(|largest| *largest > 0) {
        let _ = write!(text, " Up to {} is available now.", money(largest, currency));
    }
    if let Some(at) = check.resets_at {
        let at = Timestamp::from_seconds(at.0.as_seconds()).to_string();
        let _ = write!(text, " The limit resets at {} UTC.", at.trim_end_matches('Z').replace('T', " "));
    }
    text
}
