//! The append: what a card has decided goes to the committer, one append at a time; when it is durable, the replies
//! are let out.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::oneshot;

use super::{Cause, Desk, InFlight, seconds};
use crate::{
    actors::{
        TimedAnswer,
        batch::{Batch, Caller, Released, Reply, Waiting, decided_in, is_for_a_peer},
        card::Message,
        micros,
        undo::Undo,
    },
    clock,
    domain::{AuthorizationRequest, Decided, Event, Outcome as DecisionOutcome, Source},
    journal::{Append, EntryId, Head, Outcome, Urgency, record},
    metrics::{JournalFailure, Stage},
};

/// A snapshot is due after so many entries, and no sooner than after as many events as the last one had
/// authorizations: so the cost of snapshots stays in proportion to the events, however large a card grows.
const SNAPSHOT_ENTRIES: usize = 64;

impl Desk {
    /// Makes an event part of the tentative state and of the next append, whose how manieth event it is then. Before a
    /// decision goes what is new of the controls that its request carried.
    pub(super) fn record(&mut self, event: Event, reply: Option<Reply>) -> usize {
        if let Event::Decided(decided) = &event
            && let Some(controls) = &decided.request.stripe_controls
            && self.card.stripe_controls.as_ref() != Some(controls)
        {
            self.record(Event::Controls(Arc::clone(controls)), None);
        }
        if let (Event::Decided(decided), Some(reply)) = (&event, &reply) {
            reply.note(decided.decision.outcome);
        }
        self.next.undo.note(&mut self.card, &event);
        self.card.apply(&event);
        let index = self.next.events.len();
        self.next.push(event, reply);
        index
    }

