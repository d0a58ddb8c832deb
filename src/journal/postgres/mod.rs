//! The journal of a cluster: one PostgreSQL database that several nodes share. Here is how its parts are joined; each
//! part has a file.
//!
//! ```text
//! append ──────────▶ append ──▶ pool ─┬▶ tollgate.entry     one statement a batch, one batch a connection
//!                                     └▶ tollgate.mention   which entries speak of what
//! load, find, scan ──▶ read ──▶ pool ──▶ both               connections of their own
//! control ──▶ race ──▶ database                             which server is in force; whom all others ask
//! ```
//!
//! What shares the database for something else connects to it by [`Database`] too.

mod address;
mod tls;
mod misfit;
mod session;
mod race;
mod schema;
mod statements;
mod status;
mod epoch;
mod ring;
mod memory;
mod database;
mod append;
mod restore;
mod control;
mod pool;
mod read;
mod reader;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::task::AbortHandle;
use tracing::{error, info, warn};

use super::{
    Append, Entry, Fatal, Journal, Lineage, LookBack, LookedBack, Loss, OpenError, Outcome, Pending, Reach,
    Scan, Unavailable, vitals::Vitals,
};
use crate::{
    clock,
    domain::{Account, Mention, Timestamp},
};
pub use {
    address::Address,
    database::Database,
    misfit::Misfit,
    reader::Reader,
    session::Session,
    status::{Phase, Status},
};
use {epoch::Look, memory::Memory, pool::Pool, read::Reading};

/// How many batches may be on their way at once: a connection each.
pub const BATCHES_IN_FLIGHT_MAX: u32 = 4;
/// How many appends have to wait for another statement to be sent while one is on its way. With more, statements are fewer
/// and answers later: docs/performance.md has both.
pub const ANOTHER_BATCH_FROM: usize = 4;
/// How many readings may be on their way at once: a connection each. Loads never wait for appends.
const READINGS_MAX: u32 = 4;
/// How long opening waits for a server that does not answer.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// How long closing waits for what is on its way.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A journal in a PostgreSQL database, for any number of nodes.
pub struct Postgres {
    appends: Arc<Pool>,
    readings: Arc<Pool>,
    vitals: Arc<Vitals>,
    database: Arc<Database>,
    control: AbortHandle,
}

/// How a node uses the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The name of the node.
    pub node: String,
    /// What is done where the database lacks what was answered for.
    pub loss: Loss,
    /// Start although the database lacks what was answered for before.
    pub accept_journal_loss: bool,
    /// How many servers must have an entry before it is acknowledged.
    pub copies: u32,
    /// How many bytes of entries are kept to be given back.
    pub restore_bytes_max: usize,
    /// The file in which the highest lineage is remembered; nothing where it is not.
    pub memory: Option<PathBuf>,
}

impl Default for Options {
    /// Those of a node of its own that remembers nothing.
    fn default() -> Self {
        Self {
            node: format!("unnamed-{:x}", fastrand::u64(..)),
            loss: Loss::Restore,
            accept_journal_loss: false,
            copies: 1,
            restore_bytes_max: RESTORE_BYTES_MAX,
            memory: None,
        }
    }
}

