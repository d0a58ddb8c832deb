//! From the tree of a condition to its typed form. What an input may be compared with, and where it may be missing, is
//! settled here, so that nothing is left to go wrong when a request is decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    error::{RuleError, Span},
    literal::{self, form, noun},
    names, parser,
    syntax::{Call, Expr, Operator, Part},
};
use crate::domain::{
    Zone,
    rule::{
        ClockPart, Comparison, Condition, Input, Kind, List, Number, Order, Presence, Reads, Unit, Word,
        Words,
    },
};

/// What a condition is compiled with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where the clock is read, unless the condition says where.
    pub time_zone: &'a Zone,
    /// The lists of the policy.
    pub lists: &'a BTreeMap<Arc<str>, Arc<List>>,
}

/// A compiled condition.
#[derive(Clone, PartialEq, Debug)]
pub struct Compiled {
    /// The condition.
    pub condition: Condition,
    /// The lists that it looks into, and what for.
    pub lists: Vec<ListUse>,
}

/// A list, and the kind of value that is looked for in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListUse {
    /// Its name.
    pub list: Arc<str>,
    /// What its entries have to be.
    pub kind: Kind,
}

/// Compiles a condition.
///
/// # Errors
/// All that is wrong; of what cannot be parsed, the first thing only.
pub fn compile(text: &str, context: Context<'_>) -> Result<Compiled, Vec<RuleError>> {
    let expr = parser::parse(text).map_err(|error| vec![error])?;
    let mut compiler = Compiler { context, errors: Vec::new(), lists: Vec::new() };
    match (compiler.condition(&expr, &Known::new()), compiler.errors) {
        (Some(checked), errors) if errors.is_empty() => {
            Ok(Compiled { condition: checked.condition, lists: compiler.lists })
        }
        (_, errors) => Err(errors),
    }
}

/// Whether a list that is used for this kind may have such an entry.
///
/// # Errors
/// What was found, and what to do.
pub fn check_entry(kind: Kind, entry: &str) -> Result<(), (String, String)> {
    literal::word(kind, entry).map(|_| ())
}

/// The inputs that are known to have a value.
type Known = BTreeSet<String>;

struct Checked {
    condition: Condition,
    /// What has a value where it holds.
    when_true: Known,
    /// What has a value where it does not.
    when_false: Known,
}

/// A part that is not a condition.
enum Value {
    Number(Number, Kind),
    Word(Word, Kind),
    Integer(i64),
    Seconds(i64),
    Text(String),
}

struct Compiler<'a> {
    context: Context<'a>,
    errors: Vec<RuleError>,
    lists: Vec<ListUse>,
}

