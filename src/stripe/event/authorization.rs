//! `issuing_authorization.created` and `.updated`: the full picture of an authorization at the time of the event.

use std::sync::Arc;

use super::{
    About, Reading, Unbooked,
    card::Card,
    details::metadata,
    envelope::Envelope,
    merchant,
    tape::{Value, fields},
};
use crate::domain::{
    AuthorizationId, AuthorizationSeen, AuthorizationStatus, Currency, Fact, HistoryEntry, HolderSeen,
    ListedTransaction, Money, Subject, Timestamp, TransactionId, TransactionKind,
};

pub(super) fn read(envelope: &Envelope<'_>, reading: &Reading) -> Result<About, Unbooked> {
    fields!(envelope.object;
        "id" => id,
        "amount" => amount,
        "approved" => approved,
        "card" => card,
        "created" => created,
        "currency" => currency,
        "held_amount" => held_amount,
        "merchant_amount" => merchant_amount,
        "merchant_currency" => merchant_currency,
        "merchant_data" => merchant_data,
        "request_history" => request_history,
        "status" => status,
        "transactions" => transactions,
    );
    if amount.is_missing() && !held_amount.is_missing() {
        return Err(Unbooked::LegacyShape);
    }
    fields!(envelope.previous; "amount" => amount_before);
    let card = Card::read(card);
    let created = created.whole().map_or(envelope.created, Timestamp::from_seconds);
    let History { entries, currency: history_currency } = History::read(request_history, created);
    let listed = listed(transactions, created);
    let merchant = merchant::read(merchant_data);
    let authorization = id.text().and_then(AuthorizationId::new).ok_or(Unbooked::NoId)?;
    let card_id = card.id.clone().ok_or(Unbooked::NoCard)?;
    let minor_units = amount.whole().filter(|amount| *amount >= 0).ok_or(Unbooked::NoAmount)?;
    // Some senders leave the currency out. The merchant's is the card's only if the two amounts agree.
    let merchant_currency =
        parsed(merchant_currency).filter(|_| merchant_amount.whole() == Some(minor_units));
    let currency = parsed(currency).or(card.currency).or(history_currency).or(merchant_currency);
    let seen = AuthorizationSeen {
        id: authorization,
        is_update: envelope.is_update(),
        created,
        amount: Money::new(minor_units, currency.ok_or(Unbooked::NoCurrency)?),
        amount_before: amount_before.whole(),
        approved: approved.flag().ok_or(Unbooked::NoApproval)?,
        status: status.text().and_then(AuthorizationStatus::new).ok_or(Unbooked::NoStatus)?,
        history: entries,
        transactions: transactions.length(),
        listed,
        merchant,
        differs: false,
        holder: reading.has_budgets.then(|| {
            Box::new(HolderSeen {
                group: card.group.clone().or_else(|| card.cardholder_group.clone()),
                cardholder: card.cardholder.clone(),
                metadata: metadata(&card, &reading.metadata),
            })
        }),
    };
    Ok(About {
        subject: Subject::Card(card_id),
        replacement_for: card.replacement_for,
        fact: Fact::Authorization(Box::new(seen)),
    })
}

/// `request_history`, oldest first, whatever order it came in.
pub(super) struct History {
    pub(super) entries: Vec<HistoryEntry>,
    /// The first currency that an entry names.
    currency: Option<Currency>,
}

impl History {
    pub(super) fn read(history: Value<'_>, authorization_created: Timestamp) -> Self {
        let mut entries = Vec::new();
        let mut first_currency = None;
        for entry in history.items() {
            fields!(entry;
                "amount" => amount,
                "approved" => approved,
                "created" => created,
                "currency" => currency,
                "reason" => reason,
            );
            first_currency = first_currency.or(parsed(currency));
            entries.push(HistoryEntry {
                amount: amount.whole().unwrap_or(0),
                approved: approved.flag().unwrap_or(false),
                created: created.whole().map_or(authorization_created, Timestamp::from_seconds),
                reason: Arc::from(reason.text().filter(|text| is_word(text)).unwrap_or("unknown")),
            });
        }
        entries.sort_by_key(|entry| entry.created);
        Self { entries, currency: first_currency }
    }
}

/// The transactions that say what they are: of one that comes as an id alone, its own event has to tell.
pub(super) fn listed(transactions: Value<'_>, authorization_created: Timestamp) -> Vec<ListedTransaction> {
    let mut listed = Vec::new();
    for transaction in transactions.items() {
        fields!(transaction;
            "id" => id,
            "amount" => amount,
            "created" => created,
            "type" => kind,
        );
        let id = id.text().and_then(TransactionId::new);
        let kind = kind.text().and_then(TransactionKind::new);
        if let (Some(id), Some(kind), Some(amount)) = (id, kind, amount.whole()) {
            let created = created.whole().map_or(authorization_created, Timestamp::from_seconds);
            listed.push(ListedTransaction { id, kind, amount, created });
        }
    }
    listed
}

/// Whether a reason looks like one: new ones are kept, sentences are not.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn parsed(currency: Value<'_>) -> Option<Currency> {
    currency.text().and_then(|text| text.parse().ok())
}
