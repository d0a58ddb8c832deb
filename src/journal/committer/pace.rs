//! How long commits take, from measurements: a price for each batch and a price for each append in it. What follows
//! from that for the size of batches is here; what waits is not.

use std::time::Duration;

/// How much the measurements before the newest one still count: about five of them together.
const KEPT: f64 = 0.8;
/// The same after a commit that took less than half of what was expected. A disk that has recovered is noticed at once:
/// of two batches, one of which met a stall, the line would lead anywhere.
const KEPT_AFTER_RECOVERY: f64 = 0.0;
/// The weight of a commit of nothing that takes no time. Where all batches have one size, time is put down to the
/// appends; a larger batch then shows whether that is right.
const ORIGIN: f64 = 0.01;
/// No batch needs to take longer than this, if the time goes to its appends: what comes meanwhile waits for all of it.
const BATCH_WITHIN: f64 = 0.05;
/// Where the time goes to the batch, there are so many appends in it that these take nine tenths of it; but no batch takes
/// longer than this for it, unless its price alone is as high.
const APPENDS_TO_BATCH: f64 = 9.0;
const BATCH_WITHIN_AT_MOST: f64 = 0.25;

/// A batch of twice the usual size is tried if it is expected to take no longer than this: otherwise batches that are small
/// would stay so, and it would not be found out that larger ones take no longer.
const TRIED_WITHIN: f64 = 1.0;

/// A line through the measured commits, fitted by least squares; newer ones weigh more.
#[derive(Default)]
pub(super) struct Pace {
    weight: f64,
    appends: f64,
    seconds: f64,
    appends_squared: f64,
    appends_seconds: f64,
}

impl Pace {
    /// A batch of so many appends took so long.
    pub(super) fn measured(&mut self, appends: usize, took: Duration) {
        let seconds = took.as_secs_f64();
        let has_recovered = seconds < self.seconds_for(appends) / 2.0;
        let kept = if has_recovered { KEPT_AFTER_RECOVERY } else { KEPT };
        let appends = count(appends);
        let add = |sum: &mut f64, value: f64| *sum = sum.mul_add(kept, value);
        add(&mut self.weight, 1.0);
        add(&mut self.appends, appends);
        add(&mut self.seconds, seconds);
        add(&mut self.appends_squared, appends * appends);
        add(&mut self.appends_seconds, appends * seconds);
    }

    /// How long a batch of so many appends is expected to take.
    pub(super) fn of_batch(&self, appends: usize) -> Duration {
        duration(self.seconds_for(appends))
    }

    /// How long so many appends are expected to take, in batches of at most `batch_max`.
    pub(super) fn of_all(&self, appends: usize, batch_max: usize) -> Duration {
        let batches = appends.div_ceil(self.batch_of(batch_max));
        let (batch, append) = self.prices();
        duration(count(batches).mul_add(batch, count(appends) * append))
    }

    /// How many appends to put into one batch, at most `batch_max`, so that it is back soon and its price is worth it.
    pub(super) fn batch_of(&self, batch_max: usize) -> usize {
        let (batch, _) = self.prices();
        let worth = (batch * APPENDS_TO_BATCH).min((BATCH_WITHIN_AT_MOST - batch).max(batch));
        self.appends_within(worth.max(BATCH_WITHIN - batch), batch_max).max(self.tried(batch_max))
    }

    /// Twice as many appends as are usual in a batch, where that may be tried; 1 otherwise.
    fn tried(&self, batch_max: usize) -> usize {
        let usual = self.appends / self.weight.max(1.0);
        let mut appends: usize = 1;
        while appends < batch_max && count(appends) < usual * 2.0 {
            appends = appends.saturating_mul(2).min(batch_max);
        }
        if self.seconds_for(appends) <= TRIED_WITHIN { appends } else { 1 }
    }

    /// How many appends that can wait may ride in a batch of so many that cannot, at most `room`: they make it no longer
    /// than it may be without cause, nor than by its own price again.
    pub(super) fn beside(&self, urgent: usize, room: usize) -> usize {
        let (batch, _) = self.prices();
        self.appends_within(batch.max(BATCH_WITHIN - self.seconds_for(urgent)), room)
    }

