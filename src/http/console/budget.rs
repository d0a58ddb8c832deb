//! Budgets: all of them as a tree, and one with its limits, the budgets below it, and what changed it last.

use maud::{Markup, html};

use super::parts::{
    account_link, ago, api, authorization_link, balance_bar, budget_link, card_link, limit_bar, money,
    percent, time,
};
use crate::{
    domain::Timestamp,
    http::bodies::{BudgetBody, BudgetsBody, LimitBody, MovementBody},
};

/// The page of all budgets.
pub(super) fn list(body: &BudgetsBody) -> Markup {
    html! {
        h1 { "Budgets" }
        @if body.budgets.is_empty() { p.soft { "The policy in force has no budgets." } }
        @for top in body.budgets.iter().filter(|budget| is_top(budget, body)) { (branch(top, body, 0)) }
        (api("/v1/budgets"))
    }
}

/// Budgets stand at most so deep, whatever a policy says.
const DEPTH_MAX: usize = 8;

fn is_top(budget: &BudgetBody, all: &BudgetsBody) -> bool {
    budget.parent.as_ref().is_none_or(|parent| all.budgets.iter().all(|one| one.budget != *parent))
}

/// A budget with all below it.
fn branch(budget: &BudgetBody, all: &BudgetsBody, depth: usize) -> Markup {
    html! {
        section.branch {
            h2 { (budget_link(&budget.budget, None)) " " (marks(budget)) }
            @if let Some(per) = &budget.per {
                p.small.soft { "One account for each value of " (per) ". The bars are those of cards without one." }
            }
            (bars(budget))
            @if depth < DEPTH_MAX {
                @for child in all.budgets.iter().filter(|one| one.parent.as_ref() == Some(&budget.budget)) {
                    (branch(child, all, depth.saturating_add(1)))
                }
            }
        }
    }
}

/// The page of a budget, or of one account of a template. `children` are the budgets below it.
pub(super) fn page(body: &BudgetBody, children: &[BudgetBody], now: Timestamp) -> Markup {
    let currency = currency(body);
    let call = match &body.key {
        Some(key) => format!("/v1/budgets/{}/{key}", body.budget),
        None => format!("/v1/budgets/{}", body.budget),
    };
    let totals = [("Held now", body.held), ("Captured", body.captured), ("Refunded", body.refunded)];
    html! {
        h1 { "Budget " span.id { (body.budget) @if let Some(key) = &body.key { "/" (key) } } " " (marks(body)) }
        section.card {
            dl.facts {
                @if let Some(available) = body.available { div { dt { "Available" } dd { b { (money(available, currency)) } } } }
                @for (name, amount) in totals { div { dt { (name) } dd { (money(amount, currency)) } } }
                @if let Some(credits) = body.credits { div { dt { "Credited" } dd { (money(credits, currency)) } } }
                div { dt { "Owners" } dd { @if body.owners.is_empty() { "none named" } @else { (body.owners.join(", ")) } } }
                @if let Some(parent) = &body.parent { div { dt { "Below" } dd { (budget_link(parent, None)) } } }
                @if let Some(per) = &body.per { div { dt { "One account for each" } dd { (per) } } }
            }
            @if body.per.is_some() { (key_form(body)) }
        }
        section {
            h2 { "What is left" }
            (bars(body))
            (api(&call))
        }
        @if !children.is_empty() { (below(body, children)) }
        (movements(&body.movements, currency, now))
    }
}

fn marks(body: &BudgetBody) -> Markup {
    let is_over =
        body.limits.iter().any(|limit| limit.used > limit.max) || body.available.is_some_and(|left| left < 0);
    html! {
        @if body.paused { span.badge.bad { "paused" } " " }
        @if body.credits.is_some() { span.badge { "prepaid" } " " }
        @if is_over { span.badge.warn { "exceeded" } }
    }
}

