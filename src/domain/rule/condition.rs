//! A compiled condition: typed, so that evaluating it cannot fail and allocates nothing. Compiling text is elsewhere.

use std::sync::Arc;

use super::{
    facts::Facts,
    input::{ClockPart, Flag, MetadataKey, NumberInput, Reads, WordInput},
    list::List,
};
use crate::domain::policy::{Feature, Interval, Window, Zone};

/// Something that holds or does not.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    /// `true` or `false`.
    Always(bool),
    /// A flag of the request.
    Flag(Flag),
    /// The input has a value.
    Has(Reads),
    /// The word is known.
    Known(Word),
    /// The number is known.
    Measured(Number),
    /// None of the card's approved purchases was at a merchant with the same value, which is known.
    IsFirst(Feature, Arc<Window>),
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
    /// Seconds since the card's latest request, or its latest approved one; more than any number without one.
    SinceLast(Last),
    /// What the tightest amount limit of this interval leaves; more than any amount without one.
    Remaining(Interval),
    /// Of the budget of this name that the request charges.
    Budget(Arc<str>, Share),
    /// What the card's approved authorizations of a window came to on average, of how many there were and their sum; unknown
    /// while there are few.
    Average(Arc<Window>, Arc<Window>),
    /// `+`
    Sum(Box<(Self, Self)>),
    /// `-`
    Difference(Box<(Self, Self)>),
    /// `*`, by a literal.
    Product(Box<Self>, i64),
    /// `/`, by a literal that is not zero; what is left over is dropped.
    Quotient(Box<Self>, i64),
}

/// What of a budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// What its tightest amount limit leaves, or its balance; more than any amount without either.
    Remaining,
    /// How much of its limits and of its balance is used, in whole percent: of all of them the largest.
    Used,
}

impl Share {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Remaining, Self::Used];

    /// The name of the field in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remaining => "remaining",
            Self::Used => "used_share",
        }
    }
}

/// Which of a card's requests the latest is looked for among.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// All.
    Attempt,
    /// The approved ones.
    Approval,
}

impl Last {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Approval, Self::Attempt];

    /// The word in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Approval => "approval",
        }
    }
}

/// A word, which may be unknown.
#[derive(Clone, PartialEq, Debug)]
pub enum Word {
    /// Of the request.
    Input(WordInput),
    /// The day of the week there.
    Weekday(Zone),
    /// An entry of the metadata of card or cardholder.
    Metadata(MetadataKey),
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
            Self::Known(word) => word.value(facts).is_some(),
            Self::Measured(number) => number.value(facts).is_some(),
            Self::IsFirst(feature, window) => facts.is_first(*feature, window),
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

/// What a condition looks at beyond the request itself.
#[derive(Default)]
pub(super) struct Needs<'a> {
    /// The windows that a card has to keep.
    pub(super) windows: Vec<&'a Arc<Window>>,
    /// The entries of metadata that have to be read.
    pub(super) metadata: Vec<&'a MetadataKey>,
    /// Whether it looks at what the ledger knows.
    pub(super) ledger: bool,
    /// The inputs that it looks at, with those that may be missing.
    pub(super) inputs: Vec<Reads>,
}

impl Condition {
    /// Gathers what it looks at.
    pub(super) fn needs<'a>(&'a self, found: &mut Needs<'a>) {
        match self {
            Self::Always(_) => {}
            Self::Flag(flag) => found.inputs.push(Reads::Flag(*flag)),
            Self::Has(input) => found.inputs.push(*input),
            Self::Known(word) | Self::Is(word, _) | Self::Contains(word, _) | Self::StartsWith(word, _) => {
                word.needs(found);
            }
            Self::Same(left, right) => {
                left.needs(found);
                right.needs(found);
            }
            Self::Measured(number) => number.needs(found),
            Self::IsFirst(_, window) => {
                found.windows.push(window);
                found.ledger = true;
            }
            Self::Not(inner) => inner.needs(found),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.needs(found)),
            Self::Compare(comparison) => {
                comparison.left.needs(found);
                comparison.right.needs(found);
            }
            Self::OneOf(of, _) => of.0.needs(found),
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
            Self::SinceLast(last) => Some(facts.since_last(*last)),
            Self::Remaining(interval) => Some(facts.remaining(*interval)),
            Self::Budget(name, share) => Some(facts.of_budget(name, *share)),
            Self::Average(count, sum) => facts.average(count, sum),
            Self::Sum(both) => Some(both.0.value(facts)?.saturating_add(both.1.value(facts)?)),
            Self::Difference(both) => Some(both.0.value(facts)?.saturating_sub(both.1.value(facts)?)),
            Self::Product(number, by) => Some(number.value(facts)?.saturating_mul(*by)),
            Self::Quotient(number, by) => number.value(facts)?.checked_div(*by),
        }
    }
}

impl Number {
    fn needs<'a>(&'a self, found: &mut Needs<'a>) {
        match self {
            Self::Literal(_) | Self::Clock(..) => {}
            Self::Input(input) => found.inputs.push(Reads::Number(*input)),
            Self::Used(window) => {
                found.windows.push(window);
                found.ledger = true;
            }
            Self::Average(count, sum) => {
                found.windows.extend([count, sum]);
                found.ledger = true;
            }
            Self::SinceLast(_) | Self::Remaining(_) | Self::Budget(..) => found.ledger = true,
            Self::Sum(both) | Self::Difference(both) => {
                both.0.needs(found);
                both.1.needs(found);
            }
            Self::Product(number, _) | Self::Quotient(number, _) => number.needs(found),
        }
    }
}

impl Word {
    fn needs<'a>(&'a self, found: &mut Needs<'a>) {
        match self {
            Self::Input(input) => found.inputs.push(Reads::Word(*input)),
            Self::Weekday(_) => {}
            Self::Metadata(key) => found.metadata.push(key),
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
            Self::Metadata(key) => facts.metadata(key),
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
