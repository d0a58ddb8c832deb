//! Taking a mapping apart: each known key once, every unknown or repeated one a mistake with the nearest name.

use super::{
    mistake::{Findings, Located, Severity},
    node::{Key, Node, Value, shortened},
};
use crate::policy::nearest::nearest;

/// A value with the path that leads to it.
#[derive(Clone, Copy)]
pub(in crate::config) struct At<'a> {
    pub(in crate::config) node: &'a Node,
    pub(in crate::config) path: &'a str,
}

impl At<'_> {
    /// `value`, at this place.
    pub(in crate::config) fn located<T>(&self, value: T) -> Located<T> {
        Located { value, place: self.node.place, path: self.path.to_owned() }
    }

    /// Notes that the value cannot be used.
    pub(in crate::config) fn refuse(
        &self,
        findings: &mut Findings,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) {
        findings.note(Severity::Error, self.node.place, self.path, found, advice);
    }
}

/// Reads a value, or notes what is wrong with it.
pub(in crate::config) type Read<T> = fn(At<'_>, &mut Findings) -> Option<T>;

/// The entries of one mapping.
pub(in crate::config) struct Fields<'a> {
    entries: &'a [(Key, Node)],
    path: &'a str,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Opens a mapping. An empty one may be written as nothing at all.
    pub(in crate::config) fn open(at: At<'a>, findings: &mut Findings) -> Option<Self> {
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
    pub(in crate::config) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.name == name)
    }

    /// Whether the mapping says nothing.
    pub(in crate::config) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value under `name`. A key with nothing behind it is a mistake: it looks like a rule and is none.
    pub(in crate::config) fn read<T>(
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
    pub(in crate::config) fn read_mapping<T>(
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
    pub(in crate::config) fn each(self) -> impl Iterator<Item = (&'a Key, String, &'a Node)> {
        let path = self.path;
        self.entries.iter().map(move |(key, node)| (key, joined(path, &key.name), node))
    }

    /// Notes every key that nobody asked for. Says whether there is none.
    pub(in crate::config) fn finish(self, findings: &mut Findings) -> bool {
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

/// A text.
pub(in crate::config) fn text<'a>(at: At<'a>, findings: &mut Findings, expected: &str) -> Option<&'a str> {
    if let Value::Text(text) = &at.node.value {
        return Some(text);
    }
    at.refuse(findings, format!("expected a text, found {}", at.node.found()), format!("write {expected}"));
    None
}

/// Notes a name that means nothing. The nearest one is looked for only where somebody will read it: in a large broken
/// file that would take seconds.
pub(in crate::config) fn refuse_name<N: AsRef<str>>(
    at: At<'_>,
    findings: &mut Findings,
    kind: &str,
    nearest: impl FnOnce() -> Option<N>,
    advice: &str,
) {
    if findings.are_full() {
        return;
    }
    let found = format!("unknown {kind} {}", at.node.found());
    match nearest() {
        Some(name) => at.refuse(findings, found, format!("did you mean `{}`?", name.as_ref())),
        None => at.refuse(findings, found, advice),
    }
}

/// The items of a list; none for each that is a mistake.
pub(in crate::config) fn items<T>(
    at: At<'_>,
    findings: &mut Findings,
    item: Read<T>,
) -> Option<Vec<Option<Located<T>>>> {
    let Value::List(nodes) = &at.node.value else {
        let found = format!("expected a list, found {}", at.node.found());
        at.refuse(findings, found, "put it into brackets: `[a, b]`");
        return None;
    };
    let items = nodes.iter().enumerate().map(|(index, node)| {
        let path = format!("{}[{index}]", at.path);
        let at = At { node, path: &path };
        item(at, findings).map(|value| at.located(value))
    });
    Some(items.collect())
}

/// `parent.key`.
pub(in crate::config) fn joined(path: &str, key: &str) -> String {
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