/// How many bytes of entries are kept by default: a minute of a thousand decisions a second.
pub const RESTORE_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Postgres {
    /// Opens the journal in the database at `url` by itself, and makes its tables where there are none.
    ///
    /// # Errors
    /// [`OpenError`] says what was found, what was expected, and what to do. The URL is not repeated.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_with(url, Options::default()).await
    }

    /// The same as a node of this name, with these options.
    ///
    /// # Errors
    /// The same.
    pub async fn open_with(url: &str, options: Options) -> Result<Self, OpenError> {
        let address = Address::new(url)
            .map_err(|misfit| OpenError::Database { address: "postgres://…".into(), misfit })?;
        let unfit = |misfit| OpenError::Database { address: address.to_string(), misfit };
        if let Some(server) = address.plain_text_to().await {
            warn!(%server, "the connection to the journal's database is not encrypted, and the database is on another machine: anyone in between can read and change the data; add sslmode=verify-full to the URL");
        }
        let memory = match options.memory.clone() {
            Some(path) => tokio::task::spawn_blocking(move || Memory::read(&path)).await.ok().flatten(),
            None => None,
        };
        let known = memory.as_ref().and_then(Memory::lineage);
        let mut session = first(&address, known).await.map_err(unfit)?;
        let uuid = schema::prepare(&mut session).await.map_err(unfit)?;
        if let Some(memory) = memory.filter(|memory| memory.journal == uuid) {
            let lost = schema::missing(&session, &memory.newest).await.map_err(unfit)?;
            if let Some(misfit) = lost {
                if !options.accept_journal_loss && options.loss != Loss::Accept {
                    return Err(unfit(misfit));
                }
                error!("the journal's database {misfit}: that is accepted");
            }
        }
        let found = Look::at(&session).await.map_err(|cause| unfit(Misfit::of(&cause)))?.copies();
        if found < options.copies {
            return Err(unfit(Misfit::Copies { found, expected: options.copies }));
        }
        let lineage = session.lineage();
        info!(journal = %address, server = %session.target(), %lineage, "the journal is open");
        let vitals = Arc::new(Vitals::new());
        let session = Arc::new(session);
        let database = Database::new(address, uuid, options, Arc::clone(&vitals), Arc::clone(&session));
        let database = Arc::new(database);
        let control = tokio::spawn(control::run(Arc::clone(&database), session)).abort_handle();
        let appends = Pool::new(Arc::clone(&database), BATCHES_IN_FLIGHT_MAX);
        let readings = Pool::new(Arc::clone(&database), READINGS_MAX);
        let opened = Self { appends, readings, vitals, database, control };
        // A lineage that is not open yet is answered for by the stand-in.
        let mut status = opened.database.status();
        let open = status.wait_for(|status| status.phase == Phase::Open);
        let _ = clock::timeout(OPEN_WITHIN, open).await;
        Ok(opened)
    }

    /// The database, for whatever else is kept there.
    #[must_use]
    pub fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// Whether the database at `url` has a journal. Nothing is made.
    ///
    /// # Errors
    /// The database cannot be reached, or has something else in the journal's place.
    pub async fn exists(url: &str) -> Result<bool, OpenError> {
        let address = Address::new(url)
            .map_err(|misfit| OpenError::Database { address: "postgres://…".into(), misfit })?;
        let unfit = |misfit| OpenError::Database { address: address.to_string(), misfit };
        let session = address.connect().await.map_err(unfit)?;
        Ok(schema::identity(&session).await.map_err(unfit)?.is_some())
    }

    fn read(&self, reading: Reading) -> Pending<'_, Result<Vec<Entry>, Unavailable>> {
        Box::pin(read::read(Arc::clone(&self.readings), reading))
    }
}

impl Scan for Postgres {
    fn scan(&self, after: u64, entries_max: usize) -> Pending<'_, Result<Vec<Entry>, Unavailable>> {
        self.read(Reading::Scan { after, entries_max })
    }
}

impl Journal for Postgres {
    /// On a task of its own: a statement that was sent is never taken back by whoever waits no longer.
    fn append(&self, batch: Arc<[Append]>) -> Pending<'_, Vec<Outcome>> {
        let appends = batch.len();
        let append = append::append(Arc::clone(&self.appends), Arc::clone(&self.vitals), batch);
        let append = tokio::spawn(append);
        Box::pin(async move { append.await.unwrap_or_else(|_| vec![Outcome::Unknown; appends]) })
    }

    fn load<'a>(
        &'a self,
        account: &'a Account,
        reach: Reach,
    ) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        self.read(Reading::Load(account.clone(), reach))
    }

    fn find<'a>(&'a self, mention: &'a Mention) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        self.read(Reading::Find(mention.clone()))
    }

    fn look_back<'a>(&'a self, what: &'a LookBack) -> Pending<'a, Result<LookedBack, Unavailable>> {
        Box::pin(read::look_back(Arc::clone(&self.readings), what))
    }

    fn fatal(&self) -> Pending<'_, Fatal> {
        Box::pin(self.vitals.died())
    }

    fn is_in_trouble(&self) -> bool {
        self.database.is_in_trouble()
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            for pool in [&self.readings, &self.appends] {
                // What a database that does not answer still owes is left behind: it ends with the process.
                if clock::timeout(CLOSE_WITHIN, pool.close()).await.is_err() {
                    pool.shut();
                }
            }
            self.control.abort();
            self.database.leave().await;
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.control.abort();
    }
}

/// The first connection. A server that is silent may only be slow, on a machine that has just started.
async fn first(address: &Address, known: Option<Lineage>) -> Result<Session, Misfit> {
    let started = clock::instant();
    loop {
        match address.race(known).await {
            Err(Misfit::Silent(_)) if started.elapsed() < OPEN_WITHIN => {}
            connected => return connected,
        }
    }
}

/// PostgreSQL's time, which is to the microsecond.
fn timestamp(at: SystemTime) -> Timestamp {
    let micros = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, i64::saturating_neg),
    };
    Timestamp::from_micros(micros)
}
