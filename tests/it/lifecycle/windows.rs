//! Limits drawn from a seed: windows of every kind in zones of every kind, and the moments where calendars are odd.

use std::sync::Arc;

use fastrand::Rng;
use tollgate::domain::{
    CardPolicy, Category, Currency, Interval, Limit, Measure, NetworkId, Overrides, Policy, PolicyVersion,
    Timestamp, Window, Zone,
};

use super::facts;

/// A few limits on dollars and approvals, none of which a purchase can pass for long.
pub(super) fn policy(random: &mut Rng) -> Arc<CardPolicy> {
    let limits: Vec<Limit> = (0..random.usize(1..=6)).map(|_| limit(random)).collect();
    let default = Overrides {
        spending_limits: Some(limits),
        partial_approvals: Some(random.bool()),
        refunds_restore: Some(random.usize(0..4) == 0),
        other_currencies_allowed: Some(true),
        ..Overrides::default()
    };
    let (groups, cards) = Default::default();
    Policy::new(PolicyVersion::new("random"), &default, &groups, cards).for_card(None, None)
}

/// Shortly before clocks change, months end, leap days begin.
pub(super) fn start(random: &mut Rng) -> Timestamp {
    let odd = [
        "2018-11-03T12:00:00Z",
        "2018-02-17T00:00:00Z",
        "2026-03-28T20:00:00Z",
        "2026-10-24T20:00:00Z",
        "2028-02-28T18:00:00Z",
        "2027-02-28T18:00:00Z",
        "2026-12-31T16:00:00Z",
        "2026-11-29T23:59:58Z",
        "2026-06-15T00:00:00Z",
    ];
    facts::at(odd[random.usize(0..odd.len())])
}

fn limit(random: &mut Rng) -> Limit {
    let intervals = [
        "per_authorization",
        "daily",
        "weekly",
        "monthly",
        "yearly",
        "all_time",
        "rolling(1h)",
        "rolling(90s)",
        "rolling(24h)",
        "rolling(7d)",
    ];
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "America/Havana",
        "Australia/Lord_Howe",
    ];
    let (measure, max) = match random.usize(0..5) {
        0 => (Measure::Count, random.i64(0..=8)),
        1 => (Measure::Amount(Some(Currency::USD)), random.i64(0..=60_000)),
        2 => (Measure::Amount(Some("eur".parse().unwrap())), random.i64(0..=60_000)),
        _ => (Measure::Amount(None), random.i64(0..=60_000)),
    };
    let categories = ["bakeries", "fast_food_restaurants"].map(|name| Category::named(name).unwrap());
    let window = Window {
        measure,
        interval: Interval::parse(intervals[random.usize(0..intervals.len())]).unwrap(),
        time_zone: Zone::new(zones[random.usize(0..zones.len())]).unwrap(),
        categories: (random.usize(0..4) == 0).then(|| categories.into_iter().collect()),
        merchants: (random.usize(0..6) == 0).then(|| [NetworkId::new("0042").unwrap()].into()),
        occurrence: tollgate::domain::Occurrence::Approval,
    };
    Limit { max, window: Arc::new(window) }
}
