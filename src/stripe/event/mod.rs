//! What a body says: a question, something that happened, or something to acknowledge. Whether it may be believed is
//! `signature`'s to say, and comes first.
//!
//! Read leniently where Stripe's API may grow (unknown fields and values, missing keys), strictly where money depends
//! on it (ids, the pending amount, its currency). Nothing that is personal gets past this room.

mod kind;
mod cause;
mod reader;
mod scalar;
mod forms;
mod tape;
mod envelope;
mod card;
mod controls;
mod details;
mod merchant;
mod request;
mod authorization;
mod transaction;
mod thin;

use std::cell::RefCell;

pub use cause::{Malformed, Unbooked};
pub use kind::Kind;
pub use reader::Reader;

use crate::domain::{
    AuthorizationRequest, CardId, EventId, EventType, Fact, Observation, Subject, Timestamp,
    rule::MetadataKeys,
};
use envelope::Envelope;
use tape::{Value, fields};

/// What one delivery from Stripe is to us.
#[derive(Clone, PartialEq, Debug)]
pub enum Incoming {
    /// A question that waits for a decision. `asked` says whether it can be decided at all.
    Request(Box<AuthorizationRequest>),
    /// Something that happened and belongs in the books.
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
                Fact::Cardholder(_) => Kind::Cardholder,
                Fact::Other(event_type) => Kind::of(event_type.as_str()),
            },
        }
    }
}

/// What the reader is asked for beyond the contract.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// Read the `spending_controls` of the card and its cardholder too.
    pub mirror_stripe_controls: bool,
    /// When names of merchants are read.
    pub merchant_names: MerchantNames,
    /// The entries of metadata of card and cardholder that are read too.
    pub metadata: MetadataKeys,
    /// Read whose card an authorization is on, for the budgets that it charges.
    pub has_budgets: bool,
}

/// When names of merchants are read, and so recorded: the name of a sole trader is personal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MerchantNames {
    /// In test mode.
    #[default]
    TestMode,
    /// In test mode and in live mode.
    Always,
    /// In neither.
    Never,
}

impl MerchantNames {
    /// Reads the value of the setting `TOLLGATE_RECORD_MERCHANT_NAMES`.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        match text {
            "test_mode" => Some(Self::TestMode),
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// Reads a body with this thread's own [`Reader`].
///
/// # Errors
/// When the body is no event that could be answered; see [`Malformed`].
pub fn read(body: &[u8], received_at: Timestamp, reading: &Reading) -> Result<Incoming, Malformed> {
    thread_local! {
        static READER: RefCell<Reader> = RefCell::new(Reader::default());
    }
    READER.with_borrow_mut(|reader| reader.read(body, received_at, reading))
}

fn incoming(root: Value<'_>, received_at: Timestamp, reading: &Reading) -> Result<Incoming, Malformed> {
    let envelope = match Envelope::read(root, received_at) {
        Ok(envelope) => envelope,
        Err(Malformed::NotAnEvent) => return thin::read(root),
        Err(malformed) => return Err(malformed),
    };
    if envelope.kind == Kind::Other && envelope.event_type == "issuing_authentication.decision" {
        return Err(Malformed::AuthenticationDecision);
    }
    if envelope.kind == Kind::AuthorizationRequest {
        return request::read(envelope, reading).map(|request| Incoming::Request(Box::new(request)));
    }
    let event = envelope.event.clone();
    let kind = envelope.kind;
    Ok(match observation(envelope, reading) {
        Ok(observation) => Incoming::Observation(Box::new(observation)),
        Err(cause) => Incoming::Acknowledged { event, kind, cause },
    })
}

/// What an event tells, and of whom.
struct About {
    subject: Subject,
    replacement_for: Option<CardId>,
    fact: Fact,
}

fn observation(envelope: Envelope<'_>, reading: &Reading) -> Result<Observation, Unbooked> {
    let About { subject, replacement_for, fact } = match envelope.kind {
        Kind::AuthorizationCreated | Kind::AuthorizationUpdated => authorization::read(&envelope, reading)?,
        Kind::TransactionCreated | Kind::TransactionUpdated | Kind::TransactionReceiptUpdated => {
            transaction::read(&envelope)?
        }
        Kind::CardCreated | Kind::CardUpdated => card::seen(&envelope)?,
        Kind::Cardholder if envelope.is_of_change() => card::cardholder_seen(&envelope)?,
        Kind::Token | Kind::Cardholder | Kind::Dispute | Kind::Other => other(&envelope)?,
        Kind::AuthorizationRequest
        | Kind::HealthTimeoutFiring
        | Kind::HealthTimeoutResolved
        | Kind::HealthErrorsFiring
        | Kind::HealthErrorsResolved
        | Kind::EventGenerationFailure
        | Kind::Thin => return Err(Unbooked::NotOurs),
    };
    Ok(Observation {
        event: envelope.event.ok_or(Unbooked::NoEventId)?,
        created: envelope.created,
        received_at: envelope.received_at,
        livemode: envelope.livemode,
        connected_account: envelope.connected_account,
        subject,
        replacement_for,
        fact,
    })
}

/// Any other event of Issuing that names a card. Stripe's other products have cards too, which are not ours.
fn other(envelope: &Envelope<'_>) -> Result<About, Unbooked> {
    let event_type = EventType::new(envelope.event_type).ok_or(Unbooked::NotOurs)?;
    if !envelope.event_type.starts_with("issuing_") {
        return Err(Unbooked::NotOurs);
    }
    fields!(envelope.object; "card" => card);
    let card::Card { id, replacement_for, .. } = card::Card::read(card);
    let subject = Subject::Card(id.ok_or(Unbooked::NotOurs)?);
    Ok(About { subject, replacement_for, fact: Fact::Other(event_type) })
}
