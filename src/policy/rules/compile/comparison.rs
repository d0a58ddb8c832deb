//! Comparisons: two values of one kind, or a value and a literal that takes its kind.

use std::sync::Arc;

use super::{
    Checked, Compiler, Known, ListUse, is_list, not, plain,
    value::{Value, seconds},
};
use crate::{
    domain::rule::{Comparison, Condition, Denomination, Input, Kind, List, Number, Order, Unit, Words},
    policy::rules::{
        error::Span,
        literal::{self, form, noun},
        names,
        syntax::{Expr, Part},
    },
};

impl Compiler<'_> {
    pub(super) fn comparison(
        &mut self,
        order: Order,
        left: &Expr,
        right: &Expr,
        known: &Known,
    ) -> Option<Checked> {
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
                Value::Integer(_) | Value::Seconds(_) | Value::Text(_) | Value::Other(_),
                Value::Integer(_) | Value::Seconds(_) | Value::Text(_) | Value::Other(_),
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

    pub(super) fn same_kind(&mut self, left: Kind, right: Kind, span: Span) -> Option<()> {
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

    pub(super) fn number_literal(&mut self, kind: Kind, literal: Value, span: Span) -> Option<i64> {
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
        let text = match (literal, kind) {
            (Value::Text(text), _) => text,
            (Value::Other(text), Kind::StripeWord(_)) => return Some(text.into()),
            (literal, _) => {
                let found = format!("expected {}, found {}", noun(kind), literal.noun());
                return self.refuse(span, found, form(kind));
            }
        };
        match literal::word(kind, &text) {
            Ok(word) => Some(word),
            Err((found, advice)) => self.refuse(span, found, advice),
        }
    }

    /// `x in [1, 2]`, `x in list("name")`
    pub(super) fn membership(&mut self, left: &Expr, right: &Expr, known: &Known) -> Option<Condition> {
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
            (
                Part::List(_),
                literal @ (Value::Integer(_) | Value::Seconds(_) | Value::Text(_) | Value::Other(_)),
            ) => {
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
            Part::Call(call) if call.receiver.is_none() && call.name == "other" => self.other(call),
            Part::Path(name) if Input::named(name).is_none() => {
                self.errors.push(names::unknown_input(name, item.span));
                None
            }
            _ => self.refuse(item.span, "a list has only literals", "write numbers, or texts in quotes"),
        }
    }

    pub(super) fn list(&mut self, expr: &Expr) -> Option<Arc<List>> {
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
}

fn compare(left: Number, order: Order, right: Number, kind: Kind) -> Condition {
    Condition::Compare(Box::new(Comparison { left, order, right, unit: unit(kind) }))
}

const fn unit(kind: Kind) -> Unit {
    match kind {
        Kind::Money(Denomination::Request) => Unit::Money,
        Kind::Money(Denomination::Merchant) => Unit::MerchantMoney,
        Kind::Duration => Unit::Seconds,
        Kind::Date => Unit::Day,
        Kind::Number
        | Kind::Flag
        | Kind::Text
        | Kind::Category
        | Kind::Country
        | Kind::Currency
        | Kind::MerchantId
        | Kind::OneOf(_)
        | Kind::StripeWord(_) => Unit::Number,
    }
}
