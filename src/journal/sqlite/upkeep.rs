//! The thread that does what must not be done on the hot path: it writes the index, syncs the mark, and folds the
//! write-ahead log into the database.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};
use tracing::warn;

use super::{Shared, index::Index, recent::GENERATION_ENTRIES, schema};
use crate::{
    clock::{self, Instant},
    journal::OpenError,
};

/// How often it looks, when nobody rings.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long entries wait for the index where there are few.
const INDEX_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// Rings for upkeep. When the last bell is dropped, upkeep puts everything away, and ends.
#[derive(Clone)]
pub(super) struct Bell(SyncSender<()>);

impl Bell {
    /// There is something to do. Never blocks.
    pub(super) fn ring(&self) {
        // Full means that it has rung already.
        let _ = self.0.try_send(());
    }
}

/// Starts the thread.
pub(super) fn start(
    path: &Path,
    index: Index,
    shared: Arc<Shared>,
) -> Result<(JoinHandle<()>, Bell), OpenError> {
    let journal = schema::connect(path).map_err(OpenError::sql(path, "open"))?;
    let (bell, rung) = sync_channel(1);
    let upkeep = Upkeep { journal, index, shared, indexed_at: clock::instant() };
    let thread = thread::Builder::new().name("journal-upkeep".into()).spawn(move || upkeep.run(&rung));
    Ok((thread.map_err(OpenError::io(path, "start the upkeep of"))?, Bell(bell)))
}

struct Upkeep {
    /// For checkpoints only.
    journal: Connection,
    index: Index,
    shared: Arc<Shared>,
    indexed_at: Instant,
}

impl Upkeep {
    fn run(mut self, rung: &Receiver<()>) {
        loop {
            let is_over = rung.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected);
            if self.shared.vitals.is_dead() {
                return;
            }
            if let Err(cause) = self.round(is_over) {
                self.shared.vitals.die(cause);
                return;
            }
            if is_over {
                break;
            }
        }
        if let Err(error) = self.index.close() {
            warn!(%error, "the journal's index was not closed in order; it catches up at the next start");
        }
    }

    /// What there is to do now. An error is one after which the journal must not go on.
    fn round(&mut self, is_over: bool) -> Result<(), String> {
        let is_time =
            is_over || clock::instant().saturating_duration_since(self.indexed_at) >= INDEX_AT_LEAST_EVERY;
        self.write_index(if is_time { 1 } else { GENERATION_ENTRIES })?;
        if self.shared.fold_wanted.swap(false, Ordering::Relaxed) {
            tolerate("fold the journal's log", schema::checkpoint(&self.journal))?;
            self.shared.fold_ready.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn write_index(&mut self, entries_min: usize) -> Result<(), String> {
        while let Some(generation) = self.shared.recent.to_drain(entries_min) {
            // The mark never falls behind the index, whatever the power does.
            self.shared.mark.sync().map_err(|error| format!("cannot sync the mark: {error}"))?;
            self.indexed_at = clock::instant();
            if tolerate("write the journal's index", self.index.record(&generation))?.is_none() {
                // What was not written is tried again at the next look.
                break;
            }
            self.shared.recent.drained();
        }
        Ok(())
    }
}

/// Lets pass what may be better next time: no room, or somebody in the way.
pub(super) fn tolerate<T>(doing: &str, result: rusqlite::Result<T>) -> Result<Option<T>, String> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if may_pass(&error) => {
            warn!(%error, "could not {doing}; trying again later");
            Ok(None)
        }
        Err(error) => Err(format!("cannot {doing}: {error}")),
    }
}

/// Whether an error leaves everything as it was, and may pass.
pub(super) fn may_pass(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
