//! The parameters of a request: read as the route declares them, and refused with what was expected, what was found, and
//! the nearest name.

use std::collections::BTreeMap;

use super::parameters::{DECISIONS, Kind, Parameter};
use crate::{
    cluster::{DecisionFilter, Place},
    domain::{CardId, CardholderId, Outcome, Reason, Source, Timestamp, parse_span},
    policy::nearest::nearest,
};

/// How many characters of a wrong value are repeated.
const SHOWN_MAX: usize = 40;

/// Parameters of a query, each of which the route has and can have that value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::http) struct Query {
    values: BTreeMap<&'static str, String>,
    now: Timestamp,
}

/// Why a query is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::http) struct WrongQuery(pub(in crate::http) String);

/// What is asked of `/v1/decisions`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::http) struct Search {
    pub(in crate::http) filter: DecisionFilter,
    pub(in crate::http) cursor: Option<Place>,
    pub(in crate::http) limit: usize,
    /// What was recorded later is wanted.
    pub(in crate::http) after: Option<After>,
    pub(in crate::http) wait_seconds: u64,
}

/// From where on what is recorded later is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum After {
    /// From now on.
    Now,
    /// Behind this place.
    Place(Place),
}

/// As many decisions as a page has where nothing is said of it.
const LIMIT: u64 = 50;

/// The end of the journal, as the value of `after`.
const NOW: &str = "now";

impl Query {
    /// Reads the query of a route with these parameters. An empty value is none, as forms send it.
    ///
    /// # Errors
    /// [`WrongQuery`].
    pub(in crate::http) fn read(
        parameters: &'static [Parameter],
        query: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, WrongQuery> {
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
                return Err(unknown(&name, parameters));
            };
            if value.is_empty() {
                continue;
            }
            if let Some(expected) = misfit(parameter.kind, &value, now) {
                return Err(WrongQuery(format!(
                    "expected `{name}` to be {expected}, found {}",
                    shown(&value)
                )));
            }
            if values.insert(parameter.name, value.into_owned()).is_some() {
                return Err(WrongQuery(format!("expected `{name}` once, found it twice")));
            }
        }
        Ok(Self { values, now })
    }

    /// Reads the query of a list of decisions.
    ///
    /// # Errors
    /// [`WrongQuery`].
    pub(in crate::http) fn of_decisions(query: Option<&str>, now: Timestamp) -> Result<Self, WrongQuery> {
        Self::read(&DECISIONS, query, now)
    }

    /// With a value that a parameter has beside it.
    #[must_use]
    pub(in crate::http) fn and(mut self, name: &'static str, value: &str) -> Self {
        self.values.insert(name, value.to_owned());
        self
    }

    /// The search that it asks for.
    ///
    /// # Errors
    /// [`WrongQuery`]: two parameters that exclude each other.
    pub(in crate::http) fn search(&self) -> Result<Search, WrongQuery> {
        let after = self.text("after").map(|after| after.parse().map_or(After::Now, After::Place));
        let number = |name| self.text(name).and_then(|text| text.parse::<u64>().ok());
        if after.is_some() && self.text("cursor").is_some() {
            return Err(WrongQuery("expected one of `cursor` and `after`, found both".to_owned()));
        }
        if after.is_none() && self.text("wait").is_some() {
            return Err(WrongQuery("expected `after` with `wait`, found only `wait`".to_owned()));
        }
        Ok(Search {
            filter: DecisionFilter {
                outcome: self.text("outcome").and_then(Outcome::new),
                reason: self.text("reason").and_then(Reason::new),
                source: self.text("source").and_then(Source::new),
                card: self.text("card").and_then(CardId::new),
                cardholder: self.text("cardholder").and_then(CardholderId::new),
                group: self.text("group").map(ToOwned::to_owned),
                since: self.text("since").and_then(|text| time(text, self.now)),
                until: self.text("until").and_then(|text| time(text, self.now)),
                min_amount: self.text("min_amount").and_then(|text| text.parse().ok()),
            },
            cursor: self.text("cursor").and_then(|text| text.parse().ok()),
            limit: usize::try_from(number("limit").unwrap_or(LIMIT)).unwrap_or(usize::MAX),
            after,
            wait_seconds: number("wait").unwrap_or(0),
        })
    }

    /// The value of a parameter.
    pub(in crate::http) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All values, by name, with one of them replaced; as a query.
    pub(in crate::http) fn with(&self, name: &'static str, value: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.values.iter().filter(|(known, _)| **known != name));
        query.extend_pairs(value.map(|value| (name, value)));
        query.finish()
    }

    /// The same without some of the values.
    pub(in crate::http) fn without(&self, names: &[&str]) -> Self {
        let kept = self.values.iter().filter(|(name, _)| !names.contains(name));
        Self { values: kept.map(|(name, value)| (*name, value.clone())).collect(), now: self.now }
    }
}

