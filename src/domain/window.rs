//! Windows: which purchases a limit counts, when its calendar begins anew, and the running sum of what is used.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    merchant::Merchant,
    money::Currency,
    policy::{Interval, Measure, Window, Zone},
    time::Timestamp,
};

/// What one approval uses of the windows that admit it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spend {
    /// The time of its request: it stays in the windows of that time, whatever becomes of it later.
    pub at: Timestamp,
    /// Held and captured minor units.
    pub amount: i64,
    /// Approvals: one, or none where Stripe overturned it.
    pub count: i64,
}

/// The running sum of one window. A decision costs the same whether it holds one purchase or ten thousand.
#[derive(Clone, PartialEq, Debug)]
pub struct Tally {
    /// What is summed.
    pub window: Arc<Window>,
    /// The sum.
    pub running: Running,
}

/// The sum, in the way its interval needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Running {
    /// Within one calendar period; `[start, end)`.
    Period {
        /// Its first moment.
        start: Timestamp,
        /// The first moment of the next one.
        end: Timestamp,
        /// Used in it.
        used: i64,
    },
    /// Within a span before now: one slot for each moment of a request, oldest first.
    Rolling {
        /// When, and how much was used then.
        slots: VecDeque<(Timestamp, i64)>,
        /// The sum of the slots.
        used: i64,
    },
    /// Since ever.
    Total {
        /// Used.
        used: i64,
    },
}

impl Tally {
    /// An empty sum for `window` at the time `now`; `None` for `per_authorization`, which needs none.
    #[must_use]
    pub fn new(window: &Arc<Window>, now: Timestamp) -> Option<Self> {
        let running = match window.interval {
            Interval::PerAuthorization => return None,
            Interval::AllTime => Running::Total { used: 0 },
            Interval::Rolling(_) => Running::Rolling { slots: VecDeque::new(), used: 0 },
            Interval::Daily | Interval::Weekly | Interval::Monthly | Interval::Yearly => {
                let (start, end) = period(window.interval, &window.time_zone, now);
                Running::Period { start, end, used: 0 }
            }
        };
        Some(Self { window: Arc::clone(window), running })
    }

    /// Whether this is the sum of `window`.
    #[must_use]
    pub fn is_of(&self, window: &Arc<Window>) -> bool {
        Arc::ptr_eq(&self.window, window) || self.window == *window
    }

    /// How much is used at the time `now`, which is no earlier than any time before.
    #[must_use]
    pub fn used(&self, now: Timestamp) -> i64 {
        match &self.running {
            Running::Period { end, .. } if now >= *end => 0,
            Running::Period { used, .. } | Running::Total { used } => *used,
            Running::Rolling { slots, used } => {
                let floor = now.minus(self.span());
                let gone = slots.iter().take_while(|(at, _)| *at <= floor);
                gone.fold(*used, |used, (_, gone)| used.saturating_sub(*gone))
            }
        }
    }

    /// When the window gives back next: a calendar at its end, a rolling one when its oldest purchase leaves.
    #[must_use]
    pub fn resets_at(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.running {
            Running::Period { end, .. } if now < *end => Some(*end),
            Running::Period { .. } => Some(period(self.window.interval, &self.window.time_zone, now).1),
            Running::Rolling { slots, .. } => {
                let floor = now.minus(self.span());
                let oldest = slots.iter().find(|(at, _)| *at > floor);
                oldest.map(|(at, _)| at.plus(self.span()))
            }
            Running::Total { .. } => None,
        }
    }

    /// Moves on to the time `now`: begins the next period, lets go of what has left a rolling window.
    pub fn advance(&mut self, now: Timestamp) {
        let span = self.span();
        match &mut self.running {
            Running::Period { start, end, used } => {
                if now >= *end {
                    (*start, *end) = period(self.window.interval, &self.window.time_zone, now);
                    *used = 0;
                }
            }
            Running::Rolling { slots, used } => {
                let floor = now.minus(span);
                while let Some((_, gone)) = slots.pop_front_if(|(at, _)| *at <= floor) {
                    *used = used.saturating_sub(gone);
                }
            }
            Running::Total { .. } => {}
        }
    }

