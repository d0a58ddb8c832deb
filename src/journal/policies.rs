//! The chain of policies: each policy that a node put in force, whole, before the first decision under it, and what operators
//! did with policies. A decision names its policy by version; with this chain it can be made again. Nodes without a policy of
//! their own follow the newest one here.

use std::{sync::Arc, time::Duration};

use super::{
    Append, Entry, EntryId, Head, Journal, Outcome, Reach, Row, Unavailable,
    record::{self, Unreadable},
};
use crate::{
    clock,
    domain::{
        Account, Attribution, Event, Policy, PolicyEvent, PolicyRecord, PolicyStep, PolicyVersion, Timestamp,
    },
};

/// How often the end of the chain may be lost to other nodes: all of them start a policy at the same time.
const ROUNDS_MAX: usize = 64;

/// The pause before an append of unknown outcome is repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// The origin of a policy that came over the admin API.
const API: &str = "admin API";

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
    /// The newest policy is another one than the operator changes.
    #[error("expected to replace policy {expected}, found {found}: someone else has changed it", expected = expected.as_str(), found = found.as_str())]
    Replaced {
        /// What the operator changes.
        expected: PolicyVersion,
        /// The newest one.
        found: PolicyVersion,
    },
}

/// What an operator does with a policy.
pub struct PolicyChange<'a> {
    /// The new policy.
    pub policy: &'a Policy,
    /// Who, and why.
    pub attribution: Attribution,
    /// The version that it replaces, if the operator says so.
    pub replaces: Option<PolicyVersion>,
    /// Whether a second operator has to approve it.
    pub needs_approval: bool,
    /// The version in force on the node.
    pub in_force: PolicyVersion,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyChanged {
    /// It is the newest policy already.
    Unchanged,
    /// It waits for a second operator.
    Proposed,
    /// It is the newest policy.
    Newest,
}

/// Records policies for one node.
#[derive(Clone)]
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

    /// All records, oldest first.
    ///
    /// # Errors
    /// The chain cannot be read.
    pub async fn all(&self) -> Result<Vec<PolicyRecord>, NotRecorded> {
        Ok(records(&self.journal.load(&Account::policies(), Reach::Genesis).await?)?)
    }

    /// How many entries the chain has.
    ///
    /// # Errors
    /// The chain cannot be read.
    pub async fn length(&self) -> Result<u64, NotRecorded> {
        let last = self.journal.load(&Account::policies(), Reach::Last(1)).await?;
        Ok(last.last().map_or(0, |last| last.seq))
    }

    /// Makes it durable that this node puts `policy`, read from `origin`, in force at `at`: as its own, or because it is the
    /// newest one in the journal. Writes nothing if it is what the node put in force last.
    ///
    /// # Errors
    /// [`NotRecorded`]: the policy must not decide yet.
    pub async fn put_in_force(
        &self,
        policy: &Policy,
        origin: &str,
        step: &PolicyStep,
        at: Timestamp,
    ) -> Result<(), NotRecorded> {
        let record = |known: &[PolicyRecord]| {
            let by_nodes = known.iter().rev().filter(|record| record.step.attribution().is_none());
            let last = { by_nodes }.find(|record| record.node == self.node);
            let is_last = last.is_some_and(|last| last.version == *policy.version() && last.step == *step);
            Ok(((!is_last).then(|| step.clone()), ()))
        };
        self.extend(policy, origin, at, record).await
    }

    /// Records what an operator does with a policy.
    ///
    /// # Errors
    /// [`NotRecorded`]: nothing has changed.
    pub async fn change(
        &self,
        change: &PolicyChange<'_>,
        at: Timestamp,
    ) -> Result<PolicyChanged, NotRecorded> {
        let PolicyChange { policy, attribution, replaces, needs_approval, in_force } = change;
        let record = |known: &[PolicyRecord]| {
            let newest = PolicyRecord::newest(known).map_or(in_force, |newest| &newest.version);
            if newest == policy.version() && PolicyRecord::newest(known).is_some() {
                return Ok((None, PolicyChanged::Unchanged));
            }
            if let Some(expected) = replaces.as_ref().filter(|expected| *expected != newest) {
                return Err(NotRecorded::Replaced { expected: expected.clone(), found: newest.clone() });
            }
            if !needs_approval {
                return Ok((Some(PolicyStep::Put(attribution.clone())), PolicyChanged::Newest));
            }
            Ok(match PolicyRecord::proposal(known, policy.version()) {
                None => (Some(PolicyStep::Proposed(attribution.clone())), PolicyChanged::Proposed),
                Some(proposal) if proposal.by == attribution.by => (None, PolicyChanged::Proposed),
                Some(_) => (Some(PolicyStep::Approved(attribution.clone())), PolicyChanged::Newest),
            })
        };
        self.extend(policy, API, at, record).await
    }

    /// Appends the step that follows from all records, if any, behind the last one that it follows from.
    async fn extend<T>(
        &self,
        policy: &Policy,
        origin: &str,
        at: Timestamp,
        next: impl Fn(&[PolicyRecord]) -> Result<(Option<PolicyStep>, T), NotRecorded>,
    ) -> Result<T, NotRecorded> {
        for _ in 0..ROUNDS_MAX {
            let entries = self.journal.load(&Account::policies(), Reach::Genesis).await?;
            let known = records(&entries)?;
            let (step, result) = next(&known)?;
            let Some(step) = step else { return Ok(result) };
            let is_text_known = PolicyRecord::text_of(&known, policy.version()).is_some();
            let record = PolicyRecord {
                version: policy.version().clone(),
                at,
                node: Arc::clone(&self.node),
                origin: origin.into(),
                text: (!is_text_known).then(|| policy.text().into()),
                step,
            };
            let head = entries.last().map_or_else(Head::default, |last| Head { seq: last.seq, id: last.id });
            match self.append(head, record).await {
                Outcome::Durable { .. } => return Ok(result),
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
            body: record::encode([&Event::Policy(Box::new(PolicyEvent::InForce(record)))]),
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
            if let Event::Policy(event) = event
                && let PolicyEvent::InForce(record) = *event
            {
                records.push(record);
            }
        }
    }
    Ok(records)
}
