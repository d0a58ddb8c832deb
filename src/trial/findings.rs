//! What the journal has of a candidate: who tries it, since when, and what all nodes have found. Reading and writing it are
//! elsewhere.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::Report;
use crate::{
    domain::{Event, PolicyEvent, ShadowFound, ShadowRecord, Timestamp},
    journal::Entry,
    ledger::{self, NotFolded},
};

/// What was found of a candidate, or a part of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    /// What would change.
    pub report: Report,
    /// Appends that were not compared, since the queue was full.
    pub dropped: u64,
    /// Accounts that began again with the state that they have, as after a restart: from there on the candidate decides what it
    /// would have decided on that state.
    pub restarted: u64,
}

/// The chain of candidates, as far as it matters now.
#[derive(Clone, Debug, Default)]
pub struct ShadowView {
    /// The last thing that an operator or a setting did.
    pub record: Option<ShadowRecord>,
    /// What all nodes have found of that candidate.
    pub findings: Option<Findings>,
    /// The nodes that have found something since the last summary, and when each recorded last.
    pub nodes: BTreeMap<Arc<str>, Timestamp>,
}

impl Findings {
    pub(super) fn new(candidate: &str) -> Self {
        Self { report: Report::new(candidate), dropped: 0, restarted: 0 }
    }

    pub(super) fn add(&mut self, part: &Self) {
        self.report.add(&part.report);
        self.dropped = self.dropped.saturating_add(part.dropped);
        self.restarted = self.restarted.saturating_add(part.restarted);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.report.is_empty() && self.dropped == 0
    }
}

impl ShadowView {
    /// The chain from its last summary on, or as a whole. A summary is an entry that says once more what is tried, and then all
    /// that was found.
    ///
    /// # Errors
    /// An entry cannot be read.
    pub fn of(entries: &[Entry]) -> Result<Self, NotFolded> {
        let mut view = Self::default();
        for entry in entries {
            for event in ledger::read(entry)? {
                if let Event::Policy(event) = event {
                    match *event {
                        PolicyEvent::Shadow(record) => view.set(record),
                        PolicyEvent::Found(found) => view.add(&found),
                        PolicyEvent::InForce(_) => {}
                    }
                }
            }
        }
        Ok(view)
    }

    pub(super) fn set(&mut self, record: ShadowRecord) {
        // What was found of the candidate before stays until there is another one.
        if record.candidate.is_some() {
            (self.findings, self.nodes) = (None, BTreeMap::new());
        }
        self.record = Some(record);
    }

    pub(super) fn add(&mut self, found: &ShadowFound) {
        let candidate = self.record.as_ref().and_then(|record| record.candidate.as_ref());
        // Of a candidate that was replaced meanwhile.
        if candidate.is_none_or(|candidate| candidate.version != found.candidate) {
            return;
        }
        let Ok(part) = serde_json::from_str::<Findings>(&found.findings) else {
            tracing::warn!(
                node = &*found.node,
                "what a node found of the candidate cannot be read, and is left out"
            );
            return;
        };
        self.nodes.insert(Arc::clone(&found.node), found.at);
        self.findings.get_or_insert_with(|| Findings::new(found.candidate.as_str())).add(&part);
    }

    /// What was found, for people.
    #[must_use]
    pub fn settled(mut self) -> Self {
        if let Some(findings) = &mut self.findings {
            findings.report.settle();
        }
        self
    }
}
