//! A journal that is gone when the process ends: for demos, load tests of everything else, and tests.

use std::{
    collections::HashMap,
    future, slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;

use super::{
    Append, Entry, Fatal, Head, Journal, LookBack, LookedBack, Outcome, Pending, Reach, Row, Scan,
    Unavailable, look_back::Looking,
};
use crate::{
    clock,
    domain::{Account, Mention, Timestamp},
    planted::{self, Planted},
};

/// How much a journal in memory keeps at most, in bytes of bodies, unless told otherwise.
const BODIES_BYTES_MAX: usize = 8 * 1024 * 1024 * 1024;

/// The contract without a disk: "durable" lasts as long as the process. It keeps every entry, up to a bound, behind
/// which appends are rejected as on a full disk.
pub struct Memory {
    log: Mutex<Log>,
    bodies_bytes_max: usize,
}

#[derive(Default)]
struct Log {
    /// The entry with log sequence number `n` is at `n - 1`.
    entries: Vec<Written>,
    tips: HashMap<Account, Tip, RandomState>,
    mentions: HashMap<Mention, Mentions, RandomState>,
    bodies_bytes: usize,
    is_closed: bool,
}

/// The indexes of the entries that speak of one thing, in order. It begins with one, for which a vector would take
/// room of its own.
enum Mentions {
    One(usize),
    Several(Vec<usize>),
}

impl Mentions {
    fn as_slice(&self) -> &[usize] {
        match self {
            Self::One(index) => slice::from_ref(index),
            Self::Several(indexes) => indexes,
        }
    }

    /// Takes in the newest entry, once.
    fn add(&mut self, index: usize) {
        match self {
            Self::One(known) if *known == index => {}
            Self::One(known) => *self = Self::Several(vec![*known, index]),
            Self::Several(indexes) if indexes.last() == Some(&index) => {}
            Self::Several(indexes) => indexes.push(index),
        }
    }
}

/// An entry, left where its batch brought it, so that nothing is copied on the hot path.
struct Written {
    batch: Arc<[Append]>,
    place: usize,
    row: usize,
    /// The index of the entry before it in its chain.
    before: Option<usize>,
    at: Timestamp,
}

impl Written {
    fn append(&self) -> Option<&Append> {
        self.batch.get(self.place)
    }

    fn row(&self) -> Option<&Row> {
        self.append()?.rows.get(self.row)
    }
}

#[derive(Clone, Copy)]
struct Tip {
    index: usize,
    head: Head,
}

impl Memory {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::with_bodies_bytes_max(BODIES_BYTES_MAX)
    }

    /// An empty journal that is full after so many bytes of bodies.
    #[must_use]
    pub fn with_bodies_bytes_max(bodies_bytes_max: usize) -> Self {
        Self { log: Mutex::new(Log::default()), bodies_bytes_max }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&Log) -> T) -> Result<T, Unavailable> {
        let log = self.log();
        if log.is_closed { Err(Unavailable("it is closed".into())) } else { Ok(read(&log)) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Scan for Memory {
    fn scan(&self, after: u64, entries_max: usize) -> Pending<'_, Result<Vec<Entry>, Unavailable>> {
        Box::pin(future::ready(self.read(|log| {
            let first = usize::try_from(after).unwrap_or(usize::MAX);
            (first..log.entries.len()).take(entries_max).filter_map(|index| log.entry(index)).collect()
        })))
    }
}

impl Journal for Memory {
    fn append(&self, batch: Arc<[Append]>) -> Pending<'_, Vec<Outcome>> {
        let at = clock::now();
        let mut log = self.log();
        let first = log.entries.len();
        let outcomes =
            (0..batch.len()).map(|place| log.put(&batch, place, first, at, self.bodies_bytes_max)).collect();
        Box::pin(future::ready(outcomes))
    }

    fn load<'a>(
        &'a self,
        account: &'a Account,
        reach: Reach,
    ) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        Box::pin(future::ready(self.read(|log| log.chain(account, reach))))
    }

    fn find<'a>(&'a self, mention: &'a Mention) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        Box::pin(future::ready(self.read(|log| {
            let indexes = log.mentions.get(mention).map_or(&[][..], Mentions::as_slice);
            indexes.iter().filter_map(|index| log.entry(*index)).collect()
        })))
    }

    fn look_back<'a>(&'a self, what: &'a LookBack) -> Pending<'a, Result<LookedBack, Unavailable>> {
        Box::pin(future::ready(self.read(|log| log.look_back(what))))
    }

    fn fatal(&self) -> Pending<'_, Fatal> {
        Box::pin(future::pending())
    }

    fn close(&self) -> Pending<'_, ()> {
        self.log().is_closed = true;
        Box::pin(future::ready(()))
    }
}

