//! Requests: deciding them, repeating an answer, and recording what was answered in place of a decision.

use std::sync::Arc;

use super::{
    Cause, Effect, Given, Ledger, Note, Phase, Request, StoodIn, Work,
    batch::{Batch, Waiting},
    member::Slot,
    message::Caller,
    prepare::{Looked, Prepared},
};
use crate::{
    clock::Instant,
    domain::{
        Account, Answer, AuthorizationRequest, CardPolicy, Charged, Decided, Decision, Event, Source, Stages,
        Violation, decide_charging,
    },
    planted::{self, Planted},
};

/// For each place in its queue an account may have so many events that are decided and not durable yet.
const PENDING_PER_PLACE: usize = 16;
/// It may have so many at least: what goes in one append must not depend on how few requests may wait.
const PENDING_LEAST: usize = 1_024;

impl<C: Caller> Ledger<C> {
    pub(super) fn request(&mut self, given: &Given<'_>, at: Slot, request: Box<Request<C>>, looked: Looked) {
        if !request.waiting.is_waited_for(given.now) {
            return self.give_up(request.waiting, Cause::Deadline);
        }
        match self.prepare(given, at, &request.asked, looked) {
            Prepared::OtherAccount => self.request_elsewhere(request),
            Prepared::LookUp(evicted) => self.look_up(at, Work::Request(request), evicted),
            Prepared::Answered(answer) => {
                self.note(at, Note::Repeated);
                self.repeat(at, answer, *request);
            }
            Prepared::NoRoom => self.give_up(request.waiting, Cause::Overload),
            Prepared::InDoubt => self.give_up(request.waiting, Cause::Journal),
            Prepared::Unread(unread) => {
                if self.members[unread].is_ready() {
                    // Its whole history is read, once nothing of it is on its way.
                    self.members[unread].phase = Phase::Loading(Vec::new());
                    self.histories.push(unread);
                }
                self.wait_for(unread, at, Work::Request(request));
            }
            Prepared::Ready(policy, charges) => self.decide(given, at, (&policy, charges), *request),
        }
    }

    fn decide(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        (policy, charges): (&CardPolicy, Arc<[Account]>),
        request: Request<C>,
    ) {
        let Request { asked: request, stages, queued_at, waiting, .. } = request;
        if policy.unknown_group.is_some() {
            self.note(at, Note::UnknownGroup(Arc::clone(&request)));
        }
        let mut decision = self.decided(given, at, (policy, &charges), &request);
        decision.stages = Stages { queue_us: micros(queued_at, given.now), ..stages };
        self.charge(at, charges);
        self.record(given, at, Event::Decided(Box::new(Decided { request, decision })), Some(waiting));
    }

    /// A decision on the state of the card and of the budgets, which knows how its answer goes to Stripe.
    pub(super) fn decided(
        &self,
        given: &Given<'_>,
        at: Slot,
        (policy, charges): (&CardPolicy, &[Account]),
        request: &AuthorizationRequest,
    ) -> Decision {
        let card = &self.members[at].card;
        let known = card.authorizations.get(&request.authorization);
        let is_counted = known.is_some_and(|known| !known.charges.is_empty());
        let accounts = charges.iter().filter_map(|account| {
            let budget = &self.members[self.members.find(account)?].budget;
            let policy = given.policy.budgets().of(account).map(|policy| &**policy);
            Some(Charged { account, policy, budget, is_counted })
        });
        let accounts: Vec<Charged<'_>> = accounts.collect();
        let decision = decide_charging(card, &accounts, policy, request);
        let answer_by = given.settings.answering.way(&request.authorization, decision.challenge);
        Decision { answer_by, ..decision }
    }

    /// A request of another connected account is declined, and recorded apart from the card.
    fn request_elsewhere(&mut self, mut request: Box<Request<C>>) {
        Arc::make_mut(&mut request.asked).asked = Err(Violation::WrongAccount);
        let account = request.asked.account();
        self.effects.push(Effect::HandOn(account, Work::Request(request)));
    }

    /// Where the answer to the same request is, if it is on its way to being durable.
    pub(super) fn unreleased(&self, at: Slot, request: &AuthorizationRequest) -> Option<(&Batch<C>, usize)> {
        let in_flight = self.in_flight.as_ref().map(|in_flight| &in_flight.batch);
        let mut batches = in_flight.into_iter().chain([&self.next]);
        batches.find_map(|batch| Some((batch, batch.place_of(at, request)?)))
    }