    /// Sends what has been decided meanwhile, if no append is in flight.
    pub(super) fn dispatch(&mut self) {
        self.overtake();
        if self.in_flight.is_some() {
            return;
        }
        self.drop_dead();
        if self.next.is_empty() {
            return self.load_history_if_needed();
        }
        let since_snapshot = (self.entries_since_snapshot, self.events_since_snapshot);
        let mut batch = std::mem::take(&mut self.owed);
        batch.extend(std::mem::take(&mut self.next));
        self.entries_since_snapshot = self.entries_since_snapshot.saturating_add(1);
        self.events_since_snapshot = self.events_since_snapshot.saturating_add(batch.events.len());
        let is_due = self.entries_since_snapshot >= SNAPSHOT_ENTRIES
            && self.events_since_snapshot >= self.snapshot_size;
        if is_due && self.leaving.is_none() {
            let snapshot = self.snapshot(&batch.events);
            batch.push(snapshot, None);
        }
        let mut body = record::encode(&batch.events);
        let mut has_snapshot = matches!(batch.events.last(), Some(Event::Snapshot(_)));
        if has_snapshot {
            // The card has evicted records for it.
            batch.undo = Undo::Impossible;
        }
        if has_snapshot && body.len() > self.shared.settings.snapshot_bytes_max {
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
        let id = EntryId::new(fastrand::u64(1..));
        let append = Append {
            account: self.account.clone(),
            head: self.head,
            id,
            is_snapshot: has_snapshot,
            mentions,
            body,
        };
        self.shared.metrics.journal.appended_bytes.increment(u64::try_from(append.body.len()).unwrap_or(0));
        if has_snapshot {
            batch.events.pop();
        }
        let myself = self.myself.clone();
        let done = move |outcome| {
            // An actor that is gone has nobody left to tell.
            drop(myself.cast(Message::Committed(id, outcome)));
        };
        let urgency = batch.urgency();
        let ticket = self.shared.committer.submit(append, urgency, Box::new(done));
        self.in_flight = Some(InFlight {
            id,
            batch,
            urgency,
            ticket,
            has_snapshot,
            since_snapshot,
            snapshot_size: self.card.authorizations.len(),
            since: clock::instant(),
        });
    }

    /// Takes an append back that can wait and is not on its way yet, so that what cannot wait does not wait for it: both
    /// go in one.
    fn overtake(&mut self) {
        let is_behind = self.in_flight.as_ref().is_some_and(|in_flight| {
            in_flight.urgency == Urgency::Later
                && !self.next.is_empty()
                && self.next.urgency() != Urgency::Later
                && in_flight.ticket.is_some_and(|ticket| self.shared.committer.withdraw(ticket))
        });
        if is_behind && let Some(in_flight) = self.in_flight.take() {
            (self.entries_since_snapshot, self.events_since_snapshot) = in_flight.since_snapshot;
            let later = std::mem::take(&mut self.next);
            self.next = in_flight.batch;
            self.next.extend(later);
        }
    }

    /// Takes back decisions that no caller waits for any more, instead of writing and voiding them. What was decided
    /// after them is decided again.
    fn drop_dead(&mut self) {
        if !self.next.has_dead(clock::instant()) {
            return;
        }
        let undo = std::mem::take(&mut self.next.undo);
        if undo.undo(&mut self.card) {
            let batch = std::mem::take(&mut self.next);
            self.taken_back();
            self.decide_again(batch);
        } else {
            self.next.undo = Undo::Impossible;
        }
    }

    /// The card is as it was before some events: what was adopted for them is adopted again, what Stripe has is applied
    /// again.
    fn taken_back(&mut self) {
        self.policy = None;
        self.apply_owed();
    }

    /// The append was certainly not written, for want of time or room: nobody is told a decision of it, and what was
    /// decided after it is decided again.
    fn expired(&mut self, in_flight: InFlight) {
        (self.entries_since_snapshot, self.events_since_snapshot) = in_flight.since_snapshot;
        let mut later = std::mem::take(&mut self.next);
        let mut undo = in_flight.batch.undo;
        let batch = Batch { undo: Undo::Nothing, ..in_flight.batch };
        if self.leaving.is_some() && batch.is_empty() && later.is_empty() {
            // Only its snapshot is missing.
            return self.leave();
        }
        undo.extend(std::mem::take(&mut later.undo));
        if undo.undo(&mut self.card) {
            self.taken_back();
            self.give_up(batch, Cause::Overload);
            self.decide_again(later);
        } else {
            self.give_up(batch, Cause::Overload);
            self.give_up(later, Cause::Overload);
            self.reload();
        }
    }

    /// Takes a snapshot out of a batch that is too large with it. The next one is tried after as many events as there are
    /// authorizations, so that trying stays cheap however large the card is.
    fn go_without_snapshot(&mut self, batch: &mut Batch) {
        batch.events.pop();
        self.snapshot_size = self.card.authorizations.len();
        self.events_since_snapshot = 0;
        tracing::warn!(
            account = %self.account,
            authorizations = self.snapshot_size,
            "a card is too large for a snapshot and will take longer to load: holds that are never captured, reversed or \
             expired make it grow"
        );
    }

    /// The card as it is, without what is evicted now. What the events `on_their_way` speak of is not: the journal does
    /// not have them yet.
    pub(super) fn snapshot(&mut self, on_their_way: &[Event]) -> Event {
        let kept = on_their_way.iter().flat_map(record::mentions_of).collect();
        self.changes = self.changes.wrapping_add(1);
        self.card.forget_except(self.card.time, &kept);
        Event::Snapshot(Box::new(self.card.clone()))
    }

    pub(super) fn committed(&mut self, id: EntryId, outcome: Outcome) {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) else { return };
        match outcome {
            Outcome::Durable { .. } => {
                self.head = Head { seq: self.head.seq.saturating_add(1), id };
                self.conflicts = 0;
                if in_flight.has_snapshot {
                    self.entries_since_snapshot = 0;
                    self.events_since_snapshot = 0;
                    self.snapshot_size = in_flight.snapshot_size;
                }
                let took = micros(clock::instant().duration_since(in_flight.since));
                self.shared.metrics.decisions.stages.get(Stage::Commit).record(seconds(took));
                self.release(in_flight.batch, took);
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
                self.give_up(in_flight.batch, Cause::Journal);
                let next = std::mem::take(&mut self.next);
                self.give_up(next, Cause::Journal);
                self.reload();
            }
            Outcome::Expired => self.expired(in_flight),
        }
    }

