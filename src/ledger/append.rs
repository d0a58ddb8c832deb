//! The append: what was decided goes to the journal, one append at a time; when it is durable, the replies are let go.

use std::{collections::BTreeSet, sync::Arc};

use smallvec::SmallVec;

use super::{
    Cause, Effect, Given, InFlight, Ledger, Note, Release, Row,
    batch::{Batch, Places, Waiters, Waiting},
    fold::snapshot_size,
    member::Slot,
    message::Caller,
    request::micros,
    undo::Undo,
};
use crate::{
    clock::Instant,
    domain::{Answer, AuthorizationId, AuthorizationRequest, BudgetEvent, Decided, Event, Moves, Source},
    journal::{self, Append, EntryId, Head, Outcome, Urgency, record},
    planted::{self, Planted},
};

/// A snapshot is due after so many entries, and no sooner than after as many events as the last one was large: so the cost of
/// snapshots stays in proportion to the events, however large a card or a budget grows.
const SNAPSHOT_ENTRIES: usize = 64;

/// The authorization of a decision.
fn decided_on(event: &Event) -> Option<&AuthorizationId> {
    match event {
        Event::Decided(decided) => Some(&decided.request.authorization),
        Event::StoodIn(_)
        | Event::Observed(_)
        | Event::Recalled(_)
        | Event::Joined(_)
        | Event::Carried(_)
        | Event::Controls(_)
        | Event::Charges(_)
        | Event::Command(_)
        | Event::Budget(_)
        | Event::Policy(_)
        | Event::Delivered(_)
        | Event::Snapshot(_) => None,
    }
}

