//! The authorizations in the books of one card, and how many of them hold money. That number is kept as they change, so
//! that nobody has to walk through them for it; what makes a hold is not decided here.

use std::{collections::BTreeMap, ops::Deref};

use super::{authorization::Authorization, ids::AuthorizationId};

/// Records by their ids. They can be read as a map is, and changed only where the open ones are counted.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Authorizations {
    records: BTreeMap<AuthorizationId, Authorization>,
    open: usize,
}

impl Authorizations {
    /// How many hold money.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// Puts a record in the place of the one that is there, if there is one.
    pub fn insert(&mut self, id: AuthorizationId, record: Authorization) {
        self.recount(false, is_open(&record));
        if let Some(before) = self.records.insert(id, record) {
            self.recount(is_open(&before), false);
        }
    }

    /// Takes a record out.
    pub fn remove(&mut self, id: &AuthorizationId) -> Option<Authorization> {
        let record = self.records.remove(id)?;
        self.recount(is_open(&record), false);
        Some(record)
    }

    /// Changes a record, or a new one.
    pub(super) fn change(&mut self, id: &AuthorizationId, change: impl FnOnce(&mut Authorization)) {
        let record = self.records.entry(id.clone()).or_default();
        let before = is_open(record);
        change(record);
        let after = is_open(record);
        self.recount(before, after);
    }

    fn recount(&mut self, before: bool, after: bool) {
        self.open = self.open.saturating_add(usize::from(after)).saturating_sub(usize::from(before));
    }
}

impl Deref for Authorizations {
    type Target = BTreeMap<AuthorizationId, Authorization>;

    fn deref(&self) -> &Self::Target {
        &self.records
    }
}

fn is_open(record: &Authorization) -> bool {
    record.hold() > 0
}
