//! What a card charges: which budgets, and what each event of the card changes there. A change goes into the same append as
//! its cause, so that all accounts have it or none.

use std::sync::Arc;

use super::{Given, Ledger, Note, member::Slot, message::Caller};
use crate::{
    domain::{
        Account, AuthorizationId, AuthorizationRequest, Budget, BudgetEvent, BudgetPolicy, CardId, Event,
        Fact, Holder, Leg, Mention, Move, Moves, Observation, Side, Timestamp, Warned, Window,
    },
    planted::{self, Planted},
};

impl<C: Caller> Ledger<C> {
    /// From here on the card charges these accounts.
    pub(super) fn charge(&mut self, at: Slot, charges: Arc<[Account]>) {
        let member = &mut self.members[at];
        // What an authorization charges already does not change what its card charges.
        let charges = member.policy.as_ref().map_or(charges, |in_force| Arc::clone(&in_force.charges));
        if member.card.charges != charges {
            member.charges_in = self.batches;
            self.put(at, Event::Charges(charges), None);
        }
    }

    /// From here on the card charges what the policy says for this request.
    pub(super) fn charge_for(&mut self, given: &Given<'_>, at: Slot, request: &AuthorizationRequest) {
        if given.policy.budgets().is_empty() && self.members[at].card.charges.is_empty() {
            return;
        }
        let card = (request.card.as_ref(), request.group.as_ref());
        self.charge_as(given, at, card, &Holder::from(request));
    }

    /// From here on the card charges what the policy says for a card of this holder.
    fn charge_as(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        (card, group): (Option<&CardId>, Option<&Arc<str>>),
        holder: &Holder<'_>,
    ) {
        let budgets = given.policy.budgets();
        let known = self.members[at].policy.as_ref().filter(|known| {
            Arc::ptr_eq(&known.source, given.policy)
                && known.account.as_ref() == holder.connected_account
                && known.card.as_ref() == card
                && known.group.as_ref() == group
        });
        let charges = if let Some(known) = known {
            budgets.charged(&known.policy.budgets, holder)
        } else {
            let policy =
                given.policy.for_card_of(holder.connected_account, card, group.map(|group| &**group));
            budgets.charged(&policy.budgets, holder)
        };
        if self.members[at].card.charges != charges {
            self.members[at].policy = None;
            self.charge(at, charges);
        }
    }

    /// From here on the card charges what the policy says for the card that a fact describes.
    pub(super) fn charge_for_fact(&mut self, given: &Given<'_>, at: Slot, observation: &Observation) {
        let Fact::Authorization(seen) = &observation.fact else { return };
        let Some(holder) = seen.holder.as_deref().filter(|_| !given.policy.budgets().is_empty()) else {
            return;
        };
        if self.members[at].card.authorizations.get(&seen.id).is_some_and(|known| !known.charges.is_empty()) {
            return;
        }
        let group = holder.group.as_ref().or(self.members[at].card.group.as_ref()).cloned();
        let whose = Holder {
            cardholder: holder.cardholder.as_ref(),
            connected_account: observation.connected_account.as_ref(),
            metadata: &holder.metadata,
        };
        self.charge_as(given, at, (observation.card(), group.as_ref()), &whose);
    }

    /// Records what an event of a card changes for the budgets that it charges.
    pub(super) fn charge_legs(&mut self, given: &Given<'_>, at: Slot, moves: Moves, is_forced: bool) {
        for moved in moves {
            for (budget, leg) in self.legs(given, at, moved) {
                let now = leg.at;
                let policy = given.policy.budgets().of(&self.members[budget].account).cloned();
                let policy = policy.filter(|_| self.members[budget].is_ready());
                let shares = |member: &Self| {
                    policy
                        .as_ref()
                        .map_or_else(Vec::new, |policy| shares(&member.members[budget].budget, policy, now))
                };
                let before = shares(self);
                self.put(budget, Event::Budget(Box::new(BudgetEvent::Leg(leg))), None);
                let after = shares(self);
                self.note_shares(budget, policy.as_deref(), (&before, &after), is_forced);
            }
        }
    }

