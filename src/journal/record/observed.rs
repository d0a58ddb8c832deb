//! What Stripe says happened, on disk.

use serde::{Deserialize, Serialize};

use super::{
    Text, Unreadable,
    decided::{MerchantRecord, currency_text},
    field, is_false, optional,
};
use crate::domain::{
    AuthorizationId, AuthorizationSeen, AuthorizationStatus, CardId, CardSeen, CardholderId, CardholderSeen,
    ConnectedAccountId, Currency, EventId, EventType, Fact, HistoryEntry, ListedTransaction, Money,
    Observation, State, Subject, Timestamp, TransactionId, TransactionKind, TransactionSeen,
};

#[derive(Serialize, Deserialize)]
pub(super) struct ObservedRecord<'a> {
    event: Text<'a>,
    /// Whom it concerns: this, or else the cardholder.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    card: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cardholder: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    replacement_for: Option<Text<'a>>,
    created: i64,
    received_at: i64,
    #[serde(skip_serializing_if = "is_false", default)]
    livemode: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    account: Option<Text<'a>>,
    #[serde(borrow, flatten)]
    fact: FactRecord<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FactRecord<'a> {
    #[serde(borrow)]
    Authorization(Box<AuthorizationRecord<'a>>),
    #[serde(borrow)]
    Transaction(Box<TransactionRecord<'a>>),
    #[serde(borrow)]
    CardState(CardStateRecord<'a>),
    #[serde(borrow)]
    CardholderState(CardholderStateRecord<'a>),
    #[serde(borrow)]
    Other(Text<'a>),
}

#[derive(Serialize, Deserialize)]
struct AuthorizationRecord<'a> {
    id: Text<'a>,
    #[serde(skip_serializing_if = "is_false", default)]
    update: bool,
    created: i64,
    amount: i64,
    currency: Text<'a>,
    approved: bool,
    status: Text<'a>,
    history: Vec<HistoryRecord<'a>>,
    transactions: u32,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    listed: Vec<ListedRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    amount_before: Option<i64>,
    #[serde(skip_serializing_if = "is_false", default)]
    differs: bool,
    #[serde(borrow, flatten)]
    merchant: MerchantRecord<'a>,
}

/// A transaction as an authorization lists it.
#[derive(Serialize, Deserialize)]
pub(super) struct ListedRecord<'a> {
    id: Text<'a>,
    kind: Text<'a>,
    amount: i64,
    created: i64,
}

/// One decided request, as Stripe tells it.
#[derive(Serialize, Deserialize)]
pub(super) struct HistoryRecord<'a> {
    amount: i64,
    approved: bool,
    created: i64,
    reason: Text<'a>,
}

#[derive(Serialize, Deserialize)]
struct TransactionRecord<'a> {
    id: Text<'a>,
    #[serde(skip_serializing_if = "is_false", default)]
    update: bool,
    created: i64,
    kind: Text<'a>,
    amount: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    authorization: Option<Text<'a>>,
    #[serde(borrow, flatten)]
    merchant: MerchantRecord<'a>,
}

/// The state of a card at Stripe.
#[derive(Serialize, Deserialize)]
struct CardStateRecord<'a> {
    #[serde(skip_serializing_if = "is_false", default)]
    update: bool,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    group: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    before: Option<StateRecord<'a>>,
}

/// The state of a cardholder at Stripe.
#[derive(Serialize, Deserialize)]
struct CardholderStateRecord<'a> {
    #[serde(skip_serializing_if = "is_false", default)]
    update: bool,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    group: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    before: Option<StateRecord<'a>>,
}

