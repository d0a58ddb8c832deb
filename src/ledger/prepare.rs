//! What a request needs before it is decided: what the card's own events have said, its earlier answer, a look into the
//! journal, the policy with its windows, the budgets that the card charges.

use std::sync::Arc;

use super::{Given, History, Ledger, Note, Request, member::InForce, member::Slot, message::Caller};
use crate::{
    domain::{
        Account, Answer, AuthorizationRequest, CardPolicy, ConnectedAccountId, Holder, Mention,
        windows_in_force,
    },
    planted::{self, Planted},
};

/// Whether the journal has been asked for the authorization.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    Not,
    Up,
}

/// What is to be done with a request.
pub(super) enum Prepared {
    /// It names another connected account than its card's.
    OtherAccount,
    /// These are looked for in the journal first.
    LookUp(Vec<Mention>),
    /// It was answered before.
    Answered(Answer),
    /// As much was decided as may be before some of it is durable.
    NoRoom,
    /// What it would stand behind is in doubt until the journal's database is back.
    InDoubt,
    /// This account is read first: a budget that is not in memory, or the whole history of one that is.
    Unread(Slot),
    /// It is decided.
    Ready(Arc<CardPolicy>, Arc<[Account]>),
}

impl<C: Caller> Ledger<C> {
    /// Completes a request by what the card's own events have said.
    pub(super) fn complete(&self, at: Slot, request: &mut Request<C>) {
        let member = &self.members[at];
        if let Some(standing) = &member.card.standing
            && request.asked.is_behind_card(standing)
            && request.asked.card.as_ref().is_some_and(|card| card.as_str() == member.account.as_str())
        {
            Arc::make_mut(&mut request.asked).heed_card(standing);
        }
    }

    pub(super) fn prepare(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        request: &AuthorizationRequest,
        looked: Looked,
    ) -> Prepared {
        if !self.is_of_account(at, request.connected_account.as_ref()) {
            return Prepared::OtherAccount;
        }
        let is_other = planted::is(Planted::DuplicateByEvent) && self.unreleased(at, request).is_none();
        if let Some(answered) = self.members[at].card.answer_to(request).filter(|_| !is_other) {
            if looked == Looked::Not && self.may_be_voided_elsewhere(given, at, request) {
                return Prepared::LookUp(vec![Mention::from(&request.authorization)]);
            }
            return Prepared::Answered(answered.answer.clone());
        }
        if looked == Looked::Not && !planted::is(Planted::RecallSkipped) {
            let evicted = self.members[at].card.evicted_of_request(request);
            if !evicted.is_empty() {
                return Prepared::LookUp(evicted);
            }
        }
        if !self.has_room(given, at) {
            return Prepared::NoRoom;
        }
        if self.in_flight.is_some() && given.is_journal_in_trouble {
            return Prepared::InDoubt;
        }
        match self.policy_for(given, at, request) {
            Ok((policy, charges)) => Prepared::Ready(policy, charges),
            Err(unread) => Prepared::Unread(unread),
        }
    }

    pub(super) fn is_of_account(&mut self, at: Slot, named: Option<&ConnectedAccountId>) -> bool {
        let is_of = self.members[at].card.is_of(named);
        if !is_of {
            self.note(at, Note::WrongAccount);
        }
        is_of
    }

    /// Whether another node may have stood in for an answer that is in memory: nothing is appended for a repeated
    /// request, so nothing else would tell. What is still on its way from here will be told.
    fn may_be_voided_elsewhere(&self, given: &Given<'_>, at: Slot, request: &AuthorizationRequest) -> bool {
        // Another root may have the card as well.
        let is_shared = given.settings.is_journal_shared || !given.policy.budgets().is_empty();
        is_shared && !planted::is(Planted::RepeatFromMemory) && self.unreleased(at, request).is_none()
    }

    /// The policy for this request and the accounts that it charges, with the sums of all windows in place; or an account
    /// that has to be read before.
    pub(super) fn policy_for(
        &mut self,
        given: &Given<'_>,
        at: Slot,
        request: &AuthorizationRequest,
    ) -> Result<(Arc<CardPolicy>, Arc<[Account]>), Slot> {
        let member = &mut self.members[at];
        let known = member.policy.take().filter(|known| {
            Arc::ptr_eq(&known.source, given.policy)
                && known.group == request.group
                && known.card == request.card
                && known.account == request.connected_account
                && known.mirrored == request.stripe_controls
                && (known.charges.is_empty()
                    || *known.charges
                        == *given.policy.budgets().charged(&known.policy.budgets, &Holder::from(request)))
        });
        let in_force = if let Some(known) = known {
            known
        } else {
            let (group, mirrored) = (request.group.as_ref(), request.stripe_controls.as_ref());
            let holder = Holder::from(request);
            let in_force = InForce::new(given.policy, request.card.as_ref(), group, &holder, mirrored);
            let policy = &in_force.policy;
            let windows = windows_in_force(policy, request.stripe_controls.as_deref());
            if member.card.adopt(windows, policy.refunds_restore, request.received_at).is_err() {
                let (policy, controls) = (Arc::clone(policy), request.stripe_controls.clone());
                member.history = Some(Box::new(History::Card { policy, controls }));
                return Err(at);
            }
            in_force
        };
        let known = member.card.authorizations.get(&request.authorization);
        let charges = known.map(|known| &known.charges).filter(|charges| !charges.is_empty());
        let charges = Arc::clone(charges.unwrap_or(&in_force.charges));
        let policy = Arc::clone(&in_force.policy);
        member.policy = Some(in_force);
        for account in charges.iter() {
            let at = self.members.find_or_add(account, given.now);
            let member = &mut self.members[at];
            member.used_at = given.now;
            if !member.is_ready() {
                return Err(at);
            }
            let Some(policy) = given.policy.budgets().of(account) else { continue };
            let is_kept = member.budget.keeps(policy.windows(), policy.refunds_restore);
            if !is_kept
                && member.budget.adopt(policy.windows(), policy.refunds_restore, request.received_at).is_err()
            {
                member.history = Some(Box::new(History::Budget(Arc::clone(policy))));
                return Err(at);
            }
        }
        Ok((policy, charges))
    }
}
