//! Reading from the end: a page of entries, newest first, for a person who looks for something. A page is bounded by what
//! it returns and by what it looks at, so that it takes the same time in a journal of any length.

use super::Entry;
use crate::domain::{Account, Timestamp};

/// Which entries, and how many of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LookBack {
    /// Only those of this account, by its chain; those of all accounts if there is none.
    pub account: Option<Account>,
    /// The log sequence number of the first entry to be looked at, such as [`LookedBack::next`]; [`LookBack::END`] is the
    /// last entry. Of an account it must be an entry of that account.
    pub from: u64,
    /// How many entries are looked at, at most.
    pub look_max: usize,
    /// How many entries are returned, at most.
    pub entries_max: usize,
    /// What the body of a returned entry contains: all of these texts, at most [`LookBack::TEXTS_MAX`].
    pub texts: Vec<String>,
}

impl LookBack {
    /// The end of the journal.
    pub const END: u64 = u64::MAX;

    /// How many texts may be looked for.
    pub const TEXTS_MAX: usize = 4;

    /// Whether an entry with this body is returned.
    pub(super) fn takes(&self, body: &str) -> bool {
        self.texts.iter().all(|text| body.contains(text.as_str()))
    }
}

/// A page of entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LookedBack {
    /// The entries, newest first.
    pub entries: Vec<Entry>,
    /// The log sequence number from which to look on; `None` where the beginning was reached.
    pub next: Option<u64>,
    /// When the oldest entry that was looked at was written; `None` where none was.
    pub reached: Option<Timestamp>,
}

/// Makes a page of one entry after another.
pub(super) struct Looking<'a> {
    what: &'a LookBack,
    looked: usize,
    page: LookedBack,
}

impl<'a> Looking<'a> {
    pub(super) fn new(what: &'a LookBack) -> Self {
        Self { what, looked: 0, page: LookedBack::default() }
    }

    /// Whether one more entry may be looked at.
    pub(super) fn goes_on(&self) -> bool {
        self.looked < self.what.look_max && self.page.entries.len() < self.what.entries_max
    }

    /// Looks at the next older entry: its time and body, and where to look on behind it. Says whether it is to be
    /// [taken](Self::take).
    pub(super) fn look(&mut self, at: Timestamp, body: &str, next: Option<u64>) -> bool {
        self.looked = self.looked.saturating_add(1);
        self.page.reached = Some(at);
        self.page.next = next;
        self.what.takes(body)
    }

    /// Takes the entry that was looked at last.
    pub(super) fn take(&mut self, entry: Entry) {
        self.page.entries.push(entry);
    }

    pub(super) fn page(self) -> LookedBack {
        self.page
    }
}
