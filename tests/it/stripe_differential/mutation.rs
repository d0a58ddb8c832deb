//! Events that nobody would send, made from those that somebody would: always the same ones for the same seed.

use std::fmt::Write as _;

use fastrand::Rng;
use serde_json::{Map, Value};

/// Marks a string that is written as it is: numbers that a JSON value cannot hold.
const RAW: &str = "\u{1}raw ";

/// One changed event, and whether Stripe's controls are to be read.
pub(super) fn event(fixtures: &[Vec<u8>], seed: u64) -> (Vec<u8>, bool) {
    let mut rng = Rng::with_seed(seed);
    let fixture = &fixtures[rng.usize(..fixtures.len())];
    let mut event: Value = serde_json::from_slice(fixture).unwrap();
    for _ in 0..rng.usize(0..4) {
        let at = place(&event, &mut rng);
        change(&mut event, &at, &mut rng);
    }
    let mut body = String::new();
    put(&event, &mut body, &mut rng);
    (body.into_bytes(), rng.bool())
}

/// One event with a few bytes changed, lost, doubled or cut off.
pub(super) fn bytes(fixtures: &[Vec<u8>], seed: u64) -> Vec<u8> {
    const INTERESTING: &[u8] = b"\"\\{}[]:,0123456789.eE+-tfn \t\n\x00\x1f\x7f\x80\xc3\xff";
    let mut rng = Rng::with_seed(seed);
    let mut body = fixtures[rng.usize(..fixtures.len())].clone();
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..body.len());
        let byte = INTERESTING[rng.usize(..INTERESTING.len())];
        match rng.u8(0..8) {
            0..=2 => body[at] = byte,
            3..=4 => body.insert(at, byte),
            5 => drop(body.remove(at)),
            6 => body[at] ^= 1 << rng.u8(0..8),
            _ if rng.u8(0..8) == 0 => body.truncate(at.max(1)),
            _ => body.push(byte),
        }
    }
    body
}

/// What an answer or the books depend on. Half of the changes go here, the rest anywhere.
const DECISIVE: [&str; 30] = [
    "/id",
    "/object",
    "/type",
    "/created",
    "/account",
    "/livemode",
    "/data",
    "/data/object",
    "/data/object/id",
    "/data/object/amount",
    "/data/object/approved",
    "/data/object/authorization",
    "/data/object/card",
    "/data/object/card/id",
    "/data/object/card/currency",
    "/data/object/card/metadata",
    "/data/object/card/spending_controls",
    "/data/object/card/spending_controls/spending_limits/0",
    "/data/object/card_presence",
    "/data/object/created",
    "/data/object/currency",
    "/data/object/merchant_amount",
    "/data/object/merchant_data/category",
    "/data/object/merchant_data/country",
    "/data/object/pending_request",
    "/data/object/pending_request/amount",
    "/data/object/pending_request/currency",
    "/data/object/pending_request/is_amount_controllable",
    "/data/object/request_history",
    "/data/object/status",
];

/// A random place in an event.
fn place(event: &Value, rng: &mut Rng) -> String {
    if rng.bool() {
        let present: Vec<_> = DECISIVE.into_iter().filter(|at| event.pointer(at).is_some()).collect();
        if let Some(decisive) = rng.choice(present) {
            return decisive.to_owned();
        }
    }
    let mut at = String::new();
    let mut value = event;
    loop {
        let below: Vec<(String, &Value)> = match value {
            Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return at,
        };
        if below.is_empty() || (!at.is_empty() && rng.u8(0..6) == 0) {
            return at;
        }
        let (key, next) = &below[rng.usize(..below.len())];
        at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        value = next;
    }
}

