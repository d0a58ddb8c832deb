//! Reading the journal: the account when it comes into memory, the whole history where a new limit needs it, one
//! authorization that was let go, and the chain again when an append has lost its place.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    Cause, Effect, Given, Ledger, Note, Phase, Reloaded, Work,
    batch::{Batch, Waiters, decided_in},
    fold::{Folded, NotFolded},
    member::Slot,
    message::Caller,
    prepare::Looked,
    request::micros,
    undo::Undo,
    unrecorded::voids,
};
use crate::{
    domain::{Answer, BudgetEvent, Decided, Event, Mention, Recalled},
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
    /// Has accounts read again whose state is void.
    fn read_again(&mut self, accounts: BTreeSet<Slot>) {
        self.drop_unrecorded_legs();
        for at in accounts {
            self.members[at].is_leaving = false;
            if self.members[at].is_ready() {
                self.members[at].phase = Phase::Unread;
                self.load(at);
            }
        }
    }

    pub(super) fn loaded(&mut self, given: &Given<'_>, at: Slot, result: Result<Box<Folded>, NotFolded>) {
        let waiting = match std::mem::replace(&mut self.members[at].phase, Phase::Ready) {
            Phase::Loading(waiting) => waiting,
            Phase::Ready | Phase::Unread => Vec::new(),
        };
        match result {
            Ok(folded) => {
                self.note(at, Note::Loaded);
                self.adopt(given, at, *folded);
                self.taken(given, at);
                self.stay(given, at);
                let mut waiting = VecDeque::from(waiting);
                while let Some((of, work)) = waiting.pop_front() {
                    self.work(given, of, work);
                    if let Phase::Loading(again) = &mut self.members[at].phase {
                        return again.extend(waiting);
                    }
                }
            }
            Err(cause) => {
                self.members[at].phase = Phase::Unread;
                for (of, work) in waiting {
                    self.turn_away(given, of, work, Cause::Journal);
                }
                self.turn_away_joining(given, at);
                // A journal that is away says nothing of the account, which is to be asked as soon as it is back.
                if !matches!(cause, NotFolded::Unavailable(_)) {
                    self.effects.push(Effect::Failed(self.members[at].account.clone()));
                }
                self.note(at, Note::NotLoaded(cause));
                if self.next.slots().contains(&at) {
                    let batch = self.take_next();
                    self.give_up_and_read_again(given, Batch::default(), batch, Cause::Journal);
                }
                self.members[at].is_leaving = true;
                self.leave(vec![at]);
            }
        }
    }

    /// Takes the state that was read from the journal.
    fn adopt(&mut self, _: &Given<'_>, at: Slot, folded: Folded) {
        if self.next.slots().contains(&at) {
            self.next.undo = Undo::Impossible;
        }
        let Folded { card, budget, head, entries_since_snapshot, events_since_snapshot, snapshot_size } =
            folded;
        let member = &mut self.members[at];
        member.changes = member.changes.wrapping_add(1);
        (member.card, member.budget, member.head) = (card, budget, head);
        member.entries_since_snapshot = entries_since_snapshot;
        member.events_since_snapshot = events_since_snapshot;
        member.snapshot_size = snapshot_size;
        member.policy = None;
    }

    /// Puts what is known only here on top of a state that was read from the journal.
    fn taken(&mut self, given: &Given<'_>, at: Slot) {
        if self.members[at].card.joined.is_some() {
            for (event, waiting) in self.unrecorded.take_out(at) {
                self.gone_elsewhere(given, at, event, waiting);
            }
        }
        self.apply_pending(at);
        self.apply_unrecorded_of(given, at);
        self.joined(given, at);
    }

    /// Reads the whole histories that are needed, each once nothing of its account is on its way.
    pub(super) fn load_histories_if_needed(&mut self) {
        if self.histories.is_empty() {
            return;
        }
        let busy = self.slots_in_use();
        for at in std::mem::take(&mut self.histories) {
            if busy.contains(&at) {
                self.histories.push(at);
                continue;
            }
            let member = &mut self.members[at];
            if let Some(history) = member.history.take() {
                self.effects.push(Effect::LoadHistory(member.account.clone(), history));
            }
        }
    }

    /// Asks the journal for what may have been evicted, before the work is done that speaks of it.
    pub(super) fn look_up(&mut self, at: Slot, work: Work<C>, mentions: Vec<Mention>) {
        let within = self.known_answer(at, &work).map(|_| REPEAT_LOOKED_UP_WITHIN);
        let member = &mut self.members[at];
        member.lookups = member.lookups.saturating_add(1);
        let (account, changes) = (member.account.clone(), member.changes);
        self.effects.push(Effect::Find { account, mentions, work, changes, within });
    }

    pub(super) fn found(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        work: Work<C>,
        changes: u64,
        result: Result<Box<Recalled>, NotFolded>,
    ) {
        self.members[at].lookups = self.members[at].lookups.saturating_sub(1);
        let recalled = match result {
            Ok(recalled) => recalled,
            Err(cause) => return self.not_found(given, at, work, cause),
        };
        if let Work::Request(request) = &work
            && let Some((id, record)) =
                recalled.authorizations.iter().find(|(id, _)| *id == request.asked.authorization)
            && self.members[at].card.authorizations.contains_key(id)
            && let Some(answered) = record.answer_to(&request.asked)
        {
            let answer = answered.answer.clone();
            return self.repeat_found(at, answer, work);
        }
        // An account that is being read anew may know it then, and another chain where the card has joined it. What came
        // back or was evicted while the journal was read may have changed since.
        let member = &mut self.members[at];
        let is_here = member.is_ready() && member.card.joined.is_none();
        if is_here && changes == member.changes {
            if let Some(lacking) = member.card.lacking(*recalled) {
                member.changes = member.changes.wrapping_add(1);
                self.record(given, at, Event::Recalled(Box::new(lacking)), None);
            }
            self.do_here(given, at, work, Looked::Up);
        } else {
            self.take_up(given, at, work);
        }
    }

    fn not_found(&mut self, given: &Given<'_>, at: Slot, work: Work<C>, cause: NotFolded) {
        if let Some(answer) = self.known_answer(at, &work) {
            self.note(at, Note::RepeatedFromMemory(cause));
            return self.repeat_found(at, answer, work);
        }
        self.note(at, Note::NotFound(cause));
        self.turn_away(given, at, work, Cause::Journal);
    }

    /// The answer in memory to a request, where the work is one.
    fn known_answer(&self, at: Slot, work: &Work<C>) -> Option<Answer> {
        match work {
            Work::Request(request) => {
                let answered = self.members[at].card.answer_to(&request.asked);
                answered.map(|answered| answered.answer.clone())
            }
            Work::Observation(_) | Work::StandIn(_) | Work::Carry(_) | Work::Operation(_) => None,
        }
    }

    /// Gives an answer that is in the journal already, whatever is in memory.
    fn repeat_found(&mut self, at: Slot, answer: Answer, work: Work<C>) {
        self.members[at].is_leaving = false;
        if let Work::Request(request) = work {
            self.note(at, Note::Repeated);
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
        let later = self.take_next();
        match result {
            Ok(reloaded) => {
                let Reloaded { folded, is_written } = *reloaded;
                let mut read = Vec::new();
                for (account, mut folded) in folded {
                    let Some(at) = self.members.find(&account) else { continue };
                    if planted::is(Planted::ReloadIgnored) {
                        folded.card.clone_from(&self.members[at].card);
                    }
                    self.adopt(given, at, folded);
                    read.push(at);
                }
                self.drop_unrecorded_legs();
                for at in read {
                    self.taken(given, at);
                }
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
                    self.give_up_batch(given, unanswered, Cause::Journal);
                } else {
                    let known = self.without_evicted(given, unanswered);
                    self.decide_again(given, known);
                }
            }
            Err(cause) => {
                let first = in_flight.rows.first().map(|row| row.at);
                if let Some(at) = first {
                    self.note(at, Note::NotReloaded(cause));
                }
                self.give_up_and_read_again(given, in_flight.batch, later, Cause::Journal);
            }
        }
    }

    /// Gives up what was not written, and what was decided after it on a state that is void now.
    pub(super) fn give_up_and_read_again(
        &mut self,
        given: &Given<'_>,
        batch: Batch<C>,
        later: Batch<C>,
        cause: Cause,
    ) {
        let mut void = batch.slots();
        void.extend(later.slots());
        void.extend(self.unrecorded.slots());
        self.give_up_batch(given, batch, cause);
        self.give_up_batch(given, later, cause);
        self.read_again(void);
    }

    /// What of a batch can be done on a state that was read anew. Another writer may have changed and evicted what came back
    /// here: what speaks of that is turned away, and comes again.
    fn without_evicted(&mut self, given: &Given<'_>, batch: Batch<C>) -> Batch<C> {
        let mut known = Batch::default();
        for (at, event, waiting) in batch.into_events() {
            if matches!(event, Event::Recalled(_)) {
                continue;
            }
            if self.members[at].card.evicted_of_event(&event).is_empty() {
                let place = known.push(at, event, None);
                for waiting in waiting {
                    known.join(place, waiting);
                }
            } else {
                self.gone_elsewhere(given, at, event, waiting);
            }
        }
        known
    }

    /// Decides unanswered requests on the new state, in the order they arrived; facts stay what they are. Requests whose
    /// callers have all stopped waiting are not decided any more.
    pub(super) fn decide_again(&mut self, given: &Given<'_>, batch: Batch<C>) {
        for (at, event, waiting) in batch.into_events() {
            if self.members[at].card.joined.is_some() {
                self.gone_elsewhere(given, at, event, waiting);
                continue;
            }
            let event = match event {
                Event::Decided(_) if !waiting.iter().any(|waiting| waiting.is_waited_for(given.now)) => {
                    self.give_up_all(waiting, Cause::Deadline);
                    continue;
                }
                Event::Decided(decided) => match self.decided_again(given, at, *decided) {
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
                Event::StoodIn(decided)
                    if !self.takes_place(given, at, &decided.request, voids(&waiting)) =>
                {
                    self.repeat_all(at, &Event::StoodIn(decided), waiting);
                    continue;
                }
                Event::StoodIn(decided) => {
                    self.charge_for(given, at, &decided.request);
                    Event::StoodIn(decided)
                }
                Event::Observed(observation) => {
                    self.charge_for_fact(given, at, &observation);
                    Event::Observed(observation)
                }
                recalled @ Event::Recalled(_) => recalled,
                // A command is recorded once.
                command if command.command().is_some_and(|command| self.is_known(at, command)) => {
                    for waiting in waiting {
                        self.receive(waiting);
                    }
                    continue;
                }
                command @ Event::Command(_) => command,
                Event::Budget(event) => match *event {
                    command @ BudgetEvent::Command(_) => Event::Budget(Box::new(command)),
                    // Legs follow from the events of cards, and warnings from legs.
                    BudgetEvent::Leg(_) | BudgetEvent::Warned(_) | BudgetEvent::Snapshot(_) => continue,
                },
                // Another node may have carried some of it over meanwhile: the other card tries again.
                Event::Carried(_) => {
                    self.give_up_all(waiting, Cause::Journal);
                    continue;
                }
                // Another node may have recorded purchases here meanwhile.
                Event::Joined(joined) => Event::Joined(self.step_to(at, joined.card)),
                // Controls go before the decision on a request that carries them.
                Event::Controls(_)
                | Event::Charges(_)
                | Event::Policy(_)
                | Event::Delivered(_)
                | Event::Snapshot(_) => continue,
            };
            let outcome = decided_in(&event).map(|decided| decided.decision.outcome);
            let place = self.record(given, at, event, None);
            for waiting in waiting {
                if let Some(outcome) = outcome {
                    waiting.decided(outcome);
                }
                self.next.join(place, waiting);
            }
        }
    }

    /// Gives those who wait for this event the answer that stands in its place.
    pub(super) fn repeat_all(&mut self, at: Slot, event: &Event, waiting: Waiters<C>) {
        let answered =
            decided_in(event).and_then(|decided| self.members[at].card.answer_to(&decided.request));
        let answer = answered.map(|answered| answered.answer.clone());
        for waiting in waiting {
            match &answer {
                Some(answer) => self.tell(waiting, answer.clone()),
                None => self.give_up(waiting, Cause::Journal),
            }
        }
    }

    pub(super) fn give_up_all(&mut self, waiting: Waiters<C>, cause: Cause) {
        for waiting in waiting {
            self.give_up(waiting, cause);
        }
    }

    /// A new decision; or the answer that another node has given; or nothing, where an account has to be read for it first.
    fn decided_again(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        before: Decided,
    ) -> Result<Event, Option<Answer>> {
        let Decided { request, decision: before } = before;
        if let Some(answered) = self.members[at].card.answer_to(&request) {
            return Err(Some(answered.answer.clone()));
        }
        let (policy, charges) = self.policy_for(given, at, &request).map_err(|unread| {
            self.members[unread].history = None;
            None::<Answer>
        })?;
        let mut decision = self.decided(given, at, (&policy, &charges), &request);
        decision.stages = before.stages;
        self.charge(at, charges);
        Ok(Event::Decided(Box::new(Decided { request, decision })))
    }
}
