//! The journal of a cluster: one PostgreSQL database that several nodes share. Here is how its parts are joined; each
//! part has a file.
//!
//! ```text
//! append ──────────▶ append ──▶ pool ──▶ way ──▶ tollgate.entry     one statement a batch, one batch a connection
//!                                             └▶ tollgate.mention   which entries speak of an authorization
//! load, find, scan ──▶ read ──▶ pool ──▶ way ──▶ both               connections of their own
//! ```
//!
//! Who shares the database for something else connects to it by [`Address`] too.

mod address;
mod misfit;
mod session;
mod schema;
mod statements;
mod way;
mod pool;
mod append;
mod read;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::info;

use super::{
    Append, Entry, Fatal, Journal, OpenError, Outcome, Pending, Reach, Scan, Unavailable, vitals::Vitals,
};
use crate::{
    clock,
    domain::{Account, AuthorizationId, Timestamp},
};
pub use {address::Address, misfit::Misfit, session::Session};
use {pool::Pool, read::Reading, way::Way};

/// How many batches may be on their way at once: a connection each.
pub const BATCHES_IN_FLIGHT_MAX: u32 = 4;
/// How many appends have to wait for another statement to be sent while one is on its way. With more, statements are fewer
/// and answers later: docs/performance.md has both.
pub const ANOTHER_BATCH_FROM: usize = 4;
/// How many readings may be on their way at once: a connection each. Loads never wait for appends.
const READINGS_MAX: u32 = 4;
/// How long closing waits for what is on its way.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A journal in a PostgreSQL database, for any number of nodes.
pub struct Postgres {
    appends: Arc<Pool>,
    readings: Arc<Pool>,
    vitals: Arc<Vitals>,
}

impl Postgres {
    /// Opens the journal in the database at `url`, and makes its tables where there are none.
    ///
    /// # Errors
    /// [`OpenError`] says what was found, what was expected, and what to do. The URL is not repeated.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let address = Address::new(url)
            .map_err(|misfit| OpenError::Database { address: "postgres://…".into(), misfit })?;
        let unfit = |misfit| OpenError::Database { address: address.to_string(), misfit };
        let mut session = address.connect().await.map_err(unfit)?;
        let uuid = schema::prepare(&mut session).await.map_err(unfit)?;
        info!(journal = %address, "the journal is open");
        let vitals = Arc::new(Vitals::new());
        let way = Arc::new(Way::new(address, uuid, Arc::clone(&vitals)));
        let appends = Pool::new(Arc::clone(&way), BATCHES_IN_FLIGHT_MAX);
        Ok(Self { appends, readings: Pool::new(way, READINGS_MAX), vitals })
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

    fn find<'a>(
        &'a self,
        authorization: &'a AuthorizationId,
    ) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        self.read(Reading::Find(authorization.clone()))
    }

    fn fatal(&self) -> Pending<'_, Fatal> {
        Box::pin(self.vitals.died())
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            for pool in [&self.readings, &self.appends] {
                // What a database that does not answer still owes is left behind: it ends with the process.
                if clock::timeout(CLOSE_WITHIN, pool.close()).await.is_err() {
                    pool.shut();
                }
            }
        })
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