impl<'a> From<&'a Observation> for ObservedRecord<'a> {
    fn from(observation: &'a Observation) -> Self {
        Self {
            event: observation.event.as_str().into(),
            card: observation.card().map(|card| card.as_str().into()),
            cardholder: match &observation.subject {
                Subject::Card(_) => None,
                Subject::Cardholder(cardholder) => Some(cardholder.as_str().into()),
            },
            replacement_for: observation.replacement_for.as_ref().map(|card| card.as_str().into()),
            created: observation.created.as_micros(),
            received_at: observation.received_at.as_micros(),
            livemode: observation.livemode,
            account: observation.connected_account.as_ref().map(|account| account.as_str().into()),
            fact: match &observation.fact {
                Fact::Authorization(seen) => FactRecord::Authorization(Box::new((&**seen).into())),
                Fact::Transaction(seen) => FactRecord::Transaction(Box::new((&**seen).into())),
                Fact::Card(seen) => FactRecord::CardState((&**seen).into()),
                Fact::Cardholder(seen) => FactRecord::CardholderState((&**seen).into()),
                Fact::Other(kind) => FactRecord::Other(kind.as_str().into()),
            },
        }
    }
}

impl ObservedRecord<'_> {
    pub(super) fn into_observation(self) -> Result<Observation, Unreadable> {
        Ok(Observation {
            event: field("event", &self.event, EventId::new)?,
            created: Timestamp::from_micros(self.created),
            received_at: Timestamp::from_micros(self.received_at),
            livemode: self.livemode,
            connected_account: optional("account", self.account.as_ref(), ConnectedAccountId::new)?,
            subject: match (&self.card, &self.cardholder) {
                (None, Some(id)) => Subject::Cardholder(field("cardholder", id, CardholderId::new)?),
                (card, _) => Subject::Card(field("card", card.as_deref().unwrap_or_default(), CardId::new)?),
            },
            replacement_for: optional("replacement_for", self.replacement_for.as_ref(), CardId::new)?,
            fact: match self.fact {
                FactRecord::Authorization(record) => Fact::Authorization(Box::new(record.into_seen()?)),
                FactRecord::Transaction(record) => Fact::Transaction(Box::new(record.into_seen()?)),
                FactRecord::CardState(record) => Fact::Card(Box::new(record.into_seen()?)),
                FactRecord::CardholderState(record) => Fact::Cardholder(Box::new(record.into_seen())),
                FactRecord::Other(kind) => Fact::Other(field("other", &kind, EventType::new)?),
            },
        })
    }
}

impl<'a> From<&'a AuthorizationSeen> for AuthorizationRecord<'a> {
    fn from(seen: &'a AuthorizationSeen) -> Self {
        Self {
            id: seen.id.as_str().into(),
            update: seen.is_update,
            created: seen.created.as_micros(),
            amount: seen.amount.amount,
            currency: currency_text(seen.amount.currency),
            approved: seen.approved,
            status: seen.status.as_str().into(),
            history: seen.history.iter().map(HistoryRecord::from).collect(),
            transactions: seen.transactions,
            amount_before: seen.amount_before,
            differs: seen.differs,
            listed: seen.listed.iter().map(ListedRecord::from).collect(),
            merchant: (&seen.merchant).into(),
        }
    }
}

impl AuthorizationRecord<'_> {
    fn into_seen(self) -> Result<AuthorizationSeen, Unreadable> {
        let currency = field("currency", &self.currency, |text| text.parse::<Currency>().ok())?;
        Ok(AuthorizationSeen {
            holder: None,
            differs: self.differs,
            id: field("id", &self.id, AuthorizationId::new)?,
            is_update: self.update,
            created: Timestamp::from_micros(self.created),
            amount: Money::new(self.amount, currency),
            approved: self.approved,
            status: field("status", &self.status, AuthorizationStatus::new)?,
            history: self.history.into_iter().map(HistoryEntry::from).collect(),
            transactions: self.transactions,
            amount_before: self.amount_before,
            listed: self.listed.into_iter().map(ListedRecord::into_listed).collect::<Result<_, _>>()?,
            merchant: self.merchant.into_merchant()?,
        })
    }
}

impl<'a> From<&'a ListedTransaction> for ListedRecord<'a> {
    fn from(listed: &'a ListedTransaction) -> Self {
        Self {
            id: listed.id.as_str().into(),
            kind: listed.kind.as_str().into(),
            amount: listed.amount,
            created: listed.created.as_micros(),
        }
    }
}

