//! Reading: a few connections of their own, lent out one call at a time. A connection sees what is durable, and nothing
//! else: SQLite shows a commit to others only after its sync.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    beside,
    index::Lookup,
    recent::{self, Recent},
    schema::{self, Identity, StoredRow},
};
use crate::{
    domain::{Account, Mention},
    journal::{
        Entry, LookBack, LookedBack, OpenError, Pending, Reach, Scan, Unavailable, look_back::Looking,
    },
};

/// Reads at once. More would only queue at the disk.
const CONNECTIONS_MAX: usize = 4;

/// The readers of one journal.
pub(super) struct Readers {
    path: PathBuf,
    recent: Arc<Recent>,
    idle: Mutex<Vec<Reader>>,
    places: Semaphore,
}

/// One pair of connections.
struct Reader {
    journal: Connection,
    index: Lookup,
}

impl Readers {
    pub(super) fn new(path: &Path, recent: Arc<Recent>) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            recent,
            idle: Mutex::default(),
            places: Semaphore::new(CONNECTIONS_MAX),
        })
    }

    /// See [`crate::journal::Journal::load`].
    pub(super) async fn load(
        self: &Arc<Self>,
        account: &Account,
        reach: Reach,
    ) -> Result<Vec<Entry>, Unavailable> {
        let account = account.clone();
        self.read(move |reader, recent| reader.load(recent, &account, reach)).await
    }

    /// See [`crate::journal::Journal::find`].
    pub(super) async fn find(self: &Arc<Self>, mention: &Mention) -> Result<Vec<Entry>, Unavailable> {
        let mention = mention.clone();
        self.read(move |reader, recent| reader.find(recent, mention.as_str())).await
    }

    /// See [`crate::journal::Journal::scan`].
    pub(super) async fn scan(
        self: &Arc<Self>,
        after: u64,
        entries_max: usize,
    ) -> Result<Vec<Entry>, Unavailable> {
        self.read(move |reader, _| scan(&reader.journal, after, entries_max)).await
    }

    /// See [`crate::journal::Journal::look_back`].
    pub(super) async fn look_back(self: &Arc<Self>, what: &LookBack) -> Result<LookedBack, Unavailable> {
        let what = what.clone();
        self.read(move |reader, recent| reader.look_back(recent, &what)).await
    }

    /// Waits for the reads under way, and closes the connections. Reads afterwards are refused.
    pub(super) async fn close(&self) {
        // All places: nobody reads. Fails only where it is closed already.
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        if let Ok(places) = self.places.acquire_many(all).await {
            self.places.close();
            drop(places);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&mut Reader, &Recent) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let closed = |_| Unavailable("it is closed".into());
        let place = self.places.acquire().await.map_err(closed)?;
        let readers = Arc::clone(self);
        let result = spawn_blocking(move || {
            let mut reader = readers.lend()?;
            let result = read(&mut reader, &readers.recent);
            if result.is_ok() {
                readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
            result
        })
        .await;
        drop(place);
        match result {
            Ok(result) => result.map_err(|failure| Unavailable(failure.to_string())),
            Err(_) => Err(Unavailable("the reading task ended".into())),
        }
    }

    fn lend(&self) -> Result<Reader, Failure> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| Reader::open(&self.path), Ok)
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("entry {0} is missing, or is not the one that the entry after it names")]
    BrokenChain(u64),
}

