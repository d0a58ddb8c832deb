//! Recording what Stripe says, and comparing it with what was answered.

use std::sync::Arc;

use super::{
    Cause, Effect, Given, Ledger, Note, Observed, StripeWord, Work, batch::Waiting, message::Caller,
    prepare::Looked,
};
use crate::{
    domain::{Authorization, AuthorizationId, Event, Fact, StripeOutcome},
    planted::{self, Planted},
};

impl<C: Caller> Ledger<C> {
    pub(super) fn observe(&mut self, given: &Given<'_>, observed: Box<Observed<C>>, looked: Looked) {
        if !self.is_of_account(observed.observation.connected_account.as_ref()) {
            return self.effects.push(Effect::Refuse(observed.caller));
        }
        if looked == Looked::Not && !planted::is(Planted::RecallSkipped) {
            let evicted = self.card.evicted_of_fact(&observed.observation.fact);
            if !evicted.is_empty() {
                return self.look_up(Work::Observation(observed), evicted);
            }
        }
        if !self.has_room(given) {
            return self.effects.push(Effect::GiveUp(observed.caller, Cause::Overload));
        }
        let spoken_of = match &observed.observation.fact {
            Fact::Authorization(seen) => Some(seen.id.clone()),
            Fact::Transaction(seen) => seen.authorization.clone(),
            Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
        };
        let overrun = spoken_of.as_ref().map(|id| self.overrun_of(id));
        let Observed { observation, caller, .. } = *observed;
        let heard = match &observation.fact {
            Fact::Authorization(seen) => Some((seen.id.clone(), self.stripe_outcomes(&seen.id).count())),
            Fact::Transaction(_) | Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
        };
        self.record(Event::Observed(Box::new(observation)), Some(Waiting::Receipt(caller)));
        if let Some((id, before)) = heard {
            self.compare(&id, before);
        }
        if spoken_of.is_some_and(|id| Some(self.overrun_of(&id)) > overrun) {
            self.note(Note::Overrun);
        }
    }

    fn overrun_of(&self, id: &AuthorizationId) -> i64 {
        self.card.authorizations.get(id).map_or(0, Authorization::overrun)
    }

    /// Tells what Stripe did with our answers, as far as it is new.
    fn compare(&mut self, id: &AuthorizationId, heard_before: usize) {
        let mut effects = Vec::new();
        for outcome in self.stripe_outcomes(id).skip(heard_before) {
            let ours = outcome.ours.map(|ours| (ours.answer.decision, ours.answer.outcome));
            effects.extend(ours.map(|(decision, _)| Effect::Confirmed(decision)));
            effects.push(Effect::Note(Note::Stripe(Box::new(StripeWord {
                authorization: id.clone(),
                reason: Arc::from(outcome.entry.reason_today()),
                approved: outcome.entry.approved,
                agrees: outcome.agrees(),
                is_forced: outcome.is_forced(),
                ours,
            }))));
        }
        self.effects.append(&mut effects);
    }

    fn stripe_outcomes(&self, id: &AuthorizationId) -> impl Iterator<Item = StripeOutcome<'_>> {
        self.card.authorizations.get(id).into_iter().flat_map(Authorization::outcomes)
    }
}
