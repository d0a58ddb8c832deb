//! How far the budgets in memory are used, for whoever watches them. Nothing is decided by it.

use super::{Ledger, charge::shares};
use crate::domain::{Account, Budgets, Measure, Timestamp};

/// A budget in memory.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a> {
    /// Its account.
    pub account: &'a Account,
    /// What is used of the limit or balance of which the largest share is used, and how high that is. None without a limit.
    pub used: Option<(i64, i64)>,
    /// What is held, and the smallest limit on amounts, or the balance. None without one.
    pub held: Option<(i64, i64)>,
}

impl<C> Ledger<C> {
    /// Every account of a budget that is in memory.
    pub fn budgets(&self, budgets: &Budgets, now: Timestamp) -> impl Iterator<Item = Usage<'_>> {
        self.members.budgets().filter(|member| member.is_ready()).map(move |member| {
            let (account, budget) = (&member.account, &member.budget);
            let Some(policy) = budgets.of(account) else { return Usage { account, used: None, held: None } };
            let shares = shares(budget, policy, now).into_iter().map(|share| (share.used, share.max));
            let used = shares.max_by(|(one, of_one), (other, of_other)| {
                let by = |used: &i64, of: &i64| i128::from(*used).saturating_mul(i128::from((*of).max(1)));
                by(one, of_other).cmp(&by(other, of_one))
            });
            let amounts = policy.limits.iter().filter(|limit| limit.window.measure != Measure::Count);
            let smallest = amounts.map(|limit| limit.max).chain(policy.prepaid.map(|_| budget.credits)).min();
            Usage { account, used, held: smallest.map(|max| (budget.sums.held, max)) }
        })
    }
}
