//! Why a body is refused, and why an event is acknowledged without being booked. No message repeats what a body says.

use super::reader::DEPTH_MAX;

/// Why an event is acknowledged and not booked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Unbooked {
    /// Events of this kind concern no card's books.
    #[error("it concerns no card")]
    NotOurs,
    /// It should have been booked, but the event has no `id`.
    #[error("expected an event `id`, found none")]
    NoEventId,
    /// No id of the object itself.
    #[error("expected `data.object.id`, found none")]
    NoId,
    /// No card.
    #[error("expected `data.object.card`, found none")]
    NoCard,
    /// No amount that is a whole number in range.
    #[error("expected `data.object.amount` as a whole number of minor units, found none")]
    NoAmount,
    /// Nothing says in which currency the amount is.
    #[error("expected `data.object.currency` as three letters, found none")]
    NoCurrency,
    /// No status, or one that is new to us.
    #[error("expected a known `data.object.status`, found none")]
    NoStatus,
    /// An authorization that does not say whether it stands.
    #[error("expected `data.object.approved`, found none")]
    NoApproval,
    /// A transaction that is neither capture nor refund.
    #[error("expected `data.object.type` to be `capture` or `refund`, found neither")]
    NoTransactionKind,
    /// The shape of before 2020.
    #[error(
        "the event has the shape of before 2020 (`held_amount`); raise the API version of the webhook endpoint"
    )]
    LegacyShape,
}

impl Unbooked {
    /// Every cause, for metrics.
    pub const ALL: [Self; 10] = [
        Self::NotOurs,
        Self::NoEventId,
        Self::NoId,
        Self::NoCard,
        Self::NoAmount,
        Self::NoCurrency,
        Self::NoStatus,
        Self::NoApproval,
        Self::NoTransactionKind,
        Self::LegacyShape,
    ];

    /// Whether the books now lack something that happened, so that a person should look.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        !matches!(self, Self::NotOurs)
    }

    /// A word for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::NoEventId => "no_event_id",
            Self::NoId => "no_id",
            Self::NoCard => "no_card",
            Self::NoAmount => "no_amount",
            Self::NoCurrency => "no_currency",
            Self::NoStatus => "no_status",
            Self::NoApproval => "no_approval",
            Self::NoTransactionKind => "no_transaction_kind",
            Self::LegacyShape => "legacy_shape",
        }
    }
}

/// Why a body is refused with a 4xx.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON at all.
    #[error("expected a JSON object, found something else")]
    NotJson,
    /// Bytes that are no text.
    #[error("expected UTF-8, found other bytes")]
    NotUtf8,
    /// Nested deeper than any event is.
    #[error("expected at most {DEPTH_MAX} levels of nesting, found more")]
    TooDeep,
    /// A field occurs twice in one object, read or not.
    #[error("expected each field once, found one twice")]
    DuplicateKey,
    /// JSON, but neither an event of Stripe's v1 API nor a thin event.
    #[error("expected an event (`\"object\": \"event\"`), found something else")]
    NotAnEvent,
    /// No `type`.
    #[error("expected an event `type`, found none")]
    NoType,
    /// No `data.object`.
    #[error("expected an object as `data.object`, found none")]
    NoObject,
    /// A request whose event has no usable `id`.
    #[error("expected an event `id`, found none")]
    NoEventId,
    /// A request whose authorization has no usable `id`.
    #[error("expected `data.object.id`, found none")]
    NoAuthorizationId,
    /// A question about 3-D Secure. An acknowledgement would let Stripe's default decide, unseen.
    #[error(
        "`issuing_authentication.decision` is not decided here: remove this endpoint from the 3-D Secure settings in \
         Stripe's dashboard"
    )]
    AuthenticationDecision,
}

impl Malformed {
    /// Every cause, for metrics.
    pub const ALL: [Self; 10] = [
        Self::NotJson,
        Self::NotUtf8,
        Self::TooDeep,
        Self::DuplicateKey,
        Self::NotAnEvent,
        Self::NoType,
        Self::NoObject,
        Self::NoEventId,
        Self::NoAuthorizationId,
        Self::AuthenticationDecision,
    ];

    /// A word for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotUtf8 => "not_utf8",
            Self::TooDeep => "too_deep",
            Self::DuplicateKey => "duplicate_key",
            Self::NotAnEvent => "not_an_event",
            Self::NoType => "no_type",
            Self::NoObject => "no_object",
            Self::NoEventId => "no_event_id",
            Self::NoAuthorizationId => "no_authorization_id",
            Self::AuthenticationDecision => "authentication_decision",
        }
    }
}
