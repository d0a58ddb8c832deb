//! The part of the index that is still in memory: heads and mentions of entries that are durable, but not yet in
//! the index file. The writer adds, readers look up, upkeep takes away. No I/O happens under its lock.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use sha2::{Digest, Sha256};

use super::mark::Point;
use crate::{domain::Account, journal::Head};

/// How many entries make it worth while to write the index: the more at once, the fewer pages for each.
pub(super) const GENERATION_ENTRIES: usize = 32_768;
/// How many entries may wait here while the index is being written. Behind that the writer waits.
const WAITING_ENTRIES_MAX: usize = 4 * GENERATION_ENTRIES;

/// The last entry of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    /// 0 where the account has no entry.
    pub(super) lsn: u64,
    pub(super) head: Head,
}

/// Some entries, as the index will have them.
#[derive(Default)]
pub(super) struct Generation {
    pub(super) heads: HashMap<Account, Place, RandomState>,
    /// Hash of an id, and an entry that speaks of it, in the order of entries. Sorting is upkeep's, looking
    /// through is for the few who ask: the writer only appends.
    pub(super) mentions: Vec<(i64, u64)>,
    pub(super) entries: usize,
    /// The last entry, and the chained hash *before* it, so that the entry itself is checked once more at the next
    /// start.
    pub(super) last: Option<Point>,
}

impl Generation {
    /// Takes in the newest entry of an account. What it speaks of goes to `mentions`.
    pub(super) fn add(&mut self, account: Account, place: Place) {
        self.heads.insert(account, place);
        self.entries = self.entries.saturating_add(1);
    }
}

/// The hash under which an id stands in the index: the same in every version, and evenly spread.
pub(super) fn hash(mention: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(mention).into();
    digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// What is in memory.
#[derive(Default)]
pub(super) struct Recent {
    generations: Mutex<Generations>,
    /// The index has caught up.
    room: Condvar,
}

#[derive(Default)]
struct Generations {
    filling: Generation,
    /// Being written to the index; looked up here until it is there.
    draining: Option<Arc<Generation>>,
}

impl Recent {
    /// The last entry of `account`, if it is recent.
    pub(super) fn place(&self, account: &Account) -> Option<Place> {
        let generations = self.lock();
        let in_draining = || generations.draining.as_ref()?.heads.get(account);
        generations.filling.heads.get(account).or_else(in_draining).copied()
    }

    /// The recent entries that may speak of the id with this hash.
    pub(super) fn lsns(&self, hash: i64) -> Vec<u64> {
        let generations = self.lock();
        let all = [Some(&generations.filling), generations.draining.as_deref()];
        all.into_iter()
            .flatten()
            .flat_map(|generation| &generation.mentions)
            .filter_map(|(known, lsn)| (*known == hash).then_some(*lsn))
            .collect()
    }

    /// Lets the writer add durable entries. Gives how many now wait.
    pub(super) fn add(&self, add: impl FnOnce(&mut Generation)) -> usize {
        let mut generations = self.lock();
        add(&mut generations.filling);
        generations.filling.entries
    }

    /// Waits until there is room for more entries, at most so long. Says whether there is.
    pub(super) fn wait_for_room(&self, within: Duration) -> bool {
        let is_full = |generations: &mut Generations| generations.filling.entries >= WAITING_ENTRIES_MAX;
        let waited = self.room.wait_timeout_while(self.lock(), within, is_full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// What is to be written to the index next: at least `entries_min` entries, or what could not be written before.
    pub(super) fn to_drain(&self, entries_min: usize) -> Option<Arc<Generation>> {
        let mut generations = self.lock();
        if generations.draining.is_none() && generations.filling.entries >= entries_min.max(1) {
            let full = Arc::new(mem::take(&mut generations.filling));
            generations.draining = Some(full);
            self.room.notify_all();
        }
        generations.draining.clone()
    }

    /// What [`Recent::to_drain`] gave is in the index now.
    pub(super) fn drained(&self) {
        let drained = self.lock().draining.take();
        // Freeing it takes a while, and needs no lock.
        drop(drained);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
