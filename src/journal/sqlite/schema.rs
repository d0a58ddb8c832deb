//! What the journal's database looks like, and the way its connections are set up. What the entries mean is not known
//! here.

use std::{borrow::Cow, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig, params};

use crate::{
    domain::{Account, Mention, Timestamp},
    journal::{Entry, EntryId, Row},
};

/// "TGJ1" in the header of the file, so that `file` and a mistaken path can tell it from other databases.
const APPLICATION_ID: i64 = 0x5447_4A31;
/// The version of what is below.
const FORMAT: i64 = 1;
/// How long a commit waits for somebody with the sqlite3 shell who holds the write lock.
const BUSY_WITHIN: Duration = Duration::from_millis(250);

/// One table, written in order, without any index besides: a random page for each account would cost more than the
/// entry itself.
const TABLES: &str = "
    CREATE TABLE journal (uuid TEXT NOT NULL, format INTEGER NOT NULL, created_at INTEGER NOT NULL) STRICT;
    CREATE TABLE entry (
        lsn INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        seq INTEGER NOT NULL,
        id INTEGER NOT NULL,
        prev INTEGER NOT NULL,
        prev_lsn INTEGER NOT NULL,
        at INTEGER NOT NULL,
        is_snapshot INTEGER NOT NULL,
        mentions TEXT NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
";

/// For people with SQL. They are replaced at the next start when they change here.
const VIEWS: [(&str, &str); 2] = [
    (
        "events",
        "CREATE VIEW events AS
         SELECT entry.lsn, entry.account, entry.seq,
                strftime('%Y-%m-%dT%H:%M:%fZ', entry.at / 1000000.0, 'unixepoch') AS at,
                fact.key AS kind, fact.value AS fact
         FROM entry, json_each(entry.body) AS element, json_each(element.value) AS fact
         WHERE element.type = 'object'",
    ),
    (
        "decisions",
        "CREATE VIEW decisions AS
         SELECT lsn, seq, account AS card,
                fact ->> '$.authorization' AS authorization,
                fact ->> '$.id' AS decision,
                strftime('%Y-%m-%dT%H:%M:%fZ', (fact ->> '$.at') / 1000000.0, 'unixepoch') AS decided_at,
                fact ->> '$.outcome' AS outcome,
                coalesce(fact ->> '$.reason', 'approved') AS reason,
                coalesce(fact ->> '$.source', CASE kind WHEN 'stood_in' THEN 'stand_in' ELSE 'policy' END) AS source,
                fact ->> '$.asked' AS asked,
                coalesce(fact ->> '$.granted', 0) AS granted,
                fact ->> '$.currency' AS currency,
                fact ->> '$.category' AS category,
                fact ->> '$.country' AS country,
                fact ->> '$.policy' AS policy,
                fact ->> '$.event' AS event,
                fact
         FROM events WHERE kind IN ('decided', 'stood_in')",
    ),
];

const COLUMNS: &str = "lsn, account, seq, id, prev, prev_lsn, at, is_snapshot, mentions, body";

/// A row of the table `entry`, borrowed from wherever it is.
pub(super) struct StoredRow<'a> {
    pub(super) lsn: u64,
    pub(super) account: &'a str,
    pub(super) seq: u64,
    pub(super) id: EntryId,
    pub(super) prev: EntryId,
    /// The `lsn` of the account's entry before this one; 0 where there is none.
    pub(super) prev_lsn: u64,
    pub(super) at: Timestamp,
    pub(super) is_snapshot: bool,
    /// Ids with a space between them; no id has one in it.
    pub(super) mentions: Cow<'a, str>,
    pub(super) body: &'a str,
}

