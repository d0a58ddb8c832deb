//! The journal's database as the node sees it: which server is in force, which history it is on, and whether it can be
//! used now. One task, the control, holds a connection of its own and finds that out; all others ask here.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};
use tracing::{debug, error, info, warn};

use super::{
    Address, Misfit, Options, Phase, Session, Status,
    epoch::{self, Look, Writer},
    memory::Memory,
    ring::Ring,
    schema,
    session::Backend,
    statements::Statements,
};
use crate::{
    clock::{self, Instant},
    journal::{Lineage, vitals::Vitals},
};

/// How long to wait after a connection that could not be made; the wait doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// The longest such wait: shorter than an append's patience, so that none is rejected without a try.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// A statement that takes longer than this is looked after.
const SUSPECT_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked after, and how long that may take.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whether the backend of a statement is still there. One that has nothing to do, though the statement's answer has not
/// come for seconds, has lost it on the way: it is ended, so that nothing more can come of it.
const LIVES: &str = "
    SELECT CASE WHEN state = 'idle' AND state_change < clock_timestamp() - interval '3 seconds'
        THEN pg_terminate_backend(pid) END
    FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2";

/// What is known of the database.
#[derive(Clone)]
pub(super) enum State {
    /// Entries are taken by the server that this connection leads to.
    Open(Arc<Session>),
    /// A new history has begun there; nothing is appended yet.
    Restoring(Arc<Session>),
    /// No server can be used.
    Away {
        /// Why.
        cause: String,
        /// Whether the server that was in force does not answer any more: connections to it are worth nothing.
        is_silent: bool,
    },
}

/// The journal's database. Shared by all who connect to it.
pub struct Database {
    pub(super) address: Address,
    /// The id of the journal that is expected there.
    pub(super) uuid: String,
    pub(super) vitals: Arc<Vitals>,
    pub(super) options: Options,
    pub(super) writer: Writer,
    pub(super) ring: Arc<Ring>,
    pub(super) state: watch::Sender<State>,
    status: watch::Sender<Status>,
    writers: Mutex<Vec<Writer>>,
    /// The control should look at once.
    pub(super) poke: Notify,
    highest: Mutex<Lineage>,
    trouble: Mutex<Option<Trouble>>,
}

/// Why the last connection could not be made, and when to try again.
#[derive(Clone)]
struct Trouble {
    cause: String,
    pause: Duration,
    retry_at: Instant,
}

/// A connection with its prepared statements.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) statements: Statements,
}

impl Database {
    /// The database at `address`, of which `control` is a connection to the server in force. Nothing is taken yet.
    pub(super) fn new(
        address: Address,
        uuid: String,
        options: Options,
        vitals: Arc<Vitals>,
        control: Arc<Session>,
    ) -> Self {
        let lineage = control.lineage();
        let writer = Writer {
            node: options.node.clone(),
            incarnation: i64::try_from(fastrand::u64(..) >> 1).unwrap_or(i64::MAX),
        };
        let status = Status {
            phase: Phase::Restoring,
            lineage,
            server: None,
            standbys: 0,
            copies: 1,
            restored: 0,
            lost: 0,
            refused: 0,
        };
        Self {
            address,
            uuid,
            vitals,
            ring: Arc::new(Ring::new(lineage, options.restore_bytes_max)),
            options,
            writer,
            highest: Mutex::new(lineage),
            state: watch::Sender::new(State::Restoring(control)),
            status: watch::Sender::new(status),
            writers: Mutex::default(),
            poke: Notify::new(),
            trouble: Mutex::default(),
        }
    }

    /// Nobody waits for this node any more.
    pub(super) async fn leave(&self) {
        let state = self.state.borrow().clone();
        if let State::Open(control) = state {
            // One that cannot be told finds out in two seconds.
            let _ = clock::timeout(LOOK_EVERY, epoch::leave(&control, &self.writer)).await;
        }
        self.turn(State::Away { cause: "is left: the journal is closed".to_owned(), is_silent: true });
    }

