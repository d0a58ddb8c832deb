//! Values: inputs, literals and arithmetic.

use std::sync::Arc;

use super::{Compiler, Known, is_list, metadata_key, order};
use crate::{
    domain::{
        Interval, Measure, Occurrence, Window, Zone,
        rule::{
            ClockPart, Denomination, Input, Kind, Last, MetadataKey, Number, Presence, Reads, Share, Word,
        },
    },
    policy::rules::{
        error::Span,
        literal::noun,
        names,
        syntax::{Call, Expr, Operator, Part},
    },
};

/// A part that is not a condition.
pub(super) enum Value {
    Number(Number, Kind),
    Word(Word, Kind),
    Integer(i64),
    Seconds(i64),
    Text(String),
    /// A word that Stripe has added.
    Other(String),
}

/// Windows that have a name.
const CALENDARS: [Interval; 5] =
    [Interval::Daily, Interval::Weekly, Interval::Monthly, Interval::Yearly, Interval::AllTime];

impl Compiler<'_> {
    pub(super) fn value(&mut self, expr: &Expr, known: &Known) -> Option<Value> {
        let span = expr.span;
        match &expr.what {
            Part::Integer(number) => Some(Value::Integer(*number)),
            Part::Duration(duration) => Some(Value::Seconds(seconds(*duration))),
            Part::Text(text) => Some(Value::Text(text.clone())),
            Part::Path(name) => self.input(name, span, known),
            Part::Call(call) if is_list(expr) => {
                self.refuse(call.name_span, "a list is not a value", "write `x in list(\"name\")`")
            }
            Part::Call(call) => self.call_value(call, known),
            Part::Field(call, name, name_span) => self.of_budget(call, name, *name_span),
            Part::Negative(inner) => match self.value(inner, known)? {
                Value::Integer(number) => Some(Value::Integer(number.saturating_neg())),
                Value::Number(number, kind @ (Kind::Money(_) | Kind::Number | Kind::Duration)) => {
                    Some(Value::Number(Number::Product(Box::new(number), -1), kind))
                }
                other => self.refuse(span, format!("`-` before {}", other.noun()), "remove it"),
            },
            Part::Binary(operator, left, right)
                if order(*operator).is_none() && *operator != Operator::In =>
            {
                self.arithmetic(*operator, left, right, known)
            }
            Part::Index(target, _) => {
                if let Some(key) = metadata_key(expr) {
                    Some(Value::Word(Word::Metadata(key), Kind::Text))
                } else {
                    let advice = "write `card.metadata[\"key\"]`, or remove the brackets";
                    self.refuse(target.span, "only metadata has keys", advice)
                }
            }
            Part::List(_) => self.refuse(span, "a list is not a value", "write `x in [\"a\", \"b\"]`"),
            Part::Boolean(value) => {
                self.refuse(span, format!("`{value}` is not a value"), "compare a condition with it")
            }
            Part::Not(_) | Part::All(_) | Part::Any(_) | Part::Binary(..) => {
                self.refuse(span, "expected a value, found a condition", "join conditions with `&&` or `||`")
            }
        }
    }

    fn input(&mut self, name: &str, span: Span, known: &Known) -> Option<Value> {
        self.check_home(name, span)?;
        if let Some(key) = MetadataKey::named(name) {
            return Some(Value::Word(Word::Metadata(key), Kind::Text));
        }
        let Some(input) = Input::named(name) else {
            self.errors.push(names::unknown_input(name, span));
            return None;
        };
        if input.presence == Presence::Optional && !known.contains(name) {
            let advice = format!("ask first: `has({name}) && …`");
            return self.refuse(span, format!("`{name}` may be missing"), advice);
        }
        let zone = || self.context.time_zone.clone();
        Some(match input.reads {
            Reads::Number(number) => Value::Number(Number::Input(number), input.kind),
            Reads::Word(word) => Value::Word(Word::Input(word), input.kind),
            Reads::Clock(ClockPart::Weekday) => Value::Word(Word::Weekday(zone()), input.kind),
            Reads::Clock(part @ (ClockPart::Hour | ClockPart::Date)) => {
                Value::Number(Number::Clock(part, zone()), input.kind)
            }
            Reads::Metadata(owner) => {
                let found = format!("`{name}` has no key");
                return self.refuse(span, found, format!("write `{}tier`", owner.prefix()));
            }
            Reads::Flag(_) => {
                let found = format!("`{name}` is a condition by itself");
                return self.refuse(span, found, format!("write `{name}` or `!{name}`"));
            }
        })
    }

    pub(super) fn call_value(&mut self, call: &Call, known: &Known) -> Option<Value> {
        if call.receiver.is_none() && call.name == "other" {
            return self.other(call);
        }
        if call.receiver.is_none() {
            match call.name.as_str() {
                "count" | "sum" | "attempts" | "declines" => return self.used(call),
                "distinct" => return self.distinct(call),
                "since_last" => return self.since_last(call),
                "remaining" => return self.remaining(call),
                "average" => return self.known_average(call, known),
                "budget" => {
                    let advice = "write `budget(\"name\").remaining` or `budget(\"name\").used_share`";
                    return self.refuse(call.name_span, "a budget is not a value", advice);
                }
                _ => {}
            }
        }
        let clock = Input::named(&call.name).filter(|_| call.receiver.is_none());
        let Some(Input { reads: Reads::Clock(part), kind, .. }) = clock else {
            self.errors.push(names::unknown_function(&call.name, call.name_span));
            return None;
        };
        let argument = self.argument(call, "\"Europe/Berlin\"")?;
        let Part::Text(name) = &argument.what else {
            let advice = format!("write `{}(\"Europe/Berlin\")`", call.name);
            return self.refuse(argument.span, "expected a time zone in quotes", advice);
        };
        let Some(zone) = Zone::new(name) else {
            self.errors.push(names::unknown_zone(name, argument.span));
            return None;
        };
        Some(match part {
            ClockPart::Weekday => Value::Word(Word::Weekday(zone), *kind),
            ClockPart::Hour | ClockPart::Date => Value::Number(Number::Clock(*part, zone), *kind),
        })
    }

    /// `count(24h)`, `sum(daily)`
    fn used(&mut self, call: &Call) -> Option<Value> {
        let argument = self.argument(call, "24h")?;
        let interval = self.interval(argument, |window| format!("{}({window})", call.name))?;
        let (measure, occurrence, kind) = match call.name.as_str() {
            "sum" => (Measure::Amount(None), Occurrence::Approval, Kind::Money(Denomination::Request)),
            "attempts" => (Measure::Count, Occurrence::Attempt, Kind::Number),
            "declines" => (Measure::Count, Occurrence::Decline, Kind::Number),
            _ => (Measure::Count, Occurrence::Approval, Kind::Number),
        };
        Some(Value::Number(Number::Used(self.window(interval, measure, occurrence)), kind))
    }

    /// `distinct(merchant.country, 7d)`
    fn distinct(&mut self, call: &Call) -> Option<Value> {
        let [feature, window] = call.arguments.as_slice() else {
            let found = format!("`distinct` has two arguments, found {}", call.arguments.len());
            return self.refuse(call.name_span, found, "write `distinct(merchant.country, 7d)`");
        };
        let feature = self.feature(feature)?;
        let interval = self.interval(window, |window| format!("distinct({}, {window})", feature.as_str()))?;
        let window = self.window(interval, Measure::Count, Occurrence::Different(feature));
        Some(Value::Number(Number::Used(window), Kind::Number))
    }

    /// `since_last(approval)`
    fn since_last(&mut self, call: &Call) -> Option<Value> {
        let argument = self.argument(call, "approval")?;
        let named = |name: &String| Last::ALL.into_iter().find(|last| last.as_str() == name);
        let last = if let Part::Path(name) = &argument.what { named(name) } else { None };
        if last.is_none() {
            let advice = "write `since_last(approval)` or `since_last(attempt)`";
            return self.refuse(argument.span, "expected `approval` or `attempt`", advice);
        }
        last.map(|last| Value::Number(Number::SinceLast(last), Kind::Duration))
    }

    /// `remaining(daily)`
    fn remaining(&mut self, call: &Call) -> Option<Value> {
        let argument = self.argument(call, "daily")?;
        let is_one = matches!(&argument.what, Part::Path(name) if name == "per_authorization");
        let interval = if is_one {
            Interval::PerAuthorization
        } else {
            self.interval(argument, |window| format!("remaining({window})"))?
        };
        Some(Value::Number(Number::Remaining(interval), Kind::Money(Denomination::Request)))
    }

    /// `budget("engineering").remaining`
    fn of_budget(&mut self, call: &Call, field: &str, field_span: Span) -> Option<Value> {
        let argument = self.argument(call, "\"name\"")?;
        let Part::Text(name) = &argument.what else {
            let advice = "write `budget(\"name\").remaining`";
            return self.refuse(argument.span, "expected the name of a budget in quotes", advice);
        };
        let budgets = self.context.budgets;
        let Some(budget) = budgets.iter().find(|budget| ***budget == **name).map(Arc::clone) else {
            self.errors.push(names::unknown_budget(name, budgets.iter().map(|name| &**name), argument.span));
            return None;
        };
        let Some(share) = Share::ALL.into_iter().find(|share| share.as_str() == field) else {
            let found = format!("a budget has no field `{field}`");
            return self.refuse(field_span, found, "write `.remaining` or `.used_share`");
        };
        let kind = match share {
            Share::Remaining => Kind::Money(Denomination::Request),
            Share::Used => Kind::Number,
        };
        Some(Value::Number(Number::Budget(budget, share), kind))
    }

    /// `average(30d)`, where it is known to have a value.
    fn known_average(&mut self, call: &Call, known: &Known) -> Option<Value> {
        let average = self.average(call)?;
        let written = average.to_string();
        if !known.contains(&written) {
            let advice = format!("ask first: `has({written}) && …`");
            return self.refuse(call.name_span, format!("`{written}` may be missing"), advice);
        }
        Some(Value::Number(average, Kind::Money(Denomination::Request)))
    }

    pub(super) fn average(&mut self, call: &Call) -> Option<Number> {
        let argument = self.argument(call, "30d")?;
        let interval = self.interval(argument, |window| format!("average({window})"))?;
        let count = self.window(interval, Measure::Count, Occurrence::Approval);
        Some(Number::Average(count, self.window(interval, Measure::Amount(None), Occurrence::Approval)))
    }

    /// A window: a duration, or one of the calendar.
    fn interval(&mut self, argument: &Expr, call: impl Fn(&str) -> String) -> Option<Interval> {
        let interval = match &argument.what {
            Part::Duration(span) => Some(Interval::Rolling(*span)),
            Part::Path(name) => CALENDARS.into_iter().find(|calendar| calendar.to_string() == *name),
            _ => None,
        };
        if interval.is_none() {
            let advice = format!("write a span such as `{}`, or `{}`", call("24h"), call("daily"));
            let found = "expected a window: a duration, daily, weekly, monthly, yearly or all_time";
            return self.refuse(argument.span, found, advice);
        }
        interval
    }

    pub(super) fn window(&self, interval: Interval, measure: Measure, occurrence: Occurrence) -> Arc<Window> {
        let time_zone = match interval {
            Interval::Rolling(_) | Interval::PerAuthorization | Interval::AllTime => Zone::UTC,
            Interval::Daily | Interval::Weekly | Interval::Monthly | Interval::Yearly => {
                self.context.time_zone.clone()
            }
        };
        Arc::new(Window { measure, interval, time_zone, categories: None, merchants: None, occurrence })
    }

    /// `other("…")`: a word of Stripe's that is not documented yet.
    pub(super) fn other(&mut self, call: &Call) -> Option<Value> {
        let argument = self.argument(call, "\"word\"")?;
        match &argument.what {
            Part::Text(text) if !text.is_empty() => Some(Value::Other(text.clone())),
            _ => self.refuse(argument.span, "expected a word in quotes", "write `other(\"…\")`"),
        }
    }

    fn arithmetic(&mut self, operator: Operator, left: &Expr, right: &Expr, known: &Known) -> Option<Value> {
        let (left_value, right_value) = (self.value(left, known), self.value(right, known));
        let span = left.span.to(right.span);
        match (operator, left_value?, right_value?) {
            (_, Value::Integer(left), Value::Integer(right)) => match fold(operator, left, right) {
                Some(number) => Some(Value::Integer(number)),
                None => self.refuse(span, "this has no result", "write the number"),
            },
            (Operator::Times, Value::Number(number, kind), Value::Integer(by))
            | (Operator::Times, Value::Integer(by), Value::Number(number, kind))
                if kind != Kind::Date =>
            {
                Some(Value::Number(Number::Product(Box::new(number), by), kind))
            }
            (Operator::Times, _, _) => {
                self.refuse(span, "`*` needs a whole number on one side", "write it, such as `amount * 2`")
            }
            (Operator::Over, Value::Number(number, kind), Value::Integer(by))
                if by != 0 && kind != Kind::Date =>
            {
                Some(Value::Number(Number::Quotient(Box::new(number), by), kind))
            }
            (Operator::Over, _, Value::Integer(0)) => {
                self.refuse(right.span, "a division by zero", "write another number")
            }
            (Operator::Over, _, _) => {
                let advice = "write one, such as `amount / 2`; instead of a share compare products";
                self.refuse(span, "`/` needs a whole number on the right", advice)
            }
            (_, Value::Number(left, kind), Value::Number(right, other)) => {
                self.same_kind(kind, other, span)?;
                self.sum(operator, left, right, kind, span)
            }
            (_, Value::Number(number, kind), literal) => {
                let literal = Number::Literal(self.number_literal(kind, literal, right.span)?);
                self.sum(operator, number, literal, kind, span)
            }
            (_, literal, Value::Number(number, kind)) => {
                let literal = Number::Literal(self.number_literal(kind, literal, left.span)?);
                self.sum(operator, literal, number, kind, span)
            }
            (_, left, right) => {
                let found = format!("`{}` between {} and {}", operator.as_str(), left.noun(), right.noun());
                self.refuse(span, found, "only numbers, amounts and durations can be added")
            }
        }
    }

    fn sum(
        &mut self,
        operator: Operator,
        left: Number,
        right: Number,
        kind: Kind,
        span: Span,
    ) -> Option<Value> {
        match kind {
            Kind::Money(_) | Kind::Number | Kind::Duration => {}
            Kind::Date
            | Kind::Flag
            | Kind::Text
            | Kind::Category
            | Kind::Country
            | Kind::Currency
            | Kind::MerchantId
            | Kind::OneOf(_)
            | Kind::StripeWord(_) => {
                let found = format!("{} cannot be added to", noun(kind));
                return self.refuse(span, found, "write the value that you mean");
            }
        }
        let both = Box::new((left, right));
        let number = if operator == Operator::Minus { Number::Difference(both) } else { Number::Sum(both) };
        Some(Value::Number(number, kind))
    }
}

impl Value {
    /// For a message.
    pub(super) fn noun(&self) -> String {
        match self {
            Self::Number(_, kind) | Self::Word(_, kind) => noun(*kind).to_owned(),
            Self::Integer(number) => format!("the number `{number}`"),
            Self::Seconds(_) => "a duration".to_owned(),
            Self::Text(text) => format!("the text {text:?}"),
            Self::Other(text) => format!("the word {text:?}"),
        }
    }
}

fn fold(operator: Operator, left: i64, right: i64) -> Option<i64> {
    match operator {
        Operator::Plus => left.checked_add(right),
        Operator::Minus => left.checked_sub(right),
        Operator::Times => left.checked_mul(right),
        Operator::Over => left.checked_div(right),
        Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessOrEqual
        | Operator::Greater
        | Operator::GreaterOrEqual
        | Operator::In => None,
    }
}

pub(super) fn seconds(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}