impl Reader {
    fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { journal: schema::connect_to_read(path)?, index: Lookup::open(&beside(path, "-index"))? })
    }

    /// Walks the account's chain back from its head. In one transaction: each would take its locks anew.
    fn load(&mut self, recent: &Recent, account: &Account, reach: Reach) -> Result<Vec<Entry>, Failure> {
        // Memory first: an entry moves from there to the index, and would be missed the other way round.
        let place = match recent.place(account) {
            Some(place) => place,
            None => self.index.place(account)?.unwrap_or_default(),
        };
        let transaction = self.journal.transaction()?;
        let mut chain = Vec::new();
        let mut next = place;
        while next.lsn > 0 {
            let mut query = schema::select(&transaction, "lsn = ?1")?;
            let mut rows = query.query([next.lsn.cast_signed()])?;
            let row = rows.next()?.ok_or(Failure::BrokenChain(next.lsn))?;
            let row = StoredRow::read(row)?;
            let is_expected =
                row.account == account.as_str() && row.seq == next.head.seq && row.id == next.head.id;
            let entry = row.to_entry().filter(|_| is_expected).ok_or(Failure::BrokenChain(next.lsn))?;
            if reach.ends_with(&entry, chain.len().saturating_add(1)) {
                next.lsn = 0;
            } else if row.prev_lsn < next.lsn {
                next.lsn = row.prev_lsn;
                next.head.seq = row.seq.saturating_sub(1);
                next.head.id = row.prev;
            } else {
                return Err(Failure::BrokenChain(next.lsn));
            }
            chain.push(entry);
        }
        chain.reverse();
        Ok(chain)
    }

    fn look_back(&mut self, recent: &Recent, what: &LookBack) -> Result<LookedBack, Failure> {
        let mut looking = Looking::new(what);
        let Some(account) = &what.account else {
            let mut query = schema::select(&self.journal, "lsn <= ?1 ORDER BY lsn DESC LIMIT ?2")?;
            let from = i64::try_from(what.from).unwrap_or(i64::MAX);
            let look_max = i64::try_from(what.look_max).unwrap_or(i64::MAX);
            let mut rows = query.query([from, look_max])?;
            while looking.goes_on()
                && let Some(row) = rows.next()?
            {
                let row = StoredRow::read(row)?;
                let next = row.lsn.checked_sub(1).filter(|next| *next > 0);
                if looking.look(row.at, row.body, next) {
                    looking.take(row.to_entry().ok_or(Failure::BrokenChain(row.lsn))?);
                }
            }
            return Ok(looking.page());
        };
        let mut lsn = what.from;
        if lsn == LookBack::END {
            let place = match recent.place(account) {
                Some(place) => Some(place),
                None => self.index.place(account)?,
            };
            lsn = place.unwrap_or_default().lsn;
        }
        let transaction = self.journal.transaction()?;
        let mut query = schema::select(&transaction, "lsn = ?1")?;
        while looking.goes_on() && lsn > 0 {
            let mut rows = query.query([lsn.cast_signed()])?;
            let Some(row) = rows.next()? else { break };
            let row = StoredRow::read(row)?;
            if row.account != account.as_str() {
                break;
            }
            if row.prev_lsn >= lsn {
                return Err(Failure::BrokenChain(lsn));
            }
            lsn = row.prev_lsn;
            if looking.look(row.at, row.body, Some(lsn).filter(|next| *next > 0)) {
                looking.take(row.to_entry().ok_or(Failure::BrokenChain(row.lsn))?);
            }
        }
        Ok(looking.page())
    }

    fn find(&mut self, recent: &Recent, mention: &str) -> Result<Vec<Entry>, Failure> {
        let hash = recent::hash(mention);
        let mut lsns = recent.lsns(hash);
        lsns.extend(self.index.lsns(hash)?);
        lsns.sort_unstable();
        lsns.dedup();
        let transaction = self.journal.transaction()?;
        let mut query = schema::select(&transaction, "lsn = ?1")?;
        let mut found = Vec::new();
        for lsn in lsns {
            let mut rows = query.query([lsn.cast_signed()])?;
            let row = StoredRow::read(rows.next()?.ok_or(Failure::BrokenChain(lsn))?)?;
            // Two ids may share a hash.
            if row.mentions.split_terminator(' ').any(|id| id == mention) {
                found.push(row.to_entry().ok_or(Failure::BrokenChain(lsn))?);
            }
        }
        Ok(found)
    }
}

/// Entries of all accounts above `after`, in order.
fn scan(journal: &Connection, after: u64, entries_max: usize) -> Result<Vec<Entry>, Failure> {
    let mut query = schema::select(journal, "lsn > ?1 ORDER BY lsn LIMIT ?2")?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let entries_max = i64::try_from(entries_max).unwrap_or(i64::MAX);
    let mut rows = query.query([after, entries_max])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let row = StoredRow::read(row)?;
        entries.push(row.to_entry().ok_or(Failure::BrokenChain(row.lsn))?);
    }
    Ok(entries)
}

/// The file of a journal, read from its first entry to its last, whether or not another process serves from it. It sees
/// what is durable, and never waits for the writer, nor the writer for it.
pub(in crate::journal) struct SqliteFile {
    journal: Arc<Mutex<Connection>>,
}

impl SqliteFile {
    /// Opens the file `path` to read.
    ///
    /// # Errors
    /// [`OpenError`] where there is no journal of this version.
    pub(in crate::journal) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = || OpenError::sql(path, "open");
        let journal = schema::connect_to_read(path).map_err(failed())?;
        match schema::identify(&journal).map_err(failed())? {
            Identity::Journal(_) => Ok(Self { journal: Arc::new(Mutex::new(journal)) }),
            Identity::Blank => {
                Err(OpenError::NotAJournal { path: path.to_owned(), found: "an empty file".into() })
            }
            Identity::Other(found) => Err(OpenError::NotAJournal { path: path.to_owned(), found }),
        }
    }
}

impl Scan for SqliteFile {
    fn scan(&self, after: u64, entries_max: usize) -> Pending<'_, Result<Vec<Entry>, Unavailable>> {
        let journal = Arc::clone(&self.journal);
        Box::pin(async move {
            let read = spawn_blocking(move || {
                let journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
                scan(&journal, after, entries_max)
            });
            match read.await {
                Ok(result) => result.map_err(|failure| Unavailable(failure.to_string())),
                Err(_) => Err(Unavailable("the reading task ended".into())),
            }
        })
    }
}
