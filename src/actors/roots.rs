//! Where a card is decided that charges budgets: with all that they are shared with. A request tells it by what the policy
//! says of its card; a fact that names only the card is taken to where the card was decided last. A wrong place costs a
//! conflict in the journal, and nothing else.

use dashmap::DashMap;
use foldhash::fast::RandomState;

use super::directory::Shared;
use crate::{
    domain::{Account, AuthorizationRequest, Fact, Holder, Observation},
    journal::Reach,
    ledger,
};

/// The roots of cards, as many as there is room for. One more is looked up for each of its facts.
pub(super) struct Roots {
    known: DashMap<Account, Account, RandomState>,
    known_max: usize,
}

impl Roots {
    pub(super) fn new(known_max: usize) -> Self {
        Self { known: DashMap::default(), known_max }
    }

    fn learn(&self, account: &Account, root: &Account) {
        if self.known.get(account).is_some_and(|known| *known == *root) {
            return;
        }
        if self.known.contains_key(account) || self.known.len() < self.known_max {
            self.known.insert(account.clone(), root.clone());
        }
    }
}

impl Shared {
    /// Where a request is decided.
    pub(super) fn root_of(&self, request: &AuthorizationRequest) -> Account {
        match self.root_charged(request) {
            Some(root) => {
                self.roots.learn(&request.account(), &root);
                root
            }
            None => request.account(),
        }
    }

    /// The root of the budgets that a request charges.
    pub(super) fn root_charged(&self, request: &AuthorizationRequest) -> Option<Account> {
        let policy = self.policy.borrow();
        if policy.budgets().is_empty() {
            return None;
        }
        let named = policy.for_card_of(
            request.connected_account.as_ref(),
            request.card.as_ref(),
            request.group.as_deref(),
        );
        let charged = policy.budgets().charged(&named.budgets, &Holder::from(request));
        policy.budgets().root(&charged)
    }

    /// Where the card was decided last, as far as this node knows.
    pub(super) fn known_root(&self, account: &Account) -> Option<Account> {
        self.roots.known.get(account).map(|known| known.clone())
    }

    /// Where a fact is recorded.
    pub(super) async fn root_of_fact(&self, observation: &Observation) -> Account {
        let account = observation.subject.account();
        if self.policy.borrow().budgets().is_empty() {
            return account;
        }
        if let Some(root) = self.root_by_holder(observation).or_else(|| self.known_root(&account)) {
            return root;
        }
        let read = self.load(&account, Reach::Snapshot).await.and_then(|entries| ledger::fold(&entries));
        let charges = read.map(|folded| folded.card.charges).unwrap_or_default();
        let root = self.policy.borrow().budgets().root(&charges).unwrap_or_else(|| account.clone());
        self.roots.learn(&account, &root);
        root
    }

    fn root_by_holder(&self, observation: &Observation) -> Option<Account> {
        let Fact::Authorization(seen) = &observation.fact else { return None };
        let holder = seen.holder.as_deref()?;
        let policy = self.policy.borrow();
        let named = policy.for_card_of(
            observation.connected_account.as_ref(),
            observation.card(),
            holder.group.as_deref(),
        );
        let whose = Holder {
            cardholder: holder.cardholder.as_ref(),
            connected_account: observation.connected_account.as_ref(),
            metadata: &holder.metadata,
        };
        policy.budgets().root(&policy.budgets().charged(&named.budgets, &whose))
    }
}
