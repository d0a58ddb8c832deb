//! A few connections for one purpose: lent, given back, and made again with patience where they were lost.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

use super::{Address, Misfit, Session, schema, statements::Statements};
use crate::{
    clock::{self, Instant},
    journal::vitals::Vitals,
};

/// How long to wait after a connection that could not be made; the wait doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// The longest such wait.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Connections to one journal, at most so many.
pub(super) struct Pool {
    address: Address,
    /// The id of the journal that is expected there.
    uuid: String,
    vitals: Arc<Vitals>,
    places: Arc<Semaphore>,
    places_max: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Line>,
    /// Why the last connection could not be made, and when to try again.
    trouble: Option<Trouble>,
}

#[derive(Clone)]
struct Trouble {
    cause: String,
    pause: Duration,
    retry_at: Instant,
}

/// A connection with its prepared questions.
pub(super) struct Line {
    pub(super) session: Session,
    pub(super) statements: Statements,
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
    pub(super) fn new(address: Address, uuid: String, vitals: Arc<Vitals>, places_max: u32) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(usize::try_from(places_max).unwrap_or(1)));
        Arc::new(Self { address, uuid, vitals, places, places_max, state: Mutex::default() })
    }

    /// Lends a connection: an idle one, or a new one. Waits for its turn, but not longer than `patience` for a database
    /// that is away.
    pub(super) async fn take(self: &Arc<Self>, patience: Duration) -> Result<Lease, NotTaken> {
        let permit = Arc::clone(&self.places).acquire_owned().await.map_err(|_| NotTaken::Closed)?;
        let line = match self.idle() {
            Some(line) => line,
            None => self.connect(patience).await.map_err(NotTaken::Unreachable)?,
        };
        Ok(Lease { line, pool: Arc::clone(self), permit })
    }

    /// Lends nothing more. Returns when everything lent was given back.
    pub(super) async fn close(&self) {
        // An error means that it is closed already.
        let all = self.places.acquire_many(self.places_max).await;
        self.places.close();
        drop(all);
        self.state().idle.clear();
    }

    /// Lends nothing more, from now on.
    pub(super) fn shut(&self) {
        self.places.close();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that was not lost meanwhile.
    fn idle(&self) -> Option<Line> {
        let mut state = self.state();
        state.idle.retain(|line| !line.session.client().is_closed());
        state.idle.pop()
    }

    async fn connect(&self, patience: Duration) -> Result<Line, String> {
        let give_up_at = clock::instant().checked_add(patience);
        loop {
            let trouble = self.state().trouble.clone();
            if let Some(Trouble { cause, retry_at, .. }) = trouble {
                if give_up_at.is_some_and(|give_up_at| retry_at > give_up_at) {
                    return Err(cause);
                }
                clock::sleep_until(retry_at).await;
            }
            match self.try_connect().await {
                Ok(line) => {
                    if self.state().trouble.take().is_some() {
                        info!(database = %self.address, "the journal's database is back");
                    }
                    return Ok(line);
                }
                Err(Misfit::Another) => {
                    let cause = format!("{} {}", self.address, Misfit::Another);
                    self.vitals.die(cause.clone());
                    return Err(cause);
                }
                Err(cause) => self.note(&cause),
            }
        }
    }

    async fn try_connect(&self) -> Result<Line, Misfit> {
        let session = self.address.connect().await?;
        let found = schema::identity(&session).await?;
        if found.is_none_or(|(uuid, _)| uuid != self.uuid) {
            return Err(Misfit::Another);
        }
        let statements = Statements::prepare(&session).await.map_err(|cause| Misfit::of(&cause))?;
        Ok(Line { session, statements })
    }

    /// Remembers why there is no connection, for those who want one. It is logged once, not for each try.
    fn note(&self, misfit: &Misfit) {
        let cause = misfit.to_string();
        let mut state = self.state();
        let (is_news, pause) = match &state.trouble {
            None => (true, PAUSE_FIRST),
            Some(trouble) => (trouble.cause != cause, trouble.pause.saturating_mul(2).min(PAUSE_MAX)),
        };
        let now = clock::instant();
        if is_news {
            warn!(database = %self.address, "the journal's database {cause}");
        }
        state.trouble = Some(Trouble { cause, pause, retry_at: now.checked_add(pause).unwrap_or(now) });
    }
}

impl Lease {
    /// Lets others use the connection.
    pub(super) fn give_back(self) {
        let Self { line, pool, permit } = self;
        if !line.session.client().is_closed() {
            pool.state().idle.push(line);
        }
        drop(permit);
    }
}
