//! Cards and cardholders: what is left, what is open, what was decided last.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{
    budget::charged,
    find::{list, row},
    parts::{ago, api, authorization_link, card_link, limit_bar, money, policy_link, time},
};
use crate::{
    domain::Timestamp,
    http::{
        admin::Query,
        bodies::{AuthorizationBody, CardBody, CardholderBody, DecisionsBody, HoldBody, StateBody},
    },
};

/// The page of a card.
pub(super) fn page(body: &CardBody, now: Timestamp) -> Markup {
    let currency = body.currency.as_deref();
    let call = format!("/v1/cards/{}", body.card);
    let totals = [
        ("Held now", body.held),
        ("Captured", body.captured),
        ("Refunded", body.refunded),
        ("Over the approved amounts", body.overrun),
    ];
    html! {
        h1 { "Card " span.id { (body.card) } " " @if let Some(state) = &body.state { (active(state)) } }
        section.card {
            dl.facts {
                @for (name, amount) in totals { div { dt { (name) } dd { (money(amount, currency)) } } }
                div { dt { "Group" } dd {
                    (body.group.as_deref().unwrap_or("none"))
                    @if body.group_in_policy == Some(false) { " " span.badge.warn { "not in the policy" } }
                } }
                div { dt { "Policy" } dd { (policy_link(&body.policy)) } }
                div { dt { "Decided by node" } dd { (body.owner) } }
                @if let Some(card) = &body.replacement_for { div { dt { "Replaces, and shares limits with" } dd { (card_link(card)) } } }
            }
        }
        section {
            h2 { "What is left" }
            @for limit in &body.limits { (limit_bar(limit, currency)) }
            @if body.limits.is_empty() { p.soft { "No limit of its own applies to this card." } }
            (api(&call))
        }
        (charged(&body.budgets))
        (holds(&body.holds, currency, now))
        section {
            h2 { "Last decisions" }
            ol.rows { @for decision in &body.recent { (row(decision, None)) } }
            @if body.recent.is_empty() { p.soft { "No decisions." } }
            p { a href={ "/console?card=" (body.card) } { "All decisions on this card" } }
            (api(&call))
        }
    }
}

fn holds(holds: &[HoldBody], currency: Option<&str>, now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Open holds" }
            @if holds.is_empty() { p.soft { "None." } } @else {
                div.wide { table {
                    thead { tr { th { "authorization" } th.n { "amount" } th { "since" } th { "age" } } }
                    tbody { @for hold in holds {
                        tr {
                            td { (authorization_link(&hold.authorization)) } td.n { (money(hold.amount, currency)) }
                            td { (time(hold.since)) } td { (ago(hold.since, now)) }
                        }
                    } }
                } }
            }
        }
    }
}

/// The page of a cardholder, with a page of decisions. `body` is nothing if no event of the cardholder was seen.
pub(super) fn cardholder_page(
    id: &str,
    body: Option<&CardholderBody>,
    query: &Query,
    found: &DecisionsBody,
    lives: &BTreeMap<String, AuthorizationBody>,
) -> Markup {
    let mut cards: Vec<&str> =
        found.decisions.iter().filter_map(|decision| decision.card.as_deref()).collect();
    cards.sort_unstable();
    cards.dedup();
    html! {
        h1 { "Cardholder " span.id { (id) } " " @if let Some(body) = body { (active(&body.state)) } }
        section.card {
            dl.facts {
                div { dt { "Group" } dd { (body.and_then(|body| body.state.group.as_deref()).unwrap_or("none")) } }
                div { dt { "Cards in the decisions below" } dd { @for card in &cards { div { (card_link(card)) } } @if cards.is_empty() { "none" } } }
            }
            @if body.is_none() { p.soft { "No event of this cardholder was received; its decisions are below." } }
            (api(&format!("/v1/cardholders/{id}")))
        }
        h2 { "Decisions" }
        (list(query, found, lives, None))
    }
}

fn active(state: &StateBody) -> Markup {
    html! { @if state.active { span.badge.good { "active" } } @else { span.badge.bad { "not active at Stripe" } } }
}
