//! The append: what was decided goes to the journal, one append at a time; when it is durable, the replies are let go.

use std::sync::Arc;

use super::{
    Cause, Effect, Given, InFlight, Ledger, Note, Release,
    batch::{Batch, Waiting},
    message::Caller,
    request::micros,
    undo::Undo,
};
use crate::{
    clock::Instant,
    domain::{Answer, AuthorizationRequest, Decided, Event, Source},
    journal::{Append, EntryId, Head, Outcome, Row, Urgency, record},
    planted::{self, Planted},
};

/// A snapshot is due after so many entries, and no sooner than after as many events as the last one had
/// authorizations: so the cost of snapshots stays in proportion to the events, however large a card grows.
const SNAPSHOT_ENTRIES: usize = 64;

impl<C: Caller> Ledger<C> {
    /// Makes an event part of the tentative state and of the next append, and tells its place there. Before a decision goes
    /// what is new of the controls that its request carried.
    pub(super) fn record(&mut self, event: Event, mut waiting: Option<Waiting<C>>) -> usize {
        if let Event::Decided(decided) = &event
            && let Some(controls) = &decided.request.stripe_controls
            && self.card.stripe_controls.as_ref() != Some(controls)
        {
            self.record(Event::Controls(Arc::clone(controls)), None);
        }
        if let (Event::Decided(decided), Some(waiting)) = (&event, &waiting) {
            waiting.decided(decided.decision.outcome);
        }
        self.next.undo.note(&mut self.card, &event);
        if !(planted::is(Planted::HoldForgotten) && matches!(event, Event::Decided(_))) {
            self.card.apply(&event);
        }
        if let (true, Event::Decided(decided)) = (planted::is(Planted::AnswerBeforeDurable), &event)
            && let Some(waiting) = waiting.take()
        {
            self.tell(waiting, decided.decision.answer(decided.request.is_amount_controllable));
        }
        if let Some(Waiting::Receipt(caller)) = waiting
            .take_if(|_| planted::is(Planted::ReceiptBeforeDurable) && matches!(event, Event::Observed(_)))
        {
            self.effects.push(Effect::Receipt(caller));
        }
        self.next.push(event, waiting)
    }

    /// Writes into the decisions of this turn how long it took to make them.
    pub(super) fn end_turn(&mut self, now: Instant) {
        let Some((since, first)) = self.turn.take() else { return };
        let decide_us = micros(since, now);
        for event in self.next.events.iter_mut().skip(first) {
            if let Event::Decided(decided) = event {
                decided.decision.stages.decide_us = decide_us;
            }
        }
    }

