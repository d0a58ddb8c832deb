//! The different merchants, countries or categories of a window: each value, with how many approvals it has when.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::{
    ids::NetworkId,
    merchant::{Category, Country, Merchant},
    policy::Feature,
    time::Timestamp,
};

/// Values of a window with their approvals. A value without any is not there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Values(BTreeMap<SmolStr, Vec<(Timestamp, i64)>>);

impl Feature {
    /// The value that a merchant has.
    #[must_use]
    pub fn of(self, merchant: &Merchant) -> Option<&str> {
        match self {
            Self::Merchant => merchant.network_id.as_ref().map(NetworkId::as_str),
            Self::Country => merchant.country.as_ref().map(Country::as_str),
            Self::Category => match &merchant.category {
                Category::Missing => None,
                named @ (Category::Known(_) | Category::Unknown(_)) => Some(named.as_str()),
            },
        }
    }
}

impl Values {
    /// None.
    pub const EMPTY: Self = Self(BTreeMap::new());

    /// Adds approvals at a time, or takes them away again. A window that does not slide has one time for all.
    pub fn shift(&mut self, value: &str, at: Timestamp, delta: i64) {
        if delta == 0 {
            return;
        }
        let moments = self.0.entry(value.into()).or_default();
        let place = moments.partition_point(|(known, _)| *known < at);
        match moments.get_mut(place) {
            Some((known, count)) if *known == at => *count = count.saturating_add(delta),
            _ => moments.insert(place, (at, delta)),
        }
        moments.retain(|(_, count)| *count != 0);
        if moments.is_empty() {
            self.0.remove(value);
        }
    }

    /// How many values have approvals later than `floor`.
    #[must_use]
    pub fn count_after(&self, floor: Timestamp) -> i64 {
        let count = self.0.values().filter(|moments| has_any(moments, floor)).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Whether a value has approvals later than `floor`.
    #[must_use]
    pub fn has_after(&self, value: &str, floor: Timestamp) -> bool {
        self.0.get(value).is_some_and(|moments| has_any(moments, floor))
    }

    /// Drops approvals up to `floor`.
    pub fn drop_through(&mut self, floor: Timestamp) {
        if floor == Timestamp::MIN {
            return;
        }
        self.0.retain(|_, moments| {
            moments.retain(|(at, _)| *at > floor);
            !moments.is_empty()
        });
    }

    /// Each value with its times and numbers, in the order of the values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[(Timestamp, i64)])> {
        self.0.iter().map(|(value, moments)| (value.as_str(), moments.as_slice()))
    }
}

fn has_any(moments: &[(Timestamp, i64)], floor: Timestamp) -> bool {
    let inside = moments.partition_point(|(at, _)| *at <= floor);
    // A window that does not slide keeps everything at the earliest time.
    let inside = if floor == Timestamp::MIN { 0 } else { inside };
    moments.get(inside..).unwrap_or_default().iter().map(|(_, count)| *count).sum::<i64>() > 0
}
