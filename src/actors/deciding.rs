//! A decision as an actor takes it: the domain's, with the way that its answer goes, and with a word in the log if the policy
//! lacks the card's group.

use super::directory::Shared;
use crate::domain::{AuthorizationRequest, Card, CardPolicy, Decision, decide};

impl Shared {
    /// Decides a request for the first time.
    pub(super) fn decide(
        &self,
        card: &Card,
        policy: &CardPolicy,
        request: &AuthorizationRequest,
    ) -> Decision {
        if policy.unknown_group.is_some() {
            self.lacks_group(request);
        }
        self.addressed(decide(card, policy, request), request)
    }

    /// A misspelled group would quietly get the default.
    fn lacks_group(&self, request: &AuthorizationRequest) {
        self.metrics.decisions.unknown_groups.increment(1);
        if let Some(held_back) = self.unknown_groups.turn(request.received_at) {
            tracing::warn!(
                card = request.card.as_ref().map(tracing::field::display),
                group = request.group.as_deref(),
                held_back,
                "the policy lacks the group of a card: correct `tollgate_group` in its metadata, or add the group"
            );
        }
    }
}
