//! An append on its way, seen from its two ends: the committer, which lets the replies out when it is durable, and the
//! card's actor, which does that itself where something has happened to the card meanwhile. So a card that was asked
//! once is not woken a second time for its answer. What is decided, and what becomes of the books, is not here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use ractor::ActorRef;

use super::{
    Cause, TimedAnswer,
    batch::{Batch, Reply, Waiting, decided_in},
    card::Message,
    directory::Shared,
    micros,
};
use crate::{
    clock::{self, Instant},
    domain::{Answer, AuthorizationRequest, Decided, Event},
    journal::{EntryId, Outcome},
    metrics::Stage,
};

/// What the actor keeps of its append.
pub(super) struct InFlight {
    pub(super) id: EntryId,
    pub(super) sent: Arc<Sent>,
    /// Who has asked one of its questions again since, and, once the actor was told the outcome, all who wait.
    pub(super) waiting: Vec<Waiting>,
    pub(super) has_snapshot: bool,
    /// Authorizations in it.
    pub(super) snapshot_size: usize,
}

impl From<InFlight> for Batch {
    /// All of it again, for an append that was not written.
    fn from(in_flight: InFlight) -> Self {
        let events =
            Arc::try_unwrap(in_flight.sent).map_or_else(|sent| sent.events.clone(), |sent| sent.events);
        Self { events, waiting: in_flight.waiting }
    }
}

/// The events of an append, and who lets their replies out.
pub(super) struct Sent {
    pub(super) events: Vec<Event>,
    since: Instant,
    hands: AtomicU8,
}

/// The replies are the committer's to let out: nothing has come to the card since.
const COMMITTERS: u8 = 0;
/// The actor is told the outcome, and lets them out.
const ACTORS: u8 = 1;
/// The events are durable, and the committer is letting the replies out.
const LEAVING: u8 = 2;
/// So it is, and the actor is told when it has.
const AWAITED: u8 = 3;
/// The replies are out, and each was heard.
const GONE: u8 = 4;

/// Where the actor finds the replies of its append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claim {
    /// Its own to let out, when it is told the outcome.
    Granted,
    /// On their way out: it is told in a moment which of them nobody has heard, and does nothing before.
    Leaving,
    /// Out; the events are durable, and there is nothing to tell.
    Gone,
}

impl Sent {
    pub(super) fn new(events: Vec<Event>) -> Arc<Self> {
        Arc::new(Self { events, since: clock::instant(), hands: AtomicU8::new(COMMITTERS) })
    }

    /// From now on the actor is told what becomes of the append, if it is not over.
    pub(super) fn claim(&self) -> Claim {
        let claimed = self.hands.fetch_update(Ordering::AcqRel, Ordering::Acquire, |hands| match hands {
            COMMITTERS => Some(ACTORS),
            LEAVING => Some(AWAITED),
            _ => None,
        });
        match claimed {
            Ok(COMMITTERS) | Err(ACTORS) => Claim::Granted,
            Err(GONE) => Claim::Gone,
            Ok(_) | Err(_) => Claim::Leaving,
        }
    }

    /// How long it has been on its way, in microseconds.
    fn commit_us(&self) -> u32 {
        micros(clock::instant().saturating_duration_since(self.since))
    }

    /// Whether the replies went from one pair of hands to another.
    fn pass(&self, from: u8, to: u8) -> bool {
        self.hands.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// What the committer has of an append, besides what is written.
pub(super) struct Departure {
    pub(super) id: EntryId,
    pub(super) sent: Arc<Sent>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) actor: ActorRef<Message>,
    pub(super) shared: Arc<Shared>,
}

impl Departure {
    /// The append has come to an end. An actor that is gone has nobody left to tell.
    pub(super) fn end(self, outcome: Outcome) {
        let Self { id, sent, waiting, actor, shared } = self;
        if matches!(outcome, Outcome::Durable { .. }) && sent.pass(COMMITTERS, LEAVING) {
            let unheard = shared.release(&sent, waiting, |_| None);
            if unheard.is_empty() && sent.pass(LEAVING, GONE) {
                return;
            }
            drop(actor.cast(Message::Released(id, unheard)));
        } else {
            drop(sent);
            drop(actor.cast(Message::Committed(id, outcome, waiting)));
        }
    }
}

impl Shared {
    /// Lets the replies out of an append, which is durable: the answers of `current`, or else the decisions' own. Gives
    /// the questions whose every asker has been answered by the stand-in meanwhile.
    pub(super) fn release(
        &self,
        sent: &Sent,
        waiting: Vec<Waiting>,
        current: impl Fn(&Decided) -> Option<Answer>,
    ) -> Vec<Arc<AuthorizationRequest>> {
        let commit_us = sent.commit_us();
        self.metrics.decisions.stages.get(Stage::Commit).record(Duration::from_micros(commit_us.into()));
        // Before anybody can hear of them: Stripe's confirmation may come at once.
        for event in &sent.events {
            if let Event::Decided(decided) = event {
                self.unconfirmed.answered(decided);
            }
        }
        let answer = |decided: &Decided| {
            let own = || decided.decision.answer(decided.request.is_amount_controllable);
            let answer = current(decided).unwrap_or_else(own);
            Ok(TimedAnswer { answer, stages: decided.decision.stages, commit_us })
        };
        let mut heard: Vec<Option<bool>> = vec![None; sent.events.len()];
        for Waiting { event, reply } in waiting {
            let is_heard = match (reply, sent.events.get(event).and_then(decided_in)) {
                (Reply::Answer(reply), Some(decided)) => reply.send(answer(decided)).is_ok(),
                // It may have stopped waiting, and then finds this in the journal: no reason to void it.
                (Reply::Peer(reply), Some(decided)) => {
                    let _ = reply.send(answer(decided));
                    true
                }
                (Reply::Booked(reply), _) => reply.send(Ok(())).is_ok(),
                (Reply::StoodIn(_), _) => true,
                (reply @ (Reply::Answer(_) | Reply::Peer(_)), None) => {
                    reply.give_up(Cause::Journal);
                    false
                }
            };
            if let Some(place) = heard.get_mut(event) {
                *place = Some(place.unwrap_or(false) || is_heard);
            }
        }
        let mut unheard = Vec::new();
        for (event, heard) in sent.events.iter().zip(heard) {
            match (event, heard) {
                (Event::Decided(decided), Some(false)) => unheard.push(Arc::clone(&decided.request)),
                (Event::Decided(decided), _) => self.told(&decided.decision),
                (
                    Event::StoodIn(_)
                    | Event::Observed(_)
                    | Event::Recalled(_)
                    | Event::Joined(_)
                    | Event::Carried(_)
                    | Event::Snapshot(_),
                    _,
                ) => {}
            }
        }
        unheard
    }
}
