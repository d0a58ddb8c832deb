//! What each object takes from the Issuing balance or brings back, and how the balance is told. How much was put in is
//! elsewhere. Sources: <https://docs.stripe.com/api/issuing/funding_instructions/fund>, <https://docs.stripe.com/api/balance>.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::books::fuel_hold;

/// What an authorization asks for now; nothing where it does not ask.
pub(super) fn asked(authorization: &Value) -> i64 {
    let asked = authorization.pointer("/pending_request/amount").and_then(Value::as_i64);
    asked.map_or(0, |asked| fuel_hold(authorization).unwrap_or(asked))
}

/// By how much an object changes the balance, as it is now: negative where it takes.
pub(super) fn moved(object: &Value) -> i64 {
    match object.get("object").and_then(Value::as_str) {
        Some("issuing.transaction") => amount(object),
        Some("issuing.authorization") => held(object).saturating_add(asked(object)).saturating_neg(),
        _ => 0,
    }
}

/// What is held for an authorization: what was approved, less what was captured of it.
fn held(authorization: &Value) -> i64 {
    let is_held = authorization.get("approved") == Some(&true.into())
        && authorization.get("status") == Some(&"pending".into());
    if is_held { uncaptured(authorization) } else { 0 }
}

/// What may still be captured of an authorization.
pub(super) fn uncaptured(authorization: &Value) -> i64 {
    let transactions = authorization.get("transactions").and_then(Value::as_array).into_iter().flatten();
    let captures = transactions.filter(|one| one.get("type") == Some(&"capture".into()));
    captures.fold(amount(authorization), |rest, one| rest.saturating_add(amount(one))).max(0)
}

/// The balance object. Only its part for cards has anything in it.
pub(super) fn told(available: Option<BTreeMap<String, i64>>) -> Value {
    let listed = available.unwrap_or_default().into_iter();
    let listed: Vec<Value> = listed
        .map(|(currency, amount)| json!({"amount": amount, "currency": currency, "source_types": {"card": amount}}))
        .collect();
    json!({
        "object": "balance", "available": [], "issuing": {"available": listed}, "livemode": false, "pending": [],
    })
}

/// Where a bank transfer in this currency would go.
pub(super) fn funding_instructions(currency: &str) -> Value {
    let holder = "Example Platform";
    let (country, kind, address) = match currency {
        "gbp" => (
            "GB",
            "gb_bank_transfer",
            json!({
                "type": "sort_code", "supported_networks": ["bacs", "fps"],
                "sort_code": {"account_holder_name": holder, "account_number": "00000001", "sort_code": "000000"},
            }),
        ),
        "usd" => (
            "US",
            "us_bank_transfer",
            json!({
                "type": "aba", "supported_networks": ["ach", "domestic_wire_us"],
                "aba": {"account_number": "00000001", "bank_name": "Example Bank", "routing_number": "000000000"},
            }),
        ),
        _ => (
            "DE",
            "eu_bank_transfer",
            json!({
                "type": "iban", "supported_networks": ["sepa"],
                "iban": {
                    "account_holder_name": holder, "bic": "EXAMPLEX", "country": "DE", "iban": "DE00000000000000000001",
                },
            }),
        ),
    };
    json!({
        "object": "funding_instructions", "funding_type": "bank_transfer", "currency": currency, "livemode": false,
        "bank_transfer": {"country": country, "financial_addresses": [address], "type": kind},
    })
}

fn amount(object: &Value) -> i64 {
    object.get("amount").and_then(Value::as_i64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_captured_or_asked_for_is_taken_and_what_is_over_is_given_back() {
        let check = |object: Value, expected: i64| assert_eq!(moved(&object), expected, "{object}");
        let authorization = |approved: bool, status: &str, transactions: Value, pending: Value| {
            json!({
                "object": "issuing.authorization", "amount": 900, "approved": approved, "status": status,
                "transactions": transactions, "pending_request": pending,
            })
        };
        let of = |kind: &str, amount: i64| json!({"object": "issuing.transaction", "type": kind, "amount": amount});
        check(authorization(true, "pending", json!([]), Value::Null), -900);
        check(authorization(true, "pending", json!([of("capture", -300)]), Value::Null), -600);
        check(
            authorization(true, "pending", json!([of("capture", -1000), of("refund", 50)]), Value::Null),
            0,
        );
        check(authorization(true, "pending", json!([]), json!({"amount": 50})), -950);
        check(authorization(false, "pending", json!([]), json!({"amount": 50})), -50);
        for (approved, status) in [(true, "closed"), (true, "reversed"), (true, "expired"), (false, "closed")]
        {
            check(authorization(approved, status, json!([]), Value::Null), 0);
        }
        check(of("capture", -300), -300);
        check(of("refund", 50), 50);
        check(json!({"object": "event", "amount": 7}), 0);
    }
}
