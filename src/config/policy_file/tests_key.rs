//! The tests of a policy, as a file has them: requests in the names of the inputs of rules, and what is expected of the
//! decisions. Running them is elsewhere.

mod values;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use smol_str::SmolStr;

use self::values::{ago, card, number, text, time, word_of};
use super::{
    fields::{At, Fields, items, joined},
    mistake::{Findings, Located, Severity},
    node::{Key, Node, Value},
    scalars,
};
use crate::{
    domain::{
        AuthorizationId, AuthorizationRequest, CardId, Currency, Outcome, Reason, Timestamp,
        rule::{INPUTS, Input, Kind, MetadataKey},
    },
    policy::{
        nearest::nearest,
        rules::check_entry,
        testing::{self, Field, Given, NONE, Past, PolicyTest},
    },
};

/// More tests than this in one file are no examples any more.
const TESTS_MAX: usize = 10_000;
/// Requests that one entry of a history may stand for.
const TIMES_MAX: i64 = 10_000;
/// When a request comes that does not say: a Thursday, at noon.
const USUAL_TIME: &str = "2026-01-15T12:00:00Z";

/// An example of what the policy decides, for `tollgate test`.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Test")]
pub(super) struct TestEntry {
    /// Its name.
    #[schemars(required, with = "Option<String>")]
    name: Option<Located<String>>,
    /// What was decided before on the same card: requests with `ago` (`5m`) or `at`, each approved for its amount unless it
    /// says `outcome: declined`, or `outcome: partial` with `granted`. `times: 3` stands for three of them.
    #[schemars(with = "Option<Vec<BTreeMap<String, serde_json::Value>>>")]
    history: Vec<RequestEntry>,
    /// The request, in the names of the inputs of rules: `{amount: 2000, merchant: {country: GB}}`. Also `at`
    /// (`2026-01-15T12:00:00Z` without it), `card.id`, and `authorization`: a name that it shares with the requests of the
    /// history that it adds to.
    #[schemars(required, with = "Option<BTreeMap<String, serde_json::Value>>")]
    request: Option<RequestEntry>,
    /// What the decision has to say. What is left out may be anything.
    #[schemars(required, with = "Option<Expect>")]
    expect: Option<Vec<(Field, String)>>,
}

/// What is expected of a decision.
#[allow(dead_code, reason = "it is read field by field; this is its schema")]
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Expectation")]
struct Expect {
    /// `approved`, `partial`, or `declined`.
    outcome: Option<String>,
    /// The decline reason, or `approved`.
    reason: Option<String>,
    /// The name of the rule that decides; `none` if none does.
    rule: Option<String>,
    /// The amount that is approved, in minor units.
    amount: Option<i64>,
    /// Whether the cardholder is asked by text message.
    challenge: Option<bool>,
    /// The sentence of the rule that decides; `none` if there is none.
    message: Option<String>,
    /// The largest amount that would have passed, in minor units.
    largest_approvable: Option<i64>,
    /// All tags of the reply.
    tags: Option<BTreeMap<String, String>>,
    /// All rules that flag it.
    flags: Option<Vec<String>>,
}