    /// Answers a request that was answered before: at once if that answer is durable, else together with it.
    fn repeat(&mut self, at: Slot, answer: Answer, request: Request<C>) {
        let Request { asked: request, waiting, .. } = request;
        // A stand-in decision left without being durable the first time.
        if answer.source != Source::StandIn {
            let in_flight = self.in_flight.as_mut().map(|in_flight| &mut in_flight.batch);
            for batch in in_flight.into_iter().chain([&mut self.next]) {
                if let Some(place) = batch.place_of(at, &request) {
                    waiting.decided(answer.outcome);
                    return batch.join(place, waiting);
                }
            }
        }
        self.tell(waiting, answer);
    }

    /// Records a stand-in decision, unless another answer stands.
    pub(super) fn stood_in(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        stood_in: Box<StoodIn<C>>,
        looked: Looked,
    ) {
        if planted::is(Planted::StandInDropped) {
            return;
        }
        let request = &stood_in.decided.request;
        if !self.members[at].card.is_of(request.connected_account.as_ref()) {
            let elsewhere = Account::from(&request.authorization);
            return self.hand_on(given, at, Work::StandIn(stood_in), elsewhere);
        }
        if looked == Looked::Not {
            let evicted = self.members[at].card.evicted_of_request(request);
            if !evicted.is_empty() {
                return self.look_up(at, Work::StandIn(stood_in), evicted);
            }
        }
        if self.takes_place(given, at, request, stood_in.caller.is_none()) {
            let StoodIn { decided, caller, .. } = *stood_in;
            self.charge_for(given, at, &decided.request);
            self.record(given, at, Event::StoodIn(Box::new(decided)), caller.map(Waiting::StandIn));
        }
    }

    /// Whether a stand-in decision on this request is the answer from now on. It `voids` a decision whose answer has certainly
    /// not left, which a node that answers alone knows of each. Else it may only take the place of one that is not durable, or
    /// that was made for this very delivery and got lost on its way: an approval that Stripe may have keeps its hold.
    pub(super) fn takes_place(
        &self,
        given: &Given<'_>,
        at: Slot,
        request: &AuthorizationRequest,
        voids: bool,
    ) -> bool {
        let voids = voids || !given.settings.is_journal_shared;
        self.members[at].card.answer_to(request).is_none_or(|answered| {
            answered.answer.source != Source::StandIn
                && (voids
                    || answered.received_at == request.received_at
                    || self.unreleased(at, request).is_some())
        })
    }

    /// Whether one more may be decided before what was decided is durable.
    pub(super) fn has_room(&mut self, given: &Given<'_>, at: Slot) -> bool {
        let pending_max = given.settings.queue_max.saturating_mul(PENDING_PER_PLACE).max(PENDING_LEAST);
        let has_room = self.next.events.len() < pending_max;
        if !has_room {
            self.note(at, Note::PendingFull);
        }
        has_room
    }

    /// Gives an answer that may leave already.
    pub(super) fn tell(&mut self, waiting: Waiting<C>, answer: Answer) {
        match waiting {
            Waiting::Answer { caller, .. } => self.effects.push(Effect::Repeat(caller, answer)),
            Waiting::Receipt(caller) => self.effects.push(Effect::Receipt(caller)),
            Waiting::StandIn(caller) => drop(caller),
        }
    }

    /// What was asked for is recorded.
    pub(super) fn receive(&mut self, waiting: Waiting<C>) {
        match waiting {
            Waiting::Receipt(caller) => self.effects.push(Effect::Receipt(caller)),
            Waiting::Answer { .. } | Waiting::StandIn(_) => self.give_up(waiting, Cause::Journal),
        }
    }

    pub(super) fn give_up(&mut self, waiting: Waiting<C>, cause: Cause) {
        match waiting {
            Waiting::Answer { caller, .. } | Waiting::Receipt(caller) => {
                self.effects.push(Effect::GiveUp(caller, cause));
            }
            Waiting::StandIn(caller) => drop(caller),
        }
    }
}

/// Whole microseconds between two moments, as far as they fit.
pub(super) fn micros(since: Instant, now: Instant) -> u32 {
    u32::try_from(now.saturating_duration_since(since).as_micros()).unwrap_or(u32::MAX)
}
