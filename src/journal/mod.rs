//! The promise that "appended" means durable: what a journal is. The room does not know what is in an entry's body.

mod settings;
mod lineage;
mod look_back;
pub mod record;
mod policies;
mod committer;
mod vitals;
mod sqlite;
pub mod postgres;
mod memory;
mod faulty;

use std::{collections::HashSet, future::Future, pin::Pin, sync::Arc};

use smallvec::{SmallVec, smallvec};

use crate::domain::{Account, Mention, Timestamp};

pub use committer::{Backlog, Committer, CommitterSettings, Done, Observer, Ticket, Urgency};
pub use faulty::{Fault, Faulty, Foreign, Gate, Odds, Pace, Script};
pub use lineage::{Lineage, NotALineage};
pub use look_back::{LookBack, LookedBack};
pub use memory::Memory;
pub use policies::{NotRecorded, Policies, PolicyChange, PolicyChanged};
pub use postgres::Postgres;
pub use settings::{
    Finding, Location, Loss, NotALocation, OpenError, Opened, Settings, exists, open, open_to_scan,
};
pub use sqlite::Sqlite;

/// The longest body that a journal takes, in bytes. A decision has under a thousand.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most bytes of bodies that one append takes, all its rows together.
pub const APPEND_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

/// A future that a journal returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What can be read from its first entry to its last: a journal, or the file of one that another process serves from.
pub trait Scan: Send + Sync + 'static {
    /// Up to `entries_max` entries of all accounts with a log sequence number above `after`, in order.
    fn scan(&self, after: u64, entries_max: usize) -> Pending<'_, Result<Vec<Entry>, Unavailable>>;
}

/// A log of entries, one chain for each account, that survives the process.
///
/// The rules, which the conformance suite holds every implementation to:
/// - A row goes in only behind the very entry that its writer knew: entry `head.seq` of the account carries
///   `head.id` (or there is no entry, and `head.seq` is 0). A writer with a stale view gets [`Outcome::Conflict`],
///   whatever it pipelines.
/// - An append is a group of rows that go in together or not at all: if one of them does not fit, if another writer
///   takes the place of one of them at the same time, if the power fails in between. All its entries have its id and
///   one time.
/// - `Durable` is said only after all entries of the append would survive a power cut.
/// - The same append (same id, same rows) may be repeated until its outcome is definite; it goes in once. A repeat of
///   what is already in is answered `Durable`, with the time of the first try, or `Conflict`.
/// - A batch holds at most one row for each account, over all its appends: one that names an account that an earlier
///   append of the batch has written to is a `Conflict`. One that names accounts only of earlier appends that did not
///   go in is judged as if those were not there. Outcomes come in the order of the batch, one for each append.
/// - What was answered `Durable` is seen by every read that starts afterwards.
pub trait Journal: Scan {
    /// Makes a batch durable in one group commit. Dropping the future takes nothing back.
    fn append(&self, batch: Arc<[Append]>) -> Pending<'_, Vec<Outcome>>;

    /// The entries of an account, oldest first: from the last snapshot on, or all of them.
    fn load<'a>(&'a self, account: &'a Account, reach: Reach)
    -> Pending<'a, Result<Vec<Entry>, Unavailable>>;

    /// The entries that speak of an authorization, or of a capture or refund, in the order they were appended. Never
    /// scans the journal.
    fn find<'a>(&'a self, mention: &'a Mention) -> Pending<'a, Result<Vec<Entry>, Unavailable>>;

    /// Entries of all accounts or of one, newest first. A page starts after what was under way when the page before it was
    /// read: what becomes durable later is on none of the older pages.
    fn look_back<'a>(&'a self, what: &'a LookBack) -> Pending<'a, Result<LookedBack, Unavailable>>;

    /// Resolves when the journal has died of an error after which nobody knows what is on the disk. From then on every
    /// append is `Unknown`; the process must end without another answer, and look again at its next start.
    fn fatal(&self) -> Pending<'_, Fatal>;

    /// Whether an append that was sent now would have to wait for a database that is away. A hint, asked for each request.
    fn is_in_trouble(&self) -> bool {
        false
    }

    /// Folds everything away in order and lets go of the files. Appends and reads afterwards are refused.
    fn close(&self) -> Pending<'_, ()>;
}

/// The random id of an entry: 63 bits, so that every database has a type for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EntryId(u64);

