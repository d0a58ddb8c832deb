//! The only place that reads a clock. Everything else is told what time it is.
#![allow(clippy::disallowed_methods, reason = "this is the edge that the ban points to")]

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::Timestamp;

/// A reading of the monotonic clock, for deadlines and durations. Tests may pause it.
pub use tokio::time::Instant;
/// Waiting by the same clock.
pub use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};

/// What time it is, in UTC.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// The monotonic clock.
#[must_use]
pub fn instant() -> Instant {
    Instant::now()
}
