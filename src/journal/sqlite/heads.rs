//! The heads that the writer remembers, so that an account in use is not looked up in the index for each append.

use std::{collections::HashMap, mem};

use foldhash::fast::RandomState;

use super::recent::Place;
use crate::domain::Account;

/// Accounts in one generation; there are two.
const GENERATION_ACCOUNTS: usize = 131_072;

/// Two generations of heads: when the young one is full it becomes the old one, and what nobody asked for since the
/// last time is forgotten. Forgetting is always safe: the index, or what waits for it, knows every head.
#[derive(Default)]
pub(super) struct Heads {
    young: HashMap<Account, Place, RandomState>,
    old: HashMap<Account, Place, RandomState>,
}

impl Heads {
    /// The head, if it is remembered. An account that is asked for stays young.
    pub(super) fn get(&mut self, account: &Account) -> Option<Place> {
        if !self.old.is_empty()
            && let Some((account, place)) = self.old.remove_entry(account)
        {
            self.add(account, place);
        }
        self.young.get(account).copied()
    }

    /// Remembers a head.
    pub(super) fn put(&mut self, account: &Account, place: Place) {
        if let Some(known) = self.young.get_mut(account) {
            *known = place;
        } else {
            // What the old generation knows of it is no longer so.
            self.old.remove(account);
            self.add(account.clone(), place);
        }
    }

    fn add(&mut self, account: Account, place: Place) {
        if self.young.len() >= GENERATION_ACCOUNTS {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(account, place);
    }

    /// Forgets a head that did not come to be.
    pub(super) fn forget(&mut self, account: &Account) {
        self.young.remove(account);
        self.old.remove(account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{EntryId, Head};

    #[test]
    fn the_newest_head_is_remembered_whatever_generation_the_one_before_is_in() {
        let account = |n: usize| Account::new(&format!("ic_{n}")).unwrap();
        let place = |lsn: u64| Place { lsn, head: Head { seq: lsn, id: EntryId::new(lsn) } };
        let mut heads = Heads::default();
        heads.put(&account(0), place(1));
        for n in 1..=GENERATION_ACCOUNTS {
            heads.put(&account(n), place(1));
        }
        assert!(heads.old.contains_key(&account(0)));
        heads.put(&account(0), place(2));
        assert_eq!(heads.get(&account(0)), Some(place(2)));
        heads.forget(&account(0));
        assert_eq!(heads.get(&account(0)), None);
    }
}
