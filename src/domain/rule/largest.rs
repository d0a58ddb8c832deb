//! The largest amount that the rules let pass: the smallest change of a request that a rule declined.

use super::{
    condition::{Comparison, Condition, Number, Order},
    facts::Facts,
    judge::{Rule, Then, judge},
};
use crate::domain::money::Money;

/// So many amounts are tried, the largest first: a decline shall not take long because it is explained.
const TRIED_MAX: usize = 32;
/// In a policy with more comparisons than this the amount is not looked for.
const COMPARISONS_MAX: usize = 256;

/// The largest amount from 1 to `most` that no rule declines or caps lower; none where no such amount is found. The rules
/// pass it, and they do not pass one unit more, unless that is more than `most`.
pub(in crate::domain) fn largest_passing(
    rules: &[Rule],
    score_limit: i64,
    facts: &Facts<'_>,
    most: i64,
) -> Option<i64> {
    if most < 1 {
        return None;
    }
    let at = |amount: i64| Facts { asked: Money::new(amount, facts.asked.currency), ..*facts };
    let passes = |amount: i64| {
        let facts = at(amount);
        let judged = judge(rules, score_limit, &facts, None);
        judged.declined_by.is_none() && judged.cap.is_none_or(|(cap, _)| amount <= cap)
    };
    let mut comparisons = Vec::new();
    let mut tops = vec![most];
    for rule in rules {
        match &rule.then {
            Then::Cap(super::Cap::Amount(cap)) => {
                tops.push(*cap);
                gather(&rule.when, &mut comparisons);
            }
            Then::Decline | Then::Challenge | Then::Allow | Then::Score(_) | Then::Block(_) => {
                gather(&rule.when, &mut comparisons);
            }
            Then::Cap(super::Cap::Remaining) | Then::Tag(_) | Then::Flag => {}
        }
    }
    if comparisons.len() > COMPARISONS_MAX {
        return None;
    }
    for (left, right) in &comparisons {
        for order in [Order::Less, Order::LessOrEqual] {
            // What rules say changes only where one side of a comparison passes the other.
            let holds = |amount: i64| match (left.value(&at(amount)), right.value(&at(amount))) {
                (Some(left), Some(right)) => order.holds(left, right),
                (None, _) | (_, None) => false,
            };
            tops.extend(last_before_change(holds, most));
        }
    }
    tops.retain(|top| (1..=most).contains(top));
    tops.sort_unstable_by(|a, b| b.cmp(a));
    tops.dedup();
    tops.into_iter()
        .take(TRIED_MAX)
        .find(|top| passes(*top) && (*top == most || !passes(top.saturating_add(1))))
}

/// The last amount before something that changes once between 1 and `most`.
fn last_before_change(holds: impl Fn(i64) -> bool, most: i64) -> Option<i64> {
    let first = holds(1);
    if holds(most) == first {
        return None;
    }
    let (mut low, mut high) = (1_i64, most);
    while high.saturating_sub(low) > 1 {
        let middle = low.saturating_add(high.saturating_sub(low).div_euclid(2));
        if holds(middle) == first {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

/// The pairs of numbers that a condition compares.
fn gather(condition: &Condition, pairs: &mut Vec<(Number, Number)>) {
    match condition {
        Condition::Not(inner) => gather(inner, pairs),
        Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| gather(part, pairs)),
        Condition::Compare(comparison) => {
            let Comparison { left, right, .. } = &**comparison;
            pairs.push((left.clone(), right.clone()));
        }
        Condition::OneOf(of, _) => {
            pairs.extend(of.1.iter().map(|number| (of.0.clone(), Number::Literal(*number))));
        }
        Condition::Always(_)
        | Condition::Flag(_)
        | Condition::Has(_)
        | Condition::Known(_)
        | Condition::Measured(_)
        | Condition::IsFirst(..)
        | Condition::Is(..)
        | Condition::Same(..)
        | Condition::Contains(..)
        | Condition::StartsWith(..) => {}
    }
}
