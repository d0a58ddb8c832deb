//! The actor of one card. It decides on its tentative state, hands the append to the committer and goes on; replies
//! leave when their own entry is durable. It never waits for I/O: what it has asked for comes back as a message.

mod append;
mod booking;
mod joining;
mod leaving;
mod owed;
mod reading;
mod standing;

use std::sync::Arc;

use self::reading::Reconciliation;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::{
    Arrival, Cause, NotBooked,
    batch::{Batch, Reply, is_for_a_peer},
    books::{Folded, NotFolded},
    directory::Shared,
    lease::Lease,
    micros,
    places::Backlog,
};
use crate::{
    clock::{self, Instant},
    domain::{
        Account, Answer, AuthorizationRequest, Card, CardId, CardPolicy, Controls, Decided, Event, Mention,
        NeedsHistory, Observation, Policy, Recalled, Source, Stages, windows_in_force,
    },
    journal::{self, EntryId, Head, Ticket, Urgency},
    metrics::{Passivation, Shed, Stage},
};

/// What a card actor is told.
pub(super) enum Message {
    /// Decide this.
    Ask(Box<Ask>),
    /// Book what Stripe says.
    Book(Box<Book>),
    /// An answer was given without the books.
    StoodIn(Box<StoodIn>),
    /// Book what was booked on a card that has joined these books.
    Carry(Box<Carry>),
    /// The books that this card has joined have taken over what was booked here, or not yet.
    CarriedOver(Result<(), NotFolded>),
    /// The journal was read.
    Loaded(Result<Box<Folded>, NotFolded>),
    /// The journal was asked for an authorization that the books had let go.
    Found(Box<Work>, Result<(u64, Box<Recalled>), NotFolded>),
    /// The append of this id has come to an end.
    Committed(EntryId, journal::Outcome),
    /// The journal was read again, after the append of this id lost its place.
    Reconciled(EntryId, Result<Box<Reconciliation>, NotFolded>),
    /// Leave the books to the directory, and end, if there is nothing to do.
    Rest,
    /// Try again to book what is owed.
    BookOwed,
    /// Leave memory, if there is nothing to do.
    Passivate(Passivation),
}

/// A question on its way.
pub(super) struct Ask {
    pub(super) request: Arc<AuthorizationRequest>,
    pub(super) arrival: Arrival,
    pub(super) route_us: u32,
    pub(super) queued_at: Instant,
    pub(super) hops: Hops,
    pub(super) reply: Reply,
}

/// An observation on its way.
pub(super) struct Book {
    pub(super) observation: Observation,
    pub(super) hops: Hops,
    pub(super) reply: oneshot::Sender<Result<(), NotBooked>>,
}

/// An answer without the books, on its way into them.
pub(super) struct StoodIn {
    pub(super) decided: Decided,
    pub(super) hops: Hops,
    /// Its place among those that are on their way; none for an answer that takes the place of a decision.
    pub(super) backlog: Option<Backlog>,
}

/// What was booked on a card that has joined these books, on its way into them.
pub(super) struct Carry {
    pub(super) from: CardId,
    /// The events of each entry, by its place in the chain that they come from.
    pub(super) entries: Vec<(u64, Vec<Event>)>,
    pub(super) hops: Hops,
    pub(super) reply: oneshot::Sender<Result<(), NotBooked>>,
}

/// How a message was handed on from card to card.
#[derive(Clone, Default)]
pub(super) struct Hops {
    pub(super) count: u8,
    /// The smallest of the cards that handed it on.
    pub(super) least: Option<Account>,
}

/// What may have to wait for a look into the journal.
pub(super) enum Work {
    Ask(Box<Ask>),
    Book(Box<Book>),
    StoodIn(Box<StoodIn>),
    Carry(Box<Carry>),
}

impl From<Work> for Message {
    fn from(work: Work) -> Self {
        match work {
            Work::Ask(ask) => Self::Ask(ask),
            Work::Book(book) => Self::Book(book),
            Work::StoodIn(stood_in) => Self::StoodIn(stood_in),
            Work::Carry(carry) => Self::Carry(carry),
        }
    }
}

/// What an actor is made of.
pub(super) struct Arguments {
    pub(super) account: Account,
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Lease,
    /// The books, where they are in memory already.
    pub(super) folded: Option<Box<Folded>>,
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
        let Arguments { account, shared, lease, folded } = arguments;
        let mut desk = Desk {
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
            owed: Batch::default(),
            lookups: 0,
            changes: 0,
            joining: None,
            needs_history: false,
            conflicts: 0,
            entries_since_snapshot: 0,
            events_since_snapshot: 0,
            snapshot_size: 0,
            leaving: None,
            woken: Some(clock::instant()),
        };
        if let Some(folded) = folded {
            desk.woken = None;
            desk.phase = Phase::Ready;
            desk.take(*folded);
        } else {
            desk.load();
        }
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
    /// Books may be those of several cards, each with a policy of its own.
    card: Option<CardId>,
    group: Option<Arc<str>>,
    policy: Arc<CardPolicy>,
    mirrored: Option<Arc<Controls>>,
}

