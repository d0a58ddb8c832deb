//! The whole state of a card, on disk: what a snapshot holds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Text, Unreadable,
    controls::ControlsRecord,
    decided::{MerchantRecord, answer_by, currency_text},
    field, is_false, is_zero,
    observed::HistoryRecord,
    optional,
    ruled::MarksRecord,
    tally::TallyRecord,
};
use crate::domain::{
    Answer, AnswerBy, Answered, Authorization, AuthorizationId, AuthorizationStatus, Card, CardId, Carried,
    ConnectedAccountId, DecisionId, Embedded, EventId, Forgotten, Joined, Outcome, Progress, Question,
    Reason, Recalled, Seen, Source, Standing, Timestamp, ToldBy, Totals, Transaction, TransactionId,
    TransactionKind, Transactions, Unlinked, Version,
};

#[derive(Serialize, Deserialize)]
pub(super) struct CardRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    time: i64,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    authorizations: Vec<(Text<'a>, AuthorizationRecord<'a>)>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    unlinked: Vec<(Text<'a>, UnlinkedRecord<'a>)>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    places: Vec<(Text<'a>, Text<'a>)>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    tallies: Vec<TallyRecord<'a>>,
    #[serde(skip_serializing_if = "is_false", default)]
    refunds_restore: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    group: Option<Text<'a>>,
    /// Active, group; by an update, created, event.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    standing: Option<(bool, Option<Text<'a>>, bool, i64, Text<'a>)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    account: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    joined: Option<JoinedRecord<'a>>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    carried: Vec<CarriedRecord<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    controls: Option<ControlsRecord<'a>>,
    forgotten: (i64, i64),
    /// Captured, refunded, overrun.
    #[serde(default)]
    let_go: (i64, i64, i64),
}

/// The step into another card's books.
#[derive(Serialize, Deserialize)]
pub(super) struct JoinedRecord<'a> {
    card: Text<'a>,
    #[serde(skip_serializing_if = "is_false", default)]
    carried: bool,
}

/// The end of what was booked on a card before it joined these books.
#[derive(Serialize, Deserialize)]
pub(super) struct CarriedRecord<'a> {
    card: Text<'a>,
    through: u64,
}

/// The record of an authorization, by its id.
#[derive(Serialize, Deserialize)]
pub(super) struct RecalledRecord<'a> {
    id: Text<'a>,
    #[serde(borrow, flatten)]
    authorization: AuthorizationRecord<'a>,
}

#[derive(Serialize, Deserialize)]
struct AuthorizationRecord<'a> {
    created: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    #[serde(borrow, flatten)]
    merchant: MerchantRecord<'a>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    answers: Vec<AnsweredRecord<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    seen: Option<SeenRecord<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    embedded: Option<EmbeddedRecord<'a>>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    transactions: Vec<(Text<'a>, TransactionRecord<'a>)>,
}

#[derive(Serialize, Deserialize)]
struct AnsweredRecord<'a> {
    id: Text<'a>,
    event: Text<'a>,
    history: u32,
    asked: i64,
    #[serde(skip_serializing_if = "is_zero", default)]
    before: i64,
    at: i64,
    /// Where that is another time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    received_at: Option<i64>,
    #[serde(skip_serializing_if = "is_zero", default)]
    granted: i64,
    outcome: Text<'a>,
    reason: Text<'a>,
    source: Text<'a>,
    /// The amount that the reply named.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    amount: Option<i64>,
    #[serde(skip_serializing_if = "is_false", default)]
    challenge: bool,
    #[serde(skip_serializing_if = "is_false", default)]
    by_api: bool,
    /// Where rules of the policy had to do with it.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    marks: Option<MarksRecord<'a>>,
    /// Where it is another than the authorization's.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    merchant: Option<MerchantRecord<'a>>,
    #[serde(skip_serializing_if = "is_zero", default)]
    captured: i64,
    #[serde(skip_serializing_if = "is_false", default)]
    reopens: bool,
}

#[derive(Serialize, Deserialize)]
struct SeenRecord<'a> {
    amount: i64,
    approved: bool,
    status: Text<'a>,
    #[serde(borrow)]
    history: Vec<HistoryRecord<'a>>,
    /// History entries, terminal, transactions, update, created, event.
    progress: (u32, bool, u32, bool, i64, Text<'a>),
    /// Answers that had been given.
    after: u32,
}