/// The bar of the balance, and those of all limits.
fn bars(body: &BudgetBody) -> Markup {
    html! {
        @if let (Some(credits), Some(available)) = (body.credits, body.available) {
            (balance_bar(credits, available, body.currency.as_deref()))
        }
        @for limit in &body.limits { (limit_bar(limit, currency(body))) }
        @if body.limits.is_empty() && body.credits.is_none() { p.soft { "No limit." } }
    }
}

/// The currency of the balance, or of the first limit that has one.
fn currency(body: &BudgetBody) -> Option<&str> {
    body.currency.as_deref().or_else(|| body.limits.iter().find_map(|limit| limit.currency.as_deref()))
}

/// The way to the account of a key.
fn key_form(body: &BudgetBody) -> Markup {
    html! {
        form.find method="get" action={ "/console/budgets/" (body.budget) } {
            label.box { "The account of a " (body.per.as_deref().unwrap_or("key")) input name="key" value=(body.key.as_deref().unwrap_or_default()); }
            button type="submit" { "Show" }
        }
    }
}

/// The budgets below, each with its part of this one's limits.
fn below(body: &BudgetBody, children: &[BudgetBody]) -> Markup {
    html! {
        section {
            h2 { "Budgets below" }
            div.wide { table {
                thead { tr { th { "budget" } th { "limit" } th.n { "amount" } th.n { "of this budget" } th.n { "used" } th.n { "of this budget's use" } } }
                tbody {
                    @for child in children {
                        @for limit in &child.limits {
                            @let own = counterpart(body, limit);
                            @let is_one = child.per.is_none() || child.key.is_some();
                            tr {
                                td { (budget_link(&child.budget, child.key.as_deref())) @if let (Some(per), false) = (&child.per, is_one) { " " span.soft { "each " (per) } } }
                                td { (super::parts::window(&limit.window, limit.limit == "count")) }
                                td.n { (shown(limit.max, limit)) }
                                td.n { @if let Some(own) = own { (percent(limit.max, own.max)) } }
                                td.n { @if is_one { (shown(limit.used, limit)) } }
                                td.n { @if let (Some(own), true) = (own, is_one) { (percent(limit.used, own.used)) } }
                            }
                        }
                        @if child.limits.is_empty() {
                            tr { td { (budget_link(&child.budget, None)) } td.soft { "no limit" } td {} td {} td {} td {} }
                        }
                    }
                }
            } }
            @for limit in &body.limits {
                @if let Some(sum) = allocated(limit, children) {
                    p.small.soft { "Together, the budgets below have " (percent(sum, limit.max)) " of the " (super::parts::window(&limit.window, limit.limit == "count")) " limit. The limit of this budget holds in any case." }
                }
            }
        }
    }
}

/// The limit of this budget that counts what `limit` counts, over the same window.
fn counterpart<'a>(body: &'a BudgetBody, limit: &LimitBody) -> Option<&'a LimitBody> {
    body.limits.iter().find(|own| is_alike(own, limit))
}

fn is_alike(one: &LimitBody, other: &LimitBody) -> bool {
    one.limit == other.limit
        && one.window == other.window
        && one.currency == other.currency
        && one.categories == other.categories
        && one.merchants == other.merchants
}

/// What the budgets below may use together where each of them has such a limit; of a template nobody knows it.
fn allocated(limit: &LimitBody, children: &[BudgetBody]) -> Option<i64> {
    children.iter().try_fold(0_i64, |sum, child| {
        let own = child
            .limits
            .iter()
            .find(|own| is_alike(own, limit))
            .filter(|_| child.per.is_none() || child.key.is_some())?;
        Some(sum.saturating_add(own.max))
    })
}

fn shown(number: i64, limit: &LimitBody) -> String {
    super::parts::quantity(number, limit.limit == "count", limit.currency.as_deref())
}