impl<'a> StoredRow<'a> {
    /// What `row` becomes, as the entry `id`.
    pub(super) fn of(row: &'a Row, id: EntryId, lsn: u64, prev_lsn: u64, at: Timestamp) -> Self {
        let mentions = match row.mentions.as_slice() {
            [] => Cow::Borrowed(""),
            [only] => Cow::Borrowed(only.as_str()),
            several => Cow::Owned(several.iter().map(Mention::as_str).collect::<Vec<_>>().join(" ")),
        };
        Self {
            lsn,
            account: row.account.as_str(),
            seq: row.next_head(id).seq,
            id,
            prev: row.head.id,
            prev_lsn,
            at,
            is_snapshot: row.is_snapshot,
            mentions,
            body: &row.body,
        }
    }

    /// Reads a row with the columns of [`select`].
    pub(super) fn read(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(Self {
            lsn: number(0)?,
            account: row.get_ref(1)?.as_str()?,
            seq: number(2)?,
            id: EntryId::new(number(3)?),
            prev: EntryId::new(number(4)?),
            prev_lsn: number(5)?,
            at: Timestamp::from_micros(row.get(6)?),
            is_snapshot: row.get(7)?,
            mentions: Cow::Borrowed(row.get_ref(8)?.as_str()?),
            body: row.get_ref(9)?.as_str()?,
        })
    }

    /// Writes it with the statement of [`insert`].
    pub(super) fn write(&self, insert: &mut rusqlite::Statement<'_>) -> rusqlite::Result<()> {
        insert.execute(params![
            self.lsn.cast_signed(),
            self.account,
            self.seq.cast_signed(),
            self.id.get().cast_signed(),
            self.prev.get().cast_signed(),
            self.prev_lsn.cast_signed(),
            self.at.as_micros(),
            self.is_snapshot,
            self.mentions,
            self.body,
        ])?;
        Ok(())
    }

    /// What it takes in the file, about.
    pub(super) fn bytes(&self) -> u64 {
        let text = [self.account, &self.mentions, self.body].into_iter().map(str::len).sum::<usize>();
        u64::try_from(text).unwrap_or(u64::MAX).saturating_add(48)
    }

    /// The entry, unless what stands in `account` is no account.
    pub(super) fn to_entry(&self) -> Option<Entry> {
        Some(Entry {
            lsn: self.lsn,
            account: Account::new(self.account)?,
            seq: self.seq,
            id: self.id,
            prev: self.prev,
            at: self.at,
            is_snapshot: self.is_snapshot,
            body: self.body.to_owned(),
        })
    }
}

/// The statement that [`StoredRow::write`] executes.
pub(super) fn insert(journal: &Connection) -> rusqlite::Result<rusqlite::CachedStatement<'_>> {
    journal.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")
}

/// A query whose rows [`StoredRow::read`] reads.
pub(super) fn select<'c>(
    journal: &'c Connection,
    condition: &str,
) -> rusqlite::Result<rusqlite::CachedStatement<'c>> {
    journal.prepare_cached(&format!("SELECT {COLUMNS} FROM entry WHERE {condition}"))
}

/// The last `lsn`; 0 in an empty journal.
pub(super) fn last_lsn(journal: &Connection) -> rusqlite::Result<u64> {
    let last: Option<i64> =
        journal.prepare_cached("SELECT max(lsn) FROM entry")?.query_row([], |row| row.get(0))?;
    Ok(last.unwrap_or(0).cast_unsigned())
}

/// When the entry was written.
pub(super) fn written_at(journal: &Connection, lsn: u64) -> rusqlite::Result<Timestamp> {
    let mut query = journal.prepare_cached("SELECT at FROM entry WHERE lsn = ?1")?;
    query.query_row([lsn.cast_signed()], |row| row.get(0)).map(Timestamp::from_micros)
}

/// A connection that may write to the journal, or checkpoint it. Closing it leaves the write-ahead log alone, so that
/// nothing is tidied away before it was looked at.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let journal = Connection::open_with_flags(path, flags)?;
    journal.busy_timeout(BUSY_WITHIN)?;
    journal.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(journal)
}

/// A connection that only reads.
pub(super) fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WITHIN)?;
    Ok(connection)
}