impl EntryId {
    /// The `prev` of a first entry.
    pub const NONE: Self = Self(0);

    /// Keeps the low 63 bits of `number`; zero is [`EntryId::NONE`].
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number & (u64::MAX >> 1))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Where an account's chain ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// The sequence number of the last entry; 0 where there is none.
    pub seq: u64,
    /// Its id; [`EntryId::NONE`] where there is none.
    pub id: EntryId,
}

/// Rows of one or more accounts that are written together, or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The id of each entry that it becomes.
    pub id: EntryId,
    /// One row for each account that it concerns, at least one.
    pub rows: Rows,
}

/// The rows of an append; a single one needs no allocation.
pub type Rows = SmallVec<[Row; 1]>;

/// One entry to be written behind a known one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Whose chain.
    pub account: Account,
    /// The head that the writer knew: the entry becomes `head.seq + 1`.
    pub head: Head,
    /// Whether the body ends with a snapshot of the account, so that loading may start here.
    pub is_snapshot: bool,
    /// The authorizations, captures and refunds that the body concerns, for [`Journal::find`].
    pub mentions: Vec<Mention>,
    /// A JSON array; see `record`.
    pub body: String,
}

impl Append {
    /// An append of one row.
    #[must_use]
    pub fn one(id: EntryId, row: Row) -> Self {
        Self { id, rows: smallvec![row] }
    }

    /// How many bytes of bodies it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.body.len()).fold(0, usize::saturating_add)
    }

    /// The accounts that it concerns.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.rows.iter().map(|row| &row.account)
    }

    /// Whether it has an id of its own, rows of different accounts, and bodies that every journal can hold.
    pub(super) fn is_writable(&self) -> bool {
        let fits = |row: &Row| row.body.len() <= BODY_BYTES_MAX;
        let is_of_different_accounts = || {
            let mut accounts = HashSet::with_capacity(self.rows.len());
            self.accounts().all(|account| accounts.insert(account))
        };
        self.id != EntryId::NONE
            && match &self.rows[..] {
                [] => false,
                [row] => fits(row),
                rows => {
                    rows.iter().all(fits) && self.bytes() <= APPEND_BYTES_MAX && is_of_different_accounts()
                }
            }
    }
}

impl Row {
    /// The head of the chain once this is in, as the entry `id`.
    pub(super) const fn next_head(&self, id: EntryId) -> Head {
        Head { seq: self.head.seq.saturating_add(1), id }
    }
}

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All its rows are written, and safe. `at` is the journal's time of writing.
    Durable {
        /// When it was written.
        at: Timestamp,
    },
    /// No row was written by this call: a chain does not end where the writer thought. They may have been written by
    /// an earlier try of the same append: load, and look for its id.
    Conflict,
    /// Certainly not written by this call, and not for want of a place in the chain: a full disk, a closed journal.
    Rejected,
    /// Perhaps written. Repeat the same append until the outcome is another.
    Unknown,
    /// Certainly not written, nor tried: it could not have become durable in time, or found no room in the queue. Only
    /// the [`Committer`] says so.
    Expired,
}

/// One written entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Place in the whole log.
    pub lsn: u64,
    /// Whose chain.
    pub account: Account,
    /// Place in the chain, from 1.
    pub seq: u64,
    /// Its id.
    pub id: EntryId,
    /// The id of the entry before it in the chain.
    pub prev: EntryId,
    /// When it was written.
    pub at: Timestamp,
    /// Whether the body ends with a snapshot.
    pub is_snapshot: bool,
    /// A JSON array; see `record`.
    pub body: String,
}

/// How far back to load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// From the last snapshot.
    Snapshot,
    /// From the first entry.
    Genesis,
    /// Only so many entries at the end, whatever is in them.
    Last(usize),
}

impl Reach {
    /// Whether a walk back along the chain ends with `entry`, the so manieth that it has met.
    pub(super) const fn ends_with(self, entry: &Entry, met: usize) -> bool {
        match self {
            Self::Snapshot => entry.is_snapshot,
            Self::Genesis => false,
            Self::Last(entries) => met >= entries,
        }
    }
}

/// The journal cannot be read now.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be read: {0}")]
pub struct Unavailable(pub String);

/// Why the journal died.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the journal has died: {0}")]
pub struct Fatal(pub String);