    /// Lets the replies out that waited for these events. A question of whose askers one has been answered by the
    /// stand-in meanwhile is booked as that: Stripe has the stand-in's answer, so the books void ours.
    pub(super) fn release(&mut self, batch: Batch, commit_us: u32) {
        let Batch { events, waiting, .. } = batch;
        for (place, decided) in events.iter().map(decided_in).enumerate() {
            if let Some(decided) = decided
                && self.shared.unconfirmed.stand_in_answer_to(&decided.request).is_some()
                && !is_for_a_peer(&waiting, place)
            {
                self.void(Arc::clone(&decided.request));
            }
        }
        let mut askers = vec![0_usize; events.len()];
        for waiting in &waiting {
            if let Some(place) = askers.get_mut(waiting.event) {
                *place = place.saturating_add(1);
            }
        }
        let mut told: Vec<Option<bool>> = vec![None; events.len()];
        let mut together: BTreeMap<usize, Vec<Reply>> = BTreeMap::new();
        for Waiting { event, reply } in waiting {
            let is_told = match (reply, events.get(event).and_then(decided_in)) {
                (reply, Some(_)) if askers.get(event).is_some_and(|askers| *askers > 1) => {
                    together.entry(event).or_default().push(reply);
                    continue;
                }
                (Reply::Answer(Caller { reply, .. }), Some(decided)) => {
                    reply.send(Ok(Released::Now(self.current(decided, commit_us)))).is_ok()
                }
                // It may have stopped waiting, and then finds this in the journal: no reason to void it.
                (Reply::Peer(Caller { reply, .. }), Some(decided)) => {
                    let _ = reply.send(Ok(Released::Now(self.current(decided, commit_us))));
                    true
                }
                (Reply::Booked(reply), _) => reply.send(Ok(())).is_ok(),
                (Reply::StoodIn(_), _) => true,
                (reply @ (Reply::Answer(_) | Reply::Peer(_)), None) => {
                    reply.give_up(Cause::Journal);
                    false
                }
            };
            if let Some(place) = told.get_mut(event) {
                *place = Some(is_told);
            }
        }
        for (event, replies) in together {
            if let (Some(decided), Some(place)) =
                (events.get(event).and_then(decided_in), told.get_mut(event))
            {
                *place = Some(self.tell_together(decided, replies, commit_us));
            }
        }
        let mut has_joined = false;
        for (event, told) in events.into_iter().zip(told) {
            match (event, told) {
                (Event::Decided(decided), Some(false)) => self.void(decided.request),
                // The stand-in took its place before it was durable, and was counted and remembered then.
                (Event::Decided(decided), _) if self.is_stood_in(&decided.request) => {}
                (Event::Decided(decided), _) => {
                    self.shared.told(&decided.decision);
                    self.shared.unconfirmed.answered(&decided);
                }
                (Event::Joined(_), _) => has_joined = true,
                (
                    Event::StoodIn(_)
                    | Event::Observed(_)
                    | Event::Recalled(_)
                    | Event::Carried(_)
                    | Event::Controls(_)
                    | Event::Policy(_)
                    | Event::Snapshot(_),
                    _,
                ) => {}
            }
        }
        if has_joined {
            self.joined();
        }
    }

    /// Tells one question's answer to several askers: the same to all. Each is bound to wait a moment longer first, or
    /// is found gone; if one of this node's is, it has the stand-in's answer, and so have the others then. False:
    /// that is what they were told.
    fn tell_together(&mut self, decided: &Decided, replies: Vec<Reply>, commit_us: u32) -> bool {
        let mut is_one_gone = false;
        let mut bound = Vec::with_capacity(replies.len());
        for reply in replies {
            let (tell, told) = oneshot::channel();
            match reply {
                Reply::Answer(caller) => match caller.reply.send(Ok(Released::Soon(told))) {
                    Ok(()) => bound.push(tell),
                    Err(_) => is_one_gone = true,
                },
                Reply::Peer(caller) => {
                    let _ = caller.reply.send(Ok(Released::Soon(told)));
                    bound.push(tell);
                }
                Reply::Booked(_) | Reply::StoodIn(_) => {}
            }
        }
        let mut answer = self.current(decided, commit_us);
        if is_one_gone {
            let is_declined = decided.decision.outcome == DecisionOutcome::Declined;
            let decision = self.shared.stand_in_told(&decided.request, is_declined);
            answer = decision.answer(decided.request.is_amount_controllable).into();
            self.void(Arc::clone(&decided.request));
        }
        for tell in bound {
            // A peer's asker may have gone; nobody else can have.
            let _ = tell.send(answer.clone());
        }
        !is_one_gone
    }

    /// The answer to this question as the books have it now.
    fn current(&self, decided: &Decided, commit_us: u32) -> TimedAnswer {
        let current = self.card.answer_to(&decided.request).map(|answered| answered.answer.clone());
        let own = || decided.decision.answer(decided.request.is_amount_controllable);
        let (answer, stages) = (current.unwrap_or_else(own), decided.decision.stages);
        TimedAnswer { answer, stages, commit_us }
    }

    /// Books the stand-in's answer in place of a decision that came too late.
    pub(super) fn void(&mut self, request: Arc<AuthorizationRequest>) {
        // In books that the card has joined meanwhile it stands until Stripe's own word.
        if !self.is_stood_in(&request) && self.card.joined.is_none() {
            let known = self.card.answer_to(&request).map(|answered| answered.answer.outcome);
            let decision = self.shared.stand_in_told(&request, known == Some(DecisionOutcome::Declined));
            let decided = Decided { request, decision };
            self.shared.unconfirmed.answered(&decided);
            self.record(Event::StoodIn(Box::new(decided)), None);
        }
    }

    /// Whether the books have the stand-in's answer to this question.
    fn is_stood_in(&self, request: &AuthorizationRequest) -> bool {
        self.card.answer_to(request).is_some_and(|answered| answered.answer.source == Source::StandIn)
    }
}
