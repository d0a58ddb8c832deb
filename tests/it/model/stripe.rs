//! What is true at Stripe, and how it is told: plain numbers and JSON.

use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) amount: i64,
    pub(super) approved: bool,
    pub(super) created: i64,
}

/// A capture or refund; the amount is what moved, without a sign.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) id: String,
    pub(super) card: &'static str,
    pub(super) is_refund: bool,
    pub(super) amount: i64,
    pub(super) created: i64,
    pub(super) category: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Authorization {
    pub(super) id: String,
    pub(super) card: &'static str,
    pub(super) category: &'static str,
    pub(super) created: i64,
    pub(super) status: &'static str,
    pub(super) approved: bool,
    pub(super) amount: i64,
    pub(super) history: Vec<Entry>,
    pub(super) transactions: Vec<Transaction>,
    /// Something was approved after everything before had been released.
    pub(super) is_reopened: bool,
    pub(super) is_told: bool,
}

/// What a message says, for the model.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Snapshot(Box<Snapshot>),
    Settled { authorization: Option<String>, transaction: Transaction, version: (u8, i64) },
}

#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) authorization: Authorization,
    pub(super) is_update: bool,
    pub(super) created: i64,
    /// The order in which Stripe's word changed.
    pub(super) turn: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) json: String,
    pub(super) told: Told,
}

impl Authorization {
    pub(super) fn is_terminal(&self) -> bool {
        self.status != "pending"
    }

    pub(super) fn captured(&self) -> i64 {
        self.transactions.iter().filter(|one| !one.is_refund).map(|one| one.amount).sum()
    }

    pub(super) fn refunded(&self) -> i64 {
        self.transactions.iter().filter(|one| one.is_refund).map(|one| one.amount).sum()
    }

    fn object(&self) -> Value {
        let history: Vec<Value> = self
            .history
            .iter()
            .map(|entry| {
                json!({"amount": entry.amount, "approved": entry.approved, "created": entry.created, "currency": "usd",
                    "reason": if entry.approved { "webhook_approved" } else { "webhook_declined" }})
            })
            .collect();
        let transactions: Vec<Value> =
            self.transactions.iter().map(|one| one.object(Some(&self.id))).collect();
        json!({
            "id": self.id, "object": "issuing.authorization", "amount": self.amount, "approved": self.approved,
            "status": self.status, "created": self.created, "currency": "usd",
            "card": card(self.card), "merchant_data": {"category": self.category},
            "request_history": history, "transactions": transactions, "pending_request": null,
        })
    }

    /// The request for so much more, as an event.
    pub(super) fn request(&self, event: &str, amount: i64, now: i64) -> String {
        let mut object = self.object();
        object["amount"] = json!(if self.is_terminal() { 0 } else { self.amount });
        object["status"] = json!("pending");
        object["approved"] = json!(self.approved && !self.is_terminal());
        object["pending_request"] = json!({"amount": amount, "currency": "usd", "is_amount_controllable": false,
            "merchant_amount": amount, "merchant_currency": "usd"});
        envelope(event, "issuing_authorization.request", now, &object, json!(null))
    }

    /// The authorization as it is now.
    pub(super) fn snapshot(&self, event: &str, now: i64, turn: u64, before: Value) -> Message {
        let is_update = self.is_told;
        let kind = if is_update { "issuing_authorization.updated" } else { "issuing_authorization.created" };
        let snapshot = Snapshot { authorization: self.clone(), is_update, created: now, turn };
        let json = envelope(event, kind, now, &self.object(), before);
        Message { json, told: Told::Snapshot(Box::new(snapshot)) }
    }
}

impl Transaction {
    fn object(&self, authorization: Option<&str>) -> Value {
        let amount = if self.is_refund { self.amount } else { -self.amount };
        json!({
            "id": self.id, "object": "issuing.transaction", "amount": amount, "currency": "usd",
            "type": if self.is_refund { "refund" } else { "capture" }, "created": self.created,
            "authorization": authorization, "card": self.card, "merchant_data": {"category": self.category},
        })
    }

    /// The transaction as it is now; `correction` counts its corrections.
    pub(super) fn told(
        &self,
        event: &str,
        authorization: Option<&str>,
        now: i64,
        is_correction: bool,
    ) -> Message {
        let kind = if is_correction { "issuing_transaction.updated" } else { "issuing_transaction.created" };
        let told = Told::Settled {
            authorization: authorization.map(ToOwned::to_owned),
            transaction: self.clone(),
            version: (1 + u8::from(is_correction), now),
        };
        Message { json: envelope(event, kind, now, &self.object(authorization), json!(null)), told }
    }
}

/// The second card replaces the first.
fn card(id: &str) -> Value {
    let replaced = (id == "ic_b").then_some("ic_a");
    json!({"id": id, "currency": "usd", "status": "active", "replacement_for": replaced,
        "cardholder": {"id": "ich_1", "status": "active"}})
}

fn envelope(event: &str, kind: &str, created: i64, object: &Value, before: Value) -> String {
    let mut data = json!({"object": object});
    if !before.is_null() {
        data["previous_attributes"] = before;
    }
    json!({"id": event, "object": "event", "created": created, "livemode": false, "type": kind, "data": data})
        .to_string()
}