    /// Sends what was decided meanwhile.
    pub(super) fn append(&mut self, given: &Given<'_>, id: EntryId) {
        let since_snapshot = (self.entries_since_snapshot, self.events_since_snapshot);
        let mut batch = std::mem::take(&mut self.unrecorded);
        batch.extend(std::mem::take(&mut self.next));
        self.entries_since_snapshot = self.entries_since_snapshot.saturating_add(1);
        self.events_since_snapshot = self.events_since_snapshot.saturating_add(batch.events.len());
        let is_due = self.entries_since_snapshot >= SNAPSHOT_ENTRIES
            && self.events_since_snapshot >= self.snapshot_size;
        if is_due && !self.is_leaving {
            let snapshot = self.snapshot(&batch.events);
            batch.push(snapshot, None);
        }
        let mut body = record::encode(&batch.events);
        let mut has_snapshot = matches!(batch.events.last(), Some(Event::Snapshot(_)));
        if has_snapshot {
            // Records were evicted for it.
            batch.undo = Undo::Impossible;
        }
        if has_snapshot && body.len() > given.settings.snapshot_bytes_max {
            self.go_without_snapshot(&mut batch);
            if batch.is_empty() {
                return self.leave();
            }
            (body, has_snapshot) = (record::encode(&batch.events), false);
        }
        let mut mentions = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            mentions.extend(record::mentions_of(event));
        }
        if has_snapshot {
            batch.events.pop();
        }
        let urgency = batch.urgency();
        let (account, head) = (self.account.clone(), self.head);
        let row = Row { account, head, is_snapshot: has_snapshot, mentions, body };
        self.effects.push(Effect::Append(Append::one(id, row), urgency));
        self.in_flight = Some(Box::new(InFlight {
            id,
            batch,
            urgency,
            is_asked_back: false,
            has_snapshot,
            since_snapshot,
            snapshot_size: self.card.authorizations.len(),
            since: given.now,
        }));
    }

    /// Takes an append back that can wait and is not on its way yet, so that what cannot wait does not wait for it: both
    /// go in one.
    pub(super) fn overtake(&mut self) {
        if let Some(in_flight) = &mut self.in_flight
            && in_flight.urgency == Urgency::Later
            && !in_flight.is_asked_back
            && !self.next.is_empty()
            && self.next.urgency() != Urgency::Later
        {
            in_flight.is_asked_back = true;
            self.effects.push(Effect::Withdraw(in_flight.id));
        }
    }

    pub(super) fn withdrawn(&mut self, id: EntryId) {
        if let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) {
            (self.entries_since_snapshot, self.events_since_snapshot) = in_flight.since_snapshot;
            let later = std::mem::take(&mut self.next);
            self.next = in_flight.batch;
            self.next.extend(later);
        }
    }

    /// Takes back decisions that no caller waits for any more, instead of writing and voiding them. What was decided
    /// after them is decided again.
    pub(super) fn drop_dead(&mut self, given: &Given<'_>) {
        if !self.next.has_dead(given.now) {
            return;
        }
        let undo = std::mem::take(&mut self.next.undo);
        if undo.undo(&mut self.card) {
            let batch = std::mem::take(&mut self.next);
            self.taken_back(given);
            self.decide_again(given, batch);
        } else {
            self.next.undo = Undo::Impossible;
        }
    }

    /// The account is as it was before some events: what was adopted for them is adopted again, what Stripe has is applied
    /// again.
    fn taken_back(&mut self, given: &Given<'_>) {
        self.policy = None;
        self.apply_unrecorded(given);
    }

    /// The append was certainly not written, for want of time or room: nobody is told a decision of it, and what was
    /// decided after it is decided again.
    fn expired(&mut self, given: &Given<'_>, in_flight: InFlight<C>) {
        (self.entries_since_snapshot, self.events_since_snapshot) = in_flight.since_snapshot;
        let mut later = std::mem::take(&mut self.next);
        let mut batch = in_flight.batch;
        let mut undo = std::mem::take(&mut batch.undo);
        if self.is_leaving && batch.is_empty() && later.is_empty() {
            // Only its snapshot is missing.
            return self.leave();
        }
        undo.extend(std::mem::take(&mut later.undo));
        if undo.undo(&mut self.card) {
            self.taken_back(given);
            self.give_up_batch(batch, Cause::Overload);
            self.decide_again(given, later);
        } else {
            self.give_up_and_read_again(batch, later, Cause::Overload);
        }
    }

    /// Takes a snapshot out of a batch that is too large with it. The next one is tried after as many events as there are
    /// authorizations, so that trying stays cheap however large the card is.
    fn go_without_snapshot(&mut self, batch: &mut Batch<C>) {
        batch.events.pop();
        self.snapshot_size = self.card.authorizations.len();
        self.events_since_snapshot = 0;
        self.note(Note::NoSnapshot(self.snapshot_size));
    }

    /// The account as it is, without what is evicted now. What the events `on_their_way` speak of is not: the journal does
    /// not have them yet.
    pub(super) fn snapshot(&mut self, on_their_way: &[Event]) -> Event {
        let kept = on_their_way.iter().flat_map(record::mentions_of).collect();
        self.changes = self.changes.wrapping_add(1);
        self.card.forget_except(self.card.time, &kept);
        if planted::is(Planted::SnapshotStale) {
            let mut stale = self.card.clone();
            let newest =
                stale.authorizations.iter().max_by_key(|(_, one)| one.last_at()).map(|(id, _)| id.clone());
            newest.map(|id| stale.authorizations.remove(&id));
            return Event::Snapshot(Box::new(stale));
        }
        Event::Snapshot(Box::new(self.card.clone()))
    }

    pub(super) fn committed(&mut self, given: &Given<'_>, id: EntryId, outcome: Outcome) {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) else { return };
        let is_believed = match outcome {
            Outcome::Conflict => planted::is(Planted::ConflictIgnored),
            Outcome::Expired => planted::is(Planted::ExpiredReleased),
            Outcome::Rejected => planted::is(Planted::RejectedReleased),
            Outcome::Durable { .. } | Outcome::Unknown => false,
        };
        match outcome {
            _ if is_believed => self.release(given, in_flight.batch, 0),
            Outcome::Durable { .. } => {
                self.head = Head { seq: self.head.seq.saturating_add(1), id };
                self.conflicts = 0;
                if in_flight.has_snapshot {
                    self.entries_since_snapshot = 0;
                    self.events_since_snapshot = 0;
                    self.snapshot_size = in_flight.snapshot_size;
                }
                let took = micros(in_flight.since, given.now);
                self.release(given, in_flight.batch, took);
                if self.is_leaving {
                    self.leave();
                }
            }
            Outcome::Conflict | Outcome::Unknown => {
                self.note(Note::Conflict);
                self.effects.push(Effect::Reload { id, head: self.head });
                self.in_flight = Some(in_flight);
            }
            Outcome::Rejected => {
                self.note(Note::Rejected);
                let later = std::mem::take(&mut self.next);
                self.give_up_and_read_again(in_flight.batch, later, Cause::Journal);
            }
            Outcome::Expired => self.expired(given, *in_flight),
        }
    }

    /// Lets the replies go that waited for these events.
    pub(super) fn release(&mut self, given: &Given<'_>, batch: Batch<C>, commit_us: u32) {
        let mut has_joined = false;
        let mut released: Vec<(Event, Vec<Waiting<C>>)> = batch.into_events().collect();
        if planted::is(Planted::RepliesSwapped)
            && let [(Event::Decided(_), first), (Event::Decided(_), second), ..] = &mut released[..]
        {
            std::mem::swap(first, second);
        }
        for (event, waiting) in released {
            match event {
                Event::Decided(decided) => self.release_decision(*decided, waiting, commit_us),
                Event::StoodIn(decided) => {
                    // Whoever joined it meanwhile gets what stands now.
                    let (answer, _) = self.answer_now(&decided);
                    for waiting in waiting {
                        self.tell(waiting, answer.clone());
                    }
                }
                Event::Joined(_) => has_joined = true,
                Event::Observed(_)
                | Event::Recalled(_)
                | Event::Carried(_)
                | Event::Controls(_)
                | Event::Policy(_)
                | Event::Snapshot(_) => {
                    for waiting in waiting {
                        match waiting {
                            Waiting::Receipt(caller) => self.effects.push(Effect::Receipt(caller)),
                            other => self.give_up(other, Cause::Journal),
                        }
                    }
                }
            }
        }
        if has_joined {
            self.joined(given);
        }
    }

    fn release_decision(&mut self, decided: Decided, waiting: Vec<Waiting<C>>, commit_us: u32) {
        let (answer, is_replaced) = self.answer_now(&decided);
        self.effects.push(Effect::Release(Box::new(Release {
            decided,
            answer,
            is_replaced,
            commit_us,
            waiting,
        })));
    }

    /// The answer to this request as it stands now, and whether it is the stand-in's.
    fn answer_now(&self, decided: &Decided) -> (Answer, bool) {
        match self.card.answer_to(&decided.request) {
            Some(answered) => (answered.answer.clone(), answered.answer.source == Source::StandIn),
            None => (decided.decision.answer(decided.request.is_amount_controllable), false),
        }
    }

    /// Records a stand-in decision in place of one that came too late.
    pub(super) fn void(&mut self, decided: Decided) {
        // In a chain that the card has joined meanwhile it stands until Stripe's own word.
        if !self.is_stood_in(&decided.request) && self.card.joined.is_none() {
            self.record(Event::StoodIn(Box::new(decided)), None);
        }
    }

    /// Whether the answer to this request in the ledger is the stand-in's.
    fn is_stood_in(&self, request: &AuthorizationRequest) -> bool {
        self.card.answer_to(request).is_some_and(|answered| answered.answer.source == Source::StandIn)
    }
}
