//! One connection to PostgreSQL: made, checked, and driven. What the journal asks over it is elsewhere.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, error::Severity};
use tracing::{debug, warn};

use super::{Address, Misfit, address::CONNECT_WITHIN, misfit::told};
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
               THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END AS timeline";

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
    lineage: Lineage,
    warned: Arc<AtomicBool>,
}

impl Address {
    /// Connects, and checks that the server is a primary that syncs.
    ///
    /// # Errors
    /// [`Misfit`] says what was found.
    pub async fn connect(&self) -> Result<Session, Misfit> {
        let connect = async {
            let (client, connection) =
                self.config().connect(self.tls()).await.map_err(|cause| Misfit::Unreachable(told(&cause)))?;
            let (client, warned) = start(client, connection);
            let lineage = check(&client).await?;
            Ok(Session { client, lineage, warned })
        };
        let late = || Misfit::Unreachable(format!("no answer within {CONNECT_WITHIN:?}"));
        clock::timeout(CONNECT_WITHIN, connect).await.unwrap_or_else(|_| Err(late()))
    }
}

impl Session {
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

fn start<S, T>(client: Client, connection: Connection<S, T>) -> (Client, Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let warned = Arc::new(AtomicBool::new(false));
    tokio::spawn(drive(connection, Arc::clone(&warned)));
    (client, warned)
}

/// Whether the server keeps what it says it keeps; and its lineage.
async fn check(client: &Client) -> Result<Lineage, Misfit> {
    let failed = |cause: Error| Misfit::of(&cause);
    let row = client.query_one(CHECK, &[]).await.map_err(failed)?;
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
    Ok(Lineage { system: system.cast_unsigned(), timeline: timeline.cast_unsigned() })
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