    /// How the database is, and every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// From now on this is so.
    pub(super) fn turn(&self, state: State) {
        let phase = match &state {
            State::Open(_) => Phase::Open,
            State::Restoring(_) => Phase::Restoring,
            State::Away { .. } => Phase::Away,
        };
        let server = match &state {
            State::Open(control) | State::Restoring(control) => Some(control.target().to_string()),
            State::Away { .. } => None,
        };
        let lineage = self.lineage();
        self.state.send_replace(state);
        self.status.send_if_modified(|status| {
            let before = status.clone();
            (status.phase, status.server, status.lineage) = (phase, server, lineage);
            *status != before
        });
    }

    /// Takes entries on this server as long as enough servers have them before they are acknowledged.
    pub(super) fn judge(&self, control: &Arc<Session>, look: &Look) {
        let (found, expected) = (look.copies(), self.options.copies);
        let is_open = matches!(&*self.state.borrow(), State::Open(_));
        let is_short = matches!(&*self.state.borrow(), State::Away { .. });
        if found < expected {
            let misfit = Misfit::Copies { found, expected };
            if !is_short {
                error!(server = %control.target(), "the journal's database {misfit}");
                self.turn(State::Away { cause: misfit.to_string(), is_silent: true });
            }
        } else if !is_open {
            self.turn(State::Open(Arc::clone(control)));
        }
    }

