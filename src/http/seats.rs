//! Which connections of a listener are open, and which of them has been idle the longest: that one is evicted when there is
//! one too many. What goes over them is not here.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::socket::Progress;
use crate::clock::{self, Instant};

/// The open connections of a listener.
pub(super) struct Seats {
    base: Instant,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Seat>>>,
}

/// An open connection, as the others see it.
pub(super) struct Seat {
    pub(super) progress: Progress,
    is_evicted: AtomicBool,
    evict: Notify,
}

/// An open connection; dropped, it is open no more.
pub(super) struct Taken<'a> {
    seats: &'a Seats,
    id: u64,
    seat: Arc<Seat>,
}

impl Seats {
    pub(super) fn new() -> Self {
        Self { base: clock::instant(), next: AtomicU64::new(0), open: Mutex::default() }
    }

    /// A connection was opened. It is idle.
    pub(super) fn take(&self) -> Taken<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat {
            progress: Progress::new(self.base),
            is_evicted: AtomicBool::new(false),
            evict: Notify::new(),
        });
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&seat));
        Taken { seats: self, id, seat }
    }

    /// Tells the connection that has been idle the longest to end. False if every connection is in the middle of an
    /// exchange, or is ending already.
    pub(super) fn evict_longest_idle(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = open.iter().filter(|(_, seat)| !seat.is_evicted.load(Ordering::Relaxed));
        let idle = idle.filter_map(|(id, seat)| Some((seat.progress.idle_since()?, *id, seat)));
        let Some((_, _, seat)) = idle.min_by_key(|(since, id, _)| (*since, *id)) else { return false };
        seat.is_evicted.store(true, Ordering::Relaxed);
        seat.evict.notify_one();
        true
    }
}

impl Seat {
    /// When the connection is to end.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl std::ops::Deref for Taken<'_> {
    type Target = Seat;

    fn deref(&self) -> &Seat {
        &self.seat
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.seats.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_goes_first_and_none_twice_and_a_busy_one_never() {
        let seats = Seats::new();
        let later = || tokio::time::advance(Duration::from_secs(1));
        let first = seats.take();
        later().await;
        let second = seats.take();
        later().await;
        let third = seats.take();
        let evicted = || [&first, &second, &third].map(|seat| seat.is_evicted.load(Ordering::Relaxed));
        // The first has asked something since, and waits again; the third is in the middle of an exchange.
        first.progress.busy();
        later().await;
        first.progress.answered();
        third.progress.busy();
        assert!(seats.evict_longest_idle());
        assert_eq!(evicted(), [false, true, false]);
        assert!(seats.evict_longest_idle());
        assert_eq!(evicted(), [true, true, false]);
        assert!(!seats.evict_longest_idle());
        second.evicted().await;
        drop((first, second, third));
        assert!(!seats.evict_longest_idle() && seats.open.lock().unwrap().is_empty());
    }
}
