//! What budgets have to do with a decision: what stands against it in them, and their limits and balances.

use super::{
    budget::{BudgetPolicy, Charged},
    card::Card,
    decision::{LimitCheck, Reason},
    exception::{Excepted, Granted},
    limit_checks::{Change, check, lift},
    money::Money,
    policy::{Interval, Measure},
    request::AuthorizationRequest,
    time::Timestamp,
};

/// What stands against the purchase in a budget, whatever its amount.
pub(super) fn budgets_block(
    charged: &[Charged<'_>],
    request: &AuthorizationRequest,
    (asked, at): (Money, Timestamp),
) -> Option<(Reason, Option<Box<Excepted>>)> {
    let policies = || charged.iter().filter_map(|one| one.policy);
    let pause = |one: &Charged<'_>| {
        let by_policy = one.policy.is_some_and(|policy| policy.paused).then_some(None);
        let until = by_policy.or_else(|| one.budget.exceptions.paused(None, at))?;
        Some(Excepted::Paused { account: Some(one.account.clone()), until })
    };
    if let Some(pause) = charged.iter().find_map(pause) {
        return Some((Reason::BudgetPaused, Some(Box::new(pause))));
    }
    let is_named = |policy: &BudgetPolicy| {
        let of_limits = policy.limits.iter().filter_map(|limit| match limit.window.measure {
            Measure::Amount(currency) => currency,
            Measure::Count => None,
        });
        let mut named = of_limits.chain(policy.prepaid).peekable();
        named.peek().is_none() || named.any(|currency| currency == asked.currency)
    };
    let is_free = |policy: &BudgetPolicy| policy.other_currencies_allowed && policy.prepaid.is_none();
    let is_wrong = policies().any(|policy| !is_free(policy) && !is_named(policy));
    (is_wrong && request.asked.is_ok()).then_some((Reason::CurrencyMismatch, None))
}

/// Looks at every limit of the budgets, and at their balances.
pub(super) fn shared_checks(
    card: &Card,
    charged: &[Charged<'_>],
    request: &AuthorizationRequest,
    asked: Money,
    (at, grant): (Timestamp, Option<Granted<'_>>),
) -> Vec<LimitCheck> {
    let mut checks = Vec::new();
    for Charged { account, policy, budget, is_counted } in charged {
        let Some(policy) = policy else { continue };
        let change = Change::of(card, request, at, policy.refunds_restore);
        let change = change.map(|change| if *is_counted { change } else { change.of_new() });
        let balance = policy.prepaid.filter(|currency| *currency == asked.currency).map(|currency| {
            let (before, after) = match Change::of(card, request, at, true) {
                Some(change) if *is_counted => change.of_balance(budget.sums.used()),
                Some(change) => change.of_new().of_balance(budget.sums.used()),
                None => (budget.sums.used(), budget.sums.used().saturating_add(request.held_if_approved())),
            };
            LimitCheck {
                account: Some((*account).clone()),
                is_balance: true,
                measure: Measure::Amount(Some(currency)),
                interval: Interval::AllTime,
                before,
                after,
                max: budget.credits,
                lifted: None,
                resets_at: None,
                owners: None,
            }
        });
        let limits = policy.limits.iter();
        let limits =
            limits.filter(|limit| limit.window.admits(&request.merchant, Some(asked.currency), None));
        let own = Some(asked.currency);
        let limits = limits.map(|limit| {
            let tally = budget.tallies.iter().find(|tally| tally.is_of(&limit.window));
            let check =
                check(limit, tally, change.as_ref(), request.held_if_approved(), (own, asked.currency), at);
            let lifted = lift(&budget.exceptions, limit, at, grant);
            LimitCheck { account: Some((*account).clone()), ..check }.lifted(lifted)
        });
        for check in limits.chain(balance) {
            let is_over = check.after > check.max;
            let owners = (is_over && !policy.owners.is_empty()).then(|| policy.owners.join(", ").into());
            checks.push(LimitCheck { owners, ..check });
        }
    }
    checks
}
