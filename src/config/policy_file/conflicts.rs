//! Limits that can never bind, because another limit always binds first or because what they count is blocked.

use std::{collections::BTreeSet, time::Duration};

use super::{
    check::LocatedLimit,
    mistake::{Findings, Severity},
    outline::limit_text,
};
use crate::domain::{Category, Interval, Measure, NetworkId, Overrides, Window, Zone};

/// The lists that hold beside the limits of a layer: its own, or those of the layer below.
pub(super) struct Effective<'a> {
    categories: Listed<'a, Category>,
    merchants: Listed<'a, NetworkId>,
}

struct Listed<'a, T> {
    allowed: Option<&'a BTreeSet<T>>,
    blocked: Option<&'a BTreeSet<T>>,
}

impl<'a> Effective<'a> {
    pub(super) fn of(layer: &'a Overrides, below: &'a Overrides) -> Self {
        Self {
            categories: Listed {
                allowed: layer.allowed_categories.as_ref().or(below.allowed_categories.as_ref()),
                blocked: layer.blocked_categories.as_ref().or(below.blocked_categories.as_ref()),
            },
            merchants: Listed {
                allowed: layer.allowed_merchants.as_ref().or(below.allowed_merchants.as_ref()),
                blocked: layer.blocked_merchants.as_ref().or(below.blocked_merchants.as_ref()),
            },
        }
    }
}

/// Notes every limit of one layer that never does anything.
pub(super) fn note_idle_limits(limits: &[LocatedLimit], lists: &Effective<'_>, findings: &mut Findings) {
    for (index, limit) in limits.iter().enumerate() {
        let window = &limit.value.window;
        if never_passes(window.categories.as_ref(), &lists.categories)
            || never_passes(window.merchants.as_ref(), &lists.merchants)
        {
            let advice = "remove the limit, or let some of what it counts pass";
            findings.at(
                Severity::Ineffective,
                limit,
                "it can never bind: all that it counts is blocked",
                advice,
            );
            continue;
        }
        let tighter = limits.iter().enumerate().find(|(other_index, other)| {
            // Of two equal limits only the later one is too much.
            let is_equal_later = other.value == limit.value && *other_index > index;
            *other_index != index && !is_equal_later && always_binds_first(other, limit)
        });
        if let Some((_, other)) = tighter {
            let found = format!(
                "it can never bind: line {} has {}, which always binds first",
                other.place.line,
                limit_text(&other.value)
            );
            findings.at(Severity::Ineffective, limit, found, "lower it, raise the other, or remove it");
        }
    }
}

/// Whether nothing of what a limit counts gets past the lists.
fn never_passes<T: Ord>(counted: Option<&BTreeSet<T>>, lists: &Listed<'_, T>) -> bool {
    let Some(counted) = counted else { return false };
    let passes = |item: &T| {
        lists.allowed.is_none_or(|allowed| allowed.contains(item))
            && !lists.blocked.is_some_and(|blocked| blocked.contains(item))
    };
    !counted.is_empty() && !counted.iter().any(passes)
}

/// Whether `tight` is used up whenever `loose` is: it counts the same or more, for as long or longer, up to the same
/// height or a lower one.
fn always_binds_first(tight: &LocatedLimit, loose: &LocatedLimit) -> bool {
    let (wide, narrow) = (&tight.value.window, &loose.value.window);
    let same_measure = match (wide.measure, narrow.measure) {
        (Measure::Amount(a), Measure::Amount(b)) => a == b,
        (Measure::Count, Measure::Count) => true,
        (Measure::Amount(_), Measure::Count) | (Measure::Count, Measure::Amount(_)) => false,
    };
    // Increments of a later day are in that day's window, so an authorization may hold more than a day's limit; only
    // a limit that is written higher is surely a slip.
    let may_grow_past =
        narrow.interval == Interval::PerAuthorization && wide.interval != Interval::PerAuthorization;
    let not_higher =
        tight.value.max < loose.value.max || tight.value.max == loose.value.max && !may_grow_past;
    same_measure
        && not_higher
        && covers(wide.categories.as_ref(), narrow.categories.as_ref())
        && covers(wide.merchants.as_ref(), narrow.merchants.as_ref())
        && lasts(wide, narrow)
}

/// Whether one filter lets through all that the other does; no filter lets everything through.
fn covers<T: Ord>(wide: Option<&BTreeSet<T>>, narrow: Option<&BTreeSet<T>>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => narrow.is_subset(wide),
    }
}

/// Whether all that is in `narrow`'s window at any time is in `wide`'s as well.
fn lasts(wide: &Window, narrow: &Window) -> bool {
    use Interval::{AllTime, Daily, Monthly, PerAuthorization, Rolling, Weekly, Yearly};
    match (wide.interval, narrow.interval) {
        (AllTime, _) | (PerAuthorization | Daily | Weekly | Monthly | Yearly, PerAuthorization) => true,
        (Daily | Weekly | Monthly | Yearly, Daily)
        | (Weekly, Weekly)
        | (Monthly | Yearly, Monthly)
        | (Yearly, Yearly) => wide.time_zone == narrow.time_zone,
        (Rolling(wide), Rolling(narrow)) => narrow <= wide,
        (Rolling(span), Daily) => span >= longest(1, narrow),
        (Rolling(span), Weekly) => span >= longest(7, narrow),
        (Rolling(span), Monthly) => span >= longest(31, narrow),
        (Rolling(span), Yearly) => span >= longest(366, narrow),
        // A week may lie in two months or two years, and a sliding window over any midnight; increments may come
        // after the window has slid on.
        (Daily | Monthly | Yearly, Weekly)
        | (Daily | Weekly, Monthly)
        | (Daily | Weekly | Monthly, Yearly)
        | (Daily | Weekly | Monthly | Yearly, Rolling(_) | AllTime)
        | (PerAuthorization, Daily | Weekly | Monthly | Yearly | Rolling(_) | AllTime)
        | (Rolling(_), PerAuthorization | AllTime) => false,
    }
}

/// The longest that so many calendar days last: where clocks are turned, an hour more.
fn longest(days: u64, window: &Window) -> Duration {
    let turned = if window.time_zone == Zone::UTC { 0 } else { 3_600 };
    Duration::from_secs(days.saturating_mul(86_400).saturating_add(turned))
}
