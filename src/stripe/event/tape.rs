//! A parsed body as a flat tape that is walked by hand: no copies, no recursion, whole subtrees skipped in one step.
//! What the fields mean is not here.

use simd_json::{Node, StaticNode};

use crate::domain::AMOUNT_MAX;

/// One value on the tape, or the lack of one: to a reader, missing is the same as null.
#[derive(Clone, Copy)]
pub(super) struct Value<'a>(&'a [Node<'a>]);

/// Takes the named fields of an object in one pass, each as a [`Value`].
macro_rules! fields {
    ($object:expr; $($key:literal => $name:ident),+ $(,)?) => {
        $(let mut $name = Value::MISSING;)+
        for (key, value) in $object.fields() {
            match key {
                $($key => $name = value,)+
                _ => {}
            }
        }
    };
}
pub(super) use fields;

/// Whether any object on the tape, however deep, names a field twice: two readers of the same bytes could then see two
/// different events.
pub(super) fn repeats_a_field(nodes: &[Node<'_>]) -> bool {
    nodes.iter().enumerate().any(|(place, node)| match node {
        Node::Object { len, .. } => Value(nodes.get(place..).unwrap_or_default()).repeats_a_field(*len),
        Node::Array { .. } | Node::String(_) | Node::Static(_) => false,
    })
}

impl<'a> Value<'a> {
    pub(super) const MISSING: Value<'static> = Value(&[]);

    /// The value that begins a tape.
    pub(super) fn root(nodes: &'a [Node<'a>]) -> Self {
        Self(nodes)
    }

    pub(super) fn is_missing(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_null(self) -> bool {
        matches!(self.0.first(), None | Some(Node::Static(StaticNode::Null)))
    }

    pub(super) fn is_object(self) -> bool {
        matches!(self.0.first(), Some(Node::Object { .. }))
    }

    pub(super) fn text(self) -> Option<&'a str> {
        match self.0.first() {
            Some(Node::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(self) -> Option<bool> {
        match self.0.first() {
            Some(Node::Static(StaticNode::Bool(flag))) => Some(*flag),
            _ => None,
        }
    }

    /// A number as far as amounts care. Some senders write whole numbers with a zero fraction.
    pub(super) fn number(self) -> Number {
        match self.0.first() {
            Some(Node::Static(StaticNode::I64(number))) => Number::of(*number),
            Some(Node::Static(StaticNode::U64(number))) => {
                i64::try_from(*number).map_or(Number::TooLarge, Number::of)
            }
            Some(Node::Static(StaticNode::F64(number))) => Number::of_float(*number),
            _ => Number::None,
        }
    }

    /// A whole number of at most [`AMOUNT_MAX`] in either direction.
    pub(super) fn whole(self) -> Option<i64> {
        match self.number() {
            Number::Whole(number) => Some(number),
            Number::TooLarge | Number::TooSmall | Number::None => None,
        }
    }

    /// A decimal number in hundredths, rounded; of at most [`AMOUNT_MAX`] in either direction.
    #[allow(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "bounded by AMOUNT_MAX, which is below 2^53"
    )]
    pub(super) fn hundredths(self) -> Option<i64> {
        let number = match self.0.first()? {
            Node::Static(StaticNode::F64(number)) => *number,
            Node::Static(StaticNode::I64(number)) => *number as f64,
            Node::Static(StaticNode::U64(number)) => *number as f64,
            Node::Static(StaticNode::Bool(_) | StaticNode::Null)
            | Node::String(_)
            | Node::Object { .. }
            | Node::Array { .. } => return None,
        };
        let hundredths = (number * 100.0).round();
        (hundredths.abs() <= AMOUNT_MAX as f64).then_some(hundredths as i64)
    }

    /// The elements of an array; none of anything else.
    pub(super) fn items(self) -> Items<'a> {
        match self.0 {
            [Node::Array { count, .. }, rest @ ..] => Items(rest.get(..*count).unwrap_or_default()),
            _ => Items(&[]),
        }
    }

    /// How many elements an array has.
    pub(super) fn length(self) -> u32 {
        match self.0.first() {
            Some(Node::Array { len, .. }) => u32::try_from(*len).unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    fn repeats_a_field(self, fields: usize) -> bool {
        let names = || self.fields().map(|(name, _)| name);
        if fields > SIEVED_FIELDS_MAX {
            let mut sorted: Vec<&str> = names().collect();
            sorted.sort_unstable();
            return sorted.windows(2).any(|pair| matches!(pair, [one, other] if one == other));
        }
        let mut sieve = [0_u64; 4];
        names().enumerate().any(|(place, name)| {
            let mixed = mixed(name);
            let Some(word) = sieve.get_mut(usize::from(mixed >> 6)) else { return false };
            let bit = 1_u64.rotate_left(u32::from(mixed));
            let is_new = *word & bit == 0;
            *word |= bit;
            !is_new && names().take(place).any(|before| before == name)
        })
    }

    /// The fields of an object in their order; none of anything else.
    pub(super) fn fields(self) -> Fields<'a> {
        match self.0 {
            [Node::Object { count, .. }, rest @ ..] => Fields(rest.get(..*count).unwrap_or_default()),
            _ => Fields(&[]),
        }
    }
}

/// A JSON number, read for an amount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Number {
    /// At most [`AMOUNT_MAX`] in either direction.
    Whole(i64),
    /// Above it.
    TooLarge,
    /// As far below zero.
    TooSmall,
    /// Not a number, or not a whole one.
    None,
}

impl Number {
    fn of(number: i64) -> Self {
        if number > AMOUNT_MAX {
            Self::TooLarge
        } else if number < -AMOUNT_MAX {
            Self::TooSmall
        } else {
            Self::Whole(number)
        }
    }

    #[allow(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "whole numbers up to AMOUNT_MAX are below 2^53 and convert exactly, both ways"
    )]
    fn of_float(number: f64) -> Self {
        const LARGEST: f64 = AMOUNT_MAX as f64;
        if number > LARGEST {
            Self::TooLarge
        } else if number < -LARGEST {
            Self::TooSmall
        } else if number.fract() == 0.0 {
            Self::Whole(number as i64)
        } else {
            Self::None
        }
    }
}

/// The elements of an array.
pub(super) struct Items<'a>(&'a [Node<'a>]);

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let (value, rest) = first_value(self.0)?;
        self.0 = rest;
        Some(value)
    }
}

/// The fields of an object.
pub(super) struct Fields<'a>(&'a [Node<'a>]);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (Node::String(key), rest) = self.0.split_first()? else { return None };
        let (value, rest) = first_value(rest)?;
        self.0 = rest;
        Some((key, value))
    }
}

/// An object with more fields than this is sorted to find one twice; Stripe's have some thirty.
const SIEVED_FIELDS_MAX: usize = 64;

/// One of 256 numbers for a name: most names are seen to be new without a look at those before.
fn mixed(name: &str) -> u8 {
    let bytes = name.as_bytes();
    let byte = |place: usize| bytes.get(place).copied().unwrap_or_default();
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    byte(0).rotate_left(3) ^ byte(usize::from(length / 2)) ^ length.rotate_left(5)
}

/// Splits off a value with everything in it: containers know how many nodes they span.
fn first_value<'a>(nodes: &'a [Node<'a>]) -> Option<(Value<'a>, &'a [Node<'a>])> {
    let span = match nodes.first()? {
        Node::Object { count, .. } | Node::Array { count, .. } => count.checked_add(1)?,
        Node::String(_) | Node::Static(_) => 1,
    };
    let (value, rest) = nodes.split_at_checked(span)?;
    Some((Value(value), rest))
}
