//! The index file: where each account's chain ends, and which entries speak of what. All of it is derived
//! from the journal: it may be deleted at any time, and is made again at the next start.

use std::{fs, io, path::Path};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    chain::Chain,
    mark::Point,
    recent::{Generation, Place},
    schema,
};
use crate::{
    domain::Account,
    journal::{EntryId, Head},
};

/// Changes when the tables or the hash of an id change: an index of another format is made again.
const FORMAT: i64 = 3;
/// So many entries (as a power of two) share one part of the table of mentions. A part is small enough that a
/// batch of insertions meets each of its pages several times, whatever the age of the journal.
const PART_BITS: u32 = 18;

const TABLES: &str = "
    CREATE TABLE about (journal TEXT NOT NULL, format INTEGER NOT NULL) STRICT;
    CREATE TABLE head (account TEXT PRIMARY KEY, lsn INTEGER NOT NULL, seq INTEGER NOT NULL, id INTEGER NOT NULL)
        STRICT, WITHOUT ROWID;
    CREATE TABLE mention (part INTEGER, hash INTEGER, lsn INTEGER, PRIMARY KEY (part, hash, lsn))
        STRICT, WITHOUT ROWID;
    CREATE TABLE mark (only INTEGER PRIMARY KEY CHECK (only = 1), lsn INTEGER NOT NULL, chain_before BLOB NOT NULL)
        STRICT;
";

/// The connection that writes the index.
pub(super) struct Index {
    connection: Connection,
}

impl Index {
    /// Opens the index of `journal`, or makes an empty one in place of whatever is there.
    pub(super) fn open(path: &Path, journal: &[u8; 16]) -> Result<Self, Failure> {
        let journal = hex::encode(journal);
        match Self::try_open(path, &journal) {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the journal's index cannot be used, and is made again"),
        }
        for suffix in ["", "-wal", "-shm", "-journal"] {
            match fs::remove_file(super::beside(path, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let connection = connect(path)?;
        connection.execute_batch(&format!("BEGIN; {TABLES}"))?;
        connection.execute("INSERT INTO about VALUES (?1, ?2)", params![journal, FORMAT])?;
        connection.execute_batch("COMMIT")?;
        Ok(Self { connection })
    }

    fn try_open(path: &Path, journal: &str) -> rusqlite::Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let connection = connect(path)?;
        let is_its_own = connection
            .query_row("SELECT journal, format FROM about", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
            })
            .map(|(of, format)| of == journal && format == FORMAT)?;
        Ok(is_its_own.then_some(Self { connection }))
    }

    /// The last indexed entry, and the chained hash before it.
    pub(super) fn last(&self) -> rusqlite::Result<Option<Point>> {
        let last = self.connection.query_row("SELECT lsn, chain_before FROM mark", [], |row| {
            Ok(Point { lsn: row.get::<_, i64>(0)?.cast_unsigned(), chain: Chain(row.get(1)?) })
        });
        last.optional()
    }

    /// Takes in a generation, sorted, in one transaction.
    pub(super) fn record(&mut self, generation: &Generation) -> rusqlite::Result<()> {
        let mut heads: Vec<(&str, &Place)> =
            generation.heads.iter().map(|(account, place)| (account.as_str(), place)).collect();
        heads.sort_unstable_by_key(|(account, _)| *account);
        let mut mentions: Vec<(i64, i64, i64)> =
            generation.mentions.iter().map(|(hash, lsn)| (part(*lsn), *hash, lsn.cast_signed())).collect();
        mentions.sort_unstable();

        let transaction = self.connection.transaction()?;
        {
            let mut put =
                transaction.prepare_cached("INSERT OR REPLACE INTO head VALUES (?1, ?2, ?3, ?4)")?;
            for (account, Place { lsn, head }) in heads {
                let Head { seq, id } = head;
                put.execute(params![account, lsn.cast_signed(), seq.cast_signed(), id.get().cast_signed()])?;
            }
            let mut put = transaction.prepare_cached("INSERT OR IGNORE INTO mention VALUES (?1, ?2, ?3)")?;
            for (part, hash, lsn) in mentions {
                put.execute([part, hash, lsn])?;
            }
            if let Some(Point { lsn, chain }) = generation.last {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO mark VALUES (1, ?1, ?2)")?
                    .execute(params![lsn.cast_signed(), chain.0])?;
            }
        }
        transaction.commit()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) -> rusqlite::Result<()> {
        self.connection
            .execute_batch("BEGIN; DELETE FROM head; DELETE FROM mention; DELETE FROM mark; COMMIT;")
    }

    /// Folds its log away, and closes it.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        schema::checkpoint_and_truncate(&self.connection)?;
        self.connection.close().map_err(|(_, error)| error)
    }
}

/// Why an index could not even be made anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
}

/// What was lost of the index in a power cut is indexed again, so no commit waits for the disk.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// A connection that looks things up in the index.
pub(super) struct Lookup {
    connection: Connection,
}

impl Lookup {
    /// Connects to an index that was opened before.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        Ok(Self { connection: schema::connect_to_read(path)? })
    }

    /// The last indexed entry of `account`.
    pub(super) fn place(&self, account: &Account) -> rusqlite::Result<Option<Place>> {
        let mut query = self.connection.prepare_cached("SELECT lsn, seq, id FROM head WHERE account = ?1")?;
        let place = query.query_row([account.as_str()], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(Place { lsn: number(0)?, head: Head { seq: number(1)?, id: EntryId::new(number(2)?) } })
        });
        place.optional()
    }

    /// The indexed entries that may speak of the id with this hash, oldest first. One small search for
    /// each part: four hundred of them for a hundred million entries.
    pub(super) fn lsns(&self, hash: i64) -> rusqlite::Result<Vec<u64>> {
        let last: Option<i64> = self
            .connection
            .prepare_cached("SELECT max(part) FROM mention")?
            .query_row([], |row| row.get(0))?;
        let mut query = self
            .connection
            .prepare_cached("SELECT lsn FROM mention WHERE part = ?1 AND hash = ?2 ORDER BY lsn")?;
        let mut lsns = Vec::new();
        for part in 0..=last.unwrap_or(-1) {
            for lsn in query.query_map([part, hash], |row| row.get::<_, i64>(0))? {
                lsns.push(lsn?.cast_unsigned());
            }
        }
        Ok(lsns)
    }
}

fn part(lsn: u64) -> i64 {
    (lsn >> PART_BITS).cast_signed()
}
