//! What is turned away, in the log and in the metrics. What Stripe signed and gets a 4xx is a mistake in the set-up, and is
//! missing in the ledger: each cause has a log line of its own, so that noise from strangers hides none of them.

use std::sync::Arc;

use crate::{
    domain::{EventId, Timestamp},
    log::Seldom,
    metrics::{Label as _, Labels as _, Metrics, Refusal},
    stripe::SignatureError,
};

/// Logs and counts what is turned away, each cause at most once a second in the log.
pub(super) struct Refusals {
    metrics: Arc<Metrics>,
    signed: Vec<Seldom>,
    unsigned: Seldom,
}

/// What is known of a signed request that is turned away.
#[derive(Default)]
pub(super) struct Known<'a> {
    /// The event, if it was read.
    pub(super) event: Option<&'a EventId>,
    /// The kind of the event, if it was read.
    pub(super) kind: Option<&'static str>,
    /// Whether a secret fits the body. Without a body, only the form and the time of the signature were checked.
    pub(super) is_verified: bool,
}

impl Refusals {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            signed: Refusal::WORDS.iter().map(|_| Seldom::default()).collect(),
            unsigned: Seldom::default(),
        }
    }

    /// A signed request was turned away. `what` says what was expected and found, and what to do.
    pub(super) fn signed(&self, cause: Refusal, known: &Known<'_>, now: Timestamp, what: &str) {
        self.metrics.webhook.refused.get(cause).increment(1);
        let Some(held_back) = self.signed.get(cause.index()).and_then(|seldom| seldom.turn(now)) else {
            return;
        };
        tracing::warn!(
            cause = cause.as_str(),
            event = known.event.map(tracing::field::display),
            kind = known.kind,
            signature = if known.is_verified { "valid" } else { "not checked" },
            held_back,
            "refused a signed request: {what}"
        );
    }

    /// A request without a valid signature was turned away.
    pub(super) fn unsigned(&self, cause: SignatureError, now: Timestamp) {
        if let Some(held_back) = self.unsigned.turn(now) {
            tracing::warn!(
                cause = cause.as_str(),
                held_back,
                "refused a request without a valid signature: {cause}; compare STRIPE_WEBHOOK_SECRET with the \
                 endpoint's signing secret in Stripe's dashboard"
            );
        }
    }
}
