//! The JSON schema of the policy file, so that editors complete it. It is made from the shape; only the words that
//! values may be are told here.

use std::borrow::Cow;

use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema, transform::RecursiveTransform,
};
use serde_json::{Value, json};

use super::{
    mistake::Located,
    scalars::{Amount, Count, PLAIN_INTERVALS, Version, liftable_reasons},
    shape::{Layer, PolicyFile},
};
use crate::{
    domain::{AMOUNT_MAX, CardPresence, Category, Country, Currency, Interval, NetworkId, Reason, Zone},
    policy::codes::{countries, currencies},
};

/// The schema as pretty JSON, in the draft that editors' YAML support knows best.
#[must_use]
pub fn json_schema() -> String {
    let settings = SchemaSettings::draft07()
        .with_transform(RecursiveTransform(forbid_null))
        .with_transform(RecursiveTransform(unwrap_description));
    let schema = settings.into_generator().into_root_schema_for::<PolicyFile>();
    format!("{:#}\n", schema.to_value())
}

/// A key that may be left out is optional in Rust. It may not be null in the file: an empty rule is a mistake.
fn forbid_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [single] = types.as_slice() {
            let single = single.clone();
            schema.insert("type".to_owned(), single);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else { return };
    choices.retain(|choice| *choice != json!({"type": "null"}));
    if let [single] = choices.as_slice() {
        let single = single.clone();
        schema.remove("anyOf");
        schema.insert("allOf".to_owned(), json!([single]));
    }
}

/// Lines are broken for the source's sake, not for the reader's of a description.
fn unwrap_description(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

/// Cards by id, each a layer.
pub(super) struct Cards;

impl JsonSchema for Cards {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cards".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let layer = generator.subschema_for::<Layer>();
        json_schema!({
            "type": "object",
            "patternProperties": { "^ic_": layer },
            "additionalProperties": false,
        })
    }
}

/// Connected accounts by id, each a layer.
pub(super) struct Accounts;

impl JsonSchema for Accounts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Accounts".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let layer = generator.subschema_for::<Layer>();
        json_schema!({
            "type": "object",
            "patternProperties": { "^acct_": layer },
            "additionalProperties": false,
        })
    }
}

/// What follows from a rule.
pub(super) struct Outcome;

impl JsonSchema for Outcome {
    fn schema_name() -> Cow<'static, str> {
        "Outcome".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let amount = generator.subschema_for::<Amount>();
        let only = |key: &str, value: Value| json!({"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": false});
        let tags = json!({"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1});
        json_schema!({
            "description": "What follows where a rule matches.",
            "anyOf": [
                {"enum": ["decline", "challenge", "allow", "flag"]},
                only("cap", json!({"anyOf": [{"const": "remaining"}, amount]})),
                only("tag", tags),
                only("score", json!({"type": "integer"})),
                only("block", json!({"type": "string", "pattern": "^[0-9]+(s|m|min|h|d)$"})),
            ],
        })
    }
}

/// What a rule says in a stand-in decision.
pub(super) struct OnStandIn;

impl JsonSchema for OnStandIn {
    fn schema_name() -> Cow<'static, str> {
        "OnStandIn".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let amount = generator.subschema_for::<Amount>();
        json_schema!({
            "anyOf": [
                {"enum": ["decline", "skip"]},
                {"type": "object", "properties": {"approve_to": amount}, "required": ["approve_to"], "additionalProperties": false},
            ],
        })
    }
}

/// A list of a policy: its entries, or the file that has them.
pub(super) struct ListEntries;

impl JsonSchema for ListEntries {
    fn schema_name() -> Cow<'static, str> {
        "List".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"], "additionalProperties": false},
            ],
        })
    }
}

/// What is allowed and what is blocked exclude each other in one layer.
pub(super) fn not_both_lists() -> Value {
    let pairs = LISTS.map(|(allowed, blocked)| json!({"not": {"required": [allowed, blocked]}}));
    Value::from(pairs.to_vec())
}

/// The lists that exclude each other in one layer.
const LISTS: [(&str, &str); 4] = [
    ("allowed_categories", "blocked_categories"),
    ("allowed_merchant_countries", "blocked_merchant_countries"),
    ("allowed_card_presences", "blocked_card_presences"),
    ("allowed_merchants", "blocked_merchants"),
];

/// A value looks the same wherever it stands.
impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Tells the schema of a type that is one word of the file.
macro_rules! word {
    ($type:ty, $name:literal, $schema:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

word!(Version, "Version", json_schema!({"const": 1}));
word!(
    Amount,
    "Amount",
    json_schema!({
        "description": "Minor units of a currency: cents of a dollar, whole yen, thousandths of a dinar.",
        "type": "integer", "minimum": 1, "maximum": AMOUNT_MAX,
    })
);
word!(Count, "Count", json_schema!({"type": "integer", "minimum": 1, "maximum": AMOUNT_MAX}));
word!(Currency, "Currency", one_of("ISO 4217, lower case.", currencies()));
word!(Country, "Country", one_of("ISO 3166-1 alpha-2.", countries()));
word!(
    Category,
    "Category",
    one_of("A merchant category: https://docs.stripe.com/issuing/categories", Category::names())
);
word!(
    CardPresence,
    "CardPresence",
    one_of(
        "Whether the card was at the terminal.",
        [CardPresence::Present, CardPresence::NotPresent].map(CardPresence::as_str)
    )
);
word!(
    Reason,
    "Reason",
    one_of("A decline reason that the cardholder may lift.", liftable_reasons().map(Reason::as_str))
);
word!(
    NetworkId,
    "NetworkId",
    json_schema!({
        "description": "A merchant's id at the card network. In quotes: a leading zero counts.",
        "type": "string", "minLength": 1,
    })
);
word!(
    Zone,
    "TimeZone",
    json_schema!({"description": "An IANA time zone.", "type": "string", "examples": ["UTC", "Europe/Berlin"]})
);
word!(
    Interval,
    "Interval",
    json_schema!({
        "description": "A window of time. Weeks begin on Sunday, as at Stripe; `rolling(…)` slides with each request.",
        "anyOf": [
            {"enum": PLAIN_INTERVALS.map(|interval| interval.to_string())},
            {"type": "string", "pattern": "^rolling\\([0-9]+(s|m|min|h|d)\\)$", "examples": ["rolling(1h)"]},
        ],
    })
);

fn one_of(description: &str, words: impl IntoIterator<Item = &'static str>) -> Schema {
    let words: Vec<&str> = words.into_iter().collect();
    json_schema!({"description": description, "enum": words})
}
