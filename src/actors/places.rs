//! The places inside a node: for requests, and for answers of the stand-in that are on their way into the books. What is
//! done in them is not here.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use dashmap::DashMap;

use super::directory::Shared;
use crate::{clock::Instant, domain::AuthorizationId, journal::Urgency, metrics::Shed};

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
/// what it may approve must not depend on how fast they are recorded.
const BACKLOG_LEAST: usize = 1_024;
/// How many of them are named when they are lost.
const NAMED_MAX: usize = 100;

/// Stand-in answers that are not recorded yet, by the order in which they were given.
#[derive(Default)]
pub(super) struct Unrecorded {
    authorizations: DashMap<u64, AuthorizationId>,
    count: AtomicUsize,
    given: AtomicU64,
}

impl Unrecorded {
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}

/// A stand-in answer on its way into the ledger; there is room for as many as for requests, or [`BACKLOG_LEAST`].
pub(super) struct Backlog {
    shared: Arc<Shared>,
    number: u64,
}

impl Backlog {
    pub(super) fn take(shared: &Arc<Shared>, authorization: &AuthorizationId) -> Option<Self> {
        let unrecorded = &shared.unrecorded;
        let waiting = unrecorded.count.fetch_add(1, Ordering::AcqRel);
        let number = unrecorded.given.fetch_add(1, Ordering::Relaxed);
        let place = Self { shared: Arc::clone(shared), number };
        let has_room = waiting < shared.settings.in_flight_max.max(BACKLOG_LEAST);
        if has_room {
            unrecorded.authorizations.insert(number, authorization.clone());
        }
        has_room.then_some(place)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        let unrecorded = &self.shared.unrecorded;
        unrecorded.authorizations.remove(&self.number);
        if unrecorded.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.all_booked.notify_waiters();
        }
    }
}

impl Shared {
    /// Names the stand-in answers that the journal did not take before the node ends: Stripe has them, the ledger not.
    pub(super) fn log_unrecorded(&self) {
        let mut lost: Vec<(u64, AuthorizationId)> =
            self.unrecorded.authorizations.iter().map(|one| (*one.key(), one.value().clone())).collect();
        lost.sort_unstable();
        let named: Vec<&str> = lost.iter().take(NAMED_MAX).map(|(_, id)| id.as_str()).collect();
        tracing::error!(
            answers = lost.len(),
            authorizations = named.join(" "),
            "stand-in answers are not recorded, since the journal does not take them: run `tollgate reconcile`; Stripe's \
             events tell what it did with them"
        );
    }

    /// Whether an append that is made `now` is expected to be durable well before the deadline. A third of a request's time is
    /// left for what cannot be foreseen, and half of a fact's: Stripe delivers that again.
    pub(super) fn has_time(&self, urgency: Urgency, deadline: Instant, now: Instant) -> bool {
        let margin = match urgency {
            Urgency::By(_) => 1.5,
            Urgency::Now | Urgency::Later => 2.0,
        };
        let wait = self.committer.expected_wait(urgency).as_secs_f64();
        let has_time = wait * margin <= deadline.saturating_duration_since(now).as_secs_f64();
        if !has_time {
            self.metrics.decisions.shed.get(Shed::JournalQueue).increment(1);
        }
        has_time
    }
}
