//! The actor of one card. It decides on its tentative state, hands the append to the committer and goes on; replies
//! leave when their own entry is durable. It never waits for I/O: what it has asked for comes back as a message.

use std::{collections::VecDeque, sync::Arc};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::{
    Arrival, Cause,
    batch::{Batch, Reply, decided_in},
    books::{self, Folded, NotFolded},
    directory::{Backlog, Lease, Shared},
    micros,
};
use crate::{
    clock::{self, Instant},
    domain::{
        Account, Answer, AuthorizationRequest, Card, CardPolicy, Controls, Decided, Event, Fact, NeedsHistory,
        Observation, Policy, Recalled, Source, Stages, Timestamp, decide, limits_in_force,
    },
    journal::{Append, Entry, EntryId, Head, Outcome, Reach, record},
    metrics::{JournalFailure, Stage},
};

/// A snapshot is due after so many entries, and no sooner than after as many events as it would repeat.
const SNAPSHOT_ENTRIES: usize = 64;
/// How often an append may lose its place before its requests are given up.
const CONFLICT_ROUNDS_MAX: u32 = 2;

/// What a card actor is told.
pub(super) enum Message {
    /// Decide this.
    Ask(Box<Ask>),
    /// Book what Stripe says.
    Book(Box<Book>),
    /// An answer was given without the books.
    StoodIn(Box<Decided>, Backlog),
    /// The journal was read.
    Loaded(Result<Box<Folded>, NotFolded>),
    /// The journal was asked for an authorization that the books had let go.
    Found(Box<Work>, Result<Option<Box<Recalled>>, NotFolded>),
    /// The append of this id has come to an end.
    Committed(EntryId, Outcome),
    /// The journal was read again, after the append of this id lost its place.
    Reconciled(EntryId, Result<Box<Reconciliation>, NotFolded>),
    /// Leave memory, if there is nothing to do.
    Passivate,
}

/// A question on its way.
pub(super) struct Ask {
    pub(super) request: Arc<AuthorizationRequest>,
    pub(super) arrival: Arrival,
    pub(super) route_us: u32,
    pub(super) queued_at: Instant,
    pub(super) reply: oneshot::Sender<Result<Answer, Cause>>,
}

/// An observation on its way.
pub(super) struct Book {
    pub(super) observation: Observation,
    pub(super) reply: oneshot::Sender<Result<(), Cause>>,
}

/// What may have to wait for a look into the journal.
pub(super) enum Work {
    Ask(Box<Ask>),
    Book(Box<Book>),
}

/// The books after a lost place, and whether the append was written after all.
pub(super) struct Reconciliation {
    folded: Folded,
    is_written: bool,
}

/// What an actor is made of.
pub(super) struct Arguments {
    pub(super) account: Account,
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Lease,
}

/// The actor. All that it knows is in its [`Desk`].
pub(super) struct CardActor;

impl Actor for CardActor {
    type Msg = Message;
    type State = Box<Desk>;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<Box<Desk>, ActorProcessingErr> {
        let Arguments { account, shared, lease } = arguments;
        let desk = Desk {
            myself,
            account,
            shared,
            lease,
            phase: Phase::Loading(Vec::new()),
            card: Card::default(),
            policy: None,
            head: Head::default(),
            in_flight: None,
            next: Batch::default(),
            lookups: 0,
            needs_history: false,
            conflicts: 0,
            entries_since_snapshot: 0,
            events_since_snapshot: 0,
            is_leaving: false,
        };
        desk.load();
        Ok(Box::new(desk))
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        desk: &mut Box<Desk>,
    ) -> Result<(), ActorProcessingErr> {
        desk.handle(message);
        Ok(())
    }
}

/// Whether the books are there.
enum Phase {
    /// They could not be read; the next piece of work tries again.
    Unread,
    /// They are being read; work waits here, in order.
    Loading(Vec<Message>),
    /// They are.
    Ready,
}

/// The policy as this card last saw it.
struct InForce {
    source: Arc<Policy>,
    policy: Arc<CardPolicy>,
    mirrored: Option<Arc<Controls>>,
}

/// An append that the committer has.
struct InFlight {
    id: EntryId,
    batch: Batch,
    has_snapshot: bool,
    since: Instant,
}

