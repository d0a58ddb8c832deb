//! `issuing_authorization.request`: the question. One that breaks the contract but can be told apart is still a
//! question, so that its decline gets into the books.

use std::sync::Arc;

use super::{
    Malformed, Reading,
    authorization::{History, listed},
    card::Card,
    controls, details,
    envelope::Envelope,
    merchant,
    tape::{Number, Value, fields},
};
use crate::domain::{
    AMOUNT_MAX, AuthorizationId, AuthorizationRequest, CardPresence, Controls, Details, Money, Timestamp,
    Told, Violation,
};

pub(super) fn read(envelope: Envelope<'_>, reading: &Reading) -> Result<AuthorizationRequest, Malformed> {
    fields!(envelope.object;
        "id" => id,
        "amount" => amount,
        "authorization_method" => authorization_method,
        "card" => card,
        "card_presence" => card_presence,
        "created" => created,
        "enriched_merchant_data" => enriched_merchant_data,
        "merchant_data" => merchant_data,
        "pending_held_amount" => pending_held_amount,
        "pending_request" => pending_request,
        "request_history" => request_history,
        "risk_assessment" => risk_assessment,
        "token" => token,
        "transactions" => transactions,
        "verification_data" => verification_data,
        "verified_by_fraud_challenge" => verified_by_fraud_challenge,
        "wallet" => wallet,
    );
    let is_legacy = pending_request.is_missing() && !pending_held_amount.is_missing();
    let card = Card::read(card);
    let pending = Pending::read(pending_request);
    let mirrored =
        reading.mirror_stripe_controls.then_some((card.spending_controls, card.cardholder_spending_controls));
    let stripe_controls = mirrored.map(|(own, shared)| controls::read(own, shared));
    let created = created.whole().map(Timestamp::from_seconds).unwrap_or_default();
    let History { entries: history, .. } = History::read(request_history, created);
    let told = Told {
        at: envelope.created,
        hold_amount: pending.hold_amount,
        transactions: listed(transactions, created),
        history,
        card: card.state(),
        cardholder: card.cardholder_state(),
    };
    // Where Stripe does not say what is in force, what its history says was approved is.
    let approved_before = match amount.number() {
        Number::None => {
            let approved = told.history.iter().filter(|entry| entry.approved);
            approved.fold(0, |sum: i64, entry| sum.saturating_add(entry.amount.max(0))).min(AMOUNT_MAX)
        }
        Number::Whole(_) | Number::TooLarge | Number::TooSmall => bounded(amount),
    };
    let presence = card_presence.text().and_then(CardPresence::new);
    let parts = details::Parts {
        authorization_method,
        enriched_merchant_data,
        merchant_data,
        pending_request,
        risk_assessment,
        token,
        verification_data,
        wallet,
    };
    let details = Details {
        controls: stripe_controls.as_ref().map(Controls::fingerprint),
        ..details::read(&parts, &card, pending.asked.ok(), &envelope, reading)
    };
    Ok(AuthorizationRequest {
        event: envelope.event.ok_or(Malformed::NoEventId)?,
        authorization: id.text().and_then(AuthorizationId::new).ok_or(Malformed::NoAuthorizationId)?,
        asked: match (is_legacy, &card.id) {
            (true, _) => Err(Violation::LegacyShape),
            (false, None) => Err(Violation::NoCard),
            (false, Some(_)) => pending.asked,
        },
        is_paused: card.is_paused(),
        card: card.id,
        card_currency: card.currency,
        replacement_for: card.replacement_for,
        cardholder: card.cardholder,
        group: card.group.or(card.cardholder_group),
        received_at: envelope.received_at,
        created,
        history_entries: request_history.length(),
        approved_before,
        is_amount_controllable: pending.is_amount_controllable,
        cashback: pending.cashback,
        merchant: merchant::read(merchant_data),
        card_presence: presence.or(authorization_method.text().and_then(CardPresence::of_method)),
        verified_by_fraud_challenge: verified_by_fraud_challenge.flag().unwrap_or(false),
        livemode: envelope.livemode,
        connected_account: envelope.connected_account,
        details,
        stripe_controls: stripe_controls.map(Arc::new),
        told,
    })
}

/// `pending_request`, the only part that is read strictly.
struct Pending {
    asked: Result<Money, Violation>,
    is_amount_controllable: bool,
    cashback: i64,
    hold_amount: i64,
}

impl Pending {
    fn read(pending: Value<'_>) -> Self {
        fields!(pending;
            "amount" => amount,
            "amount_details" => amount_details,
            "currency" => currency,
            "hold_amount" => hold_amount,
            "is_amount_controllable" => is_amount_controllable,
        );
        fields!(amount_details; "cashback_amount" => cashback_amount);
        let currency = currency.text().and_then(|text| text.parse().ok());
        let controllable = match (is_amount_controllable.flag(), is_amount_controllable.is_null()) {
            (Some(flag), _) => Ok(flag),
            (None, true) => Ok(false),
            (None, false) => Err(Violation::NoControllable),
        };
        let asked = minor_units(amount).and_then(|amount| {
            let currency = currency.ok_or(Violation::NoCurrency)?;
            controllable.map(|_| Money::new(amount, currency))
        });
        Self {
            asked,
            is_amount_controllable: controllable.unwrap_or(false),
            cashback: bounded(cashback_amount),
            hold_amount: bounded(hold_amount),
        }
    }
}

/// An amount that a hold may have.
fn minor_units(amount: Value<'_>) -> Result<i64, Violation> {
    match amount.number() {
        Number::Whole(amount @ 0..) => Ok(amount),
        Number::Whole(_) | Number::TooSmall => Err(Violation::NegativeAmount),
        Number::TooLarge => Err(Violation::AmountTooLarge),
        Number::None => Err(Violation::NoAmount),
    }
}

/// An amount that only ever makes an answer stricter: missing and negative ones are zero, huge ones are cut.
fn bounded(amount: Value<'_>) -> i64 {
    match amount.number() {
        Number::Whole(amount) => amount.max(0),
        Number::TooLarge => AMOUNT_MAX,
        Number::TooSmall | Number::None => 0,
    }
}
