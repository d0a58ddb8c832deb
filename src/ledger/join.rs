//! A card that replaces another joins its chain: both then count against the same limits, in one place, one request
//! after another. The card's own chain keeps what is said of the card itself, and the way to the other.
//!
//! The way is durable before the first purchase goes it. What was recorded here before the replacement was known is
//! carried over first, entry by entry, so that a crash in between records nothing twice and loses nothing.

use std::time::Duration;

use super::{
    Carry, Cause, Effect, Given, Hops, Ledger, NotFolded, Note, StoodIn, Timer, Work,
    batch::{Waiters, Waiting},
    fold::read,
    member::Slot,
    message::Caller,
    prepare::Looked,
};
use crate::{
    domain::{Account, CardId, Carried, Event, Fact, Joined, Mention},
    journal::Entry,
};

/// How long a card waits before it tries again to carry over what was recorded on it.
const PAUSE: Duration = Duration::from_millis(500);
/// How many replacements a message follows. Only a cycle has more: then the smallest card in it keeps the message, the same
/// for all of them.
const HOPS_MAX: u8 = 64;

impl<C: Caller> Ledger<C> {
    /// The work, if it is for this chain. Purchases on a card that replaces another are not.
    pub(super) fn kept(&mut self, given: &Given<'_>, at: Slot, work: Work<C>) -> Option<Work<C>> {
        let member = &self.members[at];
        if member.card.joined.is_none()
            && let Some(replaced) = work.replacement_for(&member.account)
        {
            let replaced = replaced.clone();
            self.join(at, replaced);
        }
        let member = &mut self.members[at];
        let Some(joined) = &member.card.joined else { return Some(work) };
        if !work.is_of_purchases() {
            return Some(work);
        }
        if work.stays_in_cycle(&member.account) {
            self.note(at, Note::Cycle);
            return Some(work);
        }
        if let Some(waiting) = &mut member.joining {
            waiting.push(work);
        } else {
            let account = Account::from(&joined.card);
            self.hand_on(given, at, work, account);
        }
        None
    }

    /// Records what was recorded on another card.
    pub(super) fn carry(&mut self, given: &Given<'_>, at: Slot, carry: Carry<C>, looked: Looked) {
        // What was carried before, and the word of it was lost, is not carried again.
        let known = self.members[at].card.carried_through(&carry.from);
        if looked == Looked::Not {
            let new = carry.entries.iter().filter(|(seq, _)| *seq > known).flat_map(|(_, events)| events);
            let evicted: Vec<Mention> =
                new.flat_map(|event| self.members[at].card.evicted_of_event(event)).collect();
            if !evicted.is_empty() {
                return self.look_up(at, Work::Carry(Box::new(carry)), evicted);
            }
        }
        let Carry { from, entries, caller, .. } = carry;
        let through = entries.last().map_or(0, |(seq, _)| *seq);
        let new = entries.into_iter().filter(|(seq, _)| *seq > known);
        let carried = Carried { from, through, events: new.flat_map(|(_, events)| events).collect() };
        self.record(given, at, Event::Carried(Box::new(carried)), Some(Waiting::Receipt(caller)));
    }

    /// The way to the other chain is durable.
    pub(super) fn joined(&mut self, given: &Given<'_>, at: Slot) {
        match &self.members[at].card.joined {
            Some(joined) if joined.is_carried => {
                for work in self.members[at].joining.take().unwrap_or_default() {
                    self.work(given, at, work);
                }
            }
            Some(_) => {
                self.members[at].joining.get_or_insert_default();
                self.carry_over(at);
            }
            None => {}
        }
    }

    /// Has what was recorded here copied to the other chain, if it is not there yet.
    pub(super) fn carry_over(&mut self, at: Slot) {
        let member = &self.members[at];
        if let Some(joined) = member.card.joined.as_ref().filter(|joined| !joined.is_carried) {
            self.effects.push(Effect::CarryOver(member.account.clone(), joined.card.clone()));
        }
    }

    pub(super) fn carried_over(&mut self, at: Slot, result: Result<(), NotFolded>) {
        let joined = self.members[at].card.joined.clone();
        let Some(joined) = joined.filter(|joined| !joined.is_carried) else { return };
        match result {
            Ok(()) => {
                self.put(at, Event::Joined(Joined { is_carried: true, ..joined }), None);
            }
            Err(cause) => {
                self.note(at, Note::NotCarriedOver(cause));
                let account = self.members[at].account.clone();
                self.effects.push(Effect::Pause(PAUSE, Timer::CarryOver(account)));
            }
        }
    }

    /// The way was not taken after all: those who wait for it are turned away.
    pub(super) fn stay(&mut self, given: &Given<'_>, at: Slot) {
        if self.members[at].card.joined.is_none() {
            self.turn_away_joining(given, at);
        }
    }

    /// Turns away all work that waits until it may go to the other chain.
    pub(super) fn turn_away_joining(&mut self, given: &Given<'_>, at: Slot) {
        for work in self.members[at].joining.take().unwrap_or_default() {
            self.turn_away(given, at, work, Cause::Journal);
        }
    }

