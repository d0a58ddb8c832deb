//! Every question that the journal asks of PostgreSQL while it serves, as SQL, prepared on a connection.

use tokio_postgres::{Error, Statement};

use super::Session;

/// The 64 bits under which an id `$a` is mentioned.
macro_rules! hash_of {
    ($a:literal) => {
        concat!("('x' || encode(substr(sha256(convert_to(", $a, ", 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint")
    };
}

/// The lock that every append shares while it is under way, so that a scan can tell.
macro_rules! appending {
    () => {
        "1414546225"
    };
}

macro_rules! columns {
    () => {
        "lsn, account, seq, id, prev, at, is_snapshot, body"
    };
}

/// Each plan goes by an index, whatever the statistics of a young table say.
const PLANNING: &str = "
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET max_parallel_workers_per_gather = 0;
    SET jit = off";

/// The fenced append. An entry goes in behind the very entry that its writer names; the sequence number alone would let
/// a stale writer's second entry in behind another's first. Sorted, so that two batches never wait for each other.
///
/// Nothing goes in where the server is not what it was when the connection was made: another history, another backend
/// behind a pooler, or a lineage that is closed to all but what is given back. Then one row says so, without an account.
/// The commit waits for what a commit has to wait for, whatever else was set on the connection.
fn append_on(session: &Session, copies: u32) -> String {
    let (lineage, pid) = (session.lineage(), session.backend().pid);
    let (system, timeline) = (lineage.system.cast_signed(), lineage.timeline);
    let is_copied = if copies > 1 { "current_setting('synchronous_standby_names') <> ''" } else { "true" };
    format!(
        "WITH guard AS MATERIALIZED (
            SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                    WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true) IS NOT NULL
                AND pg_backend_pid() = {pid} AND {is_copied}
                AND ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int = {timeline}
                AND EXISTS (SELECT FROM tollgate.lineage WHERE is_one AND system = {system}
                    AND timeline = {timeline} AND (opened_at IS NOT NULL OR $8::boolean)) AS holds,
                clock_timestamp() AS at
        ), {APPEND}"
    )
}

/// Whether the entry that a row names is the one before its place. `OFFSET 0` keeps it a search by the index for each row:
/// else PostgreSQL 18 reads the whole table once and looks the rows up in that, as long as the table is small.
macro_rules! fits {
    () => {
        "(b.seq = 0 AND b.prev = 0 OR EXISTS (
            SELECT FROM tollgate.entry AS known
            WHERE known.account = b.account AND known.seq = b.seq AND known.id = b.prev OFFSET 0))"
    };
}

/// Rows with the same id are a group, and `is_of_group` says that there are several. A group of which one row does not
/// fit, or has its place taken, is left out. The place of a row may still be taken by an append that this statement did not
/// see: then part of a group would be written, and the statement fails as a whole. All its entries have one time.
const APPEND: &str = concat!(
    "misfit AS MATERIALIZED (
        SELECT b.id FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $9::boolean[])
            AS b (account, seq, id, prev, is_of_group)
        WHERE true = ANY ($9::boolean[]) AND b.is_of_group AND (NOT ",
    fits!(),
    " OR EXISTS (
                SELECT FROM tollgate.entry AS taken
                WHERE taken.account = b.account AND taken.seq = b.seq + 1 OFFSET 0))
    ), written AS (
        INSERT INTO tollgate.entry (account, seq, id, prev, at, is_snapshot, mentions, body)
        SELECT b.account, b.seq + 1, b.id, b.prev, (SELECT at FROM guard), b.is_snapshot, b.mentions, b.body
        FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $6::text[], $7::text[],
                $9::boolean[])
            AS b (account, seq, id, prev, is_snapshot, mentions, body, is_of_group)
        WHERE (SELECT holds FROM guard)
            AND (SELECT pg_advisory_xact_lock_shared(",
    appending!(),
    ")) IS NOT NULL
            AND CASE WHEN b.is_of_group THEN b.id <> ALL (ARRAY(SELECT id FROM misfit)) ELSE ",
    fits!(),
    " END
        ORDER BY b.account COLLATE \"C\"
        ON CONFLICT (account, seq) DO NOTHING
        RETURNING lsn, account, id, at, mentions
    ), torn AS (
        SELECT FROM (
            SELECT id, true AS is_written FROM written WHERE true = ANY ($9::boolean[])
            UNION ALL
            SELECT b.id, false FROM unnest($3::bigint[], $9::boolean[]) AS b (id, is_of_group)
            WHERE true = ANY ($9::boolean[]) AND b.is_of_group
        ) AS row
        GROUP BY id
        HAVING count(*) FILTER (WHERE is_written) BETWEEN 1 AND count(*) FILTER (WHERE NOT is_written) - 1
    ), mentioned AS (
        INSERT INTO tollgate.mention (part, hash, lsn)
        SELECT (lsn >> 20)::integer, ",
    hash_of!("a"),
    ", lsn
        FROM written, unnest(string_to_array(mentions, ' ')) AS a
        ON CONFLICT DO NOTHING
    )
    SELECT account, at FROM written
    UNION ALL SELECT '', at FROM guard WHERE NOT holds
    UNION ALL SELECT '', tollgate.torn() FROM torn"
);

/// Which of these very entries are there: an append that was repeated.
const OWN: &str = "
    SELECT entry.account, entry.at, entry.id
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS b (account, seq, id, prev)
    CROSS JOIN LATERAL (
        SELECT * FROM tollgate.entry
        WHERE entry.account = b.account AND entry.seq = b.seq + 1 AND entry.id = b.id AND entry.prev = b.prev
    ) AS entry";

