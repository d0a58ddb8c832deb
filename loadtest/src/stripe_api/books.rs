//! The objects that the stub knows, account by account, and what approving and declining does to them. HTTP is not
//! here.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{
    balance,
    challenges::{self, Confirmed},
    problem::Problem,
    query::Query,
};
use crate::population::FUEL_DISPENSER;

/// What can be listed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Kind {
    Authorization,
    Transaction,
    Event,
    Card,
    Cardholder,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Authorization, Self::Transaction, Self::Event, Self::Cardholder, Self::Card];

    /// Where its list is.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Authorization => "/v1/issuing/authorizations",
            Self::Transaction => "/v1/issuing/transactions",
            Self::Event => "/v1/events",
            Self::Card => "/v1/issuing/cards",
            Self::Cardholder => "/v1/issuing/cardholders",
        }
    }

    /// The value of the field `object`.
    const fn object(self) -> &'static str {
        match self {
            Self::Authorization => "issuing.authorization",
            Self::Transaction => "issuing.transaction",
            Self::Event => "event",
            Self::Card => "issuing.card",
            Self::Cardholder => "issuing.cardholder",
        }
    }

    const fn filters(self) -> &'static [&'static str] {
        match self {
            Self::Authorization => &["card", "cardholder", "status"],
            Self::Transaction => &["card", "cardholder", "type"],
            Self::Event => &["type"],
            Self::Card => &["cardholder", "status", "type"],
            Self::Cardholder => &["status", "type"],
        }
    }

    /// The kind whose list is at the beginning of `path`, and what follows it.
    pub(super) fn at(path: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|kind| {
            let rest = path.strip_prefix(kind.path())?;
            if rest.is_empty() { Some((kind, "")) } else { Some((kind, rest.strip_prefix('/')?)) }
        })
    }
}

/// The platform's own books, and those of its connected accounts.
#[derive(Default)]
pub(super) struct Books(HashMap<Option<String>, Account>);

/// One account's objects, in the order in which they are listed from the end, and what is not an object of its own.
#[derive(Default)]
struct Account {
    objects: BTreeMap<Place, Value>,
    places: HashMap<String, Place>,
    put: u64,
    /// What was put into its Issuing balance, by currency; none until something was.
    funded: Option<BTreeMap<String, i64>>,
    confirmed: Confirmed,
}

/// By kind, then time, then arrival.
type Place = (Kind, i64, u64);

/// An object that the stub has no list for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotKept;

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected an authorization, transaction, card or cardholder of Issuing, or an event, with an id; found none",
        )
    }
}

impl std::error::Error for NotKept {}

/// How a pending request is decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) is_approval: bool,
    /// `reason` in the history.
    pub(super) reason: &'static str,
}

impl Verdict {
    pub(super) const APPROVAL: Self = Self { is_approval: true, reason: "webhook_approved" };
    pub(super) const DECLINE: Self = Self { is_approval: false, reason: "webhook_declined" };
}

/// What a pump holds where it asks for one unit of a currency.
const FUEL_HOLD_UNITS: i64 = 100;

/// What an answer may carry.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) amount: Option<i64>,
    pub(super) metadata: Vec<(String, String)>,
    /// Over which channels the cardholder is asked about what is declined.
    pub(super) challenges: Vec<String>,
}

impl Books {
    /// Puts an object in.
    pub(super) fn put(&mut self, account: Option<&str>, object: Value) -> Result<(), NotKept> {
        let named = object.get("object").and_then(Value::as_str);
        let kind = Kind::ALL.into_iter().find(|kind| Some(kind.object()) == named);
        let id = object.get("id").and_then(Value::as_str).map(ToOwned::to_owned);
        let (Some(kind), Some(id)) = (kind, id) else { return Err(NotKept) };
        self.0.entry(account.map(ToOwned::to_owned)).or_default().put(kind, id, object);
        Ok(())
    }

    pub(super) fn get(&self, account: Option<&str>, id: &str) -> Option<&Value> {
        let account = self.0.get(&account.map(ToOwned::to_owned))?;
        account.objects.get(account.places.get(id)?)
    }

