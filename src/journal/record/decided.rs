//! A question with its answer, on disk.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use super::{Text, Unreadable, field, is_false, is_zero, optional};
use crate::domain::{
    AnswerBy, AuthorizationId, AuthorizationRequest, CardId, CardPresence, Category, ConnectedAccountId,
    Country, Currency, Decided, Decision, DecisionId, EventId, Interval, LimitCheck, Measure, Merchant,
    Money, NetworkId, Outcome, PolicyVersion, Reason, Source, Stages, Timestamp, Violation,
};

#[allow(clippy::struct_excessive_bools, reason = "each is a flag of Stripe's request")]
#[derive(Serialize, Deserialize)]
pub(super) struct DecidedRecord<'a> {
    id: Text<'a>,
    event: Text<'a>,
    authorization: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    card: Option<Text<'a>>,
    outcome: Text<'a>,
    /// Absent where nothing stood against it: the outcome says it all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<Text<'a>>,
    /// Minor units that were granted.
    #[serde(skip_serializing_if = "is_zero", default)]
    granted: i64,
    /// Minor units that were asked for; absent where the request broke the contract.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    asked: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    violation: Option<Text<'a>>,
    /// Microseconds since 1970, as all times here.
    at: i64,
    /// Absent where the decision was made at the time of the request, as it is unless a clock went back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    received_at: Option<i64>,
    #[serde(skip_serializing_if = "is_zero", default)]
    created: i64,
    #[serde(skip_serializing_if = "is_first", default)]
    history: u32,
    #[serde(skip_serializing_if = "is_zero", default)]
    approved_before: i64,
    #[serde(skip_serializing_if = "is_false", default)]
    controllable: bool,
    #[serde(skip_serializing_if = "is_zero", default)]
    cashback: i64,
    #[serde(flatten)]
    merchant: MerchantRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    presence: Option<Text<'a>>,
    #[serde(skip_serializing_if = "is_false", default)]
    verified: bool,
    #[serde(skip_serializing_if = "is_false", default)]
    livemode: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    account: Option<Text<'a>>,
    /// Absent where it is the currency that was asked for; null where the card's is not known.
    #[allow(clippy::option_option, reason = "absent and null say different things")]
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    card_currency: Option<Option<Text<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    group: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    limits: Vec<LimitRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    largest: Option<i64>,
    #[serde(skip_serializing_if = "is_false", default)]
    challenge: bool,
    policy: Text<'a>,
    /// Absent where the policy decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    source: Option<Text<'a>>,
    /// Present where the answer went to Stripe over its API.
    #[serde(skip_serializing_if = "is_false", default)]
    by_api: bool,
    /// Verify, parse, route, queue, decide, in microseconds.
    stages_us: [u32; 5],
}

/// A merchant's fields, written among those of what it belongs to.
#[derive(Serialize, Deserialize, Default)]
pub(super) struct MerchantRecord<'a> {
    #[serde(skip_serializing_if = "str::is_empty", default)]
    category: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    country: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    network_id: Option<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
struct LimitRecord<'a> {
    window: Text<'a>,
    #[serde(skip_serializing_if = "is_false", default)]
    count: bool,
    #[serde(skip_serializing_if = "is_zero", default)]
    before: i64,
    after: i64,
    max: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    resets_at: Option<i64>,
}

impl<'a> From<&'a Decided> for DecidedRecord<'a> {
    fn from(Decided { request, decision }: &'a Decided) -> Self {
        let asked = request.asked.ok();
        Self {
            id: decision.id.to_string().into(),
            event: request.event.as_str().into(),
            authorization: request.authorization.as_str().into(),
            card: request.card.as_ref().map(|card| card.as_str().into()),
            outcome: decision.outcome.as_str().into(),
            reason: (decision.reason != Reason::Approved).then(|| decision.reason.as_str().into()),
            granted: decision.granted,
            asked: asked.map(|asked| asked.amount),
            currency: asked.map(|asked| currency_text(asked.currency)),
            violation: request.asked.err().map(|violation| violation.as_str().into()),
            at: decision.at.as_micros(),
            received_at: (request.received_at != decision.at).then(|| request.received_at.as_micros()),
            created: request.created.as_micros(),
            history: request.history_entries,
            approved_before: request.approved_before,
            controllable: request.is_amount_controllable,
            cashback: request.cashback,
            merchant: (&request.merchant).into(),
            presence: request.card_presence.map(|presence| presence.as_str().into()),
            verified: request.verified_by_fraud_challenge,
            livemode: request.livemode,
            account: request.connected_account.as_ref().map(|account| account.as_str().into()),
            card_currency: (request.card_currency != asked.map(|asked| asked.currency))
                .then(|| request.card_currency.map(currency_text)),
            group: request.group.as_deref().map(Cow::Borrowed),
            limits: decision.limits.iter().map(LimitRecord::from).collect(),
            largest: decision.largest_approvable,
            challenge: decision.challenge,
            policy: decision.policy.as_str().into(),
            source: (decision.source != Source::Policy).then(|| decision.source.as_str().into()),
            by_api: decision.answer_by == AnswerBy::Api,
            stages_us: {
                let Stages { verify_us, parse_us, route_us, queue_us, decide_us } = decision.stages;
                [verify_us, parse_us, route_us, queue_us, decide_us]
            },
        }
    }
}