/// A request as it is written.
#[derive(Debug)]
struct RequestEntry {
    located: Located<()>,
    at: Option<Timestamp>,
    ago: Option<std::time::Duration>,
    card: Option<CardId>,
    authorization: Option<String>,
    times: i64,
    outcome: Outcome,
    granted: Option<i64>,
    values: Vec<Located<(&'static Input, Given)>>,
    metadata: Vec<(MetadataKey, SmolStr)>,
    /// The keys that are there, with a usable value or not.
    keys: Vec<String>,
}

pub(super) fn tests(at: At<'_>, findings: &mut Findings) -> Option<Vec<Located<TestEntry>>> {
    let tests = items(at, findings, test)?;
    if tests.len() > TESTS_MAX {
        at.refuse(findings, format!("{} tests", tests.len()), format!("{TESTS_MAX} are the most"));
        return None;
    }
    Some(tests.into_iter().flatten().collect())
}

fn test(at: At<'_>, findings: &mut Findings) -> Option<TestEntry> {
    let mut fields = Fields::open(at, findings)?;
    let test = TestEntry {
        name: fields.read("name", findings, name),
        history: fields.read("history", findings, history).unwrap_or_default(),
        request: fields.read("request", findings, request),
        expect: fields.read("expect", findings, expect),
    };
    let missing = ["name", "request", "expect"].into_iter().find(|key| !fields.has(key));
    if fields.finish(findings)
        && let Some(missing) = missing
    {
        let advice = "a test has `name`, `request` and `expect`, such as {name: a small purchase, request: {amount: 2000}, expect: {outcome: approved}}";
        at.refuse(findings, format!("a test without `{missing}`"), advice);
    }
    Some(test)
}

fn name(at: At<'_>, findings: &mut Findings) -> Option<Located<String>> {
    text(at, findings, "a name for the test").map(|name| at.located(name.to_owned()))
}

fn history(at: At<'_>, findings: &mut Findings) -> Option<Vec<RequestEntry>> {
    let entries = items(at, findings, |at, findings| entry(at, findings, true))?;
    Some(entries.into_iter().flatten().map(|located| located.value).collect())
}

fn request(at: At<'_>, findings: &mut Findings) -> Option<RequestEntry> {
    entry(at, findings, false)
}

/// Keys of a request that are no inputs.
const OWN_KEYS: [&str; 3] = ["at", "card.id", "authorization"];
/// Keys of a past request beside those.
const PAST_KEYS: [&str; 4] = ["ago", "outcome", "granted", "times"];

fn entry(at: At<'_>, findings: &mut Findings, is_past: bool) -> Option<RequestEntry> {
    // Repeated keys and values that are no mappings are noted here.
    Fields::open(at, findings)?;
    let mut request = RequestEntry {
        located: at.located(()),
        at: None,
        ago: None,
        card: None,
        authorization: None,
        times: 1,
        outcome: Outcome::Approved,
        granted: None,
        values: Vec::new(),
        metadata: Vec::new(),
        keys: Vec::new(),
    };
    let all_known = request.read(at, "", findings, is_past);
    let has = |key: &str| request.keys.iter().any(|known| known == key);
    // A misspelt key is one mistake, not two.
    if all_known && !has("amount") {
        at.refuse(
            findings,
            "a request without `amount`",
            "add it, in minor units: 20.00 USD is `amount: 2000`",
        );
    }
    if all_known && is_past && !has("at") && !has("ago") {
        at.refuse(findings, "a past request without a time", "add `ago`, such as `ago: 5m`, or `at`");
    }
    if request.outcome == Outcome::Partial && !has("granted") {
        at.refuse(findings, "a partial approval without its amount", "add `granted`, in minor units");
    }
    Some(request)
}

impl RequestEntry {
    /// Reads the entries of a mapping, whose names begin with `prefix`. Says whether all of them are known.
    fn read(&mut self, at: At<'_>, prefix: &str, findings: &mut Findings, is_past: bool) -> bool {
        let Value::Map(entries) = &at.node.value else { return false };
        let mut all_known = true;
        for (key, node) in entries {
            let name = if prefix.is_empty() { key.name.clone() } else { format!("{prefix}.{}", key.name) };
            let path = joined(at.path, &key.name);
            let at = At { node, path: &path };
            self.keys.push(name.clone());
            let is_own = OWN_KEYS.contains(&name.as_str()) || (is_past && PAST_KEYS.contains(&name.as_str()));
            let is_prefix = || {
                let prefix = format!("{name}.");
                let names = INPUTS.iter().map(|input| input.name).chain(OWN_KEYS);
                names.into_iter().any(|known| known.starts_with(&prefix))
            };
            if is_own {
                self.own(&name, at, findings);
            } else if let Some(key) = MetadataKey::named(&name) {
                if let Some(value) = text(at, findings, "a text in quotes") {
                    self.metadata.push((key, value.into()));
                }
            } else if let Some(input) = Input::named(&name) {
                if let Some(value) = value(input, at, findings) {
                    self.values.push(at.located((input, value)));
                }
            } else if matches!(node.value, Value::Map(_)) && is_prefix() {
                Fields::open(at, findings);
                all_known &= self.read(at, &name, findings, is_past);
            } else {
                all_known = false;
                unknown(&name, key, &path, findings, is_past);
            }
        }
        all_known
    }

