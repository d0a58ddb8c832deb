//! What a card gets, in words that whoever wrote the policy can check.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use crate::domain::{
    CardPolicy, Currency, Interval, Limit, Lists, Measure, Money, Reason, UnknownGroup, Zone,
    rule::{Cap, Rule, Then},
};

/// What a card with this policy gets, a line for each thing that differs from "everything passes".
#[must_use]
pub fn outline(policy: &CardPolicy) -> Vec<String> {
    let mut lines = Vec::new();
    if policy.paused {
        lines.push("paused: everything is declined".to_owned());
    }
    if policy.unknown_group == Some(UnknownGroup::Decline) {
        lines.push("unknown_group: everything is declined".to_owned());
    }
    let controls = &policy.controls;
    lines.extend(controls.spending_limits.iter().map(limit_text));
    if controls.spending_limits.is_empty() {
        lines.push("no limits".to_owned());
    }
    lists(&mut lines, "categories", &controls.categories);
    lists(&mut lines, "merchant countries", &controls.countries);
    lists(&mut lines, "card presences", &controls.presences);
    lists(&mut lines, "merchants", &controls.merchants);
    let has_currency = |limit: &Limit| matches!(limit.window.measure, Measure::Amount(Some(_)));
    if controls.spending_limits.iter().any(has_currency) {
        let verb = if policy.other_currencies_allowed { "not limited by amount" } else { "declined" };
        lines.push(format!("currencies that no amount limit names are {verb}"));
    }
    if !policy.challenge_on.is_empty() {
        let reasons: Vec<&str> = policy.challenge_on.iter().copied().map(Reason::as_str).collect();
        lines.push(format!("sends a fraud challenge by text message on {}", reasons.join(", ")));
    }
    if !policy.budgets.is_empty() {
        lines.push(format!("charges the budgets {}", policy.budgets.join(", ")));
    }
    lines.extend(policy.rules.iter().map(rule_text));
    for (holds, line) in [
        (!policy.partial_approvals, "never approves in part"),
        (policy.refunds_restore, "refunds give their amount back to the limits"),
        (
            policy.mirror_stripe_controls,
            "the spending controls at Stripe are enforced here as well, except for the cardholder's spending limits",
        ),
    ] {
        if holds {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// `rule no-cash: decline when cash > 0 ("Cash is not available.")`.
fn rule_text(rule: &Rule) -> String {
    let then = match &rule.then {
        Then::Decline => "decline".to_owned(),
        Then::Challenge => "decline and ask the cardholder by text message".to_owned(),
        Then::Cap(Cap::Amount(most)) => format!("approve at most {most} minor units"),
        Then::Cap(Cap::Remaining) => "approve what the limits leave".to_owned(),
        Then::Allow => "skip the rules below".to_owned(),
        Then::Tag(tags) => {
            let tags: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
            format!("tag the reply with {}", tags.join(", "))
        }
        Then::Flag => "flag it".to_owned(),
        Then::Score(score) => format!("add {score} to the score"),
        Then::Block(span) => format!("decline, and block the card for {}", span_text(*span)),
    };
    let message = rule.message.as_ref().map(|message| format!(" ({message:?})")).unwrap_or_default();
    format!("rule {}: {then} when {}{message}", rule.name, rule.when)
}

/// `at most 500.00 USD a day (UTC) in fast_food_restaurants`.
pub(super) fn limit_text(limit: &Limit) -> String {
    let window = &limit.window;
    let most = match window.measure {
        Measure::Amount(Some(currency)) => Money::new(limit.max, currency).to_string(),
        Measure::Amount(None) => {
            let dollars = Money::new(limit.max, Currency::USD);
            format!("{dollars} ({} minor units of any other currency)", limit.max)
        }
        Measure::Count if limit.max == 1 => "1 approval".to_owned(),
        Measure::Count => format!("{} approvals", limit.max),
    };
    let mut text = format!("at most {most} {}", interval_text(window.interval, &window.time_zone));
    if let Some(categories) = &window.categories {
        text = format!("{text} in {}", names(categories));
    }
    if let Some(merchants) = &window.merchants {
        text = format!("{text} at merchants {}", names(merchants));
    }
    text
}

fn interval_text(interval: Interval, zone: &Zone) -> String {
    match interval {
        Interval::PerAuthorization => "an authorization".to_owned(),
        Interval::Daily => format!("a day ({})", zone.name()),
        Interval::Weekly => format!("a week from Sunday ({})", zone.name()),
        Interval::Monthly => format!("a month ({})", zone.name()),
        Interval::Yearly => format!("a year ({})", zone.name()),
        Interval::AllTime => "in the life of the card".to_owned(),
        Interval::Rolling(_) => {
            let text = interval.to_string();
            let span = text.trim_start_matches("rolling(").trim_end_matches(')');
            format!("in any {span}")
        }
    }
}

fn span_text(span: Duration) -> String {
    interval_text(Interval::Rolling(span), &Zone::UTC).trim_start_matches("in any ").to_owned()
}

fn lists<T: Debug>(lines: &mut Vec<String>, what: &str, lists: &Lists<T>) {
    if let Some(allowed) = &lists.allowed {
        lines.push(format!("only {what} {}", names(allowed)));
    }
    if let Some(blocked) = lists.blocked.as_ref().filter(|blocked| !blocked.is_empty()) {
        lines.push(format!("no {what} {}", names(blocked)));
    }
}

fn names<T: Debug>(set: &BTreeSet<T>) -> String {
    set.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}
