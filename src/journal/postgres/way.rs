//! The way to the journal's database: new connections, made with patience while it is away. Who uses them is elsewhere.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::{debug, info, warn};

use super::{Address, Misfit, Session, schema, statements::Statements};
use crate::{
    clock::{self, Instant},
    journal::vitals::Vitals,
};

/// How long to wait after a connection that could not be made; the wait doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// The longest such wait: shorter than an append's patience, so that none is rejected without a try.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Where the journal is, which one it is, and whether it can be reached.
pub(super) struct Way {
    address: Address,
    /// The id of the journal that is expected there.
    uuid: String,
    vitals: Arc<Vitals>,
    trouble: Mutex<Option<Trouble>>,
}

/// Why the last connection could not be made, and when to try again.
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

impl Way {
    pub(super) fn new(address: Address, uuid: String, vitals: Arc<Vitals>) -> Self {
        Self { address, uuid, vitals, trouble: Mutex::new(None) }
    }

    /// A new connection. A database that is away is waited for, but not longer than `patience`; then it is told why.
    pub(super) async fn connect(&self, patience: Duration) -> Result<Line, String> {
        let give_up_at = clock::instant().checked_add(patience);
        loop {
            let trouble = self.trouble().clone();
            if let Some(Trouble { cause, retry_at, .. }) = trouble {
                if give_up_at.is_some_and(|give_up_at| retry_at > give_up_at) {
                    return Err(cause);
                }
                clock::sleep_until(retry_at).await;
            }
            match self.try_connect().await {
                Ok(line) => {
                    if self.trouble().take().is_some() {
                        info!(database = %self.address, "the journal's database is back");
                    }
                    return Ok(line);
                }
                Err(Misfit::Another) => {
                    let cause = format!("the database at {} {}", self.address, Misfit::Another);
                    self.vitals.die(cause.clone());
                    return Err(cause);
                }
                Err(misfit) => self.note(&misfit),
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

    /// Whether the last connection could not be made.
    pub(super) fn is_troubled(&self) -> bool {
        self.trouble().is_some()
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers why there is no connection, for all who want one. It is logged once, not for each try.
    fn note(&self, misfit: &Misfit) {
        let cause = misfit.to_string();
        let mut trouble = self.trouble();
        let pause = if let Some(Trouble { pause, .. }) = &*trouble {
            debug!(database = %self.address, "the journal's database still {cause}");
            pause.saturating_mul(2).min(PAUSE_MAX)
        } else {
            warn!(database = %self.address, "the journal's database {cause}");
            PAUSE_FIRST
        };
        let now = clock::instant();
        *trouble = Some(Trouble { cause, pause, retry_at: now.checked_add(pause).unwrap_or(now) });
    }
}
