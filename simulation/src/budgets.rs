//! Budgets in a run: which there are, and whether they agree with the cards at every place in the journal.

use std::collections::{BTreeMap, HashMap};

use tollgate::{
    config::policy_file,
    domain::{Account, BudgetEvent, BudgetPolicy, Card, Event},
    journal::{Entry, record},
};

/// Which budgets the cards of a run charge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Budgets {
    /// None.
    None,
    /// Some that never stand against anything.
    Roomy,
    /// Some that do.
    Tight,
}

impl Budgets {
    /// Those of a seed.
    pub(crate) const fn of(seed: u64) -> Self {
        match seed % 3 {
            0 => Self::Roomy,
            1 => Self::None,
            _ => Self::Tight,
        }
    }

    /// Each budget, the one that cards name first.
    pub(crate) fn policies(self) -> Vec<BudgetPolicy> {
        let amount = match self {
            Self::None => return Vec::new(),
            Self::Roomy => 1_000_000_000_000_i64,
            Self::Tight => 6_000,
        };
        let text = format!(
            "
version: 1
currency: usd
budgets:
  all: {{other_currencies: allow, spending_limits: [{{amount: {amount}, interval: rolling(7d)}}]}}
  person: {{parent: all, per: cardholder, other_currencies: allow, spending_limits: [{{amount: {amount}, interval: daily}}]}}
"
        );
        let parsed = policy_file::read(&text).expect("the policy is one");
        parsed.policy.budgets().iter().map(|budget| (**budget).clone()).collect()
    }
}

/// The first place at which a budget does not have what the cards that charge it have.
pub(crate) fn disagreement(entries: &[Entry]) -> Option<String> {
    let mut cards: HashMap<Account, Card> = HashMap::new();
    let mut budgets: BTreeMap<Account, i64> = BTreeMap::new();
    let mut place = 0;
    while let Some(first) = entries.get(place) {
        let group = entries[place..].iter().take_while(|entry| entry.id == first.id);
        for entry in group {
            place += 1;
            for event in record::decode(&entry.body).expect("the journal can be read") {
                match &event {
                    Event::Budget(event) => {
                        if let BudgetEvent::Leg(leg) = &**event {
                            let moved = leg.after.sums.used() - leg.before.sums.used();
                            *budgets.entry(entry.account.clone()).or_default() += moved;
                        }
                    }
                    // Nothing is evicted here.
                    Event::Snapshot(_) | Event::Recalled(_) => {}
                    event => cards.entry(entry.account.clone()).or_default().apply(event),
                }
            }
        }
        let mut by_cards: BTreeMap<Account, i64> = BTreeMap::new();
        for authorization in cards.values().flat_map(|card| card.authorizations.values()) {
            let used = authorization.hold() + authorization.captured() - authorization.refunded();
            for account in authorization.charges.iter() {
                *by_cards.entry(account.clone()).or_default() += used;
            }
        }
        for unlinked in cards.values().flat_map(|card| card.unlinked.values()) {
            let used = unlinked.transaction.captured() - unlinked.transaction.refunded();
            for account in unlinked.charges.iter() {
                *by_cards.entry(account.clone()).or_default() += used;
            }
        }
        budgets.retain(|_, used| *used != 0);
        by_cards.retain(|_, used| *used != 0);
        if budgets != by_cards {
            return Some(format!(
                "after entry {place} ({}): budgets have {budgets:?}, their cards {by_cards:?}",
                first.account
            ));
        }
    }
    None
}
