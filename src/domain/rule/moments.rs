//! The times at which a condition may change although nothing happens: the clock's edges, and spans since something.

use std::time::Duration;

use super::{
    condition::{Condition, Last, Number, Word},
    input::ClockPart,
};
use crate::domain::{card::Card, policy::Zone, time::Timestamp};

/// Hours and days that are looked at.
const HOURS: i64 = 24;
const DAYS: i64 = 8;

/// Adds the times after `now` at which the condition may change.
pub(in crate::domain) fn moments_of(
    condition: &Condition,
    card: &Card,
    now: Timestamp,
    times: &mut Vec<Timestamp>,
) {
    match condition {
        Condition::Always(_)
        | Condition::Flag(_)
        | Condition::Has(_)
        | Condition::Known(_)
        | Condition::Measured(_)
        | Condition::IsFirst(..) => {}
        Condition::Not(inner) => moments_of(inner, card, now, times),
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().for_each(|part| moments_of(part, card, now, times));
        }
        Condition::Compare(comparison) => {
            of_number(&comparison.left, now, times);
            of_number(&comparison.right, now, times);
            of_span(&comparison.left, &comparison.right, card, times);
            of_span(&comparison.right, &comparison.left, card, times);
        }
        Condition::OneOf(of, _) => of_number(&of.0, now, times),
        Condition::Is(word, _) | Condition::Contains(word, _) | Condition::StartsWith(word, _) => {
            of_word(word, now, times);
        }
        Condition::Same(left, right) => {
            of_word(left, now, times);
            of_word(right, now, times);
        }
    }
}

fn of_number(number: &Number, now: Timestamp, times: &mut Vec<Timestamp>) {
    match number {
        Number::Clock(ClockPart::Hour, zone) => hours(zone, now, times),
        Number::Clock(ClockPart::Date | ClockPart::Weekday, zone) => days(zone, now, times),
        Number::Sum(both) | Number::Difference(both) => {
            of_number(&both.0, now, times);
            of_number(&both.1, now, times);
        }
        Number::Product(inner, _) | Number::Quotient(inner, _) => of_number(inner, now, times),
        Number::Literal(_)
        | Number::Input(_)
        | Number::Used(_)
        | Number::SinceLast(_)
        | Number::Remaining(_)
        | Number::Budget(..)
        | Number::Average(..) => {}
    }
}

fn of_word(word: &Word, now: Timestamp, times: &mut Vec<Timestamp>) {
    match word {
        Word::Weekday(zone) => days(zone, now, times),
        Word::Input(_) | Word::Metadata(_) => {}
    }
}

/// A span since the latest request passes a number of seconds.
fn of_span(span: &Number, seconds: &Number, card: &Card, times: &mut Vec<Timestamp>) {
    let (Number::SinceLast(last), Number::Literal(seconds)) = (span, seconds) else { return };
    let latest = match last {
        Last::Attempt => card.latest.attempt,
        Last::Approval => card.latest.approval,
    };
    if latest > Timestamp::MIN {
        for seconds in [*seconds, seconds.saturating_add(1)] {
            times.push(latest.plus(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))));
        }
    }
}

fn hours(zone: &Zone, now: Timestamp, times: &mut Vec<Timestamp>) {
    let here = now.to_jiff().to_zoned(zone.as_jiff().clone());
    let Ok(hour) =
        here.round(jiff::ZonedRound::new().smallest(jiff::Unit::Hour).mode(jiff::RoundMode::Floor))
    else {
        return;
    };
    let later = |hours: i64| hour.checked_add(jiff::Span::new().hours(hours)).ok();
    times.extend((1..=HOURS).filter_map(later).map(|at| Timestamp::from(at.timestamp())));
}

fn days(zone: &Zone, now: Timestamp, times: &mut Vec<Timestamp>) {
    let date = now.to_jiff().to_zoned(zone.as_jiff().clone()).date();
    let midnight = |days: i64| {
        let date = date.checked_add(jiff::Span::new().days(days)).ok()?;
        date.to_zoned(zone.as_jiff().clone()).ok()
    };
    times.extend((1..=DAYS).filter_map(midnight).map(|at| Timestamp::from(at.timestamp())));
}
