//! What a node remembers of the journal's database from one run to the next, in a small file of its own: the highest
//! lineage that it has seen, and the entries that it was told are durable last. So a node that starts on a database that
//! has lost them, or on a primary of before a failover, knows.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::ring::Batch;
use crate::journal::Lineage;

/// The file's text, as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The id of the journal.
    pub(super) journal: String,
    /// The highest lineage, as `SYSTEM/TIMELINE`.
    lineage: String,
    /// An entry of the last append of each of the newest batches.
    pub(super) newest: Vec<Remembered>,
}

/// An entry that was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Remembered {
    pub(super) account: String,
    pub(super) seq: i64,
    pub(super) id: i64,
}

impl Memory {
    pub(super) fn new(journal: &str, lineage: Lineage, newest: &[Batch]) -> Self {
        let newest = newest.iter().filter_map(|batch| {
            let append = batch.entries().next_back()?;
            // All its rows are there, or none.
            let row = append.rows.first()?;
            let head = row.next_head(append.id);
            Some(Remembered {
                account: row.account.to_string(),
                seq: head.seq.cast_signed(),
                id: head.id.get().cast_signed(),
            })
        });
        Self { journal: journal.to_owned(), lineage: lineage.to_string(), newest: newest.collect() }
    }

    pub(super) fn lineage(&self) -> Option<Lineage> {
        self.lineage.parse().ok()
    }

    /// Reads the file; nothing where there is none, or none that can be read, which is said.
    pub(super) fn read(path: &Path) -> Option<Self> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)
                .inspect_err(|cause| {
                    warn!(path = %path.display(), %cause, "the file with the highest timeline cannot be read; it is made anew");
                })
                .ok(),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => {
                warn!(path = %path.display(), %cause, "the file with the highest timeline cannot be read");
                None
            }
        }
    }

    /// Writes the file, whole or not at all.
    fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let draft = path.with_extension("new");
        fs::write(&draft, serde_json::to_vec(self).map_err(io::Error::other)?)?;
        fs::rename(&draft, path)
    }
}

/// Keeps the file up to date. One that cannot be written is said once: without it a restart forgets.
#[derive(Default)]
pub(super) struct Keeper {
    last: Option<Memory>,
    has_failed: bool,
}

impl Keeper {
    pub(super) async fn keep(&mut self, path: &Path, memory: Memory) {
        if self.last.as_ref() == Some(&memory) {
            return;
        }
        let (place, text): (PathBuf, Memory) = (path.to_owned(), memory.clone());
        let written = tokio::task::spawn_blocking(move || text.write(&place)).await;
        match written.map_err(io::Error::other).and_then(|written| written) {
            Ok(()) => self.last = Some(memory),
            Err(cause) if self.has_failed => {
                debug!(%cause, "the file with the highest timeline is not written");
            }
            Err(cause) => {
                self.has_failed = true;
                warn!(
                    path = %path.display(),
                    %cause,
                    "the highest timeline cannot be written down: after a restart this node knows no primary of before a failover. Set TOLLGATE_STATE_DIR to a directory that it may write to"
                );
            }
        }
    }
}
