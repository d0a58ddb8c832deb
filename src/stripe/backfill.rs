//! Objects that were read from Stripe's API, as the events that would have brought them: so the same reader reads them,
//! and they go into the books by the same way.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    ApiVersion,
    api::{Failure, Object},
};
use crate::domain::{ConnectedAccountId, Timestamp};

/// What all events of one reading have in common.
#[derive(Clone, Copy, Debug)]
pub struct Backfill<'a> {
    /// The version that the objects were asked for in.
    pub version: &'a ApiVersion,
    /// The connected account that they belong to.
    pub account: Option<&'a ConnectedAccountId>,
    /// When Stripe said so, by its own clock: an event of later says more, one of earlier says less.
    pub read_at: Timestamp,
}

impl Backfill<'_> {
    /// The event that tells an authorization as it is now.
    ///
    /// Its id says how far the authorization has come: the same state, read twice, is the same event.
    ///
    /// # Errors
    /// The object is no authorization.
    pub fn authorization(&self, object: &Object) -> Result<Vec<u8>, Failure> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            amount: Option<&'a RawValue>,
            approved: Option<bool>,
            livemode: Option<bool>,
            status: Option<String>,
            #[serde(borrow)]
            request_history: Option<Vec<&'a RawValue>>,
            #[serde(borrow)]
            transactions: Option<Vec<&'a RawValue>>,
        }
        let fields: Fields<'_> = serde_json::from_str(object.json.get()).map_err(|_| NOT_AN_AUTHORIZATION)?;
        let progress = format!(
            "{}_h{}_t{}_{}_{}",
            word(fields.status.as_deref()),
            fields.request_history.map_or(0, |entries| entries.len()),
            fields.transactions.map_or(0, |entries| entries.len()),
            if fields.approved == Some(true) { "approved" } else { "declined" },
            word(fields.amount.map(RawValue::get)),
        );
        Ok(self.event("issuing_authorization.updated", object, &progress, fields.livemode))
    }

    /// The event that tells a transaction as it is now. `is_known` where the books have it in another version.
    ///
    /// # Errors
    /// The object is no transaction.
    pub fn transaction(&self, object: &Object, is_known: bool) -> Result<Vec<u8>, Failure> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            amount: Option<&'a RawValue>,
            livemode: Option<bool>,
            #[serde(rename = "type")]
            kind: Option<String>,
        }
        let fields: Fields<'_> = serde_json::from_str(object.json.get()).map_err(|_| NOT_A_TRANSACTION)?;
        let progress = format!("{}_{}", word(fields.kind.as_deref()), word(fields.amount.map(RawValue::get)));
        let event_type = if is_known { "issuing_transaction.updated" } else { "issuing_transaction.created" };
        Ok(self.event(event_type, object, &progress, fields.livemode))
    }

    /// The event that tells a card as it is now.
    ///
    /// # Errors
    /// The object is no card.
    pub fn card(&self, object: &Object) -> Result<Vec<u8>, Failure> {
        self.changed("issuing_card.updated", object, "a card")
    }

    /// The event that tells a cardholder as it is now.
    ///
    /// # Errors
    /// The object is no cardholder.
    pub fn cardholder(&self, object: &Object) -> Result<Vec<u8>, Failure> {
        self.changed("issuing_cardholder.updated", object, "a cardholder")
    }

    fn changed(&self, kind: &str, object: &Object, expected: &'static str) -> Result<Vec<u8>, Failure> {
        #[derive(Deserialize)]
        struct Fields {
            livemode: Option<bool>,
            status: Option<String>,
        }
        let fields: Fields =
            serde_json::from_str(object.json.get()).map_err(|_| Failure::Unreadable { expected })?;
        // A state comes back: what was read at another time is another event.
        let progress = format!("{}_{}", word(fields.status.as_deref()), self.read_at.as_seconds());
        Ok(self.event(kind, object, &progress, fields.livemode))
    }

    fn event(&self, kind: &str, object: &Object, progress: &str, livemode: Option<bool>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Event<'a> {
            id: String,
            object: &'a str,
            api_version: &'a str,
            created: i64,
            #[serde(rename = "type")]
            kind: &'a str,
            livemode: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            account: Option<&'a str>,
            data: Data<'a>,
        }
        #[derive(Serialize)]
        struct Data<'a> {
            object: &'a RawValue,
        }
        let slim = without_receipts(&object.json);
        let event = Event {
            id: format!("evt_backfill_{}_{progress}", object.id),
            object: "event",
            api_version: self.version.as_str(),
            created: self.read_at.minus(SAME_SECOND).as_seconds(),
            kind,
            livemode: livemode.unwrap_or(false),
            account: self.account.map(ConnectedAccountId::as_str),
            data: Data { object: slim.as_deref().unwrap_or(&object.json) },
        };
        // Text, numbers and raw JSON always have a JSON form.
        serde_json::to_vec(&event).unwrap_or_default()
    }
}

