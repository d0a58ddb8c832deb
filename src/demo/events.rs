//! The events as Stripe writes them, made from two whole ones by changing what the story is about. How they are
//! signed and sent is in `client`.

use serde_json::{Value, json};

use crate::clock;

const REQUEST: &str = include_str!("../../tests/fixtures/stripe/request-01-purchase.json");
const CAPTURE: &str = include_str!("../../tests/fixtures/stripe/transaction-created-capture.json");

/// Where the card is used.
#[derive(Clone, Copy)]
pub(super) struct Merchant {
    pub(super) name: &'static str,
    pub(super) category: &'static str,
    /// The merchant category code.
    pub(super) code: &'static str,
}

/// What a card is asked for, in cents.
#[derive(Clone, Copy)]
pub(super) struct Purchase<'a> {
    pub(super) card: &'a str,
    pub(super) authorization: &'a str,
    pub(super) merchant: Merchant,
    pub(super) amount: i64,
    /// What was approved on the same authorization before: with anything here it is an increment.
    pub(super) approved_before: i64,
    pub(super) is_amount_controllable: bool,
}

impl Purchase<'_> {
    /// The id of the event that asks.
    pub(super) fn event_id(&self) -> String {
        let suffix = if self.approved_before > 0 { "_increment" } else { "" };
        format!("evt_{}{suffix}", self.authorization)
    }

    /// The `issuing_authorization.request` that asks.
    pub(super) fn event(&self, event_id: &str) -> Vec<u8> {
        let history =
            if self.approved_before > 0 { vec![approval(self.approved_before)] } else { Vec::new() };
        let changes = [
            ("/data/object/request_history", Value::from(history)),
            ("/data/object/amount", self.approved_before.into()),
            ("/data/object/approved", (self.approved_before > 0).into()),
            ("/data/object/pending_request/amount", self.amount.into()),
            ("/data/object/pending_request/merchant_amount", self.amount.into()),
            ("/data/object/pending_request/is_amount_controllable", self.is_amount_controllable.into()),
        ];
        self.authorization(event_id, "issuing_authorization.request", changes)
    }

    /// The `issuing_authorization.updated` of a merchant that wants nothing after all.
    pub(super) fn voided(&self, approved: i64) -> Vec<u8> {
        let changes = [
            ("/data/object/request_history", json!([approval(approved)])),
            ("/data/object/status", "reversed".into()),
            ("/data/object/approved", true.into()),
            ("/data/object/pending_request", Value::Null),
        ];
        let event_id = format!("evt_{}_voided", self.authorization);
        self.authorization(&event_id, "issuing_authorization.updated", changes)
    }

    /// The `issuing_transaction.created` of a merchant that takes its money. A capture is negative at Stripe.
    pub(super) fn captured(&self) -> Vec<u8> {
        let now = clock::now().as_seconds();
        let changes = [
            ("/id", Value::from(format!("evt_{}_captured", self.authorization))),
            ("/created", now.into()),
            ("/data/object/id", format!("ipi_{}", self.authorization).into()),
            ("/data/object/created", now.into()),
            ("/data/object/authorization", self.authorization.into()),
            ("/data/object/card", self.card.into()),
            ("/data/object/amount", self.amount.saturating_neg().into()),
            ("/data/object/merchant_amount", self.amount.saturating_neg().into()),
        ];
        changed(CAPTURE, changes.into_iter().chain(self.merchant.changes()))
    }

    fn authorization(
        &self,
        event_id: &str,
        event_type: &str,
        changes: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Vec<u8> {
        let now = clock::now().as_seconds();
        let common = [
            ("/id", Value::from(event_id)),
            ("/type", event_type.into()),
            ("/created", now.into()),
            ("/data/object/id", self.authorization.into()),
            ("/data/object/created", now.into()),
            ("/data/object/card/id", self.card.into()),
        ];
        changed(REQUEST, common.into_iter().chain(self.merchant.changes()).chain(changes))
    }
}

impl Merchant {
    fn changes(&self) -> [(&'static str, Value); 3] {
        [
            ("/data/object/merchant_data/name", self.name.into()),
            ("/data/object/merchant_data/category", self.category.into()),
            ("/data/object/merchant_data/category_code", self.code.into()),
        ]
    }
}

/// What `request_history` keeps of a decision.
fn approval(amount: i64) -> Value {
    json!({
        "amount": amount,
        "approved": true,
        "created": clock::now().as_seconds(),
        "currency": "usd",
        "merchant_amount": amount,
        "merchant_currency": "usd",
        "reason": "webhook_approved",
    })
}

/// A whole event with some of its values replaced.
fn changed(event: &str, changes: impl IntoIterator<Item = (&'static str, Value)>) -> Vec<u8> {
    let mut event: Value = serde_json::from_str(event).unwrap_or_default();
    for (pointer, value) in changes {
        match event.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => debug_assert!(false, "the event has no {pointer}"),
        }
    }
    event.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Fact, Timestamp},
        stripe::{Incoming, Reading, read},
    };

    const HOTEL: Purchase<'static> = Purchase {
        card: "ic_demo",
        authorization: "iauth_hotel",
        merchant: Merchant { name: "GRAND HOTEL", category: "hotels_motels_and_resorts", code: "7011" },
        amount: 4_800,
        approved_before: 31_000,
        is_amount_controllable: false,
    };

    fn incoming(event: &[u8]) -> Incoming {
        read(event, Timestamp::default(), Reading::default()).unwrap()
    }

    #[test]
    fn an_increment_asks_for_more_on_what_was_approved() {
        let Incoming::Request(request) = incoming(&HOTEL.event("evt_1")) else { panic!("no request") };
        assert_eq!((request.event.as_str(), request.authorization.as_str()), ("evt_1", "iauth_hotel"));
        assert_eq!((request.history_entries, request.approved_before), (1, 31_000));
        assert_eq!(request.asked.unwrap().amount, 4_800);
        assert_eq!(request.merchant.category.as_str(), "hotels_motels_and_resorts");
    }

    #[test]
    fn what_happened_is_told_of_the_same_card_and_authorization() {
        for (event, expected) in [(HOTEL.captured(), "capture"), (HOTEL.voided(31_000), "void")] {
            let Incoming::Observation(seen) = incoming(&event) else {
                panic!("nothing to book in a {expected}")
            };
            assert_eq!(seen.card().unwrap().as_str(), "ic_demo");
            match seen.fact {
                Fact::Transaction(seen) => {
                    assert_eq!((seen.authorization.unwrap().as_str(), expected), ("iauth_hotel", "capture"));
                }
                Fact::Authorization(seen) => {
                    assert_eq!((seen.id.as_str(), expected), ("iauth_hotel", "void"));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
