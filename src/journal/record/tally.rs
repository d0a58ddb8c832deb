//! The running sum of a window, on disk: a part of a card's snapshot.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Text, Unreadable,
    decided::{currency_text, interval_text},
    field, is_false, is_zero, optional,
};
use crate::domain::{
    Category, Feature, Interval, Measure, Moment, NetworkId, Occurrence, Tally, Timestamp, Window, Zone,
};

#[derive(Serialize, Deserialize)]
pub(super) struct TallyRecord<'a> {
    #[serde(borrow, flatten)]
    window: WindowRecord<'a>,
    /// Used at moments that are not remembered one by one.
    #[serde(skip_serializing_if = "is_zero", default)]
    base: i64,
    /// The latest of those, where it matters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    through: Option<i64>,
    /// Start and end of a calendar period.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    period: Option<(i64, i64)>,
    /// Times, used, given back.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    moments: Vec<(i64, i64, i64)>,
    /// Different values with their times and approvals; a window that does not slide has no times.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    values: Vec<(Text<'a>, Counts)>,
    #[serde(skip_serializing_if = "is_false", default)]
    refunds_restore: bool,
}

/// Approvals with their times.
type Counts = Vec<(Option<i64>, i64)>;

/// What a limit measures, on disk.
#[derive(Serialize, Deserialize)]
pub(super) struct WindowRecord<'a> {
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
}

impl<'a> From<&'a Tally> for TallyRecord<'a> {
    fn from(tally: &'a Tally) -> Self {
        Self {
            window: WindowRecord::from(&*tally.window),
            base: tally.base,
            through: (tally.through > Timestamp::MIN).then(|| tally.through.as_micros()),
            period: tally.period.map(|(start, end)| (start.as_micros(), end.as_micros())),
            moments: tally
                .moments
                .iter()
                .map(|Moment { at, spent, incoming }| (at.as_micros(), *spent, *incoming))
                .collect(),
            values: tally
                .values
                .iter()
                .map(|(value, moments)| {
                    (value.into(), moments.iter().map(|(at, count)| (time(*at), *count)).collect())
                })
                .collect(),
            refunds_restore: tally.refunds_restore,
        }
    }
}

impl<'a> From<&'a Window> for WindowRecord<'a> {
    fn from(window: &'a Window) -> Self {
        let Window { measure, interval, time_zone, categories, merchants, occurrence } = window;
        let currency = match measure {
            Measure::Amount(currency) => *currency,
            Measure::Count => None,
        };
        Self {
            measure: match (measure, occurrence) {
                (Measure::Count, occurrence) => occurrence_text(*occurrence).into(),
                (Measure::Amount(_), _) => measure.as_str().into(),
            },
            currency: currency.map(currency_text),
            interval: interval_text(*interval),
            zone: (*time_zone != Zone::UTC).then(|| time_zone.name().into()),
            categories: categories.as_ref().map(|list| list.iter().map(|one| one.as_str().into()).collect()),
            merchants: merchants.as_ref().map(|list| list.iter().map(|one| one.as_str().into()).collect()),
        }
    }
}

/// What is counted, as the measure of a window says it.
const OCCURRENCES: [(&str, Occurrence); 6] = [
    ("count", Occurrence::Approval),
    ("attempts", Occurrence::Attempt),
    ("declines", Occurrence::Decline),
    ("merchants", Occurrence::Different(Feature::Merchant)),
    ("countries", Occurrence::Different(Feature::Country)),
    ("categories", Occurrence::Different(Feature::Category)),
];

fn occurrence_text(occurrence: Occurrence) -> &'static str {
    OCCURRENCES.into_iter().find(|(_, known)| *known == occurrence).map_or("count", |(text, _)| text)
}

fn occurrence_of(text: &str) -> Option<Occurrence> {
    OCCURRENCES.into_iter().find(|(known, _)| *known == text).map(|(_, occurrence)| occurrence)
}

impl WindowRecord<'_> {
    pub(super) fn into_window(self) -> Result<Window, Unreadable> {
        let currency = optional("currency", self.currency.as_ref(), |text| text.parse().ok())?;
        let measure = field("measure", &self.measure, |text| match text {
            "amount" => Some(Measure::Amount(currency)),
            _ => occurrence_of(text).map(|_| Measure::Count),
        })?;
        let list = |list: Vec<Text<'_>>| {
            list.iter().map(|id| field("merchants", id, NetworkId::new)).collect::<Result<_, _>>()
        };
        Ok(Window {
            measure,
            interval: field("interval", &self.interval, Interval::parse)?,
            time_zone: optional("zone", self.zone.as_ref(), Zone::new)?.unwrap_or(Zone::UTC),
            categories: self
                .categories
                .map(|list| list.iter().map(|name| Category::of(Some(name), None)).collect()),
            merchants: self.merchants.map(list).transpose()?,
            occurrence: occurrence_of(&self.measure).unwrap_or_default(),
        })
    }
}

impl TallyRecord<'_> {
    pub(super) fn into_tally(self) -> Result<Tally, Unreadable> {
        let window = self.window.into_window()?;
        let period =
            self.period.map(|(start, end)| (Timestamp::from_micros(start), Timestamp::from_micros(end)));
        let mut tally = Tally::of(Arc::new(window), period, self.refunds_restore);
        tally.base = self.base;
        tally.through = self.through.map_or(Timestamp::MIN, Timestamp::from_micros);
        for (at, spent, incoming) in self.moments {
            tally.push(Moment { at: Timestamp::from_micros(at), spent, incoming });
        }
        for (value, moments) in self.values {
            for (at, count) in moments {
                tally.values.shift(&value, at.map_or(Timestamp::MIN, Timestamp::from_micros), count);
            }
        }
        Ok(tally)
    }
}

fn time(at: Timestamp) -> Option<i64> {
    (at > Timestamp::MIN).then(|| at.as_micros())
}