    /// Whether a connected account was ever heard of.
    pub(super) fn knows(&self, account: &str) -> bool {
        self.0.contains_key(&Some(account.to_owned()))
    }

    /// One object, or Stripe's 404.
    pub(super) fn find(&self, account: Option<&str>, kind: Kind, id: &str) -> Result<Value, Problem> {
        let found =
            self.get(account, id).filter(|object| object.get("object") == Some(&kind.object().into()));
        found.cloned().ok_or_else(|| missing(kind, id))
    }

    /// A page, newest first.
    pub(super) fn list(
        &self,
        account: Option<&str>,
        kind: Kind,
        parameters: &[(String, String)],
    ) -> Result<Value, Problem> {
        let query = Query::read(parameters, kind.filters())?;
        let empty = Account::default();
        let account = self.0.get(&account.map(ToOwned::to_owned)).unwrap_or(&empty);
        let end = match &query.starting_after {
            None => (kind, i64::MAX, u64::MAX),
            Some(id) => *account.places.get(id).ok_or_else(|| {
                let what = kind.object().replace('.', " ");
                Problem::missing(StatusCode::BAD_REQUEST, &what, id, "starting_after")
            })?,
        };
        let older = account.objects.range((kind, i64::MIN, 0)..end).rev();
        let mut wanted = older
            .filter(|((_, created, _), object)| query.admits(*created, object))
            .map(|(_, object)| object);
        let data: Vec<&Value> = wanted.by_ref().take(query.limit).collect();
        let has_more = wanted.next().is_some();
        Ok(json!({"object": "list", "url": kind.path(), "has_more": has_more, "data": data}))
    }

    /// Answers the pending request of an authorization.
    pub(super) fn answer(
        &mut self,
        account: Option<&str>,
        id: &str,
        verdict: Verdict,
        given: &Given,
    ) -> Result<Value, Problem> {
        let Verdict { is_approval, reason } = verdict;
        let authorization = self.authorization(account, id)?;
        let full = fuel_hold(authorization);
        let pending = authorization.get("pending_request").cloned().unwrap_or_default();
        let Some(asked) = pending.get("amount").and_then(Value::as_i64) else {
            return Err(Problem::too_late(id));
        };
        let is_controllable = pending.get("is_amount_controllable").and_then(Value::as_bool) == Some(true);
        let granted = given.amount.filter(|_| is_controllable).unwrap_or(full.unwrap_or(asked));
        let before = authorization.get("amount").and_then(Value::as_i64).unwrap_or(0);
        let was_approved = authorization.get("approved").and_then(Value::as_bool) == Some(true);
        let entry = json!({
            "amount": if is_approval { granted } else { asked }, "approved": is_approval, "reason": reason,
            "created": authorization.get("created"), "currency": pending.get("currency"),
        });
        let Some(fields) = authorization.as_object_mut() else { return Err(Problem::too_late(id)) };
        fields.insert("pending_request".into(), Value::Null);
        if let Some(history) = fields.entry("request_history").or_insert_with(|| json!([])).as_array_mut() {
            history.push(entry);
        }
        if is_approval {
            fields.insert("approved".into(), true.into());
            fields.insert("status".into(), "pending".into());
            fields.insert("amount".into(), before.saturating_add(granted).into());
        } else if !was_approved {
            fields.insert("status".into(), "closed".into());
            fields.insert("amount".into(), asked.into());
        }
        if !is_approval {
            challenges::send(fields, &given.challenges);
        }
        merge_metadata(authorization, &given.metadata);
        Ok(authorization.clone())
    }

    /// Changes an authorization's metadata.
    pub(super) fn update(
        &mut self,
        account: Option<&str>,
        id: &str,
        given: &Given,
    ) -> Result<Value, Problem> {
        let authorization = self.authorization(account, id)?;
        merge_metadata(authorization, &given.metadata);
        Ok(authorization.clone())
    }

    /// Puts a question into the books, and says whether the Issuing balance has what it asks for. What is being asked for is
    /// set aside until it is decided, so that no other question gets it.
    pub(super) fn ask(&mut self, account: Option<&str>, object: Value) -> bool {
        let asked = balance::asked(&object);
        let currency = object.get("currency").and_then(Value::as_str).unwrap_or_default();
        let available =
            self.available(account).map(|available| available.get(currency).copied().unwrap_or(0));
        // What is asked here has a kind and an id.
        let _ = self.put(account, object);
        available.is_none_or(|available| asked <= available)
    }

