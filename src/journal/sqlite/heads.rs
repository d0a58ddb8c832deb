//! The heads that the writer remembers, so that an account in use is not looked up in the index for each append.

use std::{collections::HashMap, mem};

use super::recent::Place;
use crate::domain::Account;

/// Accounts in one generation; there are two.
const GENERATION_ACCOUNTS: usize = 131_072;

/// Two generations of heads: when the young one is full it becomes the old one, and what nobody asked for since the
/// last time is forgotten. Forgetting is always safe: the index, or what waits for it, knows every head.
#[derive(Default)]
pub(super) struct Heads {
    young: HashMap<Account, Place>,
    old: HashMap<Account, Place>,
}

impl Heads {
    /// The head, if it is remembered. Whoever is asked for stays young.
    pub(super) fn get_mut(&mut self, account: &Account) -> Option<&mut Place> {
        if !self.old.is_empty()
            && let Some((account, place)) = self.old.remove_entry(account)
        {
            self.put(account, place);
        }
        self.young.get_mut(account)
    }

    /// Remembers a head.
    pub(super) fn put(&mut self, account: Account, place: Place) {
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
