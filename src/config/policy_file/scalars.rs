//! Reading single values of a policy file. Each reader gives the value, or notes what was found and what to do.

use schemars::JsonSchema;

use super::{
    fields::{At, refuse_name, text},
    mistake::{Findings, Located, Severity},
    node::Value,
};
use crate::{
    domain::{AMOUNT_MAX, CardPresence, Category, Country, Currency, Interval, NetworkId, Reason, Zone},
    policy::{
        codes::{countries, currencies},
        nearest::nearest,
    },
};

/// Minor units of a currency, more than none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Amount(pub(super) i64);

/// Approvals, more than none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Count(pub(super) i64);

/// The version of the format: one was named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Version;

/// What happens in a currency that no amount limit names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum OtherCurrencies {
    /// It is not limited by amount.
    Allow,
    /// It is declined.
    Decline,
}

/// What a card gets whose group is not in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum UnknownGroup {
    /// What all cards get.
    Default,
    /// Nothing.
    Decline,
}

#[allow(clippy::unnecessary_wraps, reason = "every scalar is read by a function of this shape")]
pub(super) fn version(at: At<'_>, findings: &mut Findings) -> Option<Located<Version>> {
    if matches!(at.node.value, Value::Number(1)) {
        return Some(at.located(Version));
    }
    at.refuse(findings, format!("unknown version {}", at.node.found()), "this program reads `version: 1`");
    Some(at.located(Version))
}

pub(super) fn amount(at: At<'_>, findings: &mut Findings) -> Option<Located<Amount>> {
    let advice = "write minor units as a whole number: 500.00 USD is `50000`";
    whole_number(at, findings, advice).map(|number| at.located(Amount(number)))
}

pub(super) fn count(at: At<'_>, findings: &mut Findings) -> Option<Located<Count>> {
    whole_number(at, findings, "write a whole number of approvals").map(|number| at.located(Count(number)))
}

fn whole_number(at: At<'_>, findings: &mut Findings, advice: &str) -> Option<i64> {
    let found = at.node.found();
    let (found, advice) = match &at.node.value {
        Value::Number(number) if (1..=AMOUNT_MAX).contains(number) => return Some(*number),
        Value::Number(0) => (
            "a limit of 0".to_owned(),
            "to let nothing through, use `paused: true`, or block what should not pass".to_owned(),
        ),
        Value::Number(number) if *number < 0 => (format!("{found} is below zero"), advice.to_owned()),
        Value::Number(_) => (format!("{found} is too large"), format!("{AMOUNT_MAX} is the most")),
        Value::OtherNumber => (format!("{found} is no whole number"), advice.to_owned()),
        Value::Text(text) if text.contains(|c: char| c.is_ascii_digit()) && digits(text).is_some() => {
            let plain = digits(text).unwrap_or_default();
            (format!("{found} is a text"), format!("write it as `{plain}`, without quotes or `_`"))
        }
        Value::Null | Value::Switch(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            (format!("expected a whole number, found {found}"), advice.to_owned())
        }
    };
    at.refuse(findings, found, advice);
    None
}

/// The number that a text of digits and underscores was meant to be.
fn digits(text: &str) -> Option<u64> {
    text.replace('_', "").parse().ok()
}

pub(super) fn switch(at: At<'_>, findings: &mut Findings) -> Option<bool> {
    if let Value::Switch(value) = at.node.value {
        return Some(value);
    }
    at.refuse(findings, format!("expected a boolean, found {}", at.node.found()), "write `true` or `false`");
    None
}

pub(super) fn currency(at: At<'_>, findings: &mut Findings) -> Option<Located<Currency>> {
    let text = text(at, findings, "a currency such as `usd`")?;
    let known = text.parse::<Currency>().ok().filter(|currency| currencies().any(|c| c == currency.as_str()));
    if known.is_none() {
        let advice = "use a code of ISO 4217, such as `usd`";
        refuse_name(at, findings, "currency", || nearest(text, currencies()), advice);
    }
    known.map(|currency| at.located(currency))
}

pub(super) fn time_zone(at: At<'_>, findings: &mut Findings) -> Option<Located<Zone>> {
    let text = text(at, findings, "a time zone such as `Europe/Berlin`")?;
    let zone = Zone::new(text);
    if zone.is_none() {
        let names = || jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect::<Vec<_>>();
        let nearest = || nearest(text, names().iter().map(String::as_str)).map(str::to_owned);
        refuse_name(at, findings, "time zone", nearest, "use an IANA name, such as `Europe/Berlin`");
    }
    zone.map(|zone| at.located(zone))
}

/// The windows without a span of their own.
pub(super) const PLAIN_INTERVALS: [Interval; 6] = [
    Interval::PerAuthorization,
    Interval::Daily,
    Interval::Weekly,
    Interval::Monthly,
    Interval::Yearly,
    Interval::AllTime,
];

pub(super) fn interval(at: At<'_>, findings: &mut Findings) -> Option<Located<Interval>> {
    let text = text(at, findings, "an interval such as `daily`")?;
    let interval = Interval::parse(text);
    if interval.is_none() {
        let names = PLAIN_INTERVALS.map(|interval| interval.to_string());
        let is_rolling = text.starts_with("rolling");
        let nearest = || nearest(text, names.iter().map(String::as_str)).filter(|_| !is_rolling);
        let advice = if is_rolling {
            "write whole seconds, minutes, hours or days, ten years at most: `rolling(90m)`, `rolling(24h)`"
        } else {
            "use per_authorization, daily, weekly, monthly, yearly, all_time or a span such as `rolling(24h)`"
        };
        refuse_name(at, findings, "interval", nearest, advice);
    }
    interval.map(|interval| at.located(interval))
}

