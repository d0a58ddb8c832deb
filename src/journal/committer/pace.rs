//! How long commits take, from measurements: a price for each batch and a price for each row in it. What follows from that
//! for the size of batches is here; what waits is not.

use std::time::Duration;

/// How much the measurements before the newest one still count: about five of them together.
const KEPT: f64 = 0.8;
/// The same after a commit that took less than half of what was expected. A disk that has recovered is noticed at once:
/// of two batches, one of which met a stall, the line would lead anywhere.
const KEPT_AFTER_RECOVERY: f64 = 0.0;
/// The weight of a commit of nothing that takes no time. Where all batches have one size, time is put down to the rows; a
/// batch of another size then shows whether that is right.
const ORIGIN: f64 = 0.01;

/// No batch needs to take longer than this, if the time goes to its rows: what comes meanwhile waits for all of it.
const BATCH_WITHIN: f64 = 0.05;
/// Where the time goes to the batch, it has as many rows as make nine tenths of it: ten times its own price.
const BATCH_PRICES: f64 = 10.0;
/// But no batch takes longer than this part of the time that a request has: one waits for the batch on its way and for its
/// own, and then half of its time is left.
const BATCH_SHARE: f64 = 0.25;
/// Unless its own price is nearly as long: then it has rows for half of that again.
const BATCH_PRICES_LEAST: f64 = 1.5;

/// Batches are of one size where the variance of their rows is less than this part of the square of their mean. Then it is
/// not known what a row takes.
const ALIKE: f64 = 0.05;

/// A line through the measured commits, fitted by least squares; newer ones weigh more.
pub(super) struct Pace {
    /// How long a request waits for its answer, in seconds.
    answer_within: f64,
    weight: f64,
    rows: f64,
    seconds: f64,
    rows_squared: f64,
    rows_seconds: f64,
}

impl Pace {
    /// Nothing is measured, and requests wait so long for their answers.
    pub(super) const fn new(answer_within: Duration) -> Self {
        Self {
            answer_within: answer_within.as_secs_f64(),
            weight: 0.0,
            rows: 0.0,
            seconds: 0.0,
            rows_squared: 0.0,
            rows_seconds: 0.0,
        }
    }

    /// A batch of so many rows took so long.
    pub(super) fn measured(&mut self, rows: usize, took: Duration) {
        let seconds = took.as_secs_f64();
        let has_recovered = seconds < self.seconds_for(rows) / 2.0;
        let kept = if has_recovered { KEPT_AFTER_RECOVERY } else { KEPT };
        let rows = count(rows);
        let add = |sum: &mut f64, value: f64| *sum = sum.mul_add(kept, value);
        add(&mut self.weight, 1.0);
        add(&mut self.rows, rows);
        add(&mut self.seconds, seconds);
        add(&mut self.rows_squared, rows * rows);
        add(&mut self.rows_seconds, rows * seconds);
    }

    /// How long a batch of so many rows is expected to take.
    pub(super) fn of_batch(&self, rows: usize) -> Duration {
        duration(self.seconds_for(rows))
    }

    /// How long so many rows are expected to take, in batches of at most `batch_max`.
    pub(super) fn of_all(&self, rows: usize, batch_max: usize) -> Duration {
        let batches = rows.div_ceil(self.batch_of(batch_max));
        let (batch, row) = self.prices();
        duration(count(batches).mul_add(batch, count(rows) * row))
    }

    /// How many rows the next batch may have, at most `batch_max`. Where all batches were of one size, it has half as many:
    /// that shows what a row takes, and no batch gets slower for it.
    pub(super) fn next_batch(&self, batch_max: usize) -> usize {
        let rows = self.batch_of(batch_max);
        let is_full = count(rows) < self.usual() * 1.25;
        if rows >= batch_max || !is_full || !self.are_alike() {
            return rows;
        }
        if rows == 1 && self.seconds_for(2) <= self.answer_within { 2 } else { rows.div_ceil(2) }
    }

