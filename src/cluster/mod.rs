//! Which node answers for a card. One node is a cluster of one: every card is its own. Who owns a card is a hint; the
//! journal is the authority.

use std::sync::Arc;

pub use crate::actors::{
    Arrival, AuthorizationView, CardView, DecisionView, EntryView, HoldView, LimitView, NotBooked,
    TimedAnswer, UnconfirmedView,
};
use crate::{
    actors::Directory,
    domain::{AuthorizationId, AuthorizationRequest, CardId, Observation, Timestamp},
};

/// The nodes that share a journal, as this node sees them. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    here: Directory,
    node_id: Arc<str>,
}

impl Cluster {
    /// A cluster of one.
    #[must_use]
    pub fn of_one(here: Directory, node_id: &str) -> Self {
        Self { here, node_id: node_id.into() }
    }

    /// The node that owns a card: this one.
    #[must_use]
    pub fn owner(&self, _card: &CardId) -> &str {
        &self.node_id
    }

    /// The answer to a request, by the deadline of its arrival.
    pub async fn answer(&self, request: AuthorizationRequest, arrival: Arrival) -> TimedAnswer {
        self.here.ask(request, arrival).await
    }

    /// Books what Stripe says; returns when it is durable.
    ///
    /// # Errors
    /// [`NotBooked`]: Stripe has to deliver the event again.
    pub async fn book(&self, observation: Observation, arrival: Arrival) -> Result<(), NotBooked> {
        self.here.book(observation, arrival).await
    }

    /// Whether the policy in force mirrors the cards' own `spending_controls`.
    #[must_use]
    pub fn mirrors_stripe_controls(&self) -> bool {
        self.here.mirrors_stripe_controls()
    }

    /// The books of a card at the time `now`.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn card(&self, id: &CardId, now: Timestamp) -> Result<Option<CardView>, String> {
        self.here.card(id, now).await
    }

    /// The answers that Stripe has not confirmed in good time, oldest first: those that this node gave.
    #[must_use]
    pub fn unconfirmed(&self, now: Timestamp) -> Vec<UnconfirmedView> {
        self.here.unconfirmed(now)
    }

    /// The books of an authorization.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn authorization(&self, id: &AuthorizationId) -> Result<Option<AuthorizationView>, String> {
        self.here.authorization(id).await
    }
}
