//! One connection to PostgreSQL: made, checked, and driven. What the journal asks over it is elsewhere.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, error::Severity};
use tracing::{debug, warn};

use super::{Address, Misfit, address::Target, misfit::told};
use crate::{clock, journal::Lineage};

/// The first version that all of the SQL here works on.
const VERSION_MIN: i32 = 130_000;

const CHECK: &str = "
    SELECT pg_is_in_recovery() AS is_standby,
           current_setting('server_version_num')::int AS version,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('server_encoding') AS server_encoding,
           current_setting('transaction_read_only') AS transaction_read_only,
           (SELECT system_identifier FROM pg_control_system()) AS system,
           -- The first eight digits of a segment's name. What pg_control says of it lags behind a promotion.
           CASE WHEN NOT pg_is_in_recovery()
               THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END AS timeline,
           current_setting('tollgate.session', true) AS mark,
           pg_backend_pid() AS pid,
           (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) AS started";

/// The name under which the server keeps a mark for the length of our session. A pooler that does not keep sessions does
/// not pass it on, or refuses it by this message.
const MARK: &str = "tollgate.session";
const MARK_REFUSED: &str = "unsupported startup parameter";

/// A commit is told when it is on the disk, of the standbys too where there are synchronous ones: whatever the role or
/// the database have as their default. `remote_apply` waits for more than that, and stays.
const SETTINGS: &str = "
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') <> 'remote_apply';
    SET default_transaction_isolation = 'read committed';
    SET statement_timeout = 0;
    SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '10s'";

/// A connection to a server that keeps what it says it keeps.
pub struct Session {
    client: Client,
    target: Target,
    lineage: Lineage,
    backend: Backend,
    warned: Arc<AtomicBool>,
    driving: AbortHandle,
}

/// The server's process behind a connection. Its number may be given again; with its start it is one of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Backend {
    pub(super) pid: i32,
    pub(super) started: SystemTime,
}

impl Target {
    /// Connects to this server, and checks that it is a primary that syncs.
    pub(super) async fn connect(&self, address: &Address) -> Result<Session, Misfit> {
        let mark = format!("{:016x}", fastrand::u64(..));
        let connect = async {
            let connected = self.config_with(MARK, &mark).connect(address.tls()).await;
            let (client, connection) = connected.map_err(|cause| not_connected(&cause))?;
            Session::start(client, connection, self.clone(), &mark).await
        };
        let within = address.connect_within();
        clock::timeout(within, connect).await.unwrap_or(Err(Misfit::Silent(within)))
    }
}

impl Session {
    async fn start<S, T>(
        client: Client,
        connection: Connection<S, T>,
        target: Target,
        mark: &str,
    ) -> Result<Self, Misfit>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let warned = Arc::new(AtomicBool::new(false));
        let driving = tokio::spawn(drive(connection, Arc::clone(&warned))).abort_handle();
        let unchecked = Unchecked(Some(driving.clone()));
        let (lineage, backend) = check(&client, mark).await?;
        unchecked.keep();
        Ok(Self { client, target, lineage, backend, warned, driving })
    }

    /// The server that it leads to.
    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// The server's process behind it.
    pub(super) const fn backend(&self) -> Backend {
        self.backend
    }

    /// Lets go of it at once, whatever is under way: a server that does not answer is not waited for.
    pub(super) fn abandon(&self) {
        self.driving.abort();
    }

    /// Which history of the database the server was on when this connection was made.
    #[must_use]
    pub const fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// The client of the library, for any question.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Whether the server has warned since the last time that this was asked. A commit whose wait for a standby was
    /// cancelled is answered like any other: only a warning that comes before the answer tells.
    pub(super) fn take_warning(&self) -> bool {
        self.warned.swap(false, Ordering::AcqRel)
    }
}

/// A connection that ends with this, unless its checks come to an end: whoever waits no longer waits for no answer.
struct Unchecked(Option<AbortHandle>);

impl Unchecked {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unchecked {
    fn drop(&mut self) {
        if let Some(driving) = &self.0 {
            driving.abort();
        }
    }
}

/// Why there is no connection.
fn not_connected(cause: &Error) -> Misfit {
    if cause.as_db_error().is_some_and(|answer| answer.message().contains(MARK_REFUSED)) {
        Misfit::Pooler
    } else {
        Misfit::Unreachable(told(cause))
    }
}

/// Whether the server keeps what it says it keeps, for a session of our own; its lineage, and who serves this connection.
async fn check(client: &Client, mark: &str) -> Result<(Lineage, Backend), Misfit> {
    let failed = |cause: Error| Misfit::of(&cause);
    let row = client.query_one(CHECK, &[]).await.map_err(failed)?;
    if row.try_get::<_, Option<&str>>("mark").map_err(failed)? != Some(mark) {
        return Err(Misfit::Pooler);
    }
    let version: i32 = row.try_get("version").map_err(failed)?;
    if version < VERSION_MIN {
        return Err(Misfit::Version(version.wrapping_div(10_000)));
    }
    if row.try_get("is_standby").map_err(failed)? {
        return Err(Misfit::Standby);
    }
    for (setting, expected) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("server_encoding", "UTF8"),
        ("transaction_read_only", "off"),
    ] {
        let found: String = row.try_get(setting).map_err(failed)?;
        if found != expected {
            return Err(Misfit::Unsafe { setting, found, expected });
        }
    }
    client.batch_execute(SETTINGS).await.map_err(failed)?;
    let system: i64 = row.try_get("system").map_err(failed)?;
    let timeline: i32 = row.try_get("timeline").map_err(failed)?;
    let lineage = Lineage { system: system.cast_unsigned(), timeline: timeline.cast_unsigned() };
    let pid: i32 = row.try_get("pid").map_err(failed)?;
    let started: SystemTime = row.try_get("started").map_err(failed)?;
    Ok((lineage, Backend { pid, started }))
}

/// Moves bytes until the connection ends. A warning is noted before the answer that comes behind it is passed on.
async fn drive<S, T>(mut connection: Connection<S, T>, warned: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) if notice.parsed_severity() == Some(Severity::Warning) => {
                warned.store(true, Ordering::Release);
                warn!(code = notice.code().code(), "PostgreSQL warns: {}", notice.message());
            }
            Ok(AsyncMessage::Notice(notice)) => debug!("PostgreSQL says: {}", notice.message()),
            Ok(_) => {}
            Err(error) => {
                debug!(error = told(&error), "a connection to PostgreSQL has ended");
                return;
            }
        }
    }
}