pub(super) fn category(at: At<'_>, findings: &mut Findings) -> Option<Category> {
    let text = text(at, findings, "a category such as `fast_food_restaurants`")?;
    let category = Category::named(text);
    if category.is_none() {
        let by_code = Category::coded(text);
        let nearest = || by_code.as_ref().map(Category::as_str).or_else(|| nearest(text, Category::names()));
        let advice = "the categories are listed at https://docs.stripe.com/issuing/categories";
        refuse_name(at, findings, "category", nearest, advice);
    }
    category
}

pub(super) fn country(at: At<'_>, findings: &mut Findings) -> Option<Country> {
    let text = text(at, findings, "a country such as `US`")?;
    let known = Country::new(text).filter(|country| countries().any(|code| code == country.as_str()));
    if known.is_none() {
        // One letter of two is no hint at all: only what people really write is.
        let usual = [("uk", "GB"), ("en", "GB"), ("usa", "US"), ("el", "GR"), ("gbr", "GB"), ("deu", "DE")];
        let meant = usual.into_iter().find(|(written, _)| text.eq_ignore_ascii_case(written));
        let advice = "use two letters of ISO 3166-1, such as `US`";
        refuse_name(at, findings, "country", || meant.map(|(_, code)| code), advice);
    }
    known
}

pub(super) fn presence(at: At<'_>, findings: &mut Findings) -> Option<CardPresence> {
    let text = text(at, findings, "`present` or `not_present`")?;
    let presence = CardPresence::new(text);
    if presence.is_none() {
        let names = [CardPresence::Present, CardPresence::NotPresent].map(CardPresence::as_str);
        refuse_name(at, findings, "card presence", || nearest(text, names), "use `present` or `not_present`");
    }
    presence
}

pub(super) fn reason(at: At<'_>, findings: &mut Findings) -> Option<Reason> {
    let text = text(at, findings, "a decline reason such as `country_blocked`")?;
    let reason = Reason::new(text).filter(|reason| *reason != Reason::Approved);
    if reason.is_none() {
        let liftable = liftable_reasons().map(Reason::as_str);
        let advice = format!("use {}", liftable_reasons().map(Reason::as_str).collect::<Vec<_>>().join(", "));
        refuse_name(at, findings, "decline reason", || nearest(text, liftable), &advice);
    }
    reason
}

/// The reasons for which asking the cardholder makes sense.
pub(super) fn liftable_reasons() -> impl Iterator<Item = Reason> {
    Reason::ALL.into_iter().filter(|reason| reason.can_be_lifted_by_challenge())
}

/// What to write in place of a merchant's name.
const NETWORK_ID: &str = "use `merchant_data.network_id` of the merchant as Stripe sends it; the same merchant has another \
                          one at each card network";

/// Network ids are digits more often than not, and a leading zero counts: as a number they would lose it.
pub(super) fn network_id(at: At<'_>, findings: &mut Findings) -> Option<NetworkId> {
    let is_bare_number = at.node.is_bare()
        && !at.node.raw.is_empty()
        && at.node.raw.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if is_bare_number {
        let found = format!("the network id {} is a bare number", at.node.found());
        at.refuse(
            findings,
            found,
            format!("put it in quotes, so that every digit counts: \"{}\"", at.node.raw),
        );
        return None;
    }
    let text = text(at, findings, "a merchant's network id in quotes")?;
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let digits = text.chars().filter(char::is_ascii_digit).count();
    if letters > 0 && (digits == 0 || text.contains(char::is_whitespace)) {
        at.refuse(
            findings,
            format!("{} is a merchant's name, and no network id", at.node.found()),
            NETWORK_ID,
        );
        return None;
    }
    let id = NetworkId::new(text);
    if id.is_none() {
        at.refuse(findings, format!("{} is no network id", at.node.found()), NETWORK_ID);
    } else if letters > digits {
        let found = format!("{} looks like a merchant's name", at.node.found());
        findings.at(Severity::Warning, &at.located(()), found, NETWORK_ID);
    }
    id
}

pub(super) fn other_currencies(at: At<'_>, findings: &mut Findings) -> Option<OtherCurrencies> {
    match text(at, findings, "`allow` or `decline`")? {
        "allow" => Some(OtherCurrencies::Allow),
        "decline" => Some(OtherCurrencies::Decline),
        text => {
            let nearest = || nearest(text, ["allow", "decline"]);
            refuse_name(at, findings, "choice", nearest, "use `allow` or `decline`");
            None
        }
    }
}

pub(super) fn unknown_group(at: At<'_>, findings: &mut Findings) -> Option<UnknownGroup> {
    match text(at, findings, "`default` or `decline`")? {
        "default" => Some(UnknownGroup::Default),
        "decline" => Some(UnknownGroup::Decline),
        text => {
            let nearest = || nearest(text, ["default", "decline"]);
            refuse_name(at, findings, "choice", nearest, "use `default` or `decline`");
            None
        }
    }
}
