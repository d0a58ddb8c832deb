//! Named lists of a policy, for rules to look into. What an entry has to be follows from what is looked for in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    fields::{At, Fields, items},
    mistake::{Findings, Located, Severity},
    node::Value,
};
use crate::{
    domain::rule::{Kind, List},
    policy::rules::{ListUse, check_entry},
};

/// More entries than this in one list would take more memory than a node should give to it.
pub(super) const ENTRIES_MAX: usize = 100_000;

/// A list as it is written.
#[derive(Debug)]
pub(super) struct NamedList {
    name: Located<String>,
    entries: Vec<Located<String>>,
}

pub(super) fn lists(at: At<'_>, findings: &mut Findings) -> Option<Vec<NamedList>> {
    let entries = Fields::open(at, findings)?.each();
    let lists = entries.map(|(key, path, node)| {
        let name = Located { value: key.name.clone(), place: key.place, path: path.clone() };
        // A list with a mistake is a list all the same, so that rules find it.
        let entries = items(At { node, path: &path }, findings, entry).unwrap_or_default();
        if entries.len() > ENTRIES_MAX {
            let found = format!("a list of {} entries", entries.len());
            findings.at(Severity::Error, &name, found, format!("{ENTRIES_MAX} are the most"));
        }
        NamedList { name, entries: entries.into_iter().flatten().collect() }
    });
    Some(lists.collect())
}

fn entry(at: At<'_>, findings: &mut Findings) -> Option<String> {
    match &at.node.value {
        Value::Text(text) if !text.is_empty() => Some(text.clone()),
        Value::Null
        | Value::Switch(_)
        | Value::Number(_)
        | Value::OtherNumber
        | Value::Text(_)
        | Value::List(_)
        | Value::Map(_) => {
            let found = format!("expected a text, found {}", at.node.found());
            at.refuse(findings, found, "put the entry in quotes, so that every character counts");
            None
        }
    }
}

/// The lists of a policy, and what rules look for in them.
#[derive(Debug, Default)]
pub(super) struct ListsInUse {
    written: Vec<NamedList>,
    pub(super) by_name: BTreeMap<Arc<str>, Arc<List>>,
    uses: Vec<ListUse>,
}

impl ListsInUse {
    pub(super) fn new(written: Vec<NamedList>) -> Self {
        let by_name = written.iter().map(|list| {
            let entries = list.entries.iter().map(|entry| entry.value.as_str().into());
            (Arc::from(list.name.value.as_str()), Arc::new(List::new(&list.name.value, entries)))
        });
        Self { by_name: by_name.collect(), written, uses: Vec::new() }
    }

    pub(super) fn used(&mut self, uses: Vec<ListUse>) {
        for one in uses {
            if !self.uses.contains(&one) {
                self.uses.push(one);
            }
        }
    }

    /// Holds every entry against what rules look for in its list.
    pub(super) fn check(self, findings: &mut Findings) {
        for list in &self.written {
            let kinds: Vec<Kind> =
                self.uses.iter().filter(|one| *one.list == *list.name.value).map(|one| one.kind).collect();
            if kinds.is_empty() {
                let advice = "use it in a rule, such as `merchant.id in list(\"…\")`, or remove it";
                findings.at(Severity::Warning, &list.name, "no rule looks into this list", advice);
            }
            let mut seen = BTreeSet::new();
            for entry in &list.entries {
                if findings.are_full() {
                    return;
                }
                for kind in &kinds {
                    if let Err((found, advice)) = check_entry(*kind, &entry.value) {
                        findings.at(Severity::Error, entry, found, advice);
                    }
                }
                if !seen.insert(entry.value.as_str()) {
                    let found = format!("{:?} is in the list twice", entry.value);
                    findings.at(Severity::Warning, entry, found, "remove it");
                }
            }
        }
    }
}
