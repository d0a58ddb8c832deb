//! The state of one chain at some place in the journal, on which a request can be decided under any policy.

use std::sync::Arc;

use crate::domain::{
    AuthorizationRequest, Card, CardPolicy, Decision, Event, NeedsHistory, Policy, Timestamp, decide,
    windows_in_force,
};

/// The state of one chain.
#[derive(Default)]
pub(super) struct Chain {
    card: Card,
    /// Everything that happened so far, where it may be needed once more.
    history: Vec<Event>,
}

/// How a pass over a journal ended.
pub enum Ended<Pass, Found> {
    /// It missed the history of some cards: another pass over the same entries is needed.
    Again(Pass),
    /// It was the last one: here is what it found.
    Found(Box<Found>),
}

/// The chain does not hold the `spending_controls` that a request carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoControls;

impl Chain {
    /// Decides a recorded request under `policy`. Nothing changes but the windows that are summed.
    ///
    /// # Errors
    /// [`NeedsHistory`] where a window of the policy reaches further back than the state, and no history was kept.
    pub(super) fn decide(
        &mut self,
        policy: &Policy,
        request: &Arc<AuthorizationRequest>,
    ) -> Result<Result<Decision, NoControls>, NeedsHistory> {
        let mut request = Arc::clone(request);
        if let Some(fingerprint) = request.details.controls {
            let controls = self.card.stripe_controls.clone();
            match controls.filter(|controls| controls.fingerprint() == fingerprint) {
                Some(controls) => Arc::make_mut(&mut request).stripe_controls = Some(controls),
                None => return Ok(Err(NoControls)),
            }
        }
        let policy = policy.for_card(request.card.as_ref(), request.group.as_deref());
        self.adopt(&policy, &request)?;
        Ok(Ok(decide(&self.card, &policy, &request)))
    }

    /// Applies an event, and keeps it where `keeps_history`.
    pub(super) fn apply(&mut self, event: &Event, keeps_history: bool) {
        match event {
            // The state is here already. What the snapshot no longer has is evicted here as well.
            Event::Snapshot(card) => self.card.forget_like(card),
            Event::Decided(_)
            | Event::StoodIn(_)
            | Event::Observed(_)
            | Event::Recalled(_)
            | Event::Joined(_)
            | Event::Carried(_)
            | Event::Controls(_)
            | Event::Policy(_) => self.card.apply(event),
        }
        if keeps_history && !matches!(event, Event::Snapshot(_) | Event::Recalled(_)) {
            self.history.push(event.clone());
        }
    }

    /// Puts the policy's windows in place, from the whole history where the card's state does not reach back far enough.
    fn adopt(&mut self, policy: &CardPolicy, request: &AuthorizationRequest) -> Result<(), NeedsHistory> {
        let windows = || windows_in_force(policy, request.stripe_controls.as_deref());
        let adopted = self.card.adopt(windows(), policy.refunds_restore, request.received_at);
        if adopted.is_ok() || self.history.is_empty() {
            return adopted;
        }
        let mut card = Card::default();
        card.adopt(windows(), policy.refunds_restore, Timestamp::default())?;
        for event in &self.history {
            card.apply(event);
        }
        self.card = card;
        Ok(())
    }
}
