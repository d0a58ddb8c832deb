//! What Stripe says happened: snapshots of authorizations, captures and refunds, the state of cards and cardholders.
//! Facts, not questions: they are booked, never refused.

use std::{fmt, sync::Arc};

use smol_str::SmolStr;

use super::{
    ids::{Account, AuthorizationId, CardId, CardholderId, ConnectedAccountId, EventId, TransactionId},
    merchant::Merchant,
    money::{Currency, Money},
    rule::MetadataKey,
    standing::State,
    time::Timestamp,
};

/// One event from Stripe's regular webhook that concerns the books.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation {
    /// The event that brought it.
    pub event: EventId,
    /// When Stripe created the event.
    pub created: Timestamp,
    /// When it reached us, by our clock.
    pub received_at: Timestamp,
    /// Whether real money moved.
    pub livemode: bool,
    /// The connected account, in events of Stripe Connect.
    pub connected_account: Option<ConnectedAccountId>,
    /// Whom it concerns.
    pub subject: Subject,
    /// The card that this card replaces, where the event has the whole card.
    pub replacement_for: Option<CardId>,
    /// What happened.
    pub fact: Fact,
}

impl Observation {
    /// The card that it concerns.
    #[must_use]
    pub const fn card(&self) -> Option<&CardId> {
        match &self.subject {
            Subject::Card(card) => Some(card),
            Subject::Cardholder(_) => None,
        }
    }
}

/// Whose books an event belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A card's.
    Card(CardId),
    /// A cardholder's, which say what holds for all of its cards.
    Cardholder(CardholderId),
}

impl Subject {
    /// The stream of entries that it is booked in.
    #[must_use]
    pub fn account(&self) -> Account {
        match self {
            Self::Card(card) => Account::from(card),
            Self::Cardholder(cardholder) => Account::from(cardholder),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Card(card) => card.fmt(f),
            Self::Cardholder(cardholder) => cardholder.fmt(f),
        }
    }
}

/// What can happen to the books.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// `issuing_authorization.created` and `.updated`.
    Authorization(Box<AuthorizationSeen>),
    /// `issuing_transaction.created` and `.updated`.
    Transaction(Box<TransactionSeen>),
    /// `issuing_card.created` and `.updated`.
    Card(Box<CardSeen>),
    /// `issuing_cardholder.created` and `.updated`.
    Cardholder(Box<CardholderSeen>),
    /// Any other event that names a card: acknowledged, and nothing in the books changes.
    Other(EventType),
}

/// A full picture of an authorization at the time of an event.
#[derive(Clone, PartialEq, Debug)]
pub struct AuthorizationSeen {
    /// Which authorization.
    pub id: AuthorizationId,
    /// `.updated` rather than `.created`: with equal progress it is the later word.
    pub is_update: bool,
    /// When Stripe created the authorization.
    pub created: Timestamp,
    /// Approved in total so far, or, where `approved` is false, rejected.
    pub amount: Money,
    /// What `amount` was before, where `previous_attributes` says that it changed.
    pub amount_before: Option<i64>,
    /// Stripe's last word on whether it stands.
    pub approved: bool,
    /// Where it stands in its life.
    pub status: AuthorizationStatus,
    /// Every decided request, oldest first.
    pub history: Vec<HistoryEntry>,
    /// How many transactions it lists.
    pub transactions: u32,
    /// Those of them that say what they are.
    pub listed: Vec<ListedTransaction>,
    /// Where the card was used.
    pub merchant: Merchant,
    /// Whether it says of a request that Stripe did something else than was answered: found when it was recorded.
    pub differs: bool,
    /// Whose card it is, where the policy in force has budgets when it is read. Not written down: what comes of it is.
    pub holder: Option<Box<HolderSeen>>,
}

/// Whose card an event embeds: what the budgets follow from that it charges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HolderSeen {
    /// `metadata.tollgate_group` of the card, or else of its cardholder.
    pub group: Option<Arc<str>>,
    /// The cardholder.
    pub cardholder: Option<CardholderId>,
    /// The entries of metadata that the policy names.
    pub metadata: Vec<(MetadataKey, SmolStr)>,
}