    /// A key that is no input.
    fn own(&mut self, name: &str, at: At<'_>, findings: &mut Findings) {
        match name {
            "at" => self.at = time(at, findings),
            "card.id" => self.card = card(at, findings),
            "authorization" => {
                self.authorization = text(at, findings, "a name").map(ToOwned::to_owned);
            }
            "ago" => self.ago = ago(at, findings),
            "outcome" => {
                let known = text(at, findings, "`approved`, `partial` or `declined`");
                let outcome =
                    known.and_then(|word| word_of(at, findings, word, Outcome::ALL.map(Outcome::as_str)));
                self.outcome = outcome.and_then(Outcome::new).unwrap_or(Outcome::Approved);
            }
            "granted" => self.granted = number(at, findings),
            "times" => {
                let times = number(at, findings).unwrap_or(1);
                if !(1..=TIMES_MAX).contains(&times) {
                    at.refuse(findings, format!("{times} times"), format!("write 1 to {TIMES_MAX}"));
                }
                self.times = times.clamp(1, TIMES_MAX);
            }
            _ => {}
        }
    }
}

fn unknown(name: &str, key: &Key, path: &str, findings: &mut Findings, is_past: bool) {
    let past: &[&str] = if is_past { &PAST_KEYS } else { &[] };
    let names = INPUTS.iter().map(|input| input.name).chain(OWN_KEYS).chain(past.iter().copied());
    let advice = match nearest(name, names) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "use the inputs that docs/policy.md lists".to_owned(),
    };
    findings.note(Severity::Error, key.place, path, format!("unknown input `{name}`"), advice);
}

/// The value of an input, checked as a literal of a condition is.
fn value(input: &'static Input, at: At<'_>, findings: &mut Findings) -> Option<Given> {
    match input.kind {
        Kind::Flag => scalars::switch(at, findings).map(Given::Flag),
        Kind::Money(_) | Kind::Number => number(at, findings).map(Given::Number),
        Kind::Duration => {
            let span = ago(at, findings)?;
            Some(Given::Number(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)))
        }
        Kind::Date => Some(Given::Number(0)),
        // A word that Stripe has added since is one too.
        Kind::StripeWord(_) => text(at, findings, "a word").map(|word| Given::Word(word.into())),
        Kind::Text | Kind::Category | Kind::Country | Kind::Currency | Kind::MerchantId | Kind::OneOf(_) => {
            let word = text(at, findings, "a text, in quotes if it is a number")?;
            match check_entry(input.kind, word) {
                Ok(()) => Some(Given::Word(word.into())),
                Err((found, advice)) => {
                    at.refuse(findings, found, advice);
                    None
                }
            }
        }
    }
}

fn expect(at: At<'_>, findings: &mut Findings) -> Option<Vec<(Field, String)>> {
    let entries: Vec<_> = Fields::open(at, findings)?.each().collect();
    if entries.is_empty() {
        at.refuse(findings, "nothing is expected", "add `outcome: approved`, `partial` or `declined`");
    }
    let mut expected = Vec::new();
    for (key, path, node) in entries {
        let Some(field) = Field::ALL.into_iter().find(|field| field.as_str() == key.name) else {
            let names = Field::ALL.map(Field::as_str);
            let advice = match nearest(&key.name, names) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the keys here are {}", names.join(", ")),
            };
            findings.note(Severity::Error, key.place, &path, format!("unknown key `{}`", key.name), advice);
            continue;
        };
        if let Some(text) = expected_value(field, At { node, path: &path }, findings) {
            expected.push((field, text));
        }
    }
    expected.sort_unstable();
    Some(expected)
}

fn expected_value(field: Field, at: At<'_>, findings: &mut Findings) -> Option<String> {
    match field {
        Field::Outcome => {
            let word = text(at, findings, "`approved`, `partial` or `declined`")?;
            word_of(at, findings, word, Outcome::ALL.map(Outcome::as_str)).map(ToOwned::to_owned)
        }
        Field::Reason => {
            let word = text(at, findings, "a reason such as `spending_limit`")?;
            word_of(at, findings, word, Reason::ALL.map(Reason::as_str)).map(ToOwned::to_owned)
        }
        Field::Rule | Field::Message => {
            text(at, findings, &format!("a text, or `{NONE}`")).map(ToOwned::to_owned)
        }
        Field::Challenge => scalars::switch(at, findings).map(|value| value.to_string()),
        Field::LargestApprovable if matches!(&at.node.value, Value::Text(text) if text == NONE) => {
            Some(NONE.to_owned())
        }
        Field::Amount | Field::LargestApprovable => number(at, findings).map(|number| number.to_string()),
        Field::Tags => {
            let entries: Vec<(&Key, String, &Node)> = Fields::open(at, findings)?.each().collect();
            let tags: Option<Vec<(&str, &str)>> = entries
                .iter()
                .map(|(key, path, node)| {
                    Some((key.name.as_str(), text(At { node, path }, findings, "a value in quotes")?))
                })
                .collect();
            tags.map(|tags| testing::mapping(tags.into_iter()))
        }
        Field::Flags => {
            let names = items(at, findings, name)?;
            let names: Option<Vec<_>> = names.into_iter().collect();
            names.map(|names| testing::sequence(names.iter().map(|name| name.value.value.as_str())))
        }
    }
}