impl Log {
    /// Judges one append of a batch whose first entry would be at `first`, and keeps all its rows.
    fn put(
        &mut self,
        batch: &Arc<[Append]>,
        place: usize,
        first: usize,
        at: Timestamp,
        bodies_bytes_max: usize,
    ) -> Outcome {
        let Some(append) = batch.get(place) else { return Outcome::Rejected };
        if let Some(outcome) = self.judge(append, first, bodies_bytes_max) {
            return outcome;
        }
        for (row, written) in append.rows.iter().enumerate() {
            let index = self.entries.len();
            for mention in &written.mentions {
                let mentions = self.mentions.entry(mention.clone());
                mentions.and_modify(|known| known.add(index)).or_insert(Mentions::One(index));
            }
            let tip = Tip { index, head: written.next_head(append.id) };
            let before = self.tips.insert(written.account.clone(), tip).map(|tip| tip.index);
            self.entries.push(Written { batch: Arc::clone(batch), place, row, before, at });
        }
        self.bodies_bytes = self.bodies_bytes.saturating_add(append.bytes());
        Outcome::Durable { at }
    }

    /// What becomes of an append that does not go in; nothing where it does.
    fn judge(&self, append: &Append, first: usize, bodies_bytes_max: usize) -> Option<Outcome> {
        let mut fits = true;
        // The time of the first try, where every row is the last of its chain.
        let mut repeated = None;
        let mut is_repeated = true;
        for row in &append.rows {
            let tip = self.tips.get(&row.account).copied();
            if tip.is_some_and(|tip| tip.index >= first) {
                return Some(Outcome::Conflict);
            }
            let known = tip.map_or_else(Head::default, |tip| tip.head);
            fits &= known == row.head || planted::is(Planted::NotFenced);
            is_repeated &= known == row.next_head(append.id);
            repeated = tip.and_then(|tip| self.entries.get(tip.index)).map(|written| written.at);
        }
        if !fits {
            let at = repeated.filter(|_| is_repeated);
            return Some(at.map_or(Outcome::Conflict, |at| Outcome::Durable { at }));
        }
        let bodies_bytes = self.bodies_bytes.saturating_add(append.bytes());
        let is_refused = self.is_closed || bodies_bytes > bodies_bytes_max || !append.is_writable();
        is_refused.then_some(Outcome::Rejected)
    }

    fn chain(&self, account: &Account, reach: Reach) -> Vec<Entry> {
        let mut chain = Vec::new();
        let mut next = self.tips.get(account).map(|tip| tip.index);
        while let Some((index, entry)) = next.and_then(|index| Some((index, self.entry(index)?))) {
            let is_start = reach.ends_with(&entry, chain.len().saturating_add(1));
            next = self.entries.get(index).and_then(|written| written.before).filter(|_| !is_start);
            chain.push(entry);
        }
        chain.reverse();
        chain
    }

    fn look_back(&self, what: &LookBack) -> LookedBack {
        let mut looking = Looking::new(what);
        let (tip, start) = match &what.account {
            Some(account) => (self.tips.get(account).map(|tip| tip.index), what.from),
            None => (self.entries.len().checked_sub(1), what.from),
        };
        let from = usize::try_from(start).ok().and_then(|lsn| lsn.checked_sub(1));
        let mut next = if start == LookBack::END { tip } else { from.min(tip) };
        while let Some(index) = next.filter(|_| looking.goes_on()) {
            let Some(written) = self.entries.get(index) else { break };
            let Some(row) = written.row() else { break };
            if what.account.as_ref().is_some_and(|account| *account != row.account) {
                break;
            }
            next = if what.account.is_some() { written.before } else { index.checked_sub(1) };
            let lsn = next.and_then(|index| u64::try_from(index).ok()?.checked_add(1));
            if looking.look(written.at, &row.body, lsn)
                && let Some(entry) = self.entry(index)
            {
                looking.take(entry);
            }
        }
        looking.page()
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        let written = self.entries.get(index)?;
        let (id, row) = (written.append()?.id, written.row()?);
        Some(Entry {
            lsn: u64::try_from(index).ok()?.saturating_add(1),
            account: row.account.clone(),
            seq: row.next_head(id).seq,
            id,
            prev: row.head.id,
            at: written.at,
            is_snapshot: row.is_snapshot,
            body: row.body.clone(),
        })
    }
}
