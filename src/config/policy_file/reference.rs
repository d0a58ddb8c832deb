//! Every key of a policy file, and the inputs and functions of rules, as tables for docs/policy.md. Keys come from the
//! schema, so that no key is without its line.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema::json_schema;
use crate::policy::rules;

/// The parts of a file, as headings, with their place in the schema.
const PARTS: [(&str, &str); 7] = [
    ("Keys of the file", ""),
    ("Keys of `default`, of a connected account, of a group and of a card", "/definitions/Layer"),
    ("Keys of a budget", "/definitions/Budget"),
    ("Keys of a limit", "/definitions/SpendingLimit"),
    ("Keys of a rule", "/definitions/Rule"),
    ("Keys of a test", "/definitions/Test"),
    ("Keys of `expect`", "/definitions/Expectation"),
];

/// The reference in Markdown.
#[must_use]
pub fn reference() -> String {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap_or_default();
    let mut text = String::new();
    for (heading, place) in PARTS {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "### {heading}\n\n| key | meaning |\n|---|---|\n");
        let keys = schema.pointer(&format!("{place}/properties")).and_then(Value::as_object);
        for (key, value) in keys.into_iter().flatten() {
            let meaning = value["description"].as_str().unwrap_or_default();
            let _ = writeln!(text, "| `{key}` | {meaning} |");
        }
        text.push('\n');
    }
    let _ = write!(text, "### Inputs and functions of a condition\n\n{}", rules::reference());
    text
}