    /// Puts money into the Issuing balance. From the first time on, purchases are paid from it.
    pub(super) fn fund(&mut self, account: Option<&str>, currency: &str, amount: i64) {
        let account = self.0.entry(account.map(ToOwned::to_owned)).or_default();
        let funds = account.funded.get_or_insert_default().entry(currency.to_owned()).or_default();
        *funds = funds.saturating_add(amount);
    }

    /// What is left of the Issuing balance, by currency; none where it was never funded, and nothing is checked.
    pub(super) fn available(&self, account: Option<&str>) -> Option<BTreeMap<String, i64>> {
        let account = self.0.get(&account.map(ToOwned::to_owned))?;
        let mut available = account.funded.clone()?;
        for object in account.objects.values() {
            let currency = object.get("currency").and_then(Value::as_str);
            if let Some(left) = currency.and_then(|currency| available.get_mut(currency)) {
                *left = left.saturating_add(balance::moved(object));
            }
        }
        Some(available)
    }

    /// The cardholder's answer to the challenge of an authorization.
    pub(super) fn respond(
        &mut self,
        account: Option<&str>,
        id: &str,
        is_confirmed: bool,
        now: i64,
    ) -> Result<Value, Problem> {
        let authorization = self.authorization(account, id)?;
        if !challenges::respond(authorization, is_confirmed) {
            let message = format!("Authorization '{id}' has no fraud challenge that waits for a response.");
            return Err(Problem::refused(&message));
        }
        let authorization = authorization.clone();
        if let Some(account) = self.0.get_mut(&account.map(ToOwned::to_owned)).filter(|_| is_confirmed) {
            account.confirmed.add(&authorization, now);
        }
        Ok(authorization)
    }

    /// Whether the cardholder has confirmed a purchase at the same shop.
    pub(super) fn is_confirmed(&self, account: Option<&str>, authorization: &Value, now: i64) -> bool {
        let account = self.0.get(&account.map(ToOwned::to_owned));
        account.is_some_and(|account| account.confirmed.has(authorization, now))
    }

    fn authorization(&mut self, account: Option<&str>, id: &str) -> Result<&mut Value, Problem> {
        let account = self.0.get_mut(&account.map(ToOwned::to_owned));
        let found = account.and_then(|account| {
            let place = account.places.get(id).filter(|(kind, ..)| *kind == Kind::Authorization)?;
            account.objects.get_mut(place)
        });
        found.ok_or_else(|| missing(Kind::Authorization, id))
    }
}

impl Account {
    fn put(&mut self, kind: Kind, id: String, object: Value) {
        let created = object.get("created").and_then(seconds).unwrap_or(0);
        let place = match self.places.get(&id) {
            Some((known, at, number)) if (*known, *at) == (kind, created) => (kind, created, *number),
            before => {
                if let Some(before) = before {
                    self.objects.remove(before);
                }
                self.put = self.put.saturating_add(1);
                (kind, created, self.put)
            }
        };
        self.places.insert(id, place);
        self.objects.insert(place, object);
    }
}

/// What a fuel dispenser holds, whatever it asks for; none at any other shop.
pub(super) fn fuel_hold(authorization: &Value) -> Option<i64> {
    let text = |pointer: &str| authorization.pointer(pointer).and_then(Value::as_str);
    let unit = if text("/currency") == Some("jpy") { 1 } else { 100 };
    let is_pump = text("/merchant_data/category_code") == Some(FUEL_DISPENSER.category_code);
    is_pump.then(|| FUEL_HOLD_UNITS.saturating_mul(unit))
}

/// Seconds, also where they are written with a zero fraction.
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.to_string().split('.').next()?.parse().ok())
}

fn missing(kind: Kind, id: &str) -> Problem {
    Problem::missing(StatusCode::NOT_FOUND, &kind.object().replace('.', " "), id, "id")
}