    /// How many appends take so long, at most `most`.
    fn appends_within(&self, seconds: f64, most: usize) -> usize {
        let (_, append) = self.prices();
        let fits = |appends: usize| count(appends) * append <= seconds;
        if fits(most) {
            return most;
        }
        // No float is turned into a number.
        let (mut low, mut high) = (0, most);
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            if fits(middle) { low = middle } else { high = middle }
        }
        low
    }

    fn seconds_for(&self, appends: usize) -> f64 {
        let (batch, append) = self.prices();
        count(appends).mul_add(append, batch)
    }

    /// Seconds for a batch, and for each append in it.
    fn prices(&self) -> (f64, f64) {
        if self.weight <= 0.0 {
            return (0.0, 0.0);
        }
        let weight = self.weight + ORIGIN;
        let spread = weight.mul_add(self.appends_squared, -(self.appends * self.appends));
        let append = weight.mul_add(self.appends_seconds, -(self.appends * self.seconds)) / spread;
        let batch = append.mul_add(-self.appends, self.seconds) / weight;
        // Neither can be negative: what noise puts below zero belongs to the other.
        if append < 0.0 {
            (self.seconds / self.weight, 0.0)
        } else if batch < 0.0 {
            (0.0, self.appends_seconds / self.appends_squared)
        } else {
            (batch, append)
        }
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a disk takes for a batch and for an append in it, in microseconds.
    fn measured(disk: (u64, u64), batches: &[usize]) -> Pace {
        let mut pace = Pace::default();
        for appends in batches {
            let appends_take = Duration::from_micros(disk.1).mul_f64(count(*appends));
            pace.measured(*appends, Duration::from_micros(disk.0).saturating_add(appends_take));
        }
        pace
    }

    #[test]
    fn a_batch_is_as_large_as_its_disk_makes_sensible() {
        let check = |disk, batches: &[usize], expected: std::ops::RangeInclusive<usize>| {
            let found = measured(disk, batches).batch_of(512);
            assert!(expected.contains(&found), "{disk:?} after {batches:?}: batches of {found}");
        };
        // Nothing measured, and a usual disk.
        check((0, 0), &[], 512..=512);
        check((200, 3), &[1, 1, 1, 1, 1, 1, 1, 1], 200..=512);
        check((200, 3), &[1, 20, 300, 200, 512], 512..=512);
        // Each append takes 5 ms: ten of them are 50.
        check((0, 5_000), &[1, 1, 1], 9..=11);
        check((0, 5_000), &[1, 10, 8, 10], 9..=16);
        // A batch takes 80 ms and each append 10: no longer than a quarter of a second.
        check((80_000, 10_000), &[1, 10, 30, 5], 16..=32);
        // Each sync takes 300 ms, whatever is in it. A few batches of one size could be either; then it shows.
        check((300_000, 50), &[1, 1], 2..=2);
        check((300_000, 50), &[1, 1, 2, 4], 100..=512);
    }

    #[test]
    fn a_line_tells_the_time_of_a_batch() {
        let pace = measured((2_000, 100), &[1, 50, 200, 10, 400]);
        for (appends, expected_ms) in [(1, 2), (100, 12), (500, 52)] {
            let found = pace.of_batch(appends);
            let off = found.abs_diff(Duration::from_millis(expected_ms));
            assert!(off < Duration::from_millis(2), "{appends} appends in {found:?}");
        }
        assert_eq!(Pace::default().of_all(1_000, 512), Duration::ZERO);
    }

    #[test]
    fn a_disk_that_hung_is_trusted_again_after_one_commit() {
        let mut pace = measured((200, 3), &[1, 20, 300, 200]);
        pace.measured(5, Duration::from_secs(10));
        assert!(pace.of_batch(5) > Duration::from_secs(1));
        pace.measured(1, Duration::from_micros(200));
        assert!(pace.of_batch(100) < Duration::from_millis(500), "{:?}", pace.of_batch(100));
    }
}