/// Returns when everything that was visible before is where the settings want it: on the standbys, if they are
/// synchronous. What a standby has not got yet may be visible, after a crash or a cancelled wait.
const SETTLE: &str = "
    SELECT CASE WHEN current_setting('synchronous_standby_names') <> ''
        THEN pg_logical_emit_message(true, 'tollgate', '') IS NOT NULL END";

const LOAD_SNAPSHOT: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tollgate.entry WHERE account = $1 AND seq >= coalesce((
        SELECT seq FROM tollgate.entry WHERE account = $1 AND is_snapshot ORDER BY seq DESC LIMIT 1
    ), 0) ORDER BY seq"
);

const LOAD_LAST: &str = concat!(
    "SELECT * FROM (SELECT ",
    columns!(),
    " FROM tollgate.entry WHERE account = $1 ORDER BY seq DESC LIMIT $2) AS last ORDER BY seq"
);

/// One small search for each part of the log, of about a million entries. `OFFSET 0` keeps it that: else the planner looks
/// through the whole index for the hash, in whatever part.
const FIND: &str = concat!(
    "SELECT entry.* FROM generate_series(0, (SELECT coalesce(max(part), -1) FROM tollgate.mention)) AS p (part)
    CROSS JOIN LATERAL (
        SELECT lsn FROM tollgate.mention
        WHERE mention.part = p.part AND mention.hash = (SELECT ",
    hash_of!("$1::text"),
    ")
        OFFSET 0
    ) AS mention
    CROSS JOIN LATERAL (
        SELECT ",
    columns!(),
    " FROM tollgate.entry
        WHERE entry.lsn = mention.lsn AND $1::text = ANY (string_to_array(mentions, ' '))
        OFFSET 0
    ) AS entry
    ORDER BY entry.lsn"
);

/// Entries of all accounts from `$1` back: of the `$2` last ones those that contain each of four texts, at most `$7` of
/// them. Each row ends with the last of those that were looked at, also where no entry is returned.
const LOOK_BACK: &str = concat!(
    "SELECT entry.*, floor.lsn AS floor_lsn, (SELECT at FROM tollgate.entry WHERE entry.lsn = floor.lsn) AS floor_at
    FROM (SELECT coalesce((
            SELECT lsn FROM tollgate.entry WHERE lsn <= $1 ORDER BY lsn DESC OFFSET $2::bigint - 1 LIMIT 1
        ), 0) AS lsn) AS floor
    LEFT JOIN LATERAL (
        SELECT ",
    columns!(),
    " FROM tollgate.entry
        WHERE entry.lsn <= $1 AND entry.lsn >= floor.lsn AND strpos(body, $3::text) > 0
            AND strpos(body, $4::text) > 0 AND strpos(body, $5::text) > 0 AND strpos(body, $6::text) > 0
        ORDER BY entry.lsn DESC LIMIT $7::bigint
    ) AS entry ON true
    ORDER BY entry.lsn DESC"
);

/// The entries of an account from its entry `$2` back; the greatest number is its last entry.
const LOOK_BACK_CHAIN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tollgate.entry WHERE account = $1 AND seq <= (
        CASE $2::bigint WHEN 9223372036854775807 THEN $2
            ELSE (SELECT seq FROM tollgate.entry WHERE lsn = $2 AND account = $1) END
    ) ORDER BY seq DESC LIMIT $3"
);

const LAST_LSN: &str = "SELECT coalesce(max(lsn), 0) FROM tollgate.entry";

/// The appends that are under way.
const APPENDING: &str = concat!(
    "SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 0 AND objid = ",
    appending!(),
    " AND objsubid = 1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
);

const SCAN: &str =
    concat!("SELECT ", columns!(), " FROM tollgate.entry WHERE lsn > $1 AND lsn <= $2 ORDER BY lsn LIMIT $3");

/// The prepared questions of one connection.
pub(super) struct Statements {
    pub(super) append: Statement,
    pub(super) own: Statement,
    pub(super) settle: Statement,
    pub(super) load_snapshot: Statement,
    pub(super) load_last: Statement,
    pub(super) find: Statement,
    pub(super) look_back: Statement,
    pub(super) look_back_chain: Statement,
    pub(super) scanning: Scanning,
}

/// Those that read everything, in order.
pub(super) struct Scanning {
    pub(super) last_lsn: Statement,
    pub(super) appending: Statement,
    pub(super) scan: Statement,
}

impl Scanning {
    pub(super) async fn prepare(session: &Session) -> Result<Self, Error> {
        let client = session.client();
        let (last_lsn, appending, scan) =
            tokio::try_join!(client.prepare(LAST_LSN), client.prepare(APPENDING), client.prepare(SCAN))?;
        Ok(Self { last_lsn, appending, scan })
    }
}

impl Statements {
    /// All of them in one exchange.
    pub(super) async fn prepare(session: &Session, copies: u32) -> Result<Self, Error> {
        let client = session.client();
        client.batch_execute(PLANNING).await?;
        let append = append_on(session, copies);
        let (append, own, settle, load_snapshot, load_last, find, look_back, look_back_chain, scanning) = tokio::try_join!(
            client.prepare(&append),
            client.prepare(OWN),
            client.prepare(SETTLE),
            client.prepare(LOAD_SNAPSHOT),
            client.prepare(LOAD_LAST),
            client.prepare(FIND),
            client.prepare(LOOK_BACK),
            client.prepare(LOOK_BACK_CHAIN),
            Scanning::prepare(session),
        )?;
        Ok(Self { append, own, settle, load_snapshot, load_last, find, look_back, look_back_chain, scanning })
    }
}
