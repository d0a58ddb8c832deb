//! Reading the journal: the account when it comes into memory, the whole history where a new limit needs it, one
//! authorization that was let go, and the chain again when an append has lost its place.

use std::{collections::VecDeque, time::Duration};

use super::{
    Cause, Effect, Given, History, Ledger, Note, Phase, Reloaded, Work,
    batch::{Batch, Waiting, decided_in},
    fold::{Folded, NotFolded},
    message::Caller,
    prepare::Looked,
    request::{decided, micros},
    undo::Undo,
    unrecorded::voids,
};
use crate::{
    domain::{Answer, Decided, Event, Mention, Recalled},
    journal::EntryId,
    planted::{self, Planted},
};

/// How often in a row the appends of an account may lose their place before its requests are given up. Each time another
/// node's has gone in, so that all nodes together get on; a round takes some milliseconds, of which there are a thousand.
/// Of two nodes that fought for all cards, one request in 200 lost three times in a row.
const CONFLICT_ROUNDS_MAX: u32 = 8;

/// How long the journal may take to say whether another node has voided an answer that is in memory. After that it is
/// believed.
const REPEAT_LOOKED_UP_WITHIN: Duration = Duration::from_millis(300);

impl<C: Caller> Ledger<C> {
    fn read_again(&mut self) {
        if matches!(self.phase, Phase::Ready) {
            self.phase = Phase::Loading(Vec::new());
            self.effects.push(Effect::Load);
        }
    }

