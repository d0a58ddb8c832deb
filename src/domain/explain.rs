//! The sentence that a support agent can read out: what was decided, by which rule, with which numbers.

use std::fmt::{self, Write};

use super::{
    decision::{Decision, LimitCheck, Outcome, Reason, Source},
    exception::{Excepted, Lifted},
    ids::Account,
    money::{Currency, Money, Plain},
    policy::{Interval, Measure},
    request::AuthorizationRequest,
    time::Timestamp,
};

/// Explains a decision on a request.
#[must_use]
pub fn explain(request: &AuthorizationRequest, decision: &Decision) -> String {
    let mut text = String::with_capacity(160);
    // Writing to a `String` cannot fail.
    let _ = write_explanation(&mut text, request, decision);
    text
}

fn write_explanation(
    text: &mut String,
    request: &AuthorizationRequest,
    decision: &Decision,
) -> Result<(), fmt::Error> {
    let outcome = decision.outcome.as_str();
    let currency = request.asked.ok().map(|asked| asked.currency);
    match (decision.source, decision.outcome) {
        (Source::StandIn, _) => {
            write!(text, "{outcome} by stand-in, without the ledger: {}", stand_in_cause(decision.reason))?;
        }
        (Source::Forced, _) => write!(text, "{outcome} by Stripe or the network, not by this policy")?,
        (Source::Policy, Outcome::Approved) => approved(text, decision, currency)?,
        (Source::Policy, Outcome::Partial) => {
            let granted = in_currency(decision.granted, currency);
            write!(text, "approved in part: {granted}; ")?;
            if decision.reason == Reason::Rule {
                by_rule(text, decision)?;
            } else {
                limit_reason(text, decision, currency)?;
            }
        }
        (Source::Policy, Outcome::Declined) => {
            write!(text, "declined: ")?;
            declined(text, request, decision, currency)?;
        }
    }
    if decision.challenge {
        write!(text, "; a text message asks the cardholder to confirm the purchase")?;
    }
    Ok(())
}

fn approved(text: &mut String, decision: &Decision, currency: Option<Currency>) -> fmt::Result {
    write!(text, "approved: {}", in_currency(decision.granted, currency))?;
    let amounts = decision.limits.iter().filter(|check| check.measure != Measure::Count);
    match amounts.min_by_key(|check| check.max.saturating_sub(check.after)) {
        Some(tightest) => write!(text, "; {}", Spent { check: tightest, used: tightest.after }),
        None => write!(text, "; no limit on amounts applies"),
    }
}

fn declined(
    text: &mut String,
    request: &AuthorizationRequest,
    decision: &Decision,
    currency: Option<Currency>,
) -> fmt::Result {
    let merchant = &request.merchant;
    let category = merchant.category.as_str();
    let country = merchant.country.map_or_else(|| "unknown".to_owned(), |country| country.to_string());
    let network_id = merchant.network_id.as_ref().map_or("unknown", |id| id.as_str());
    let presence = request.card_presence.map_or("unknown", super::merchant::CardPresence::as_str);
    match decision.reason {
        Reason::SpendingLimit | Reason::VelocityLimit | Reason::InsufficientBalance => {
            limit_reason(text, decision, currency)
        }
        Reason::CategoryBlocked => write!(text, "the merchant category {category} is blocked"),
        Reason::CategoryNotAllowed => {
            let category = if category.is_empty() { "(none given)" } else { category };
            write!(text, "the merchant category {category} is not among the allowed ones")
        }
        Reason::CountryBlocked => write!(text, "merchants in the country {country} are blocked"),
        Reason::CountryNotAllowed => {
            write!(text, "the merchant's country ({country}) is not among the allowed ones")
        }
        Reason::PresenceBlocked => write!(text, "purchases with card presence {presence} are not allowed"),
        Reason::MerchantBlocked => write!(text, "the merchant with network id {network_id} is blocked"),
        Reason::MerchantNotAllowed => {
            write!(text, "the merchant with network id {network_id} is not among the allowed ones")
        }
        Reason::Rule => {
            by_rule(text, decision)?;
            if let Some(largest) = decision.largest_approvable.filter(|largest| *largest > 0) {
                write!(text, "; at most {} would have passed", in_currency(largest, currency))?;
            }
            match decision.would_pass.as_ref().and_then(|would_pass| would_pass.at) {
                Some(at) => write!(text, "; the same request passes from {}", Minute(at)),
                None => Ok(()),
            }
        }
        Reason::CardPaused if request.is_paused => {
            write!(text, "the card or its cardholder is not active at Stripe")
        }
        Reason::CardPaused | Reason::BudgetPaused => paused(text, decision),
        Reason::UnknownGroup => {
            let group = request.group.as_deref().unwrap_or("unknown");
            write!(text, "the policy has no group {group:?}, and declines the cards of such a group")
        }
        Reason::CurrencyMismatch => {
            let currency =
                currency.map_or_else(|| "its currency".to_owned(), |c| c.as_str().to_ascii_uppercase());
            write!(text, "{currency} is not the card's currency, or no limit of the policy names it")
        }
        Reason::ContractViolation => match decision.violation {
            Some(violation) => write!(text, "{violation}"),
            None => write!(text, "the request broke Stripe's contract"),
        },
        Reason::Approved | Reason::StandInOverload | Reason::StandInDeadline | Reason::StandInJournal => {
            write!(text, "{}", stand_in_cause(decision.reason))
        }
    }
}