    /// Records on its budgets that a request was decided on them, and changes nothing: so the append goes in only if they are
    /// what the decision saw.
    pub(super) fn charge_nothing(&mut self, given: &Given<'_>, at: Slot, authorization: &AuthorizationId) {
        let card = &self.members[at].card;
        let known = card.authorizations.get(authorization).map(|known| &known.charges);
        let charges = known.filter(|charges| !charges.is_empty()).unwrap_or(&card.charges);
        if charges.is_empty() {
            return;
        }
        let (of, charges) = (Mention::from(authorization), Arc::clone(charges));
        let moved = Move { of, charges, before: Side::default(), after: Side::default() };
        for (budget, leg) in self.legs(given, at, moved) {
            self.put(budget, Event::Budget(Box::new(BudgetEvent::Leg(leg))), None);
        }
    }

    /// Notes which limits a change has passed, and records which shares of them at which the policy warns: once for each share
    /// and window.
    fn note_shares(
        &mut self,
        at: Slot,
        policy: Option<&BudgetPolicy>,
        (before, after): (&[Share], &[Share]),
        is_forced: bool,
    ) {
        let Some(policy) = policy else { return };
        for (_, after) in before.iter().zip(after).filter(|(before, after)| after.used > before.used) {
            if is_forced && after.used > after.max {
                self.note(at, Note::Overrun);
            }
            let reached = policy.warn_at.iter().filter(|percent| after.has_reached(**percent)).max();
            let Some(percent) = reached else { continue };
            let warned = Warned {
                at: self.members[at].budget.time,
                limit: after.limit.clone(),
                window_from: after.window_from,
                percent: *percent,
                used: after.used,
                max: after.max,
            };
            if !self.members[at].budget.has_warned(&warned) {
                self.put(at, Event::Budget(Box::new(BudgetEvent::Warned(warned))), None);
                self.note(at, Note::BudgetShare { percent: *percent, used: after.used, max: after.max });
            }
        }
    }

    /// What a change is for each account that is charged.
    pub(super) fn legs(&mut self, given: &Given<'_>, at: Slot, moved: Move) -> Vec<(Slot, Leg)> {
        let (card, now) = (self.members[at].account.clone(), self.members[at].card.time);
        let Move { of, charges, before, after } = moved;
        let forgotten = charges.last().filter(|_| planted::is(Planted::LegForgotten));
        let charged = charges.iter().filter(|account| Some(*account) != forgotten).map(|account| {
            let (of, card) = (of.clone(), card.clone());
            let leg = Leg { of, card, at: now, turn: 0, before: before.clone(), after: after.clone() };
            (self.members.find_or_add(account, given.now), leg)
        });
        charged.collect()
    }
}

/// What is used of a limit or a balance.
pub(super) struct Share {
    limit: Option<Arc<Window>>,
    window_from: Option<Timestamp>,
    pub(super) used: i64,
    pub(super) max: i64,
}

impl Share {
    fn has_reached(&self, percent: u8) -> bool {
        i128::from(self.used).saturating_mul(100) >= i128::from(self.max).saturating_mul(percent.into())
    }
}

/// What is used of each limit of a budget, and of its balance.
pub(super) fn shares(budget: &Budget, policy: &BudgetPolicy, now: Timestamp) -> Vec<Share> {
    let limits = policy.limits.iter().filter_map(|limit| {
        let tally = budget.tallies.iter().find(|tally| tally.is_of(&limit.window))?;
        Some(Share {
            limit: Some(Arc::clone(&limit.window)),
            window_from: tally.period.map(|(start, _)| start),
            used: tally.used(now),
            max: limit.max,
        })
    });
    let balance = policy.prepaid.map(|_| Share {
        limit: None,
        window_from: None,
        used: budget.sums.used(),
        max: budget.credits,
    });
    limits.chain(balance).collect()
}
