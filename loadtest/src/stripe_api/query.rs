//! The parameters of lists: `created[gte]`, `card`, `status`, `limit`, `starting_after` and their like. What is listed
//! is not here.

use serde_json::Value;

use super::problem::Problem;

/// How many objects a page has where nobody says.
const LIMIT_DEFAULT: usize = 10;
/// How many it has at most.
const LIMIT_MAX: usize = 100;

/// What a caller wants listed.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// Bounds of `created`: what it is compared by, and with what.
    created: Vec<(Bound, i64)>,
    /// Fields that must have a value.
    equal: Vec<(String, String)>,
    /// Event types of which one must fit.
    types: Vec<String>,
    pub(super) limit: usize,
    pub(super) starting_after: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bound {
    Equal,
    After,
    From,
    Before,
    To,
}

impl Query {
    /// Reads the parameters; `filters` are the fields that this list can be filtered by.
    pub(super) fn read(parameters: &[(String, String)], filters: &[&str]) -> Result<Self, Problem> {
        let mut query = Self { limit: LIMIT_DEFAULT, ..Self::default() };
        for (name, value) in parameters {
            let bound = match name.as_str() {
                "created" => Some(Bound::Equal),
                "created[gt]" => Some(Bound::After),
                "created[gte]" => Some(Bound::From),
                "created[lt]" => Some(Bound::Before),
                "created[lte]" => Some(Bound::To),
                _ => None,
            };
            match (bound, name.as_str()) {
                (Some(bound), _) => query.created.push((bound, number(name, value)?)),
                (None, "limit") => query.limit = limit(value)?,
                (None, "starting_after") => query.starting_after = Some(value.clone()),
                (None, "types[]") if filters.contains(&"type") => query.types.push(value.clone()),
                (None, name) if filters.contains(&name) => query.equal.push((name.to_owned(), value.clone())),
                (None, name) if name.starts_with("expand[") => {}
                (None, name) => {
                    let message = format!("Received unknown parameter: {name}");
                    return Err(Problem::parameter("parameter_unknown", name, &message));
                }
            }
        }
        Ok(query)
    }

    /// Whether an object is wanted.
    pub(super) fn admits(&self, created: i64, object: &Value) -> bool {
        let in_time = self.created.iter().all(|(bound, at)| match bound {
            Bound::Equal => created == *at,
            Bound::After => created > *at,
            Bound::From => created >= *at,
            Bound::Before => created < *at,
            Bound::To => created <= *at,
        });
        let is_equal = |(name, wanted): &(String, String)| field(object, name) == Some(wanted.as_str());
        let is_of_type =
            self.types.is_empty() || self.types.iter().any(|wanted| field(object, "type") == Some(wanted));
        in_time && is_of_type && self.equal.iter().all(is_equal)
    }
}

/// A field's text; of an expanded object, its id. A cardholder may stand inside the card only.
fn field<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    let found = object.get(name).filter(|value| !value.is_null());
    let found = match (found, name) {
        (None, "cardholder") => object.pointer("/card/cardholder"),
        (found, _) => found,
    }?;
    found.as_str().or_else(|| found.get("id").and_then(Value::as_str))
}

fn number(name: &str, value: &str) -> Result<i64, Problem> {
    value.parse().map_err(|_| {
        Problem::parameter("parameter_invalid_integer", name, &format!("Invalid integer: {value}"))
    })
}

fn limit(value: &str) -> Result<usize, Problem> {
    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| {
        let message = format!("Invalid integer: {value}; expected 1 to {LIMIT_MAX}");
        Problem::parameter("parameter_invalid_integer", "limit", &message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(parameters: &[(&str, &str)]) -> Result<Query, Problem> {
        let owned: Vec<(String, String)> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Query::read(&owned, &["card", "cardholder", "status", "type"])
    }

    #[test]
    fn a_list_is_filtered_by_time_and_fields() {
        let object = json!({
            "card": {"id": "ic_1", "cardholder": {"id": "ich_1"}}, "cardholder": null,
            "status": "pending", "type": "issuing_card.created",
        });
        let check = |parameters: &[(&str, &str)], expected: bool| {
            assert_eq!(read(parameters).unwrap().admits(100, &object), expected, "{parameters:?}");
        };
        check(&[], true);
        check(&[("card", "ic_1"), ("cardholder", "ich_1"), ("status", "pending")], true);
        check(&[("card", "ic_2")], false);
        check(&[("created[gte]", "100"), ("created[lte]", "100"), ("created", "100")], true);
        check(&[("created[gt]", "100")], false);
        check(&[("created[lt]", "100")], false);
        check(&[("types[]", "issuing_card.updated"), ("types[]", "issuing_card.created")], true);
        check(&[("types[]", "issuing_card.updated")], false);
    }

    #[test]
    fn a_parameter_that_cannot_be_used_is_named() {
        for (name, value, code) in [
            ("limit", "0", "parameter_invalid_integer"),
            ("limit", "101", "parameter_invalid_integer"),
            ("created[gte]", "yesterday", "parameter_invalid_integer"),
            ("colour", "red", "parameter_unknown"),
        ] {
            let problem = read(&[(name, value)]).unwrap_err();
            assert_eq!(problem.body["error"]["code"], code);
            assert_eq!(problem.body["error"]["param"], name);
        }
    }
}
