//! Where the journal is, and opening it. What a journal must do stands in the room's own file.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use super::{
    Journal, Scan,
    memory::Memory,
    postgres::{self, Misfit, Postgres},
    sqlite::{Sqlite, SqliteFile},
};

/// The room's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Which journal.
    pub location: Location,
    /// The most appends that go down in one commit, 1 or more.
    pub batch_max: usize,
    /// Open a journal that ends before its high-water mark, or has lost it, and start from what is there. Decisions
    /// that were answered may be forgotten: limits may be overspent by what they had approved.
    pub accept_journal_loss: bool,
    /// What is done where a database, while the node runs, lacks what was answered for.
    pub loss: Loss,
    /// How many servers of a database must have an entry before it is acknowledged.
    pub copies: u32,
    /// How many bytes of entries are kept in memory, to be given back to a database that has lost them.
    pub restore_bytes_max: usize,
    /// The directory of what a node of a database remembers itself; nothing where it remembers nothing.
    pub state_dir: Option<PathBuf>,
    /// The name of the node among those that share a database.
    pub node: String,
}

/// What is done where the journal's database, after a failover, lacks entries that were answered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Loss {
    /// They are given back from memory before anything new is appended; what cannot be is reported.
    #[default]
    Restore,
    /// The node stops: a person must look.
    Stop,
    /// They are given up, and reported.
    Accept,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: Location::Sqlite(PathBuf::from("./data/tollgate.db")),
            batch_max: 512,
            accept_journal_loss: false,
            loss: Loss::default(),
            copies: 1,
            restore_bytes_max: postgres::RESTORE_BYTES_MAX,
            state_dir: None,
            node: "local".to_owned(),
        }
    }
}

impl Settings {
    fn of_database(&self) -> postgres::Options {
        let memory =
            self.state_dir.as_ref().map(|directory| directory.join(format!("{}.timeline", self.node)));
        postgres::Options {
            node: self.node.clone(),
            loss: self.loss,
            copies: self.copies,
            accept_journal_loss: self.accept_journal_loss,
            restore_bytes_max: self.restore_bytes_max,
            memory,
        }
    }
}

/// An open journal.
pub struct Opened {
    /// What takes entries.
    pub journal: Arc<dyn Journal>,
    /// The database that it is in; nothing where it is in none.
    pub database: Option<Arc<postgres::Database>>,
}

/// Opens the journal that the settings name.
///
/// # Errors
/// [`OpenError`] says what was found, what was expected, and what to do.
pub async fn open(settings: &Settings) -> Result<Opened, OpenError> {
    let Settings { batch_max, accept_journal_loss, .. } = *settings;
    let (journal, database): (Arc<dyn Journal>, _) = match &settings.location {
        Location::Sqlite(path) => {
            // Opening reads and checks files: not on a thread that others need.
            let place = path.clone();
            let open = move || Sqlite::open(&place, batch_max, accept_journal_loss);
            let opened = tokio::task::spawn_blocking(open).await;
            (Arc::new(opened.map_err(io::Error::other).map_err(OpenError::io(path, "open"))??), None)
        }
        Location::Memory => {
            tracing::warn!(
                "TOLLGATE_JOURNAL=memory: keeps nothing: when this process ends, every decision and all that cards \
                 have spent is forgotten"
            );
            (Arc::new(Memory::new()), None)
        }
        Location::Postgres(url) => {
            let journal = Postgres::open_with(url, settings.of_database()).await?;
            let database = journal.database();
            (Arc::new(journal), Some(database))
        }
    };
    Ok(Opened { journal, database })
}

/// Whether there is a journal, so that opening it would make none. A file in use by another process is there.
///
/// # Errors
/// The database cannot be asked.
pub async fn exists(location: &Location) -> Result<bool, OpenError> {
    match location {
        Location::Sqlite(path) => Ok(std::fs::metadata(path).is_ok_and(|file| file.len() > 0)),
        Location::Memory => Ok(false),
        Location::Postgres(url) => Postgres::exists(url).await,
    }
}

/// Opens the journal at `location` to read it from end to end, beside whatever process serves from it.
///
/// # Errors
/// [`OpenError`] says what was found, what was expected, and what to do.
pub async fn open_to_scan(location: &Location) -> Result<Arc<dyn Scan>, OpenError> {
    match location {
        Location::Sqlite(path) => {
            let place = path.clone();
            let opened = tokio::task::spawn_blocking(move || SqliteFile::open(&place)).await;
            Ok(Arc::new(opened.map_err(io::Error::other).map_err(OpenError::io(path, "open"))??))
        }
        Location::Memory => Ok(Arc::new(Memory::new())),
        Location::Postgres(url) => Ok(Arc::new(postgres::Reader::open(url).await?)),
    }
}

/// Where the journal is, as `TOLLGATE_JOURNAL` writes it.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// `sqlite:./data/tollgate.db`: a file of this machine.
    Sqlite(PathBuf),
    /// `memory:`: forgotten when the process ends.
    Memory,
    /// `postgres://…`: the journal of a cluster. Never shown: it may hold a password.
    Postgres(String),
}

