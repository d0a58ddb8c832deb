//! Budgets in metrics: once a second each shard says what the budgets in its memory come to, and the node shows all of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::directory::Shared;
use crate::{
    domain::{Budgets, Timestamp},
    ledger::{Ledger, Usage},
};

/// What is known of each budget, by shard and name.
#[derive(Default)]
pub(super) struct Samples {
    by_shard: Mutex<BTreeMap<u64, Seen>>,
}

/// Budgets by their names.
pub(super) type Seen = BTreeMap<Arc<str>, Sample>;

/// One budget in the memory of one shard.
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    accounts: u32,
    used: Option<f64>,
    held: Option<f64>,
}

impl Sample {
    fn joined(self, other: Self) -> Self {
        Self {
            accounts: self.accounts.saturating_add(other.accounts),
            used: larger(self.used, other.used),
            held: larger(self.held, other.held),
        }
    }
}

fn larger(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

/// Adds the budgets of a ledger.
pub(super) fn add<C>(seen: &mut Seen, ledger: &Ledger<C>, budgets: &Budgets, now: Timestamp) {
    for Usage { account, used, held } in ledger.budgets(budgets, now) {
        let Some(policy) = budgets.of(account) else { continue };
        // Of a template, one key would stand for all of them.
        let share = |part: Option<(i64, i64)>| part.filter(|_| policy.per.is_none()).map(share);
        let sample = Sample { accounts: 1, used: share(used), held: share(held) };
        let known = seen.entry(Arc::clone(&policy.name)).or_default();
        *known = known.joined(sample);
    }
}

#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "a share for a graph")]
fn share((part, whole): (i64, i64)) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl Shared {
    /// What a shard has seen.
    pub(super) fn sampled(&self, shard: u64, seen: Seen) {
        self.budgets.by_shard.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, seen);
    }

    /// Shows what all shards saw last.
    pub(super) fn show_budgets(&self) {
        let mut all = Seen::new();
        for seen in self.budgets.by_shard.lock().unwrap_or_else(PoisonError::into_inner).values() {
            for (name, sample) in seen {
                let known = all.entry(Arc::clone(name)).or_default();
                *known = known.joined(*sample);
            }
        }
        let policy = Arc::clone(&self.policy.borrow());
        let warn = all.keys().filter_map(|name| {
            let shares = policy.budgets().get(name)?.warn_at.iter().filter(|percent| **percent < 100);
            Some((&**name, f64::from(*shares.max()?) / 100.0))
        });
        let budgets = &self.metrics.budgets;
        budgets.warn.show(warn, f64::max);
        let of = |take: fn(&Sample) -> Option<f64>| {
            all.iter().filter_map(move |(name, sample)| Some((&**name, take(sample)?)))
        };
        budgets.used.show(of(|sample| sample.used), f64::max);
        budgets.held.show(of(|sample| sample.held), f64::max);
        budgets.accounts.show(of(|sample| Some(f64::from(sample.accounts))), std::ops::Add::add);
    }
}