/// Everything that one card's actor knows.
pub(super) struct Desk {
    myself: ActorRef<Message>,
    account: Account,
    shared: Arc<Shared>,
    lease: Lease,
    phase: Phase,
    /// The tentative state: everything decided, durable or not.
    card: Card,
    policy: Option<InForce>,
    /// The last entry known to be durable.
    head: Head,
    in_flight: Option<InFlight>,
    next: Batch,
    /// Work that waits for a look into the journal.
    lookups: usize,
    /// A window of the policy reaches back further than the books: fold the whole history before going on.
    needs_history: bool,
    /// Places lost in a row.
    conflicts: u32,
    entries_since_snapshot: usize,
    events_since_snapshot: usize,
    is_leaving: bool,
}

impl Desk {
    fn handle(&mut self, message: Message) {
        match (message, &mut self.phase) {
            (work @ (Message::Ask(_) | Message::Book(_) | Message::StoodIn(..)), Phase::Loading(waiting)) => {
                waiting.push(work);
            }
            (work @ (Message::Ask(_) | Message::Book(_) | Message::StoodIn(..)), Phase::Unread) => {
                self.phase = Phase::Loading(vec![work]);
                self.load();
            }
            (Message::Ask(ask), Phase::Ready) => self.ask(ask, Looked::Not),
            (Message::Book(book), Phase::Ready) => self.book(book, Looked::Not),
            (Message::StoodIn(decided, _), Phase::Ready) => self.stood_in(decided),
            (Message::Loaded(result), _) => self.loaded(result),
            (Message::Found(work, result), _) => self.found(*work, result),
            (Message::Committed(id, outcome), _) => self.committed(id, outcome),
            (Message::Reconciled(id, result), _) => self.reconciled(id, result),
            (Message::Passivate, _) => self.passivate(),
        }
        self.dispatch();
    }

    // ---- questions

    fn ask(&mut self, ask: Box<Ask>, looked: Looked) {
        self.lease.leave_queue();
        self.is_leaving = false;
        let started = clock::instant();
        if ask.reply.is_closed() || started >= ask.arrival.deadline {
            return Reply::Answer(ask.reply).give_up(Cause::Deadline);
        }
        if let Some(answered) = self.card.answer_to(&ask.request) {
            self.shared.metrics.decisions.repeats.increment(1);
            let answer = answered.answer;
            return self.repeat(answer, *ask);
        }
        if looked == Looked::Not && self.card.may_have_forgotten(&ask.request.authorization, ask.request.created) {
            return self.look_up(Work::Ask(ask));
        }
        let Ok(policy) = self.policy_for(&ask.request) else {
            return self.wait_for_history(Message::Ask(ask));
        };
        let Ask { request, arrival, route_us, queued_at, reply } = *ask;
        let mut decision = decide(&self.card, &policy, &request);
        decision.stages = Stages {
            verify_us: arrival.verify_us,
            parse_us: arrival.parse_us,
            route_us,
            queue_us: micros(started.duration_since(queued_at)),
            decide_us: micros(clock::instant().duration_since(started)),
        };
        let stages = &self.shared.metrics.decisions.stages;
        stages.get(Stage::Route).record(seconds(route_us));
        stages.get(Stage::Queue).record(seconds(decision.stages.queue_us));
        stages.get(Stage::Decide).record(seconds(decision.stages.decide_us));
        self.record(Event::Decided(Box::new(Decided { request, decision })), Some(Reply::Answer(reply)));
    }

    /// Answers a question that was answered before: at once if that answer is durable, else together with it.
    fn repeat(&mut self, answer: Answer, ask: Ask) {
        let Ask { request, reply, .. } = ask;
        let reply = Reply::Answer(reply);
        let in_flight = self.in_flight.as_mut().map(|in_flight| &mut in_flight.batch);
        for batch in in_flight.into_iter().chain([&mut self.next]) {
            if let Some(place) = batch.place_of(&request) {
                return batch.join(place, reply);
            }
        }
        reply.tell(answer);
    }

