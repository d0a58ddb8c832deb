//! Reading the journal: the books of a card when it wakes, the whole history where a new limit needs it, what
//! was evicted, and the chain again when an append has lost its place.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Cause, Desk, Looked, Message, Phase, Work};
use crate::{
    actors::{
        batch::{Batch, decided_in},
        books::{self, Folded, NotFolded},
        micros,
        undo::Undo,
    },
    clock::{self, timeout},
    domain::{Answer, Decided, Event, Mention, Recalled, decide, windows_in_force},
    journal::{Entry, EntryId, Reach, Unavailable},
    metrics::{Done, JournalFailure},
};

/// How often in a row the appends of a card may lose their place before its requests are given up. Each time another
/// node's has gone in, so that all nodes together get on; a round takes some milliseconds, of which there are a thousand. Of two
/// nodes that fought for all cards, for want of words for each other, one question in 200 lost three times in a row.
const CONFLICT_ROUNDS_MAX: u32 = 8;

/// How long the journal may take to say whether another node has voided an answer that these books have. After that they
/// are believed.
const REPEAT_LOOKED_UP_WITHIN: Duration = Duration::from_millis(300);

/// The books after a lost place, and whether the append was written after all.
pub(in crate::actors) struct Reconciliation {
    folded: Folded,
    is_written: bool,
}

impl Desk {
    /// Reads the books from the journal; work waits meanwhile.
    pub(super) fn load(&self) {
        let (myself, shared, account) = (self.myself.clone(), Arc::clone(&self.shared), self.account.clone());
        tokio::spawn(async move {
            let loaded =
                shared.load(&account, Reach::Snapshot).await.and_then(|entries| books::fold(&entries));
            drop(myself.cast(Message::Loaded(loaded.map(Box::new))));
        });
    }

    pub(super) fn reload(&mut self) {
        if matches!(self.phase, Phase::Ready) {
            self.phase = Phase::Loading(Vec::new());
            self.load();
        }
    }