/// A capture or refund as an authorization lists it. It is money, whether or not its own event ever comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedTransaction {
    /// Which transaction.
    pub id: TransactionId,
    /// Capture or refund.
    pub kind: TransactionKind,
    /// As Stripe signs it: a capture is negative, a refund positive.
    pub amount: i64,
    /// When Stripe created it.
    pub created: Timestamp,
}

/// One decided request, as Stripe tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    /// What was asked, in addition.
    pub amount: i64,
    /// What became of it.
    pub approved: bool,
    /// When it was decided.
    pub created: Timestamp,
    /// Who decided it, and why: Stripe's word, kept also where it is new to us.
    pub reason: Arc<str>,
}

impl HistoryEntry {
    /// The reason by its name of today: API versions before 2019 and 2025 had others for some of them.
    #[must_use]
    pub fn reason_today(&self) -> &str {
        match &*self.reason {
            "authentication_failed" | "incorrect_cvc" | "incorrect_expiry" => "verification_failed",
            "authorization_controls" => "spending_controls",
            "account_inactive" | "account_compliance_disabled" => "account_disabled",
            "network_stip" => "network_fallback",
            today => today,
        }
    }
}

/// `status` of an authorization.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AuthorizationStatus {
    /// Open: money is held, if it was approved.
    Pending,
    /// Captured, or declined.
    Closed,
    /// Released by the merchant (and, before API version 2025-03-31, also by time).
    Reversed,
    /// Released by time. A late capture may still come.
    Expired,
}

impl AuthorizationStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Closed, Self::Reversed, Self::Expired];

    /// Stripe's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Closed => "closed",
            Self::Reversed => "reversed",
            Self::Expired => "expired",
        }
    }

    /// Reads Stripe's word.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Nothing goes back to pending from here.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending)
    }
}

impl fmt::Display for AuthorizationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A capture or a refund.
#[derive(Clone, PartialEq, Debug)]
pub struct TransactionSeen {
    /// Which transaction.
    pub id: TransactionId,
    /// `.updated` rather than `.created`.
    pub is_update: bool,
    /// When Stripe created it.
    pub created: Timestamp,
    /// Capture or refund.
    pub kind: TransactionKind,
    /// As Stripe signs it: a capture is negative, a refund positive.
    pub amount: i64,
    /// Of which currency; some events leave it out.
    pub currency: Option<Currency>,
    /// What it belongs to. Force captures and some refunds have none, and a refund may name a wrong one.
    pub authorization: Option<AuthorizationId>,
    /// Where the card was used.
    pub merchant: Merchant,
}

/// `type` of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TransactionKind {
    /// Money taken.
    Capture,
    /// Money given back; negative where a refund is itself reversed.
    Refund,
}

impl TransactionKind {
    /// Stripe's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Refund => "refund",
        }
    }

    /// Reads Stripe's word.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        [Self::Capture, Self::Refund].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The state of a card itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardSeen {
    /// `.updated` rather than `.created`.
    pub is_update: bool,
    /// `status` is `active`; an inactive or cancelled card declines here too.
    pub is_active: bool,
    /// `currency` of the card.
    pub currency: Option<Currency>,
    /// `metadata.tollgate_group` of the card itself.
    pub group: Option<Arc<str>>,
    /// What it was before, by `previous_attributes`; none where the event does not say.
    pub before: Option<State>,
}

/// The state of a cardholder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardholderSeen {
    /// `.updated` rather than `.created`.
    pub is_update: bool,
    /// `status` is `active`; all cards of an inactive or blocked cardholder decline here too.
    pub is_active: bool,
    /// `metadata.tollgate_group`.
    pub group: Option<Arc<str>>,
    /// What it was before, by `previous_attributes`; none where the event does not say.
    pub before: Option<State>,
}

/// `type` of an event that only has to be acknowledged: what Stripe wrote, if it looks like a type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventType(Arc<str>);

impl EventType {
    /// Takes up to 100 lower-case letters, digits, dots and underscores.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let usable = !text.is_empty()
            && text.len() <= 100
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.'));
        usable.then(|| Self(text.into()))
    }

    /// The type as Stripe wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
