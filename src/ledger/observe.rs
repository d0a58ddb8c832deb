//! Recording what Stripe says, and comparing it with what was answered.

use std::sync::Arc;

use super::{
    Cause, Effect, Given, Ledger, Note, Observed, StripeWord, Work, batch::Waiting, member::Slot,
    message::Caller, prepare::Looked,
};
use crate::{
    domain::{Authorization, AuthorizationId, Event, Fact, StripeOutcome},
    planted::{self, Planted},
};

impl<C: Caller> Ledger<C> {
    pub(super) fn observe(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        observed: Box<Observed<C>>,
        looked: Looked,
    ) {
        if !self.is_of_account(at, observed.observation.connected_account.as_ref()) {
            return self.effects.push(Effect::Refuse(observed.caller));
        }
        if looked == Looked::Not && !planted::is(Planted::RecallSkipped) {
            let evicted = self.members[at].card.evicted_of_fact(&observed.observation.fact);
            if !evicted.is_empty() {
                return self.look_up(at, Work::Observation(observed), evicted);
            }
        }
        if !self.has_room(given, at) {
            return self.effects.push(Effect::GiveUp(observed.caller, Cause::Overload));
        }
        let spoken_of = match &observed.observation.fact {
            Fact::Authorization(seen) => Some(seen.id.clone()),
            Fact::Transaction(seen) => seen.authorization.clone(),
            Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
        };
        let overrun = spoken_of.as_ref().map(|id| self.overrun_of(at, id));
        let Observed { observation, caller, .. } = *observed;
        let heard = match &observation.fact {
            Fact::Authorization(seen) => Some((seen.id.clone(), self.stripe_outcomes(at, &seen.id).count())),
            Fact::Transaction(_) | Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
        };
        self.charge_for_fact(given, at, &observation);
        let place =
            self.record(given, at, Event::Observed(Box::new(observation)), Some(Waiting::Receipt(caller)));
        if let Some((id, before)) = heard
            && self.compare(at, &id, before)
            && let Some((_, Event::Observed(observation))) = self.next.events.get_mut(place)
            && let Fact::Authorization(seen) = &mut observation.fact
        {
            // The entry says so, for those who are notified of it.
            seen.differs = true;
        }
        if spoken_of.is_some_and(|id| Some(self.overrun_of(at, &id)) > overrun) {
            self.note(at, Note::Overrun);
        }
    }

    fn overrun_of(&self, at: Slot, id: &AuthorizationId) -> i64 {
        self.members[at].card.authorizations.get(id).map_or(0, Authorization::overrun)
    }

    /// Notes what Stripe did with our answers, as far as it is new. Says whether some of it is something else.
    fn compare(&mut self, at: Slot, id: &AuthorizationId, heard_before: usize) -> bool {
        let (mut effects, mut differs) = (Vec::new(), false);
        let account = &self.members[at].account;
        for outcome in self.stripe_outcomes(at, id).skip(heard_before) {
            let ours = outcome.ours.map(|ours| (ours.answer.decision, ours.answer.outcome));
            differs |= outcome.agrees() == Some(false);
            effects.extend(ours.map(|(decision, _)| Effect::Confirmed(decision)));
            let word = StripeWord {
                authorization: id.clone(),
                reason: Arc::from(outcome.entry.reason_today()),
                approved: outcome.entry.approved,
                agrees: outcome.agrees(),
                is_forced: outcome.is_forced(),
                ours,
            };
            effects.push(Effect::Note(account.clone(), Note::Stripe(Box::new(word))));
        }
        self.effects.append(&mut effects);
        differs
    }

    fn stripe_outcomes(&self, at: Slot, id: &AuthorizationId) -> impl Iterator<Item = StripeOutcome<'_>> {
        self.members[at].card.authorizations.get(id).into_iter().flat_map(Authorization::outcomes)
    }
}
