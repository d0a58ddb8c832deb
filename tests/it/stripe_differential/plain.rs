//! The plain reader: slow, on whole values, by pointer. It follows the contract, not the engine's code.

mod details;

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use tollgate::{
    domain::{
        AMOUNT_MAX, AuthorizationId, AuthorizationRequest, AuthorizationSeen, AuthorizationStatus, CardId,
        CardPresence, CardSeen, CardholderId, CardholderSeen, Category, ConnectedAccountId, Controls,
        Country, Currency, Details, EventId, EventType, Fact, HistoryEntry, Interval, Limit,
        ListedTransaction, Lists, Measure, Merchant, Money, NetworkId, Observation, State, Subject,
        Timestamp, Told, TransactionId, TransactionKind, TransactionSeen, Violation, Window, Zone,
    },
    stripe::{Incoming, Kind, Unbooked},
};

/// What the body says, or nothing if it must be refused.
pub(super) fn read(body: &[u8], received_at: Timestamp, mirror: bool) -> Option<Incoming> {
    let event: Value = serde_json::from_slice(body).ok()?;
    serde_json::from_slice::<NoFieldTwice>(body).ok()?;
    let shape = event.get("object").unwrap_or(&Value::Null);
    let event_type = text(&event, "/type").filter(|text| !text.is_empty())?;
    if event.is_object() && shape == "v2.core.event" {
        let is_thin = event_type.starts_with("v1.") || event_type.starts_with("v2.");
        if !is_thin {
            return None;
        }
        let id = text(&event, "/id").and_then(EventId::new);
        return Some(Incoming::Acknowledged {
            event: id,
            kind: Kind::of(event_type),
            cause: Unbooked::NotOurs,
        });
    }
    if event_type == "issuing_authentication.decision" {
        return None;
    }
    if !event.is_object()
        || !(shape.is_null() || shape == "event")
        || !event.pointer("/data/object")?.is_object()
    {
        return None;
    }
    let id = text(&event, "/id").and_then(EventId::new);
    if event_type == "issuing_authorization.request" {
        let request = request(&event, id?, received_at, mirror, body)?;
        return Some(Incoming::Request(Box::new(request)));
    }
    let kind = Kind::of(event_type);
    Some(match observation(&event, event_type, id.clone(), received_at) {
        Ok(observation) => Incoming::Observation(Box::new(observation)),
        Err(cause) => Incoming::Acknowledged { event: id, kind, cause },
    })
}

/// JSON in which no object names a field twice, or else an error.
struct NoFieldTwice;

impl<'de> Deserialize<'de> for NoFieldTwice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NoFieldTwice {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, _)) = fields.next_entry::<String, Self>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a field twice"));
            }
        }
        Ok(self)
    }
}

fn request(
    event: &Value,
    id: EventId,
    received_at: Timestamp,
    mirror: bool,
    body: &[u8],
) -> Option<AuthorizationRequest> {
    let object = event.pointer("/data/object")?;
    let card = card_id(object);
    let presence = text(object, "/card_presence").and_then(CardPresence::new);
    let method = text(object, "/authorization_method").and_then(CardPresence::of_method);
    let asked = if object.get("pending_request").is_none() && object.get("pending_held_amount").is_some() {
        Err(Violation::LegacyShape)
    } else if card.is_none() {
        Err(Violation::NoCard)
    } else {
        asked(object)
    };
    let created = whole(object, "/created").map_or(Timestamp::from_micros(0), Timestamp::from_seconds);
    let history = history(object, created);
    let approved = history.iter().filter(|entry| entry.approved).map(|entry| entry.amount.max(0));
    let approved = approved.fold(0, i64::saturating_add).min(AMOUNT_MAX);
    let is_number = number(object, "/amount").is_some_and(|amount| amount.fract() == 0.0);
    let told = Told {
        at: whole(event, "/created").map_or(received_at, Timestamp::from_seconds),
        hold_amount: clamped(object, "/pending_request/hold_amount"),
        history,
        transactions: listed_transactions(object, created),
        card: state(object, "/card"),
        cardholder: state(object, "/card/cardholder"),
    };
    Some(AuthorizationRequest {
        event: id,
        authorization: text(object, "/id").and_then(AuthorizationId::new)?,
        is_paused: ["/card/status", "/card/cardholder/status"]
            .iter()
            .any(|at| text(object, at).is_some_and(|status| status != "active")),
        card,
        card_currency: currency(object, "/card/currency"),
        replacement_for: replaced(object, "/card"),
        cardholder: text(object, "/card/cardholder")
            .or(text(object, "/card/cardholder/id"))
            .and_then(CardholderId::new),
        group: group(object, "/card"),
        received_at,
        created,
        history_entries: length(object, "/request_history"),
        approved_before: if is_number { clamped(object, "/amount") } else { approved },
        asked,
        is_amount_controllable: flag(object, "/pending_request/is_amount_controllable").unwrap_or(false),
        cashback: clamped(object, "/pending_request/amount_details/cashback_amount"),
        merchant: merchant(object),
        card_presence: presence.or(method),
        verified_by_fraud_challenge: flag(object, "/verified_by_fraud_challenge").unwrap_or(false),
        livemode: flag(event, "/livemode").unwrap_or(false),
        connected_account: text(event, "/account").and_then(ConnectedAccountId::new),
        details: Details {
            controls: mirror.then(|| controls(object).fingerprint()),
            ..details::read(event, object, body)
        },
        stripe_controls: mirror.then(|| Arc::new(controls(object))),
        told,
    })
}

