//! The append: what a card has decided goes to the committer, one append at a time. When it is durable, the head moves
//! on; the replies are let out by the committer, or here if the card was spoken to meanwhile.

use std::sync::{Arc, atomic::Ordering};

use super::{Cause, Desk};
use crate::{
    actors::{
        batch::{Waiting, place_of},
        in_flight::{Claim, Departure, InFlight, Sent},
    },
    domain::{AuthorizationRequest, Decided, Event, Source},
    journal::{Append, EntryId, Head, Outcome, record},
    metrics::JournalFailure,
};

/// A snapshot is due after so many entries, and no sooner than after as many events as the last one had
/// authorizations: so the cost of snapshots stays in proportion to the events, however large a card grows.
const SNAPSHOT_ENTRIES: usize = 64;

/// A card with more authorizations than this, nearly all of them open, gets no snapshot: it would take longer to write
/// than answers may take, and more room than an entry has. Such a card is folded from further back.
const SNAPSHOT_AUTHORIZATIONS_MAX: usize = 10_000;

impl Desk {
    /// Sends what has been decided meanwhile, if no append is in flight.
    pub(super) fn dispatch(&mut self) {
        if self.in_flight.is_some() {
            return;
        }
        if self.next.is_empty() {
            return self.load_history_if_needed();
        }
        let mut batch = std::mem::take(&mut self.owed);
        batch.extend(std::mem::take(&mut self.next));
        self.entries_since_snapshot = self.entries_since_snapshot.saturating_add(1);
        self.events_since_snapshot = self.events_since_snapshot.saturating_add(batch.events.len());
        let is_due = self.entries_since_snapshot >= SNAPSHOT_ENTRIES
            && self.events_since_snapshot >= self.snapshot_size
            && self.fits_a_snapshot();
        if is_due && self.leaving.is_none() {
            batch.push(self.snapshot(), None);
        }
        let has_snapshot = matches!(batch.events.last(), Some(Event::Snapshot(_)));
        let mut authorizations = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            authorizations.extend(record::authorizations_of(event).into_iter().cloned());
        }
        let id = EntryId::new(fastrand::u64(1..));
        let append = Append {
            account: self.account.clone(),
            head: self.head,
            id,
            is_snapshot: has_snapshot,
            authorizations,
            body: record::encode(&batch.events),
        };
        self.shared.metrics.journal.appended_bytes.increment(u64::try_from(append.body.len()).unwrap_or(0));
        if has_snapshot {
            batch.events.pop();
        }
        let sent = Sent::new(batch.events);
        if self.leaving.is_some() || sent.events.iter().any(|event| matches!(event, Event::Joined(_))) {
            // A card that leaves, or joins another, has to know when it may go on.
            sent.claim();
        }
        self.in_flight = Some(InFlight {
            id,
            sent: Arc::clone(&sent),
            waiting: Vec::new(),
            has_snapshot,
            snapshot_size: self.card.authorizations.len(),
        });
        let departure = Departure {
            id,
            sent,
            waiting: batch.waiting,
            actor: self.myself.clone(),
            shared: Arc::clone(&self.shared),
        };
        self.shared.committer.submit(append, Box::new(move |outcome| departure.end(outcome)));
    }

    /// Whatever comes while an append is in flight, the card has to hear of its end from now on, unless it has ended,
    /// and its replies are out. True: they are about to be.
    pub(super) fn is_being_released(&mut self) -> bool {
        let Some(in_flight) = self.in_flight.take() else { return false };
        let claim = in_flight.sent.claim();
        match claim {
            Claim::Gone => self.written(&in_flight),
            Claim::Granted | Claim::Leaving => self.in_flight = Some(in_flight),
        }
        claim == Claim::Leaving
    }

    /// The replies are out. Our answers that nobody has heard are void before anything else is looked at: a question
    /// that is repeated now has the stand-in's.
    pub(super) fn released(&mut self, id: EntryId, unheard: Vec<Arc<AuthorizationRequest>>) {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) else { return };
        self.written(&in_flight);
        for request in unheard {
            self.void(request);
        }
        for message in std::mem::take(&mut self.put_off) {
            self.handle(message);
        }
    }

    /// Whether the answer to this question is still on its way into the journal.
    pub(super) fn is_unreleased(&self, request: &AuthorizationRequest) -> bool {
        let in_flight = self.in_flight.as_ref().map_or(&[][..], |in_flight| &in_flight.sent.events);
        [in_flight, &self.next.events].iter().any(|events| place_of(events, request).is_some())
    }

    /// The head of the chain is this append now.
    pub(super) fn written(&mut self, in_flight: &InFlight) {
        self.head = Head { seq: self.head.seq.saturating_add(1), id: in_flight.id };
        self.conflicts = 0;
        if in_flight.has_snapshot {
            self.entries_since_snapshot = 0;
            self.events_since_snapshot = 0;
            self.snapshot_size = in_flight.snapshot_size;
        }
    }

    /// Whether the books are small enough to be written as a whole.
    pub(super) fn fits_a_snapshot(&self) -> bool {
        self.card.authorizations.len() <= SNAPSHOT_AUTHORIZATIONS_MAX
    }

    pub(super) fn snapshot(&mut self) -> Event {
        self.card.forget(self.card.time);
        Event::Snapshot(Box::new(self.card.clone()))
    }

    pub(super) fn committed(&mut self, id: EntryId, outcome: Outcome, waiting: Vec<Waiting>) {
        let Some(mut in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) else { return };
        // Whoever asked first comes first.
        let later = std::mem::replace(&mut in_flight.waiting, waiting);
        in_flight.waiting.extend(later);
        match outcome {
            Outcome::Durable { .. } => {
                self.written(&in_flight);
                self.release(in_flight);
                if self.leaving.is_some() {
                    self.leave();
                }
            }
            Outcome::Conflict | Outcome::Unknown => {
                self.shared.conflicts.fetch_add(1, Ordering::Relaxed);
                self.shared.metrics.journal.conflicts.increment(1);
                self.in_flight = Some(in_flight);
                self.reconcile(id);
            }
            Outcome::Rejected => {
                self.shared.metrics.journal.errors.get(JournalFailure::Rejected).increment(1);
                self.give_up(in_flight.into());
                let next = std::mem::take(&mut self.next);
                self.give_up(next);
                self.reload();
            }
        }
    }

    /// Lets the replies out of an append that is durable. A question whose every asker has been answered by the
    /// stand-in meanwhile is booked as that: Stripe has the stand-in's answer, so the books void ours.
    pub(super) fn release(&mut self, in_flight: InFlight) {
        let InFlight { sent, waiting, .. } = in_flight;
        let current =
            |decided: &Decided| self.card.answer_to(&decided.request).map(|answered| answered.answer);
        let unheard = self.shared.release(&sent, waiting, current);
        for request in unheard {
            self.void(request);
        }
        if sent.events.iter().any(|event| matches!(event, Event::Joined(_))) {
            self.joined();
        }
    }

    /// Books the stand-in's answer in place of a decision that came too late.
    pub(super) fn void(&mut self, request: Arc<AuthorizationRequest>) {
        let is_stood_in =
            self.card.answer_to(&request).is_some_and(|answered| answered.answer.source == Source::StandIn);
        // In books that the card has joined meanwhile it stands until Stripe's own word.
        if !is_stood_in && self.card.joined.is_none() {
            let decision = self.shared.stand_in_decision(&request, Cause::Deadline);
            self.record(Event::StoodIn(Box::new(Decided { request, decision })), None);
        }
    }
}
