//! `issuing_transaction.*`: captures and refunds. Receipts, flights and fuel are not read.

use super::{
    About, Unbooked,
    card::{Card, id_text},
    envelope::Envelope,
    merchant,
    tape::{Value, fields},
};
use crate::domain::{
    AuthorizationId, Fact, Subject, Timestamp, TransactionId, TransactionKind, TransactionSeen,
};

pub(super) fn read(envelope: &Envelope<'_>) -> Result<About, Unbooked> {
    fields!(envelope.object;
        "id" => id,
        "amount" => amount,
        "authorization" => authorization,
        "card" => card,
        "created" => created,
        "currency" => currency,
        "merchant_data" => merchant_data,
        "type" => kind,
    );
    let card = Card::read(card);
    let merchant = merchant::read(merchant_data);
    let authorization = id_text(authorization).and_then(AuthorizationId::new);
    let card_id = card.id.ok_or(Unbooked::NoCard)?;
    let seen = TransactionSeen {
        id: id.text().and_then(TransactionId::new).ok_or(Unbooked::NoId)?,
        is_update: envelope.is_update(),
        created: created.whole().map_or(envelope.created, Timestamp::from_seconds),
        kind: kind.text().and_then(TransactionKind::new).ok_or(Unbooked::NoTransactionKind)?,
        amount: amount.whole().ok_or(Unbooked::NoAmount)?,
        currency: currency.text().and_then(|text| text.parse().ok()).or(card.currency),
        authorization,
        merchant,
    };
    Ok(About {
        subject: Subject::Card(card_id),
        replacement_for: card.replacement_for,
        fact: Fact::Transaction(Box::new(seen)),
    })
}
