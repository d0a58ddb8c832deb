//! The running sum of a window, on disk: a part of a card's snapshot.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Text, Unreadable,
    decided::{currency_text, interval_text},
    field, optional,
};
use crate::domain::{Category, Interval, Measure, NetworkId, Running, Tally, Timestamp, Window, Zone};

#[derive(Serialize, Deserialize)]
pub(super) struct TallyRecord<'a> {
    measure: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    interval: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    zone: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    categories: Option<Vec<Text<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    merchants: Option<Vec<Text<'a>>>,
    used: i64,
    /// Start and end of a calendar period.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    period: Option<(i64, i64)>,
    /// Times and amounts of a rolling window.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    slots: Option<Vec<(i64, i64)>>,
}

impl<'a> From<&'a Tally> for TallyRecord<'a> {
    fn from(tally: &'a Tally) -> Self {
        let Window { measure, interval, time_zone, categories, merchants } = &*tally.window;
        let (used, period, slots) = match &tally.running {
            Running::Period { start, end, used } => (*used, Some((start.as_micros(), end.as_micros())), None),
            Running::Rolling { slots, used } => {
                let slots = slots.iter().map(|(at, amount)| (at.as_micros(), *amount)).collect();
                (*used, None, Some(slots))
            }
            Running::Total { used } => (*used, None, None),
        };
        let currency = match measure {
            Measure::Amount(currency) => *currency,
            Measure::Count => None,
        };
        Self {
            measure: measure.as_str().into(),
            currency: currency.map(currency_text),
            interval: interval_text(*interval),
            zone: (*time_zone != Zone::UTC).then(|| time_zone.name().into()),
            categories: categories.as_ref().map(|list| list.iter().map(|one| one.as_str().into()).collect()),
            merchants: merchants.as_ref().map(|list| list.iter().map(|one| one.as_str().into()).collect()),
            used,
            period,
            slots,
        }
    }
}

impl TallyRecord<'_> {
    pub(super) fn into_tally(self) -> Result<Tally, Unreadable> {
        let currency = optional("currency", self.currency.as_ref(), |text| text.parse().ok())?;
        let measure = field("measure", &self.measure, |text| match text {
            "amount" => Some(Measure::Amount(currency)),
            "count" => Some(Measure::Count),
            _ => None,
        })?;
        let list = |list: Vec<Text<'_>>| {
            list.iter().map(|id| field("merchants", id, NetworkId::new)).collect::<Result<_, _>>()
        };
        let window = Window {
            measure,
            interval: field("interval", &self.interval, Interval::parse)?,
            time_zone: optional("zone", self.zone.as_ref(), Zone::new)?.unwrap_or(Zone::UTC),
            categories: self
                .categories
                .map(|list| list.iter().map(|name| Category::of(Some(name), None)).collect()),
            merchants: self.merchants.map(list).transpose()?,
        };
        let used = self.used;
        let running = match (self.period, self.slots) {
            (Some((start, end)), _) => Running::Period {
                start: Timestamp::from_micros(start),
                end: Timestamp::from_micros(end),
                used,
            },
            (None, Some(slots)) => Running::Rolling {
                slots: slots.into_iter().map(|(at, amount)| (Timestamp::from_micros(at), amount)).collect(),
                used,
            },
            (None, None) => Running::Total { used },
        };
        Ok(Tally { window: Arc::new(window), running })
    }
}
