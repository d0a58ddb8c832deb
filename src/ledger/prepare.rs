//! What a request needs before it is decided: what the card's own events have said, its earlier answer, a look into the
//! journal, the policy with its windows.

use std::sync::Arc;

use super::{Given, InForce, Ledger, Note, Request, message::Caller};
use crate::{
    domain::{
        Answer, AuthorizationRequest, CardPolicy, ConnectedAccountId, Mention, NeedsHistory, windows_in_force,
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
    /// A window of its policy needs the whole history.
    History,
    /// It is decided.
    Ready(Arc<CardPolicy>),
}

impl<C: Caller> Ledger<C> {
    /// Completes a request by what the card's own events have said.
    pub(super) fn complete(&self, request: &mut Request<C>) {
        if let Some(standing) = &self.card.standing
            && request.asked.is_behind_card(standing)
            && request.asked.card.as_ref().is_some_and(|card| card.as_str() == self.account.as_str())
        {
            Arc::make_mut(&mut request.asked).heed_card(standing);
        }
    }

    pub(super) fn prepare(
        &mut self,
        given: &Given<'_>,
        request: &AuthorizationRequest,
        looked: Looked,
    ) -> Prepared {
        if !self.is_of_account(request.connected_account.as_ref()) {
            return Prepared::OtherAccount;
        }
        let is_other = planted::is(Planted::DuplicateByEvent) && self.unreleased(request).is_none();
        if let Some(answered) = self.card.answer_to(request).filter(|_| !is_other) {
            if looked == Looked::Not && self.may_be_voided_elsewhere(given, request) {
                return Prepared::LookUp(vec![Mention::from(&request.authorization)]);
            }
            return Prepared::Answered(answered.answer.clone());
        }
        if looked == Looked::Not && !planted::is(Planted::RecallSkipped) {
            let evicted = self.card.evicted_of_request(request);
            if !evicted.is_empty() {
                return Prepared::LookUp(evicted);
            }
        }
        if !self.has_room(given) {
            return Prepared::NoRoom;
        }
        if self.in_flight.is_some() && given.is_journal_in_trouble {
            return Prepared::InDoubt;
        }
        self.policy_for(given, request).map_or(Prepared::History, Prepared::Ready)
    }

    pub(super) fn is_of_account(&mut self, named: Option<&ConnectedAccountId>) -> bool {
        let is_of = self.card.is_of(named);
        if !is_of {
            self.note(Note::WrongAccount);
        }
        is_of
    }

    /// Whether another node may have stood in for an answer that is in memory: nothing is appended for a repeated
    /// request, so nothing else would tell. What is still on its way from here will be told.
    fn may_be_voided_elsewhere(&self, given: &Given<'_>, request: &AuthorizationRequest) -> bool {
        given.settings.is_journal_shared
            && !planted::is(Planted::RepeatFromMemory)
            && self.unreleased(request).is_none()
    }

    /// The policy for this request, with the sums of its windows in place.
    pub(super) fn policy_for(
        &mut self,
        given: &Given<'_>,
        request: &AuthorizationRequest,
    ) -> Result<Arc<CardPolicy>, NeedsHistory> {
        if let Some(known) = &self.policy
            && Arc::ptr_eq(&known.source, given.policy)
            && known.group == request.group
            && known.card == request.card
            && known.mirrored == request.stripe_controls
        {
            return Ok(Arc::clone(&known.policy));
        }
        let policy = given.policy.for_card(request.card.as_ref(), request.group.as_deref());
        let windows = windows_in_force(&policy, request.stripe_controls.as_deref());
        self.card.adopt(windows, policy.refunds_restore, request.received_at)?;
        self.policy = Some(InForce {
            source: Arc::clone(given.policy),
            card: request.card.clone(),
            group: request.group.clone(),
            policy: Arc::clone(&policy),
            mirrored: request.stripe_controls.clone(),
        });
        Ok(policy)
    }
}
