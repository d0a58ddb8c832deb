//! A question with its answer, on disk.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Borrowed, Text, Unreadable,
    command::{GrantRecord, PauseRecord, excepted, write_excepted},
    details::{self, DetailsRecord},
    field,
    object::{Object, write_number},
    observed::{HistoryRecord, ListedRecord},
    optional,
    ruled::RuledRecord,
};
use crate::domain::{
    Account, AnswerBy, AuthorizationId, AuthorizationRequest, CardId, CardPresence, CardholderId, Category,
    ConnectedAccountId, Country, Currency, Decided, Decision, DecisionId, Details, EventId, Interval, Lifted,
    LimitCheck, Measure, Merchant, Money, NetworkId, Outcome, PolicyVersion, Reason, Source, Stages,
    Timestamp, Told, Violation, WouldPass,
};

#[allow(clippy::struct_excessive_bools, reason = "each is a flag of Stripe's request")]
#[derive(Deserialize)]
pub(super) struct DecidedRecord<'a> {
    #[serde(borrow)]
    id: Borrowed<'a>,
    #[serde(borrow)]
    event: Borrowed<'a>,
    #[serde(borrow)]
    authorization: Borrowed<'a>,
    #[serde(borrow, default)]
    card: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    cardholder: Option<Borrowed<'a>>,
    #[serde(borrow)]
    outcome: Borrowed<'a>,
    /// Absent where nothing stood against it: the outcome says it all.
    #[serde(borrow, default)]
    reason: Option<Borrowed<'a>>,
    /// Minor units that were granted.
    #[serde(default)]
    granted: i64,
    /// Minor units that were asked for; absent where the request broke the contract.
    #[serde(default)]
    asked: Option<i64>,
    #[serde(borrow, default)]
    currency: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    violation: Option<Borrowed<'a>>,
    /// Microseconds since 1970, as all times here.
    at: i64,
    /// Absent where the decision was made at the time of the request, as it is unless a clock went back.
    #[serde(default)]
    received_at: Option<i64>,
    #[serde(default)]
    created: i64,
    #[serde(default)]
    history: u32,
    #[serde(default)]
    approved_before: i64,
    #[serde(default)]
    controllable: bool,
    #[serde(default)]
    cashback: i64,
    // A merchant's fields, each by itself: what serde flattens it reads twice.
    #[serde(borrow, default)]
    category: Borrowed<'a>,
    #[serde(borrow, default)]
    country: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    network_id: Option<Borrowed<'a>>,
    /// Absent where it follows from the method.
    #[serde(borrow, default)]
    presence: Option<Borrowed<'a>>,
    #[serde(default)]
    verified: bool,
    #[serde(default)]
    livemode: bool,
    #[serde(borrow, default)]
    account: Option<Borrowed<'a>>,
    /// Absent where it is the currency that was asked for; null where the card's is not known.
    #[allow(clippy::option_option, reason = "absent and null say different things")]
    #[serde(borrow, default, deserialize_with = "present")]
    card_currency: Option<Option<Borrowed<'a>>>,
    #[serde(borrow, default)]
    group: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    replacement_for: Option<Borrowed<'a>>,
    #[serde(default)]
    paused: bool,
    /// Everything else that rules may look at.
    #[serde(borrow, default)]
    details: DetailsRecord<'a>,
    #[serde(default)]
    limits: Vec<LimitRecord<'a>>,
    #[serde(default)]
    largest: Option<i64>,
    /// When the same request would pass.
    #[serde(default)]
    passes_at: Option<i64>,
    /// The rule without which it would pass.
    #[serde(borrow, default)]
    passes_without: Option<Borrowed<'a>>,
    #[serde(default)]
    challenge: bool,
    /// The grant that it passed by, its amount, and whether it is an account check.
    #[serde(borrow, default)]
    grant: Option<GrantRecord<'a>>,
    /// The budget that is paused, or none for the card; and until when.
    #[serde(borrow, default)]
    pause: Option<PauseRecord<'a>>,
    /// Where rules of the policy had to do with it.
    #[serde(borrow, default)]
    ruled: Option<RuledRecord<'a>>,
    #[serde(borrow)]
    policy: Borrowed<'a>,
    /// Absent where the policy decided.
    #[serde(borrow, default)]
    source: Option<Borrowed<'a>>,
    /// Present where the answer went to Stripe over its API.
    #[serde(skip_serializing_if = "is_false", default)]
    by_api: bool,
    /// When Stripe created the event; absent where that is the second of the receipt.
    #[serde(default)]
    told_at: Option<i64>,
    #[serde(default)]
    hold_amount: i64,
    /// The decided requests that an increment tells.
    #[serde(borrow, default)]
    told_history: Vec<HistoryRecord<'a>>,
    /// The transactions that it lists.
    #[serde(borrow, default)]
    listed: Vec<ListedRecord<'a>>,
    /// Verify, parse, route, queue, decide, in microseconds.
    stages_us: [u32; 5],
    /// Its place among the events of its append, where that is of several accounts.
    #[serde(default)]
    turn: u32,
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

