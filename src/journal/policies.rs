//! The chain of policies: each policy that a node put in force, whole, before the first decision under it. A decision names
//! its policy by version; with this chain it can be made again.

use std::{sync::Arc, time::Duration};

use super::{
    Append, Entry, EntryId, Head, Journal, Outcome, Reach, Row, Unavailable,
    record::{self, Unreadable},
};
use crate::{
    clock,
    domain::{Account, Event, Policy, PolicyRecord, Timestamp},
};

/// How often the end of the chain may be lost to other nodes: all of them start a policy at the same time.
const ROUNDS_MAX: usize = 64;

/// The pause before an append of unknown outcome is repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// A policy could not be recorded, and so must not be in force.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// The journal cannot be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The chain of policies cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The journal takes no entries.
    #[error("the journal does not take the policy: check its storage")]
    Refused,
    /// Other nodes recorded policies all the time.
    #[error("the chain of policies was extended by other nodes {ROUNDS_MAX} times in a row")]
    Contended,
}

/// Records policies for one node.
pub struct Policies {
    journal: Arc<dyn Journal>,
    node: Arc<str>,
}

impl Policies {
    /// Records what the node of this name puts in force.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, node: &str) -> Self {
        Self { journal, node: node.into() }
    }

    /// Makes it durable that this node puts `policy`, read from `origin`, in force at `at`. Writes nothing if it is what the
    /// node put in force last.
    ///
    /// # Errors
    /// [`NotRecorded`]: the policy must not decide yet.
    pub async fn put_in_force(
        &self,
        policy: &Policy,
        origin: &str,
        at: Timestamp,
    ) -> Result<(), NotRecorded> {
        for _ in 0..ROUNDS_MAX {
            let entries = self.journal.load(&Account::policies(), Reach::Genesis).await?;
            let known = records(&entries)?;
            let last = known.iter().rev().find(|record| record.node == self.node);
            if last.is_some_and(|last| last.version == *policy.version()) {
                return Ok(());
            }
            let is_text_known =
                known.iter().any(|record| record.version == *policy.version() && record.text.is_some());
            let record = PolicyRecord {
                version: policy.version().clone(),
                at,
                node: Arc::clone(&self.node),
                origin: origin.into(),
                text: (!is_text_known).then(|| policy.text().into()),
            };
            let head = entries.last().map_or_else(Head::default, |last| Head { seq: last.seq, id: last.id });
            match self.append(head, record).await {
                Outcome::Durable { .. } => return Ok(()),
                // Whatever came between is read again; should it be this very record, that shows there.
                Outcome::Conflict | Outcome::Unknown => {}
                Outcome::Rejected | Outcome::Expired => return Err(NotRecorded::Refused),
            }
        }
        Err(NotRecorded::Contended)
    }

    /// Appends one record, and repeats it until its outcome is known.
    async fn append(&self, head: Head, record: PolicyRecord) -> Outcome {
        let row = Row {
            account: Account::policies(),
            head,
            is_snapshot: false,
            mentions: Vec::new(),
            body: record::encode([&Event::Policy(Box::new(record))]),
        };
        let append: Arc<[Append]> = Arc::from([Append::one(EntryId::new(fastrand::u64(1..)), row)]);
        loop {
            match self.journal.append(Arc::clone(&append)).await.first() {
                None | Some(Outcome::Unknown) => clock::sleep(PAUSE).await,
                Some(outcome) => return *outcome,
            }
        }
    }
}

/// The records in the entries of the chain, oldest first.
fn records(entries: &[Entry]) -> Result<Vec<PolicyRecord>, Unreadable> {
    let mut records = Vec::new();
    for entry in entries {
        for event in record::decode(&entry.body)? {
            if let Event::Policy(record) = event {
                records.push(*record);
            }
        }
    }
    Ok(records)
}