/// The object without the lines of its receipts: hundreds of kilobytes of which nothing is booked, and which a node might
/// refuse as too large. Nothing if it has none.
fn without_receipts(object: &RawValue) -> Option<Box<RawValue>> {
    type Fields = BTreeMap<String, Box<RawValue>>;
    const RECEIPTS: &str = "purchase_details";
    let mut fields: Fields = serde_json::from_str(object.get()).ok()?;
    let mut is_changed = fields.remove(RECEIPTS).is_some();
    if let Some(listed) = fields.get_mut("transactions")
        && let Ok(mut transactions) = serde_json::from_str::<Vec<Fields>>(listed.get())
    {
        for transaction in &mut transactions {
            is_changed |= transaction.remove(RECEIPTS).is_some();
        }
        *listed = to_raw_value(&transactions).ok()?;
    }
    is_changed.then(|| to_raw_value(&fields).ok()).flatten()
}

/// An event of the second of the reading may tell what happened after it: it has the last word.
const SAME_SECOND: Duration = Duration::from_secs(1);

const NOT_AN_AUTHORIZATION: Failure = Failure::Unreadable { expected: "an authorization" };
const NOT_A_TRANSACTION: Failure = Failure::Unreadable { expected: "a transaction" };

/// The transactions that stand inside an authorization.
#[must_use]
pub fn transactions_of(authorization: &Object) -> Vec<Object> {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(default)]
        transactions: Option<Vec<Box<RawValue>>>,
    }
    let fields = serde_json::from_str::<Fields>(authorization.json.get());
    let transactions = fields.ok().and_then(|fields| fields.transactions).unwrap_or_default();
    // A bare id is in the list of transactions too, with all that it says.
    transactions.into_iter().filter_map(|json| Object::read(json).ok()).collect()
}

/// The cardholder that stands inside a card.
#[must_use]
pub fn cardholder_of(card: &Object) -> Option<Object> {
    #[derive(Deserialize)]
    struct Fields {
        cardholder: Box<RawValue>,
    }
    let fields: Fields = serde_json::from_str(card.json.get()).ok()?;
    Object::read(fields.cardholder).ok()
}

