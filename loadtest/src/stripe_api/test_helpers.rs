//! Stripe's test helpers: authorizations and transactions by a call, without a shop or a card reader. Each goes through
//! the endpoint as a real one would. How a form is read, and how events get there, is elsewhere. Source:
//! <https://docs.stripe.com/api/issuing/authorizations/test_mode_create>.
#![allow(clippy::indexing_slicing, reason = "a JSON value that lacks a name gives null for it")]

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{
    Call, State, balance,
    books::{Given, Kind, Verdict},
    endpoint::Asked,
    form::Form,
    lock,
    problem::Problem,
    server::Answered,
};
use crate::{
    authorization::{Authorization, Purchase, Transaction},
    clock,
    events::{Subject, Writer},
    population::{self, Card, Merchant},
};

/// What stands before all of them.
pub(super) const PATH: &str = "/v1/test_helpers/issuing/";

/// What is asked for where nobody says how much: as much as `stripe trigger` asks for.
const AMOUNT: i64 = 100;
/// More than the numbers of a load test, so that ids never meet.
const FIRST_NUMBER: u64 = 7_000_000_000_000;

/// What the helpers remember beside the books.
pub(super) struct Desk {
    writer: Writer,
    numbers: AtomicU64,
}

impl Default for Desk {
    fn default() -> Self {
        let run = u64::try_from(clock::unix_seconds()).unwrap_or_default();
        Self { writer: Writer::new(run), numbers: AtomicU64::new(FIRST_NUMBER) }
    }
}

/// One call of a helper, for one account.
struct Turn<'a> {
    state: &'a State,
    account: Option<&'a str>,
    parameters: &'a [(String, String)],
}

/// Does what a call asks for.
pub(super) async fn serve(state: &State, call: &Call) -> Answered {
    let turn = Turn { state, account: call.account.as_deref(), parameters: &call.parameters };
    let path = call.path.strip_prefix(PATH).filter(|_| call.method == "POST").unwrap_or_default();
    match path.split('/').collect::<Vec<&str>>()[..] {
        ["authorizations"] => turn.create().await,
        ["authorizations", id, "increment"] => turn.increment(id).await,
        ["authorizations", id, "reverse"] => turn.reverse(id),
        ["authorizations", id, "expire"] => turn.expire(id),
        ["authorizations", id, "capture"] => turn.capture(id),
        ["authorizations", id, "finalize_amount"] => turn.finalize_amount(id),
        ["authorizations", id, "fraud_challenges", "respond"] => turn.respond(id),
        ["transactions", "create_force_capture"] => turn.unlinked(false),
        ["transactions", "create_unlinked_refund"] => turn.unlinked(true),
        ["transactions", id, "refund"] => turn.refund(id),
        ["fund_balance"] => turn.fund_balance(),
        _ => Err(Problem::unknown_path(&call.method, &call.path)),
    }
}