    /// How many rows to put into one batch, at most `batch_max`, so that it is back soon and its price is worth it.
    fn batch_of(&self, batch_max: usize) -> usize {
        let (bound, (batch, row)) = (self.bound(), self.prices());
        // What a row takes, if the batch takes nothing.
        let row_at_most = self.seconds / self.rows.max(1.0);
        // The line leads no further than twice the usual size, unless the batch would be in time in any case.
        let known = (self.usual() * 2.0).max(bound / row_at_most);
        let fits = |rows: f64| rows.mul_add(row, batch) <= bound && rows <= known;
        most(batch_max, |rows| fits(count(rows))).max(1)
    }

    /// How many rows that can wait may ride in a batch of so many that cannot, at most `room`: they make it no longer than it
    /// may be without cause, nor than by its own price again, nor than a batch may be.
    pub(super) fn beside(&self, urgent: usize, room: usize) -> usize {
        let (batch, row) = self.prices();
        let before = self.seconds_for(urgent);
        let seconds = batch.max(BATCH_WITHIN - before).min(self.bound() - before);
        most(room, |rows| count(rows) * row <= seconds)
    }

    /// The longest that a batch may take, in seconds.
    fn bound(&self) -> f64 {
        let (batch, _) = self.prices();
        let is_worth = (batch * BATCH_PRICES).max(BATCH_WITHIN);
        is_worth.min((self.answer_within * BATCH_SHARE).max(batch * BATCH_PRICES_LEAST))
    }

    /// The rows of a usual batch.
    fn usual(&self) -> f64 {
        self.rows / self.weight.max(1.0)
    }

    /// Whether all batches were of about one size.
    fn are_alike(&self) -> bool {
        let usual = self.usual();
        self.rows_squared / self.weight.max(1.0) - usual * usual < ALIKE * usual * usual
    }

    fn seconds_for(&self, rows: usize) -> f64 {
        let (batch, row) = self.prices();
        count(rows).mul_add(row, batch)
    }

    /// Seconds for a batch, and for each row in it.
    fn prices(&self) -> (f64, f64) {
        if self.weight <= 0.0 {
            return (0.0, 0.0);
        }
        let weight = self.weight + ORIGIN;
        let spread = weight.mul_add(self.rows_squared, -(self.rows * self.rows));
        let row = weight.mul_add(self.rows_seconds, -(self.rows * self.seconds)) / spread;
        let batch = row.mul_add(-self.rows, self.seconds) / weight;
        // Neither can be negative: what noise puts below zero belongs to the other.
        if row < 0.0 {
            (self.seconds / self.weight, 0.0)
        } else if batch < 0.0 {
            (0.0, self.rows_seconds / self.rows_squared)
        } else {
            (batch, row)
        }
    }
}

