//! Named lists of words: a lookup takes the same time whether a list has ten entries or a hundred thousand.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use super::super::ids::{FNV_EMPTY, fnv};

/// A named list of a policy.
#[derive(Clone, PartialEq)]
pub struct List {
    name: Arc<str>,
    entries: HashSet<Box<str>, BuildHasherDefault<Fnv>>,
}

impl List {
    /// A list of these entries.
    #[must_use]
    pub fn new(name: &str, entries: impl IntoIterator<Item = Box<str>>) -> Self {
        Self { name: name.into(), entries: entries.into_iter().collect() }
    }

    /// Its name in the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has this entry.
    #[must_use]
    pub fn contains(&self, word: &str) -> bool {
        self.entries.contains(word)
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The name and the number of entries: there may be many.
impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list({:?}, {} entries)", self.name, self.entries.len())
    }
}

/// The hash of ids, for short words. The entries are the operator's own, so that no stranger chooses what collides.
#[derive(Clone, Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(FNV_EMPTY)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = fnv(self.0, bytes.iter().copied());
    }

    fn finish(&self) -> u64 {
        // The table takes its groups from the low bits and its tags from the high ones.
        self.0 ^ (self.0 >> 32)
    }
}