impl Compiler<'_> {
    fn refuse<T>(&mut self, span: Span, found: impl Into<String>, advice: impl Into<String>) -> Option<T> {
        self.errors.push(RuleError::new(span, found, advice));
        None
    }

    fn condition(&mut self, expr: &Expr, known: &Known) -> Option<Checked> {
        match &expr.what {
            Part::Boolean(holds) => Some(plain(Condition::Always(*holds))),
            Part::Not(inner) => {
                let Checked { condition, when_true, when_false } = self.condition(inner, known)?;
                Some(Checked { condition: not(condition), when_true: when_false, when_false: when_true })
            }
            Part::All(parts) => self.chain(parts, known, true),
            Part::Any(parts) => self.chain(parts, known, false),
            Part::Path(name) => self.flag(name, expr.span),
            Part::Call(call) => self.call_condition(call, expr.span, known),
            Part::Binary(Operator::In, left, right) => self.membership(left, right, known).map(plain),
            Part::Binary(operator, left, right) => match order(*operator) {
                Some(order) => self.comparison(order, left, right, known),
                None => self.no_condition(expr, known),
            },
            Part::Integer(_)
            | Part::Duration(_)
            | Part::Text(_)
            | Part::Index(..)
            | Part::List(_)
            | Part::Negative(_) => self.no_condition(expr, known),
        }
    }

    /// Parts that are joined: each is looked at only where those before it held, or did not.
    fn chain(&mut self, parts: &[Expr], known: &Known, is_all: bool) -> Option<Checked> {
        let mut so_far = known.clone();
        let mut common: Option<Known> = None;
        let mut conditions = Vec::with_capacity(parts.len());
        let mut is_whole = true;
        for part in parts {
            let Some(checked) = self.condition(part, &so_far) else {
                is_whole = false;
                continue;
            };
            let (on, off) = if is_all {
                (checked.when_true, checked.when_false)
            } else {
                (checked.when_false, checked.when_true)
            };
            // Where the chain stops at this part, what was known before it is known too.
            let stops: Known = off.union(&so_far).cloned().collect();
            common = Some(match common {
                Some(common) => common.intersection(&stops).cloned().collect(),
                None => stops,
            });
            so_far.extend(on);
            conditions.push(checked.condition);
        }
        let common = common.unwrap_or_default();
        let conditions = conditions.into_boxed_slice();
        is_whole.then(|| {
            if is_all {
                Checked { condition: Condition::All(conditions), when_true: so_far, when_false: common }
            } else {
                Checked { condition: Condition::Any(conditions), when_true: common, when_false: so_far }
            }
        })
    }

    fn flag(&mut self, name: &str, span: Span) -> Option<Checked> {
        match Input::named(name) {
            Some(Input { reads: Reads::Flag(flag), .. }) => Some(plain(Condition::Flag(*flag))),
            Some(input) => {
                let found = format!("expected a condition, found `{name}`, {}", noun(input.kind));
                self.refuse(span, found, format!("compare it, such as `{}`", input.example))
            }
            None => {
                self.errors.push(names::unknown_input(name, span));
                None
            }
        }
    }

    fn no_condition(&mut self, expr: &Expr, known: &Known) -> Option<Checked> {
        let value = self.value(expr, known)?;
        let what = value.noun();
        self.refuse(expr.span, format!("expected a condition, found {what}"), "compare it with something")
    }

    fn call_condition(&mut self, call: &Call, span: Span, known: &Known) -> Option<Checked> {
        match (call.name.as_str(), &call.receiver) {
            ("has", None) => self.has(call, span),
            ("contains", Some(list)) if is_list(list) => {
                let value = self.argument(call, "x")?;
                self.membership(value, list, known).map(plain)
            }
            ("contains" | "starts_with", Some(receiver)) => {
                self.text_method(call, receiver, known).map(plain)
            }
            ("list", None) => {
                self.refuse(span, "expected a condition, found a list", "write `x in list(\"name\")`")
            }
            _ => {
                let value = self.call_value(call)?;
                let what = value.noun();
                self.refuse(span, format!("expected a condition, found {what}"), "compare it with something")
            }
        }
    }

    fn has(&mut self, call: &Call, span: Span) -> Option<Checked> {
        let argument = self.argument(call, "input")?;
        let Part::Path(name) = &argument.what else {
            return self.refuse(
                argument.span,
                "expected an input in `has(…)`",
                "write `has(merchant.country)`",
            );
        };
        let Some(input) = Input::named(name) else {
            self.errors.push(names::unknown_input(name, argument.span));
            return None;
        };
        match input.presence {
            Presence::Always => {
                self.refuse(span, format!("`{name}` always has a value"), format!("remove `has({name})`"))
            }
            Presence::MayBeUnknown | Presence::Optional => Some(Checked {
                condition: Condition::Has(input.reads),
                when_true: Known::from([name.clone()]),
                when_false: Known::new(),
            }),
        }
    }

    /// The only argument of a function or method.
    fn argument<'e>(&mut self, call: &'e Call, what: &str) -> Option<&'e Expr> {
        match call.arguments.as_slice() {
            [argument] => Some(argument),
            arguments => {
                let found = format!("`{}` has one argument, found {}", call.name, arguments.len());
                self.refuse(call.name_span, found, format!("write `{}({what})`", call.name))
            }
        }
    }

    fn text_method(&mut self, call: &Call, receiver: &Expr, known: &Known) -> Option<Condition> {
        let argument = self.argument(call, "\"text\"")?;
        let value = self.value(receiver, known)?;
        let what = value.noun();
        let word = match value {
            Value::Word(word, Kind::Text | Kind::Category | Kind::MerchantId) => word,
            Value::Word(..) | Value::Number(..) | Value::Integer(_) | Value::Seconds(_) | Value::Text(_) => {
                let found = format!("`{}` looks into texts, found {what}", call.name);
                return self.refuse(receiver.span, found, "compare it with `==` or `in`");
            }
        };
        match &argument.what {
            Part::Text(text) if !text.is_empty() => Some(match call.name.as_str() {
                "contains" => Condition::Contains(word, text.as_str().into()),
                _ => Condition::StartsWith(word, text.as_str().into()),
            }),
            Part::Text(_) => {
                self.refuse(argument.span, "an empty text is in every text", "write what to look for")
            }
            _ => {
                let found = format!("expected a text in quotes in `{}(…)`", call.name);
                self.refuse(argument.span, found, format!("write `{}(\"…\")`", call.name))
            }
        }
    }

    fn comparison(&mut self, order: Order, left: &Expr, right: &Expr, known: &Known) -> Option<Checked> {
        match (&left.what, &right.what) {
            (Part::Boolean(_), Part::Boolean(_)) => {}
            (Part::Boolean(value), _) => return self.switch(order, right, *value, left.span, known),
            (_, Part::Boolean(value)) => return self.switch(order, left, *value, right.span, known),
            _ => {}
        }
        let (left_value, right_value) = (self.value(left, known), self.value(right, known));
        let span = left.span.to(right.span);
        let condition = match (left_value?, right_value?) {
            (Value::Number(left, kind), Value::Number(right, other)) => {
                self.same_kind(kind, other, span)?;
                compare(left, order, right, kind)
            }
            (Value::Number(number, kind), literal) => {
                compare(number, order, Number::Literal(self.number_literal(kind, literal, right.span)?), kind)
            }
            (literal, Value::Number(number, kind)) => {
                compare(Number::Literal(self.number_literal(kind, literal, left.span)?), order, number, kind)
            }
            (Value::Word(left, kind), Value::Word(right, other)) => {
                self.same_kind(kind, other, span)?;
                self.equality(order, Condition::Same(left, right), kind, span)?
            }
            (Value::Word(word, kind), literal) => {
                let words = Words::these(vec![self.word_literal(kind, literal, right.span)?]);
                self.equality(order, Condition::Is(word, words), kind, span)?
            }
            (literal, Value::Word(word, kind)) => {
                let words = Words::these(vec![self.word_literal(kind, literal, left.span)?]);
                self.equality(order, Condition::Is(word, words), kind, span)?
            }
            (
                Value::Integer(_) | Value::Seconds(_) | Value::Text(_),
                Value::Integer(_) | Value::Seconds(_) | Value::Text(_),
            ) => {
                let advice = "compare an input such as `amount` with it";
                return self.refuse(span, "two literals are compared: that never changes", advice);
            }
        };
        Some(plain(condition))
    }

    /// `present == false`
    fn switch(
        &mut self,
        order: Order,
        expr: &Expr,
        value: bool,
        span: Span,
        known: &Known,
    ) -> Option<Checked> {
        let checked = self.condition(expr, known)?;
        let is_same = match order {
            Order::Equal => value,
            Order::NotEqual => !value,
            Order::Less | Order::LessOrEqual | Order::Greater | Order::GreaterOrEqual => {
                let found = format!("`{value}` has no order");
                return self.refuse(span, found, "write the condition alone, or `!` before it");
            }
        };
        Some(if is_same {
            checked
        } else {
            let Checked { condition, when_true, when_false } = checked;
            Checked { condition: not(condition), when_true: when_false, when_false: when_true }
        })
    }

    fn equality(&mut self, order: Order, is: Condition, kind: Kind, span: Span) -> Option<Condition> {
        match order {
            Order::Equal => Some(is),
            Order::NotEqual => Some(not(is)),
            Order::Less | Order::LessOrEqual | Order::Greater | Order::GreaterOrEqual => {
                let found = format!("{} has no order", noun(kind));
                self.refuse(span, found, "compare it with `==`, `!=` or `in`")
            }
        }
    }

    fn same_kind(&mut self, left: Kind, right: Kind, span: Span) -> Option<()> {
        if left == right {
            return Some(());
        }
        let found = format!("{} cannot be held against {}", noun(left), noun(right));
        let advice = match (left, right) {
            (Kind::Money(_), Kind::Money(_)) => {
                "amounts of different currencies can be neither compared nor added"
            }
            _ => "compare and add values of one kind",
        };
        self.refuse(span, found, advice)
    }

    fn number_literal(&mut self, kind: Kind, literal: Value, span: Span) -> Option<i64> {
        match (kind, literal) {
            (Kind::Money(_) | Kind::Number, Value::Integer(number))
            | (Kind::Duration, Value::Seconds(number)) => Some(number),
            (Kind::Date, Value::Text(text)) => match literal::day(&text) {
                Ok(day) => Some(day),
                Err((found, advice)) => self.refuse(span, found, advice),
            },
            (_, literal) => {
                let found = format!("expected {}, found {}", noun(kind), literal.noun());
                self.refuse(span, found, form(kind))
            }
        }
    }

    fn word_literal(&mut self, kind: Kind, literal: Value, span: Span) -> Option<Box<str>> {
        let Value::Text(text) = literal else {
            let found = format!("expected {}, found {}", noun(kind), literal.noun());
            return self.refuse(span, found, form(kind));
        };
        match literal::word(kind, &text) {
            Ok(word) => Some(word),
            Err((found, advice)) => self.refuse(span, found, advice),
        }
    }

    /// `x in [1, 2]`, `x in list("name")`
    fn membership(&mut self, left: &Expr, right: &Expr, known: &Known) -> Option<Condition> {
        let value = self.value(left, known);
        match (&right.what, value?) {
            (Part::List(items), _) if items.is_empty() => {
                self.refuse(right.span, "an empty list has nothing", "remove the comparison")
            }
            (Part::List(items), Value::Word(word, kind)) => {
                let words: Vec<Option<Box<str>>> =
                    items.iter().map(|item| self.word_item(kind, item)).collect();
                Some(Condition::Is(word, Words::these(words.into_iter().collect::<Option<_>>()?)))
            }
            (Part::List(items), Value::Number(number, kind)) => {
                let numbers: Vec<Option<i64>> =
                    items.iter().map(|item| self.number_item(kind, item)).collect();
                let numbers = numbers.into_iter().collect::<Option<Box<[i64]>>>()?;
                Some(Condition::OneOf(Box::new((number, numbers)), unit(kind)))
            }
            (_, value) if is_list(right) => {
                let list = self.list(right)?;
                let Value::Word(word, kind) = value else {
                    let found = format!("lists have texts, found {}", value.noun());
                    return self.refuse(left.span, found, "write the values in brackets: `x in [1, 2]`");
                };
                self.lists.push(ListUse { list: list.name().into(), kind });
                Some(Condition::Is(word, Words::Named(list)))
            }
            (Part::List(_), literal @ (Value::Integer(_) | Value::Seconds(_) | Value::Text(_))) => {
                let found = format!("{} is looked for: that never changes", literal.noun());
                self.refuse(left.span, found, "write an input before `in`")
            }
            _ => self.refuse(
                right.span,
                "expected a list after `in`",
                "write `x in [\"a\", \"b\"]`, or `x in list(\"name\")`",
            ),
        }
    }

    fn word_item(&mut self, kind: Kind, item: &Expr) -> Option<Box<str>> {
        let literal = self.literal_item(item)?;
        self.word_literal(kind, literal, item.span)
    }

    fn number_item(&mut self, kind: Kind, item: &Expr) -> Option<i64> {
        let literal = self.literal_item(item)?;
        self.number_literal(kind, literal, item.span)
    }

    fn literal_item(&mut self, item: &Expr) -> Option<Value> {
        match &item.what {
            Part::Integer(number) => Some(Value::Integer(*number)),
            Part::Text(text) => Some(Value::Text(text.clone())),
            Part::Duration(span) => Some(Value::Seconds(seconds(*span))),
            Part::Negative(inner) => match inner.what {
                Part::Integer(number) => Some(Value::Integer(number.saturating_neg())),
                _ => self.refuse(item.span, "a list has only literals", "write numbers, or texts in quotes"),
            },
            Part::Path(name) if Input::named(name).is_none() => {
                self.errors.push(names::unknown_input(name, item.span));
                None
            }
            _ => self.refuse(item.span, "a list has only literals", "write numbers, or texts in quotes"),
        }
    }

    fn list(&mut self, expr: &Expr) -> Option<Arc<List>> {
        let Part::Call(call) = &expr.what else { return None };
        let argument = self.argument(call, "\"name\"")?;
        let Part::Text(name) = &argument.what else {
            return self.refuse(
                argument.span,
                "expected the name of a list in quotes",
                "write `list(\"name\")`",
            );
        };
        let found = self.context.lists.get(name.as_str()).map(Arc::clone);
        if found.is_none() {
            let names = self.context.lists.keys().map(|name| &**name);
            self.errors.push(names::unknown_list(name, names, argument.span));
        }
        found
    }

    fn value(&mut self, expr: &Expr, known: &Known) -> Option<Value> {
        let span = expr.span;
        match &expr.what {
            Part::Integer(number) => Some(Value::Integer(*number)),
            Part::Duration(duration) => Some(Value::Seconds(seconds(*duration))),
            Part::Text(text) => Some(Value::Text(text.clone())),
            Part::Path(name) => self.input(name, span, known),
            Part::Call(call) if is_list(expr) => {
                self.refuse(call.name_span, "a list is not a value", "write `x in list(\"name\")`")
            }
            Part::Call(call) => self.call_value(call),
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
                let found = "only metadata has keys".to_owned();
                self.refuse(target.span, found, "remove the brackets")
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
            Reads::Flag(_) => {
                let found = format!("`{name}` is a condition by itself");
                return self.refuse(span, found, format!("write `{name}` or `!{name}`"));
            }
        })
    }

    fn call_value(&mut self, call: &Call) -> Option<Value> {
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
            | Kind::OneOf(_) => {
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
    fn noun(&self) -> String {
        match self {
            Self::Number(_, kind) | Self::Word(_, kind) => noun(*kind).to_owned(),
            Self::Integer(number) => format!("the number `{number}`"),
            Self::Seconds(_) => "a duration".to_owned(),
            Self::Text(text) => format!("the text {text:?}"),
        }
    }
}

const fn plain(condition: Condition) -> Checked {
    Checked { condition, when_true: Known::new(), when_false: Known::new() }
}

fn not(condition: Condition) -> Condition {
    match condition {
        Condition::Not(inner) => *inner,
        other => Condition::Not(Box::new(other)),
    }
}

fn compare(left: Number, order: Order, right: Number, kind: Kind) -> Condition {
    Condition::Compare(Box::new(Comparison { left, order, right, unit: unit(kind) }))
}

const fn unit(kind: Kind) -> Unit {
    match kind {
        Kind::Money(_) => Unit::Money,
        Kind::Duration => Unit::Seconds,
        Kind::Date => Unit::Day,
        Kind::Number
        | Kind::Flag
        | Kind::Text
        | Kind::Category
        | Kind::Country
        | Kind::Currency
        | Kind::MerchantId
        | Kind::OneOf(_) => Unit::Number,
    }
}

const fn order(operator: Operator) -> Option<Order> {
    match operator {
        Operator::Equal => Some(Order::Equal),
        Operator::NotEqual => Some(Order::NotEqual),
        Operator::Less => Some(Order::Less),
        Operator::LessOrEqual => Some(Order::LessOrEqual),
        Operator::Greater => Some(Order::Greater),
        Operator::GreaterOrEqual => Some(Order::GreaterOrEqual),
        Operator::In | Operator::Plus | Operator::Minus | Operator::Times | Operator::Over => None,
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

fn is_list(expr: &Expr) -> bool {
    matches!(&expr.what, Part::Call(Call { receiver: None, name, .. }) if name == "list")
}

fn seconds(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}
