//! What happens before a journal is served from: lock it, know it, hold it against its mark, catch the index up.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use tracing::{error, info};

use super::{
    beside,
    chain::Chain,
    index::Index,
    mark::{self, Mark, Marked, NotOpened, Point},
    recent::{self, GENERATION_ENTRIES, Generation, Place},
    schema::{self, Identity, StoredRow},
};
use crate::{
    clock,
    domain::{Account, Timestamp},
    journal::{Finding, Head, OpenError},
};

/// A journal that is ready to be served from.
pub(super) struct Opened {
    pub(super) journal: Connection,
    pub(super) index: Index,
    pub(super) mark: Mark,
    pub(super) tip: Tip,
}

/// The end of the journal.
#[derive(Clone, Copy)]
pub(super) struct Tip {
    pub(super) point: Point,
    /// When the last entry was written.
    pub(super) at: Timestamp,
}

/// Opens the journal at `path`, or makes one. Until it is known to be whole, nothing of it is changed: whoever is to
/// mend it finds what was found here.
pub(super) fn open(path: &Path, accept_journal_loss: bool) -> Result<Opened, OpenError> {
    create_parent(path)?;
    let mark_path = beside(path, "-mark");
    let (mark_file, marked) = mark::open(&mark_path).map_err(|not_opened| match not_opened {
        NotOpened::InUse => OpenError::InUse { path: path.to_owned() },
        NotOpened::Io(cause) => OpenError::io(&mark_path, "open and lock")(cause),
    })?;
    let accept = |finding: Finding| {
        let loss = OpenError::Loss { path: path.to_owned(), finding };
        if !accept_journal_loss {
            return Err(loss);
        }
        error!("accepted by --accept-journal-loss: {loss}");
        Ok(())
    };

    // A database that is missing altogether must not be made before that was found to be right: an empty one would
    // stand in the way of the one that is to be put back.
    let is_blank = fs::metadata(path).map_or(true, |file| file.len() == 0);
    if let Some(expected) = marked.map(|marked| marked.point.lsn).filter(|lsn| is_blank && *lsn > 0) {
        accept(Finding::EndsEarly { found: 0, expected })?;
    }
    let (journal, uuid) = open_journal(path)?;
    let mut opening = Opening {
        path,
        index: Index::open(&beside(path, "-index"), &uuid).map_err(|cause| OpenError::Storage {
            path: beside(path, "-index"),
            doing: "make the index",
            cause: cause.to_string(),
        })?,
        journal,
        genesis: Chain::genesis(&uuid),
    };
    let marked_here = marked.filter(|_| !is_blank);
    let mut replayed = opening.replay(marked_here.map(|marked| marked.point))?;
    if let Some(finding) = judge(&replayed, marked_here, &uuid) {
        accept(finding)?;
        opening.clear_index()?;
        replayed = opening.replay(None)?;
    }
    let Opening { journal, index, .. } = opening;
    schema::checkpoint_and_truncate(&journal).map_err(OpenError::sql(path, "fold the log of"))?;
    schema::refresh_views(&journal).map_err(OpenError::sql(path, "make the views of"))?;
    let mark = Mark::start(mark_file, marked, uuid, replayed.tip.point)
        .map_err(OpenError::io(&mark_path, "write"))?;
    sync_directory(path)?;
    info!(journal = %path.display(), entries = replayed.tip.point.lsn, "the journal is open");
    Ok(Opened { journal, index, mark, tip: replayed.tip })
}

fn create_parent(path: &Path) -> Result<(), OpenError> {
    let parent = parent(path);
    fs::create_dir_all(&parent).map_err(OpenError::io(&parent, "create the directory"))
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The names of new files must survive the power too.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let directory = parent(path);
    let sync = |directory: &Path| File::open(directory).and_then(|opened| opened.sync_all());
    // That of a new directory as well, but the one around it may be none of ours.
    let _ = sync(&parent(&directory));
    sync(&directory).map_err(OpenError::io(&directory, "sync the directory"))
}

fn open_journal(path: &Path) -> Result<(Connection, [u8; 16]), OpenError> {
    let failed = |doing| move |cause| not_a_database(path, doing, cause);
    let mut journal = schema::connect(path).map_err(failed("open"))?;
    let identity = schema::identify(&journal).map_err(failed("read"))?;
    if let Identity::Other(found) = identity {
        return Err(OpenError::NotAJournal { path: path.to_owned(), found });
    }
    let (mode, synchronous) = schema::make_durable(&journal).map_err(failed("set up"))?;
    if (mode.as_str(), synchronous) != ("wal", 2) {
        let cause = format!("journal_mode is {mode} and synchronous is {synchronous}, not wal and 2");
        return Err(OpenError::Storage { path: path.to_owned(), doing: "write durably to", cause });
    }
    let uuid = match identity {
        Identity::Journal(uuid) => uuid,
        Identity::Blank | Identity::Other(_) => {
            let uuid = fastrand::u128(..).to_be_bytes();
            schema::create(&mut journal, &uuid, clock::now()).map_err(failed("make"))?;
            uuid
        }
    };
    Ok((journal, uuid))
}