impl<C: Caller> Ledger<C> {
    /// Makes an event of a card or a budget part of the tentative state and of the next append, and returns its place there.
    /// Before a decision goes what is new of the controls that its request carried; behind the event, what it changes for the
    /// budgets.
    pub(super) fn record(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        event: Event,
        mut waiting: Option<Waiting<C>>,
    ) -> usize {
        if let Event::Decided(decided) = &event
            && let Some(controls) = &decided.request.stripe_controls
            && self.members[at].card.stripe_controls.as_ref() != Some(controls)
        {
            self.put(at, Event::Controls(Arc::clone(controls)), None);
        }
        self.say_charges(at, &event);
        if let (Event::Decided(decided), Some(waiting)) = (&event, &waiting) {
            waiting.decided(decided.decision.outcome);
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
        let is_forced = matches!(event, Event::Observed(_));
        let is_charged = !given.policy.budgets().is_empty() || !self.members[at].card.charges.is_empty();
        let decided_on = decided_on(&event).filter(|_| is_charged).cloned();
        let (place, moves) = self.put(at, event, waiting);
        if !moves.is_empty() {
            self.charge_legs(given, at, moves, is_forced);
        } else if let Some(authorization) = decided_on {
            self.charge_nothing(given, at, &authorization);
        }
        place
    }

    /// Makes an event part of the tentative state and of the next append, by itself.
    pub(super) fn put(&mut self, at: Slot, event: Event, waiting: Option<Waiting<C>>) -> (usize, Moves) {
        let mut moves = Moves::new();
        let member = &mut self.members[at];
        self.next.undo.note(at, member, &event);
        match &event {
            // What is not in memory yet has it when it is read.
            Event::Budget(event) if member.has_state() => member.budget.apply(event),
            Event::Budget(_) => {}
            Event::Decided(_) if planted::is(Planted::HoldForgotten) => {}
            event => member.card.apply_moving(event, &mut moves),
        }
        (self.next.push(at, event, waiting), moves)
    }

    /// Each entry of a card that charges budgets says which, before all that may charge them: so an authorization that comes
    /// back from the journal charges what it did.
    fn say_charges(&mut self, at: Slot, event: &Event) {
        let member = &mut self.members[at];
        let is_counted = matches!(event, Event::Decided(_) | Event::StoodIn(_) | Event::Observed(_));
        if is_counted && !member.card.charges.is_empty() && member.charges_in != self.batches {
            member.charges_in = self.batches;
            let charges = Arc::clone(&member.card.charges);
            self.put(at, Event::Charges(charges), None);
        }
    }

    /// Takes what is decided and not on its way.
    pub(super) fn take_next(&mut self) -> Batch<C> {
        self.batches = self.batches.wrapping_add(1);
        std::mem::take(&mut self.next)
    }

    /// Writes into the decisions of this turn how long it took to make them.
    pub(super) fn end_turn(&mut self, now: Instant) {
        let Some((since, first)) = self.turn.take() else { return };
        let decide_us = micros(since, now);
        for (_, event) in self.next.events.iter_mut().skip(first) {
            if let Event::Decided(decided) = event {
                decided.decision.stages.decide_us = decide_us;
            }
        }
    }

    /// Sends what was decided meanwhile: an entry for each account, which go in together or not at all. Accounts that are
    /// charged and not in memory yet are read first.
    pub(super) fn append(&mut self, given: &Given<'_>, id: EntryId) {
        let mut events = self.next.events.iter().chain(&self.unrecorded.events);
        if events.any(|(at, _)| !self.members[*at].has_state()) {
            for at in self.slots_with_events() {
                if !self.members[at].has_state() {
                    self.load(at);
                }
            }
            return;
        }
        let mut batch = std::mem::take(&mut self.unrecorded);
        batch.extend(self.take_next());
        batch.number();
        let mut places = batch.places();
        for at in std::mem::take(&mut self.leaving) {
            if self.members[at].is_leaving
                && let Err(new) = places.binary_search_by_key(&at, |(at, _)| *at)
            {
                places.insert(new, (at, Places::new()));
            }
        }
        let (mut rows, mut written, mut bare) = (SmallVec::new(), SmallVec::new(), Vec::new());
        for (at, places) in places {
            let events = places.iter().filter_map(|place| batch.events.get(*place)).map(|(_, event)| event);
            match self.row(given, at, &events.collect::<SmallVec<[&Event; 2]>>()) {
                Some((row, entry)) => {
                    if row.has_snapshot {
                        // Records were evicted for it.
                        batch.undo = Undo::Impossible;
                    }
                    rows.push(row);
                    written.push(entry);
                }
                None => bare.push(at),
            }
        }
        if !written.is_empty() {
            let urgency = batch.urgency();
            self.effects.push(Effect::Append(Append { id, rows: written }, urgency));
            let (since, is_asked_back, is_in_doubt) = (given.now, false, false);
            self.in_flight =
                Some(Box::new(InFlight { id, batch, urgency, is_asked_back, is_in_doubt, rows, since }));
        }
        self.leave(bare);
    }

    /// The entry of one account with these events, and with a snapshot where one is due. None for an account without events
    /// that is too large for a snapshot.
    fn row(&mut self, given: &Given<'_>, at: Slot, events: &[&Event]) -> Option<(Row, journal::Row)> {
        let member = &mut self.members[at];
        let since_snapshot = (member.entries_since_snapshot, member.events_since_snapshot);
        member.entries_since_snapshot = member.entries_since_snapshot.saturating_add(1);
        member.events_since_snapshot = member.events_since_snapshot.saturating_add(events.len());
        let is_due = member.entries_since_snapshot >= SNAPSHOT_ENTRIES
            && member.events_since_snapshot >= member.snapshot_size;
        let snapshot = (is_due || member.is_leaving).then(|| self.snapshot(at, events));
        let mut has_snapshot = snapshot.is_some();
        let mut body = record::encode(events.iter().copied().chain(&snapshot));
        if has_snapshot && body.len() > given.settings.snapshot_bytes_max {
            self.goes_without_snapshot(at);
            if events.is_empty() {
                return None;
            }
            (body, has_snapshot) = (record::encode(events.iter().copied()), false);
        }
        let member = &self.members[at];
        let mentions = match events {
            [event] => record::mentions_of(event),
            events => events.iter().flat_map(|event| record::mentions_of(event)).collect(),
        };
        let (account, head) = (member.account.clone(), member.head);
        let entry = journal::Row { account, head, is_snapshot: has_snapshot, mentions, body };
        Some((
            Row {
                at,
                has_snapshot,
                since_snapshot,
                snapshot_size: snapshot_size(&member.card, &member.budget),
            },
            entry,
        ))
    }

    /// The accounts with events that are not on their way.
    fn slots_with_events(&self) -> BTreeSet<Slot> {
        let mut slots = self.next.slots();
        slots.extend(self.unrecorded.slots());
        slots
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
            let InFlight { batch, rows, .. } = *in_flight;
            self.take_back_counts(&rows);
            let leaving = rows.iter().map(|row| row.at).filter(|at| self.members[*at].is_leaving);
            let leaving: Vec<Slot> = leaving.collect();
            self.leaving.extend(leaving);
            let later = self.take_next();
            self.next = batch;
            self.next.extend(later);
        }
    }

