//! The parts that pages are made of: the frame around each, times and amounts for people, badges, bars.

use maud::{DOCTYPE, Markup, html};

use crate::{
    domain::{Currency, Money, Timestamp},
    http::{
        bodies::{CheckBody, DecisionBody, LimitBody},
        reply::Rfc3339,
        token::Caller,
    },
};

/// The pages in the navigation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tab {
    Find,
    Budgets,
    Policies,
    Cluster,
    /// None of them.
    Elsewhere,
}

impl Tab {
    const NAVIGATION: [(Self, &'static str, &'static str); 4] = [
        (Self::Find, "/console", "Find"),
        (Self::Budgets, "/console/budgets", "Budgets"),
        (Self::Policies, "/console/policies", "Policies"),
        (Self::Cluster, "/console/cluster", "Cluster"),
    ];
}

/// A whole page. `session` says whose session there is to end.
pub(super) fn page(place: Tab, title: &str, session: Option<&Caller>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Tollgate" }
                link rel="stylesheet" href="/console/look.css";
                script src="/console/live.js" defer {}
            }
            body {
                header.top {
                    a.name href="/console" { "Tollgate" }
                    nav {
                        @for (here, path, name) in Tab::NAVIGATION {
                            @if here == place { a href=(path) aria-current="page" { (name) } } @else { a href=(path) { (name) } }
                        }
                    }
                    @if let Some(caller) = session {
                        form method="post" action="/console/logout" {
                            span { (caller.name) ", " (caller.role.as_str()) " " }
                            button.plain type="submit" { "Sign out" }
                        }
                    }
                }
                main { (content) }
                footer {
                    "Times are UTC. This console only reads. Everything on it comes from the "
                    a href="/v1/openapi.json" { "admin API" } "; each section names its call."
                }
            }
        }
    }
}

/// The call of the API that has what a section shows.
pub(super) fn api(path: &str) -> Markup {
    html! { div.api { a href=(path) { code { "GET " (path) } } } }
}

/// A time for people: `2026-11-22 10:00:03`.
pub(super) fn time(at: Rfc3339) -> Markup {
    let exact = at.0.to_string();
    let seconds = Timestamp::from_seconds(at.0.as_seconds()).to_string();
    let short = seconds.trim_end_matches('Z').replace('T', " ");
    html! { time datetime=(exact) title=(exact) { (short) } }
}

/// How long ago, in its largest unit.
pub(super) fn ago(at: Rfc3339, now: Timestamp) -> String {
    let seconds = now.since(at.0).as_secs();
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds.div_euclid(60), "minute"),
        3_600..86_400 => (seconds.div_euclid(3_600), "hour"),
        _ => (seconds.div_euclid(86_400), "day"),
    };
    format!("{number} {unit}{} ago", if number == 1 { "" } else { "s" })
}

/// An amount for people: `25.00 USD`; minor units if the currency is not known.
pub(super) fn money(amount: i64, currency: Option<&str>) -> String {
    match currency.and_then(|code| code.parse::<Currency>().ok()) {
        Some(currency) => Money::new(amount, currency).to_string(),
        None => format!("{amount} minor units"),
    }
}

/// A number of approvals, or an amount.
pub(super) fn quantity(number: i64, is_count: bool, currency: Option<&str>) -> String {
    if is_count { number.to_string() } else { money(number, currency) }
}

/// The sentence of a decision without the outcome, which stands beside it.
pub(super) fn sentence(explanation: &str) -> &str {
    ["declined: ", "approved: "]
        .iter()
        .find_map(|outcome| explanation.strip_prefix(outcome))
        .unwrap_or(explanation)
}

/// When a limit has room again; a rolling window gives back bit by bit.
fn resets(window: &str, at: Option<Rfc3339>) -> Markup {
    html! {
        @if let Some(at) = at {
            @if window.starts_with("rolling") { " · usage starts to drop " } @else { " · resets " }
            (time(at))
        }
    }
}

/// A name of Stripe's as words: `eating_places_restaurants` becomes `eating places restaurants`.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// The outcome of a decision.
pub(super) fn outcome(decision: &DecisionBody) -> Markup {
    let class = match decision.outcome {
        "approved" => "badge good",
        "partial" => "badge warn",
        _ => "badge bad",
    };
    html! {
        span class=(class) { (decision.outcome) }
        @if decision.source != "policy" { " " span class="badge warn" { (words(decision.source)) } }
    }
}

/// Links to the pages of things.
pub(super) fn card_link(card: &str) -> Markup {
    html! { a.id href={ "/console/cards/" (card) } { (card) } }
}

pub(super) fn cardholder_link(cardholder: &str) -> Markup {
    html! { a.id href={ "/console/cardholders/" (cardholder) } { (cardholder) } }
}

pub(super) fn authorization_link(authorization: &str) -> Markup {
    html! { a.id href={ "/console/authorizations/" (authorization) } { (authorization) } }
}

/// The page of a budget, or of the account of a template.
pub(super) fn budget_link(name: &str, key: Option<&str>) -> Markup {
    html! {
        @match key {
            Some(key) => a.id href={ "/console/budgets/" (name) "/" (key) } { (name) "/" (key) },
            None => a.id href={ "/console/budgets/" (name) } { (name) },
        }
    }
}

/// An account as decisions name it: `card`, or the account of a budget, which has a page.
pub(super) fn account_link(account: &str) -> Markup {
    let Some(budget) = account.strip_prefix("budget:") else { return html! { (account) } };
    let (name, key) = budget.split_once('/').map_or((budget, None), |(name, key)| (name, Some(key)));
    html! { "budget " (budget_link(name, key)) }
}