/// An empty value takes a key away.
fn merge_metadata(object: &mut Value, given: &[(String, String)]) {
    let Some(fields) = object.as_object_mut() else { return };
    let Some(metadata) = fields.entry("metadata").or_insert_with(|| json!({})).as_object_mut() else {
        return;
    };
    for (key, value) in given {
        if value.is_empty() {
            metadata.remove(key);
        } else {
            metadata.insert(key.clone(), value.clone().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(count: usize) -> Books {
        let mut books = Books::default();
        // Three of one second.
        for (number, created) in (0..count).zip([1, 1, 1, 2, 2, 2, 3]) {
            let id = format!("iauth_{number}");
            let object = json!({"id": id, "object": "issuing.authorization", "created": created});
            books.put(None, object).unwrap();
        }
        books
    }

    fn ids(page: &Value) -> Vec<&str> {
        page["data"].as_array().unwrap().iter().map(|object| object["id"].as_str().unwrap()).collect()
    }

    #[test]
    fn pages_go_from_the_newest_to_the_oldest_and_miss_nothing() {
        let books = books(7);
        let mut parameters = vec![("limit".to_owned(), "3".to_owned())];
        let mut seen = Vec::new();
        loop {
            let page = books.list(None, Kind::Authorization, &parameters).unwrap();
            seen.extend(ids(&page).into_iter().map(ToOwned::to_owned));
            if page["has_more"] == false {
                break;
            }
            parameters.truncate(1);
            parameters.push(("starting_after".to_owned(), seen.last().unwrap().clone()));
        }
        assert_eq!(
            seen,
            ["iauth_6", "iauth_5", "iauth_4", "iauth_3", "iauth_2", "iauth_1", "iauth_0"].map(String::from)
        );
        assert_eq!(ids(&books.list(None, Kind::Transaction, &[]).unwrap()), [""; 0]);
    }

    #[test]
    fn what_is_put_again_takes_the_place_of_the_first() {
        let mut books = books(2);
        for created in [1, 5] {
            let object = json!({"id": "iauth_0", "object": "issuing.authorization", "created": created});
            books.put(None, object).unwrap();
        }
        assert_eq!(ids(&books.list(None, Kind::Authorization, &[]).unwrap()), ["iauth_0", "iauth_1"]);
        assert_eq!(books.put(None, json!({"id": "x", "object": "issuing.dispute"})), Err(NotKept));
        assert_eq!(books.put(None, json!({"object": "event"})), Err(NotKept));
    }

    #[test]
    fn an_approval_holds_what_was_asked_or_chosen_and_comes_once() {
        let asked = |controllable: bool| {
            json!({
                "id": "iauth_1", "object": "issuing.authorization", "amount": 0, "approved": false, "created": 1,
                "metadata": {"old": "1"}, "request_history": [],
                "pending_request": {"amount": 900, "currency": "usd", "is_amount_controllable": controllable},
            })
        };
        for (controllable, held) in [(true, 500), (false, 900)] {
            let mut books = Books::default();
            books.put(None, asked(controllable)).unwrap();
            let metadata = vec![("new".to_owned(), "2".to_owned()), ("old".to_owned(), String::new())];
            let given = Given { amount: Some(500), metadata, ..Given::default() };
            let answered = books.answer(None, "iauth_1", Verdict::APPROVAL, &given).unwrap();
            assert_eq!(answered["amount"], held);
            assert_eq!(answered["metadata"], json!({"new": "2"}));
            assert_eq!(answered["request_history"][0]["reason"], "webhook_approved");
            let late = books.answer(None, "iauth_1", Verdict::DECLINE, &Given::default()).unwrap_err();
            assert_eq!(late.status, StatusCode::BAD_REQUEST);
        }
        let mut books = Books::default();
        books.put(Some("acct_1"), asked(false)).unwrap();
        assert!(books.answer(None, "iauth_1", Verdict::DECLINE, &Given::default()).is_err());
        let declined = books.answer(Some("acct_1"), "iauth_1", Verdict::DECLINE, &Given::default()).unwrap();
        assert_eq!((&declined["status"], &declined["approved"]), (&json!("closed"), &json!(false)));
    }
}