    /// The policy for this request, with the sums of its windows in place.
    fn policy_for(&mut self, request: &AuthorizationRequest) -> Result<Arc<CardPolicy>, NeedsHistory> {
        let source = Arc::clone(&self.shared.policy.borrow());
        if let Some(known) = &self.policy
            && Arc::ptr_eq(&known.source, &source)
            && self.card.group == request.group
            && known.mirrored == request.stripe_controls
        {
            return Ok(Arc::clone(&known.policy));
        }
        let policy = source.for_card(request.card.as_ref(), request.group.as_deref());
        let windows = limits_in_force(&policy, request.stripe_controls.as_deref()).map(|limit| &limit.window);
        self.card.adopt(windows, policy.refunds_restore, request.received_at)?;
        self.policy =
            Some(InForce { source, policy: Arc::clone(&policy), mirrored: request.stripe_controls.clone() });
        Ok(policy)
    }

    // ---- what Stripe says, and what the stand-in said

    fn book(&mut self, book: Box<Book>, looked: Looked) {
        self.lease.leave_queue();
        self.is_leaving = false;
        let spoken_of = match &book.observation.fact {
            Fact::Authorization(seen) => Some((&seen.id, seen.created)),
            Fact::Transaction(seen) => seen.authorization.as_ref().map(|id| (id, Timestamp::MIN)),
            Fact::Card(_) | Fact::Other(_) => None,
        };
        if looked == Looked::Not
            && spoken_of.is_some_and(|(id, created)| self.card.may_have_forgotten(id, created))
        {
            return self.look_up(Work::Book(book));
        }
        let Book { observation, reply } = *book;
        self.record(Event::Observed(Box::new(observation)), Some(Reply::Booked(reply)));
    }

    /// Books an answer that was given without the books, unless the books have given theirs.
    fn stood_in(&mut self, decided: Box<Decided>) {
        self.lease.leave_queue();
        self.is_leaving = false;
        let request = &decided.request;
        let in_flight = self.in_flight.as_ref().map(|in_flight| &in_flight.batch);
        let is_unreleased =
            in_flight.into_iter().chain([&self.next]).any(|batch| batch.place_of(request).is_some());
        let is_free = match self.card.answer_to(request) {
            Some(answered) => answered.answer.source != Source::StandIn && is_unreleased,
            None => !self.card.may_have_forgotten(&request.authorization, request.created),
        };
        if is_free {
            self.record(Event::StoodIn(decided), None);
        }
    }

    /// Makes an event part of the tentative state and of the next append.
    fn record(&mut self, event: Event, reply: Option<Reply>) {
        self.card.apply(&event);
        self.next.push(event, reply);
    }

    // ---- the append

    /// Sends what has been decided meanwhile, if no append is in flight.
    fn dispatch(&mut self) {
        if self.in_flight.is_some() {
            return;
        }
        if self.next.is_empty() {
            return self.load_history_if_needed();
        }
        let mut batch = std::mem::take(&mut self.next);
        self.entries_since_snapshot = self.entries_since_snapshot.saturating_add(1);
        self.events_since_snapshot = self.events_since_snapshot.saturating_add(batch.events.len());
        let is_due = self.entries_since_snapshot >= SNAPSHOT_ENTRIES
            && self.events_since_snapshot >= self.card.authorizations.len();
        if is_due && !self.is_leaving {
            batch.push(self.snapshot(), None);
        }
        let has_snapshot = matches!(batch.events.last(), Some(Event::Snapshot(_)));
        let mut authorizations = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            authorizations.extend(record::authorization_of(event).cloned());
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
        if has_snapshot {
            batch.events.pop();
        }
        self.in_flight = Some(InFlight { id, batch, has_snapshot, since: clock::instant() });
        let myself = self.myself.clone();
        let done = move |outcome| {
            // An actor that is gone has nobody left to tell.
            drop(myself.cast(Message::Committed(id, outcome)));
        };
        self.shared.committer.submit(append, Box::new(done));
    }

    fn snapshot(&mut self) -> Event {
        self.card.forget(self.card.time);
        Event::Snapshot(Box::new(self.card.clone()))
    }