    /// Adds what is used at the time `at`, or takes it away again. What lies outside the window changes nothing.
    pub fn shift(&mut self, at: Timestamp, delta: i64) {
        if delta == 0 {
            return;
        }
        match &mut self.running {
            Running::Period { start, end, used } => {
                if (*start..*end).contains(&at) {
                    *used = used.saturating_add(delta);
                }
            }
            Running::Rolling { slots, used } => {
                *used = used.saturating_add(delta);
                let place = slots.partition_point(|(slot, _)| *slot < at);
                match slots.get_mut(place) {
                    Some((slot, amount)) if *slot == at => *amount = amount.saturating_add(delta),
                    _ => slots.insert(place, (at, delta)),
                }
                if slots.get(place).is_some_and(|(_, amount)| *amount == 0) {
                    slots.remove(place);
                }
            }
            Running::Total { used } => *used = used.saturating_add(delta),
        }
    }

    /// Takes away what was used and adds what is used now.
    pub fn exchange(&mut self, before: &[Spend], after: &[Spend]) {
        let is_same_place =
            before.len() == after.len() && before.iter().zip(after).all(|(b, a)| b.at == a.at);
        if is_same_place {
            for (before, after) in before.iter().zip(after) {
                self.shift(after.at, self.measure(after).saturating_sub(self.measure(before)));
            }
            return;
        }
        for spend in before {
            self.shift(spend.at, self.measure(spend).saturating_neg());
        }
        for spend in after {
            self.shift(spend.at, self.measure(spend));
        }
    }

    /// The earliest moment that still counts at the time `now`.
    #[must_use]
    pub fn opens_at(&self, now: Timestamp) -> Timestamp {
        match &self.running {
            Running::Period { start, end, .. } if now < *end => *start,
            Running::Period { .. } => period(self.window.interval, &self.window.time_zone, now).0,
            Running::Rolling { .. } => now.minus(self.span()),
            Running::Total { .. } => Timestamp::MIN,
        }
    }

    /// Whether what was used at the time `spent` counts at the time `now`.
    #[must_use]
    pub fn counts(&self, spent: Timestamp, now: Timestamp) -> bool {
        match &self.running {
            Running::Rolling { .. } => spent > self.opens_at(now),
            Running::Period { .. } | Running::Total { .. } => spent >= self.opens_at(now),
        }
    }

    /// What this window measures of a spend.
    #[must_use]
    pub fn measure(&self, spend: &Spend) -> i64 {
        self.window.measure.of(spend)
    }

    fn span(&self) -> Duration {
        match self.window.interval {
            Interval::Rolling(span) => span,
            Interval::PerAuthorization
            | Interval::Daily
            | Interval::Weekly
            | Interval::Monthly
            | Interval::Yearly
            | Interval::AllTime => Duration::ZERO,
        }
    }
}

impl Measure {
    /// What is measured of a spend.
    #[must_use]
    pub const fn of(self, spend: &Spend) -> i64 {
        match self {
            Self::Amount(_) => spend.amount,
            Self::Count => spend.count,
        }
    }
}

impl Window {
    /// Whether a purchase at `merchant` in `currency` counts here, on a card of the currency `own`. An amount without
    /// a currency is one of the card's own.
    #[must_use]
    pub fn admits(&self, merchant: &Merchant, currency: Option<Currency>, own: Option<Currency>) -> bool {
        let right_currency = match self.measure {
            Measure::Count => true,
            Measure::Amount(Some(named)) => currency.or(own) == Some(named),
            Measure::Amount(None) => currency.is_none() || currency == own,
        };
        right_currency
            && self.categories.as_ref().is_none_or(|list| list.contains(&merchant.category))
            && self.merchants.as_ref().is_none_or(|list| {
                merchant.network_id.as_ref().is_some_and(|network_id| list.contains(network_id))
            })
    }
}