    pub(super) fn loaded(&mut self, result: Result<Box<Folded>, NotFolded>) {
        let waiting = match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Loading(waiting) => waiting,
            Phase::Ready | Phase::Unread => Vec::new(),
        };
        match result {
            Ok(folded) => {
                self.activated(Done::Ok);
                self.take(*folded);
                self.stay();
                let mut waiting = VecDeque::from(waiting);
                while let Some(message) = waiting.pop_front() {
                    self.handle(message);
                    if let Phase::Loading(again) = &mut self.phase {
                        return again.extend(waiting);
                    }
                }
            }
            Err(cause) => {
                tracing::error!(account = %self.account, %cause, "the card cannot be loaded from the journal");
                self.turn_away(waiting);
                let joining = self.joining.take().unwrap_or_default();
                self.turn_away(joining);
                self.activated(Done::Failed);
                self.shared.metrics.journal.errors.get(JournalFailure::Load).increment(1);
                // A journal that is away says nothing of the card, which is to be asked as soon as it is back.
                if !matches!(cause, NotFolded::Unavailable(_)) {
                    self.lease.fail();
                }
                self.phase = Phase::Unread;
                self.leave();
            }
        }
    }

    fn activated(&mut self, result: Done) {
        if let Some(woken) = self.woken.take() {
            let cards = &self.shared.metrics.cards;
            cards.activations.get(result).increment(1);
            cards.activation_duration.record(clock::instant().duration_since(woken));
        }
    }

    pub(super) fn take(&mut self, folded: Folded) {
        if !self.next.is_empty() {
            self.next.undo = Undo::Impossible;
        }
        self.changes = self.changes.wrapping_add(1);
        let Folded { card, head, entries_since_snapshot, events_since_snapshot, snapshot_size, .. } = folded;
        (self.card, self.head) = (card, head);
        self.entries_since_snapshot = entries_since_snapshot;
        self.events_since_snapshot = events_since_snapshot;
        self.snapshot_size = snapshot_size;
        self.policy = None;
        if self.card.joined.is_some() {
            for (event, replies) in std::mem::take(&mut self.owed).into_events() {
                self.gone_elsewhere(event, replies);
            }
        }
        self.apply_owed();
        self.joined();
    }

    /// Puts off a question until the whole history has been folded.
    pub(super) fn wait_for_history(&mut self, message: Message) {
        self.lease.join_queue();
        self.needs_history = true;
        self.phase = Phase::Loading(vec![message]);
    }

    pub(super) fn load_history_if_needed(&mut self) {
        if !std::mem::take(&mut self.needs_history) {
            return;
        }
        let source = Arc::clone(&self.shared.policy.borrow());
        let first = match &self.phase {
            Phase::Loading(waiting) => waiting.iter().find_map(|message| match message {
                Message::Ask(ask) => Some(Arc::clone(&ask.request)),
                _ => None,
            }),
            Phase::Ready | Phase::Unread => None,
        };
        let Some(request) = first else { return };
        let policy = source.for_card(request.card.as_ref(), request.group.as_deref());
        let (myself, shared, account) = (self.myself.clone(), Arc::clone(&self.shared), self.account.clone());
        tokio::spawn(async move {
            let windows = || windows_in_force(&policy, request.stripe_controls.as_deref());
            let loaded = shared
                .load(&account, Reach::Genesis)
                .await
                .and_then(|entries| books::fold_history(&entries, windows(), policy.refunds_restore));
            drop(myself.cast(Message::Loaded(loaded.map(Box::new))));
        });
    }

    /// Asks the journal for what these books may have evicted, before the work is done that speaks of it.
    pub(super) fn look_up(&mut self, work: Work, mentions: Vec<Mention>) {
        self.lease.join_queue();
        self.lookups = self.lookups.saturating_add(1);
        let (myself, shared, account) = (self.myself.clone(), Arc::clone(&self.shared), self.account.clone());
        let is_known = self.known_answer(&work).is_some();
        let changes = self.changes;
        tokio::spawn(async move {
            let finding = books::recall(&*shared.journal, &account, mentions);
            let found = if is_known {
                let late = |_| Err(Unavailable("no answer in good time".to_owned()).into());
                timeout(REPEAT_LOOKED_UP_WITHIN, finding).await.unwrap_or_else(late)
            } else {
                finding.await
            };
            drop(myself.cast(Message::Found(Box::new(work), found.map(|found| (changes, Box::new(found))))));
        });
    }

    pub(super) fn found(&mut self, work: Work, result: Result<(u64, Box<Recalled>), NotFolded>) {
        self.lookups = self.lookups.saturating_sub(1);
        let (changes, recalled) = match result {
            Ok(found) => found,
            Err(cause) => return self.not_found(work, &cause),
        };
        if let Work::Ask(ask) = &work
            && let Some((id, record)) =
                recalled.authorizations.iter().find(|(id, _)| *id == ask.request.authorization)
            && self.card.authorizations.contains_key(id)
            && let Some(answered) = record.answer_to(&ask.request)
        {
            let answer = answered.answer.clone();
            return self.repeat_found(answer, work);
        }
        // Books that are being read anew may know it then, and others where the card has joined them. What came back or
        // was evicted while the journal was read may have changed since.
        let is_here = matches!(self.phase, Phase::Ready) && self.card.joined.is_none();
        if is_here && changes == self.changes {
            if let Some(lacking) = self.card.lacking(*recalled) {
                self.changes = self.changes.wrapping_add(1);
                self.record(Event::Recalled(Box::new(lacking)), None);
            }
            match work {
                Work::Ask(ask) => self.ask(ask, Looked::Up),
                Work::Book(book) => self.book(book, Looked::Up),
                Work::StoodIn(stood_in) => self.stood_in(stood_in, Looked::Up),
                Work::Carry(carry) => self.carry(*carry, Looked::Up),
            }
        } else {
            self.handle(work.into());
        }
    }

    fn not_found(&mut self, work: Work, cause: &NotFolded) {
        if let Some(answer) = self.known_answer(&work) {
            tracing::debug!(account = %self.account, %cause, "an answer is repeated from memory");
            return self.repeat_found(answer, work);
        }
        tracing::error!(account = %self.account, %cause, "the journal cannot look up what was evicted from memory");
        self.turn_away(vec![work.into()]);
    }

    /// The answer that these books have to a question, where it is one.
    fn known_answer(&self, work: &Work) -> Option<Answer> {
        match work {
            Work::Ask(ask) => self.card.answer_to(&ask.request).map(|answered| answered.answer.clone()),
            Work::Book(_) | Work::StoodIn(_) | Work::Carry(_) => None,
        }
    }

    /// Gives an answer that is in the journal already, whatever these books have.
    fn repeat_found(&mut self, answer: Answer, work: Work) {
        self.lease.leave_queue();
        self.leaving = None;
        if let Work::Ask(ask) = work {
            self.shared.metrics.decisions.repeats.increment(1);
            ask.reply.tell(answer);
        }
    }

    /// Another writer has come between: reads the chain again, and looks whether the append is in it after all.
    pub(super) fn reconcile(&mut self, id: EntryId) {
        let (myself, shared, account) = (self.myself.clone(), Arc::clone(&self.shared), self.account.clone());
        let head = self.head;
        tokio::spawn(async move {
            let result = shared.load(&account, Reach::Snapshot).await;
            // A snapshot of another writer may hide our entry: then only the whole chain tells.
            let result = match result {
                Ok(entries)
                    if entries.first().is_none_or(|first| first.seq <= head.seq.saturating_add(1)) =>
                {
                    Ok((books::fold(&entries), has(&entries, id)))
                }
                Ok(entries) => shared
                    .load(&account, Reach::Genesis)
                    .await
                    .map(|all| (books::fold(&entries), has(&all, id))),
                Err(cause) => Err(cause),
            };
            let reconciled = result.and_then(|(folded, is_written)| {
                folded.map(|folded| Box::new(Reconciliation { folded, is_written }))
            });
            drop(myself.cast(Message::Reconciled(id, reconciled)));
        });
    }

    pub(super) fn reconciled(&mut self, id: EntryId, result: Result<Box<Reconciliation>, NotFolded>) {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) else { return };
        let later = std::mem::take(&mut self.next);
        match result {
            Ok(reconciliation) => {
                let Reconciliation { folded, is_written } = *reconciliation;
                self.take(folded);
                let mut unanswered = Batch::default();
                if is_written {
                    self.conflicts = 0;
                    let took = micros(clock::instant().duration_since(in_flight.since));
                    self.release(in_flight.batch, took);
                } else {
                    self.conflicts = self.conflicts.saturating_add(1);
                    unanswered.extend(in_flight.batch);
                }
                unanswered.extend(later);
                if self.conflicts > CONFLICT_ROUNDS_MAX {
                    self.conflicts = 0;
                    self.give_up(unanswered, Cause::Journal);
                } else {
                    let known = self.without_evicted(unanswered);
                    self.decide_again(known);
                }
            }
            Err(cause) => {
                tracing::error!(account = %self.account, %cause, "the card cannot be reloaded from the journal");
                self.give_up(in_flight.batch, Cause::Journal);
                self.give_up(later, Cause::Journal);
                self.reload();
            }
        }
    }

    /// What of a batch can be done on ledgers that were read anew. Another writer may have changed and evicted what came back
    /// here: what speaks of that is turned away, and comes again.
    fn without_evicted(&mut self, batch: Batch) -> Batch {
        let mut known = Batch::default();
        for (event, replies) in batch.into_events() {
            if matches!(event, Event::Recalled(_)) {
                continue;
            }
            if self.card.evicted_of_event(&event).is_empty() {
                let place = known.events.len();
                known.push(event, None);
                for reply in replies {
                    known.join(place, reply);
                }
            } else {
                self.gone_elsewhere(event, replies);
            }
        }
        known
    }

    /// Decides unanswered questions on the new state, in the order they arrived; facts stay what they are. Questions
    /// whose callers have all stopped waiting are not decided any more.
    pub(super) fn decide_again(&mut self, batch: Batch) {
        let now = clock::instant();
        for (event, replies) in batch.into_events() {
            if self.card.joined.is_some() {
                self.gone_elsewhere(event, replies);
                continue;
            }
            if matches!(event, Event::Decided(_)) && !replies.iter().any(|reply| reply.is_waited_for(now)) {
                for reply in replies {
                    reply.give_up(Cause::Deadline);
                }
                continue;
            }
            let event = match event {
                Event::Decided(decided) => match self.decided_again(*decided) {
                    Ok(event) => event,
                    Err(Some(answer)) => {
                        for reply in replies {
                            reply.tell(answer.clone());
                        }
                        continue;
                    }
                    Err(None) => {
                        for reply in replies {
                            reply.give_up(Cause::Journal);
                        }
                        continue;
                    }
                },
                fact @ (Event::StoodIn(_) | Event::Observed(_) | Event::Recalled(_)) => fact,
                // Another node may have carried some of it over meanwhile: the other card tries again.
                Event::Carried(_) => {
                    for reply in replies {
                        reply.give_up(Cause::Journal);
                    }
                    continue;
                }
                // Another node may have booked purchases here meanwhile.
                Event::Joined(joined) => Event::Joined(self.step_to(joined.card)),
                // Controls go before the decision on a request that carries them.
                Event::Controls(_) | Event::Policy(_) | Event::Snapshot(_) => continue,
            };
            let outcome = decided_in(&event).map(|decided| decided.decision.outcome);
            let place = self.record(event, None);
            for reply in replies {
                if let Some(outcome) = outcome {
                    reply.note(outcome);
                }
                self.next.join(place, reply);
            }
        }
    }

    /// A new decision; or the answer that another node has given; or nothing, where the policy's windows need the
    /// whole history first.
    pub(super) fn decided_again(&mut self, decided: Decided) -> Result<Event, Option<Answer>> {
        let Decided { request, decision: before } = decided;
        if let Some(answered) = self.card.answer_to(&request) {
            return Err(Some(answered.answer.clone()));
        }
        let policy = self.policy_for(&request).map_err(|_| None)?;
        let mut decision = self.shared.addressed(decide(&self.card, &policy, &request), &request);
        decision.stages = before.stages;
        Ok(Event::Decided(Box::new(Decided { request, decision })))
    }
}

fn has(entries: &[Entry], id: EntryId) -> bool {
    entries.iter().any(|entry| entry.id == id)
}
