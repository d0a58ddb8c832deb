//! The places inside a node: for requests, and for answers of the stand-in that are on their way into the books. What is
//! done in them is not here.

use std::sync::{Arc, atomic::Ordering};

use super::directory::Shared;
use crate::{clock::Instant, journal::Urgency, metrics::Shed};

/// A request's place among those inside the node.
pub(super) struct Permit(Arc<Shared>);

impl Permit {
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let inside = shared.in_flight.fetch_add(1, Ordering::AcqRel);
        let permit = Self(Arc::clone(shared));
        (inside < shared.settings.in_flight_max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// There is room for so many of the stand-in's answers at least: where few requests fit, most answers are its own, and
/// what it may approve must not depend on how fast they are booked.
const BACKLOG_LEAST: usize = 1_024;

/// A stand-in's answer on its way into the books; there is room for as many as for requests, or [`BACKLOG_LEAST`].
pub(super) struct Backlog(Arc<Shared>);

impl Backlog {
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let waiting = shared.unbooked.fetch_add(1, Ordering::AcqRel);
        let place = Self(Arc::clone(shared));
        (waiting < shared.settings.in_flight_max.max(BACKLOG_LEAST)).then_some(place)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        if self.0.unbooked.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.all_booked.notify_waiters();
        }
    }
}

impl Shared {
    /// Whether an append that is made `now` is expected to be durable well before the deadline: half of the time is left
    /// for what cannot be foreseen.
    pub(super) fn has_time(&self, urgency: Urgency, deadline: Instant, now: Instant) -> bool {
        let wait = self.committer.expected_wait(urgency);
        let has_time = wait.saturating_mul(2) <= deadline.saturating_duration_since(now);
        if !has_time {
            self.metrics.decisions.shed.get(Shed::JournalQueue).increment(1);
        }
        has_time
    }
}
