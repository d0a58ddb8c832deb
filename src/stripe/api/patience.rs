//! How often a call is repeated, how long is waited between two, and how many go out a second.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::{self, Instant};

/// How a call that failed is repeated: later and later, never at the same moment as everybody else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Attempts in all, 1 or more.
    pub attempts_max: u32,
    /// The first pause.
    pub first: Duration,
    /// The longest pause of our own.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts_max: 8, first: Duration::from_millis(500), longest: Duration::from_secs(30) }
    }
}

impl Patience {
    /// What Stripe may ask for at most.
    const RETRY_AFTER_MAX: Duration = Duration::from_mins(2);

    /// The pause after so many failed attempts: it doubles, and `random`, from 0 to below 1, chooses from its upper
    /// half. What Stripe asks for is the least.
    #[must_use]
    pub fn pause(&self, attempts: u32, random: f64, asked: Option<Duration>) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let whole = self.first.saturating_mul(1_u32 << doublings).min(self.longest);
        let own = whole.mul_f64(f64::midpoint(1.0, random.clamp(0.0, 1.0)));
        own.max(asked.unwrap_or_default().min(Self::RETRY_AFTER_MAX))
    }
}

/// Lets calls go one after another, so many a second.
pub(super) struct Pace {
    apart: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(per_second_max: u32) -> Self {
        Self {
            apart: Duration::from_secs(1).div_f64(f64::from(per_second_max.max(1))),
            next: Mutex::default(),
        }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = clock::instant();
            let at = next.unwrap_or(now).max(now);
            *next = at.checked_add(self.apart);
            at
        };
        clock::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_undercut_what_stripe_asks() {
        let patience = Patience::default();
        let check = |attempts, random, asked: Option<u64>, millis: u64| {
            let pause = patience.pause(attempts, random, asked.map(Duration::from_secs));
            assert_eq!(pause, Duration::from_millis(millis), "after {attempts}");
        };
        check(1, 0.0, None, 250);
        check(1, 1.0, None, 500);
        check(2, 0.0, None, 500);
        check(3, 0.5, None, 1_500);
        check(7, 1.0, None, 30_000);
        check(u32::MAX, 0.0, None, 15_000);
        check(1, 0.5, Some(7), 7_000);
        check(7, 0.5, Some(1), 22_500);
        check(1, 0.5, Some(86_400), 120_000);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_keep_their_distance_and_do_not_save_up() {
        let pace = Pace::new(20);
        let started = clock::instant();
        for _ in 0..21 {
            pace.turn().await;
        }
        let taken = clock::instant().duration_since(started);
        assert!((Duration::from_secs(1)..Duration::from_millis(1_050)).contains(&taken), "{taken:?}");
        tokio::time::advance(Duration::from_mins(1)).await;
        let idle = clock::instant();
        for _ in 0..3 {
            pace.turn().await;
        }
        assert!(clock::instant().duration_since(idle) >= Duration::from_millis(100));
    }
}