/// What an increment embeds of its authorization.
#[derive(Serialize, Deserialize)]
struct EmbeddedRecord<'a> {
    entries: u32,
    created: i64,
    amount: i64,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    history: Vec<HistoryRecord<'a>>,
    at: i64,
    after: u32,
}

#[derive(Serialize, Deserialize)]
struct TransactionRecord<'a> {
    kind: Text<'a>,
    amount: i64,
    at: i64,
    /// Told by, created, event.
    version: (Text<'a>, i64, Text<'a>),
}

#[derive(Serialize, Deserialize)]
struct UnlinkedRecord<'a> {
    #[serde(borrow, flatten)]
    transaction: TransactionRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    #[serde(borrow, flatten)]
    merchant: MerchantRecord<'a>,
}

impl<'a> From<&'a Card> for CardRecord<'a> {
    fn from(card: &'a Card) -> Self {
        let Forgotten { created_through, spent_through } = card.forgotten;
        Self {
            currency: card.currency.map(currency_text),
            time: card.time.as_micros(),
            authorizations: card
                .authorizations
                .iter()
                .map(|(id, one)| (id.as_str().into(), one.into()))
                .collect(),
            unlinked: card.unlinked.iter().map(|(id, one)| (id.as_str().into(), one.into())).collect(),
            places: card
                .places
                .iter()
                .map(|(id, place)| (id.as_str().into(), place.as_str().into()))
                .collect(),
            tallies: card.tallies.iter().map(TallyRecord::from).collect(),
            refunds_restore: card.refunds_restore,
            group: card.group.as_deref().map(Into::into),
            standing: card.standing.as_ref().map(|Standing { is_active, group, version }| {
                let (is_update, created, event) = version;
                let group = group.as_deref().map(Into::into);
                (*is_active, group, *is_update, created.as_micros(), event.as_str().into())
            }),
            account: card.connected_account.as_ref().map(|account| account.as_str().into()),
            joined: card.joined.as_ref().map(JoinedRecord::from),
            carried: card.carried.iter().map(CarriedRecord::from).collect(),
            controls: card.stripe_controls.as_deref().map(ControlsRecord::from),
            forgotten: (created_through.as_micros(), spent_through.as_micros()),
            let_go: (card.let_go.captured, card.let_go.refunded, card.let_go.overrun),
        }
    }
}

impl CardRecord<'_> {
    pub(super) fn into_card(self) -> Result<Card, Unreadable> {
        let mut card = Card {
            currency: optional("currency", self.currency.as_ref(), |text| text.parse().ok())?,
            time: Timestamp::from_micros(self.time),
            refunds_restore: self.refunds_restore,
            group: self.group.as_deref().map(Into::into),
            forgotten: Forgotten {
                created_through: Timestamp::from_micros(self.forgotten.0),
                spent_through: Timestamp::from_micros(self.forgotten.1),
            },
            let_go: Totals { captured: self.let_go.0, refunded: self.let_go.1, overrun: self.let_go.2 },
            connected_account: optional("account", self.account.as_ref(), ConnectedAccountId::new)?,
            joined: self.joined.map(JoinedRecord::into_joined).transpose()?,
            stripe_controls: self.controls.map(ControlsRecord::into_controls).transpose()?.map(Arc::new),
            ..Card::default()
        };
        for (id, record) in self.authorizations {
            card.authorizations.insert(field("id", &id, AuthorizationId::new)?, record.into_authorization()?);
        }
        for (id, record) in self.unlinked {
            card.unlinked.insert(field("id", &id, TransactionId::new)?, record.into_unlinked()?);
        }
        for (id, place) in self.places {
            let place = field("authorization", &place, AuthorizationId::new)?;
            card.places.insert(field("id", &id, TransactionId::new)?, place);
        }
        card.tallies = self.tallies.into_iter().map(TallyRecord::into_tally).collect::<Result<_, _>>()?;
        for CarriedRecord { card: from, through } in self.carried {
            card.carried.push((field("card", &from, CardId::new)?, through));
        }
        if let Some((is_active, group, is_update, created, event)) = self.standing {
            let version = (is_update, Timestamp::from_micros(created), field("event", &event, EventId::new)?);
            card.standing = Some(Standing { is_active, group: group.as_deref().map(Into::into), version });
        }
        Ok(card)
    }
}

impl<'a> From<&'a Joined> for JoinedRecord<'a> {
    fn from(joined: &'a Joined) -> Self {
        Self { card: joined.card.as_str().into(), carried: joined.is_carried }
    }
}

