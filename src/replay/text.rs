//! A replay's findings in words, for a terminal.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::Verified;
use crate::{
    domain,
    trial::{Change, Money, Report, World},
};

/// What came of deciding the journal again.
pub(super) fn verified(location: &str, verified: &Verified, took: Duration) -> String {
    let Verified { entries, cards, policies, requests, equal, stand_ins, period, differences } = verified;
    let mut text = String::new();
    // Writing to memory cannot fail.
    let _ = writeln!(text, "journal     {location}");
    let _ = write!(text, "read        {entries} entries, {cards} cards, {} policies", policies.len());
    if let Some((first, last)) = period {
        let _ = write!(text, ", written from {first} to {last}");
    }
    let _ = writeln!(
        text,
        "\ndecided     {equal} of {requests} answers of the policies then in force came out the same"
    );
    let _ = writeln!(
        text,
        "stand-in    {stand_ins} answers were given without the ledger; there is nothing to decide again"
    );
    let _ = writeln!(text, "took        {:.1} s", took.as_secs_f64());
    if !verified.is_equal() {
        let _ = writeln!(text, "\nanswers that came out differently, the first of them:");
        for difference in differences {
            let _ = writeln!(text, "  {difference}");
        }
    }
    text
}

/// What the candidate would change.
pub(super) fn compared(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "\nUnder policy {}, of {} requests:", report.candidate, report.requests);
    let _ = writeln!(text, "  {:<18} {:>14} {:>22}", "", "as it happened", "as it would have gone");
    for change in Change::ALL {
        let count = |world: &World| world.changes.get(&change).map_or(0, |money| money.count);
        let amount = report.as_it_happened.changes.get(&change).map(amounts).unwrap_or_default();
        let _ = writeln!(
            text,
            "  {:<18} {:>14} {:>22}   {amount}",
            change.as_str().replace('_', " "),
            count(&report.as_it_happened),
            count(&report.as_it_would_have_gone)
        );
    }
    let _ = writeln!(
        text,
        "  {:<18} {:>14} {:>22}",
        "same", report.as_it_happened.same, report.as_it_would_have_gone.same
    );
    let by = |by: &BTreeMap<String, Money>| {
        by.iter().map(|(reason, money)| format!("{reason} {}", money.count)).collect::<Vec<_>>().join(", ")
    };
    if !report.as_it_happened.newly_declined_by.is_empty() {
        let _ = writeln!(text, "\nnew declines by reason: {}", by(&report.as_it_happened.newly_declined_by));
        let became = report.became.iter().map(|(fate, money)| format!("{} {}", fate.as_str(), money.count));
        let _ = writeln!(text, "those purchases were: {}", became.collect::<Vec<_>>().join(", "));
    }
    for example in report.examples.iter().take(5) {
        let _ = writeln!(
            text,
            "\n  {} {}\n    then  {}\n    now   {}",
            example.at, example.authorization, example.before, example.after
        );
    }
    text
}

/// Amounts by currency, as people write them.
pub(super) fn amounts(money: &Money) -> String {
    let amounts = money.amount.iter().map(|(currency, amount)| match currency.parse() {
        Ok(currency) => domain::Money::new(*amount, currency).to_string(),
        Err(_) => format!("{amount} {currency}"),
    });
    amounts.collect::<Vec<_>>().join(", ")
}