#[derive(Deserialize)]
struct LimitRecord<'a> {
    /// The budget's, where it is not the card's own.
    #[serde(borrow, default)]
    account: Option<Borrowed<'a>>,
    #[serde(default)]
    balance: bool,
    #[serde(borrow, default)]
    owners: Option<Borrowed<'a>>,
    #[serde(borrow)]
    window: Borrowed<'a>,
    #[serde(default)]
    count: bool,
    #[serde(default)]
    before: i64,
    after: i64,
    max: i64,
    /// By how much raises lifted it, and when the first of them ends.
    #[serde(default)]
    raised: i64,
    #[serde(default)]
    raised_until: Option<i64>,
    /// By how much a grant did.
    #[serde(default)]
    granted: i64,
    #[serde(default)]
    resets_at: Option<i64>,
}

/// Writes a question with its answer, as [`DecidedRecord`] reads it. What is usual is left out.
pub(super) fn write(body: &mut Vec<u8>, Decided { request, decision }: &Decided) {
    let asked = request.asked.ok();
    let mut record = Object::begin(body);
    record.shown("id", decision.id);
    record.text("event", request.event.as_str());
    record.text("authorization", request.authorization.as_str());
    optional_text(&mut record, "card", request.card.as_ref().map(CardId::as_str));
    optional_text(&mut record, "cardholder", request.cardholder.as_ref().map(CardholderId::as_str));
    record.word("outcome", decision.outcome.as_str());
    if decision.reason != Reason::Approved {
        record.word("reason", decision.reason.as_str());
    }
    number_unless_zero(&mut record, "granted", decision.granted);
    if let Some(asked) = asked {
        record.number("asked", asked.amount);
        record.word("currency", asked.currency.as_str());
    }
    if let Err(violation) = request.asked {
        record.word("violation", violation.as_str());
    }
    record.number("at", decision.at.as_micros());
    if request.received_at != decision.at {
        record.number("received_at", request.received_at.as_micros());
    }
    number_unless_zero(&mut record, "created", request.created.as_micros());
    number_unless_zero(&mut record, "history", request.history_entries.into());
    number_unless_zero(&mut record, "approved_before", request.approved_before);
    record.flag("controllable", request.is_amount_controllable);
    number_unless_zero(&mut record, "cashback", request.cashback);
    write_merchant(&mut record, &request.merchant);
    let presence = request.card_presence.filter(|presence| presence_of(&request.details) != Some(*presence));
    optional_text(&mut record, "presence", presence.map(CardPresence::as_str));
    record.flag("verified", request.verified_by_fraud_challenge);
    record.flag("livemode", request.livemode);
    optional_text(&mut record, "account", request.connected_account.as_ref().map(ConnectedAccountId::as_str));
    match request.card_currency {
        currency if currency == asked.map(|asked| asked.currency) => {}
        Some(currency) => record.word("card_currency", currency.as_str()),
        None => record.null("card_currency"),
    }
    optional_text(&mut record, "group", request.group.as_deref());
    optional_text(&mut record, "replacement_for", request.replacement_for.as_ref().map(CardId::as_str));
    record.flag("paused", request.is_paused);
    record.object("details", |record| details::write(record, &request.details));
    write_told(&mut record, request);
    if !decision.limits.is_empty() {
        record.array("limits", &decision.limits, write_limit);
    }
    if let Some(largest) = decision.largest_approvable {
        record.number("largest", largest);
    }
    if let Some(would_pass) = &decision.would_pass {
        if let Some(at) = would_pass.at {
            record.number("passes_at", at.as_micros());
        }
        optional_text(&mut record, "passes_without", would_pass.without.as_deref());
    }
    record.flag("challenge", decision.challenge);
    write_excepted(&mut record, decision.excepted.as_deref());
    if let Some(ruled) = &decision.ruled {
        record.serialized("ruled", &RuledRecord::from(&**ruled));
    }
    record.text("policy", decision.policy.as_str());
    if decision.source != Source::Policy {
        record.word("source", decision.source.as_str());
    }
    record.flag("by_api", decision.answer_by == AnswerBy::Api);
    let Stages { verify_us, parse_us, route_us, queue_us, decide_us } = decision.stages;
    let stages = [verify_us, parse_us, route_us, queue_us, decide_us];
    record.array("stages_us", stages.map(i64::from), write_number);
    number_unless_zero(&mut record, "turn", decision.turn.into());
    record.end();
}

/// What the request tells beside its own amount.
fn write_told(record: &mut Object<'_>, request: &AuthorizationRequest) {
    let told = &request.told;
    if told.at != of_the_second(request.received_at) {
        record.number("told_at", told.at.as_micros());
    }
    number_unless_zero(record, "hold_amount", told.hold_amount);
    if !told.history.is_empty() {
        record.array("told_history", &told.history, |body, entry| {
            // Writing to memory cannot fail.
            let _ = serde_json::to_writer(body, &HistoryRecord::from(entry));
        });
    }
    if !told.transactions.is_empty() {
        record.array("listed", &told.transactions, |body, listed| {
            let _ = serde_json::to_writer(body, &ListedRecord::from(listed));
        });
    }
}

