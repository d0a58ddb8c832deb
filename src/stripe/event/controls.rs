//! Stripe's own `spending_controls` of a card, read only where a policy mirrors them: Stripe enforces them by itself,
//! but with a delay. Source: <https://docs.stripe.com/issuing/controls/spending-controls>.

use std::{collections::BTreeSet, sync::Arc};

use super::tape::{Value, fields};
use crate::domain::{
    CardPresence, Category, Controls, Country, Currency, Interval, Limit, Lists, Measure, Window, Zone,
};

/// The controls of a card, with the lists of its cardholder.
///
/// The cardholder's `spending_limits` are left out: they count over all cards of the cardholder, and one card's books
/// know nothing of the others.
pub(super) fn read(card: Value<'_>, cardholder: Value<'_>) -> Controls {
    let own = Lines::read(card);
    let shared = Lines::read(cardholder);
    Controls {
        spending_limits: limits(own.spending_limits, own.currency),
        categories: merged(own.categories, shared.categories),
        countries: merged(own.countries, shared.countries),
        presences: merged(own.presences, shared.presences),
        merchants: Lists::default(),
    }
}

/// One `spending_controls` object.
struct Lines<'a> {
    categories: Pair<Category>,
    countries: Pair<Country>,
    presences: Pair<CardPresence>,
    spending_limits: Value<'a>,
    currency: Option<Currency>,
}

/// An allowed and a blocked list.
struct Pair<T>(Option<BTreeSet<T>>, Option<BTreeSet<T>>);

impl<'a> Lines<'a> {
    fn read(controls: Value<'a>) -> Self {
        fields!(controls;
            "allowed_categories" => allowed_categories,
            "blocked_categories" => blocked_categories,
            "allowed_merchant_countries" => allowed_countries,
            "blocked_merchant_countries" => blocked_countries,
            "allowed_card_presences" => allowed_presences,
            "blocked_card_presences" => blocked_presences,
            "spending_limits" => spending_limits,
            "spending_limits_currency" => currency,
        );
        Self {
            categories: Pair(list(allowed_categories, category), list(blocked_categories, category)),
            countries: Pair(list(allowed_countries, Country::new), list(blocked_countries, Country::new)),
            presences: Pair(
                list(allowed_presences, CardPresence::new),
                list(blocked_presences, CardPresence::new),
            ),
            spending_limits,
            currency: currency.text().and_then(|text| text.parse().ok()),
        }
    }
}

/// A list that says something: to Stripe an empty one is the same as none. Words that are new to us are left out,
/// which on an allowed list only makes it stricter.
fn list<T: Ord>(values: Value<'_>, read: impl Fn(&str) -> Option<T>) -> Option<BTreeSet<T>> {
    (values.length() > 0).then(|| values.items().filter_map(|value| value.text().and_then(&read)).collect())
}

fn category(name: &str) -> Option<Category> {
    match Category::of(Some(name), None) {
        Category::Missing => None,
        listed @ (Category::Known(_) | Category::Unknown(_)) => Some(listed),
    }
}

/// Both must hold: allowed by each list that is there, blocked by either.
fn merged<T: Ord + Clone>(own: Pair<T>, shared: Pair<T>) -> Lists<T> {
    let allowed = both(own.0, shared.0, |a, b| a & b);
    let blocked = both(own.1, shared.1, |a, b| a | b);
    Lists { allowed: allowed.map(Arc::new), blocked: blocked.map(Arc::new) }
}

fn both<T>(a: Option<T>, b: Option<T>, join: impl Fn(&T, &T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(join(&a, &b)),
        (one, other) => one.or(other),
    }
}

/// The limits that can be read: one that cannot is still Stripe's to enforce. Stripe counts its days in UTC.
fn limits(limits: Value<'_>, currency: Option<Currency>) -> Vec<Limit> {
    let mut read = Vec::new();
    for limit in limits.items() {
        fields!(limit; "amount" => amount, "categories" => categories, "interval" => every);
        let (Some(max @ 0..), Some(interval)) = (amount.whole(), every.text().and_then(interval)) else {
            continue;
        };
        let window = Window {
            measure: Measure::Amount(currency),
            interval,
            time_zone: Zone::UTC,
            categories: list(categories, category),
            merchants: None,
            occurrence: crate::domain::Occurrence::Approval,
        };
        read.push(Limit { max, window: Arc::new(window) });
    }
    read
}

/// The intervals that Stripe has; sliding windows are ours alone.
fn interval(word: &str) -> Option<Interval> {
    match word {
        "per_authorization" => Some(Interval::PerAuthorization),
        "daily" => Some(Interval::Daily),
        "weekly" => Some(Interval::Weekly),
        "monthly" => Some(Interval::Monthly),
        "yearly" => Some(Interval::Yearly),
        "all_time" => Some(Interval::AllTime),
        _ => None,
    }
}