fn asked(object: &Value) -> Result<Money, Violation> {
    let amount = number(object, "/pending_request/amount").ok_or(Violation::NoAmount)?;
    let exact = match whole(object, "/pending_request/amount") {
        Some(exact @ 0..) => exact,
        Some(_) => return Err(Violation::NegativeAmount),
        None if amount > 1e15 => return Err(Violation::AmountTooLarge),
        None if amount < -1e15 => return Err(Violation::NegativeAmount),
        None => return Err(Violation::NoAmount),
    };
    let currency = currency(object, "/pending_request/currency").ok_or(Violation::NoCurrency)?;
    match object.pointer("/pending_request/is_amount_controllable") {
        None | Some(Value::Null | Value::Bool(_)) => {}
        Some(_) => return Err(Violation::NoControllable),
    }
    Ok(Money::new(exact, currency))
}

fn observation(
    event: &Value,
    event_type: &str,
    id: Option<EventId>,
    received_at: Timestamp,
) -> Result<Observation, Unbooked> {
    let object = event.pointer("/data/object").unwrap();
    let created = whole(event, "/created").map_or(received_at, Timestamp::from_seconds);
    let is_update = !event_type.ends_with(".created");
    let of_card = |(card, fact): (CardId, Fact)| (Subject::Card(card), fact);
    let (subject, fact) = match event_type {
        "issuing_authorization.created" | "issuing_authorization.updated" => {
            of_card(authorization(event, object, created, is_update)?)
        }
        "issuing_transaction.created"
        | "issuing_transaction.updated"
        | "issuing_transaction.purchase_details_receipt_updated" => {
            of_card(transaction(object, created, is_update)?)
        }
        "issuing_card.created" | "issuing_card.updated" => of_card(card(event, object, is_update)?),
        "issuing_cardholder.created" | "issuing_cardholder.updated" => cardholder(event, object, is_update)?,
        other => {
            let event_type =
                EventType::new(other).filter(|_| other.starts_with("issuing_")).ok_or(Unbooked::NotOurs)?;
            of_card((card_id(object).ok_or(Unbooked::NotOurs)?, Fact::Other(event_type)))
        }
    };
    Ok(Observation {
        event: id.ok_or(Unbooked::NoEventId)?,
        created,
        received_at,
        livemode: flag(event, "/livemode").unwrap_or(false),
        connected_account: text(event, "/account").and_then(ConnectedAccountId::new),
        subject,
        // A card is itself in its own events, and within the object in all others.
        replacement_for: match event_type {
            "issuing_card.created" | "issuing_card.updated" => replaced(object, ""),
            "issuing_cardholder.created" | "issuing_cardholder.updated" => None,
            _ => replaced(object, "/card"),
        },
        fact,
    })
}

fn authorization(
    event: &Value,
    object: &Value,
    event_created: Timestamp,
    is_update: bool,
) -> Result<(CardId, Fact), Unbooked> {
    if object.get("amount").is_none() && object.get("held_amount").is_some() {
        return Err(Unbooked::LegacyShape);
    }
    let id = text(object, "/id").and_then(AuthorizationId::new).ok_or(Unbooked::NoId)?;
    let card = card_id(object).ok_or(Unbooked::NoCard)?;
    let amount = whole(object, "/amount").filter(|amount| *amount >= 0).ok_or(Unbooked::NoAmount)?;
    let created = whole(object, "/created").map_or(event_created, Timestamp::from_seconds);
    let entries = object.get("request_history").and_then(Value::as_array).cloned().unwrap_or_default();
    let same_amount = whole(object, "/merchant_amount") == Some(amount);
    let currency = currency(object, "/currency")
        .or(currency(object, "/card/currency"))
        .or(entries.iter().find_map(|entry| currency(entry, "/currency")))
        .or(if same_amount { currency(object, "/merchant_currency") } else { None });
    let seen = AuthorizationSeen {
        holder: None,
        differs: false,
        id,
        is_update,
        created,
        amount: Money::new(amount, currency.ok_or(Unbooked::NoCurrency)?),
        amount_before: whole(event, "/data/previous_attributes/amount"),
        approved: flag(object, "/approved").ok_or(Unbooked::NoApproval)?,
        status: text(object, "/status").and_then(AuthorizationStatus::new).ok_or(Unbooked::NoStatus)?,
        history: history(object, created),
        transactions: length(object, "/transactions"),
        listed: listed_transactions(object, created),
        merchant: merchant(object),
    };
    Ok((card, Fact::Authorization(Box::new(seen))))
}

