//! Taking a mapping apart: each known key once, every unknown or repeated one a mistake with the nearest name.

use super::{
    mistake::{Findings, Located, Severity},
    node::{Key, Node, Value, shortened},
};
use crate::policy::nearest::nearest;

/// A value with the path that leads to it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    pub(super) path: &'a str,
}

impl At<'_> {
    /// `value`, at this place.
    pub(super) fn located<T>(&self, value: T) -> Located<T> {
        Located { value, place: self.node.place, path: self.path.to_owned() }
    }

    /// Notes that the value cannot be used.
    pub(super) fn refuse(
        &self,
        findings: &mut Findings,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) {
        findings.note(Severity::Error, self.node.place, self.path, found, advice);
    }
}

/// Reads a value, or notes what is wrong with it.
pub(super) type Read<T> = fn(At<'_>, &mut Findings) -> Option<T>;

/// The entries of one mapping.
pub(super) struct Fields<'a> {
    entries: &'a [(Key, Node)],
    path: &'a str,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Opens a mapping. An empty one may be written as nothing at all.
    pub(super) fn open(at: At<'a>, findings: &mut Findings) -> Option<Self> {
        let entries: &[(Key, Node)] = match &at.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Switch(_) | Value::Number(_) | Value::OtherNumber | Value::Text(_) | Value::List(_) => {
                at.refuse(
                    findings,
                    format!("expected a mapping, found {}", at.node.found()),
                    "write `key: value` pairs",
                );
                return None;
            }
        };
        refuse_repeated(entries, at.path, findings);
        Some(Self { entries, path: at.path, asked: Vec::new() })
    }

    /// Whether the mapping has such a key, with a usable value or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.name == name)
    }

    /// Whether the mapping says nothing.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value under `name`. A key with nothing behind it is a mistake: it looks like a rule and is none.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        findings: &mut Findings,
        read: Read<T>,
    ) -> Option<T> {
        let (key, node) = self.take(name)?;
        let path = joined(self.path, name);
        if matches!(node.value, Value::Null) {
            let advice = "give it a value, or remove the key";
            findings.note(Severity::Error, key.place, &path, format!("`{name}` has no value"), advice);
            return None;
        }
        read(At { node, path: &path }, findings)
    }

    /// The value under `name`, which may be empty.
    pub(super) fn read_mapping<T>(
        &mut self,
        name: &'static str,
        findings: &mut Findings,
        read: Read<T>,
    ) -> Option<T> {
        let (_, node) = self.take(name)?;
        let path = joined(self.path, name);
        read(At { node, path: &path }, findings)
    }

    /// Every entry of a mapping whose keys are names of the user's: key, its path, value.
    pub(super) fn each(self) -> impl Iterator<Item = (&'a Key, String, &'a Node)> {
        let path = self.path;
        self.entries.iter().map(move |(key, node)| (key, joined(path, &key.name), node))
    }

    /// Notes every key that nobody asked for. Says whether there is none.
    pub(super) fn finish(self, findings: &mut Findings) -> bool {
        let mut all_known = true;
        for (key, _) in self.entries.iter().filter(|(key, _)| !self.asked.contains(&key.name.as_str())) {
            all_known = false;
            if findings.are_full() {
                break;
            }
            let advice = match nearest(&key.name, self.asked.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the keys here are {}", self.asked.join(", ")),
            };
            let found = format!("unknown key `{}`", shortened(&key.name));
            findings.note(Severity::Error, key.place, &joined(self.path, &key.name), found, advice);
        }
        all_known
    }

    fn take(&mut self, name: &'static str) -> Option<(&'a Key, &'a Node)> {
        self.asked.push(name);
        self.entries.iter().find(|(key, _)| key.name == name).map(|(key, node)| (key, node))
    }
}

/// `parent.key`.
pub(super) fn joined(path: &str, key: &str) -> String {
    let key = shortened(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn refuse_repeated(entries: &[(Key, Node)], path: &str, findings: &mut Findings) {
    let mut seen = std::collections::HashMap::new();
    for (key, _) in entries {
        if let Some(first) = seen.insert(key.name.as_str(), key.place.line) {
            let found = format!("`{}` stands here a second time", shortened(&key.name));
            let advice = format!("remove it, or the one in line {first}");
            findings.note(Severity::Error, key.place, &joined(path, &key.name), found, advice);
        }
    }
}
