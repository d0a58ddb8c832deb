//! What is decided and not yet durable: the events of one append, with those who wait for them.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::{member::Slot, message::Caller, undo::Undo};
use crate::{
    clock::Instant,
    domain::{AuthorizationRequest, BudgetEvent, Decided, Event, Outcome},
    journal::Urgency,
};

/// Events that are written together, in order; most often one that one waits for.
pub(super) struct Batch<C> {
    pub(super) events: SmallVec<[(Slot, Event); 1]>,
    /// Those who may be told only when an event is durable, by its place.
    waiting: SmallVec<[(usize, Waiting<C>); 1]>,
    /// How to take them back, as long as they are not written.
    pub(super) undo: Undo,
}

/// Those who wait for one event.
pub type Waiters<C> = SmallVec<[Waiting<C>; 1]>;

/// The places of an account's events.
pub(super) type Places = SmallVec<[usize; 2]>;

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
        Self { events: SmallVec::new(), waiting: SmallVec::new(), undo: Undo::default() }
    }
}

impl<C> Batch<C> {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds an event, and whoever waits for it. Returns its place.
    pub(super) fn push(&mut self, at: Slot, event: Event, waiting: Option<Waiting<C>>) -> usize {
        let place = self.events.len();
        self.events.push((at, event));
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
        if self.events.iter().any(|(_, event)| matches!(event, Event::Joined(_))) {
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
        events.any(|(place, (_, event))| matches!(event, Event::Decided(_)) && !is_alive(place))
    }

    /// Where the answer to the same request is, if it is in this batch.
    pub(super) fn place_of(&self, at: Slot, request: &AuthorizationRequest) -> Option<usize> {
        self.events.iter().position(|(of, event)| {
            *of == at && decided_in(event).is_some_and(|decided| is_same(decided, request))
        })
    }

    /// Where the command of this id is, if it is in this batch.
    pub(super) fn place_of_command(&self, at: Slot, id: &str) -> Option<usize> {
        let mut events = self.events.iter();
        events.position(|(of, event)| *of == at && event.command().is_some_and(|command| *command.id == *id))
    }

    /// The places of the events of each account, in the order of accounts.
    pub(super) fn places(&self) -> SmallVec<[(Slot, Places); 1]> {
        let mut places: SmallVec<[(Slot, Places); 1]> = SmallVec::new();
        for (place, (at, _)) in self.events.iter().enumerate() {
            match places.binary_search_by_key(at, |(at, _)| *at) {
                Ok(known) => {
                    if let Some((_, known)) = places.get_mut(known) {
                        known.push(place);
                    }
                }
                Err(new) => places.insert(new, (*at, SmallVec::from_elem(place, 1))),
            }
        }
        places
    }

    /// Where there are several accounts, writes into each decision, each command and each leg the place of its cause, so that they can be
    /// brought into order again.
    pub(super) fn number(&mut self) {
        let first = self.events.first().map(|(at, _)| *at);
        if self.events.iter().all(|(at, _)| Some(*at) == first) {
            return;
        }
        let mut cause = 0;
        for (place, (_, event)) in (0_u32..).zip(&mut self.events) {
            match event {
                Event::Budget(event) => match &mut **event {
                    BudgetEvent::Leg(leg) => leg.turn = cause,
                    BudgetEvent::Command(command) => {
                        cause = place;
                        command.turn = place;
                    }
                    BudgetEvent::Warned(_) => {}
                    BudgetEvent::Snapshot(_) => cause = place,
                },
                Event::Decided(decided) => {
                    cause = place;
                    decided.decision.turn = place;
                }
                _ => cause = place,
            }
        }
    }

    /// Takes the events of an account out, each with those who wait for it.
    pub(super) fn take_out(&mut self, at: Slot) -> Vec<(Event, Waiters<C>)> {
        let mut taken = Vec::new();
        for (of, event, waiting) in std::mem::take(self).into_events() {
            if of == at {
                taken.push((event, waiting));
            } else {
                let place = self.push(of, event, None);
                for waiting in waiting {
                    self.join(place, waiting);
                }
            }
        }
        taken
    }

    /// Takes events out that nobody waits for.
    pub(super) fn remove(&mut self, is_removed: impl Fn(&Event) -> bool) {
        let mut place = 0;
        while let Some((_, event)) = self.events.get(place) {
            if !is_removed(event) {
                place = place.saturating_add(1);
                continue;
            }
            self.events.remove(place);
            for (of, _) in &mut self.waiting {
                if *of > place {
                    *of = of.saturating_sub(1);
                }
            }
        }
    }

    /// The accounts with events in it.
    pub(super) fn slots(&self) -> BTreeSet<Slot> {
        self.events.iter().map(|(at, _)| *at).collect()
    }

    /// Lets another wait for the event at `place`.
    pub(super) fn join(&mut self, place: usize, waiting: Waiting<C>) {
        self.waiting.push((place, waiting));
    }

    fn waiting_for(&self, place: usize) -> impl Iterator<Item = &Waiting<C>> {
        self.waiting.iter().filter(move |(event, _)| *event == place).map(|(_, waiting)| waiting)
    }

    /// The events in order, each with its account and those who wait for it.
    pub(super) fn into_events(self) -> impl Iterator<Item = (Slot, Event, Waiters<C>)> {
        let mut waiting = self.waiting;
        // In order of their events, and of their coming.
        waiting.sort_by_key(|(place, _)| *place);
        let mut waiting = waiting.into_iter().peekable();
        self.events.into_iter().enumerate().map(move |(place, (at, event))| {
            let mut of_event = Waiters::new();
            while let Some((_, one)) = waiting.next_if(|(event, _)| *event == place) {
                of_event.push(one);
            }
            (at, event, of_event)
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
        | Event::Charges(_)
        | Event::Command(_)
        | Event::Budget(_)
        | Event::Policy(_)
        | Event::Delivered(_)
        | Event::Snapshot(_) => None,
    }
}

fn is_same(decided: &Decided, request: &AuthorizationRequest) -> bool {
    let known = &decided.request;
    known.authorization == request.authorization
        && (known.question() == request.question() || known.event == request.event)
}
