//! A few connections for one purpose: lent, and given back. How they are made is elsewhere.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::way::{Line, Way};

/// Connections to one journal, at most so many.
pub(super) struct Pool {
    way: Arc<Way>,
    places: Arc<Semaphore>,
    places_max: u32,
    idle: Mutex<Vec<Line>>,
    /// A connection came back.
    returned: Notify,
}

/// A connection that is lent to one user. Dropped, it is closed: only who knows that its last question was answered
/// gives it back.
pub(super) struct Lease {
    pub(super) line: Line,
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
    pub(super) fn new(way: Arc<Way>, places_max: u32) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(usize::try_from(places_max).unwrap_or(1)));
        Arc::new(Self { way, places, places_max, idle: Mutex::default(), returned: Notify::new() })
    }

    /// Lends a connection: an idle one, or a new one. Waits for its turn, but not longer than `patience` for a database
    /// that is away.
    pub(super) async fn take(self: &Arc<Self>, patience: Duration) -> Result<Lease, NotTaken> {
        let permit = Arc::clone(&self.places).acquire_owned().await.map_err(|_| NotTaken::Closed)?;
        let line = match self.unbroken() {
            Some(line) => line,
            None => self.another(patience).await.map_err(NotTaken::Unreachable)?,
        };
        Ok(Lease { line, pool: Arc::clone(self), permit })
    }

    /// A new connection; or, where none can be made, one that comes back meanwhile: a server may let nobody in any more,
    /// its password changed or its places taken, and go on with whom it has let in.
    async fn another(&self, patience: Duration) -> Result<Line, String> {
        let mut connecting = pin!(self.way.connect(patience));
        loop {
            tokio::select! {
                biased;
                connected = &mut connecting => {
                    return connected.or_else(|cause| self.unbroken().ok_or(cause));
                }
                () = self.returned.notified() => {
                    if self.way.is_troubled() && let Some(line) = self.unbroken() {
                        return Ok(line);
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

    fn idle(&self) -> MutexGuard<'_, Vec<Line>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection that was not lost meanwhile.
    fn unbroken(&self) -> Option<Line> {
        let mut idle = self.idle();
        idle.retain(|line| !line.session.client().is_closed());
        idle.pop()
    }
}

impl Lease {
    /// Lets others use the connection.
    pub(super) fn give_back(self) {
        let Self { line, pool, permit } = self;
        if !line.session.client().is_closed() && !pool.places.is_closed() {
            pool.idle().push(line);
            pool.returned.notify_waiters();
        }
        drop(permit);
    }
}