impl Location {
    /// Whether several nodes may write to it at the same time.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Postgres(_) => true,
            Self::Sqlite(_) | Self::Memory => false,
        }
    }

    /// Whether another process may find what this one has written.
    #[must_use]
    pub const fn outlives_its_process(&self) -> bool {
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => true,
            Self::Memory => false,
        }
    }

    /// How many batches of appends may be on their way at once: one writer takes one after another, a server several.
    #[must_use]
    pub fn batches_in_flight_max(&self) -> usize {
        match self {
            Self::Sqlite(_) | Self::Memory => 1,
            Self::Postgres(_) => usize::try_from(postgres::BATCHES_IN_FLIGHT_MAX).unwrap_or(1),
        }
    }

    /// How many appends have to wait for another batch to go while one is on its way.
    #[must_use]
    pub const fn another_batch_from(&self) -> usize {
        match self {
            Self::Sqlite(_) | Self::Memory => 1,
            Self::Postgres(_) => postgres::ANOTHER_BATCH_FROM,
        }
    }
}

impl FromStr for Location {
    type Err = NotALocation;

    /// Reads `sqlite:PATH`, `sqlite://PATH`, `memory:`, `postgres://…` or `postgresql://…`.
    fn from_str(text: &str) -> Result<Self, NotALocation> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() || path.ends_with('/') || path.contains('\0') {
                Err(NotALocation)
            } else {
                Ok(Self::Sqlite(PathBuf::from(path)))
            };
        }
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if is_url && postgres::Address::is_readable(text) {
            return Ok(Self::Postgres(text.to_owned()));
        }
        Err(NotALocation)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Memory => f.write_str("memory:"),
            Self::Postgres(_) => f.write_str("postgres://…"),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text names no journal. It is not repeated: it may be a misspelt address with a password in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected sqlite:PATH of a file, memory:, or postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
pub struct NotALocation;

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process serves from it.
    #[error(
        "the journal {} is in use by another process: stop that one first, or give this one another TOLLGATE_JOURNAL",
        path.display()
    )]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// It is not what its high-water mark says it was: what was answered from it may be gone.
    #[error(
        "journal loss: {} {finding}. Put the whole journal back, with its -mark and -wal files; or, if what is missing \
         is lost for good, start once with --accept-journal-loss: decisions already answered are then forgotten, and \
         limits may be overspent by as much",
        path.display()
    )]
    Loss {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        finding: Finding,
    },
    /// The file is something else.
    #[error("{} is not a journal of this version: {found}. Name another file, or move this one away", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The storage failed.
    #[error("cannot {doing} {}: {cause}. Check that the directory exists, can be written, and has room", path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as in "cannot create".
        doing: &'static str,
        /// What the system answered.
        cause: String,
    },
    /// The database cannot be the journal.
    #[error("the PostgreSQL journal at {address} {misfit}")]
    Database {
        /// Where it is, without who asks.
        address: String,
        /// What is wrong with it.
        misfit: Misfit,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Storage { path, doing, cause: error.to_string() }
    }

    pub(super) fn sql(path: &Path, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Storage { path, doing, cause: error.to_string() }
    }
}

/// How a journal differs from its high-water mark.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Finding {
    /// The tail was cut.
    #[error("ends at entry {found}, but entry {expected} was already answered for")]
    EndsEarly {
        /// The last entry.
        found: u64,
        /// The last entry that was known to be durable.
        expected: u64,
    },
    /// Another history under the same numbers.
    #[error("holds other entries than the ones answered for, up to entry {lsn}")]
    Differs {
        /// The entry whose chained hash was compared.
        lsn: u64,
    },
    /// Entries are missing in the middle.
    #[error("has no entry {missing}, but has later ones")]
    Gap {
        /// The first missing entry.
        missing: u64,
    },
    /// Nothing tells how far it should go.
    #[error(
        "holds entries up to {found}, but its -mark file, which records its length, is missing or unreadable"
    )]
    MarkMissing {
        /// The last entry.
        found: u64,
    },
    /// Files of two journals side by side.
    #[error("stands beside a -mark file that belongs to another journal")]
    MarkOfAnother,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_read_as_it_is_written() {
        let check = |text: &str, expected: Option<Location>| {
            assert_eq!(text.parse::<Location>().ok(), expected, "{text}");
        };
        check("sqlite:./data/tollgate.db", Some(Location::Sqlite("./data/tollgate.db".into())));
        check("sqlite:/var/lib/tollgate.db", Some(Location::Sqlite("/var/lib/tollgate.db".into())));
        check("sqlite:///var/lib/tollgate.db", Some(Location::Sqlite("/var/lib/tollgate.db".into())));
        check("sqlite://data/tollgate.db", Some(Location::Sqlite("data/tollgate.db".into())));
        check("memory:", Some(Location::Memory));
        check("postgres://a@b/c", Some(Location::Postgres("postgres://a@b/c".into())));
        check("postgresql://a@b/c", Some(Location::Postgres("postgresql://a@b/c".into())));
        check("sqlite:", None);
        check("sqlite:data/", None);
        check("memory", None);
        check("./data/tollgate.db", None);
        check("mysql://a@b/c", None);
        check("postgres://a@b:port/c", None);
        check("postgres:///c", None);
        check("", None);
    }

    #[test]
    fn a_password_is_never_shown() {
        let location: Location = "postgres://user:hunter2@db/tollgate".parse().unwrap();
        let settings = Settings { location, ..Settings::default() };
        assert!(!format!("{settings:?} {}", settings.location).contains("hunter2"));
        assert!(!format!("{:?}", "postgre://user:hunter2@db".parse::<Location>()).contains("hunter2"));
    }
}