/// The calendar period that holds `at`: its first moment, and the first moment of the next.
fn period(interval: Interval, zone: &Zone, at: Timestamp) -> (Timestamp, Timestamp) {
    let date = at.to_jiff().to_zoned(zone.as_jiff().clone()).date();
    let start = match interval {
        Interval::Weekly => {
            let since_sunday = i64::from(date.weekday().to_sunday_zero_offset());
            date.checked_sub(jiff::Span::new().days(since_sunday)).unwrap_or(date)
        }
        Interval::Monthly => date.first_of_month(),
        Interval::Yearly => date.first_of_year(),
        Interval::Daily | Interval::PerAuthorization | Interval::AllTime | Interval::Rolling(_) => date,
    };
    let length = match interval {
        Interval::Weekly => jiff::Span::new().weeks(1),
        Interval::Monthly => jiff::Span::new().months(1),
        Interval::Yearly => jiff::Span::new().years(1),
        Interval::Daily | Interval::PerAuthorization | Interval::AllTime | Interval::Rolling(_) => {
            jiff::Span::new().days(1)
        }
    };
    let midnight = |date: jiff::civil::Date| {
        date.to_zoned(zone.as_jiff().clone()).map(|moment| Timestamp::from(moment.timestamp()))
    };
    // The only dates that cannot be turned into moments lie at the ends of jiff's calendar, in the years ±9999.
    let start_moment = midnight(start).unwrap_or(Timestamp::MIN);
    let end_moment = start.checked_add(length).and_then(midnight).unwrap_or(Timestamp::MAX);
    (start_moment, end_moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_period_begins_at_midnight_of_its_zone() {
        use Interval::{Daily, Monthly, Weekly, Yearly};
        let check = |interval, zone: &str, moment: &str, start: &str, end: &str| {
            let zone = Zone::new(zone).unwrap();
            assert_eq!(period(interval, &zone, at(moment)), (at(start), at(end)), "{interval} {moment}");
        };
        check(Daily, "UTC", "2026-11-22T23:59:59Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z");
        // Sunday begins the week, also on a Sunday.
        check(Weekly, "UTC", "2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z");
        check(Weekly, "UTC", "2026-11-21T23:59:59Z", "2026-11-15T00:00:00Z", "2026-11-22T00:00:00Z");
        // A leap day.
        check(Monthly, "UTC", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z");
        check(Yearly, "UTC", "2028-12-31T23:59:59Z", "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z");
        // Days of 23 and 25 hours, where clocks change.
        let berlin = "Europe/Berlin";
        check(Daily, berlin, "2026-03-29T10:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        check(Daily, berlin, "2026-10-25T10:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        // Midnight itself does not exist on this day; it begins at one.
        check(
            Daily,
            "America/Sao_Paulo",
            "2018-11-04T12:00:00Z",
            "2018-11-04T03:00:00Z",
            "2018-11-05T02:00:00Z",
        );
        check(
            Daily,
            "Asia/Kathmandu",
            "2026-11-22T18:14:59Z",
            "2026-11-21T18:15:00Z",
            "2026-11-22T18:15:00Z",
        );
    }

    #[test]
    fn a_rolling_window_counts_exactly_its_span() {
        let window = Arc::new(Window {
            measure: Measure::Count,
            interval: Interval::parse("rolling(1h)").unwrap(),
            time_zone: Zone::UTC,
            categories: None,
            merchants: None,
        });
        let start = at("2026-11-22T10:00:00Z");
        let mut tally = Tally::new(&window, start).unwrap();
        tally.shift(start, 1);
        tally.shift(at("2026-11-22T10:30:00Z"), 2);
        assert_eq!(tally.used(at("2026-11-22T10:59:59.999999Z")), 3);
        assert_eq!(tally.used(at("2026-11-22T11:00:00Z")), 2);
        assert_eq!(tally.resets_at(at("2026-11-22T11:00:00Z")), Some(at("2026-11-22T11:30:00Z")));
        tally.advance(at("2026-11-22T11:00:00Z"));
        tally.shift(at("2026-11-22T10:30:00Z"), -2);
        assert_eq!(tally.running, Running::Rolling { slots: VecDeque::new(), used: 0 });
    }
}
