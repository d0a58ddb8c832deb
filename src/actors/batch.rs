//! What a card has decided and not yet seen durable: the events of one append, with those who wait for them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::oneshot;

use super::{Cause, NotBooked, TimedAnswer, places::Backlog, undo::Undo};
use crate::{
    clock::Instant,
    domain::{Answer, AuthorizationRequest, Decided, Event, Outcome},
    journal::Urgency,
};

/// Events that go down together, in order.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    pub(super) waiting: Vec<Waiting>,
    /// How to take them back, as long as they are not written.
    pub(super) undo: Undo,
}

/// Somebody who may be told only when an event is durable.
pub(super) struct Waiting {
    /// Which event of the batch.
    pub(super) event: usize,
    pub(super) reply: Reply,
}

/// How they are told.
pub(super) enum Reply {
    Answer(Caller),
    /// Another node, for the sake of a caller of its own. What it answers without us it books itself.
    Peer(Caller),
    Booked(oneshot::Sender<Result<(), NotBooked>>),
    /// Stripe has its answer; the place among those that are not in the books yet is free when this goes.
    StoodIn(Backlog),
}

/// One that waits for an answer.
pub(super) struct Caller {
    pub(super) reply: oneshot::Sender<Result<Released, Cause>>,
    /// Until when.
    pub(super) deadline: Instant,
    /// Whether it was declined in memory, for a stand-in that might approve it.
    pub(super) is_declined: Option<Arc<AtomicBool>>,
}

/// What an asker is let go with.
pub(super) enum Released {
    Now(TimedAnswer),
    /// With others of the same question: the answer comes here, whatever the time, as soon as none of them can leave.
    Soon(oneshot::Receiver<TimedAnswer>),
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds an event, and whoever waits for it.
    pub(super) fn push(&mut self, event: Event, reply: Option<Reply>) {
        let place = self.events.len();
        self.events.push(event);
        self.waiting.extend(reply.map(|reply| Waiting { event: place, reply }));
    }

    /// How soon this has to be durable: by the latest deadline of its callers, unless facts wait for it as well.
    pub(super) fn urgency(&self) -> Urgency {
        let mut latest = None;
        for waiting in &self.waiting {
            match &waiting.reply {
                Reply::Booked(_) => return Urgency::Now,
                Reply::Answer(caller) | Reply::Peer(caller) => latest = latest.max(Some(caller.deadline)),
                Reply::StoodIn(_) => {}
            }
        }
        // Work waits until the way to other books is durable.
        if self.events.iter().any(|event| matches!(event, Event::Joined(_))) {
            return Urgency::Now;
        }
        latest.map_or(Urgency::Later, Urgency::By)
    }

    /// Whether a decision is in it whose callers have all stopped waiting by the time `now`.
    pub(super) fn has_dead(&self, now: Instant) -> bool {
        // Nearly always all of them wait.
        if self.waiting.iter().all(|waiting| waiting.reply.is_waited_for(now)) {
            return false;
        }
        let is_alive = |place: usize| {
            let mut callers = self.waiting.iter().filter(|waiting| waiting.event == place);
            callers.any(|waiting| waiting.reply.is_waited_for(now))
        };
        let mut events = self.events.iter().enumerate();
        events.any(|(place, event)| matches!(event, Event::Decided(_)) && !is_alive(place))
    }

    /// Where the answer to the same question is, if it is in this batch.
    pub(super) fn place_of(&self, request: &AuthorizationRequest) -> Option<usize> {
        self.events
            .iter()
            .position(|event| decided_in(event).is_some_and(|decided| is_same(decided, request)))
    }

    /// Lets another wait for the event at `place`.
    pub(super) fn join(&mut self, place: usize, reply: Reply) {
        self.waiting.push(Waiting { event: place, reply });
    }