fn change(event: &mut Value, at: &str, rng: &mut Rng) {
    let (parent, key) = at.rsplit_once('/').unwrap_or(("", at));
    let key = key.replace("~1", "/").replace("~0", "~");
    match rng.u8(0..10) {
        0 => {
            if let Some(Value::Object(parent)) = event.pointer_mut(parent) {
                parent.remove(&key);
            }
        }
        1 => set(event, at, Value::Null),
        2 => set(event, at, raw_number(rng)),
        6 => set(event, "/data/object/pending_request/amount", raw_number(rng)),
        7 => set(event, "/data/object/amount", raw_number(rng)),
        3 => {
            if let Some(Value::Array(items)) = event.pointer_mut(at) {
                rng.shuffle(items);
                items.push(Value::Null);
            }
        }
        4 => {
            let other = place(event, rng);
            let other = event.pointer(&other).cloned().unwrap_or(Value::Null);
            set(event, at, other);
        }
        5 => {
            if let Some(Value::Object(object)) = event.pointer_mut(at) {
                object.insert("a_field_of_2031".to_owned(), replacement(rng));
            }
        }
        _ => {
            let is_number = event.pointer(at).is_some_and(Value::is_number);
            let value = if is_number && rng.u8(0..4) > 0 { raw_number(rng) } else { replacement(rng) };
            set(event, at, value);
        }
    }
}

fn set(event: &mut Value, at: &str, value: Value) {
    if let Some(place) = event.pointer_mut(at) {
        *place = value;
    }
}

/// A number as a body may write it.
fn raw_number(rng: &mut Rng) -> Value {
    const NUMBERS: [&str; 23] = [
        "0",
        "-100.5",
        "-0",
        "-0.0",
        "1",
        "-1",
        "100",
        "100.0",
        "100.5",
        "1e2",
        "1E+2",
        "1e-2",
        "1e300",
        "-1e300",
        "1e400",
        "1000000000000000",
        "1000000000000001",
        "-1000000000000001",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "123456789012345678901234567890",
        "1749988800.0",
    ];
    Value::String(format!("{RAW}{}", NUMBERS[rng.usize(..NUMBERS.len())]))
}

fn replacement(rng: &mut Rng) -> Value {
    const TEXTS: [&str; 24] = [
        "",
        "usd",
        "EUR",
        "us",
        "issuing_authorization.request",
        "issuing_authorization.created",
        "issuing_authorization.updated",
        "issuing_transaction.created",
        "issuing_card.updated",
        "issuing_token.updated",
        "charge.succeeded",
        "event",
        "v2.core.event",
        "present",
        "chip",
        "pending",
        "expired",
        "capture",
        "de",
        "a_new_word",
        "Two Words",
        "ic_other",
        "Jürgen \"水\" \\ \u{1f600}\n",
        "active",
    ];
    match rng.u8(0..8) {
        0..=2 => raw_number(rng),
        3..=4 => Value::String(TEXTS[rng.usize(..TEXTS.len())].to_owned()),
        5 => Value::Bool(rng.bool()),
        6 => Value::Array(vec![Value::String("book_stores".to_owned()), Value::Null, Value::from(7)]),
        _ => {
            let mut object = Map::new();
            object.insert("id".to_owned(), Value::String("x_expanded".to_owned()));
            object.insert("amount".to_owned(), Value::from(rng.i64(-10..10_000)));
            Value::Object(object)
        }
    }
}

/// Writes JSON with its fields in any order and seldom one twice, white space anywhere, and letters escaped at will.
fn put(value: &Value, out: &mut String, rng: &mut Rng) {
    space(out, rng);
    match value {
        Value::String(text) if text.starts_with(RAW) => out.push_str(&text[RAW.len()..]),
        Value::String(text) => put_text(text, out, rng),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                put(item, out, rng);
            }
            out.push(']');
        }
        Value::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            if rng.u16(0..400) == 0 {
                fields.extend(rng.choice(&fields).copied());
            }
            rng.shuffle(&mut fields);
            out.push('{');
            for (index, (key, value)) in fields.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                space(out, rng);
                put_text(key, out, rng);
                space(out, rng);
                out.push(':');
                put(value, out, rng);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
    space(out, rng);
}

fn space(out: &mut String, rng: &mut Rng) {
    const SPACES: [&str; 12] = ["", "", "", "", "", "", "", "", " ", "\n", "\t\t", "\r\n          "];
    out.push_str(SPACES[rng.usize(..SPACES.len())]);
}

fn put_text(text: &str, out: &mut String, rng: &mut Rng) {
    if rng.u8(0..20) > 0 {
        out.push_str(&Value::from(text).to_string());
        return;
    }
    out.push('"');
    for unit in text.encode_utf16() {
        write!(out, "\\u{unit:04x}").unwrap();
    }
    out.push('"');
}