impl Turn<'_> {
    fn form(&self, known: &[&str]) -> Result<Form<'_>, Problem> {
        Form::read(self.parameters, known)
    }

    async fn create(&self) -> Answered {
        let form = self.form(&[
            "card",
            "amount",
            "amount_details",
            "authorization_method",
            "currency",
            "fleet",
            "fraud_disputability_likelihood",
            "fuel",
            "is_amount_controllable",
            "merchant_amount",
            "merchant_currency",
            "merchant_data",
            "network_data",
            "risk_assessment",
            "verification_data",
            "wallet",
        ])?;
        let card = form.required("card")?;
        let asked = form.amount("amount")?.or(form.amount("merchant_amount")?).unwrap_or(AMOUNT);
        let at_merchant = form.amount("merchant_amount")?.unwrap_or(asked);
        // Who names no shop, or one of no kind that is known, is always at the same one.
        let category = form.text("merchant_data[category]");
        let shop = category.and_then(population::shop);
        let mut object =
            self.template(Subject::Request(asked), "data", shop.unwrap_or_else(population::any_shop));
        object["card"]["id"] = card.into();
        for place in ["authorization_method", "wallet"] {
            if let Some(text) = form.text(place) {
                object[place] = text.into();
            }
        }
        form.merge_into(
            &mut object,
            &["merchant_data", "network_data", "verification_data", "fleet", "fuel"],
        );
        form.merge_into(&mut object, &["risk_assessment", "fraud_disputability_likelihood"]);
        if category.is_some() {
            object["merchant_data"]["category_code"] = shop.map(|shop| shop.category_code).into();
        }
        let is_absent = matches!(object["authorization_method"].as_str(), Some("online" | "keyed_in"));
        object["card_presence"] = if is_absent { "not_present" } else { "present" }.into();
        let currency = form.text("currency").unwrap_or("usd").to_lowercase();
        let merchant_currency = form.text("merchant_currency").unwrap_or(&currency).to_lowercase();
        let details = json!({
            "atm_fee": form.amount("amount_details[atm_fee]")?,
            "cashback_amount": form.amount("amount_details[cashback_amount]")?,
        });
        for (name, value) in [("currency", &currency), ("merchant_currency", &merchant_currency)] {
            object[name] = value.as_str().into();
            object["pending_request"][name] = value.as_str().into();
        }
        object["card"]["currency"] = currency.as_str().into();
        object["amount_details"] = details.clone();
        let pending = &mut object["pending_request"];
        pending["amount_details"] = details;
        pending["merchant_amount"] = at_merchant.into();
        pending["is_amount_controllable"] = form.truth("is_amount_controllable", false)?.into();
        if lock(&self.state.books).is_confirmed(self.account, &object, clock::unix_seconds()) {
            object["verified_by_fraud_challenge"] = true.into();
        }
        self.ask(object, "issuing_authorization.created").await
    }

    async fn increment(&self, id: &str) -> Answered {
        let form = self.form(&["increment_amount", "is_amount_controllable"])?;
        let asked = form.required_amount("increment_amount")?;
        let is_controllable = form.truth("is_amount_controllable", false)?;
        let mut object = self.pending(id)?;
        object["pending_request"] = json!({
            "amount": asked, "amount_details": null, "currency": object["currency"],
            "is_amount_controllable": is_controllable, "merchant_amount": asked,
            "merchant_currency": object["merchant_currency"], "network_risk_score": null,
        });
        self.ask(object, "issuing_authorization.updated").await
    }

    fn reverse(&self, id: &str) -> Answered {
        let form = self.form(&["reverse_amount"])?;
        let mut object = self.pending(id)?;
        let held = amount(&object);
        let back = form.amount("reverse_amount")?.unwrap_or(held);
        let left = held.checked_sub(back).filter(|left| *left >= 0).ok_or_else(|| {
            let message = format!("Authorization '{id}' has {held} to reverse, which is less than {back}.");
            Problem::parameter("amount_too_large", "reverse_amount", &message)
        })?;
        object["amount"] = left.into();
        if left == 0 {
            object["status"] = "reversed".into();
        }
        Ok(self.updated(object))
    }

    fn expire(&self, id: &str) -> Answered {
        self.form(&[])?;
        let mut object = self.pending(id)?;
        object["status"] = "expired".into();
        Ok(self.updated(object))
    }

    fn finalize_amount(&self, id: &str) -> Answered {
        let form = self.form(&["final_amount", "fleet", "fuel"])?;
        let mut object = self.pending(id)?;
        object["amount"] = form.required_amount("final_amount")?.into();
        form.merge_into(&mut object, &["fleet", "fuel"]);
        Ok(self.updated(object))
    }

    fn capture(&self, id: &str) -> Answered {
        let form = self.form(&["capture_amount", "close_authorization", "purchase_details"])?;
        // What has expired may be captured late.
        let mut object = self.approved(id, &["pending", "expired"])?;
        let captured = form.amount("capture_amount")?.unwrap_or_else(|| balance::uncaptured(&object));
        let mut transaction = self.transaction(&object, captured.saturating_neg(), false);
        form.merge_into(&mut transaction, &["purchase_details"]);
        self.settled(transaction, Some(&mut object));
        if form.truth("close_authorization", true)? {
            object["status"] = "closed".into();
        }
        Ok(self.updated(object))
    }

    /// What the cardholder replies to a text message.
    fn respond(&self, id: &str) -> Answered {
        let form = self.form(&["confirmed"])?;
        form.required("confirmed")?;
        let is_confirmed = form.truth("confirmed", false)?;
        let now = clock::unix_seconds();
        let object = lock(&self.state.books).respond(self.account, id, is_confirmed, now)?;
        self.tell("issuing_authorization.updated", &object);
        Ok(object)
    }

    fn fund_balance(&self) -> Answered {
        let form = self.form(&["amount", "currency"])?;
        let amount = form.required_positive("amount")?;
        let currency = form.currency("currency")?;
        lock(&self.state.books).fund(self.account, &currency, amount);
        Ok(balance::funding_instructions(&currency))
    }

    /// A transaction that names no authorization.
    fn unlinked(&self, is_refund: bool) -> Answered {
        let form = self.form(&["amount", "card", "currency", "merchant_data", "purchase_details"])?;
        let asked = form.required_amount("amount")?;
        let mut like = self.template(Subject::Created, "data", population::any_shop());
        like["card"]["id"] = form.required("card")?.into();
        like["currency"] = form.text("currency").unwrap_or("usd").to_lowercase().into();
        like["id"] = Value::Null;
        form.merge_into(&mut like, &["merchant_data"]);
        let signed = if is_refund { asked } else { asked.saturating_neg() };
        let mut transaction = self.transaction(&like, signed, is_refund);
        form.merge_into(&mut transaction, &["purchase_details"]);
        self.settled(transaction.clone(), None);
        Ok(transaction)
    }

    /// Gives back a capture; the answer is that capture, the refund is a transaction of its own.
    fn refund(&self, id: &str) -> Answered {
        let form = self.form(&["refund_amount"])?;
        let capture = lock(&self.state.books).find(self.account, Kind::Transaction, id)?;
        if capture["type"] != "capture" {
            return Err(Problem::refused(&format!(
                "Transaction '{id}' is not a capture: it cannot be refunded."
            )));
        }
        let back = form.amount("refund_amount")?.unwrap_or_else(|| amount(&capture).saturating_neg());
        let mut refund = capture.clone();
        let fresh = self.transaction(&capture, back, true);
        for name in ["id", "amount", "merchant_amount", "created", "type"] {
            refund[name] = fresh[name].clone();
        }
        let authorization = capture["authorization"].as_str();
        let found =
            authorization.map(|id| lock(&self.state.books).find(self.account, Kind::Authorization, id));
        match found.transpose()? {
            Some(mut object) => {
                self.settled(refund, Some(&mut object));
                self.updated(object);
            }
            None => self.settled(refund, None),
        }
        Ok(capture)
    }
}

