//! The candidates of a node, as the rest of it sees them: what is tried now, what was found, and a way to change it. All of it
//! is in a chain of the journal, which every node of a cluster follows.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, Notify, oneshot, watch};

use super::{feed::Feed, findings::ShadowView, shadow::Worker};
use crate::{
    clock,
    domain::{Account, Attribution, Candidate, Event, Policy, PolicyEvent, ShadowRecord, rule::MetadataKeys},
    journal::{Append, Committer, Entry, EntryId, Head, Journal, Outcome, Reach, Row, Urgency, record},
    metrics::Metrics,
};

/// How often the end of the chain may be lost to other nodes.
const ROUNDS_MAX: usize = 64;
/// Entries behind one of unknown fate among which it is looked for.
const LOOKED_THROUGH: usize = 128;
/// The pause before an append is tried again for which there was no room.
const PAUSE: Duration = Duration::from_millis(200);

/// Reads the text of a policy: the policy, or what is wrong with it.
pub type ReadPolicy = fn(&str) -> Result<Policy, Vec<String>>;

/// What trials are built on.
pub struct Parts {
    /// Where entries are read.
    pub journal: Arc<dyn Journal>,
    /// Where entries are written.
    pub committer: Arc<Committer>,
    /// The name of this node.
    pub node: Arc<str>,
    /// Reads policies.
    pub read: ReadPolicy,
    /// Who is told.
    pub metrics: Arc<Metrics>,
    /// Appends that wait to be compared.
    pub queue_max: usize,
    /// Accounts in memory.
    pub accounts_max: usize,
}

/// A candidate could not be set.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// It is no policy.
    #[error("the policy has mistakes: {}", .0.join("; "))]
    NotAPolicy(Vec<String>),
    /// It is being tried already.
    #[error("policy {0} is the candidate already; end its trial first to begin again")]
    Already(String),
    /// None is tried.
    #[error("no candidate is being tried")]
    Nothing,
    /// The journal does not take it.
    #[error("the change could not be recorded: {0}")]
    NotRecorded(String),
}

/// The candidates of a node. Cheap to clone; the default has none, and never will.
#[derive(Clone, Default)]
pub struct Trials(Option<Arc<Inner>>);

pub(super) struct Inner {
    pub(super) parts: Parts,
    pub(super) feed: Arc<Feed>,
    pub(super) candidate: watch::Sender<Option<Arc<Policy>>>,
    /// The chain was changed here: it is looked at at once.
    pub(super) changed: Notify,
    /// One append to the chain at a time.
    writing: Mutex<()>,
}

impl Trials {
    /// The trials of a node, and what works for them: it has to be run.
    #[must_use]
    pub fn new(parts: Parts) -> (Self, Worker) {
        let (feed, queue) = Feed::new(parts.queue_max, parts.metrics.shadow.dropped.clone());
        let inner = Arc::new(Inner {
            parts,
            feed: Arc::new(feed),
            candidate: watch::Sender::new(None),
            changed: Notify::new(),
            writing: Mutex::new(()),
        });
        (Self(Some(Arc::clone(&inner))), Worker::new(inner, queue))
    }

    /// Where appends are given to, while something is tried.
    #[must_use]
    pub fn feed(&self) -> Option<Arc<Feed>> {
        self.0.as_ref().map(|inner| &inner.feed).filter(|feed| feed.is_on()).cloned()
    }

    /// The keys of metadata to be read from requests: those of the policy in force, and those of the candidate.
    #[must_use]
    pub fn metadata(&self, in_force: &MetadataKeys) -> MetadataKeys {
        let Some(inner) = &self.0 else { return in_force.clone() };
        match &*inner.candidate.borrow() {
            Some(candidate) if candidate.metadata().iter().next().is_some() => {
                MetadataKeys::of(in_force.iter().chain(candidate.metadata().iter()))
            }
            Some(_) | None => in_force.clone(),
        }
    }

