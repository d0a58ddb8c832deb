//! Literals: a number or a text takes the kind of what it is compared with, and is held against the values of that kind.

use crate::{
    domain::{
        Category,
        rule::{Denomination, Kind},
    },
    policy::{
        codes::{countries, currencies},
        nearest::nearest,
    },
};

/// What is wrong with a literal: found, advice.
pub(super) type Wrong = (String, String);

/// For a message: `an amount`, `a country`.
pub(super) const fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "a condition",
        Kind::Money(Denomination::Request) => "an amount in the currency of the request",
        Kind::Money(Denomination::Merchant) => "an amount in the merchant's currency",
        Kind::Number => "a number",
        Kind::Duration => "a duration",
        Kind::Date => "a date",
        Kind::Text => "a text",
        Kind::Category => "a category",
        Kind::Country => "a country",
        Kind::Currency => "a currency",
        Kind::MerchantId => "a merchant id",
        Kind::OneOf(_) | Kind::StripeWord(_) => "a word",
    }
}

/// What a literal of this kind looks like.
pub(super) fn form(kind: Kind) -> String {
    match kind {
        Kind::Flag => "write `true` or `false`".to_owned(),
        Kind::Money(_) => "write minor units as a whole number: 300.00 is `30000`".to_owned(),
        Kind::Number => "write a whole number".to_owned(),
        Kind::Duration => "write a duration such as `15m`, `24h`, `7d`".to_owned(),
        Kind::Date => "write a date such as \"2026-12-24\"".to_owned(),
        Kind::Text => "write a text in quotes".to_owned(),
        Kind::Category => "write a category in quotes, such as \"fast_food_restaurants\"".to_owned(),
        Kind::Country => "write two letters in quotes, such as \"US\"".to_owned(),
        Kind::Currency => "write three letters in quotes, such as \"usd\"".to_owned(),
        Kind::MerchantId => "write the id in quotes, so that every digit counts: \"001234567890\"".to_owned(),
        Kind::OneOf(words) => format!("write one of {}", texts(words)),
        Kind::StripeWord(words) => {
            format!("write one of {}, or a newer word of Stripe's as other(\"…\")", texts(words))
        }
    }
}

/// A text as a value of this kind.
pub(super) fn word(kind: Kind, text: &str) -> Result<Box<str>, Wrong> {
    let unknown = |what: &str, meant: Option<&str>| {
        let advice = meant.map_or_else(|| form(kind), |meant| format!("did you mean \"{meant}\"?"));
        Err((format!("unknown {what} \"{text}\""), advice))
    };
    match kind {
        Kind::Category => match (Category::named(text), Category::coded(text)) {
            (Some(_), _) => Ok(text.into()),
            (None, Some(coded)) => unknown("category", Some(coded.as_str())),
            (None, None) => unknown("category", nearest(text, Category::names())),
        },
        Kind::Country if countries().any(|code| code == text) => Ok(text.into()),
        Kind::Country => {
            let upper = text.to_ascii_uppercase();
            let usual =
                [("UK", "GB"), ("EN", "GB"), ("USA", "US"), ("GBR", "GB"), ("DEU", "DE"), ("EL", "GR")];
            let usual = usual.into_iter().find(|(written, _)| *written == upper).map(|(_, code)| code);
            unknown("country", usual.or_else(|| countries().find(|code| *code == upper)))
        }
        Kind::Currency if currencies().any(|code| code == text) => Ok(text.into()),
        Kind::Currency => {
            let lower = text.to_ascii_lowercase();
            let same = currencies().find(|code| *code == lower);
            unknown("currency", same.or_else(|| nearest(text, currencies())))
        }
        Kind::OneOf(words) | Kind::StripeWord(words) if words.contains(&text) => Ok(text.into()),
        Kind::OneOf(words) | Kind::StripeWord(words) => unknown("word", nearest(text, words.iter().copied())),
        Kind::Text | Kind::MerchantId if text.is_empty() => Err((
            "an empty text equals nothing".to_owned(),
            "use `!has(…)` for a value that is missing".to_owned(),
        )),
        Kind::Text | Kind::MerchantId => Ok(text.into()),
        Kind::Flag | Kind::Money(_) | Kind::Number | Kind::Duration | Kind::Date => {
            Err((format!("expected {}, found the text {text:?}", noun(kind)), form(kind)))
        }
    }
}

/// A text as a day: 20261224.
pub(super) fn day(text: &str) -> Result<i64, Wrong> {
    let wrong = || (format!("{text:?} is not a date"), form(Kind::Date));
    let is_plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date: jiff::civil::Date = text.parse().ok().filter(|_| is_plain).ok_or_else(wrong)?;
    Ok(crate::domain::rule::day_number(date))
}

fn texts(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}