/// The most that fits, at most `limit`; what fits leaves room for less.
fn most(limit: usize, fits: impl Fn(usize) -> bool) -> usize {
    if fits(limit) {
        return limit;
    }
    // No float is turned into a number.
    let (mut low, mut high) = (0, limit);
    while high.saturating_sub(low) > 1 {
        let middle = low.midpoint(high);
        if fits(middle) { low = middle } else { high = middle }
    }
    low
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

    const WITHIN: Duration = Duration::from_millis(1_200);

    /// What a disk takes for a batch and for a row in it, in microseconds.
    fn measured(disk: (u64, u64), batches: &[usize]) -> Pace {
        let mut pace = Pace::new(WITHIN);
        for rows in batches {
            pace.measured(*rows, took(disk, *rows));
        }
        pace
    }

    fn took(disk: (u64, u64), rows: usize) -> Duration {
        Duration::from_micros(disk.0).saturating_add(Duration::from_micros(disk.1).mul_f64(count(rows)))
    }

    #[test]
    fn a_batch_is_as_large_as_its_disk_makes_sensible() {
        let check = |disk, batches: &[usize], expected: std::ops::RangeInclusive<usize>| {
            let found = measured(disk, batches).next_batch(512);
            assert!(expected.contains(&found), "{disk:?} after {batches:?}: batches of {found}");
        };
        // Nothing measured, and a usual disk.
        check((0, 0), &[], 512..=512);
        check((200, 3), &[1, 1, 1, 1, 1, 1, 1, 1], 200..=512);
        check((200, 3), &[1, 20, 300, 200, 512], 512..=512);
        // Each row takes 5 ms: ten of them are 50.
        check((0, 5_000), &[1, 1, 1], 9..=11);
        check((0, 5_000), &[1, 10, 8, 10], 9..=11);
        // A batch takes 80 ms and each row 10: no longer than a quarter of what a request has.
        check((80_000, 10_000), &[1, 10, 30, 5], 20..=22);
        // A batch takes longer than that by itself.
        check((400_000, 10_000), &[1, 10, 30, 5], 18..=20);
        // Each sync takes 300 ms, whatever is in it. A few batches of one size could be either; then it shows.
        check((300_000, 50), &[1, 1], 2..=2);
        check((300_000, 50), &[1, 1, 2], 2..=4);
        check((300_000, 50), &[1, 1, 2, 4, 8, 16], 12..=32);
        // All of one size, which is the most that may be: a smaller one shows what a row takes.
        check((0, 5_000), &[10, 10, 10, 10, 10, 10], 5..=5);
        // Never a larger one.
        check((0, 50_000), &[6, 6, 6, 6, 6, 6, 6], 1..=3);
    }

    /// However a disk shares its time between batches and rows, and however its times vary, no batch takes much longer than a
    /// quarter of what a request has, or than one and a half times what it takes by itself.
    #[test]
    fn batches_find_their_size_and_keep_to_the_time_of_a_request() {
        let mut rng = fastrand::Rng::with_seed(7);
        for disk in
            [(0, 5_000), (20_000, 25_000), (80_000, 10_000), (240_000, 15_000), (300_000, 500), (500, 10)]
        {
            let mut pace = measured(disk, &[1, 1, 2, 1, 1]);
            let (mut rows_in_all, mut seconds) = (0.0, 0.0);
            for number in 0..200 {
                let rows = pace.next_batch(512);
                let took = took(disk, rows);
                let bound = (WITHIN / 4).max(Duration::from_micros(disk.0).mul_f64(1.5));
                assert!(took <= bound.mul_f64(1.5), "{disk:?}: batch {number} of {rows} takes {took:?}");
                pace.measured(rows, took.mul_f64(0.9 + 0.2 * rng.f64()));
                rows_in_all += count(rows);
                seconds += took.as_secs_f64();
            }
            // What batches of the longest allowed time take.
            let (batch, row) =
                (Duration::from_micros(disk.0).as_secs_f64(), Duration::from_micros(disk.1).as_secs_f64());
            let bound = (batch * 10.0).clamp(0.05, 0.3_f64.max(batch * 1.5));
            let best = ((bound - batch) / row).min(512.0) / bound.min(512.0_f64.mul_add(row, batch));
            let found = rows_in_all / seconds;
            assert!(found > best * 0.75, "{disk:?}: {found:.0} rows a second of {best:.0}");
        }
    }

    #[test]
    fn a_line_tells_the_time_of_a_batch() {
        let pace = measured((2_000, 100), &[1, 50, 200, 10, 400]);
        for (rows, expected_ms) in [(1, 2), (100, 12), (500, 52)] {
            let found = pace.of_batch(rows);
            let off = found.abs_diff(Duration::from_millis(expected_ms));
            assert!(off < Duration::from_millis(2), "{rows} rows in {found:?}");
        }
        assert_eq!(Pace::new(WITHIN).of_all(1_000, 512), Duration::ZERO);
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
