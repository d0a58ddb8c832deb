//! YAML as a tree in which every value knows its place. What the values mean is not known here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DuplicateKeyPolicy, Location, MessageFormatter as _, Spanned, UserMessageFormatter, budget, options,
};

use super::mistake::{Mistake, Place, Severity};

/// A value and its place: for an alias, the place of what it stands for, since that is what needs to be changed.
#[derive(Debug)]
pub(in crate::config) struct Node {
    pub(in crate::config) place: Place,
    /// How a scalar is written in the file, with its quotes.
    pub(in crate::config) raw: String,
    pub(in crate::config) value: Value,
}

/// A value, by YAML's core schema.
#[derive(Debug)]
pub(in crate::config) enum Value {
    Null,
    Switch(bool),
    Number(i64),
    /// A fraction, or a number beyond 64 bits.
    OtherNumber,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The name of an entry, as it is written, and its place.
#[derive(Debug)]
pub(in crate::config) struct Key {
    pub(in crate::config) name: String,
    pub(in crate::config) place: Place,
}

impl Node {
    /// What was found, for a message.
    pub(in crate::config) fn found(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Switch(_) | Value::Number(_) | Value::OtherNumber => format!("`{}`", shortened(&self.raw)),
            Value::Text(text) => format!("`{}`", shortened(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// Whether a text is written without quotes.
    pub(in crate::config) fn is_bare(&self) -> bool {
        !self.raw.starts_with(['"', '\''])
    }
}

/// As much of a text as a message needs, in one line.
pub(in crate::config) fn shortened(text: &str) -> String {
    const LETTERS_MAX: usize = 60;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= LETTERS_MAX {
        return line;
    }
    line.chars().take(LETTERS_MAX).chain(['…']).collect()
}

/// A policy is five levels deep.
const DEPTH_MAX: usize = 32;

/// Reads one YAML document. Duplicate keys stay, so that they can be told with all other mistakes.
pub(in crate::config) fn parse(source: &str) -> Result<Node, Box<Mistake>> {
    // YAML 1.1 reads `NO` (Norway) as false, `0123` as 83 or 123 and `1_000` as 1000. All of these stay texts, so
    // that whoever expects a text gets what was written, and whoever expects a number can say what is wrong.
    let options = options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        budget: budget! { max_depth: DEPTH_MAX, flow_nesting_limit: DEPTH_MAX },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Loose>>(source, options) {
        Ok(root) => Ok(node(root, source)),
        Err(error) => Err(Box::new(broken(&error))),
    }
}

fn broken(error: &serde_saphyr::Error) -> Mistake {
    let place = error.location().map_or(Place::START, place);
    let text = UserMessageFormatter.format_message(error);
    let advice = "correct the YAML here; what follows was not read".to_owned();
    Mistake { severity: Severity::Error, place, path: String::new(), found: shortened(&text), advice }
}

fn place(location: Location) -> Place {
    let number = |number: u64| usize::try_from(number).unwrap_or(1).max(1);
    Place {
        line: number(location.line()),
        column: number(location.column()),
        width: number(location.span().len()),
    }
}

fn node(spanned: Spanned<Loose>, source: &str) -> Node {
    let value = match spanned.value {
        Loose::Null => Value::Null,
        Loose::Switch(value) => Value::Switch(value),
        Loose::Number(value) => Value::Number(value),
        Loose::OtherNumber => Value::OtherNumber,
        Loose::Text(text) => Value::Text(text),
        Loose::List(items) => Value::List(items.into_iter().map(|item| node(item, source)).collect()),
        Loose::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Key { name: key.value, place: place(key.defined) }, node(value, source)))
                .collect(),
        ),
    };
    let is_scalar = !matches!(value, Value::List(_) | Value::Map(_));
    let raw = if is_scalar { slice(spanned.defined, source).unwrap_or_default() } else { "" };
    Node { place: place(spanned.defined), raw: raw.to_owned(), value }
}

fn slice(location: Location, source: &str) -> Option<&str> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    source.get(start..start.checked_add(length)?)
}

/// What the deserializer gives, before places are worked out.
enum Loose {
    Null,
    Switch(bool),
    Number(i64),
    OtherNumber,
    Text(String),
    List(Vec<Spanned<Loose>>),
    Map(Vec<(Spanned<String>, Spanned<Loose>)>),
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }

    fn visit_none<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
        Ok(Loose::Switch(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Loose, E> {
        Ok(Loose::Number(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Loose, E> {
        Ok(i64::try_from(value).map_or(Loose::OtherNumber, Loose::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
        Ok(Loose::OtherNumber)
    }

    fn visit_str<E>(self, value: &str) -> Result<Loose, E> {
        Ok(Loose::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Loose::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Loose, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Loose::Map(map))
    }
}