    /// The events in order, each with those who wait for it.
    pub(super) fn into_events(self) -> impl Iterator<Item = (Event, Vec<Reply>)> {
        let mut replies: Vec<Vec<Reply>> = Vec::with_capacity(self.events.len());
        replies.resize_with(self.events.len(), Vec::new);
        for waiting in self.waiting {
            if let Some(place) = replies.get_mut(waiting.event) {
                place.push(waiting.reply);
            }
        }
        self.events.into_iter().zip(replies)
    }

    /// Adds all of `later` behind this.
    pub(super) fn extend(&mut self, later: Self) {
        if self.is_empty() {
            *self = later;
            return;
        }
        let offset = self.events.len();
        self.undo.extend(later.undo);
        self.events.extend(later.events);
        self.waiting.extend(
            later
                .waiting
                .into_iter()
                .map(|waiting| Waiting { event: waiting.event.saturating_add(offset), reply: waiting.reply }),
        );
    }

    /// Tells everyone that nothing of this was booked. What is left are the answers that were given without the books.
    pub(super) fn give_up(self, cause: Cause) -> Self {
        let mut left = Self::default();
        let mut places = Vec::with_capacity(self.events.len());
        for event in self.events {
            let is_left = matches!(event, Event::StoodIn(_));
            places.push(is_left.then_some(left.events.len()));
            left.events.extend(is_left.then_some(event));
        }
        for waiting in self.waiting {
            match (waiting.reply, places.get(waiting.event).copied().flatten()) {
                (reply @ Reply::StoodIn(_), Some(event)) => left.waiting.push(Waiting { event, reply }),
                (reply, _) => reply.give_up(cause),
            }
        }
        left
    }
}

impl Reply {
    /// Whether anybody still waits for it at the time `now`.
    pub(super) fn is_waited_for(&self, now: Instant) -> bool {
        match self {
            Self::Answer(caller) | Self::Peer(caller) => !caller.reply.is_closed() && now < caller.deadline,
            Self::Booked(reply) => !reply.is_closed(),
            Self::StoodIn(_) => true,
        }
    }

    /// Lets a stand-in know what was decided in memory.
    pub(super) fn note(&self, outcome: Outcome) {
        if let Self::Answer(Caller { is_declined: Some(is_declined), .. }) = self {
            is_declined.store(outcome == Outcome::Declined, Ordering::Release);
        }
    }

    /// Gives an answer that is durable already.
    pub(super) fn tell(self, answer: Answer) {
        match self {
            Self::Answer(caller) | Self::Peer(caller) => {
                drop(caller.reply.send(Ok(Released::Now(answer.into()))));
            }
            Self::Booked(reply) => drop(reply.send(Ok(()))),
            Self::StoodIn(place) => drop(place),
        }
    }

    pub(super) fn give_up(self, cause: Cause) {
        // Whoever has stopped waiting has answered for itself.
        match self {
            Self::Answer(caller) | Self::Peer(caller) => drop(caller.reply.send(Err(cause))),
            Self::Booked(reply) => drop(reply.send(Err(cause.into()))),
            Self::StoodIn(place) => drop(place),
        }
    }
}

/// Whether another node waits for the event at `place`: it may stop, and find it in the journal.
pub(super) fn is_for_a_peer(waiting: &[Waiting], place: usize) -> bool {
    waiting.iter().any(|waiting| waiting.event == place && matches!(waiting.reply, Reply::Peer(_)))
}

/// The question and answer in an event.
pub(super) fn decided_in(event: &Event) -> Option<&Decided> {
    match event {
        Event::Decided(decided) | Event::StoodIn(decided) => Some(decided),
        Event::Observed(_)
        | Event::Recalled(_)
        | Event::Joined(_)
        | Event::Carried(_)
        | Event::Controls(_)
        | Event::Policy(_)
        | Event::Snapshot(_) => None,
    }
}

fn is_same(decided: &Decided, request: &AuthorizationRequest) -> bool {
    let known = &decided.request;
    known.authorization == request.authorization
        && (known.question() == request.question() || known.event == request.event)
}
