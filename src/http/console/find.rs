//! The first page: one box that takes any id, and the decisions as they come, one row for each authorization.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::parts::{api, card_link, money, outcome, sentence, time, words};
use crate::{
    domain::Reason,
    http::{
        admin::Query,
        bodies::{AuthorizationBody, DecisionBody, DecisionsBody, OutcomeBody},
    },
};

/// The filters above the list, each by the parameter that it sets.
const FILTERS: [(&str, &str, &str); 5] = [
    ("All", "", ""),
    ("Declined", "outcome", "declined"),
    ("Approved", "outcome", "approved"),
    ("Partial", "outcome", "partial"),
    ("Stand-in", "source", "stand_in"),
];

/// The page. `lives` has what became of each authorization, `follow` is where newer decisions come from.
pub(super) fn page(
    query: &Query,
    found: &DecisionsBody,
    lives: &BTreeMap<String, AuthorizationBody>,
    follow: Option<&str>,
) -> Markup {
    html! {
        h1 { "Find" }
        (form(query))
        nav.filters aria-label="Filter" {
            @for (name, parameter, value) in FILTERS {
                @let path = filtered(query, parameter, value);
                @if is_on(query, parameter, value) { a href=(path) aria-current="true" { (name) } } @else { a href=(path) { (name) } }
            }
        }
        (list(query, found, lives, follow))
    }
}

/// The decisions that a search has found, with the way to the next page.
pub(super) fn list(
    query: &Query,
    found: &DecisionsBody,
    lives: &BTreeMap<String, AuthorizationBody>,
    follow: Option<&str>,
) -> Markup {
    let mut shown: Vec<&DecisionBody> = Vec::new();
    for decision in &found.decisions {
        if !shown.iter().any(|known| known.authorization == decision.authorization) {
            shown.push(decision);
        }
    }
    html! {
        section {
            @if follow.is_some() { p.live data-state="off" { "reload the page for newer decisions" } }
            ol.rows data-live=[follow] {
                @for decision in &shown { (row(decision, lives.get(&decision.authorization))) }
            }
            @if shown.is_empty() {
                p.soft {
                    @if found.next.is_some() { "Nothing found" @if let Some(at) = found.reached { " back to " (time(at)) } ". Older decisions have not been searched yet." }
                    @else { "No decisions." }
                }
            }
            @if let Some(next) = &found.next {
                p { a href={ "?" (query.with("cursor", Some(next))) } { "Older decisions" } }
            }
            (api(&call(query)))
        }
    }
}

/// A decision as one row, with what became of its authorization.
pub(super) fn row(decision: &DecisionBody, life: Option<&AuthorizationBody>) -> Markup {
    let currency = decision.currency.as_deref();
    let amount = decision.asked.map_or_else(|| "–".to_owned(), |asked| money(asked, currency));
    let path = format!("/console/authorizations/{}", decision.authorization);
    html! {
        li id={ "d-" (decision.authorization) } {
            span.when { (time(decision.at)) }
            span.amount { (amount) }
            div.what {
                a.main href=(path) { (sentence(&decision.explanation)) }
                div.more {
                    @if let Some(category) = &decision.category { (words(category)) }
                    @if let Some(country) = &decision.country { ", " (country) }
                    @if let Some(card) = &decision.card { " · " (card_link(card)) }
                    @if let Some(group) = &decision.group { " · group " (group) }
                }
                @if let Some(life) = life { (line(life)) }
            }
            span.end { (outcome(decision)) }
        }
    }
}

/// What became of an authorization, in a few words: Stripe's outcome, captures, refunds.
pub(super) fn line(life: &AuthorizationBody) -> Markup {
    let currency = life.currency.as_deref();
    let amounts = [("captured", life.captured), ("refunded", life.refunded), ("held", life.held)];
    html! {
        div.more.line {
            @match life.outcomes.last() {
                Some(outcome) => span { (stripe_outcome(outcome)) },
                None => span { "not confirmed by Stripe yet" },
            }
            @for (name, amount) in amounts {
                @if amount != 0 { span { (name) " " (money(amount, currency)) } }
            }
            @if life.status == "reversed" || life.status == "expired" { span { (life.status) } }
            @if life.overrun > 0 { span { b { (money(life.overrun, currency)) " over the approved amount" } } }
        }
    }
}

/// What Stripe did with a request, and whether that is what was decided here.
pub(super) fn stripe_outcome(outcome: &OutcomeBody) -> Markup {
    html! {
        @if outcome.approved { "Stripe approved" } @else { "Stripe declined" }
        @if !matches!(outcome.reason.as_str(), "webhook_approved" | "webhook_declined") { " (" (words(&outcome.reason)) ")" }
        @match outcome.agrees {
            Some(false) => b { " against the decision here" },
            None => " without a decision here",
            Some(true) => {}
        }
    }
}

fn form(query: &Query) -> Markup {
    let value = |name: &str| query.text(name).unwrap_or_default();
    let has_more =
        ["reason", "group", "since", "until", "min_amount"].iter().any(|name| !value(name).is_empty());
    html! {
        form.find method="get" action="/console" role="search" {
            label.box { "Authorization, card, cardholder, decision, transaction, event, budget, or group" input type="search" name="q" autofocus placeholder="iauth_… ic_… ich_… dec_… ipi_… evt_…"; }
            button.main type="submit" { "Find" }
        }
        details open[has_more] {
            summary.small.soft { "More filters" }
            form.find method="get" action="/console" {
                label { "Outcome" (choice("outcome", &["approved", "partial", "declined"], value("outcome"))) }
                label { "Reason" (choice("reason", &Reason::ALL.map(Reason::as_str), value("reason"))) }
                label { "Group" input name="group" value=(value("group")); }
                label { "Since" input name="since" placeholder="24h or 2026-11-22T10:00:00Z" value=(value("since")); }
                label { "Until" input name="until" value=(value("until")); }
                label { "Least amount, minor units" input name="min_amount" inputmode="numeric" value=(value("min_amount")); }
                button type="submit" { "Search" }
            }
        }
    }
}

fn choice(name: &str, words_of: &[&str], chosen: &str) -> Markup {
    html! {
        select name=(name) {
            option value="" { "any" }
            @for word in words_of { option value=(word) selected[*word == chosen] { (words(word)) } }
        }
    }
}

/// The list with one of the filters; the others of them are taken away.
fn filtered(query: &Query, parameter: &'static str, value: &str) -> String {
    let bare = query.without(&["outcome", "source", "cursor"]);
    let text =
        if parameter.is_empty() { bare.with("cursor", None) } else { bare.with(parameter, Some(value)) };
    if text.is_empty() { "/console".to_owned() } else { format!("/console?{text}") }
}

fn is_on(query: &Query, parameter: &str, value: &str) -> bool {
    if parameter.is_empty() {
        query.text("outcome").is_none() && query.text("source").is_none()
    } else {
        query.text(parameter) == Some(value)
    }
}

/// The call of the API that finds the same.
fn call(query: &Query) -> String {
    let text = query.with("limit", None);
    if text.is_empty() { "/v1/decisions".to_owned() } else { format!("/v1/decisions?{text}") }
}
