//! A compiled condition as text again: for explanations, and to show what a policy says.

use std::fmt;

use super::{
    condition::{Comparison, Condition, Number, Order, Unit, Word, Words},
    input::{ClockPart, Reads},
};
use crate::domain::policy::{Interval, Measure, Occurrence, Span, Window, Zone};

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(holds) => write!(f, "{holds}"),
            Self::Flag(flag) => f.write_str(Reads::Flag(*flag).name()),
            Self::Has(input) => write!(f, "has({})", input.name()),
            Self::Known(word) => write!(f, "has({word})"),
            Self::Measured(number) => write!(f, "has({number})"),
            Self::IsFirst(feature, _) => write!(f, "is_first({})", feature.as_str()),
            Self::Not(inner) => negated(inner, f),
            Self::All(parts) => joined(parts, " && ", f),
            Self::Any(parts) => joined(parts, " || ", f),
            Self::Compare(comparison) => comparison.fmt(f),
            Self::OneOf(of, unit) => {
                let numbers: Vec<String> = of.1.iter().map(|number| literal(*number, *unit)).collect();
                write!(f, "{} in [{}]", of.0, numbers.join(", "))
            }
            Self::Is(word, Words::These(words)) => match &**words {
                [one] => write!(f, "{word} == {one:?}"),
                more => write!(f, "{word} in {more:?}"),
            },
            Self::Is(word, Words::Named(list)) => write!(f, "{word} in list({:?})", list.name()),
            Self::Same(left, right) => write!(f, "{left} == {right}"),
            Self::Contains(word, part) => write!(f, "{word}.contains({part:?})"),
            Self::StartsWith(word, start) => write!(f, "{word}.starts_with({start:?})"),
        }
    }
}

/// The opposite, the way people write it.
fn negated(inner: &Condition, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match inner {
        Condition::Is(word, Words::These(words)) if words.len() == 1 => {
            write!(f, "{word} != {:?}", words.first().map_or("", |one| one))
        }
        Condition::Same(left, right) => write!(f, "{left} != {right}"),
        Condition::Flag(_)
        | Condition::Has(_)
        | Condition::Known(_)
        | Condition::Measured(_)
        | Condition::IsFirst(..)
        | Condition::Always(_)
        | Condition::Contains(..)
        | Condition::StartsWith(..)
        | Condition::Not(_) => write!(f, "!{inner}"),
        Condition::All(_)
        | Condition::Any(_)
        | Condition::Compare(_)
        | Condition::OneOf(..)
        | Condition::Is(..) => write!(f, "!({inner})"),
    }
}

fn joined(parts: &[Condition], by: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            f.write_str(by)?;
        }
        match part {
            Condition::All(_) | Condition::Any(_) => write!(f, "({part})")?,
            Condition::Always(_)
            | Condition::Flag(_)
            | Condition::Has(_)
            | Condition::Known(_)
            | Condition::Measured(_)
            | Condition::IsFirst(..)
            | Condition::Not(_)
            | Condition::Compare(_)
            | Condition::OneOf(..)
            | Condition::Is(..)
            | Condition::Same(..)
            | Condition::Contains(..)
            | Condition::StartsWith(..) => write!(f, "{part}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |number: &Number| match (number, self.unit) {
            (Number::Literal(number), unit) => literal(*number, unit),
            (number, _) => number.to_string(),
        };
        write!(f, "{} {} {}", side(&self.left), self.order, side(&self.right))
    }
}

fn literal(number: i64, unit: Unit) -> String {
    match unit {
        Unit::Money | Unit::MerchantMoney | Unit::Number => number.to_string(),
        Unit::Seconds => Span::of_seconds(number).to_string(),
        Unit::Day => format!("{:?}", Day(number).to_string()),
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(number) => write!(f, "{number}"),
            Self::Input(input) => f.write_str(Reads::Number(*input).name()),
            Self::Clock(part, zone) => clock(*part, zone, f),
            Self::Used(window) => used(window, f),
            Self::SinceLast(last) => write!(f, "since_last({})", last.as_str()),
            Self::Remaining(interval) => write!(f, "remaining({})", window_text(*interval)),
            Self::Budget(name, share) => write!(f, "budget({name:?}).{}", share.as_str()),
            Self::Average(count, _) => write!(f, "average({})", window_text(count.interval)),
            Self::Sum(both) => write!(f, "({} + {})", both.0, both.1),
            Self::Difference(both) => write!(f, "({} - {})", both.0, both.1),
            Self::Product(number, by) => write!(f, "({number} * {by})"),
            Self::Quotient(number, by) => write!(f, "({number} / {by})"),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(input) => f.write_str(Reads::Word(*input).name()),
            Self::Weekday(zone) => clock(ClockPart::Weekday, zone, f),
            Self::Metadata(key) => key.fmt(f),
        }
    }
}

fn clock(part: ClockPart, zone: &Zone, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}({:?})", Reads::Clock(part).name(), zone.name())
}

/// `count(24h)`, `sum(daily)`, `distinct(merchant.country, 7d)`.
fn used(window: &Window, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let interval = window_text(window.interval);
    let function = match (window.measure, window.occurrence) {
        (Measure::Amount(_), _) => "sum",
        (Measure::Count, Occurrence::Approval) => "count",
        (Measure::Count, Occurrence::Attempt) => "attempts",
        (Measure::Count, Occurrence::Decline) => "declines",
        (Measure::Count, Occurrence::Different(feature)) => {
            return write!(f, "distinct({}, {interval})", feature.as_str());
        }
    };
    write!(f, "{function}({interval})")
}

fn window_text(interval: Interval) -> String {
    match interval {
        Interval::Rolling(span) => Span::new(span).to_string(),
        calendar => calendar.to_string(),
    }
}

/// A day as people write it: `2026-12-24`.
pub(super) struct Day(pub(super) i64);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, rest) = (self.0.div_euclid(10_000), self.0.rem_euclid(10_000));
        write!(f, "{year:04}-{:02}-{:02}", rest.div_euclid(100), rest.rem_euclid(100))
    }
}