pub(super) fn policy_link(version: &str) -> Markup {
    html! { a.id href={ "/console/policies/" (version) } { (version) } }
}

/// What a limit counts, in words.
pub(super) fn window(window: &str, is_count: bool) -> String {
    let window = window.replace(['_', '('], " ").replace(')', "");
    if is_count { format!("{window}, approvals") } else { window }
}

/// A limit as a decision found it: what was used before, and what the request adds.
pub(super) fn check_bar(check: &CheckBody, currency: Option<&str>) -> Markup {
    let CheckBody { window: of, before, after, max, .. } = check;
    let is_count = check.limit == "count";
    let shown = |number: i64| quantity(number, is_count, currency);
    let is_over = after > max;
    let whole = (*after).max(*max).max(1);
    let [used, asked, limit] = [*before, *after, *max].map(|number| share(number, whole));
    html! {
        div.limit {
            div.head {
                span {
                    b { @if check.limit == "balance" { "balance" } @else { (window(of, is_count)) } }
                    @if check.account != "card" { " · " (account_link(&check.account)) }
                }
                span { (shown(*before)) " used, " (shown(after.saturating_sub(*before))) " requested, limit " (shown(*max)) }
            }
            svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label={ (shown(*after)) " of " (shown(*max)) } {
                rect.used x="0" y="0" height="10" width=(used) {}
                rect class=(if is_over { "over" } else { "asked" }) x=(used) y="0" height="10" width=(asked.saturating_sub(used)) {}
                @if is_over { rect.mark x=(limit) y="0" height="10" width="3" {} }
            }
            div.small.soft {
                @if is_over { b { "exceeded by " (shown(after.saturating_sub(*max))) } } @else { (shown(max.saturating_sub(*after))) " left" }
                (resets(of, check.resets_at))
            }
        }
    }
}

/// A balance: what is used of all that was credited.
pub(super) fn balance_bar(credits: i64, available: i64, currency: Option<&str>) -> Markup {
    let used = credits.saturating_sub(available);
    let whole = used.max(credits).max(1);
    let [inside, all] = [used.min(credits), credits].map(|number| share(number, whole));
    html! {
        div.limit {
            div.head {
                b { "balance" }
                span { (money(used, currency)) " of " (money(credits, currency)) " credited used" }
            }
            svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label={ (money(used, currency)) " of " (money(credits, currency)) } {
                rect.used x="0" y="0" height="10" width=(inside) {}
                @if used > credits { rect.over x=(all) y="0" height="10" width=(1_000_i64.saturating_sub(all)) {} }
            }
            div.small.soft { @if available < 0 { b { "overdrawn by " (money(available.saturating_neg(), currency)) } } @else { (money(available, currency)) " left" } }
        }
    }
}

/// A limit with its usage.
pub(super) fn limit_bar(limit: &LimitBody, currency: Option<&str>) -> Markup {
    let is_count = limit.limit == "count";
    let currency = limit.currency.as_deref().or(currency);
    let shown = |number: i64| quantity(number, is_count, currency);
    let whole = limit.used.max(limit.max).max(1);
    let [used, max] = [limit.used.min(limit.max), limit.max].map(|number| share(number, whole));
    let is_over = limit.used > limit.max;
    html! {
        div.limit {
            div.head {
                b { (window(&limit.window, is_count)) }
                span { (shown(limit.used)) " of " (shown(limit.max)) " used" }
            }
            svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label={ (shown(limit.used)) " of " (shown(limit.max)) } {
                rect.used x="0" y="0" height="10" width=(used) {}
                @if is_over { rect.over x=(max) y="0" height="10" width=(1_000_i64.saturating_sub(max)) {} }
            }
            div.small.soft {
                (shown(limit.remaining)) " left"
                (resets(&limit.window, limit.resets_at))
                @if let Some(categories) = &limit.categories { " · only " (categories.iter().map(|name| words(name)).collect::<Vec<_>>().join(", ")) }
                @if let Some(merchants) = &limit.merchants { " · only the merchants " (merchants.join(", ")) }
            }
        }
    }
}

/// A part of `whole` in whole percent; nothing of nothing.
pub(super) fn percent(part: i64, whole: i64) -> String {
    let percent = i128::from(part).saturating_mul(100).checked_div(i128::from(whole));
    percent.map_or_else(|| "–".to_owned(), |percent| format!("{percent} %"))
}

/// A part of `whole` in thousandths.
pub(super) fn share(part: i64, whole: i64) -> i64 {
    let part = i128::from(part.max(0)).saturating_mul(1_000);
    let share = part.checked_div(i128::from(whole.max(1))).unwrap_or_default();
    i64::try_from(share).unwrap_or(1_000).min(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let now = Timestamp::from_seconds(1_000_000);
        let check = |seconds: i64, expected: &str| {
            assert_eq!(ago(Rfc3339(Timestamp::from_seconds(1_000_000 - seconds)), now), expected);
        };
        check(1, "1 second ago");
        check(59, "59 seconds ago");
        check(60, "1 minute ago");
        check(7_200, "2 hours ago");
        check(200_000, "2 days ago");
        check(-5, "0 seconds ago");
    }

    #[test]
    fn a_bar_is_never_wider_than_its_track() {
        assert_eq!(share(50, 100), 500);
        assert_eq!(share(-50, 100), 0);
        assert_eq!(share(i64::MAX, 1), 1_000);
        assert_eq!(share(1, 0), 1_000);
    }

    #[test]
    fn text_of_others_is_text_on_a_page() {
        let shown = page(Tab::Find, "<script>", None, &authorization_link("\"><script>")).into_string();
        assert!(!shown.contains("<script>") && shown.contains("&lt;script&gt;"), "{shown}");
    }
}
