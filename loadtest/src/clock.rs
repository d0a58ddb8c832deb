//! The one place that reads the time. Elsewhere it is passed in, as microseconds since the run began or as seconds of
//! Stripe's clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Counts microseconds from its own start, without ever going back.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins to count.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the edge where time is read")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        us(self.0.elapsed())
    }
}

/// Seconds since 1970, by this machine's clock, which plays Stripe's.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the edge where time is read")]
pub fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A duration in whole microseconds.
#[must_use]
pub fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// CPU time of this process so far, in seconds.
#[must_use]
pub fn own_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default().as_secs_f64()
}
