//! What a window holds, counted anew from a list of all uses, with nothing but a calendar.

use jiff::{Unit, civil::Weekday, tz::TimeZone};
use tollgate::domain::{Interval, Measure, Merchant, Timestamp, Window};

use super::world::World;

/// What `window` holds at the time `now` of everything that ever happened in the world: walked through in the order of
/// time, since money that comes in gives back what was spent before it, and nothing else.
pub(super) fn used(world: &World, window: &Window, refunds_restore: bool, now: Timestamp) -> i64 {
    let zone = TimeZone::get(window.time_zone.name()).unwrap();
    let mut steps: Vec<(Timestamp, bool, i64)> = Vec::new();
    for purchase in &world.purchases {
        if is_counted(window, &purchase.merchant) {
            let uses = purchase.uses(refunds_restore);
            steps.extend(
                uses.iter().map(|(at, amount, count)| (*at, false, measured(window, *amount, *count))),
            );
        }
    }
    for (at, merchant, captured, refunded) in &world.loose {
        if is_counted(window, merchant) {
            steps.push((*at, false, measured(window, *captured, 0)));
            let refunded = if refunds_restore { *refunded } else { 0 };
            steps.push((*at, true, measured(window, refunded, 0)));
        }
    }
    steps.retain(|(at, ..)| is_inside(window.interval, &zone, *at, now));
    steps.sort_by_key(|(at, is_incoming, _)| (*at, *is_incoming));
    steps.into_iter().fold(
        0,
        |used, (_, is_incoming, amount)| {
            if is_incoming { (used - amount).max(0) } else { used + amount }
        },
    )
}

fn measured(window: &Window, amount: i64, count: i64) -> i64 {
    match window.measure {
        Measure::Amount(_) => amount,
        Measure::Count => count,
    }
}

/// Whether purchases of dollars at this merchant are counted.
pub(super) fn is_counted(window: &Window, merchant: &Merchant) -> bool {
    let is_dollars = match window.measure {
        Measure::Amount(Some(currency)) => currency.as_str() == "usd",
        Measure::Amount(None) | Measure::Count => true,
    };
    let is_category =
        window.categories.as_ref().is_none_or(|list| list.iter().any(|one| *one == merchant.category));
    let is_merchant = match (&window.merchants, &merchant.network_id) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(list), Some(id)) => list.iter().any(|one| one == id),
    };
    is_dollars && is_category && is_merchant
}

/// Whether two moments lie in one window: by the calendar on a wall of that zone, or by the clock.
fn is_inside(interval: Interval, zone: &TimeZone, at: Timestamp, now: Timestamp) -> bool {
    let day = |at: Timestamp| {
        jiff::Timestamp::from_microsecond(at.as_micros()).unwrap().to_zoned(zone.clone()).datetime().date()
    };
    let (then, today) = (day(at), day(now));
    match interval {
        Interval::PerAuthorization => false,
        Interval::AllTime => true,
        Interval::Daily => then == today,
        Interval::Monthly => (then.year(), then.month()) == (today.year(), today.month()),
        Interval::Yearly => then.year() == today.year(),
        Interval::Weekly => {
            let mut sunday = today;
            while sunday.weekday() != Weekday::Sunday {
                sunday = sunday.yesterday().unwrap();
            }
            (0..7).contains(&sunday.until((Unit::Day, then)).unwrap().get_days())
        }
        Interval::Rolling(span) => {
            now.as_micros() - at.as_micros() < i64::try_from(span.as_micros()).unwrap()
        }
    }
}