/// Names what is paused, and until when.
fn paused(text: &mut String, decision: &Decision) -> fmt::Result {
    let (account, until) = match decision.excepted.as_deref() {
        Some(Excepted::Paused { account, until }) => (account.as_ref().and_then(Account::as_budget), *until),
        Some(Excepted::Granted { .. }) | None => (None, None),
    };
    match account {
        Some((name, Some(key))) => write!(text, "budget {name} ({key})")?,
        Some((name, None)) => write!(text, "budget {name}")?,
        None => write!(text, "the card")?,
    }
    write!(text, " is paused")?;
    until.map_or(Ok(()), |until| write!(text, " until {}", Minute(until)))
}

/// Names the rule that decided, with its sentence and the values that it looked at.
fn by_rule(text: &mut String, decision: &Decision) -> fmt::Result {
    let Some(ruled) = &decision.ruled else { return write!(text, "a rule of the policy matches") };
    let name = ruled.marks.rule.as_deref().unwrap_or("(without a name)");
    match &ruled.message {
        Some(message) => write!(text, "{message} (rule {name}")?,
        None => write!(text, "the rule {name} matches (")?,
    }
    let mut separator = if ruled.message.is_some() { ": " } else { "" };
    if ruled.scores.iter().any(|(rule, _)| ruled.marks.rule.as_ref() == Some(rule)) {
        let total = ruled.scores.iter().fold(0, |sum: i64, (_, score)| sum.saturating_add(*score));
        let addends: Vec<String> =
            ruled.scores.iter().map(|(rule, score)| format!("{rule} {score}")).collect();
        return write!(text, "{separator}score {total} of {})", addends.join(" + "));
    }
    for traced in ruled.conditions.iter().filter(|traced| !traced.value.is_empty()) {
        write!(text, "{separator}{}", traced.value)?;
        separator = ", ";
    }
    write!(text, ")")
}

/// Names the limit that stood in the way: the tightest of the kind that the reason names.
fn limit_reason(text: &mut String, decision: &Decision, currency: Option<Currency>) -> fmt::Result {
    let is_count = decision.reason == Reason::VelocityLimit;
    let Some(tightest) = decision.tightest() else { return write!(text, "a limit is reached") };
    write!(text, "{}", Spent { check: tightest, used: tightest.before })?;
    if !is_count && decision.outcome == Outcome::Declined {
        let largest = Money::new(decision.largest_approvable.unwrap_or(0), currency.unwrap_or(Currency::USD));
        write!(text, "; at most {} would have been approved", Plain(largest))?;
    }
    match (tightest.resets_at, tightest.interval) {
        (Some(at), Interval::Rolling(_)) => {
            write!(text, "; usage starts to drop at {}", Minute(at))?;
        }
        (Some(at), _) => write!(text, "; resets {}", Minute(at))?,
        (None, _) => {}
    }
    match &tightest.owners {
        Some(owners) => write!(text, "; ask {owners}"),
        None => Ok(()),
    }
}

