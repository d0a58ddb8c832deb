//! From the tree of a condition to its typed form. What an input may be compared with, and where it may be missing, is
//! settled here, so that nothing is left to go wrong when a request is decided.

mod comparison;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::value::Value;
use super::{
    error::{RuleError, Span},
    literal::{self, noun},
    names, parser,
    syntax::{Call, Expr, Operator, Part},
};
use crate::domain::{
    Feature, Interval, Measure, Occurrence, Zone,
    rule::{Condition, Input, Kind, List, MetadataKey, Order, Owner, Presence, Reads, Word},
};

/// What a condition is compiled with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where the clock is read, unless the condition says where.
    pub time_zone: &'a Zone,
    /// The lists of the policy.
    pub lists: &'a BTreeMap<Arc<str>, Arc<List>>,
    /// The names of the policy's budgets.
    pub budgets: &'a [Arc<str>],
    /// Whether the policy has a home country.
    pub has_home: bool,
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
            | Part::Field(..)
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
        self.check_home(name, span)?;
        if MetadataKey::named(name).is_some() {
            return self.refuse(
                span,
                format!("expected a condition, found `{name}`, a text"),
                "compare it with a text",
            );
        }
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
            ("is_first", None) => self.is_first(call).map(plain),
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
                let value = self.call_value(call, known)?;
                let what = value.noun();
                self.refuse(span, format!("expected a condition, found {what}"), "compare it with something")
            }
        }
    }

    fn has(&mut self, call: &Call, span: Span) -> Option<Checked> {
        let argument = self.argument(call, "input")?;
        if let Some(key) = metadata_key(argument) {
            return Some(plain(Condition::Known(Word::Metadata(key))));
        }
        if let Part::Call(average @ Call { receiver: None, .. }) = &argument.what
            && average.name == "average"
        {
            let number = self.average(average)?;
            let when_true = Known::from([number.to_string()]);
            return Some(Checked {
                condition: Condition::Measured(number),
                when_true,
                when_false: Known::new(),
            });
        }
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

    /// A name that means something only where the policy has a home country.
    fn check_home(&mut self, name: &str, span: Span) -> Option<()> {
        if self.context.has_home || !["is_abroad", "home_country"].contains(&name) {
            return Some(());
        }
        let found = format!("`{name}` needs the country that is home");
        self.refuse(span, found, "add `home_country: US` to the policy, beside `version`")
    }

    /// `is_first(merchant.country)`
    fn is_first(&mut self, call: &Call) -> Option<Condition> {
        let argument = self.argument(call, "merchant.country")?;
        let feature = self.feature(argument)?;
        let occurrence = Occurrence::Different(feature);
        Some(Condition::IsFirst(feature, self.window(Interval::AllTime, Measure::Count, occurrence)))
    }

    /// What merchants may differ in.
    fn feature(&mut self, argument: &Expr) -> Option<Feature> {
        let named = |name: &String| Feature::ALL.into_iter().find(|feature| feature.as_str() == name);
        let feature = if let Part::Path(name) = &argument.what { named(name) } else { None };
        if feature.is_none() {
            let found = "expected what merchants differ in";
            return self.refuse(
                argument.span,
                found,
                "write `merchant.id`, `merchant.country` or `category`",
            );
        }
        feature
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
            Value::Word(..)
            | Value::Number(..)
            | Value::Integer(_)
            | Value::Seconds(_)
            | Value::Text(_)
            | Value::Other(_) => {
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
}

/// `card.metadata.tier` or `card.metadata["tier"]`
fn metadata_key(expr: &Expr) -> Option<MetadataKey> {
    match &expr.what {
        Part::Path(name) => MetadataKey::named(name),
        Part::Index(target, key) => match (&target.what, &key.what) {
            (Part::Path(name), Part::Text(key)) => {
                let owner =
                    Owner::ALL.into_iter().find(|owner| owner.prefix().trim_end_matches('.') == name)?;
                (!key.is_empty()).then(|| MetadataKey { owner, key: key.as_str().into() })
            }
            _ => None,
        },
        _ => None,
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

fn is_list(expr: &Expr) -> bool {
    matches!(&expr.what, Part::Call(Call { receiver: None, name, .. }) if name == "list")
}