impl ListedRecord<'_> {
    pub(super) fn into_listed(self) -> Result<ListedTransaction, Unreadable> {
        Ok(ListedTransaction {
            id: field("id", &self.id, TransactionId::new)?,
            kind: field("kind", &self.kind, TransactionKind::new)?,
            amount: self.amount,
            created: Timestamp::from_micros(self.created),
        })
    }
}

impl<'a> From<&'a HistoryEntry> for HistoryRecord<'a> {
    fn from(entry: &'a HistoryEntry) -> Self {
        Self {
            amount: entry.amount,
            approved: entry.approved,
            created: entry.created.as_micros(),
            reason: (&*entry.reason).into(),
        }
    }
}

impl From<HistoryRecord<'_>> for HistoryEntry {
    fn from(record: HistoryRecord<'_>) -> Self {
        Self {
            amount: record.amount,
            approved: record.approved,
            created: Timestamp::from_micros(record.created),
            reason: (&*record.reason).into(),
        }
    }
}

impl<'a> From<&'a TransactionSeen> for TransactionRecord<'a> {
    fn from(seen: &'a TransactionSeen) -> Self {
        Self {
            id: seen.id.as_str().into(),
            update: seen.is_update,
            created: seen.created.as_micros(),
            kind: seen.kind.as_str().into(),
            amount: seen.amount,
            currency: seen.currency.map(currency_text),
            authorization: seen.authorization.as_ref().map(|id| id.as_str().into()),
            merchant: (&seen.merchant).into(),
        }
    }
}

impl TransactionRecord<'_> {
    fn into_seen(self) -> Result<TransactionSeen, Unreadable> {
        Ok(TransactionSeen {
            id: field("id", &self.id, TransactionId::new)?,
            is_update: self.update,
            created: Timestamp::from_micros(self.created),
            kind: field("kind", &self.kind, TransactionKind::new)?,
            amount: self.amount,
            currency: optional("currency", self.currency.as_ref(), |text| text.parse().ok())?,
            authorization: optional("authorization", self.authorization.as_ref(), AuthorizationId::new)?,
            merchant: self.merchant.into_merchant()?,
        })
    }
}

impl<'a> From<&'a CardSeen> for CardStateRecord<'a> {
    fn from(seen: &'a CardSeen) -> Self {
        Self {
            update: seen.is_update,
            active: seen.is_active,
            currency: seen.currency.map(currency_text),
            group: seen.group.as_deref().map(Into::into),
            before: seen.before.as_ref().map(StateRecord::from),
        }
    }
}

/// Active, group.
#[derive(Serialize, Deserialize)]
pub(super) struct StateRecord<'a>(bool, #[serde(borrow)] Option<Text<'a>>);

impl<'a> From<&'a State> for StateRecord<'a> {
    fn from(state: &'a State) -> Self {
        Self(state.is_active, state.group.as_deref().map(Into::into))
    }
}

impl From<StateRecord<'_>> for State {
    fn from(record: StateRecord<'_>) -> Self {
        Self { is_active: record.0, group: record.1.as_deref().map(Into::into) }
    }
}

impl CardStateRecord<'_> {
    fn into_seen(self) -> Result<CardSeen, Unreadable> {
        Ok(CardSeen {
            is_update: self.update,
            is_active: self.active,
            currency: optional("currency", self.currency.as_ref(), |text| text.parse().ok())?,
            group: self.group.as_deref().map(Into::into),
            before: self.before.map(State::from),
        })
    }
}

impl<'a> From<&'a CardholderSeen> for CardholderStateRecord<'a> {
    fn from(seen: &'a CardholderSeen) -> Self {
        Self {
            update: seen.is_update,
            active: seen.is_active,
            group: seen.group.as_deref().map(Into::into),
            before: seen.before.as_ref().map(StateRecord::from),
        }
    }
}

impl CardholderStateRecord<'_> {
    fn into_seen(self) -> CardholderSeen {
        CardholderSeen {
            is_update: self.update,
            is_active: self.active,
            group: self.group.as_deref().map(Into::into),
            before: self.before.map(State::from),
        }
    }
}
