//! What a body says: a question, something that happened, or something to acknowledge. Whether it may be believed is
//! `signature`'s to say, and comes first.
//!
//! Read leniently where Stripe's API may grow (unknown fields and values, missing keys), strictly where money depends
//! on it (ids, the pending amount, its currency). Nothing that is personal gets past this room.

mod tape;
mod envelope;
mod card;
mod controls;
mod merchant;
mod request;
mod authorization;
mod transaction;

use std::{cell::RefCell, mem};

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape};

use crate::domain::{AuthorizationRequest, EventId, EventType, Fact, Observation, Timestamp};
use envelope::Envelope;
use tape::{Value, fields};

/// What one delivery from Stripe is to us.
#[derive(Clone, PartialEq, Debug)]
pub enum Incoming {
    /// A question that waits for a decision. `asked` says whether it can be decided at all.
    Request(Box<AuthorizationRequest>),
    /// Something that happened to a card's books.
    Observation(Box<Observation>),
    /// Nothing to book: it only has to be acknowledged.
    Acknowledged {
        /// The event, where it names itself.
        event: Option<EventId>,
        /// What kind of event it is.
        kind: Kind,
        /// Why there is nothing to book.
        cause: Unbooked,
    },
}

impl Incoming {
    /// The kind of the event. A receipt that was added to a transaction counts as its update.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::AuthorizationRequest,
            Self::Acknowledged { kind, .. } => *kind,
            Self::Observation(observation) => match &observation.fact {
                Fact::Authorization(seen) if seen.is_update => Kind::AuthorizationUpdated,
                Fact::Authorization(_) => Kind::AuthorizationCreated,
                Fact::Transaction(seen) if seen.is_update => Kind::TransactionUpdated,
                Fact::Transaction(_) => Kind::TransactionCreated,
                Fact::Card(seen) if seen.is_update => Kind::CardUpdated,
                Fact::Card(_) => Kind::CardCreated,
                Fact::Other(event_type) => Kind::of(event_type.as_str()),
            },
        }
    }
}

/// What the reader is asked for beyond the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// Read the `spending_controls` of the card and its cardholder too.
    pub mirror_stripe_controls: bool,
}

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
    /// Everything else.
    Other,
}

impl Kind {
    /// Every kind, for metrics.
    pub const ALL: [Self; 12] = [
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
            Self::Other => "other",
        }
    }
}

/// Why an event is acknowledged and not booked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Unbooked {
    /// Events of this kind concern no card's books.
    #[error("it concerns no card's books")]
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

/// Why a body is refused with a 4xx. No message repeats what the body says.
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
    /// A field that matters occurs twice in one object.
    #[error("expected each field once, found one twice")]
    DuplicateKey,
    /// JSON, but not an Event of Stripe's v1 API. Thin events are another product.
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
}

impl Malformed {
    /// Every cause, for metrics.
    pub const ALL: [Self; 9] = [
        Self::NotJson,
        Self::NotUtf8,
        Self::TooDeep,
        Self::DuplicateKey,
        Self::NotAnEvent,
        Self::NoType,
        Self::NoObject,
        Self::NoEventId,
        Self::NoAuthorizationId,
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
        }
    }
}

/// Why the walk of a body ends early.
#[derive(Clone, Copy)]
enum Stop {
    Malformed(Malformed),
    Unbooked(Unbooked),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Unbooked> for Stop {
    fn from(unbooked: Unbooked) -> Self {
        Self::Unbooked(unbooked)
    }
}

/// Reads a body with this thread's own [`Reader`].
///
/// # Errors
/// When the body is no event that could be answered; see [`Malformed`].
pub fn read(body: &[u8], received_at: Timestamp, reading: Reading) -> Result<Incoming, Malformed> {
    thread_local! {
        static READER: RefCell<Reader> = RefCell::new(Reader::default());
    }
    READER.with_borrow_mut(|reader| reader.read(body, received_at, reading))
}

/// The deepest nesting that is read; a full event has eight levels.
const DEPTH_MAX: usize = 64;

/// Room that is made ahead, and kept after a body that needed more: a full event is about 5 KB.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The buffers of the parser, kept from body to body so that reading allocates only what it returns.
pub struct Reader {
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            scratch: Vec::new(),
            buffers: Buffers::with_max_depth(8 * 1024, DEPTH_MAX),
            tape: Tape(Vec::new()),
        }
    }
}