fn history(object: &Value, created: Timestamp) -> Vec<HistoryEntry> {
    let entries = object.get("request_history").and_then(Value::as_array).into_iter().flatten();
    let mut history: Vec<_> = entries.map(|entry| history_entry(entry, created)).collect();
    history.sort_by_key(|entry| entry.created);
    history
}

fn listed_transactions(object: &Value, created: Timestamp) -> Vec<ListedTransaction> {
    let items = object.get("transactions").and_then(Value::as_array).into_iter().flatten();
    let read = |item: &Value| {
        Some(ListedTransaction {
            id: text(item, "/id").and_then(TransactionId::new)?,
            kind: text(item, "/type").and_then(TransactionKind::new)?,
            amount: whole(item, "/amount")?,
            created: whole(item, "/created").map_or(created, Timestamp::from_seconds),
        })
    };
    items.filter_map(read).collect()
}

fn history_entry(entry: &Value, authorization_created: Timestamp) -> HistoryEntry {
    let is_word = |text: &&str| {
        (1..=64).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    HistoryEntry {
        amount: whole(entry, "/amount").unwrap_or(0),
        approved: flag(entry, "/approved").unwrap_or(false),
        created: whole(entry, "/created").map_or(authorization_created, Timestamp::from_seconds),
        reason: text(entry, "/reason").filter(is_word).unwrap_or("unknown").into(),
    }
}

fn transaction(
    object: &Value,
    event_created: Timestamp,
    is_update: bool,
) -> Result<(CardId, Fact), Unbooked> {
    let card = card_id(object).ok_or(Unbooked::NoCard)?;
    let authorization = text(object, "/authorization").or(text(object, "/authorization/id"));
    let seen = TransactionSeen {
        id: text(object, "/id").and_then(TransactionId::new).ok_or(Unbooked::NoId)?,
        is_update,
        created: whole(object, "/created").map_or(event_created, Timestamp::from_seconds),
        kind: text(object, "/type").and_then(TransactionKind::new).ok_or(Unbooked::NoTransactionKind)?,
        amount: whole(object, "/amount").ok_or(Unbooked::NoAmount)?,
        currency: currency(object, "/currency").or(currency(object, "/card/currency")),
        authorization: authorization.and_then(AuthorizationId::new),
        merchant: merchant(object),
    };
    Ok((card, Fact::Transaction(Box::new(seen))))
}

fn card(event: &Value, object: &Value, is_update: bool) -> Result<(CardId, Fact), Unbooked> {
    let seen = CardSeen {
        is_update,
        is_active: text(object, "/status").ok_or(Unbooked::NoStatus)? == "active",
        currency: currency(object, "/currency"),
        group: group_in(object, ""),
        before: before(event, object),
    };
    Ok((text(object, "/id").and_then(CardId::new).ok_or(Unbooked::NoId)?, Fact::Card(Box::new(seen))))
}

fn cardholder(event: &Value, object: &Value, is_update: bool) -> Result<(Subject, Fact), Unbooked> {
    let seen = CardholderSeen {
        is_update,
        is_active: text(object, "/status").ok_or(Unbooked::NoStatus)? == "active",
        group: group_in(object, ""),
        before: before(event, object),
    };
    let id = text(object, "/id").and_then(CardholderId::new).ok_or(Unbooked::NoId)?;
    Ok((Subject::Cardholder(id), Fact::Cardholder(Box::new(seen))))
}

fn replaced(object: &Value, card: &str) -> Option<CardId> {
    let at = format!("{card}/replacement_for");
    text(object, &at).or(text(object, &format!("{at}/id"))).and_then(CardId::new)
}

fn controls(object: &Value) -> Controls {
    let category =
        |name: &str| Some(Category::of(Some(name), None)).filter(|category| *category != Category::Missing);
    let limits = object.pointer("/card/spending_controls/spending_limits").and_then(Value::as_array);
    let measure = Measure::Amount(currency(object, "/card/spending_controls/spending_limits_currency"));
    let limit = |limit: &Value| {
        let interval = Interval::parse(text(limit, "/interval")?)?;
        let rolling = matches!(interval, Interval::Rolling(_));
        let max = whole(limit, "/amount").filter(|max| *max >= 0 && !rolling)?;
        let categories = listed(limit, "/categories", category);
        Some(Limit {
            max,
            window: Arc::new(Window {
                measure,
                interval,
                time_zone: Zone::UTC,
                categories,
                merchants: None,
                occurrence: tollgate::domain::Occurrence::Approval,
            }),
        })
    };
    Controls {
        spending_limits: limits.into_iter().flatten().filter_map(limit).collect(),
        categories: lists(object, "categories", category),
        countries: lists(object, "merchant_countries", Country::new),
        presences: lists(object, "card_presences", CardPresence::new),
        merchants: Lists::default(),
    }
}

fn lists<T: Ord + Clone>(object: &Value, what: &str, read: impl Fn(&str) -> Option<T> + Copy) -> Lists<T> {
    let of = |side: &str| {
        let own = listed(object, &format!("/card/spending_controls/{side}_{what}"), read);
        (own, listed(object, &format!("/card/cardholder/spending_controls/{side}_{what}"), read))
    };
    let allowed = match of("allowed") {
        (Some(own), Some(shared)) => Some(own.intersection(&shared).cloned().collect()),
        (own, shared) => own.or(shared),
    };
    let blocked = match of("blocked") {
        (None, None) => None,
        (own, shared) => Some(own.into_iter().chain(shared).flatten().collect()),
    };
    Lists { allowed: allowed.map(Arc::new), blocked: blocked.map(Arc::new) }
}

fn listed<T: Ord>(object: &Value, at: &str, read: impl Fn(&str) -> Option<T>) -> Option<BTreeSet<T>> {
    let items = object.pointer(at)?.as_array().filter(|items| !items.is_empty())?;
    Some(items.iter().filter_map(|item| read(item.as_str()?)).collect())
}

fn merchant(object: &Value) -> Merchant {
    Merchant {
        category: Category::of(
            text(object, "/merchant_data/category"),
            text(object, "/merchant_data/category_code"),
        ),
        country: text(object, "/merchant_data/country").and_then(Country::new),
        network_id: text(object, "/merchant_data/network_id").and_then(NetworkId::new),
    }
}

fn card_id(object: &Value) -> Option<CardId> {
    text(object, "/card").or(text(object, "/card/id")).and_then(CardId::new)
}

fn state(object: &Value, owner: &str) -> Option<State> {
    let status = text(object, &format!("{owner}/status"))?;
    Some(State { is_active: status == "active", group: group_in(object, owner) })
}

fn before(event: &Value, object: &Value) -> Option<State> {
    let now = state(object, "")?;
    let previous = event.pointer("/data/previous_attributes")?;
    let was_in = previous.pointer("/metadata/tollgate_group");
    if previous.get("status").is_none() && was_in.is_none() {
        return None;
    }
    Some(State {
        is_active: text(previous, "/status").map_or(now.is_active, |status| status == "active"),
        group: if was_in.is_some() { group_in(previous, "") } else { now.group },
    })
}

fn group(object: &Value, card: &str) -> Option<Arc<str>> {
    group_in(object, card).or_else(|| group_in(object, &format!("{card}/cardholder")))
}

fn group_in(object: &Value, owner: &str) -> Option<Arc<str>> {
    text(object, &format!("{owner}/metadata/tollgate_group"))
        .filter(|name| (1..=500).contains(&name.chars().count()))
        .map(Arc::from)
}

pub(super) fn text<'a>(value: &'a Value, at: &str) -> Option<&'a str> {
    value.pointer(at)?.as_str()
}

pub(super) fn flag(value: &Value, at: &str) -> Option<bool> {
    value.pointer(at)?.as_bool()
}

pub(super) fn currency(value: &Value, at: &str) -> Option<Currency> {
    text(value, at)?.parse().ok()
}

fn length(value: &Value, at: &str) -> u32 {
    value.pointer(at).and_then(Value::as_array).map_or(0, |items| u32::try_from(items.len()).unwrap())
}

pub(super) fn number(value: &Value, at: &str) -> Option<f64> {
    value.pointer(at)?.as_f64()
}

/// A whole number that can be summed, also where it is written with a fraction of zero.
pub(super) fn whole(value: &Value, at: &str) -> Option<i64> {
    let value = value.pointer(at)?;
    let exact = value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= 1e15)?;
        format!("{number:.0}").parse().ok()
    });
    exact.filter(|number| (-AMOUNT_MAX..=AMOUNT_MAX).contains(number))
}

fn clamped(value: &Value, at: &str) -> i64 {
    let Some(number) = number(value, at) else { return 0 };
    whole(value, at).unwrap_or(if number > 1e15 { AMOUNT_MAX } else { 0 }).max(0)
}
