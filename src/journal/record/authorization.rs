//! The record of an authorization, on disk: a part of a card's snapshot, and what comes back from the journal.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Text, Unreadable, budget::charges, decided::MerchantRecord, decided::answer_by, decided::currency_text,
    field, is_false, is_zero, observed::HistoryRecord, optional, ruled::MarksRecord,
};
use crate::domain::{
    Answer, AnswerBy, Answered, Authorization, AuthorizationStatus, DecisionId, Embedded, EventId, Outcome,
    Progress, Question, Reason, Seen, Source, Timestamp, ToldBy, Transaction, TransactionId, TransactionKind,
    Transactions, Version,
};

#[derive(Serialize, Deserialize)]
pub(super) struct AuthorizationRecord<'a> {
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
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    charges: Vec<Text<'a>>,
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
    #[serde(skip_serializing_if = "Option::is_none", default)]
    amount_before: Option<i64>,
    approved: bool,
    status: Text<'a>,
    #[serde(borrow)]
    history: Vec<HistoryRecord<'a>>,
    /// History entries, terminal, transactions, update, created, event.
    progress: (u32, bool, u32, bool, i64, Text<'a>),
    /// The time that counts for windows, where that is another than of its creation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    at: Option<i64>,
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
pub(super) struct TransactionRecord<'a> {
    kind: Text<'a>,
    amount: i64,
    at: i64,
    /// Told by, created, event.
    version: (Text<'a>, i64, Text<'a>),
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
            charges: authorization.charges.iter().map(|account| account.as_str().into()).collect(),
        }
    }
}

impl AuthorizationRecord<'_> {
    pub(super) fn into_authorization(self) -> Result<Authorization, Unreadable> {
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
            charges: charges(&self.charges)?,
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
        let at = Some(seen.at.as_micros()).filter(|_| seen.at != *created);
        let created = created.as_micros();
        Self {
            amount: seen.amount,
            amount_before: seen.amount_before,
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
            at,
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
            amount_before: self.amount_before,
            approved: self.approved,
            status: field("status", &self.status, AuthorizationStatus::new)?,
            history: self.history.into_iter().map(Into::into).collect(),
            at: self.at.map_or(created, Timestamp::from_micros),
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
    pub(super) fn into_transaction(self) -> Result<Transaction, Unreadable> {
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