    fn take_back_counts(&mut self, rows: &[Row]) {
        for row in rows {
            let member = &mut self.members[row.at];
            (member.entries_since_snapshot, member.events_since_snapshot) = row.since_snapshot;
        }
    }

    /// Takes back decisions that no caller waits for any more, instead of writing and voiding them. What was decided
    /// after them is decided again.
    pub(super) fn drop_dead(&mut self, given: &Given<'_>) {
        if !self.next.has_dead(given.now) {
            return;
        }
        let undo = std::mem::take(&mut self.next.undo);
        if undo.undo(&mut self.members) {
            let batch = self.take_next();
            self.taken_back(given, &batch);
            self.decide_again(given, batch);
        } else {
            self.next.undo = Undo::Impossible;
        }
    }

    /// The accounts are as they were before these events: what was adopted for them is adopted again, what Stripe has is
    /// applied again.
    fn taken_back(&mut self, given: &Given<'_>, batch: &Batch<C>) {
        for at in batch.slots() {
            self.members[at].policy = None;
        }
        self.apply_unrecorded(given);
    }

    /// The append was certainly not written, for want of time or room: nobody is told a decision of it, and what was
    /// decided after it is decided again.
    fn expired(&mut self, given: &Given<'_>, in_flight: InFlight<C>) {
        self.take_back_counts(&in_flight.rows);
        let mut later = self.take_next();
        let mut batch = in_flight.batch;
        let mut undo = std::mem::take(&mut batch.undo);
        // Only their snapshots are missing.
        self.leave(in_flight.rows.iter().map(|row| row.at).collect());
        if batch.is_empty() && later.is_empty() {
            return;
        }
        undo.extend(std::mem::take(&mut later.undo));
        if undo.undo(&mut self.members) {
            self.taken_back(given, &batch);
            self.taken_back(given, &later);
            self.give_up_batch(given, batch, Cause::Overload);
            self.decide_again(given, later);
        } else {
            self.give_up_and_read_again(given, batch, later, Cause::Overload);
        }
    }

    /// An entry is too large with a snapshot. The next one is tried after as many events as there are authorizations, so that
    /// trying stays cheap however large the card is.
    fn goes_without_snapshot(&mut self, at: Slot) {
        let member = &mut self.members[at];
        member.snapshot_size = snapshot_size(&member.card, &member.budget);
        member.events_since_snapshot = 0;
        let size = member.snapshot_size;
        self.note(at, Note::NoSnapshot(size));
    }

    /// The account as it is, without what is evicted now. What the events `on_their_way` speak of is not: the journal does
    /// not have them yet.
    fn snapshot(&mut self, at: Slot, on_their_way: &[&Event]) -> Event {
        let member = &mut self.members[at];
        if member.is_budget() {
            return Event::Budget(Box::new(BudgetEvent::Snapshot(member.budget.clone())));
        }
        let kept = on_their_way.iter().flat_map(|event| record::mentions_of(event)).collect();
        member.changes = member.changes.wrapping_add(1);
        member.card.forget_except(member.card.time, &kept);
        if planted::is(Planted::SnapshotStale) {
            let mut stale = member.card.clone();
            let newest =
                stale.authorizations.iter().max_by_key(|(_, one)| one.last_at()).map(|(id, _)| id.clone());
            newest.map(|id| stale.authorizations.remove(&id));
            return Event::Snapshot(Box::new(stale));
        }
        Event::Snapshot(Box::new(member.card.clone()))
    }