impl JoinedRecord<'_> {
    pub(super) fn into_joined(self) -> Result<Joined, Unreadable> {
        Ok(Joined { card: field("card", &self.card, CardId::new)?, is_carried: self.carried })
    }
}

impl<'a> From<&'a (CardId, u64)> for CarriedRecord<'a> {
    fn from((card, through): &'a (CardId, u64)) -> Self {
        Self { card: card.as_str().into(), through: *through }
    }
}

impl<'a> From<&'a Carried> for CarriedRecord<'a> {
    fn from(carried: &'a Carried) -> Self {
        Self { card: carried.from.as_str().into(), through: carried.through }
    }
}

impl CarriedRecord<'_> {
    pub(super) fn into_carried(self) -> Result<Carried, Unreadable> {
        Ok(Carried {
            from: field("card", &self.card, CardId::new)?,
            through: self.through,
            events: Vec::new(),
        })
    }
}

impl<'a> From<&'a Recalled> for RecalledRecord<'a> {
    fn from(recalled: &'a Recalled) -> Self {
        Self { id: recalled.id.as_str().into(), authorization: (&recalled.authorization).into() }
    }
}

impl RecalledRecord<'_> {
    pub(super) fn into_recalled(self) -> Result<Recalled, Unreadable> {
        Ok(Recalled {
            id: field("id", &self.id, AuthorizationId::new)?,
            authorization: self.authorization.into_authorization()?,
        })
    }
}

impl<'a> From<&'a Authorization> for AuthorizationRecord<'a> {
    fn from(authorization: &'a Authorization) -> Self {
        let transactions = authorization.transactions.iter();
        Self {
            created: authorization.created.as_micros(),
            currency: authorization.currency.map(currency_text),
            merchant: (&authorization.merchant).into(),
            answers: authorization.answers.iter().map(AnsweredRecord::from).collect(),
            seen: authorization.seen.as_deref().map(SeenRecord::from),
            embedded: authorization.embedded.as_deref().map(EmbeddedRecord::from),
            transactions: transactions.map(|(id, one)| (id.as_str().into(), one.into())).collect(),
        }
    }
}

impl AuthorizationRecord<'_> {
    fn into_authorization(self) -> Result<Authorization, Unreadable> {
        let mut transactions = Transactions::default();
        for (id, record) in self.transactions {
            transactions.insert(field("id", &id, TransactionId::new)?, record.into_transaction()?);
        }
        Ok(Authorization {
            created: Timestamp::from_micros(self.created),
            currency: optional("currency", self.currency.as_ref(), |text| text.parse().ok())?,
            merchant: self.merchant.into_merchant()?,
            answers: self.answers.into_iter().map(AnsweredRecord::into_answered).collect::<Result<_, _>>()?,
            seen: self.seen.map(SeenRecord::into_seen).transpose()?.map(Box::new),
            embedded: self.embedded.map(|record| Box::new(Embedded::from(record))),
            transactions,
        })
    }
}

impl<'a> From<&'a Answered> for AnsweredRecord<'a> {
    fn from(answered: &'a Answered) -> Self {
        let Answer { decision, outcome, amount, reason, challenge, source, by, marks } = &answered.answer;
        Self {
            id: decision.to_string().into(),
            event: answered.event.as_str().into(),
            history: answered.question.history_entries,
            asked: answered.question.amount,
            before: answered.question.approved_before,
            at: answered.at.as_micros(),
            received_at: (answered.received_at != answered.at).then(|| answered.received_at.as_micros()),
            granted: answered.granted,
            outcome: outcome.as_str().into(),
            reason: reason.as_str().into(),
            source: source.as_str().into(),
            amount: *amount,
            challenge: *challenge,
            by_api: *by == AnswerBy::Api,
            marks: marks.as_deref().map(MarksRecord::from),
            merchant: answered.merchant.as_deref().map(MerchantRecord::from),
            captured: answered.captured,
            reopens: answered.reopens,
        }
    }
}