    /// An event of an append that has lost its place to the card's step into another chain. Stripe delivers facts again,
    /// and the stand-in answers requests; what only this node knows goes on.
    pub(super) fn gone_elsewhere(&mut self, given: &Given<'_>, at: Slot, event: Event, waiting: Waiters<C>) {
        match event {
            Event::StoodIn(decided) => {
                let mut caller = None;
                for waiting in waiting {
                    match waiting {
                        Waiting::StandIn(held) => caller = Some(held),
                        Waiting::Answer { .. } | Waiting::Receipt(_) => self.give_up(waiting, Cause::Journal),
                    }
                }
                let stood_in = StoodIn { decided: *decided, hops: Hops::default(), caller };
                self.work(given, at, Work::StandIn(Box::new(stood_in)));
            }
            Event::Observed(observation) if !is_of_purchases(&observation.fact) => {
                let place = self.record(given, at, Event::Observed(observation), None);
                for waiting in waiting {
                    self.next.join(place, waiting);
                }
            }
            Event::Joined(joined) if joined.is_carried && !self.is_carried(at) => {
                self.put(at, Event::Joined(joined), None);
            }
            Event::Decided(_)
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
            | Event::Snapshot(_) => {
                self.give_up_all(waiting, Cause::Journal);
            }
        }
    }

    fn join(&mut self, at: Slot, card: CardId) {
        self.members[at].joining = Some(Vec::new());
        let step = self.step_to(at, card);
        self.put(at, Event::Joined(step), None);
    }

    /// The step into the chain of `card`: with nothing to carry it is the last.
    pub(super) fn step_to(&self, at: Slot, card: CardId) -> Joined {
        Joined { card, is_carried: !self.members[at].card.has_purchases() }
    }

    fn is_carried(&self, at: Slot) -> bool {
        self.members[at].card.joined.as_ref().is_some_and(|joined| joined.is_carried)
    }

    /// Sends work on to another chain.
    pub(super) fn hand_on(&mut self, given: &Given<'_>, at: Slot, mut work: Work<C>, account: Account) {
        let own = self.members[at].account.clone();
        let hops = work.hops_mut();
        hops.count = hops.count.saturating_add(1);
        if hops.least.as_ref().is_none_or(|least| own < *least) {
            hops.least = Some(own);
        }
        if hops.count == u8::MAX {
            self.note(at, Note::CycleTooLong);
            return self.turn_away(given, at, work, Cause::Journal);
        }
        self.effects.push(Effect::HandOn(account, work));
    }
}

impl<C> Work<C> {
    /// The card that the card of this chain replaces, where the work tells.
    fn replacement_for(&self, own: &Account) -> Option<&CardId> {
        let is_own = |card: &CardId| card.as_str() == own.as_str();
        let (card, replaced) = match self {
            Self::Request(request) => (request.asked.card.as_ref(), &request.asked.replacement_for),
            Self::StandIn(stood_in) => {
                let request = &stood_in.decided.request;
                (request.card.as_ref(), &request.replacement_for)
            }
            Self::Observation(observed) => {
                (observed.observation.card(), &observed.observation.replacement_for)
            }
            Self::Carry(_) | Self::Operation(_) => return None,
        };
        let replaced = replaced.as_ref().filter(|replaced| !is_own(replaced))?;
        card.is_some_and(is_own).then_some(replaced)
    }

    /// Whether it has been handed on in a cycle, of whose cards `own` is the smallest.
    fn stays_in_cycle(&self, own: &Account) -> bool {
        let hops = self.hops();
        hops.count > HOPS_MAX && hops.least.as_ref() == Some(own)
    }

    /// Whether it concerns what is bought with a card, rather than the card.
    fn is_of_purchases(&self) -> bool {
        match self {
            Self::Observation(observed) => is_of_purchases(&observed.observation.fact),
            Self::Request(_) | Self::StandIn(_) | Self::Carry(_) | Self::Operation(_) => true,
        }
    }
}

const fn is_of_purchases(fact: &Fact) -> bool {
    match fact {
        Fact::Authorization(_) | Fact::Transaction(_) | Fact::Other(_) => true,
        Fact::Card(_) | Fact::Cardholder(_) => false,
    }
}

/// The events of an entry that are about purchases, or that decisions on them depend on: what goes along when a card joins another chain.
///
/// # Errors
/// An entry that cannot be read.
pub fn purchases(entry: &Entry) -> Result<Vec<Event>, NotFolded> {
    let purchases = read(entry)?.into_iter().filter(|event| match event {
        Event::Decided(_) | Event::StoodIn(_) | Event::Charges(_) | Event::Command(_) => true,
        Event::Observed(observation) => is_of_purchases(&observation.fact),
        Event::Recalled(_)
        | Event::Joined(_)
        | Event::Carried(_)
        | Event::Controls(_)
        | Event::Budget(_)
        | Event::Policy(_)
        | Event::Delivered(_)
        | Event::Snapshot(_) => false,
    });
    Ok(purchases.collect())
}
