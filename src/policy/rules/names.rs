//! The names that a condition may use: functions and methods, and what a name that means nothing was meant to be.

use super::error::{RuleError, Span};
use crate::{
    domain::{
        Category,
        rule::{INPUTS, Input, WEEKDAYS},
    },
    policy::{
        codes::{countries, currencies},
        nearest::nearest,
    },
};

/// A function or method of the language.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub form: &'static str,
    /// What it gives.
    pub meaning: &'static str,
    /// A condition that uses it.
    pub example: &'static str,
}

/// Every function and method, in the order of the reference.
pub const FUNCTIONS: [Function; 18] = [
    Function {
        name: "has",
        form: "has(input)",
        meaning: "The request has a value for the input.",
        example: "!has(merchant.country)",
    },
    Function {
        name: "list",
        form: "x in list(\"name\")",
        meaning: "A list of the policy has the value. `list(\"name\").contains(x)` is the same.",
        example: "merchant.id in list(\"trusted\")",
    },
    Function {
        name: "contains",
        form: "x.contains(\"text\")",
        meaning: "The text is a part of the value.",
        example: "category.contains(\"gambling\")",
    },
    Function {
        name: "starts_with",
        form: "x.starts_with(\"text\")",
        meaning: "The value begins with the text.",
        example: "category.starts_with(\"government_\")",
    },
    Function {
        name: "other",
        form: "other(\"word\")",
        meaning: "A word of Stripe's that this version does not know yet.",
        example: "has(wallet) && wallet == other(\"neuro_pay\")",
    },
    Function {
        name: "count",
        form: "count(24h)",
        meaning: "The card's approved authorizations in a window before this request, increments not counted: a duration, or `daily`, `weekly`, `monthly`, `yearly` in the policy's `time_zone`, or `all_time`.",
        example: "count(10m) >= 3 && amount > 5000",
    },
    Function {
        name: "sum",
        form: "sum(24h)",
        meaning: "What the card has held and captured in such a window before this request, in minor units of its currency.",
        example: "sum(daily) + amount > 20000 && !present",
    },
    Function {
        name: "attempts",
        form: "attempts(24h)",
        meaning: "The card's requests in such a window before this one, approved or not, increments too.",
        example: "attempts(1m) >= 5",
    },
    Function {
        name: "declines",
        form: "declines(24h)",
        meaning: "Those of them that were declined.",
        example: "declines(10m) >= 3 && !present",
    },
    Function {
        name: "distinct",
        form: "distinct(merchant.country, 7d)",
        meaning: "How many different merchants (`merchant.id`), countries (`merchant.country`) or categories (`category`) the card's approved authorizations in such a window were at.",
        example: "distinct(merchant.country, 24h) >= 3",
    },
    Function {
        name: "is_first",
        form: "is_first(merchant.country)",
        meaning: "The card has no approved authorization at this merchant, or in this country or category, in all its life. False if the request does not say which it is.",
        example: "is_first(merchant.country) && amount > 30000",
    },
    Function {
        name: "since_last",
        form: "since_last(approval)",
        meaning: "The time since the card's latest approved request, or since its latest `attempt`; longer than any duration if there was none.",
        example: "since_last(attempt) < 5s",
    },
    Function {
        name: "remaining",
        form: "remaining(daily)",
        meaning: "What is left of the card's tightest amount limit with this window before the request; more than any amount if there is no such limit.",
        example: "amount * 2 > remaining(daily)",
    },
    Function {
        name: "average",
        form: "average(30d)",
        meaning: "What the card's approved authorizations in such a window came to on average, in minor units of its currency, rounded down. It has no value while they are fewer than 30, so ask with `has(average(30d))` first.",
        example: "has(average(30d)) && amount > average(30d) * 5",
    },
    Function {
        name: "budget",
        form: "budget(\"name\").remaining",
        meaning: "Of the budget with this name that the request charges, before it: what its tightest amount limit or its balance leaves, in minor units; more than any amount if it has neither, or is not charged. `.used_share` is how much is used, in whole percent, of the limit or balance of which most is used.",
        example: "budget(\"engineering\").used_share >= 80 && amount > 10000",
    },
    Function {
        name: "hour",
        form: "hour(\"zone\")",
        meaning: "The hour of the request, 0 to 23, in a time zone.",
        example: "hour(\"Europe/Berlin\") < 6",
    },
    Function {
        name: "weekday",
        form: "weekday(\"zone\")",
        meaning: "The day of the week in a time zone.",
        example: "weekday(\"Asia/Tokyo\") == \"sunday\"",
    },
    Function {
        name: "date",
        form: "date(\"zone\")",
        meaning: "The day of the calendar in a time zone.",
        example: "date(\"Asia/Tokyo\") == \"2026-12-31\"",
    },
];