/// Makes tests of what is written. What is wrong is noted.
pub(super) fn compiled(
    entries: Vec<Located<TestEntry>>,
    currency: Option<Currency>,
    findings: &mut Findings,
) -> Vec<PolicyTest> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut tests = Vec::new();
    for entry in entries {
        let line = entry.place.line;
        let TestEntry { name, history, request, expect } = entry.value;
        if let Some(name) = &name
            && let Some(line) = names.insert(name.value.clone(), line)
        {
            let found = format!("a second test of the name `{}`", name.value);
            findings.at(Severity::Error, name, found, format!("the first is in line {line}: rename one"));
        }
        let (Some(name), Some(request), Some(expected)) = (name, request, expect) else { continue };
        let currency = currency.unwrap_or(Currency::USD);
        let now = request.at.or_else(|| Timestamp::parse(USUAL_TIME)).unwrap_or_default();
        let mut past: Vec<Past> = Vec::new();
        for (place, entry) in history.iter().enumerate() {
            let at = entry.at.or_else(|| entry.ago.map(|ago| now.minus(ago))).unwrap_or(now);
            if at > now {
                let found = "a past request that is later than the request";
                findings.at(Severity::Error, &entry.located, found, "give it an earlier `at`, or `ago`");
            }
            for time in 0..entry.times {
                past.extend(entry.past(&format!("{place}_{time}"), currency, at, findings));
            }
        }
        past.sort_by_key(|past| past.request.received_at);
        count_increments(&mut past);
        let Some(mut request) = request.made("test", currency, now, findings) else { continue };
        continue_history(&mut request, &past);
        tests.push(PolicyTest { name: name.value.into(), line, history: past, request, expected });
    }
    tests
}

impl RequestEntry {
    fn past(&self, id: &str, currency: Currency, at: Timestamp, findings: &mut Findings) -> Option<Past> {
        let request = self.made(id, currency, at, findings)?;
        let asked = request.asked.map_or(0, |asked| asked.amount);
        let granted = match self.outcome {
            Outcome::Approved => self.granted.unwrap_or(asked),
            Outcome::Partial => self.granted.unwrap_or(0),
            Outcome::Declined => 0,
        };
        Some(Past { request, outcome: self.outcome, granted })
    }

    fn made(
        &self,
        id: &str,
        currency: Currency,
        at: Timestamp,
        findings: &mut Findings,
    ) -> Option<AuthorizationRequest> {
        let mut request = testing::blank(currency, at)?;
        let id = self.authorization.as_ref().map_or_else(|| id.to_owned(), |name| format!("named_{name}"));
        if let Some(id) = AuthorizationId::new(&format!("iauth_{id}")) {
            request.authorization = id;
        } else {
            let found = "`authorization` cannot be an id";
            findings.at(Severity::Error, &self.located, found, "use letters, digits and `_`");
        }
        request.card.clone_from(&self.card);
        request.details.metadata.clone_from(&self.metadata);
        let values: Vec<_> = self.values.iter().map(|value| value.value.clone()).collect();
        if let Err((input, cause)) = testing::set(&mut request, &values) {
            if let Some(value) = self.values.iter().find(|value| value.value.0.name == input.name) {
                let found = format!("`{}` cannot be set to this", input.name);
                findings.at(Severity::Error, value, found, cause.advice);
            }
            return None;
        }
        Some(request)
    }
}

/// A request of an authorization that was asked about before adds to it.
fn continue_history(request: &mut AuthorizationRequest, before: &[Past]) {
    let same = before.iter().filter(|past| past.request.authorization == request.authorization);
    let (count, granted) = same.fold((0_u32, 0_i64), |(count, granted), past| {
        (count.saturating_add(1), granted.saturating_add(past.granted))
    });
    if count > 0 {
        request.history_entries = count;
        request.approved_before = granted;
    }
}

fn count_increments(past: &mut [Past]) {
    for place in 0..past.len() {
        let (before, rest) = past.split_at_mut(place);
        if let Some(one) = rest.first_mut() {
            continue_history(&mut one.request, before);
        }
    }
}