/// Where a value does not fit: what was expected.
fn misfit(kind: Kind, value: &str, now: Timestamp) -> Option<String> {
    let is_place = value.parse::<Place>().is_ok();
    match kind {
        Kind::Word(words) => {
            let words = words();
            let near = nearest(value, words.iter().copied())
                .map(|near| format!(" (the nearest is `{near}`)"))
                .unwrap_or_default();
            let expected = || format!("one of {}{near}", words.join(", "));
            (!words.contains(&value)).then(expected)
        }
        Kind::Id => CardId::new(value).is_none().then(|| "an id of Stripe".to_owned()),
        Kind::Text => None,
        Kind::Time => {
            let expected = || "a time such as 2026-11-22T10:00:00Z, or an age such as 24h or 7d".to_owned();
            time(value, now).is_none().then(expected)
        }
        Kind::Number(least, most) => {
            let fits = value.parse::<u64>().is_ok_and(|number| (least..=most).contains(&number));
            (!fits).then(|| format!("a whole number from {least} to {most}"))
        }
        Kind::Cursor => (!is_place).then(|| "`next` of an earlier reply".to_owned()),
        Kind::CursorOrNow => {
            (!is_place && value != NOW).then(|| format!("`{NOW}`, or `next` of an earlier reply"))
        }
    }
}

/// A time, or how long ago.
fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| parse_span(text).map(|ago| now.minus(ago)))
}

fn unknown(name: &str, parameters: &[Parameter]) -> WrongQuery {
    let known: Vec<&str> = parameters.iter().map(|parameter| parameter.name).collect();
    let near = nearest(name, known.iter().copied())
        .map(|near| format!(" (the nearest is `{near}`)"))
        .unwrap_or_default();
    let expected = match known.as_slice() {
        [] => "expected no parameters".to_owned(),
        known => format!("expected the parameters {}{near}", known.join(", ")),
    };
    WrongQuery(format!("{expected}, found {}", shown(name)))
}

fn shown(value: &str) -> String {
    let start: String = value.chars().take(SHOWN_MAX).collect();
    if start.len() < value.len() { format!("{start:?}…") } else { format!("{start:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::routes::{Found, find};

    const NOW_SECONDS: i64 = 1_795_341_600;

    fn read(query: &str) -> Result<Search, WrongQuery> {
        let Found::Route(route, _) = find("GET", "/v1/decisions") else { panic!("there is no such route") };
        Query::read(route.parameters, Some(query), Timestamp::from_seconds(NOW_SECONDS))?.search()
    }

    #[test]
    fn parameters_are_read() {
        let search = read(
            "outcome=declined&reason=spending_limit&card=ic_1&cardholder=ich_1&group=a%26b&since=1h&\
             until=2026-11-22T10:00:00Z&min_amount=500&limit=7&cursor=12-3",
        )
        .unwrap();
        let expected = DecisionFilter {
            outcome: Some(Outcome::Declined),
            reason: Some(Reason::SpendingLimit),
            source: None,
            card: CardId::new("ic_1"),
            cardholder: CardholderId::new("ich_1"),
            group: Some("a&b".to_owned()),
            since: Some(Timestamp::from_seconds(NOW_SECONDS - 3_600)),
            until: Some(Timestamp::from_seconds(NOW_SECONDS)),
            min_amount: Some(500),
        };
        assert_eq!(search.filter, expected);
        assert_eq!((search.limit, search.cursor), (7, Some(Place { lsn: 12, position: 3 })));
        let search = read("").unwrap();
        assert_eq!((search.filter, search.limit, search.after), (DecisionFilter::default(), 50, None));
        assert_eq!(read("outcome=&card=").unwrap().filter, DecisionFilter::default());
        assert_eq!(read("after=now&wait=5").unwrap().after, Some(After::Now));
        let place = Place { lsn: 9, position: usize::MAX };
        assert_eq!(read("after=9").unwrap().after, Some(After::Place(place)));
    }

    #[test]
    fn a_wrong_parameter_is_refused_with_what_was_expected_and_found() {
        let check = |query: &str, expected: &str| {
            let WrongQuery(found) = read(query).unwrap_err();
            assert_eq!(found, expected);
        };
        check(
            "outcome=aproved",
            "expected `outcome` to be one of approved, partial, declined (the nearest is `approved`), found \"aproved\"",
        );
        check("limit=0", "expected `limit` to be a whole number from 1 to 200, found \"0\"");
        check(
            "since=yesterday",
            "expected `since` to be a time such as 2026-11-22T10:00:00Z, or an age such as 24h or 7d, found \"yesterday\"",
        );
        check(
            "min_amount=-1",
            "expected `min_amount` to be a whole number from 0 to 9007199254740992, found \"-1\"",
        );
        check("cursor=x", "expected `cursor` to be `next` of an earlier reply, found \"x\"");
        check("card=a%20b", "expected `card` to be an id of Stripe, found \"a b\"");
        check("limit=1&limit=2", "expected `limit` once, found it twice");
        check("after=now&cursor=1", "expected one of `cursor` and `after`, found both");
        check("wait=1", "expected `after` with `wait`, found only `wait`");
        let WrongQuery(found) = read("outcom=declined").unwrap_err();
        assert!(found.ends_with("(the nearest is `outcome`), found \"outcom\""), "{found}");
        let WrongQuery(found) = read(&format!("group=a&{}=1", "x".repeat(100))).unwrap_err();
        assert!(found.len() < 300 && found.ends_with('…'), "{found}");
    }

    #[test]
    fn a_query_is_written_with_another_value() {
        let Found::Route(route, _) = find("GET", "/v1/decisions") else { panic!("there is no such route") };
        let query =
            Query::read(route.parameters, Some("group=a%26b&outcome=declined"), Timestamp::MIN).unwrap();
        assert_eq!(query.with("cursor", Some("1-2")), "group=a%26b&outcome=declined&cursor=1-2");
        assert_eq!(query.with("outcome", None), "group=a%26b");
        assert_eq!(query.without(&["group"]).with("limit", Some("5")), "outcome=declined&limit=5");
    }
}