/// For each slot in its queue a card may have so many events that are decided and not durable yet.
const PENDING_PER_SLOT: usize = 16;
/// It may have so many at least: what rides in one append must not depend on how few requests may wait for the card.
const PENDING_LEAST: usize = 1_024;

/// An append that the committer has.
struct InFlight {
    id: EntryId,
    batch: Batch,
    urgency: Urgency,
    /// None if the committer gave it back at once.
    ticket: Option<Ticket>,
    has_snapshot: bool,
    /// Entries and events since the last snapshot, without it.
    since_snapshot: (usize, usize),
    /// Authorizations in it.
    snapshot_size: usize,
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
    /// Answers given without the books that the journal did not take; part of the tentative state.
    owed: Batch,
    /// Work that waits for a look into the journal.
    lookups: usize,
    /// Counts when records come back, are evicted, or are read anew: what the journal said before is out of date then.
    changes: u64,
    /// Work that waits until the books that this card joins may have it.
    joining: Option<Vec<Message>>,
    /// A window of the policy reaches back further than the books: fold the whole history before going on.
    needs_history: bool,
    /// Places lost in a row.
    conflicts: u32,
    entries_since_snapshot: usize,
    events_since_snapshot: usize,
    /// Authorizations in the last snapshot.
    snapshot_size: usize,
    /// Why the card is about to leave memory.
    leaving: Option<Passivation>,
    /// Since when it is being activated.
    woken: Option<Instant>,
}

impl Desk {
    fn handle(&mut self, message: Message) {
        if self.lease.is_given_up() {
            // Whatever was asked of the card is asked of the next actor: this one has been told to go more than once.
            return;
        }
        match (message, &mut self.phase) {
            (
                work @ (Message::Ask(_) | Message::Book(_) | Message::StoodIn(_) | Message::Carry(_)),
                Phase::Loading(waiting),
            ) => waiting.push(work),
            (
                work @ (Message::Ask(_) | Message::Book(_) | Message::StoodIn(_) | Message::Carry(_)),
                Phase::Unread,
            ) => {
                self.phase = Phase::Loading(vec![work]);
                self.load();
            }
            (
                work @ (Message::Ask(_) | Message::Book(_) | Message::StoodIn(_) | Message::Carry(_)),
                Phase::Ready,
            ) => self.work(work),
            (Message::CarriedOver(result), _) => self.carried_over(result),
            (Message::BookOwed, _) => self.book_owed(),
            (Message::Loaded(result), _) => self.loaded(result),
            (Message::Found(work, result), _) => self.found(*work, result),
            (Message::Committed(id, outcome), _) => self.committed(id, outcome),
            (Message::Reconciled(id, result), _) => self.reconciled(id, result),
            (Message::Rest, _) => self.rest(),
            (Message::Passivate(cause), _) => self.passivate(cause),
        }
        if !self.lease.is_given_up() {
            self.lease.count_holds(self.card.authorizations.open());
            self.dispatch();
        }
    }

    /// Does what is asked for here, and hands on what is not.
    fn work(&mut self, mut message: Message) {
        if let Message::Ask(ask) = &mut message {
            self.complete(ask);
        }
        match self.kept(message) {
            Some(Message::Ask(ask)) => self.ask(ask, Looked::Not),
            Some(Message::Book(book)) => self.book(book, Looked::Not),
            Some(Message::StoodIn(stood_in)) => self.stood_in(stood_in, Looked::Not),
            Some(Message::Carry(carry)) => self.carry(*carry, Looked::Not),
            _ => {}
        }
    }

    fn ask(&mut self, ask: Box<Ask>, looked: Looked) {
        self.lease.leave_queue();
        self.leaving = None;
        let started = clock::instant();
        if !ask.reply.is_waited_for(started) {
            return ask.reply.give_up(Cause::Deadline);
        }
        if !self.is_of_account(ask.request.connected_account.as_ref()) {
            return self.ask_elsewhere(ask);
        }
        if let Some(answered) = self.card.answer_to(&ask.request) {
            if looked == Looked::Not && self.may_be_voided_elsewhere(&ask.request) {
                let id = Mention::from(&ask.request.authorization);
                return self.look_up(Work::Ask(ask), vec![id]);
            }
            self.shared.metrics.decisions.repeats.increment(1);
            let answer = answered.answer.clone();
            return self.repeat(answer, *ask);
        }
        if looked == Looked::Not {
            let evicted = self.card.evicted_of_request(&ask.request);
            if !evicted.is_empty() {
                return self.look_up(Work::Ask(ask), evicted);
            }
        }
        if !self.has_room() {
            return ask.reply.give_up(Cause::Overload);
        }
        // What is in doubt stays so until the database is back: nothing that stands behind it is answered before.
        if self.in_flight.is_some() && self.shared.journal.is_in_trouble() {
            return ask.reply.give_up(Cause::Journal);
        }
        let Ok(policy) = self.policy_for(&ask.request) else {
            return self.wait_for_history(Message::Ask(ask));
        };
        let Ask { request, arrival, route_us, queued_at, reply, .. } = *ask;
        let mut decision = self.shared.decide(&self.card, &policy, &request);
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
        self.record(Event::Decided(Box::new(Decided { request, decision })), Some(reply));
    }