    fn committed(&mut self, id: EntryId, outcome: Outcome) {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) else { return };
        match outcome {
            Outcome::Durable { .. } => {
                self.head = Head { seq: self.head.seq.saturating_add(1), id };
                self.conflicts = 0;
                if in_flight.has_snapshot {
                    self.entries_since_snapshot = 0;
                    self.events_since_snapshot = 0;
                }
                let took = micros(clock::instant().duration_since(in_flight.since));
                self.shared.metrics.decisions.stages.get(Stage::Commit).record(seconds(took));
                self.release(in_flight.batch);
                if self.is_leaving {
                    self.leave();
                }
            }
            Outcome::Conflict | Outcome::Unknown => {
                self.shared.metrics.journal.conflicts.increment(1);
                self.in_flight = Some(in_flight);
                self.reconcile(id);
            }
            Outcome::Rejected => {
                self.shared.metrics.journal.errors.get(JournalFailure::Rejected).increment(1);
                in_flight.batch.give_up(Cause::Journal);
                std::mem::take(&mut self.next).give_up(Cause::Journal);
                self.reload();
            }
        }
    }

    /// Lets the replies out that waited for these events. A question whose every asker has been answered by the
    /// stand-in meanwhile is booked as that: Stripe has the stand-in's answer, so the books void ours.
    fn release(&mut self, batch: Batch) {
        let Batch { events, waiting } = batch;
        let mut told: Vec<Option<bool>> = vec![None; events.len()];
        for waiting in waiting {
            let is_told = match (waiting.reply, events.get(waiting.event).and_then(decided_in)) {
                (Reply::Answer(reply), Some(decided)) => {
                    let current = self.card.answer_to(&decided.request).map(|answered| answered.answer);
                    let own = || decided.decision.answer(decided.request.is_amount_controllable);
                    reply.send(Ok(current.unwrap_or_else(own))).is_ok()
                }
                (Reply::Booked(reply), _) => reply.send(Ok(())).is_ok(),
                (reply @ Reply::Answer(_), None) => {
                    reply.give_up(Cause::Journal);
                    false
                }
            };
            if let Some(place) = told.get_mut(waiting.event) {
                *place = Some(place.unwrap_or(false) || is_told);
            }
        }
        for (event, told) in events.into_iter().zip(told) {
            match (event, told) {
                (Event::Decided(decided), Some(false)) => self.void(decided.request),
                (Event::Decided(decided), _) => self.shared.told(&decided.decision),
                (Event::StoodIn(_) | Event::Observed(_) | Event::Recalled(_) | Event::Snapshot(_), _) => {}
            }
        }
    }

    /// Books the stand-in's answer in place of a decision that came too late.
    fn void(&mut self, request: Arc<AuthorizationRequest>) {
        let is_stood_in =
            self.card.answer_to(&request).is_some_and(|answered| answered.answer.source == Source::StandIn);
        if !is_stood_in {
            let decision = self.shared.settings.stand_in.decide(&request, Cause::Deadline);
            self.record(Event::StoodIn(Box::new(Decided { request, decision })), None);
        }
    }

    // ---- the journal is read

    /// Reads the books from the journal; work waits meanwhile.
    fn load(&self) {
        let (myself, shared, account) = (self.myself.clone(), Arc::clone(&self.shared), self.account.clone());
        tokio::spawn(async move {
            let loaded = shared.load(&account, Reach::Snapshot).await.and_then(|entries| books::fold(&entries));
            drop(myself.cast(Message::Loaded(loaded.map(Box::new))));
        });
    }

    fn reload(&mut self) {
        if matches!(self.phase, Phase::Ready) {
            self.phase = Phase::Loading(Vec::new());
            self.load();
        }
    }

    fn loaded(&mut self, result: Result<Box<Folded>, NotFolded>) {
        let waiting = match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Loading(waiting) => waiting,
            Phase::Ready | Phase::Unread => Vec::new(),
        };
        match result {
            Ok(folded) => {
                self.take(*folded);
                let mut waiting = VecDeque::from(waiting);
                while let Some(message) = waiting.pop_front() {
                    self.handle(message);
                    if let Phase::Loading(again) = &mut self.phase {
                        return again.extend(waiting);
                    }
                }
            }
            Err(cause) => {
                tracing::error!(account = %self.account, %cause, "the books of a card cannot be read");
                for message in waiting {
                    self.lease.leave_queue();
                    match message {
                        Message::Ask(ask) => Reply::Answer(ask.reply).give_up(Cause::Journal),
                        Message::Book(book) => Reply::Booked(book.reply).give_up(Cause::Journal),
                        Message::StoodIn(..)
                        | Message::Loaded(_)
                        | Message::Found(..)
                        | Message::Committed(..)
                        | Message::Reconciled(..)
                        | Message::Passivate => {}
                    }
                }
                self.lease.fail();
                self.phase = Phase::Unread;
                self.leave();
            }
        }
    }

    fn take(&mut self, folded: Folded) {
        let Folded { card, head, entries_since_snapshot, events_since_snapshot } = folded;
        (self.card, self.head) = (card, head);
        self.entries_since_snapshot = entries_since_snapshot;
        self.events_since_snapshot = events_since_snapshot;
        self.policy = None;
    }

    /// Puts off a question until the whole history has been folded.
    fn wait_for_history(&mut self, message: Message) {
        self.lease.join_queue();
        self.needs_history = true;
        self.phase = Phase::Loading(vec![message]);
    }

    fn load_history_if_needed(&mut self) {
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
            let windows = || {
                limits_in_force(&policy, request.stripe_controls.as_deref()).map(|limit| &limit.window)
            };
            let loaded = shared
                .load(&account, Reach::Genesis)
                .await
                .and_then(|entries| books::fold_history(&entries, windows(), policy.refunds_restore));
            drop(myself.cast(Message::Loaded(loaded.map(Box::new))));
        });
    }

    /// Asks the journal for an authorization that the books may have let go.
    fn look_up(&mut self, work: Work) {
        let id = match &work {
            Work::Ask(ask) => Some(ask.request.authorization.clone()),
            Work::Book(book) => match &book.observation.fact {
                Fact::Authorization(seen) => Some(seen.id.clone()),
                Fact::Transaction(seen) => seen.authorization.clone(),
                Fact::Card(_) | Fact::Other(_) => None,
            },
        };
        let Some(id) = id else { return };
        self.lease.join_queue();
        self.lookups = self.lookups.saturating_add(1);
        let (myself, shared) = (self.myself.clone(), Arc::clone(&self.shared));
        tokio::spawn(async move {
            let found = match shared.journal.find(&id).await {
                Ok(entries) => books::recall(&id, &entries),
                Err(unavailable) => Err(unavailable.into()),
            };
            drop(myself.cast(Message::Found(Box::new(work), found.map(|found| found.map(Box::new)))));
        });
    }

    fn found(&mut self, work: Work, result: Result<Option<Box<Recalled>>, NotFolded>) {
        self.lookups = self.lookups.saturating_sub(1);
        match result {
            Ok(recalled) => {
                if let Some(recalled) = recalled
                    && matches!(self.phase, Phase::Ready)
                    && !self.card.authorizations.contains_key(&recalled.id)
                {
                    self.record(Event::Recalled(recalled), None);
                }
                match (work, &mut self.phase) {
                    (Work::Ask(ask), Phase::Ready) => self.ask(ask, Looked::Up),
                    (Work::Book(book), Phase::Ready) => self.book(book, Looked::Up),
                    // The books are being read anew, and may know it then.
                    (Work::Ask(ask), _) => self.handle(Message::Ask(ask)),
                    (Work::Book(book), _) => self.handle(Message::Book(book)),
                }
            }
            Err(cause) => {
                tracing::error!(account = %self.account, %cause, "the journal cannot be asked for an authorization");
                self.lease.leave_queue();
                match work {
                    Work::Ask(ask) => Reply::Answer(ask.reply).give_up(Cause::Journal),
                    Work::Book(book) => Reply::Booked(book.reply).give_up(Cause::Journal),
                }
            }
        }
    }

    /// Another writer has come between: reads the chain again, and looks whether the append is in it after all.
    fn reconcile(&mut self, id: EntryId) {
        let (myself, shared, account) = (self.myself.clone(), Arc::clone(&self.shared), self.account.clone());
        let head = self.head;
        tokio::spawn(async move {
            let result = shared.load(&account, Reach::Snapshot).await;
            // A snapshot of another writer may hide our entry: then only the whole chain tells.
            let result = match result {
                Ok(entries) if entries.first().is_none_or(|first| first.seq <= head.seq.saturating_add(1)) => {
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

    fn reconciled(&mut self, id: EntryId, result: Result<Box<Reconciliation>, NotFolded>) {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.id == id) else { return };
        let later = std::mem::take(&mut self.next);
        match result {
            Ok(reconciliation) => {
                let Reconciliation { folded, is_written } = *reconciliation;
                self.take(folded);
                let mut unanswered = Batch::default();
                if is_written {
                    self.conflicts = 0;
                    self.release(in_flight.batch);
                } else {
                    self.conflicts = self.conflicts.saturating_add(1);
                    unanswered.extend(in_flight.batch);
                }
                unanswered.extend(later);
                if self.conflicts > CONFLICT_ROUNDS_MAX {
                    self.conflicts = 0;
                    unanswered.give_up(Cause::Journal);
                } else {
                    self.decide_again(unanswered);
                }
            }
            Err(cause) => {
                tracing::error!(account = %self.account, %cause, "the books of a card cannot be read again");
                in_flight.batch.give_up(Cause::Journal);
                later.give_up(Cause::Journal);
                self.reload();
            }
        }
    }

    /// Decides unanswered questions on the new state, in the order they arrived; facts stay what they are.
    fn decide_again(&mut self, batch: Batch) {
        let Batch { events, waiting } = batch;
        let mut replies: Vec<Vec<Reply>> = Vec::with_capacity(events.len());
        replies.resize_with(events.len(), Vec::new);
        for waiting in waiting {
            if let Some(place) = replies.get_mut(waiting.event) {
                place.push(waiting.reply);
            }
        }
        for (event, replies) in events.into_iter().zip(replies) {
            let event = match event {
                Event::Decided(decided) => match self.decided_again(*decided) {
                    Ok(event) => event,
                    Err(Some(answer)) => {
                        replies.into_iter().for_each(|reply| reply.tell(answer));
                        continue;
                    }
                    Err(None) => {
                        replies.into_iter().for_each(|reply| reply.give_up(Cause::Journal));
                        continue;
                    }
                },
                fact @ (Event::StoodIn(_) | Event::Observed(_) | Event::Recalled(_)) => fact,
                Event::Snapshot(_) => continue,
            };
            let place = self.next.events.len();
            self.record(event, None);
            replies.into_iter().for_each(|reply| self.next.join(place, reply));
        }
    }

    /// A new decision; or the answer that another node has given; or nothing, where the policy's windows need the
    /// whole history first.
    fn decided_again(&mut self, decided: Decided) -> Result<Event, Option<Answer>> {
        let Decided { request, decision: before } = decided;
        if let Some(answered) = self.card.answer_to(&request) {
            return Err(Some(answered.answer));
        }
        let policy = self.policy_for(&request).map_err(|_| None)?;
        let mut decision = decide(&self.card, &policy, &request);
        decision.stages = before.stages;
        Ok(Event::Decided(Box::new(Decided { request, decision })))
    }

    // ---- leaving

    /// Leaves memory if there is nothing to do, behind a snapshot if anything was written since the last.
    fn passivate(&mut self) {
        let is_busy = self.in_flight.is_some()
            || !self.next.is_empty()
            || self.lookups > 0
            || matches!(self.phase, Phase::Loading(_));
        if is_busy {
            return;
        }
        if self.entries_since_snapshot == 0 {
            return self.leave();
        }
        self.is_leaving = true;
        let snapshot = self.snapshot();
        self.next.push(snapshot, None);
    }

    /// Gives up the place in the directory, unless somebody is on the way here.
    fn leave(&mut self) {
        self.is_leaving = false;
        if self.next.is_empty() && self.lease.give_up() {
            drop(self.myself.drain());
        }
    }
}

/// Whether the journal has been asked for the authorization.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    Not,
    Up,
}

fn has(entries: &[Entry], id: EntryId) -> bool {
    entries.iter().any(|entry| entry.id == id)
}

fn seconds(micros: u32) -> f64 {
    f64::from(micros) / 1_000_000.0
}