impl AnsweredRecord<'_> {
    fn into_answered(self) -> Result<Answered, Unreadable> {
        Ok(Answered {
            question: Question {
                history_entries: self.history,
                amount: self.asked,
                approved_before: self.before,
            },
            event: field("event", &self.event, EventId::new)?,
            at: Timestamp::from_micros(self.at),
            received_at: Timestamp::from_micros(self.received_at.unwrap_or(self.at)),
            granted: self.granted,
            answer: Answer {
                decision: field("id", &self.id, DecisionId::parse)?,
                outcome: field("outcome", &self.outcome, Outcome::new)?,
                amount: self.amount,
                reason: field("reason", &self.reason, Reason::new)?,
                challenge: self.challenge,
                source: field("source", &self.source, Source::new)?,
                by: answer_by(self.by_api),
                marks: self.marks.map(|marks| Arc::new(marks.into_marks())),
            },
            merchant: self.merchant.map(MerchantRecord::into_merchant).transpose()?.map(Box::new),
            captured: self.captured,
            reopens: self.reopens,
        })
    }
}

impl<'a> From<&'a Seen> for SeenRecord<'a> {
    fn from(seen: &'a Seen) -> Self {
        let Progress { history_entries, is_terminal, transactions, is_update, created, event } =
            &seen.progress;
        let created = created.as_micros();
        Self {
            amount: seen.amount,
            approved: seen.approved,
            status: seen.status.as_str().into(),
            history: seen.history.iter().map(HistoryRecord::from).collect(),
            progress: (
                *history_entries,
                *is_terminal,
                *transactions,
                *is_update,
                created,
                event.as_str().into(),
            ),
            after: seen.after,
        }
    }
}

impl SeenRecord<'_> {
    fn into_seen(self) -> Result<Seen, Unreadable> {
        let (history_entries, is_terminal, transactions, is_update, created, event) = self.progress;
        let event = field("event", &event, EventId::new)?;
        let created = Timestamp::from_micros(created);
        Ok(Seen {
            progress: Progress { history_entries, is_terminal, transactions, is_update, created, event },
            amount: self.amount,
            approved: self.approved,
            status: field("status", &self.status, AuthorizationStatus::new)?,
            history: self.history.into_iter().map(Into::into).collect(),
            after: self.after,
        })
    }
}

impl<'a> From<&'a Embedded> for EmbeddedRecord<'a> {
    fn from(embedded: &'a Embedded) -> Self {
        Self {
            entries: embedded.history_entries,
            created: embedded.created.as_micros(),
            amount: embedded.amount,
            history: embedded.history.iter().map(HistoryRecord::from).collect(),
            at: embedded.at.as_micros(),
            after: embedded.after,
        }
    }
}

impl From<EmbeddedRecord<'_>> for Embedded {
    fn from(record: EmbeddedRecord<'_>) -> Self {
        Self {
            history_entries: record.entries,
            created: Timestamp::from_micros(record.created),
            amount: record.amount,
            history: record.history.into_iter().map(Into::into).collect(),
            at: Timestamp::from_micros(record.at),
            after: record.after,
        }
    }
}

impl<'a> From<&'a Transaction> for TransactionRecord<'a> {
    fn from(transaction: &'a Transaction) -> Self {
        let Version { told_by, created, event } = &transaction.version;
        Self {
            kind: transaction.kind.as_str().into(),
            amount: transaction.amount,
            at: transaction.at.as_micros(),
            version: (told_by.as_str().into(), created.as_micros(), event.as_str().into()),
        }
    }
}

impl TransactionRecord<'_> {
    fn into_transaction(self) -> Result<Transaction, Unreadable> {
        let (told_by, created, event) = self.version;
        Ok(Transaction {
            kind: field("kind", &self.kind, TransactionKind::new)?,
            amount: self.amount,
            at: Timestamp::from_micros(self.at),
            version: Version {
                told_by: field("version", &told_by, ToldBy::new)?,
                created: Timestamp::from_micros(created),
                event: field("event", &event, EventId::new)?,
            },
        })
    }
}

impl<'a> From<&'a Unlinked> for UnlinkedRecord<'a> {
    fn from(unlinked: &'a Unlinked) -> Self {
        Self {
            transaction: (&unlinked.transaction).into(),
            currency: unlinked.currency.map(currency_text),
            merchant: (&unlinked.merchant).into(),
        }
    }
}

impl UnlinkedRecord<'_> {
    fn into_unlinked(self) -> Result<Unlinked, Unreadable> {
        Ok(Unlinked {
            transaction: self.transaction.into_transaction()?,
            currency: optional("currency", self.currency.as_ref(), |text| text.parse().ok())?,
            merchant: self.merchant.into_merchant()?,
        })
    }
}
