//! Why a condition holds or does not: each part that was looked at, with the values that it had. Only for those who ask.

use super::{
    condition::{Comparison, Condition, Number, Unit, Word},
    facts::Facts,
    input::Reads,
    shown::Day,
};
use crate::domain::{money::Money, policy::Span};

/// One part of a condition as a decision saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traced {
    /// The part, such as `amount > 30000`.
    pub condition: String,
    /// The values of its inputs, such as `amount = 450.00 USD`.
    pub value: String,
    /// Whether it held.
    pub holds: bool,
}

/// Evaluates a condition like [`Condition::holds`], and keeps what was looked at.
#[must_use]
pub fn trace(condition: &Condition, facts: &Facts<'_>) -> Vec<Traced> {
    let mut parts = Vec::new();
    follow(condition, facts, &mut parts);
    parts
}

fn follow(condition: &Condition, facts: &Facts<'_>, parts: &mut Vec<Traced>) -> bool {
    match condition {
        Condition::All(inner) => inner.iter().all(|part| follow(part, facts, parts)),
        Condition::Any(inner) => inner.iter().any(|part| follow(part, facts, parts)),
        Condition::Not(inner) if matches!(**inner, Condition::All(_) | Condition::Any(_)) => {
            !follow(inner, facts, parts)
        }
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
        | Condition::StartsWith(..) => {
            let holds = condition.holds(facts);
            let mut values = Values { facts, shown: Vec::new() };
            values.of(condition);
            parts.push(Traced { condition: condition.to_string(), value: values.shown.join(", "), holds });
            holds
        }
    }
}

/// Gathers the values of inputs.
struct Values<'a> {
    facts: &'a Facts<'a>,
    shown: Vec<String>,
}

impl Values<'_> {
    fn of(&mut self, condition: &Condition) {
        match condition {
            Condition::Always(_) => {}
            Condition::Flag(flag) => {
                self.show(Reads::Flag(*flag).name(), &self.facts.flag(*flag).to_string());
            }
            Condition::Has(input) => {
                let state = if self.facts.has(*input) { "is there" } else { "is missing" };
                self.keep(format!("{} {state}", input.name()));
            }
            Condition::Known(word) => {
                let state = if word.value(self.facts).is_some() { "is there" } else { "is missing" };
                self.keep(format!("{word} {state}"));
            }
            Condition::Measured(number) => {
                let state = if number.value(self.facts).is_some() { "is there" } else { "is missing" };
                self.keep(format!("{number} {state}"));
            }
            Condition::IsFirst(feature, _) => {
                let value = feature.of(&self.facts.request.merchant).unwrap_or("unknown");
                self.show(feature.as_str(), value);
            }
            Condition::Not(inner) => self.of(inner),
            Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| self.of(part)),
            Condition::Compare(comparison) => {
                let Comparison { left, right, unit, .. } = &**comparison;
                self.number(left, *unit);
                self.number(right, *unit);
            }
            Condition::OneOf(of, unit) => self.number(&of.0, *unit),
            Condition::Is(word, _) | Condition::Contains(word, _) | Condition::StartsWith(word, _) => {
                self.word(word);
            }
            Condition::Same(left, right) => {
                self.word(left);
                self.word(right);
            }
        }
    }

    fn number(&mut self, number: &Number, unit: Unit) {
        match number {
            Number::Literal(_) => {}
            Number::Input(_)
            | Number::Clock(..)
            | Number::Used(_)
            | Number::SinceLast(_)
            | Number::Remaining(_)
            | Number::Budget(..)
            | Number::Average(..) => {
                let value = number.value(self.facts).map(|value| shown(value, unit, self.facts));
                self.show(&number.to_string(), value.as_deref().unwrap_or("unknown"));
            }
            Number::Sum(both) | Number::Difference(both) => {
                self.number(&both.0, unit);
                self.number(&both.1, unit);
            }
            Number::Product(number, _) | Number::Quotient(number, _) => self.number(number, unit),
        }
    }

    fn word(&mut self, word: &Word) {
        self.show(&word.to_string(), word.value(self.facts).unwrap_or("unknown"));
    }

    fn show(&mut self, name: &str, value: &str) {
        self.keep(format!("{name} = {value}"));
    }

    fn keep(&mut self, text: String) {
        if !self.shown.contains(&text) {
            self.shown.push(text);
        }
    }
}

fn shown(value: i64, unit: Unit, facts: &Facts<'_>) -> String {
    match unit {
        Unit::Seconds if value == i64::MAX => "never".to_owned(),
        Unit::Money if value == i64::MAX => "no limit".to_owned(),
        Unit::Money => Money::new(value, facts.asked.currency).to_string(),
        Unit::MerchantMoney => Money::new(value, facts.merchant_money().currency).to_string(),
        Unit::Number => value.to_string(),
        Unit::Seconds => Span::of_seconds(value).to_string(),
        Unit::Day => Day(value).to_string(),
    }
}
