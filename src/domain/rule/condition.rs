//! A compiled condition: typed, so that evaluating it cannot fail and allocates nothing. Compiling text is elsewhere.

use std::sync::Arc;

use super::{
    facts::Facts,
    input::{ClockPart, Flag, NumberInput, Reads, WordInput},
    list::List,
};
use crate::domain::policy::{Window, Zone};

/// Something that holds or does not.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    /// `true` or `false`.
    Always(bool),
    /// A flag of the request.
    Flag(Flag),
    /// The input has a value.
    Has(Reads),
    /// The opposite.
    Not(Box<Self>),
    /// All of them, from the left, no further than the first that does not hold.
    All(Box<[Self]>),
    /// One of them, from the left, no further than the first that holds.
    Any(Box<[Self]>),
    /// Two numbers of one kind.
    Compare(Box<Comparison>),
    /// A number is one of these.
    OneOf(Box<(Number, Box<[i64]>)>, Unit),
    /// A word is one of these.
    Is(Word, Words),
    /// Two words are known and equal.
    Same(Word, Word),
    /// A text has this part.
    Contains(Word, Box<str>),
    /// A text begins with this.
    StartsWith(Word, Box<str>),
}

/// Two numbers, and how they shall stand to each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// On the left.
    pub left: Number,
    /// How.
    pub order: Order,
    /// On the right.
    pub right: Number,
    /// What both count.
    pub unit: Unit,
}

/// How two numbers stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a number counts; only how it is shown depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Minor units of the request's currency.
    Money,
    /// Minor units of the merchant's currency.
    MerchantMoney,
    /// Things.
    Number,
    /// Seconds.
    Seconds,
    /// A day as 20261224.
    Day,
}

/// A whole number. Arithmetic stops at the ends of 64 bits.
#[derive(Clone, PartialEq, Debug)]
pub enum Number {
    /// As it is written.
    Literal(i64),
    /// Of the request.
    Input(NumberInput),
    /// Of the time.
    Clock(ClockPart, Zone),
    /// What the card has used of a window before this request: approvals, or held and captured amounts.
    Used(Arc<Window>),
    /// `+`
    Sum(Box<(Self, Self)>),
    /// `-`
    Difference(Box<(Self, Self)>),
    /// `*`, by a literal.
    Product(Box<Self>, i64),
    /// `/`, by a literal that is not zero; what is left over is dropped.
    Quotient(Box<Self>, i64),
}

/// A word, which may be unknown.
#[derive(Clone, PartialEq, Debug)]
pub enum Word {
    /// Of the request.
    Input(WordInput),
    /// The day of the week there.
    Weekday(Zone),
}

/// Words to look for.
#[derive(Clone, PartialEq, Debug)]
pub enum Words {
    /// Written in the condition; sorted.
    These(Box<[Box<str>]>),
    /// A list of the policy.
    Named(Arc<List>),
}

impl Condition {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Always(holds) => *holds,
            Self::Flag(flag) => facts.flag(*flag),
            Self::Has(input) => facts.has(*input),
            Self::Not(inner) => !inner.holds(facts),
            Self::All(parts) => parts.iter().all(|part| part.holds(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(facts)),
            Self::Compare(comparison) => comparison.holds(facts),
            Self::OneOf(of, _) => of.0.value(facts).is_some_and(|number| of.1.contains(&number)),
            Self::Is(word, words) => word.value(facts).is_some_and(|word| words.contain(word)),
            Self::Same(left, right) => left.value(facts).is_some_and(|left| right.value(facts) == Some(left)),
            Self::Contains(word, part) => word.value(facts).is_some_and(|word| word.contains(&**part)),
            Self::StartsWith(word, start) => word.value(facts).is_some_and(|word| word.starts_with(&**start)),
        }
    }
}

impl Condition {
    /// The windows that a card has to keep sums of.
    pub(super) fn windows<'a>(&'a self, found: &mut Vec<&'a Arc<Window>>) {
        match self {
            Self::Always(_)
            | Self::Flag(_)
            | Self::Has(_)
            | Self::Is(..)
            | Self::Same(..)
            | Self::Contains(..)
            | Self::StartsWith(..) => {}
            Self::Not(inner) => inner.windows(found),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.windows(found)),
            Self::Compare(comparison) => {
                comparison.left.windows(found);
                comparison.right.windows(found);
            }
            Self::OneOf(of, _) => of.0.windows(found),
        }
    }
}

impl Comparison {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        match (self.left.value(facts), self.right.value(facts)) {
            (Some(left), Some(right)) => self.order.holds(left, right),
            // The compiler lets an input that may be missing be used only where it is there.
            (None, _) | (_, None) => false,
        }
    }
}

impl Order {
    /// Whether two numbers stand so.
    #[must_use]
    pub const fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Number {
    /// The number; none where an input is missing.
    #[must_use]
    pub fn value(&self, facts: &Facts<'_>) -> Option<i64> {
        match self {
            Self::Literal(number) => Some(*number),
            Self::Input(input) => facts.number(*input),
            Self::Clock(part, zone) => Some(facts.clock(*part, zone)),
            Self::Used(window) => Some(facts.used(window)),
            Self::Sum(both) => Some(both.0.value(facts)?.saturating_add(both.1.value(facts)?)),
            Self::Difference(both) => Some(both.0.value(facts)?.saturating_sub(both.1.value(facts)?)),
            Self::Product(number, by) => Some(number.value(facts)?.saturating_mul(*by)),
            Self::Quotient(number, by) => number.value(facts)?.checked_div(*by),
        }
    }
}

impl Number {
    fn windows<'a>(&'a self, found: &mut Vec<&'a Arc<Window>>) {
        match self {
            Self::Literal(_) | Self::Input(_) | Self::Clock(..) => {}
            Self::Used(window) => found.push(window),
            Self::Sum(both) | Self::Difference(both) => {
                both.0.windows(found);
                both.1.windows(found);
            }
            Self::Product(number, _) | Self::Quotient(number, _) => number.windows(found),
        }
    }
}

impl Word {
    /// The word; none where it is unknown.
    #[must_use]
    pub fn value<'a>(&self, facts: &'a Facts<'_>) -> Option<&'a str> {
        match self {
            Self::Input(input) => facts.word(*input),
            Self::Weekday(zone) => Some(facts.weekday(zone)),
        }
    }
}

impl Words {
    /// Words that are written in a condition.
    #[must_use]
    pub fn these(mut words: Vec<Box<str>>) -> Self {
        words.sort_unstable();
        words.dedup();
        Self::These(words.into())
    }

    fn contain(&self, word: &str) -> bool {
        match self {
            Self::These(words) => match &**words {
                [one] => **one == *word,
                more => more.binary_search_by(|known| (**known).cmp(word)).is_ok(),
            },
            Self::Named(list) => list.contains(word),
        }
    }
}