    pub(super) fn loaded(&mut self, given: &Given<'_>, result: Result<Box<Folded>, NotFolded>) {
        let waiting = match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Loading(waiting) => waiting,
            Phase::Ready | Phase::Unread => Vec::new(),
        };
        match result {
            Ok(folded) => {
                self.note(Note::Loaded);
                self.take(given, *folded);
                self.stay();
                let mut waiting = VecDeque::from(waiting);
                while let Some(work) = waiting.pop_front() {
                    self.work(given, work);
                    if let Phase::Loading(again) = &mut self.phase {
                        return again.extend(waiting);
                    }
                }
            }
            Err(cause) => {
                for work in waiting {
                    self.turn_away(work, Cause::Journal);
                }
                self.turn_away_joining();
                // A journal that is away says nothing of the account, which is to be asked as soon as it is back.
                if !matches!(cause, NotFolded::Unavailable(_)) {
                    self.effects.push(Effect::Failed);
                }
                self.note(Note::NotLoaded(cause));
                self.phase = Phase::Unread;
                self.leave();
            }
        }
    }

    fn take(&mut self, given: &Given<'_>, folded: Folded) {
        if !self.next.is_empty() {
            self.next.undo = Undo::Impossible;
        }
        self.changes = self.changes.wrapping_add(1);
        let Folded { card, head, entries_since_snapshot, events_since_snapshot, snapshot_size } = folded;
        (self.card, self.head) = (card, head);
        self.entries_since_snapshot = entries_since_snapshot;
        self.events_since_snapshot = events_since_snapshot;
        self.snapshot_size = snapshot_size;
        self.policy = None;
        if self.card.joined.is_some() {
            for (event, waiting) in std::mem::take(&mut self.unrecorded).into_events() {
                self.gone_elsewhere(given, event, waiting);
            }
        }
        self.apply_unrecorded(given);
        self.joined(given);
    }

    /// Reads the whole history for the first request that waits for it, once nothing is on its way.
    pub(super) fn load_history_if_needed(&mut self, given: &Given<'_>) {
        if !std::mem::take(&mut self.needs_history) {
            return;
        }
        let Phase::Loading(waiting) = &self.phase else { return };
        let first = waiting.iter().find_map(|work| match work {
            Work::Request(request) => Some(&request.asked),
            Work::Observation(_) | Work::StandIn(_) | Work::Carry(_) => None,
        });
        if let Some(request) = first {
            let policy = given.policy.for_card(request.card.as_ref(), request.group.as_deref());
            let history = History { policy, controls: request.stripe_controls.clone() };
            self.effects.push(Effect::LoadHistory(Box::new(history)));
        }
    }

    /// Asks the journal for what may have been evicted, before the work is done that speaks of it.
    pub(super) fn look_up(&mut self, work: Work<C>, mentions: Vec<Mention>) {
        self.lookups = self.lookups.saturating_add(1);
        let within = self.known_answer(&work).map(|_| REPEAT_LOOKED_UP_WITHIN);
        self.effects.push(Effect::Find { mentions, work, changes: self.changes, within });
    }

    pub(super) fn found(
        &mut self,
        given: &Given<'_>,
        work: Work<C>,
        changes: u64,
        result: Result<Box<Recalled>, NotFolded>,
    ) {
        self.lookups = self.lookups.saturating_sub(1);
        let recalled = match result {
            Ok(recalled) => recalled,
            Err(cause) => return self.not_found(work, cause),
        };
        if let Work::Request(request) = &work
            && let Some((id, record)) =
                recalled.authorizations.iter().find(|(id, _)| *id == request.asked.authorization)
            && self.card.authorizations.contains_key(id)
            && let Some(answered) = record.answer_to(&request.asked)
        {
            let answer = answered.answer.clone();
            return self.repeat_found(answer, work);
        }
        // An account that is being read anew may know it then, and another chain where the card has joined it. What came
        // back or was evicted while the journal was read may have changed since.
        let is_here = matches!(self.phase, Phase::Ready) && self.card.joined.is_none();
        if is_here && changes == self.changes {
            if let Some(lacking) = self.card.lacking(*recalled) {
                self.changes = self.changes.wrapping_add(1);
                self.record(Event::Recalled(Box::new(lacking)), None);
            }
            self.do_here(given, work, Looked::Up);
        } else {
            self.take_up(given, work);
        }
    }

    fn not_found(&mut self, work: Work<C>, cause: NotFolded) {
        if let Some(answer) = self.known_answer(&work) {
            self.note(Note::RepeatedFromMemory(cause));
            return self.repeat_found(answer, work);
        }
        self.note(Note::NotFound(cause));
        self.turn_away(work, Cause::Journal);
    }

    /// The answer in memory to a request, where the work is one.
    fn known_answer(&self, work: &Work<C>) -> Option<Answer> {
        match work {
            Work::Request(request) => {
                self.card.answer_to(&request.asked).map(|answered| answered.answer.clone())
            }
            Work::Observation(_) | Work::StandIn(_) | Work::Carry(_) => None,
        }
    }

    /// Gives an answer that is in the journal already, whatever is in memory.
    fn repeat_found(&mut self, answer: Answer, work: Work<C>) {
        self.is_leaving = false;
        if let Work::Request(request) = work {
            self.note(Note::Repeated);
            self.tell(request.waiting, answer);
        }
    }

    pub(super) fn reloaded(
        &mut self,
        given: &Given<'_>,
        id: EntryId,
        result: Result<Box<Reloaded>, NotFolded>,
    ) {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) else { return };
        let later = std::mem::take(&mut self.next);
        match result {
            Ok(reloaded) => {
                let Reloaded { mut folded, is_written } = *reloaded;
                if planted::is(Planted::ReloadIgnored) {
                    folded.card.clone_from(&self.card);
                }
                self.take(given, folded);
                let mut unanswered = Batch::default();
                if is_written {
                    self.conflicts = 0;
                    let took = micros(in_flight.since, given.now);
                    self.release(given, in_flight.batch, took);
                } else {
                    self.conflicts = self.conflicts.saturating_add(1);
                    unanswered.extend(in_flight.batch);
                }
                unanswered.extend(later);
                if self.conflicts > CONFLICT_ROUNDS_MAX {
                    self.conflicts = 0;
                    self.give_up_batch(unanswered, Cause::Journal);
                } else {
                    let known = self.without_evicted(given, unanswered);
                    self.decide_again(given, known);
                }
            }
            Err(cause) => {
                self.note(Note::NotReloaded(cause));
                self.give_up_and_read_again(in_flight.batch, later, Cause::Journal);
            }
        }
    }

    /// Gives up what was not written, and what was decided after it on a state that is void now.
    pub(super) fn give_up_and_read_again(&mut self, batch: Batch<C>, later: Batch<C>, cause: Cause) {
        self.give_up_batch(batch, cause);
        self.give_up_batch(later, cause);
        self.read_again();
    }

    /// What of a batch can be done on a state that was read anew. Another writer may have changed and evicted what came back
    /// here: what speaks of that is turned away, and comes again.
    fn without_evicted(&mut self, given: &Given<'_>, batch: Batch<C>) -> Batch<C> {
        let mut known = Batch::default();
        for (event, waiting) in batch.into_events() {
            if matches!(event, Event::Recalled(_)) {
                continue;
            }
            if self.card.evicted_of_event(&event).is_empty() {
                let place = known.push(event, None);
                for waiting in waiting {
                    known.join(place, waiting);
                }
            } else {
                self.gone_elsewhere(given, event, waiting);
            }
        }
        known
    }

    /// Decides unanswered requests on the new state, in the order they arrived; facts stay what they are. Requests whose
    /// callers have all stopped waiting are not decided any more.
    pub(super) fn decide_again(&mut self, given: &Given<'_>, batch: Batch<C>) {
        for (event, waiting) in batch.into_events() {
            if self.card.joined.is_some() {
                self.gone_elsewhere(given, event, waiting);
                continue;
            }
            let event = match event {
                Event::Decided(_) if !waiting.iter().any(|waiting| waiting.is_waited_for(given.now)) => {
                    self.give_up_all(waiting, Cause::Deadline);
                    continue;
                }
                Event::Decided(decided) => match self.decided_again(given, *decided) {
                    Ok(event) => event,
                    Err(Some(answer)) => {
                        for waiting in waiting {
                            self.tell(waiting, answer.clone());
                        }
                        continue;
                    }
                    Err(None) => {
                        self.give_up_all(waiting, Cause::Journal);
                        continue;
                    }
                },
                Event::StoodIn(decided) if !self.takes_place(given, &decided.request, voids(&waiting)) => {
                    self.repeat_all(&Event::StoodIn(decided), waiting);
                    continue;
                }
                fact @ (Event::StoodIn(_) | Event::Observed(_) | Event::Recalled(_)) => fact,
                // Another node may have carried some of it over meanwhile: the other card tries again.
                Event::Carried(_) => {
                    self.give_up_all(waiting, Cause::Journal);
                    continue;
                }
                // Another node may have recorded purchases here meanwhile.
                Event::Joined(joined) => Event::Joined(self.step_to(joined.card)),
                // Controls go before the decision on a request that carries them.
                Event::Controls(_) | Event::Policy(_) | Event::Snapshot(_) => continue,
            };
            let outcome = decided_in(&event).map(|decided| decided.decision.outcome);
            let place = self.record(event, None);
            for waiting in waiting {
                if let Some(outcome) = outcome {
                    waiting.decided(outcome);
                }
                self.next.join(place, waiting);
            }
        }
    }

    /// Gives those who wait for this event the answer that stands in its place.
    pub(super) fn repeat_all(&mut self, event: &Event, waiting: Vec<Waiting<C>>) {
        let answered = decided_in(event).and_then(|decided| self.card.answer_to(&decided.request));
        let answer = answered.map(|answered| answered.answer.clone());
        for waiting in waiting {
            match &answer {
                Some(answer) => self.tell(waiting, answer.clone()),
                None => self.give_up(waiting, Cause::Journal),
            }
        }
    }

    pub(super) fn give_up_all(&mut self, waiting: Vec<Waiting<C>>, cause: Cause) {
        for waiting in waiting {
            self.give_up(waiting, cause);
        }
    }

    /// A new decision; or the answer that another node has given; or nothing, where the policy's windows need the whole
    /// history first.
    fn decided_again(&mut self, given: &Given<'_>, before: Decided) -> Result<Event, Option<Answer>> {
        let Decided { request, decision: before } = before;
        if let Some(answered) = self.card.answer_to(&request) {
            return Err(Some(answered.answer.clone()));
        }
        let policy = self.policy_for(given, &request).map_err(|_| None)?;
        let mut decision = decided(given, &self.card, &policy, &request);
        decision.stages = before.stages;
        Ok(Event::Decided(Box::new(Decided { request, decision })))
    }
}