/// What can stand in an id: a status or a number, and nothing longer.
fn word(text: Option<&str>) -> String {
    let usable = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    text.unwrap_or("none").chars().filter(usable).take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{AuthorizationStatus, Fact},
        stripe::{Incoming, Reading, read},
    };

    const EVENTS: [&str; 3] = [
        include_str!("../../tests/fixtures/stripe/authorization-created-approved.json"),
        include_str!("../../tests/fixtures/stripe/authorization-updated-reversed.json"),
        include_str!("../../tests/fixtures/stripe/authorization-created-declined-by-stripe.json"),
    ];
    const CAPTURE: &str = include_str!("../../tests/fixtures/stripe/transaction-created-capture.json");

    /// The object in an event, with a time of its own where the event has none.
    fn object(event: &str) -> Object {
        let mut event: serde_json::Value = serde_json::from_str(event).unwrap();
        let created = event["created"].clone();
        let object = event["data"]["object"].as_object_mut().unwrap();
        object.entry("created").or_insert(created);
        Object::read(serde_json::value::to_raw_value(object).unwrap()).unwrap()
    }

    fn backfill(version: &ApiVersion) -> Backfill<'_> {
        Backfill { version, account: None, read_at: Timestamp::from_seconds(1_800_000_000) }
    }

    #[test]
    fn an_object_is_read_as_its_event_would_be() {
        let version = ApiVersion::default();
        for event in EVENTS.into_iter().chain([CAPTURE]) {
            let original = read(event.as_bytes(), Timestamp::default(), &Reading::default()).unwrap();
            let backfill = backfill(&version);
            let made = match original {
                Incoming::Observation(ref seen) if matches!(seen.fact, Fact::Transaction(_)) => {
                    backfill.transaction(&object(event), false).unwrap()
                }
                _ => backfill.authorization(&object(event)).unwrap(),
            };
            let made = read(&made, Timestamp::default(), &Reading::default()).unwrap();
            let (Incoming::Observation(mut made), Incoming::Observation(original)) = (made, original) else {
                panic!("not booked: {event}");
            };
            assert_eq!(made.created, Timestamp::from_seconds(1_799_999_999));
            match (&mut made.fact, &original.fact) {
                (Fact::Authorization(made), Fact::Authorization(original)) => {
                    made.is_update = original.is_update;
                    // Only an event says what it changed.
                    made.amount_before = original.amount_before;
                    made.created = original.created;
                    for (made, original) in made.history.iter_mut().zip(&original.history) {
                        made.created = original.created;
                    }
                }
                (Fact::Transaction(_), Fact::Transaction(_)) => {}
                facts => panic!("{facts:?}"),
            }
            assert_eq!((made.fact, made.subject), (original.fact, original.subject));
        }
    }

    #[test]
    fn the_id_follows_from_the_state_alone() {
        let version = ApiVersion::default();
        let event_id = |object: &Object, read_at: i64| {
            let backfill = Backfill { read_at: Timestamp::from_seconds(read_at), ..backfill(&version) };
            let body = backfill.authorization(object).unwrap();
            let Ok(Incoming::Observation(seen)) = read(&body, Timestamp::default(), &Reading::default())
            else {
                panic!("not booked");
            };
            let Fact::Authorization(authorization) = seen.fact else { panic!("no authorization") };
            assert_eq!(authorization.status, AuthorizationStatus::Pending);
            seen.event.as_str().to_owned()
        };
        let pending = object(EVENTS[0]);
        let id = event_id(&pending, 1_800_000_000);
        assert_eq!(id, "evt_backfill_iauth_approved_pending_h1_t0_approved_8800");
        assert_eq!(event_id(&pending, 1_900_000_000), id);
        let lower = pending.json.get().replace("8800", "5000");
        let lower = Object::read(RawValue::from_string(lower).unwrap()).unwrap();
        assert_ne!(event_id(&lower, 1_800_000_000), id);
    }

    #[test]
    fn the_lines_of_receipts_are_left_out_and_nothing_else() {
        let version = ApiVersion::default();
        let line = r#"{"description":"BOLT","quantity":1.0,"total":4,"unit_cost":4}"#;
        let receipt = vec![line; 900].join(",");
        let details = format!(r#""purchase_details":{{"receipt":[{receipt}],"reference":"PO 4711"}}"#);
        let capture = CAPTURE.replacen(
            r#""object": "issuing.transaction","#,
            &format!(r#""object": "issuing.transaction", {details},"#),
            1,
        );
        assert!(capture.len() > CAPTURE.len() + 50_000);
        let plain = backfill(&version).transaction(&object(CAPTURE), false).unwrap();
        let slim = backfill(&version).transaction(&object(&capture), false).unwrap();
        assert!(slim.len() < plain.len() + 100, "{} and {}", slim.len(), plain.len());
        let read = |body: &[u8]| read(body, Timestamp::default(), &Reading::default()).unwrap();
        assert_eq!(read(&slim), read(&plain));

        let mut listing: serde_json::Value = serde_json::from_str(EVENTS[0]).unwrap();
        let transaction: serde_json::Value = serde_json::from_str(object(&capture).json.get()).unwrap();
        listing["data"]["object"]["transactions"] = serde_json::json!([transaction, transaction]);
        let body = backfill(&version).authorization(&object(&listing.to_string())).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let listed = body["data"]["object"]["transactions"].as_array().unwrap();
        assert_eq!((listed.len(), &listed[1]["amount"]), (2, &transaction["amount"]));
        assert!(!body.to_string().contains("BOLT"));
    }

    #[test]
    fn what_is_no_authorization_is_refused() {
        let version = ApiVersion::default();
        let odd = Object::read(RawValue::from_string(r#"{"id":"x","created":1,"status":7}"#.into()).unwrap());
        assert!(backfill(&version).authorization(&odd.unwrap()).is_err());
        for odd in [r#"{"id":"x"}"#, "[]", r#"{"id":7,"created":1}"#, r#"{"id":"x","created":"now"}"#] {
            assert!(Object::read(RawValue::from_string(odd.into()).unwrap()).is_err(), "{odd}");
        }
    }
}
