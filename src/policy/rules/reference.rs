//! The inputs and functions of the language as tables, for docs/policy.md.

use std::fmt::Write as _;

use super::{literal::noun, names::FUNCTIONS};
use crate::domain::rule::{INPUTS, Kind, Presence};

/// Two tables in Markdown: inputs, functions.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from("| input | is | `has(…)` | meaning | example |\n|---|---|---|---|---|\n");
    for input in INPUTS {
        let has = match input.presence {
            Presence::Always => "not needed",
            Presence::MayBeUnknown => "possible",
            Presence::Optional => "needed",
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {has} | {} | `{}` |",
            input.name,
            kind(input.kind),
            input.meaning,
            cell(input.example)
        );
    }
    text.push_str("\n| function | meaning | example |\n|---|---|---|\n");
    for function in FUNCTIONS {
        let _ =
            writeln!(text, "| `{}` | {} | `{}` |", function.form, function.meaning, cell(function.example));
    }
    text
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::OneOf(words) => format!("one of {}", words.join(", ")),
        Kind::StripeWord(words) => format!("one of {}, or a newer word of Stripe's", words.join(", ")),
        Kind::Flag
        | Kind::Money(_)
        | Kind::Number
        | Kind::Duration
        | Kind::Date
        | Kind::Text
        | Kind::Category
        | Kind::Country
        | Kind::Currency
        | Kind::MerchantId => noun(kind).to_owned(),
    }
}

/// A table's cell ends at a bar.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
