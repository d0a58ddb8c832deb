//! The tables, their versions, and how they come to be: by whichever node is first.

use tokio_postgres::Error;
use tracing::info;

use super::{Misfit, Session, memory::Remembered};

/// What each version of the schema adds to the one before. A version that was released is never changed.
const MIGRATIONS: [&str; 1] = [VERSION_1];

/// The table of entries is written in the order of the log; its one random page for each row is that of the index on
/// account and sequence, which is what keeps a second writer out. Mentions are kept apart, by parts of the log: so they
/// are written side by side, whatever the age of the journal. The function ends a statement that would write a part of a
/// group.
const VERSION_1: &str = "
    CREATE TABLE tollgate.journal (
        is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
        uuid text NOT NULL,
        format integer NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    );
    INSERT INTO tollgate.journal (uuid, format)
        VALUES (replace(gen_random_uuid()::text, '-', ''), 1);
    CREATE TABLE tollgate.entry (
        lsn bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account text COLLATE \"C\" NOT NULL,
        seq bigint NOT NULL CHECK (seq > 0),
        id bigint NOT NULL CHECK (id > 0),
        prev bigint NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        is_snapshot boolean NOT NULL,
        mentions text NOT NULL,
        body text NOT NULL,
        UNIQUE (account, seq)
    );
    CREATE TABLE tollgate.mention (
        part integer NOT NULL,
        hash bigint NOT NULL,
        lsn bigint NOT NULL,
        PRIMARY KEY (part, hash, lsn)
    );
    CREATE FUNCTION tollgate.torn() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'another writer has taken a place of a group: nothing of the batch is written'
            USING ERRCODE = 'TG001';
    END $$;
    CREATE TABLE tollgate.member (
        node text PRIMARY KEY,
        incarnation bigint NOT NULL,
        address text NOT NULL,
        version text NOT NULL,
        key text NOT NULL,
        beat_at timestamptz NOT NULL
    );
    CREATE TABLE tollgate.lineage (
        is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
        system bigint NOT NULL,
        timeline integer NOT NULL,
        began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        opened_at timestamptz,
        nodes text[] NOT NULL DEFAULT '{}'
    );
    INSERT INTO tollgate.lineage (system, timeline, opened_at)
        SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int,
            clock_timestamp() FROM pg_control_system();
    CREATE TABLE tollgate.writer (
        incarnation bigint PRIMARY KEY,
        node text NOT NULL,
        system bigint NOT NULL,
        timeline integer NOT NULL,
        beat_at timestamptz NOT NULL,
        given_back bigint NOT NULL DEFAULT 0,
        tried bigint
    );
    CREATE VIEW tollgate.events AS
        SELECT entry.lsn, entry.account, entry.seq, entry.at, fact.key AS kind, fact.value AS fact
        FROM tollgate.entry,
             json_array_elements(entry.body::json) AS element,
             json_each(CASE json_typeof(element) WHEN 'object' THEN element ELSE '{}' END) AS fact;
    CREATE VIEW tollgate.decisions AS
        SELECT lsn, seq, account AS card,
               fact ->> 'authorization' AS authorization,
               fact ->> 'id' AS decision,
               to_timestamp((fact ->> 'at')::numeric / 1000000) AS decided_at,
               fact ->> 'outcome' AS outcome,
               coalesce(fact ->> 'reason', 'approved') AS reason,
               coalesce(fact ->> 'source', CASE kind WHEN 'stood_in' THEN 'stand_in' ELSE 'policy' END) AS source,
               (fact ->> 'asked')::bigint AS asked,
               coalesce((fact ->> 'granted')::bigint, 0) AS granted,
               fact ->> 'currency' AS currency,
               fact ->> 'category' AS category,
               fact ->> 'country' AS country,
               fact ->> 'policy' AS policy,
               fact ->> 'event' AS event,
               fact
        FROM tollgate.events WHERE kind IN ('decided', 'stood_in');";