impl DecidedRecord<'_> {
    pub(super) fn into_decided(self) -> Result<Decided, Unreadable> {
        let currency = optional("currency", self.currency.as_ref(), |text| text.parse::<Currency>().ok())?;
        let violation = optional("violation", self.violation.as_ref(), Violation::new)?;
        let asked = match (self.asked, currency, violation) {
            (_, _, Some(violation)) => Err(violation),
            (Some(amount), Some(currency), None) => Ok(Money::new(amount, currency)),
            (_, _, None) => Err(Violation::NoAmount),
        };
        let card_currency = match &self.card_currency {
            None => asked.ok().and(currency),
            Some(named) => optional("card_currency", named.as_ref(), |text| text.parse().ok())?,
        };
        let source = optional("source", self.source.as_ref(), Source::new)?.unwrap_or(Source::Policy);
        let [verify_us, parse_us, route_us, queue_us, decide_us] = self.stages_us;
        let limits = self.limits.iter().map(|limit| limit.to_check(currency)).collect::<Result<_, _>>()?;
        Ok(Decided {
            request: Arc::new(AuthorizationRequest {
                event: field("event", &self.event, EventId::new)?,
                authorization: field("authorization", &self.authorization, AuthorizationId::new)?,
                card: optional("card", self.card.as_ref(), CardId::new)?,
                card_currency,
                group: self.group.as_deref().map(Into::into),
                received_at: Timestamp::from_micros(self.received_at.unwrap_or(self.at)),
                created: Timestamp::from_micros(self.created),
                history_entries: self.history,
                approved_before: self.approved_before,
                asked,
                is_amount_controllable: self.controllable,
                cashback: self.cashback,
                merchant: self.merchant.into_merchant()?,
                card_presence: optional("presence", self.presence.as_ref(), CardPresence::new)?,
                verified_by_fraud_challenge: self.verified,
                livemode: self.livemode,
                connected_account: optional("account", self.account.as_ref(), ConnectedAccountId::new)?,
                stripe_controls: None,
            }),
            decision: Decision {
                id: field("id", &self.id, DecisionId::parse)?,
                at: Timestamp::from_micros(self.at),
                outcome: field("outcome", &self.outcome, Outcome::new)?,
                granted: self.granted,
                reason: optional("reason", self.reason.as_ref(), Reason::new)?.unwrap_or(Reason::Approved),
                violation,
                limits,
                largest_approvable: self.largest,
                challenge: self.challenge,
                policy: PolicyVersion::new(&self.policy),
                source,
                answer_by: answer_by(self.by_api),
                stages: Stages { verify_us, parse_us, route_us, queue_us, decide_us },
            },
        })
    }
}

impl<'a> From<&'a Merchant> for MerchantRecord<'a> {
    fn from(merchant: &'a Merchant) -> Self {
        Self {
            category: merchant.category.as_str().into(),
            country: merchant.country.map(|country| country.as_str().to_owned().into()),
            network_id: merchant.network_id.as_ref().map(|id| id.as_str().into()),
        }
    }
}

impl MerchantRecord<'_> {
    pub(super) fn into_merchant(self) -> Result<Merchant, Unreadable> {
        Ok(Merchant {
            category: Category::of(Some(&self.category), None),
            country: optional("country", self.country.as_ref(), Country::new)?,
            network_id: optional("network_id", self.network_id.as_ref(), NetworkId::new)?,
        })
    }
}

impl<'a> From<&'a LimitCheck> for LimitRecord<'a> {
    fn from(check: &'a LimitCheck) -> Self {
        Self {
            window: interval_text(check.interval),
            count: check.measure == Measure::Count,
            before: check.before,
            after: check.after,
            max: check.max,
            resets_at: check.resets_at.map(Timestamp::as_micros),
        }
    }
}

impl LimitRecord<'_> {
    fn to_check(&self, currency: Option<Currency>) -> Result<LimitCheck, Unreadable> {
        Ok(LimitCheck {
            measure: if self.count { Measure::Count } else { Measure::Amount(currency) },
            interval: field("window", &self.window, Interval::parse)?,
            before: self.before,
            after: self.after,
            max: self.max,
            resets_at: self.resets_at.map(Timestamp::from_micros),
        })
    }
}

/// Tells a field that is null from one that is absent.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
fn is_first(history: &u32) -> bool {
    *history == 0
}

/// The interval's name; only rolling ones need memory of their own.
pub(super) fn interval_text<'a>(interval: Interval) -> Text<'a> {
    match interval {
        Interval::PerAuthorization => Cow::Borrowed("per_authorization"),
        Interval::Daily => Cow::Borrowed("daily"),
        Interval::Weekly => Cow::Borrowed("weekly"),
        Interval::Monthly => Cow::Borrowed("monthly"),
        Interval::Yearly => Cow::Borrowed("yearly"),
        Interval::AllTime => Cow::Borrowed("all_time"),
        Interval::Rolling(_) => Cow::Owned(interval.to_string()),
    }
}

/// The way of an answer.
pub(super) const fn answer_by(by_api: bool) -> AnswerBy {
    if by_api { AnswerBy::Api } else { AnswerBy::Direct }
}

pub(super) fn currency_text<'a>(currency: Currency) -> Text<'a> {
    if currency == Currency::USD { Cow::Borrowed("usd") } else { Cow::Owned(currency.to_string()) }
}
