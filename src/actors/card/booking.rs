//! Booking what Stripe says, and comparing it with what was answered.

use super::{Book, Cause, Desk, Looked, NotBooked, Reply, Work};
use crate::{
    domain::{Authorization, AuthorizationId, Event, Fact, Outcome, Reason, Source, StripeOutcome},
    metrics::Agrees,
};

impl Desk {
    pub(super) fn book(&mut self, book: Box<Book>, looked: Looked) {
        self.lease.leave_queue();
        self.leaving = None;
        if !self.is_of_account(book.observation.connected_account.as_ref()) {
            // Whoever has stopped waiting has its reply.
            let _ = book.reply.send(Err(NotBooked::WrongAccount));
            return;
        }
        if looked == Looked::Not {
            let evicted = self.card.evicted_of_fact(&book.observation.fact);
            if !evicted.is_empty() {
                return self.look_up(Work::Book(book), evicted);
            }
        }
        if !self.has_room() {
            return Reply::Booked(book.reply).give_up(Cause::Overload);
        }
        let spoken_of = match &book.observation.fact {
            Fact::Authorization(seen) => Some(seen.id.clone()),
            Fact::Transaction(seen) => seen.authorization.clone(),
            Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
        };
        let overrun = spoken_of.as_ref().map(|id| self.overrun_of(id));
        let Book { observation, reply, .. } = *book;
        let told = match &observation.fact {
            Fact::Authorization(seen) => Some((seen.id.clone(), self.told_of(&seen.id).count())),
            Fact::Transaction(_) | Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
        };
        self.record(Event::Observed(Box::new(observation)), Some(Reply::Booked(reply)));
        if let Some((id, before)) = told {
            self.compare(&id, before);
        }
        if spoken_of.is_some_and(|id| Some(self.overrun_of(&id)) > overrun) {
            self.shared.metrics.decisions.overruns.increment(1);
        }
    }

    fn overrun_of(&self, id: &AuthorizationId) -> i64 {
        self.card.authorizations.get(id).map_or(0, Authorization::overrun)
    }

    /// Counts what Stripe did with our answers, as far as it is new; a disagreement is worth a line.
    fn compare(&self, id: &AuthorizationId, told_before: usize) {
        for outcome in self.told_of(id).skip(told_before) {
            let agrees = match outcome.agrees() {
                Some(true) => Agrees::Yes,
                Some(false) => Agrees::No,
                None => Agrees::Unasked,
            };
            let reason = outcome.entry.reason_today();
            let decisions = &self.shared.metrics.decisions;
            decisions.stripe_outcomes.get([reason, agrees.as_str()]).increment(1);
            if let Some(ours) = outcome.ours {
                self.shared.unconfirmed.confirmed(ours.answer.decision);
            }
            if outcome.is_forced() {
                let words = [Outcome::Approved.as_str(), Reason::Approved.as_str(), Source::Forced.as_str()];
                decisions.made.get(words).increment(1);
            }
            if let (Agrees::No, Some(ours)) = (agrees, outcome.ours) {
                tracing::warn!(
                    authorization = %id,
                    decision = %ours.answer.decision,
                    ours = ours.answer.outcome.as_str(),
                    approved = outcome.entry.approved,
                    reason,
                    "Stripe's outcome differs from the decision: the ledger follows Stripe"
                );
            }
        }
    }

    fn told_of(&self, id: &AuthorizationId) -> impl Iterator<Item = StripeOutcome<'_>> {
        self.card.authorizations.get(id).into_iter().flat_map(Authorization::outcomes)
    }
}
