//! The kinds of events, as labels and for dispatch. What an event of a kind means is in the other files.

/// The kinds of events that are told apart, in metrics too: a closed list, whatever Stripe sends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// `issuing_authorization.request`.
    AuthorizationRequest,
    /// `issuing_authorization.created`.
    AuthorizationCreated,
    /// `issuing_authorization.updated`.
    AuthorizationUpdated,
    /// `issuing_transaction.created`.
    TransactionCreated,
    /// `issuing_transaction.updated`.
    TransactionUpdated,
    /// `issuing_transaction.purchase_details_receipt_updated`.
    TransactionReceiptUpdated,
    /// `issuing_card.created`.
    CardCreated,
    /// `issuing_card.updated`.
    CardUpdated,
    /// `issuing_token.*`.
    Token,
    /// `issuing_cardholder.*`.
    Cardholder,
    /// `issuing_dispute.*`.
    Dispute,
    /// Stripe counts timeouts of our answers: `v2.core.health.issuing_authorization_request_timeout.firing`.
    HealthTimeoutFiring,
    /// They are over.
    HealthTimeoutResolved,
    /// Stripe counts errors of our answers: `v2.core.health.issuing_authorization_request_errors.firing`.
    HealthErrorsFiring,
    /// They are over.
    HealthErrorsResolved,
    /// An event that will never come: `v2.core.health.event_generation_failure.resolved`.
    EventGenerationFailure,
    /// Any other thin event, `v2.*`.
    Thin,
    /// Everything else.
    Other,
}

impl Kind {
    /// Every kind, for metrics.
    pub const ALL: [Self; 18] = [
        Self::AuthorizationRequest,
        Self::AuthorizationCreated,
        Self::AuthorizationUpdated,
        Self::TransactionCreated,
        Self::TransactionUpdated,
        Self::TransactionReceiptUpdated,
        Self::CardCreated,
        Self::CardUpdated,
        Self::Token,
        Self::Cardholder,
        Self::Dispute,
        Self::HealthTimeoutFiring,
        Self::HealthTimeoutResolved,
        Self::HealthErrorsFiring,
        Self::HealthErrorsResolved,
        Self::EventGenerationFailure,
        Self::Thin,
        Self::Other,
    ];

    /// The kind of an event of this `type`.
    #[must_use]
    pub fn of(event_type: &str) -> Self {
        if let Some(exact) = Self::ALL.into_iter().find(|kind| kind.as_str() == event_type) {
            return exact;
        }
        match event_type.split_once('.') {
            Some(("issuing_token", _)) => Self::Token,
            Some(("issuing_cardholder", _)) => Self::Cardholder,
            Some(("issuing_dispute", _)) => Self::Dispute,
            Some(("v2", _)) => Self::Thin,
            _ => Self::Other,
        }
    }

    /// The label `event` of the metric: Stripe's word for a single type, the family for the rest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationRequest => "issuing_authorization.request",
            Self::AuthorizationCreated => "issuing_authorization.created",
            Self::AuthorizationUpdated => "issuing_authorization.updated",
            Self::TransactionCreated => "issuing_transaction.created",
            Self::TransactionUpdated => "issuing_transaction.updated",
            Self::TransactionReceiptUpdated => "issuing_transaction.purchase_details_receipt_updated",
            Self::CardCreated => "issuing_card.created",
            Self::CardUpdated => "issuing_card.updated",
            Self::Token => "issuing_token",
            Self::Cardholder => "issuing_cardholder",
            Self::Dispute => "issuing_dispute",
            Self::HealthTimeoutFiring => "v2.core.health.issuing_authorization_request_timeout.firing",
            Self::HealthTimeoutResolved => "v2.core.health.issuing_authorization_request_timeout.resolved",
            Self::HealthErrorsFiring => "v2.core.health.issuing_authorization_request_errors.firing",
            Self::HealthErrorsResolved => "v2.core.health.issuing_authorization_request_errors.resolved",
            Self::EventGenerationFailure => "v2.core.health.event_generation_failure.resolved",
            Self::Thin => "v2",
            Self::Other => "other",
        }
    }
}