/// Makes the tables, or brings them up to date, and gives the id of the journal. Nodes that start at once do it one
/// after another; where nothing is to be done, none waits.
pub(super) async fn prepare(session: &mut Session) -> Result<String, Misfit> {
    let known = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    match identity(session).await? {
        Some((uuid, format)) if format == known => return Ok(uuid),
        Some((_, found)) if found > known => return Err(Misfit::Later { found, known }),
        Some(_) | None => migrate(session).await.map_err(|cause| Misfit::of(&cause))?,
    }
    match identity(session).await? {
        Some((uuid, _)) => Ok(uuid),
        None => Err(Misfit::NotAJournal("it has no table named journal".into())),
    }
}

/// Whether there is a journal that this version reads.
pub(super) async fn readable(session: &Session) -> Result<(), Misfit> {
    let known = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    match identity(session).await? {
        Some((_, found)) if found > known => Err(Misfit::Later { found, known }),
        Some(_) => Ok(()),
        None => Err(Misfit::NoJournal),
    }
}

/// The id and the format of the journal that is there, if there is one.
pub(super) async fn identity(session: &Session) -> Result<Option<(String, i32)>, Misfit> {
    let failed = |cause: Error| Misfit::of(&cause);
    let is_there = "SELECT to_regclass('tollgate.journal') IS NOT NULL,
                           to_regclass('tollgate.entry') IS NOT NULL";
    let row = session.client().query_one(is_there, &[]).await.map_err(failed)?;
    match (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?) {
        (true, true) => {}
        (false, false) => return Ok(None),
        (_, _) => return Err(Misfit::NotAJournal("expected both tables journal and entry".into())),
    }
    let row = session.client().query_opt("SELECT uuid, format FROM tollgate.journal", &[]).await;
    match row.map_err(failed)? {
        Some(row) => Ok(Some((row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?))),
        None => Err(Misfit::NotAJournal("its table journal is empty".into())),
    }
}

/// The first of these entries that is not there, as a misfit.
pub(super) async fn missing(session: &Session, entries: &[Remembered]) -> Result<Option<Misfit>, Misfit> {
    let is_there = "SELECT FROM tollgate.entry WHERE account = $1 AND seq = $2 AND id = $3";
    for Remembered { account, seq, id } in entries {
        let found = session.client().query_opt(is_there, &[account, seq, id]).await;
        if found.map_err(|cause| Misfit::of(&cause))?.is_none() {
            return Ok(Some(Misfit::Loss { account: account.clone(), seq: *seq }));
        }
    }
    Ok(None)
}

/// One transaction, behind a lock that ends with it.
async fn migrate(session: &mut Session) -> Result<(), Error> {
    let transaction = session.client_mut().transaction().await?;
    let lock = "SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(hashtext('tollgate schema'))";
    transaction.batch_execute(lock).await?;
    let has_schema = "SELECT to_regnamespace('tollgate') IS NOT NULL";
    let has_schema: bool = transaction.query_one(has_schema, &[]).await?.try_get(0)?;
    if !has_schema {
        transaction.batch_execute("CREATE SCHEMA tollgate").await?;
    }
    // Another node may have been here while this one waited.
    let is_there = "SELECT to_regclass('tollgate.journal') IS NOT NULL";
    let is_there: bool = transaction.query_one(is_there, &[]).await?.try_get(0)?;
    let mut format: i32 = 0;
    if is_there {
        format = transaction.query_one("SELECT format FROM tollgate.journal", &[]).await?.try_get(0)?;
    }
    for (version, migration) in (1_i32..).zip(MIGRATIONS).filter(|(version, _)| *version > format) {
        transaction.batch_execute(migration).await?;
        transaction.execute("UPDATE tollgate.journal SET format = $1", &[&version]).await?;
        info!(version, "the tables of the journal were brought up to date");
    }
    transaction.commit().await
}