type Column = (&'static str, fn(&MovementBody) -> i64);

/// What a movement may move: a column each, of those that any has.
const COLUMNS: [Column; 4] = [
    ("held", |one| one.held),
    ("captured", |one| one.captured),
    ("refunded", |one| one.refunded),
    ("credited", |one| one.credited),
];

fn movements(movements: &[MovementBody], currency: Option<&str>, now: Timestamp) -> Markup {
    let some = |amount: i64| if amount == 0 { String::new() } else { money(amount, currency) };
    let is_shown = |(_, of): &&Column| movements.iter().any(|one| of(one) != 0);
    let columns: Vec<&Column> = COLUMNS.iter().filter(is_shown).collect();
    html! {
        section {
            h2 { "Last movements" }
            @if movements.is_empty() { p.soft { "None." } } @else {
                div.wide { table.whole {
                    thead { tr { th { "time" } th { "what" } th { "card" } @for (name, _) in &columns { th.n { (name) } } } }
                    tbody { @for one in movements {
                        tr {
                            td title=(ago(one.at, now)) { (time(one.at)) }
                            td {
                                @if one.id.starts_with("iauth_") { (authorization_link(&one.id)) } @else { (one.kind) " " span.id { (one.id) } }
                                @if let Some(reason) = &one.reason { " · " (reason) }
                                @if let Some(by) = &one.by { " · by " (by) }
                            }
                            td { @if let Some(card) = &one.card { (card_link(card)) } }
                            @for (_, of) in &columns { td.n { (some(of(one))) } }
                        }
                    } }
                } }
            }
        }
    }
}

/// The accounts of budgets that a card charges.
pub(super) fn charged(accounts: &[String]) -> Markup {
    html! {
        @if !accounts.is_empty() {
            section {
                h2 { "Budgets that it charges" }
                ul.plain { @for account in accounts { li { (account_link(account)) } } }
                p.small.soft { "As of its last purchase. The limits of all of them must hold." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(name: &str, per: Option<&str>, limits: &[(i64, i64)]) -> BudgetBody {
        let limit = |(max, used): &(i64, i64)| LimitBody {
            limit: "amount",
            window: "monthly".to_owned(),
            max: *max,
            used: *used,
            remaining: max.saturating_sub(*used),
            resets_at: None,
            raised: None,
            raised_until: None,
            currency: Some("usd".to_owned()),
            categories: None,
            merchants: None,
        };
        BudgetBody {
            account: format!("budget:{name}"),
            budget: name.to_owned(),
            key: None,
            per: per.map(ToOwned::to_owned),
            parent: None,
            children: Vec::new(),
            owners: Vec::new(),
            paused: false,
            exceptions: Vec::new(),
            version: 1,
            held: 0,
            captured: 0,
            refunded: 0,
            credits: None,
            available: None,
            currency: None,
            limits: limits.iter().map(limit).collect(),
            movements: Vec::new(),
        }
    }

    #[test]
    fn children_that_have_more_than_their_parent_are_shown_with_their_share() {
        let parent = budget("company", None, &[(100_000, 40_000)]);
        let children = [budget("a", None, &[(80_000, 10_000)]), budget("b", None, &[(60_000, 30_000)])];
        let page = page(&parent, &children, Timestamp::default()).into_string();
        for text in ["80 %", "60 %", "140 %", "25 %", "75 %"] {
            assert!(page.contains(text), "{text} is not in {page}");
        }
        let with_template =
            [budget("a", None, &[(80_000, 0)]), budget("p", Some("cardholder"), &[(60_000, 0)])];
        assert_eq!(allocated(&parent.limits[0], &with_template), None);
    }

    #[test]
    fn a_tree_whose_parents_go_round_in_a_circle_ends() {
        let mut one = budget("one", None, &[]);
        one.parent = Some("one".to_owned());
        let body = BudgetsBody { budgets: vec![one.clone()] };
        assert!(branch(&one, &body, 0).into_string().len() < 10_000);
    }
}
