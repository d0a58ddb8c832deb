//! The form of a call: parameters with Stripe's names, `merchant_data[name]` for a field of a field. What a parameter
//! means is elsewhere.

use serde_json::{Map, Value};

use super::problem::Problem;

/// The parameters of a call that knows which it takes.
pub(super) struct Form<'a>(&'a [(String, String)]);

impl<'a> Form<'a> {
    /// # Errors
    /// One is none of `known`.
    pub(super) fn read(parameters: &'a [(String, String)], known: &[&str]) -> Result<Self, Problem> {
        for (name, _) in parameters {
            let top = name.split('[').next().unwrap_or_default();
            if top != "expand" && !known.contains(&top) {
                let message = format!("Received unknown parameter: {name}");
                return Err(Problem::parameter("parameter_unknown", name, &message));
            }
        }
        Ok(Self(parameters))
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// It is not there.
    pub(super) fn required(&self, name: &str) -> Result<&'a str, Problem> {
        let message = format!("Missing required param: {name}.");
        self.text(name).ok_or_else(|| Problem::parameter("parameter_missing", name, &message))
    }

    /// An amount of minor units, which is never negative.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn amount(&self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let message = format!("Invalid integer: {text}");
        let amount = text.parse().ok().filter(|amount| *amount >= 0);
        amount.map(Some).ok_or_else(|| Problem::parameter("parameter_invalid_integer", name, &message))
    }

    /// # Errors
    /// It is not there, or is none.
    pub(super) fn required_amount(&self, name: &str) -> Result<i64, Problem> {
        self.required(name)?;
        self.amount(name).map(Option::unwrap_or_default)
    }

    /// An amount of minor units that is more than nothing.
    ///
    /// # Errors
    /// It is not there, or is none.
    pub(super) fn required_positive(&self, name: &str) -> Result<i64, Problem> {
        let amount = self.required_amount(name)?;
        let message = "This value must be greater than or equal to 1.";
        Some(amount)
            .filter(|amount| *amount > 0)
            .ok_or_else(|| Problem::parameter("parameter_invalid_integer", name, message))
    }

    /// A currency's three letters, in lower case.
    ///
    /// # Errors
    /// It is not there, or is none.
    pub(super) fn currency(&self, name: &str) -> Result<String, Problem> {
        let currency = self.required(name)?.to_lowercase();
        let message = format!("Invalid currency: {currency}");
        Some(currency)
            .filter(|currency| {
                currency.len() == 3 && currency.bytes().all(|letter| letter.is_ascii_lowercase())
            })
            .ok_or_else(|| Problem::parameter("parameter_invalid_string", name, &message))
    }

    /// # Errors
    /// It is neither `true` nor `false`.
    pub(super) fn truth(&self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.text(name) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(text) => {
                let message = format!("Invalid boolean: {text}");
                Err(Problem::parameter("parameter_invalid_boolean", name, &message))
            }
        }
    }

    /// Puts each parameter below one of `names` into the object, at its place there.
    pub(super) fn merge_into(&self, object: &mut Value, names: &[&str]) {
        for (name, value) in self.0 {
            let mut path = name.split(['[', ']']).filter(|part| !part.is_empty()).peekable();
            if path.peek().is_some_and(|top| names.contains(top)) {
                put_at(object, path, value);
            }
        }
    }
}

fn put_at<'p>(mut place: &mut Value, path: impl Iterator<Item = &'p str>, value: &str) {
    for name in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Some(fields) = place.as_object_mut() else { return };
        place = fields.entry(name).or_insert(Value::Null);
    }
    *place = value.into();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fields_of_fields_get_to_their_places_and_leave_the_others() {
        let parameters = parameters(&[
            ("merchant_data[name]", "A SHOP"),
            ("purchase_details[flight][passenger_name]", "NOBODY"),
            ("amount", "5"),
        ]);
        let form = Form::read(&parameters, &["merchant_data", "purchase_details", "amount"]).unwrap();
        let mut object =
            json!({"merchant_data": {"name": "B", "city": "C"}, "purchase_details": null, "amount": 1});
        form.merge_into(&mut object, &["merchant_data", "purchase_details"]);
        let expected = json!({
            "merchant_data": {"name": "A SHOP", "city": "C"},
            "purchase_details": {"flight": {"passenger_name": "NOBODY"}}, "amount": 1,
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let known = ["amount", "confirmed"];
        let check = |pairs: &[(&str, &str)], code: &str, param: &str| {
            let parameters = parameters(pairs);
            let read = Form::read(&parameters, &known)
                .and_then(|form| Ok((form.required_amount("amount")?, form.truth("confirmed", true)?)));
            let problem = read.unwrap_err().body;
            assert_eq!(
                (&problem["error"]["code"], &problem["error"]["param"]),
                (&json!(code), &json!(param))
            );
        };
        check(&[], "parameter_missing", "amount");
        check(&[("amount", "-1")], "parameter_invalid_integer", "amount");
        check(&[("amount", "1"), ("confirmed", "yes")], "parameter_invalid_boolean", "confirmed");
        check(&[("amount", "1"), ("colour[red]", "1")], "parameter_unknown", "colour[red]");
    }
}