const fn stand_in_cause(reason: Reason) -> &'static str {
    match reason {
        Reason::StandInOverload => "the node was overloaded",
        Reason::StandInDeadline => "no decision was possible in time",
        Reason::StandInJournal => "the journal was unavailable",
        Reason::Approved
        | Reason::SpendingLimit
        | Reason::VelocityLimit
        | Reason::CategoryBlocked
        | Reason::CategoryNotAllowed
        | Reason::CountryBlocked
        | Reason::CountryNotAllowed
        | Reason::PresenceBlocked
        | Reason::MerchantBlocked
        | Reason::MerchantNotAllowed
        | Reason::Rule
        | Reason::CardPaused
        | Reason::UnknownGroup
        | Reason::InsufficientBalance
        | Reason::BudgetPaused
        | Reason::CurrencyMismatch
        | Reason::ContractViolation => "it could not be decided",
    }
}

fn in_currency(amount: i64, currency: Option<Currency>) -> String {
    currency.map_or_else(|| amount.to_string(), |currency| Money::new(amount, currency).to_string())
}

/// `480.00 of the 500.00 USD daily limit is used`.
struct Spent<'a> {
    check: &'a LimitCheck,
    used: i64,
}

impl fmt::Display for Spent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitCheck { interval, max, is_balance, .. } = *self.check;
        let of_budget = self.check.account.as_ref().and_then(Account::as_budget);
        let of_budget = of_budget.map(|(name, key)| match key {
            Some(key) => format!(" of budget {name} ({key})"),
            None => format!(" of budget {name}"),
        });
        let of_budget = of_budget.unwrap_or_default();
        let span = |interval: Interval| {
            interval.to_string().trim_start_matches("rolling(").trim_end_matches(')').to_owned()
        };
        // Of an amount, and of a number of approvals.
        let (limit, each) = match interval {
            Interval::PerAuthorization => ("per-authorization".to_owned(), "per authorization".to_owned()),
            Interval::Daily => ("daily".to_owned(), "per day".to_owned()),
            Interval::Weekly => ("weekly".to_owned(), "per week".to_owned()),
            Interval::Monthly => ("monthly".to_owned(), "per month".to_owned()),
            Interval::Yearly => ("yearly".to_owned(), "per year".to_owned()),
            Interval::AllTime => ("lifetime".to_owned(), "in all".to_owned()),
            Interval::Rolling(_) => (format!("rolling {}", span(interval)), format!("in {}", span(interval))),
        };
        let Some(currency) = self.check.currency() else {
            let lift = self.lift(|count| count.to_string());
            return write!(f, "{} of the {max} approvals {each}{of_budget}{lift} are used", self.used);
        };
        let (used, max) = (Money::new(self.used, currency), Money::new(max, currency));
        if is_balance {
            return write!(f, "{} of the {max} credited{of_budget} is used", Plain(used));
        }
        let lift = self.lift(|amount| Plain(Money::new(amount, currency)).to_string());
        write!(f, "{} of the {max} {limit} limit{of_budget}{lift} is used", Plain(used))
    }
}

impl Spent<'_> {
    /// ` (500.00 raised by 200.00 until 2026-11-27T00:00Z)`, where the policy has the limit lower.
    fn lift(&self, plain: impl Fn(i64) -> String) -> String {
        let Some(lifted) = self.check.lifted.as_deref() else { return String::new() };
        let Lifted { raised, until, granted } = *lifted;
        let raise = until.map(|until| format!("by {} until {}", plain(raised), Minute(until)));
        let grant = (granted > 0).then(|| format!("by {} for this purchase", plain(granted)));
        let parts: Vec<String> = raise.into_iter().chain(grant).collect();
        let own = self.check.max.saturating_sub(lifted.sum());
        format!(" ({} raised {})", plain(own), parts.join(", and "))
    }
}

/// A time to the minute, as `2026-11-23T00:00Z`; with seconds where there are some.
struct Minute(Timestamp);

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Timestamp::from_seconds(self.0.as_seconds()).to_string();
        match whole.strip_suffix(":00Z") {
            Some(minute) => write!(f, "{minute}Z"),
            None => f.write_str(&whole),
        }
    }
}

#[cfg(test)]
mod tests;