    /// Whether another node may have stood in for an answer that these books have: nothing is appended for a repeated
    /// question, so that nothing else would tell. What is still on its way from here will be told.
    fn may_be_voided_elsewhere(&self, request: &AuthorizationRequest) -> bool {
        self.shared.settings.is_journal_shared && self.unreleased(request).is_none()
    }

    /// Where the answer to the same question is, if it is on its way to being durable.
    fn unreleased(&self, request: &AuthorizationRequest) -> Option<(&Batch, usize)> {
        let in_flight = self.in_flight.as_ref().map(|in_flight| &in_flight.batch);
        let mut batches = in_flight.into_iter().chain([&self.next]);
        batches.find_map(|batch| Some((batch, batch.place_of(request)?)))
    }

    /// Answers a question that was answered before: at once if that answer is durable, else together with it.
    fn repeat(&mut self, answer: Answer, ask: Ask) {
        let Ask { request, reply, .. } = ask;
        if answer.source == Source::StandIn {
            // It left without being durable the first time.
            return reply.tell(answer);
        }
        let in_flight = self.in_flight.as_mut().map(|in_flight| &mut in_flight.batch);
        for batch in in_flight.into_iter().chain([&mut self.next]) {
            if let Some(place) = batch.place_of(&request) {
                reply.note(answer.outcome);
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
            && known.group == request.group
            && known.card == request.card
            && known.mirrored == request.stripe_controls
        {
            return Ok(Arc::clone(&known.policy));
        }
        let policy = source.for_card(request.card.as_ref(), request.group.as_deref());
        let windows = windows_in_force(&policy, request.stripe_controls.as_deref());
        self.card.adopt(windows, policy.refunds_restore, request.received_at)?;
        self.policy = Some(InForce {
            source,
            card: request.card.clone(),
            group: request.group.clone(),
            policy: Arc::clone(&policy),
            mirrored: request.stripe_controls.clone(),
        });
        Ok(policy)
    }

    /// Books an answer that was given without the books, unless the books have given theirs.
    fn stood_in(&mut self, stood_in: Box<StoodIn>, looked: Looked) {
        self.lease.leave_queue();
        self.leaving = None;
        let request = &stood_in.decided.request;
        let elsewhere = Account::from(&request.authorization);
        if !self.card.is_of(request.connected_account.as_ref()) {
            self.lease.join_queue();
            return self.hand_on(Message::StoodIn(stood_in), &elsewhere);
        }
        if looked == Looked::Not {
            let evicted = self.card.evicted_of_request(request);
            if !evicted.is_empty() {
                return self.look_up(Work::StoodIn(stood_in), evicted);
            }
        }
        let is_ours_to_tell =
            self.unreleased(request).is_some_and(|(batch, place)| !is_for_a_peer(&batch.waiting, place));
        // Made for this very request by another node, whose answer never got here. One that was made for another
        // delivery of the question is told by whoever was asked that.
        let is_free = self.card.answer_to(request).is_none_or(|answered| {
            let is_lost =
                self.shared.settings.is_journal_shared && answered.received_at == request.received_at;
            answered.answer.source != Source::StandIn && (is_ours_to_tell || is_lost)
        });
        if is_free {
            let StoodIn { decided, backlog, .. } = *stood_in;
            self.shared.unconfirmed.answered(&decided);
            self.record(Event::StoodIn(Box::new(decided)), backlog.map(Reply::StoodIn));
        }
    }

    /// Whether one more may be decided before what was decided is durable.
    fn has_room(&self) -> bool {
        let per_slot = self.shared.settings.card_queue_max.saturating_mul(PENDING_PER_SLOT);
        let pending_max = per_slot.max(PENDING_LEAST);
        let has_room = self.next.events.len() < pending_max;
        if !has_room {
            self.shared.metrics.decisions.shed.get(Shed::CardPending).increment(1);
        }
        has_room
    }
}

/// Whether the journal has been asked for what may have been evicted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    Not,
    Up,
}

fn seconds(micros: u32) -> f64 {
    f64::from(micros) / 1_000_000.0
}
