//! The embedded journal: one SQLite file that one process owns. Here is how its parts are joined; each part has a file.
//!
//! ```text
//! append ──▶ writer ──▶ tollgate.db        entries in lsn order, one commit a batch, synced
//!              │   └──▶ tollgate.db-mark   how far it went
//!              ▼
//!           recent ──▶ upkeep ──▶ tollgate.db-index   heads and mentions, lazily, may be deleted
//!              │                     │
//! load, find ◀─┴─────────────────────┘
//! ```

mod schema;
mod chain;
mod mark;
mod opening;
mod recent;
mod index;
mod heads;
mod draft;
mod writer;
mod upkeep;
mod reader;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Append, Entry, Fatal, Journal, LookBack, LookedBack, OpenError, Outcome, Pending, Reach, Scan,
    Unavailable, vitals::Vitals,
};
use crate::domain::{Account, Mention};
use {
    mark::Mark,
    reader::Readers,
    recent::Recent,
    writer::{Command, Work, Writer},
};

pub(super) use reader::SqliteFile;

/// Batches that wait for the writer. The committer has one or two on their way, so this is never full.
const BATCHES_WAITING_MAX: usize = 64;

/// A journal in a file of this machine, for one node.
///
/// Closing it is an affair of its threads: [`Journal::close`] waits for them, dropping it does not.
pub struct Sqlite {
    writer: mpsc::Sender<Command>,
    readers: Arc<Readers>,
    vitals: Arc<Vitals>,
}

/// What the threads of one journal have in common.
struct Shared {
    recent: Arc<Recent>,
    mark: Mark,
    vitals: Arc<Vitals>,
    /// The write-ahead log has grown; upkeep shall fold it.
    fold_wanted: AtomicBool,
    /// Upkeep has folded most of it; the writer shall fold the little rest, so that it starts over.
    fold_ready: AtomicBool,
}

impl Sqlite {
    /// Opens the journal in the file `path`, with at most `batch_max` entries in a commit. Blocks while it looks over
    /// what is not indexed yet: a second for some hundred thousand entries.
    ///
    /// # Errors
    /// [`OpenError`] says what was found, what was expected, and what to do.
    pub fn open(path: &Path, batch_max: usize, accept_journal_loss: bool) -> Result<Self, OpenError> {
        let opened = opening::open(path, accept_journal_loss)?;
        let vitals = Arc::new(Vitals::new());
        let shared = Arc::new(Shared {
            recent: Arc::default(),
            mark: opened.mark,
            vitals: Arc::clone(&vitals),
            fold_wanted: AtomicBool::new(false),
            fold_ready: AtomicBool::new(false),
        });
        let readers = Readers::new(path, Arc::clone(&shared.recent));
        let (upkeep, bell) = upkeep::start(path, opened.index, Arc::clone(&shared))?;
        let writer = Writer::new(path, opened.journal, opened.tip, batch_max.max(1), Arc::clone(&shared))?;
        let (sender, inbox) = mpsc::channel(BATCHES_WAITING_MAX);
        writer.start(path, inbox, upkeep, bell)?;
        Ok(Self { writer: sender, readers, vitals })
    }
}

impl Scan for Sqlite {
    fn scan(&self, after: u64, entries_max: usize) -> Pending<'_, Result<Vec<Entry>, Unavailable>> {
        Box::pin(self.readers.scan(after, entries_max))
    }
}

impl Journal for Sqlite {
    fn append(&self, batch: Arc<[Append]>) -> Pending<'_, Vec<Outcome>> {
        Box::pin(async move {
            let appends = batch.len();
            let (reply, outcomes) = oneshot::channel();
            if self.writer.send(Command::Append(Work { batch, reply })).await.is_err() {
                return vec![self.vitals.refusal(); appends];
            }
            // A writer that ended without a word may have written.
            outcomes.await.unwrap_or_else(|_| vec![Outcome::Unknown; appends])
        })
    }

    fn load<'a>(
        &'a self,
        account: &'a Account,
        reach: Reach,
    ) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        Box::pin(self.readers.load(account, reach))
    }

    fn find<'a>(&'a self, mention: &'a Mention) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        Box::pin(self.readers.find(mention))
    }

    fn look_back<'a>(&'a self, what: &'a LookBack) -> Pending<'a, Result<LookedBack, Unavailable>> {
        Box::pin(self.readers.look_back(what))
    }

    fn fatal(&self) -> Pending<'_, Fatal> {
        Box::pin(self.vitals.died())
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            self.readers.close().await;
            let (reply, closed) = oneshot::channel();
            if self.writer.send(Command::Close(reply)).await.is_ok() {
                // An error means that the thread has ended, which is what is waited for.
                let _ = closed.await;
            }
        })
    }
}

/// The file that goes with `path`, and has its name and `suffix`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