    /// What the server in force says of itself.
    pub(super) fn note_look(&self, look: &Look) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&look.writers);
        let standbys = u32::try_from(look.standbys).unwrap_or(0);
        let copies = look.copies();
        self.status.send_if_modified(|status| {
            let is_new = (status.standbys, status.copies) != (standbys, copies);
            (status.standbys, status.copies) = (standbys, copies);
            is_new
        });
    }

    /// What is to be known after a restart.
    pub(super) fn memory(&self) -> Memory {
        Memory::new(&self.uuid, self.lineage(), &self.ring.newest())
    }

    /// The writers that were there when the server in force was last looked at.
    pub(super) fn writers(&self) -> Vec<Writer> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count_restored(&self, entries: usize) {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.status.send_modify(|status| status.restored = status.restored.saturating_add(entries));
    }

    pub(super) fn count_lost(&self, entries: usize) {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.status.send_modify(|status| status.lost = status.lost.saturating_add(entries));
    }

    pub(super) fn count_refused(&self) {
        self.status.send_modify(|status| status.refused = status.refused.saturating_add(1));
    }

    /// A connection to the server in force, for something else than entries: the members' heartbeats.
    ///
    /// # Errors
    /// [`Misfit`] says why there is none.
    pub async fn connect(&self) -> Result<Session, Misfit> {
        let state = self.state.borrow().clone();
        let control = match state {
            State::Open(control) | State::Restoring(control) => control,
            State::Away { cause, .. } => return Err(Misfit::Away(cause)),
        };
        let session = control.target().connect(&self.address).await.inspect_err(|_| self.look())?;
        if session.lineage() != control.lineage() {
            // An address may lead to another server from one connection to the next.
            self.saw(session.lineage());
            self.look();
            return Err(Misfit::Moved);
        }
        Ok(session)
    }

    /// The highest lineage that this node has seen.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        *self.highest()
    }

    /// Another node has seen this lineage. If it is of after the one in force, that server is left at once.
    pub fn saw(&self, lineage: Lineage) {
        let mut highest = self.highest();
        if highest.is_before(lineage) {
            info!(before = %*highest, now = %lineage, "the journal's database has a new timeline");
            *highest = lineage;
            self.poke.notify_one();
        }
    }

    /// Has the control look whether the server in force is still there.
    pub(super) fn look(&self) {
        self.poke.notify_one();
    }

    /// A new connection for entries. A database that is away is waited for, but not longer than `patience`.
    pub(super) async fn connect_within(&self, patience: Duration) -> Result<Connection, String> {
        let now = clock::instant();
        let give_up_at = now.checked_add(patience).unwrap_or(now);
        loop {
            self.until_open(give_up_at).await?;
            let trouble = self.trouble().clone();
            if let Some(Trouble { cause, retry_at, .. }) = trouble {
                if retry_at > give_up_at {
                    return Err(cause);
                }
                clock::sleep_until(retry_at).await;
            }
            match self.try_connect().await {
                Ok(connection) => {
                    self.trouble().take();
                    return Ok(connection);
                }
                Err(Misfit::Another) => return Err(self.die()),
                Err(misfit) => self.note(&misfit),
            }
        }
    }

    /// Returns when entries are taken.
    async fn until_open(&self, give_up_at: Instant) -> Result<(), String> {
        let mut state = self.state.subscribe();
        let is_open = |state: &State| matches!(state, State::Open(_));
        let opened = clock::timeout_at(give_up_at, state.wait_for(is_open)).await;
        if opened.is_ok_and(|open| open.is_ok()) {
            return Ok(());
        }
        Err(match &*self.state.borrow() {
            State::Open(_) => "was away".to_owned(),
            State::Restoring(_) => "has a new history, and nothing is appended to it yet".to_owned(),
            State::Away { cause, .. } => cause.clone(),
        })
    }

    async fn try_connect(&self) -> Result<Connection, Misfit> {
        let session = self.connect().await?;
        self.check(&session).await?;
        let statements =
            Statements::prepare(&session, self.options.copies).await.map_err(|cause| Misfit::of(&cause))?;
        Ok(Connection { session, statements })
    }

    /// Whether the journal behind `session` is the one that this node answers from.
    pub(super) async fn check(&self, session: &Session) -> Result<(), Misfit> {
        let found = schema::identity(session).await?;
        if found.is_none_or(|(uuid, _)| uuid != self.uuid) { Err(Misfit::Another) } else { Ok(()) }
    }

    /// The journal has another id now: nothing that this node knows is worth anything.
    pub(super) fn die(&self) -> String {
        let cause = format!("the database at {} {}", self.address, Misfit::Another);
        self.vitals.die(cause.clone());
        cause
    }

    /// Returns when a statement under way on `session` has certainly come to its end, though its answer will not come:
    /// a second connection says so, which leads to another history, or on which the backend is not seen any more.
    pub(super) async fn ended(&self, session: &Session) {
        let mut state = self.state.subscribe();
        let mut span = SUSPECT_AFTER;
        loop {
            // Whether anything has changed or not, it is looked again.
            let _ = clock::timeout(span, state.changed()).await;
            let now = state.borrow_and_update().clone();
            match now {
                State::Open(control) | State::Restoring(control) => {
                    if control.lineage() != session.lineage() || is_gone(&control, session.backend()).await {
                        return;
                    }
                }
                State::Away { .. } => {}
            }
            span = LOOK_EVERY;
        }
    }

    /// Whether what is open leads to the server in force. Of a server that is silent nothing is used.
    pub(super) fn is_in_force(&self, session: &Session) -> bool {
        match &*self.state.borrow() {
            State::Open(control) => control.lineage() == session.lineage(),
            State::Restoring(_) => false,
            State::Away { is_silent, .. } => !is_silent && self.lineage() == session.lineage(),
        }
    }

    /// Whether no server takes entries now.
    pub(super) fn is_in_trouble(&self) -> bool {
        !matches!(&*self.state.borrow(), State::Open(_))
    }

    /// Whether the last connection could not be made.
    pub(super) fn is_troubled(&self) -> bool {
        self.trouble().is_some() || self.is_in_trouble()
    }

    fn highest(&self) -> MutexGuard<'_, Lineage> {
        self.highest.lock().unwrap_or_else(PoisonError::into_inner)
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
            match misfit {
                // The control has said so, or is about to.
                Misfit::Away(_) | Misfit::Moved => debug!("the journal's database {cause}"),
                _ => {
                    warn!(database = %self.address, "the journal's database accepts no connections: it {cause}");
                }
            }
            PAUSE_FIRST
        };
        let now = clock::instant();
        *trouble = Some(Trouble { cause, pause, retry_at: now.checked_add(pause).unwrap_or(now) });
    }
}

/// Whether the control's server knows nothing of a backend any more. No answer says nothing.
async fn is_gone(control: &Session, Backend { pid, started }: Backend) -> bool {
    let look = async { control.client().query_opt(LIVES, &[&pid, &started]).await };
    matches!(clock::timeout(LOOK_EVERY, look).await, Ok(Ok(None)))
}
