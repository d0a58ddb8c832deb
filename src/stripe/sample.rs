//! Events as Stripe writes them, for trying out a node: made from two whole ones, with another card, merchant and amount.
//! How they are signed is in `sign`.

use serde_json::{Value, json};

use crate::{
    clock,
    domain::{Category, Currency},
};

const REQUEST: &str = include_str!("../../tests/fixtures/stripe/request-01-purchase.json");
const CAPTURE: &str = include_str!("../../tests/fixtures/stripe/transaction-created-capture.json");

/// Where the card is used.
#[derive(Clone, Copy, Debug)]
pub struct Merchant<'a> {
    /// The name on the statement.
    pub name: &'a str,
    /// Stripe's name of the merchant category.
    pub category: &'a str,
    /// ISO 3166-1 alpha-2.
    pub country: &'a str,
    /// The merchant's id at the card network.
    pub network_id: &'a str,
}

impl<'a> Merchant<'a> {
    /// A merchant in the United States.
    #[must_use]
    pub const fn named(name: &'a str, category: &'a str) -> Self {
        Self { name, category, country: "US", network_id: "1234567890" }
    }
}

/// A use of a card.
#[derive(Clone, Copy, Debug)]
pub struct Purchase<'a> {
    /// The card: `ic_…`.
    pub card: &'a str,
    /// The authorization: `iauth_…`.
    pub authorization: &'a str,
    /// Where the card is used.
    pub merchant: Merchant<'a>,
    /// What the merchant requests, in minor units.
    pub amount: i64,
    /// The currency of the amount, and of the card.
    pub currency: Currency,
    /// What was approved on the same authorization before: above 0 this is an increment.
    pub approved_before: i64,
    /// Whether the merchant takes a partial approval.
    pub is_amount_controllable: bool,
}

impl Purchase<'static> {
    /// Where and with what the card is used unless something else is said: 25.00 USD at a restaurant.
    pub const EXAMPLE: Self = Self {
        card: "ic_demo",
        authorization: "iauth_example",
        merchant: Merchant::named("CORNER CAFE", "eating_places_restaurants"),
        amount: 2_500,
        currency: Currency::USD,
        approved_before: 0,
        is_amount_controllable: false,
    };
}

/// An id that no other authorization has.
#[must_use]
pub fn new_authorization_id() -> String {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
    format!("iauth_{random}")
}

impl Purchase<'_> {
    /// The id of its request event.
    #[must_use]
    pub fn event_id(&self) -> String {
        let suffix = if self.approved_before > 0 { "_increment" } else { "" };
        format!("evt_{}{suffix}", self.authorization)
    }

    /// Its `issuing_authorization.request`.
    #[must_use]
    pub fn event(&self, event_id: &str) -> Vec<u8> {
        let history = if self.approved_before > 0 {
            vec![approval(self.approved_before, self.currency)]
        } else {
            Vec::new()
        };
        let changes = [
            ("/data/object/request_history", Value::from(history)),
            ("/data/object/amount", self.approved_before.into()),
            ("/data/object/approved", (self.approved_before > 0).into()),
            ("/data/object/pending_request/amount", self.amount.into()),
            ("/data/object/pending_request/currency", self.currency.as_str().into()),
            ("/data/object/pending_request/merchant_currency", self.currency.as_str().into()),
            ("/data/object/pending_request/merchant_amount", self.amount.into()),
            ("/data/object/pending_request/is_amount_controllable", self.is_amount_controllable.into()),
        ];
        self.authorization(event_id, "issuing_authorization.request", changes)
    }

    /// The `issuing_authorization.updated` of a reversal.
    #[must_use]
    pub fn voided(&self, approved: i64) -> Vec<u8> {
        let changes = [
            ("/data/object/request_history", json!([approval(approved, self.currency)])),
            ("/data/object/status", "reversed".into()),
            ("/data/object/approved", true.into()),
            ("/data/object/pending_request", Value::Null),
        ];
        let event_id = format!("evt_{}_voided", self.authorization);
        self.authorization(&event_id, "issuing_authorization.updated", changes)
    }

    /// The `issuing_transaction.created` of its capture. A capture is negative at Stripe.
    #[must_use]
    pub fn captured(&self) -> Vec<u8> {
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
            ("/data/object/card/currency", self.currency.as_str().into()),
            ("/data/object/currency", self.currency.as_str().into()),
            ("/data/object/merchant_currency", self.currency.as_str().into()),
        ];
        changed(REQUEST, common.into_iter().chain(self.merchant.changes()).chain(changes))
    }
}

impl Merchant<'_> {
    fn changes(&self) -> [(&'static str, Value); 5] {
        let code = Category::named(self.category).and_then(|category| category.usual_code());
        [
            ("/data/object/merchant_data/name", self.name.into()),
            ("/data/object/merchant_data/category", self.category.into()),
            ("/data/object/merchant_data/category_code", code.into()),
            ("/data/object/merchant_data/country", self.country.into()),
            ("/data/object/merchant_data/network_id", self.network_id.into()),
        ]
    }
}

/// What `request_history` keeps of a decision.
fn approval(amount: i64, currency: Currency) -> Value {
    json!({
        "amount": amount,
        "approved": true,
        "created": clock::now().as_seconds(),
        "currency": currency.as_str(),
        "merchant_amount": amount,
        "merchant_currency": currency.as_str(),
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
        merchant: Merchant::named("GRAND HOTEL", "hotels_motels_and_resorts"),
        amount: 4_800,
        approved_before: 31_000,
        ..Purchase::EXAMPLE
    };

    fn incoming(event: &[u8]) -> Incoming {
        read(event, Timestamp::default(), &Reading::default()).unwrap()
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