impl Reader {
    /// Reads a body that reached us at `received_at`.
    ///
    /// # Errors
    /// When the body is no event that could be answered; see [`Malformed`].
    pub fn read(
        &mut self,
        body: &[u8],
        received_at: Timestamp,
        reading: Reading,
    ) -> Result<Incoming, Malformed> {
        // The parser unescapes strings in place, and reads past the end in whole vectors.
        self.scratch.clear();
        self.scratch.extend_from_slice(body);
        self.scratch.extend_from_slice(&[0; INPUT_PADDING]);
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(&mut self.scratch, body.len(), &mut self.buffers, &mut tape);
        let incoming = match parsed {
            Ok(()) => incoming(Value::root(&tape.0), received_at, reading),
            Err(error) => Err(refusal(&error)),
        };
        self.tape = tape.reset();
        if body.len() > KEPT_BYTES_MAX {
            *self = Self::default();
        }
        incoming
    }
}

/// What the parser's error means to a sender. The message of the parser itself would repeat a part of the body.
fn refusal(error: &simd_json::Error) -> Malformed {
    match error.error() {
        ErrorType::InvalidUtf8 => Malformed::NotUtf8,
        ErrorType::DepthLimitExceeded => Malformed::TooDeep,
        _ => Malformed::NotJson,
    }
}

fn incoming(root: Value<'_>, received_at: Timestamp, reading: Reading) -> Result<Incoming, Malformed> {
    let envelope = Envelope::read(root, received_at)?;
    if envelope.kind == Kind::AuthorizationRequest {
        return request::read(envelope, reading).map(|request| Incoming::Request(Box::new(request)));
    }
    let event = envelope.event.clone();
    let kind = envelope.kind;
    match observation(envelope) {
        Ok(observation) => Ok(Incoming::Observation(Box::new(observation))),
        Err(Stop::Unbooked(cause)) => Ok(Incoming::Acknowledged { event, kind, cause }),
        Err(Stop::Malformed(malformed)) => Err(malformed),
    }
}

fn observation(envelope: Envelope<'_>) -> Result<Observation, Stop> {
    let (card, fact) = match envelope.kind {
        Kind::AuthorizationCreated => authorization::read(&envelope, false)?,
        Kind::AuthorizationUpdated => authorization::read(&envelope, true)?,
        Kind::TransactionCreated => transaction::read(&envelope, false)?,
        Kind::TransactionUpdated | Kind::TransactionReceiptUpdated => transaction::read(&envelope, true)?,
        Kind::CardCreated => card::seen(envelope.object, false)?,
        Kind::CardUpdated => card::seen(envelope.object, true)?,
        Kind::Token | Kind::Cardholder | Kind::Dispute | Kind::Other => other(&envelope)?,
        Kind::AuthorizationRequest => return Err(Unbooked::NotOurs.into()),
    };
    Ok(Observation {
        event: envelope.event.ok_or(Unbooked::NoEventId)?,
        created: envelope.created,
        received_at: envelope.received_at,
        livemode: envelope.livemode,
        connected_account: envelope.connected_account,
        card,
        fact,
    })
}

/// Any other event of Issuing that names a card. Stripe's other products have cards too, which are not ours.
fn other(envelope: &Envelope<'_>) -> Result<(crate::domain::CardId, Fact), Stop> {
    let event_type = EventType::new(envelope.event_type).ok_or(Unbooked::NotOurs)?;
    if !envelope.event_type.starts_with("issuing_") {
        return Err(Unbooked::NotOurs.into());
    }
    fields!(envelope.object; "card" => card);
    let card = card::Card::read(card)?.id.ok_or(Unbooked::NotOurs)?;
    Ok((card, Fact::Other(event_type)))
}