fn not_a_database(path: &Path, doing: &'static str, cause: rusqlite::Error) -> OpenError {
    if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
        return OpenError::NotAJournal { path: path.to_owned(), found: "it is not a database".into() };
    }
    OpenError::sql(path, doing)(cause)
}

struct Opening<'a> {
    path: &'a Path,
    journal: Connection,
    index: Index,
    genesis: Chain,
}

/// What was found on the way to the end of the journal.
struct Replayed {
    tip: Tip,
    /// The chained hash at the mark, if the journal goes that far.
    chain_at_mark: Option<Chain>,
    /// The first missing entry, if there are later ones.
    missing: Option<u64>,
}

/// How the journal differs from its mark.
fn judge(replayed: &Replayed, marked: Option<Marked>, uuid: &[u8; 16]) -> Option<Finding> {
    let found = replayed.tip.point.lsn;
    if let Some(missing) = replayed.missing {
        return Some(Finding::Gap { missing });
    }
    let Some(marked) = marked else {
        return (found > 0).then_some(Finding::MarkMissing { found });
    };
    let Point { lsn: expected, chain } = marked.point;
    if marked.journal != *uuid {
        Some(Finding::MarkOfAnother)
    } else if found < expected {
        Some(Finding::EndsEarly { found, expected })
    } else if replayed.chain_at_mark != Some(chain) {
        Some(Finding::Differs { lsn: expected })
    } else {
        None
    }
}

impl Opening<'_> {
    /// Reads the journal from the last indexed entry to the end: chains the hashes, and indexes what is not indexed.
    fn replay(&mut self, mark: Option<Point>) -> Result<Replayed, OpenError> {
        let indexed = self.index.last().map_err(OpenError::sql(self.path, "read the index of"))?;
        if let Some(Point { lsn, chain }) = indexed {
            let reaches_back = mark.is_none_or(|mark| mark.lsn >= lsn);
            if reaches_back && self.has(lsn)? {
                return self.replay_from(lsn, chain, mark);
            }
            // The index speaks of entries that the journal lost, or that the mark does not know.
            self.clear_index()?;
        }
        self.replay_from(1, self.genesis, mark)
    }

    fn has(&self, lsn: u64) -> Result<bool, OpenError> {
        let mut rows =
            schema::select(&self.journal, "lsn = ?1").map_err(OpenError::sql(self.path, "read"))?;
        rows.exists([lsn.cast_signed()]).map_err(OpenError::sql(self.path, "read"))
    }

    fn clear_index(&self) -> Result<(), OpenError> {
        self.index.clear().map_err(OpenError::sql(self.path, "clear the index of"))
    }

    fn replay_from(&mut self, first: u64, before: Chain, mark: Option<Point>) -> Result<Replayed, OpenError> {
        let failed = |cause| OpenError::sql(self.path, "read")(cause);
        let mut replayed = Replayed {
            tip: Tip { point: Point { lsn: first.saturating_sub(1), chain: before }, at: Timestamp::MIN },
            chain_at_mark: mark.filter(|mark| mark.lsn == 0).map(|_| self.genesis),
            missing: None,
        };
        let not_indexed = |cause| OpenError::sql(self.path, "write the index of")(cause);
        let mut generation = Generation::default();
        let mut query = schema::select(&self.journal, "lsn >= ?1 ORDER BY lsn").map_err(failed)?;
        let mut rows = query.query([first.cast_signed()]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let row = StoredRow::read(row).map_err(failed)?;
            generation.last = Some(Point { lsn: row.lsn, chain: replayed.tip.point.chain });
            replayed.pass(&row, mark);
            let Some(account) = Account::new(row.account) else { continue };
            let place = Place { lsn: row.lsn, head: Head { seq: row.seq, id: row.id } };
            generation.add(account, place);
            let ids = row.mentions.split_terminator(' ');
            generation.mentions.extend(ids.map(|id| (recent::hash(id), row.lsn)));
            if generation.entries >= GENERATION_ENTRIES {
                self.index.record(&generation).map_err(not_indexed)?;
                generation = Generation::default();
            }
        }
        self.index.record(&generation).map_err(not_indexed)?;
        Ok(replayed)
    }
}

impl Replayed {
    /// Goes on to `row`.
    fn pass(&mut self, row: &StoredRow<'_>, mark: Option<Point>) {
        let next = self.tip.point.lsn.saturating_add(1);
        if row.lsn != next && self.missing.is_none() {
            self.missing = Some(next);
        }
        self.tip.point = Point { lsn: row.lsn, chain: self.tip.point.chain.after(row) };
        self.tip.at = self.tip.at.max(row.at);
        if mark.is_some_and(|mark| mark.lsn == row.lsn) {
            self.chain_at_mark = Some(self.tip.point.chain);
        }
    }
}
