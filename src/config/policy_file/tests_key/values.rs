//! Single values of tests. Each reader gives the value, or notes what was found and what to do.

use std::time::Duration;

use super::super::{fields::At, mistake::Findings, node::Value};
use crate::{
    domain::{CardId, Timestamp, parse_span},
    policy::nearest::nearest,
};

pub(super) fn number(at: At<'_>, findings: &mut Findings) -> Option<i64> {
    match at.node.value {
        Value::Number(number) if number >= 0 => Some(number),
        _ => {
            let found = format!("expected a whole number, found {}", at.node.found());
            at.refuse(
                findings,
                found,
                "write it without quotes; amounts are minor units: 20.00 USD is `2000`",
            );
            None
        }
    }
}

pub(super) fn ago(at: At<'_>, findings: &mut Findings) -> Option<Duration> {
    let text = text(at, findings, "a duration such as `5m`, `24h`, `7d`")?;
    let span = parse_span(text);
    if span.is_none() {
        at.refuse(findings, format!("`{text}` is no duration"), "write one such as `90s`, `5m`, `24h`, `7d`");
    }
    span
}

pub(super) fn time(at: At<'_>, findings: &mut Findings) -> Option<Timestamp> {
    let text = text(at, findings, "a time such as `2026-01-15T12:00:00Z`")?;
    let time = Timestamp::parse(text);
    if time.is_none() {
        let advice = "write date, time and offset, such as `2026-01-15T12:00:00Z`";
        at.refuse(findings, format!("`{text}` is no time"), advice);
    }
    time
}

pub(super) fn card(at: At<'_>, findings: &mut Findings) -> Option<CardId> {
    let text = text(at, findings, "the id of a card")?;
    let card = CardId::new(text).filter(|card| card.as_str().starts_with("ic_"));
    if card.is_none() {
        at.refuse(findings, format!("`{text}` is no id of a card"), "write one that begins with `ic_`");
    }
    card
}

pub(super) fn word_of<const N: usize>(
    at: At<'_>,
    findings: &mut Findings,
    word: &str,
    words: [&'static str; N],
) -> Option<&'static str> {
    let known = words.into_iter().find(|known| *known == word);
    if known.is_none() {
        let advice = match nearest(word, words) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("write one of {}", words.join(", ")),
        };
        at.refuse(findings, format!("unknown word `{word}`"), advice);
    }
    known
}

pub(super) fn text<'a>(at: At<'a>, findings: &mut Findings, expected: &str) -> Option<&'a str> {
    match &at.node.value {
        Value::Text(text) if !text.is_empty() => Some(text),
        _ => {
            at.refuse(
                findings,
                format!("expected a text, found {}", at.node.found()),
                format!("write {expected}"),
            );
            None
        }
    }
}