/// Names of Stripe's API, and what people say, for inputs whose name is another.
const OTHER_NAMES: [(&str, &str); 18] = [
    ("merchant.network_id", "merchant.id"),
    ("merchant.category", "category"),
    ("merchant_data.category", "category"),
    ("merchant_data.country", "merchant.country"),
    ("merchant_data.network_id", "merchant.id"),
    ("merchant.city", "merchant.state"),
    ("card_presence", "present"),
    ("card_present", "present"),
    ("is_amount_controllable", "amount_controllable"),
    ("cashback", "cash"),
    ("cashback_amount", "cash"),
    ("authorization_method", "method"),
    ("merchant.postal_code", "merchant.postal"),
    ("network_risk_score", "network_risk"),
    ("cvv", "cvc"),
    ("time", "hour"),
    ("day", "weekday"),
    ("verified_by_fraud_challenge", "verified_by_challenge"),
];

/// A name that is no input.
pub(super) fn unknown_input(name: &str, span: Span) -> RuleError {
    if let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) {
        let found = format!("`{name}` is a function");
        return RuleError::new(span, found, format!("write `{}`", function.form));
    }
    if name.ends_with(".metadata") {
        let found = format!("`{name}` has no key");
        return RuleError::new(span, found, format!("write `{name}.tier`, or `{name}[\"any key\"]`"));
    }
    let prefix = format!("{name}.");
    let fields: Vec<&str> =
        INPUTS.iter().map(|input| input.name).filter(|input| input.starts_with(&prefix)).collect();
    if !fields.is_empty() {
        let found = format!("`{name}` is not an input by itself");
        return RuleError::new(span, found, format!("use {}", quoted(fields)));
    }
    let found = format!("unknown input `{name}`");
    let is_value = Category::named(name).is_some()
        || countries().any(|code| code == name)
        || currencies().any(|code| code == name)
        || WEEKDAYS.contains(&name);
    if is_value {
        return RuleError::new(span, found, format!("texts stand in quotes: \"{name}\""));
    }
    RuleError::new(
        span,
        found,
        match meant_input(name) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "the inputs are listed in docs/policy.md".to_owned(),
        },
    )
}

fn meant_input(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let other = OTHER_NAMES.into_iter().find(|(written, _)| *written == lower).map(|(_, meant)| meant);
    other
        .filter(|meant| Input::named(meant).is_some())
        .or_else(|| nearest(name, INPUTS.map(|input| input.name)))
}

/// A name that is no function.
pub(super) fn unknown_function(name: &str, span: Span) -> RuleError {
    if Input::named(name).is_some() {
        return RuleError::new(span, format!("`{name}` is not a function"), "write it without `(…)`");
    }
    if FUNCTIONS.iter().any(|function| function.name == name) {
        let found = format!("`{name}` is a condition by itself");
        return RuleError::new(span, found, "write it alone, or with `!` before it");
    }
    let found = format!("unknown function `{name}`");
    let meant = match name {
        "startsWith" => Some("starts_with"),
        "matches" => None,
        _ => nearest(name, FUNCTIONS.map(|function| function.name)),
    };
    RuleError::new(
        span,
        found,
        match (name, meant) {
            ("matches", _) => "there are no regular expressions; use `contains` or `starts_with`".to_owned(),
            (_, Some(meant)) => format!("did you mean `{meant}`?"),
            (_, None) => format!("the functions are {}", FUNCTIONS.map(|function| function.name).join(", ")),
        },
    )
}

/// A list that the policy does not have.
pub(super) fn unknown_list<'a>(
    name: &str,
    lists: impl Iterator<Item = &'a str> + Clone,
    span: Span,
) -> RuleError {
    let advice = match nearest(name, lists.clone()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if lists.clone().next().is_none() => format!("add `lists: {{{name}: […]}}` to the policy"),
        None => format!("the lists are {}", quoted(lists.map(ToOwned::to_owned))),
    };
    RuleError::new(span, format!("unknown list \"{name}\""), advice)
}

/// A budget that the policy does not have.
pub(super) fn unknown_budget<'a>(
    name: &str,
    budgets: impl Iterator<Item = &'a str> + Clone,
    span: Span,
) -> RuleError {
    let advice = match nearest(name, budgets.clone()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if budgets.clone().next().is_none() => "the policy has no `budgets`: add it there".to_owned(),
        None => format!("the budgets are {}", quoted(budgets.map(ToOwned::to_owned))),
    };
    RuleError::new(span, format!("unknown budget \"{name}\""), advice)
}

/// A time zone that the database does not have.
pub(super) fn unknown_zone(name: &str, span: Span) -> RuleError {
    let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
    let advice = match nearest(name, zones.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => "use an IANA name, such as \"Europe/Berlin\"".to_owned(),
    };
    RuleError::new(span, format!("unknown time zone \"{name}\""), advice)
}

fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    names.join(", ")
}
