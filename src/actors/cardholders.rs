//! What is known of cardholders: whether Stripe has them as active, and the group they put their cards in. Their own
//! events are in their own books; what a card's question needs of them is looked up there, and kept for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::time::timeout_at;

use super::{Cause, directory::Shared};
use crate::{
    clock::{self, Instant},
    domain::{Account, AuthorizationRequest, CardholderId, Standing},
    journal::Reach,
    ledger,
};

/// How long a look into the journal is believed. An event that this node has booked counts at once; one that another
/// node has booked counts after this long at the latest.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// For how long it is better than nothing, where the journal cannot be asked.
const KEPT_FOR: Duration = Duration::from_mins(5);

/// The cardholders in use, as many as there is room for. One more is looked up for each of its questions.
pub(super) struct Cardholders {
    known: DashMap<CardholderId, Known, RandomState>,
    known_max: usize,
    /// How many events were booked: what was read before one of them is not kept.
    changes: AtomicU64,
}

#[derive(Clone)]
struct Known {
    standing: Option<Standing>,
    at: Instant,
}

impl Cardholders {
    pub(super) fn new(known_max: usize) -> Self {
        Self { known: DashMap::default(), known_max, changes: AtomicU64::new(0) }
    }

    /// An event about the cardholder is in the books: the next question looks there.
    pub(super) fn changed(&self, cardholder: &CardholderId) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.known.remove(cardholder);
    }

    /// Lets go of what is of no use any more.
    pub(super) fn sweep(&self, now: Instant) {
        self.known.retain(|_, known| known.age(now) < KEPT_FOR);
    }

    fn get(&self, cardholder: &CardholderId) -> Option<Known> {
        self.known.get(cardholder).map(|known| known.clone())
    }

    fn learn(&self, cardholder: &CardholderId, known: Known, changes_before: u64) {
        if self.known.contains_key(cardholder) || self.known.len() < self.known_max {
            self.known.insert(cardholder.clone(), known);
        }
        // After the insertion: an event that was booked since the journal was read either shows here or removes it.
        if self.changes.load(Ordering::Acquire) != changes_before {
            self.known.remove(cardholder);
        }
    }
}

impl Known {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

impl Shared {
    /// Completes a question by what the cardholder's own events have said, as far as it is known `now`.
    pub(super) async fn consult_cardholder(
        &self,
        request: &mut Arc<AuthorizationRequest>,
        now: Instant,
        deadline: Instant,
    ) -> Result<(), Cause> {
        let Some(cardholder) = &request.cardholder else { return Ok(()) };
        let known = self.cardholders.get(cardholder);
        let standing = match known {
            Some(known) if known.age(now) < KNOWN_FOR => known.standing,
            // A box: most questions do not carry the room for this.
            known => Box::pin(self.look_up_cardholder(cardholder.clone(), known, deadline)).await?,
        };
        if let Some(standing) = standing.filter(|standing| request.is_behind_cardholder(standing)) {
            Arc::make_mut(request).heed_cardholder(&standing);
        }
        Ok(())
    }

    /// Reads a cardholder's books. Where that fails, what was `known` before has to do.
    async fn look_up_cardholder(
        &self,
        cardholder: CardholderId,
        known: Option<Known>,
        deadline: Instant,
    ) -> Result<Option<Standing>, Cause> {
        let changes_before = self.cardholders.changes.load(Ordering::Acquire);
        let at = clock::instant();
        let account = Account::from(&cardholder);
        let read = match timeout_at(deadline, self.load(&account, Reach::Snapshot)).await {
            Ok(entries) => entries.and_then(|entries| ledger::fold(&entries)).map_err(|cause| {
                tracing::error!(%cardholder, %cause, "the cardholder cannot be loaded from the journal");
                Cause::Journal
            }),
            Err(_) => Err(Cause::Deadline),
        };
        match (read, known) {
            (Ok(folded), _) => {
                let standing = folded.card.standing;
                self.cardholders.learn(&cardholder, Known { standing: standing.clone(), at }, changes_before);
                Ok(standing)
            }
            (Err(_), Some(known)) => Ok(known.standing),
            (Err(cause), None) => Err(cause),
        }
    }
}
