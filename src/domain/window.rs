//! Windows: which purchases a limit counts, when its calendar begins anew, and the running sum of what is used.

use std::{sync::Arc, time::Duration};

use super::{
    merchant::Merchant,
    moments::{Moment, Moments},
    money::Currency,
    policy::{Feature, Interval, Measure, Occurrence, Window, Zone},
    time::Timestamp,
    values::Values,
};

/// What one approval uses of the windows that admit it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spend {
    /// The time of its request: it stays in the windows of that time, whatever becomes of it later.
    pub at: Timestamp,
    /// Held and captured minor units.
    pub amount: i64,
    /// Authorizations: one for the first approval of each, none for its increments.
    pub count: i64,
    /// Where the card was used.
    pub merchant: Merchant,
}

/// What an authorization uses, with the currency of its amounts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Uses<'a> {
    /// Each use.
    pub spends: &'a [Spend],
    /// The currency of the amounts.
    pub currency: Option<Currency>,
}

impl Uses<'_> {
    /// Nothing.
    pub const NONE: Self = Self { spends: &[], currency: None };
}

/// The running sum of one window. A decision costs the same whether it holds one purchase or ten thousand.
///
/// Money that comes in gives back what was spent before it, and never more: the sum is what a walk through the moments
/// comes to that adds what is spent and takes away what comes in, and never goes below zero. So a window in which refunds
/// give back remembers its moments, up to 1,024 of them, and the older ones as one sum.
#[derive(Clone, PartialEq, Debug)]
pub struct Tally {
    /// What is summed.
    pub window: Arc<Window>,
    /// `[start, end)` of a calendar period.
    pub period: Option<(Timestamp, Timestamp)>,
    /// Whether money that comes in gives back.
    pub refunds_restore: bool,
    /// Used at moments that are not remembered one by one.
    pub base: i64,
    /// The latest of those moments.
    pub through: Timestamp,
    /// Each moment that is remembered, oldest first.
    pub moments: Moments,
    /// The different values, where those are counted.
    pub values: Values,
    /// What the moments come to without money that came in.
    spent: i64,
    /// How many moments have money that came in.
    incoming: usize,
}

/// How many moments a calendar window in which refunds give back remembers one by one.
const MOMENTS_MAX: usize = 1_024;

impl Tally {
    /// An empty sum for `window` at the time `now`; `None` for `per_authorization`, which needs none.
    #[must_use]
    pub fn new(window: &Arc<Window>, refunds_restore: bool, now: Timestamp) -> Option<Self> {
        let period = match window.interval {
            Interval::PerAuthorization => return None,
            Interval::AllTime | Interval::Rolling(_) => None,
            Interval::Daily | Interval::Weekly | Interval::Monthly | Interval::Yearly => {
                Some(period(window.interval, &window.time_zone, now))
            }
        };
        Some(Self::of(Arc::clone(window), period, refunds_restore))
    }

    /// An empty sum with these bounds.
    #[must_use]
    pub const fn of(
        window: Arc<Window>,
        period: Option<(Timestamp, Timestamp)>,
        refunds_restore: bool,
    ) -> Self {
        Self {
            window,
            period,
            refunds_restore,
            base: 0,
            through: Timestamp::MIN,
            moments: Moments::new(),
            values: Values::EMPTY,
            spent: 0,
            incoming: 0,
        }
    }

    /// The same sum, of an equal window.
    #[must_use]
    pub fn of_window(self, window: &Arc<Window>) -> Self {
        Self { window: Arc::clone(window), ..self }
    }