    pub(super) fn committed(&mut self, given: &Given<'_>, id: EntryId, outcome: Outcome) {
        let Some(mut in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) else { return };
        let is_believed = match outcome {
            Outcome::Conflict => planted::is(Planted::ConflictIgnored),
            Outcome::Expired => planted::is(Planted::ExpiredReleased),
            Outcome::Rejected => planted::is(Planted::RejectedReleased),
            Outcome::Durable { .. } | Outcome::Unknown => false,
        };
        match outcome {
            _ if is_believed => self.release(given, in_flight.batch, 0),
            Outcome::Durable { .. } => {
                for row in &in_flight.rows {
                    let member = &mut self.members[row.at];
                    member.head = Head { seq: member.head.seq.saturating_add(1), id };
                    if row.has_snapshot {
                        member.entries_since_snapshot = 0;
                        member.events_since_snapshot = 0;
                        member.snapshot_size = row.snapshot_size;
                    }
                }
                self.conflicts = 0;
                let took = micros(in_flight.since, given.now);
                self.release(given, in_flight.batch, took);
                self.leave(in_flight.rows.iter().map(|row| row.at).collect());
            }
            Outcome::Conflict | Outcome::Unknown => {
                let first = in_flight.rows.first().map(|row| row.at);
                if let Some(at) = first {
                    self.note(at, Note::Conflict);
                }
                let own: BTreeSet<Slot> = in_flight.rows.iter().map(|row| row.at).collect();
                let mut all = own.clone();
                all.extend(self.slots_with_events());
                for at in &own {
                    self.members[*at].is_leaving = false;
                }
                let heads = all.into_iter().map(|at| {
                    let member = &self.members[at];
                    (member.account.clone(), own.contains(&at).then_some(member.head))
                });
                self.effects.push(Effect::Reload { id, heads: heads.collect() });
                in_flight.is_in_doubt = true;
                self.in_flight = Some(in_flight);
            }
            Outcome::Rejected => {
                let first = in_flight.rows.first().map(|row| row.at);
                if let Some(at) = first {
                    self.note(at, Note::Rejected);
                }
                let later = self.take_next();
                self.give_up_and_read_again(given, in_flight.batch, later, Cause::Journal);
            }
            Outcome::Expired => self.expired(given, *in_flight),
        }
    }

    /// Lets the replies go that waited for these events.
    pub(super) fn release(&mut self, given: &Given<'_>, batch: Batch<C>, commit_us: u32) {
        let mut joined = Vec::new();
        let mut released: SmallVec<[(Slot, Event, Waiters<C>); 1]> = batch.into_events().collect();
        if planted::is(Planted::RepliesSwapped)
            && let [(_, Event::Decided(_), first), (_, Event::Decided(_), second), ..] = &mut released[..]
        {
            std::mem::swap(first, second);
        }
        for (at, event, waiting) in released {
            match event {
                Event::Decided(decided) => self.release_decision(at, *decided, waiting, commit_us),
                Event::StoodIn(decided) => {
                    // Whoever joined it meanwhile gets what stands now.
                    let (answer, _) = self.answer_now(at, &decided);
                    for waiting in waiting {
                        self.tell(waiting, answer.clone());
                    }
                }
                Event::Joined(_) => joined.push(at),
                Event::Observed(_)
                | Event::Recalled(_)
                | Event::Carried(_)
                | Event::Controls(_)
                | Event::Charges(_)
                | Event::Command(_)
                | Event::Budget(_)
                | Event::Policy(_)
                | Event::Delivered(_)
                | Event::Snapshot(_) => {
                    for waiting in waiting {
                        self.receive(waiting);
                    }
                }
            }
        }
        for at in joined {
            self.joined(given, at);
        }
    }

    fn release_decision(&mut self, at: Slot, decided: Decided, waiting: Waiters<C>, commit_us: u32) {
        let (answer, is_replaced) = self.answer_now(at, &decided);
        let account = self.members[at].account.clone();
        self.effects.push(Effect::Release(Box::new(Release {
            account,
            decided,
            answer,
            is_replaced,
            commit_us,
            waiting,
        })));
    }

    /// The answer to this request as it stands now, and whether it is the stand-in's.
    fn answer_now(&self, at: Slot, decided: &Decided) -> (Answer, bool) {
        match self.members[at].card.answer_to(&decided.request) {
            Some(answered) => (answered.answer.clone(), answered.answer.source == Source::StandIn),
            None => (decided.decision.answer(decided.request.is_amount_controllable), false),
        }
    }

    /// Records a stand-in decision in place of one that came too late.
    pub(super) fn void(&mut self, given: &Given<'_>, at: Slot, decided: Decided) {
        // In a chain that the card has joined meanwhile it stands until Stripe's own word.
        if !self.is_stood_in(at, &decided.request) && self.members[at].card.joined.is_none() {
            self.record(given, at, Event::StoodIn(Box::new(decided)), None);
        }
    }

    /// Whether the answer to this request in the ledger is the stand-in's.
    fn is_stood_in(&self, at: Slot, request: &AuthorizationRequest) -> bool {
        let answered = self.members[at].card.answer_to(request);
        answered.is_some_and(|answered| answered.answer.source == Source::StandIn)
    }
}
