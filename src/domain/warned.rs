//! Warnings of a budget: that a share of one of its limits was reached, once for each share, window, and height of the limit.

use std::sync::Arc;

use super::{
    policy::{Interval, Window},
    time::Timestamp,
};

/// A share of a limit or of a balance that was reached, at which the policy warns.
#[derive(Clone, PartialEq, Debug)]
pub struct Warned {
    /// When.
    pub at: Timestamp,
    /// What the limit counts; none for the balance.
    pub limit: Option<Arc<Window>>,
    /// The beginning of the calendar window.
    pub window_from: Option<Timestamp>,
    /// The share, in percent.
    pub percent: u8,
    /// What is used.
    pub used: i64,
    /// The height of the limit; of a balance, what was credited.
    pub max: i64,
}

impl Warned {
    /// Whether `later` says nothing new: the same share of the limit or a lower one, at the same height and in the same
    /// window. A rolling window ends when its span is over.
    pub(super) fn covers(&self, later: &Self) -> bool {
        let is_same_window = match self.limit.as_ref().map(|window| window.interval) {
            Some(Interval::Rolling(span)) => later.at < self.at.plus(span),
            Some(_) | None => self.window_from == later.window_from,
        };
        self.limit == later.limit && self.max == later.max && self.percent >= later.percent && is_same_window
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{Measure, Zone};

    fn window(interval: Interval) -> Arc<Window> {
        Arc::new(Window {
            measure: Measure::Amount(None),
            interval,
            time_zone: Zone::UTC,
            categories: None,
            merchants: None,
            occurrence: crate::domain::Occurrence::default(),
        })
    }

    #[test]
    fn a_share_is_news_once_in_each_window_at_each_height() {
        let at = Timestamp::from_seconds;
        let day = Duration::from_hours(24);
        let monthly = Warned {
            at: at(1_000),
            limit: Some(window(Interval::Monthly)),
            window_from: Some(at(0)),
            percent: 80,
            used: 85,
            max: 100,
        };
        let rolling =
            Warned { limit: Some(window(Interval::Rolling(day))), window_from: None, ..monthly.clone() };
        let check = |first: &Warned, later: Warned, is_known: bool| {
            assert_eq!(first.covers(&later), is_known, "{later:?}");
        };
        check(&monthly, Warned { at: at(2_000), used: 99, ..monthly.clone() }, true);
        check(&monthly, Warned { percent: 50, ..monthly.clone() }, true);
        check(&monthly, Warned { percent: 100, ..monthly.clone() }, false);
        check(&monthly, Warned { max: 200, ..monthly.clone() }, false);
        check(&monthly, Warned { window_from: Some(at(500)), ..monthly.clone() }, false);
        check(&monthly, Warned { limit: None, ..monthly.clone() }, false);
        check(&rolling, Warned { at: rolling.at.plus(day / 2), ..rolling.clone() }, true);
        check(&rolling, Warned { at: rolling.at.plus(day), ..rolling.clone() }, false);
    }
}