impl Turn<'_> {
    /// Asks the endpoint, lets Stripe decide by what it says, and tells what became of it. Nobody is asked without an
    /// endpoint, or for what the balance does not have.
    async fn ask(&self, object: Value, told_as: &str) -> Answered {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        let asking = self.event("issuing_authorization.request", &object);
        let is_covered = lock(&self.state.books).ask(self.account, object);
        let verdict = match &self.state.endpoint {
            _ if !is_covered => Some(Verdict { is_approval: false, reason: "insufficient_funds" }),
            None => Some(Verdict { is_approval: true, reason: "card_active" }),
            Some(endpoint) => match endpoint.ask(asking).await {
                Asked::Decided(reply) => {
                    let reason = if reply.approved { "webhook_approved" } else { "webhook_declined" };
                    let metadata = reply.metadata.into_iter();
                    let metadata =
                        metadata.filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
                    let given = Given {
                        amount: reply.amount,
                        metadata: metadata.collect(),
                        challenges: reply.send_fraud_challenges.unwrap_or_default(),
                    };
                    self.decide(&id, Verdict { is_approval: reply.approved, reason }, &given);
                    None
                }
                // Stripe's setting for what is not answered is to decline here.
                Asked::Error => Some(Verdict { is_approval: false, reason: "webhook_error" }),
                Asked::Timeout => Some(Verdict { is_approval: false, reason: "webhook_timeout" }),
            },
        };
        if let Some(verdict) = verdict {
            self.decide(&id, verdict, &Given::default());
        }
        let object = lock(&self.state.books).find(self.account, Kind::Authorization, &id)?;
        self.tell(told_as, &object);
        Ok(object)
    }

    fn decide(&self, id: &str, verdict: Verdict, given: &Given) {
        // An answer that came over the API meanwhile counts.
        let _ = lock(&self.state.books).answer(self.account, id, verdict, given);
    }

    /// An approved authorization that is not at its end.
    fn pending(&self, id: &str) -> Result<Value, Problem> {
        self.approved(id, &["pending"])
    }

    fn approved(&self, id: &str, statuses: &[&str]) -> Result<Value, Problem> {
        let object = lock(&self.state.books).find(self.account, Kind::Authorization, id)?;
        let status = object["status"].as_str().unwrap_or_default();
        if object["approved"] == true && object["pending_request"].is_null() && statuses.contains(&status) {
            return Ok(object);
        }
        let approved = if object["approved"] == true { "approved" } else { "not approved" };
        let message = format!("Authorization '{id}' is {approved} and {status}: this cannot be done to it.");
        Err(Problem::refused(&message))
    }

    /// Puts a changed authorization into the books, and tells of it.
    fn updated(&self, object: Value) -> Value {
        self.put(object.clone());
        self.tell("issuing_authorization.updated", &object);
        object
    }

    /// Puts a transaction into the books, with the authorization that it belongs to, and tells of it.
    fn settled(&self, transaction: Value, authorization: Option<&mut Value>) {
        self.tell("issuing_transaction.created", &transaction);
        if let Some(listed) = authorization.and_then(|object| object["transactions"].as_array_mut()) {
            listed.push(transaction.clone());
        }
        self.put(transaction);
    }

    fn put(&self, object: Value) {
        // What is made here has a kind and an id.
        let _ = lock(&self.state.books).put(self.account, object);
    }

    /// Delivers an event, and keeps it to be read.
    fn tell(&self, kind: &str, object: &Value) {
        let event = self.event(kind, object);
        self.put(serde_json::from_slice(&event).unwrap_or_default());
        if let Some(endpoint) = &self.state.endpoint {
            endpoint.clone().deliver(event);
        }
    }

    fn event(&self, kind: &str, object: &Value) -> Bytes {
        let mut event = self.template(Subject::Created, "event", population::any_shop());
        event["type"] = kind.into();
        event["data"]["object"] = object.clone();
        if let Some(account) = self.account {
            event["account"] = account.into();
        }
        event.to_string().into()
    }

    /// A transaction on the card of an authorization or of another transaction.
    fn transaction(&self, like: &Value, signed: i64, is_refund: bool) -> Value {
        let subject = Subject::Transaction(Transaction {
            number: self.number(),
            is_refund,
            amount: signed,
            is_linked: false,
            created: clock::unix_seconds(),
        });
        let mut transaction = self.template(subject, "data", population::any_shop());
        transaction["authorization"] = like["id"].clone();
        transaction["card"] = like["card"]["id"].clone();
        for name in ["currency", "merchant_currency", "merchant_data", "wallet"] {
            transaction[name] = like[name].clone();
        }
        transaction
    }

    /// A fresh event at its full size, or the object in it.
    fn template(&self, subject: Subject, part: &str, merchant: &'static Merchant) -> Value {
        let asked = if let Subject::Request(asked) = subject { asked } else { 0 };
        let number = self.number();
        let purchase = Purchase {
            card: Card { number, currency: "usd", share: None },
            merchant,
            amount: asked,
            is_controllable: false,
            cashback: None,
            method: "online",
            wallet: None,
            merchant_currency: ("usd", 1_000),
            risk_score: 10,
        };
        let now = clock::unix_seconds();
        let authorization = Authorization::new(number, purchase, now);
        let written = self.state.desk.writer.event(number, subject, &authorization, now);
        let mut event: Value = serde_json::from_slice(&written).unwrap_or_default();
        if part == "event" { event } else { event["data"]["object"].take() }
    }

    fn number(&self) -> u64 {
        self.state.desk.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

fn amount(object: &Value) -> i64 {
    object["amount"].as_i64().unwrap_or_default()
}
