//! The chained hash over all entries: two journals with the same hash at the same entry have the same history.

use sha2::{Digest, Sha256};

use super::schema::StoredRow;

/// The hash over everything up to some entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chain(pub(super) [u8; 32]);

impl Chain {
    /// Before the first entry of the journal with this id.
    pub(super) fn genesis(uuid: &[u8; 16]) -> Self {
        Self(Sha256::digest(uuid).into())
    }

    /// After `row`. Every part has a fixed length, or its length before it; the body ends it.
    pub(super) fn after(&self, row: &StoredRow<'_>) -> Self {
        let mut fixed = [0; FIXED_BYTES];
        let at = row.at.as_micros().cast_unsigned();
        let lengths = [length(row.account), length(&row.mentions)];
        let numbers =
            [row.lsn, row.seq, row.id.get(), row.prev.get(), row.prev_lsn, at, u64::from(row.is_snapshot)];
        let words = numbers.into_iter().chain(lengths);
        let (chain, rest) = fixed.split_at_mut(32);
        chain.copy_from_slice(&self.0);
        for (slot, word) in rest.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_be_bytes());
        }
        let mut hasher = Sha256::new();
        hasher.update(fixed);
        hasher.update(row.account);
        hasher.update(row.mentions.as_ref());
        hasher.update(row.body);
        Self(hasher.finalize().into())
    }
}

/// The hash before, seven numbers, two lengths.
const FIXED_BYTES: usize = 32 + 9 * 8;

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}