const fn of_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_seconds(at.as_seconds())
}

fn write_merchant(record: &mut Object<'_>, merchant: &Merchant) {
    let category = merchant.category.as_str();
    optional_text(record, "category", Some(category).filter(|category| !category.is_empty()));
    optional_text(record, "country", merchant.country.as_ref().map(Country::as_str));
    optional_text(record, "network_id", merchant.network_id.as_ref().map(NetworkId::as_str));
}

fn write_limit(body: &mut Vec<u8>, check: &LimitCheck) {
    let mut record = Object::begin(body);
    optional_text(&mut record, "account", check.account.as_ref().map(Account::as_str));
    record.flag("balance", check.is_balance);
    optional_text(&mut record, "owners", check.owners.as_deref());
    match check.interval {
        // Written where it belongs: a text of its own would only be thrown away.
        rolling @ Interval::Rolling(_) => record.shown("window", rolling),
        calendar => record.word("window", &interval_text(calendar)),
    }
    record.flag("count", check.measure == Measure::Count);
    number_unless_zero(&mut record, "before", check.before);
    record.number("after", check.after);
    record.number("max", check.max);
    if let Some(Lifted { raised, until, granted }) = check.lifted.as_deref() {
        number_unless_zero(&mut record, "raised", *raised);
        if let Some(until) = until {
            record.number("raised_until", until.as_micros());
        }
        number_unless_zero(&mut record, "granted", *granted);
    }
    if let Some(resets_at) = check.resets_at {
        record.number("resets_at", resets_at.as_micros());
    }
    record.end();
}

/// Whether the card was there, as far as the method tells.
fn presence_of(details: &Details) -> Option<CardPresence> {
    details.method.as_ref().and_then(|method| CardPresence::of_method(method.as_str()))
}

fn optional_text(record: &mut Object<'_>, key: &'static str, text: Option<&str>) {
    if let Some(text) = text {
        record.text(key, text);
    }
}

pub(super) fn number_unless_zero(record: &mut Object<'_>, key: &'static str, number: i64) {
    if number != 0 {
        record.number(key, number);
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
        let details = self.details.into_details()?;
        let presence = optional("presence", self.presence.as_ref(), CardPresence::new)?;
        let received_at = Timestamp::from_micros(self.received_at.unwrap_or(self.at));
        let told = Told {
            at: self.told_at.map_or_else(|| of_the_second(received_at), Timestamp::from_micros),
            hold_amount: self.hold_amount,
            history: self.told_history.into_iter().map(Into::into).collect(),
            transactions: self.listed.into_iter().map(ListedRecord::into_listed).collect::<Result<_, _>>()?,
            card: None,
            cardholder: None,
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
                replacement_for: optional("replacement_for", self.replacement_for.as_ref(), CardId::new)?,
                cardholder: optional("cardholder", self.cardholder.as_ref(), CardholderId::new)?,
                is_paused: self.paused,
                group: self.group.as_deref().map(Into::into),
                received_at,
                created: Timestamp::from_micros(self.created),
                history_entries: self.history,
                approved_before: self.approved_before,
                asked,
                is_amount_controllable: self.controllable,
                cashback: self.cashback,
                merchant: Merchant {
                    category: Category::of(Some(&self.category), None),
                    country: optional("country", self.country.as_ref(), Country::new)?,
                    network_id: optional("network_id", self.network_id.as_ref(), NetworkId::new)?,
                },
                card_presence: presence.or_else(|| presence_of(&details)),
                verified_by_fraud_challenge: self.verified,
                livemode: self.livemode,
                connected_account: optional("account", self.account.as_ref(), ConnectedAccountId::new)?,
                details,
                stripe_controls: None,
                told,
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
                would_pass: (self.passes_at.is_some() || self.passes_without.is_some()).then(|| {
                    Box::new(WouldPass {
                        at: self.passes_at.map(Timestamp::from_micros),
                        without: self.passes_without.as_deref().map(Arc::from),
                    })
                }),
                challenge: self.challenge,
                ruled: self.ruled.map(|ruled| Box::new(ruled.into_ruled())),
                excepted: excepted(self.grant, self.pause)?,
                policy: PolicyVersion::new(&self.policy),
                source,
                answer_by: answer_by(self.by_api),
                stages: Stages { verify_us, parse_us, route_us, queue_us, decide_us },
                turn: self.turn,
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

impl LimitRecord<'_> {
    fn to_check(&self, currency: Option<Currency>) -> Result<LimitCheck, Unreadable> {
        Ok(LimitCheck {
            account: optional("account", self.account.as_ref(), Account::new)?,
            is_balance: self.balance,
            owners: self.owners.as_deref().map(Into::into),
            measure: if self.count { Measure::Count } else { Measure::Amount(currency) },
            interval: field("window", &self.window, Interval::parse)?,
            before: self.before,
            after: self.after,
            max: self.max,
            lifted: (self.raised != 0 || self.granted != 0).then(|| {
                let until = self.raised_until.map(Timestamp::from_micros);
                Box::new(Lifted { raised: self.raised, until, granted: self.granted })
            }),
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
