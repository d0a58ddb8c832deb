//! A few connections for one purpose: lent, and given back. How they are made is elsewhere.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{
    database::{Connection, Database},
    ring::Ring,
};

/// Connections to one journal, at most so many.
pub(super) struct Pool {
    database: Arc<Database>,
    places: Arc<Semaphore>,
    places_max: u32,
    idle: Mutex<Vec<Connection>>,
    /// A connection came back.
    returned: Notify,
}

/// A connection that is lent to one user. Dropped, it is closed: only who knows that its last question was answered
/// gives it back.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pool: Arc<Pool>,
    permit: OwnedSemaphorePermit,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// The journal is closed.
    Closed,
    /// The database cannot be reached, or cannot be used.
    Unreachable(String),
}

impl Pool {
    pub(super) fn new(database: Arc<Database>, places_max: u32) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(usize::try_from(places_max).unwrap_or(1)));
        Arc::new(Self { database, places, places_max, idle: Mutex::default(), returned: Notify::new() })
    }

    /// Lends a connection: an idle one, or a new one. Waits for its turn, but not longer than `patience` for a database
    /// that is away.
    pub(super) async fn take(self: &Arc<Self>, patience: Duration) -> Result<Lease, NotTaken> {
        let permit = Arc::clone(&self.places).acquire_owned().await.map_err(|_| NotTaken::Closed)?;
        let connection = match self.unbroken() {
            Some(connection) => connection,
            None => self.another(patience).await.map_err(NotTaken::Unreachable)?,
        };
        Ok(Lease { connection, pool: Arc::clone(self), permit })
    }

    /// A new connection; or, where none can be made, one that comes back meanwhile: a server may let nobody in any more,
    /// its password changed or its places taken, and go on with whom it has let in.
    async fn another(&self, patience: Duration) -> Result<Connection, String> {
        let mut connecting = pin!(self.database.connect_within(patience));
        loop {
            tokio::select! {
                biased;
                connected = &mut connecting => {
                    return connected.or_else(|cause| self.unbroken().ok_or(cause));
                }
                () = self.returned.notified() => {
                    if self.database.is_troubled() && let Some(connection) = self.unbroken() {
                        return Ok(connection);
                    }
                }
            }
        }
    }

    /// Lends nothing more. Returns when everything lent was given back.
    pub(super) async fn close(&self) {
        // An error means that it is closed already.
        let all = self.places.acquire_many(self.places_max).await;
        self.shut();
        drop(all);
    }

    /// Lends nothing more, from now on.
    pub(super) fn shut(&self) {
        self.places.close();
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection that was not lost meanwhile, to the server in force.
    fn unbroken(&self) -> Option<Connection> {
        let mut idle = self.idle();
        let lineage = self.database.lineage();
        idle.retain(|Connection { session, .. }| {
            !session.client().is_closed() && session.lineage() == lineage
        });
        idle.pop_if(|connection| self.database.is_in_force(&connection.session))
    }
}

impl Lease {
    /// What a statement on this connection answers; nothing once it has ended without its answer having come. A
    /// connection of which that is so is let go of.
    pub(super) async fn answer<T>(&self, statement: impl Future<Output = T>) -> Option<T> {
        let session = &self.connection.session;
        tokio::select! {
            biased;
            answer = statement => Some(answer),
            () = self.pool.database.ended(session) => {
                session.abandon();
                None
            }
        }
    }

    /// Where what is acknowledged over this connection is kept.
    pub(super) fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.pool.database.ring)
    }

    /// Has the server looked at: something on this connection was not as it should be.
    pub(super) fn suspect(&self) {
        self.pool.database.look();
    }

    /// Lets others use the connection.
    pub(super) fn give_back(self) {
        let Self { connection, pool, permit } = self;
        if !connection.session.client().is_closed() && !pool.places.is_closed() {
            pool.idle().push(connection);
            pool.returned.notify_waiters();
        }
        drop(permit);
    }
}
