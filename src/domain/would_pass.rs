//! With what else than less money a declined request would have passed: later, or without a rule. Found by deciding again.

use std::time::Duration;

use super::{
    budget::Charged,
    card::Card,
    decision::{Decision, Outcome, Reason, WouldPass},
    exception::{Exception, Exceptions},
    policy::{CardPolicy, Interval, Measure},
    rule::moments_of,
    time::Timestamp,
};

/// So many times are tried, the earliest first: a decline shall not take long because it is explained.
const TRIED_MAX: usize = 16;
/// How far ahead times are looked for.
const AHEAD: Duration = Duration::from_hours(24 * 31);
const MICROSECOND: Duration = Duration::from_micros(1);

/// What would have passed instead of `declined`; none where nothing is found. `again` decides the same request at another time,
/// and without a rule.
pub(super) fn would_pass(
    card: &Card,
    charged: &[Charged<'_>],
    policy: &CardPolicy,
    declined: &Decision,
    again: impl Fn(Timestamp, Option<&str>) -> Outcome,
) -> Option<Box<WouldPass>> {
    let passes = |at: Timestamp, without: Option<&str>| again(at, without) == Outcome::Approved;
    let rule = declined.ruled.as_ref().and_then(|ruled| ruled.marks.rule.clone());
    let without = rule.filter(|rule| declined.reason == Reason::Rule && passes(declined.at, Some(rule)));
    let at = if is_too_large(declined) {
        None
    } else {
        earliest(card, charged, policy, declined.at, |at| passes(at, None))
    };
    (at.is_some() || without.is_some()).then(|| Box::new(WouldPass { at, without }))
}

/// Whether the request alone exceeds a limit, so that no time helps.
fn is_too_large(declined: &Decision) -> bool {
    declined.limits.iter().any(|check| {
        let is_never_left = matches!(check.interval, Interval::AllTime | Interval::PerAuthorization);
        let adds = check.after.saturating_sub(check.before);
        let is_over = check.after > check.max && (check.measure != Measure::Count || adds > 0);
        is_over && (is_never_left || adds > check.max)
    })
}

/// The earliest later time at which it passes, where one microsecond earlier it does not.
fn earliest(
    card: &Card,
    charged: &[Charged<'_>],
    policy: &CardPolicy,
    now: Timestamp,
    passes: impl Fn(Timestamp) -> bool,
) -> Option<Timestamp> {
    let mut times: Vec<Timestamp> = Vec::new();
    for tally in card.tallies.iter().chain(charged.iter().flat_map(|one| &one.budget.tallies)) {
        times.extend(tally.changes_after(now));
    }
    times.extend(card.blocked.as_ref().map(|(_, until)| *until));
    let budgets = charged.iter().map(|one| &one.budget.exceptions);
    let exceptions = budgets.chain([&card.exceptions]).flat_map(Exceptions::iter);
    times.extend(exceptions.filter_map(Exception::until));
    for rule in policy.rules.iter() {
        moments_of(&rule.when, card, now, &mut times);
    }
    let last = now.plus(AHEAD);
    times.retain(|at| *at > now && *at <= last);
    times.sort_unstable();
    times.dedup();
    let is_first = |at: &Timestamp| passes(*at) && !passes(at.minus(MICROSECOND));
    if let Some(found) = times.iter().take(TRIED_MAX).find(|at| is_first(at)) {
        return Some(*found);
    }
    // Windows only ever get emptier: the place where they are empty enough is found by halving.
    let rest = times.get(TRIED_MAX..).unwrap_or_default();
    let place = rest.partition_point(|at| !passes(*at));
    rest.get(place).filter(|at| is_first(at)).copied()
}