/// Makes every commit of this connection wait for the disk, and leaves checkpoints to upkeep. Gives what the file
/// system made of it: anything but `wal` and 2 cannot keep the promise.
pub(super) fn make_durable(journal: &Connection) -> rusqlite::Result<(String, i64)> {
    let mode = journal.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    journal.pragma_update(None, "synchronous", "FULL")?;
    // Where fsync does not reach the medium (macOS), the stronger call does.
    journal.pragma_update(None, "fullfsync", true)?;
    journal.pragma_update(None, "checkpoint_fullfsync", true)?;
    journal.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok((mode, journal.pragma_query_value(None, "synchronous", |row| row.get(0))?))
}

/// Who the journal is.
pub(super) enum Identity {
    /// An empty file.
    Blank,
    /// The journal with this id, of the present format.
    Journal([u8; 16]),
    /// Something else.
    Other(String),
}

/// Tells who the journal is.
pub(super) fn identify(journal: &Connection) -> rusqlite::Result<Identity> {
    let tables: i64 = journal.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(Identity::Blank);
    }
    let application: i64 = journal.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Ok(Identity::Other("it is the database of another program".into()));
    }
    let (uuid, format): (String, i64) =
        journal.query_row("SELECT uuid, format FROM journal", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut bytes = [0; 16];
    Ok(if format != FORMAT {
        Identity::Other(format!("its format is {format}, and this version reads {FORMAT}"))
    } else if hex::decode_to_slice(&uuid, &mut bytes).is_ok() {
        Identity::Journal(bytes)
    } else {
        Identity::Other("its id is not 32 hexadecimal digits".into())
    })
}

/// Creates the tables of a new journal.
pub(super) fn create(journal: &mut Connection, uuid: &[u8; 16], at: Timestamp) -> rusqlite::Result<()> {
    let transaction = journal.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.execute(
        "INSERT INTO journal VALUES (?1, ?2, ?3)",
        params![hex::encode(uuid), FORMAT, at.as_micros()],
    )?;
    transaction.commit()
}

/// Makes the views what they are here.
pub(super) fn refresh_views(journal: &Connection) -> rusqlite::Result<()> {
    for (name, sql) in VIEWS {
        let is_current = journal.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'view' AND name = ?1 AND sql = ?2",
            [name, sql],
            |row| row.get::<_, bool>(0),
        )?;
        if !is_current {
            journal.execute_batch(&format!("DROP VIEW IF EXISTS {name}; {sql};"))?;
        }
    }
    Ok(())
}

/// How much of the write-ahead log is still to be folded into the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wal {
    pub(super) pages: u64,
    pub(super) folded_pages: u64,
}

impl Wal {
    /// Whether the next commit may start the log over.
    pub(super) const fn is_folded(&self) -> bool {
        self.pages == self.folded_pages
    }
}

/// Lets the close of the connection remove the log, now that there is nothing left in it.
pub(super) fn tidy_at_close(journal: &Connection) -> rusqlite::Result<()> {
    journal.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
}

/// Folds what can be folded without waiting for anybody.
pub(super) fn checkpoint(journal: &Connection) -> rusqlite::Result<Wal> {
    run_checkpoint(journal, "PRAGMA wal_checkpoint(PASSIVE)")
}

/// Folds everything, and cuts the log down to nothing, unless a reader or a writer is in the way.
pub(super) fn checkpoint_and_truncate(journal: &Connection) -> rusqlite::Result<Wal> {
    run_checkpoint(journal, "PRAGMA wal_checkpoint(TRUNCATE)")
}

fn run_checkpoint(journal: &Connection, pragma: &str) -> rusqlite::Result<Wal> {
    let count = |row: &rusqlite::Row<'_>, column| {
        row.get::<_, i64>(column).map(|pages| u64::try_from(pages).unwrap_or(0))
    };
    journal.query_row(pragma, [], |row| Ok(Wal { pages: count(row, 1)?, folded_pages: count(row, 2)? }))
}