    /// What is tried, and what all nodes have found.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn shadow(&self) -> Result<ShadowView, String> {
        match &self.0 {
            Some(inner) => Ok(inner.chain().await?.view.settled()),
            None => Ok(ShadowView::default()),
        }
    }

    /// Tries the policy of this text from now on, on every node, or none any more. Returns when that is durable.
    ///
    /// # Errors
    /// [`NotSet`].
    pub async fn set_shadow(&self, text: Option<&str>, attribution: Attribution) -> Result<(), NotSet> {
        let Some(inner) = &self.0 else { return Err(NotSet::Nothing) };
        let policy = text.map(inner.parts.read).transpose().map_err(NotSet::NotAPolicy)?;
        let candidate = policy
            .as_ref()
            .map(|policy| Candidate { version: policy.version().clone(), text: policy.text().into() });
        let record = ShadowRecord { candidate, at: clock::now(), attribution };
        let is_new = |chain: &Chain| {
            let known = chain.candidate();
            match (known, &record.candidate) {
                (None, None) => Err(NotSet::Nothing),
                (Some(known), Some(candidate)) if known.version == candidate.version => {
                    Err(NotSet::Already(known.version.as_str().to_owned()))
                }
                (None | Some(_), None | Some(_)) => Ok(()),
            }
        };
        inner
            .append(|chain| {
                is_new(chain)?;
                Ok(Some((vec![PolicyEvent::Shadow(record.clone())], false)))
            })
            .await?;
        inner.changed.notify_one();
        Ok(())
    }

    /// Returns when all that was appended is compared and recorded.
    pub async fn finish(&self) {
        if let Some(inner) = &self.0 {
            inner.feed.finish().await;
        }
    }
}

/// The chain as it was read.
pub(super) struct Chain {
    head: Head,
    /// Since the last summary.
    pub(super) entries: usize,
    pub(super) view: ShadowView,
}

impl Chain {
    pub(super) fn candidate(&self) -> Option<&Candidate> {
        self.view.record.as_ref()?.candidate.as_ref()
    }
}

impl Inner {
    /// Reads the chain.
    pub(super) async fn chain(&self) -> Result<Chain, String> {
        let entries = self.parts.journal.load(&Account::shadow(), Reach::Snapshot).await;
        let entries = entries.map_err(|cause| cause.to_string())?;
        let head = entries.last().map_or_else(Head::default, |last| Head { seq: last.seq, id: last.id });
        let view = ShadowView::of(&entries).map_err(|cause| cause.to_string())?;
        Ok(Chain { head, entries: entries.len(), view })
    }

    /// Appends what `make` says of the chain as it is, and whether it is a summary; nothing if it says nothing. Never before
    /// what a caller waits for: it fills what is left of a batch.
    pub(super) async fn append(
        &self,
        make: impl Fn(&Chain) -> Result<Option<(Vec<PolicyEvent>, bool)>, NotSet>,
    ) -> Result<(), NotSet> {
        let _alone = self.writing.lock().await;
        for _ in 0..ROUNDS_MAX {
            let chain = self.chain().await.map_err(NotSet::NotRecorded)?;
            let Some((events, is_snapshot)) = make(&chain)? else { return Ok(()) };
            let events: Vec<Event> = events.into_iter().map(|event| Event::Policy(Box::new(event))).collect();
            let row = Row {
                account: Account::shadow(),
                head: chain.head,
                is_snapshot,
                mentions: Vec::new(),
                body: record::encode(&events),
            };
            let id = EntryId::new(fastrand::u64(1..));
            let (done, outcome) = oneshot::channel();
            let told = Box::new(move |outcome| {
                // The caller may have stopped waiting.
                let _ = done.send(outcome);
            });
            self.parts.committer.submit(Append::one(id, row), Urgency::Later, told);
            match outcome.await {
                Ok(Outcome::Durable { .. }) => return Ok(()),
                Ok(Outcome::Conflict | Outcome::Unknown) => {
                    // It may be there after all.
                    let last = self.parts.journal.load(&Account::shadow(), Reach::Last(LOOKED_THROUGH)).await;
                    let last = last.map_err(|cause| NotSet::NotRecorded(cause.to_string()))?;
                    if last.iter().any(|entry: &Entry| entry.id == id) {
                        return Ok(());
                    }
                }
                Ok(Outcome::Expired) => clock::sleep(PAUSE).await,
                Ok(Outcome::Rejected) | Err(_) => {
                    return Err(NotSet::NotRecorded("the journal takes no entries".to_owned()));
                }
            }
        }
        Err(NotSet::NotRecorded(format!("other nodes extended the chain {ROUNDS_MAX} times in a row")))
    }
}