    /// The sums of exactly these windows, each once: those in `kept` that are counted so, and for the others what `count`
    /// makes of an empty one.
    ///
    /// # Errors
    /// What `count` refuses.
    pub(super) fn of_windows<'a, E>(
        kept: &[Self],
        windows: impl Iterator<Item = &'a Arc<Window>>,
        refunds_restore: bool,
        now: Timestamp,
        count: impl Fn(Self) -> Result<Self, E>,
    ) -> Result<Vec<Self>, E> {
        let mut tallies: Vec<Self> = Vec::new();
        for window in windows {
            if tallies.iter().any(|tally| tally.is_of(window)) {
                continue;
            }
            let is_kept = |tally: &&Self| tally.refunds_restore == refunds_restore && tally.is_of(window);
            if let Some(tally) = kept.iter().find(is_kept) {
                tallies.push(tally.clone().of_window(window));
            } else if let Some(tally) = Self::new(window, refunds_restore, now) {
                tallies.push(count(tally)?);
            }
        }
        Ok(tallies)
    }

    /// Puts a remembered moment behind those that are there.
    pub fn push(&mut self, moment: Moment) {
        self.spent = self.spent.saturating_add(moment.spent);
        self.incoming = self.incoming.saturating_add(usize::from(moment.incoming != 0));
        self.moments.push(moment);
    }

    /// Whether this is the sum of `window`.
    #[must_use]
    pub fn is_of(&self, window: &Arc<Window>) -> bool {
        Arc::ptr_eq(&self.window, window) || self.window == *window
    }

    /// How much is used at the time `now`, which is no earlier than any time before.
    #[must_use]
    pub fn used(&self, now: Timestamp) -> i64 {
        if self.period.is_some_and(|(_, end)| now >= end) {
            return 0;
        }
        let floor = self.floor(now);
        if self.feature().is_some() {
            return self.values.count_after(floor);
        }
        if self.incoming > 0 {
            return self.moments.after(floor).fold(self.base, |used, moment| moment.after(used));
        }
        let gone = self.moments.through(floor);
        let gone = gone.fold(0_i64, |gone, moment| gone.saturating_add(moment.spent));
        self.base.saturating_add(self.spent).saturating_sub(gone)
    }

    /// When the window gives back next: a calendar at its end, a rolling one when its oldest purchase leaves.
    #[must_use]
    pub fn resets_at(&self, now: Timestamp) -> Option<Timestamp> {
        match (self.period, self.span()) {
            (Some((_, end)), _) if now < end => Some(end),
            (Some(_), _) => Some(period(self.window.interval, &self.window.time_zone, now).1),
            (None, Some(span)) => {
                let floor = now.minus(span);
                let oldest = self.moments.after(floor).find(|moment| moment.spent != 0);
                oldest.map(|moment| moment.at.plus(span))
            }
            (None, None) => None,
        }
    }

    /// The later times at which it gives back: the end of its period, or when each purchase leaves a rolling window.
    pub fn changes_after(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let end = self.period.and_then(|_| self.resets_at(now));
        let leaving = self.span().into_iter().flat_map(|span| {
            let values = self.values.iter().flat_map(|(_, moments)| moments.iter().map(|(at, _)| *at));
            self.moments.iter().map(|moment| moment.at).chain(values).map(move |at| at.plus(span))
        });
        end.into_iter().chain(leaving)
    }

    /// Moves on to the time `now`: begins the next period, lets go of what has left a rolling window.
    pub fn advance(&mut self, now: Timestamp) {
        if self.period.is_some_and(|(_, end)| now >= end) {
            let next = period(self.window.interval, &self.window.time_zone, now);
            *self = Self::of(Arc::clone(&self.window), Some(next), self.refunds_restore);
        }
        let floor = self.floor(now);
        self.values.drop_through(floor);
        while self.moments.first().is_some_and(|moment| moment.at <= floor) {
            self.pop();
        }
    }

    /// Whether a merchant's value of what is counted here is among the approved ones at the time `now`.
    #[must_use]
    pub fn has(&self, merchant: &Merchant, now: Timestamp) -> bool {
        let value = self.feature().and_then(|feature| feature.of(merchant));
        let is_over = self.period.is_some_and(|(_, end)| now >= end);
        !is_over && value.is_some_and(|value| self.values.has_after(value, self.floor(now)))
    }

    fn feature(&self) -> Option<Feature> {
        match self.window.occurrence {
            Occurrence::Different(feature) => Some(feature),
            Occurrence::Approval | Occurrence::Attempt | Occurrence::Decline => None,
        }
    }

    /// Counts the value of each use, or takes it away again.
    fn count_values(&mut self, feature: Feature, uses: Uses<'_>, sign: i64) {
        for spend in uses.spends {
            let is_outside = self.period.is_some_and(|(start, end)| !(start..end).contains(&spend.at));
            if let Some(value) = feature.of(&spend.merchant).filter(|_| !is_outside) {
                let at = if self.span().is_some() { spend.at } else { Timestamp::MIN };
                self.values.shift(value, at, spend.count.saturating_mul(sign));
            }
        }
    }

    /// Adds what is used at the time `at`, or takes it away again. What lies outside the window changes nothing.
    pub fn shift(&mut self, at: Timestamp, delta: i64) {
        self.change(at, delta, 0);
    }

    /// Adds what came in at the time `at`, or takes it away again.
    pub fn restore(&mut self, at: Timestamp, delta: i64) {
        self.change(at, 0, delta);
    }

    fn change(&mut self, at: Timestamp, spent: i64, incoming: i64) {
        let is_outside = self.period.is_some_and(|(start, end)| !(start..end).contains(&at));
        if (spent == 0 && incoming == 0) || is_outside {
            return;
        }
        let is_rolling = self.span().is_some();
        if !is_rolling && !self.refunds_restore {
            self.base = self.base.saturating_add(spent);
            return;
        }
        if !is_rolling && at <= self.through {
            self.base = self.base.saturating_add(spent).saturating_sub(incoming).max(0);
            return;
        }
        self.spent = self.spent.saturating_add(spent);
        let (mut had, mut has) = (false, false);
        self.moments.change(at, |moment| {
            had = moment.incoming != 0;
            moment.spent = moment.spent.saturating_add(spent);
            moment.incoming = moment.incoming.saturating_add(incoming);
            has = moment.incoming != 0;
        });
        self.incoming = self.incoming.saturating_sub(usize::from(had)).saturating_add(usize::from(has));
        while !is_rolling && self.moments.len() > MOMENTS_MAX {
            if let Some(oldest) = self.pop() {
                self.base = oldest.after(self.base);
                self.through = oldest.at;
            }
        }
    }

    fn pop(&mut self) -> Option<Moment> {
        let oldest = self.moments.pop_first()?;
        self.spent = self.spent.saturating_sub(oldest.spent);
        self.incoming = self.incoming.saturating_sub(usize::from(oldest.incoming != 0));
        Some(oldest)
    }

    /// Takes away what an authorization in a currency used, and adds what it uses now, on a card of the currency `own`.
    pub fn exchange(&mut self, before: Uses<'_>, after: Uses<'_>, own: Option<Currency>) {
        if let Some(feature) = self.feature() {
            self.count_values(feature, before, -1);
            self.count_values(feature, after, 1);
            return;
        }
        let window = Arc::clone(&self.window);
        let measure = |spend: &Spend, currency| {
            if window.admits(&spend.merchant, currency, own) { window.measure.of(spend) } else { 0 }
        };
        let is_same_place = before.spends.len() == after.spends.len()
            && before.spends.iter().zip(after.spends).all(|(before, after)| before.at == after.at);
        if is_same_place {
            for (gone, come) in before.spends.iter().zip(after.spends) {
                let gone = measure(gone, before.currency);
                self.shift(come.at, measure(come, after.currency).saturating_sub(gone));
            }
            return;
        }
        for spend in before.spends {
            self.shift(spend.at, measure(spend, before.currency).saturating_neg());
        }
        for spend in after.spends {
            self.shift(spend.at, measure(spend, after.currency));
        }
    }

    /// What would be used at the time `now` if `before` were `after`.
    #[must_use]
    pub fn used_with(&self, before: Uses<'_>, after: Uses<'_>, own: Option<Currency>, now: Timestamp) -> i64 {
        if self.incoming > 0 || self.base_gives_back() {
            let mut changed = self.clone();
            changed.advance(now);
            changed.exchange(before, after, own);
            return changed.used(now);
        }
        let sum = |uses: Uses<'_>| {
            let counted = uses.spends.iter().filter(|spend| {
                self.counts(spend.at, now) && self.window.admits(&spend.merchant, uses.currency, own)
            });
            counted.fold(0, |sum: i64, spend| sum.saturating_add(self.measure(spend)))
        };
        self.used(now).saturating_sub(sum(before)).saturating_add(sum(after))
    }

    /// Whether what is not remembered moment by moment may have had money that came in.
    fn base_gives_back(&self) -> bool {
        self.through > Timestamp::MIN
    }

    /// Whether what was used at the time `spent` counts at the time `now`.
    #[must_use]
    pub fn counts(&self, spent: Timestamp, now: Timestamp) -> bool {
        if self.span().is_some() { spent > self.opens_at(now) } else { spent >= self.opens_at(now) }
    }

    /// The earliest moment that still counts at the time `now`.
    #[must_use]
    pub fn opens_at(&self, now: Timestamp) -> Timestamp {
        match (self.period, self.span()) {
            (Some((start, end)), _) if now < end => start,
            (Some(_), _) => period(self.window.interval, &self.window.time_zone, now).0,
            (None, Some(span)) => now.minus(span),
            (None, None) => Timestamp::MIN,
        }
    }

    /// What this window measures of a spend.
    #[must_use]
    pub fn measure(&self, spend: &Spend) -> i64 {
        self.window.measure.of(spend)
    }

    /// What lies at or before this has left a rolling window.
    fn floor(&self, now: Timestamp) -> Timestamp {
        self.span().map_or(Timestamp::MIN, |span| now.minus(span))
    }

    fn span(&self) -> Option<Duration> {
        match self.window.interval {
            Interval::Rolling(span) => Some(span),
            Interval::PerAuthorization
            | Interval::Daily
            | Interval::Weekly
            | Interval::Monthly
            | Interval::Yearly
            | Interval::AllTime => None,
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
            occurrence: Occurrence::Approval,
        });
        let start = at("2026-11-22T10:00:00Z");
        let mut tally = Tally::new(&window, false, start).unwrap();
        tally.shift(start, 1);
        tally.shift(at("2026-11-22T10:30:00Z"), 2);
        assert_eq!(tally.used(at("2026-11-22T10:59:59.999999Z")), 3);
        assert_eq!(tally.used(at("2026-11-22T11:00:00Z")), 2);
        assert_eq!(tally.resets_at(at("2026-11-22T11:00:00Z")), Some(at("2026-11-22T11:30:00Z")));
        tally.advance(at("2026-11-22T11:00:00Z"));
        tally.shift(at("2026-11-22T10:30:00Z"), -2);
        assert_eq!((tally.moments.len(), tally.used(at("2026-11-22T11:00:00Z"))), (0, 0));
    }
}
