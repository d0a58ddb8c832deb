//! What is decided and not yet durable: the events of one append, with those who wait for them.

use super::{message::Caller, undo::Undo};
use crate::{
    clock::Instant,
    domain::{AuthorizationRequest, Decided, Event, Outcome},
    journal::Urgency,
};

/// Events that are written together, in order.
pub(super) struct Batch<C> {
    pub(super) events: Vec<Event>,
    /// Those who may be told only when an event is durable, by its place.
    waiting: Vec<(usize, Waiting<C>)>,
    /// How to take them back, as long as they are not written.
    pub(super) undo: Undo,
}

/// One that waits, and for what.
pub enum Waiting<C> {
    /// For an answer.
    Answer {
        /// Who.
        caller: C,
        /// Until when: later it has the answer of the stand-in.
        deadline: Instant,
    },
    /// Until it is durable.
    Receipt(C),
    /// Stripe has its answer: this is dropped when it is durable.
    StandIn(C),
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Self { events: Vec::new(), waiting: Vec::new(), undo: Undo::default() }
    }
}

impl<C> Batch<C> {
    pub(super) const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds an event, and whoever waits for it. Returns its place.
    pub(super) fn push(&mut self, event: Event, waiting: Option<Waiting<C>>) -> usize {
        let place = self.events.len();
        self.events.push(event);
        self.waiting.extend(waiting.map(|waiting| (place, waiting)));
        place
    }

    /// How soon this has to be durable: by the latest deadline of its callers, unless facts wait for it as well.
    pub(super) fn urgency(&self) -> Urgency {
        let mut latest = None;
        for (_, waiting) in &self.waiting {
            match waiting {
                Waiting::Receipt(_) => return Urgency::Now,
                Waiting::Answer { deadline, .. } => latest = latest.max(Some(*deadline)),
                Waiting::StandIn(_) => {}
            }
        }
        // Work waits until the way to another chain is durable.
        if self.events.iter().any(|event| matches!(event, Event::Joined(_))) {
            return Urgency::Now;
        }
        latest.map_or(Urgency::Later, Urgency::By)
    }

    /// Whether a decision is in it whose callers have all stopped waiting by the time `now`.
    pub(super) fn has_dead(&self, now: Instant) -> bool {
        // Nearly always all of them wait.
        if self.waiting.iter().all(|(_, waiting)| waiting.is_waited_for(now)) {
            return false;
        }
        let is_alive = |place: usize| self.waiting_for(place).any(|waiting| waiting.is_waited_for(now));
        let mut events = self.events.iter().enumerate();
        events.any(|(place, event)| matches!(event, Event::Decided(_)) && !is_alive(place))
    }

    /// Where the answer to the same request is, if it is in this batch.
    pub(super) fn place_of(&self, request: &AuthorizationRequest) -> Option<usize> {
        self.events
            .iter()
            .position(|event| decided_in(event).is_some_and(|decided| is_same(decided, request)))
    }

    /// Lets another wait for the event at `place`.
    pub(super) fn join(&mut self, place: usize, waiting: Waiting<C>) {
        self.waiting.push((place, waiting));
    }

    fn waiting_for(&self, place: usize) -> impl Iterator<Item = &Waiting<C>> {
        self.waiting.iter().filter(move |(event, _)| *event == place).map(|(_, waiting)| waiting)
    }

    /// The events in order, each with those who wait for it.
    pub(super) fn into_events(self) -> impl Iterator<Item = (Event, Vec<Waiting<C>>)> {
        let mut waiting = self.waiting;
        // In order of their events, and of their coming.
        waiting.sort_by_key(|(place, _)| *place);
        let mut waiting = waiting.into_iter().peekable();
        self.events.into_iter().enumerate().map(move |(place, event)| {
            let mut of_event = Vec::new();
            while let Some((_, one)) = waiting.next_if(|(event, _)| *event == place) {
                of_event.push(one);
            }
            (event, of_event)
        })
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
        let moved = later.waiting.into_iter().map(|(place, waiting)| (place.saturating_add(offset), waiting));
        self.waiting.extend(moved);
    }
}

impl<C: Caller> Waiting<C> {
    /// Lets a caller know what was decided for it.
    pub(super) fn decided(&self, outcome: Outcome) {
        if let Self::Answer { caller, .. } = self {
            caller.decided(outcome);
        }
    }
}

impl<C> Waiting<C> {
    /// Whether anybody still waits at the time `now`.
    pub(super) fn is_waited_for(&self, now: Instant) -> bool {
        match self {
            Self::Answer { deadline, .. } => now < *deadline,
            Self::Receipt(_) | Self::StandIn(_) => true,
        }
    }
}

/// The request and the decision in an event.
#[must_use]
pub fn decided_in(event: &Event) -> Option<&Decided> {
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
