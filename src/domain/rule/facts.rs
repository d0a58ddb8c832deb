//! What the conditions of one decision look at: every input with its value.

use std::sync::Arc;

use super::{
    condition::{Last, Share},
    input::{ClockPart, Flag, MetadataKey, NumberInput, Reads, WEEKDAYS, WordInput},
};
use crate::domain::{
    card::Card,
    decision::LimitCheck,
    details::{
        CardType, CardholderType, Details, Exemption, FraudWarning, Method, RiskLevel, ThreeDs, Wallet,
    },
    ids::{Account, CardholderId, ConnectedAccountId, NetworkId},
    merchant::{CardPresence, Category, Country},
    money::Money,
    policy::{Feature, Interval, Measure, Window, Zone},
    request::AuthorizationRequest,
    time::Timestamp,
};

/// The facts of one decision.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The card, before the request.
    pub card: &'a Card,
    /// The request.
    pub request: &'a AuthorizationRequest,
    /// What it asks for.
    pub asked: Money,
    /// The time of the decision.
    pub at: Timestamp,
    /// The limits that count the request, with what is used of them.
    pub limits: &'a [LimitCheck],
    /// The country that is home, where the policy names one.
    pub home: Option<&'a Country>,
    /// Whether the card is as the ledger knows it. Not so in stand-in decisions.
    pub has_ledger: bool,
}

impl<'a> Facts<'a> {
    /// The facts of a request that asks for `asked`, without limits and without a home.
    #[must_use]
    pub const fn new(card: &'a Card, request: &'a AuthorizationRequest, asked: Money, at: Timestamp) -> Self {
        Self { card, request, asked, at, limits: &[], home: None, has_ledger: true }
    }

    /// The value of a flag.
    #[must_use]
    pub fn flag(&self, flag: Flag) -> bool {
        let request = self.request;
        match flag {
            Flag::Present => request.card_presence == Some(CardPresence::Present),
            Flag::IsIncrement => request.history_entries > 0,
            Flag::AmountControllable => request.is_amount_controllable,
            Flag::VerifiedByChallenge => request.verified_by_fraud_challenge,
            Flag::Livemode => request.livemode,
            Flag::IsForeignCurrency => self.merchant_money().currency != self.asked.currency,
            Flag::Tokenized => request.details.tokenized,
            Flag::IsAbroad => {
                let country = self.request.merchant.country.as_ref();
                country.zip(self.home).is_some_and(|(country, home)| country != home)
            }
        }
    }

    /// The value of a number; none where it is missing.
    #[must_use]
    pub fn number(&self, input: NumberInput) -> Option<i64> {
        let details = &self.request.details;
        match input {
            NumberInput::Amount => Some(self.asked.amount),
            NumberInput::Total => Some(self.asked.amount.saturating_add(self.request.approved_before)),
            NumberInput::Cash => Some(self.request.cashback),
            NumberInput::AtmFee => Some(details.atm_fee),
            NumberInput::Hold => Some(self.request.held_if_asked(self.asked)),
            NumberInput::MerchantAmount => Some(self.merchant_money().amount),
            NumberInput::Mcc => {
                let usual = || self.request.merchant.category.usual_code()?.parse().ok();
                details.mcc.or_else(usual).map(i64::from)
            }
            NumberInput::FraudScore => details.risk.fraud_score,
            NumberInput::NetworkRisk => details.risk.network.map(i64::from),
            NumberInput::CardAge => {
                let born = i64::from(details.card.created_day?).saturating_mul(SECONDS_A_DAY);
                Some(self.at.as_seconds().saturating_sub(born).max(0))
            }
        }
    }

    /// What is used of a window before the request.
    pub(super) fn used(&self, window: &Arc<Window>) -> i64 {
        let sum = self.card.tallies.iter().find(|sum| sum.is_of(window));
        sum.map_or(0, |sum| sum.used(self.at))
    }

    /// The value of a word; none where it is unknown.
    #[must_use]
    pub fn word(&'a self, input: WordInput) -> Option<&'a str> {
        let merchant = &self.request.merchant;
        match input {
            WordInput::Currency => Some(self.asked.currency.as_str()),
            WordInput::Category => match &merchant.category {
                Category::Missing => None,
                named @ (Category::Known(_) | Category::Unknown(_)) => Some(named.as_str()),
            },
            WordInput::MerchantCountry => merchant.country.as_ref().map(Country::as_str),
            WordInput::MerchantId => merchant.network_id.as_ref().map(NetworkId::as_str),
            WordInput::Group => self.request.group.as_deref(),
            WordInput::Account => self.request.connected_account.as_ref().map(ConnectedAccountId::as_str),
            WordInput::HomeCountry => self.home.map(Country::as_str),
            WordInput::CardholderId => self.request.cardholder.as_ref().map(CardholderId::as_str),
            WordInput::MerchantCurrency => {
                let named = self.request.details.merchant_amount.as_ref();
                Some(named.unwrap_or(&self.asked).currency.as_str())
            }
            WordInput::MerchantState
            | WordInput::MerchantPostal
            | WordInput::MerchantName
            | WordInput::Payfac
            | WordInput::SubMerchant
            | WordInput::Counterparty
            | WordInput::Industry
            | WordInput::Method
            | WordInput::Wallet
            | WordInput::Cvc
            | WordInput::Expiry
            | WordInput::AddressLine1
            | WordInput::AddressPostal
            | WordInput::ThreeDs
            | WordInput::Exemption
            | WordInput::FraudLevel
            | WordInput::CardTestingLevel
            | WordInput::MerchantDisputeLevel
            | WordInput::CardType
            | WordInput::CardFraudWarning
            | WordInput::CardProgram
            | WordInput::CardholderType => detail(&self.request.details, input),
        }
    }

    /// An entry of metadata.
    pub(super) fn metadata(&self, key: &MetadataKey) -> Option<&'a str> {
        let entries = self.request.details.metadata.iter();
        let found = entries.into_iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the card has no approved purchase with the value that this request has.
    pub(super) fn is_first(&self, feature: Feature, window: &Arc<Window>) -> bool {
        let merchant = &self.request.merchant;
        let sum = self.card.tallies.iter().find(|sum| sum.is_of(window));
        feature.of(merchant).is_some() && !sum.is_some_and(|sum| sum.has(merchant, self.at))
    }

    /// Whole seconds since the latest request; [`i64::MAX`] where there is none.
    pub(super) fn since_last(&self, last: Last) -> i64 {
        let at = match last {
            Last::Attempt => self.card.latest.attempt,
            Last::Approval => self.card.latest.approval,
        };
        if at == Timestamp::MIN {
            return i64::MAX;
        }
        i64::try_from(self.at.since(at).as_secs()).unwrap_or(i64::MAX)
    }

    /// What the tightest amount limit of an interval leaves; [`i64::MAX`] where there is none.
    pub(super) fn remaining(&self, interval: Interval) -> i64 {
        least_left(self.limits.iter().filter(|check| check.interval == interval))
    }

    /// What the limits of a budget leave, or have used; of a budget that the request does not charge, nothing is used.
    pub(super) fn of_budget(&self, name: &str, share: Share) -> i64 {
        let is_of = |check: &&LimitCheck| {
            let account = check.account.as_ref().and_then(Account::as_budget);
            account.is_some_and(|(budget, _)| budget == name)
        };
        let limits = self.limits.iter().filter(is_of);
        match share {
            Share::Remaining => least_left(limits),
            Share::Used => limits.map(percent_used).max().unwrap_or(0),
        }
    }

    /// What the purchases of a window came to on average, rounded down.
    pub(super) fn average(&self, count: &Arc<Window>, sum: &Arc<Window>) -> Option<i64> {
        let count = Some(self.used(count)).filter(|count| *count >= AVERAGED_LEAST)?;
        self.used(sum).checked_div(count)
    }

    /// What the merchant asks for: where Stripe does not say, it is what the request asks for.
    pub(super) fn merchant_money(&self) -> Money {
        self.request.details.merchant_amount.unwrap_or(self.asked)
    }

    /// Whether an input has a value.
    #[must_use]
    pub fn has(&self, input: Reads) -> bool {
        match input {
            Reads::Flag(Flag::Present) => self.request.card_presence.is_some(),
            Reads::Flag(
                Flag::IsIncrement
                | Flag::AmountControllable
                | Flag::VerifiedByChallenge
                | Flag::Livemode
                | Flag::IsForeignCurrency
                | Flag::Tokenized
                | Flag::IsAbroad,
            )
            | Reads::Clock(_) => true,
            // Which entry it is, only the condition knows.
            Reads::Metadata(_) => false,
            Reads::Number(input) => self.number(input).is_some(),
            Reads::Word(input) => self.word(input).is_some(),
        }
    }

    /// A part of the time that is a number: the hour, or the day.
    pub(super) fn clock(&self, part: ClockPart, zone: &Zone) -> i64 {
        let local = self.local(zone);
        match part {
            ClockPart::Hour => i64::from(local.hour()),
            ClockPart::Weekday => i64::from(local.weekday().to_monday_zero_offset()),
            ClockPart::Date => day_number(local.date()),
        }
    }

    pub(super) fn weekday(&self, zone: &Zone) -> &'static str {
        let place = usize::try_from(self.local(zone).weekday().to_monday_zero_offset()).unwrap_or(0);
        WEEKDAYS.get(place).copied().unwrap_or_default()
    }

    fn local(&self, zone: &Zone) -> jiff::civil::DateTime {
        zone.as_jiff().to_datetime(self.at.to_jiff())
    }
}

/// An average of fewer purchases says little.
pub const AVERAGED_LEAST: i64 = 30;

/// What the tightest of the amount limits leaves; [`i64::MAX`] where there is none.
fn least_left<'a>(limits: impl Iterator<Item = &'a LimitCheck>) -> i64 {
    let amounts = limits.filter(|check| check.measure != Measure::Count);
    let left = amounts.map(|check| check.max.saturating_sub(check.before).max(0));
    left.min().unwrap_or(i64::MAX)
}

/// How much of a limit is used before the request, in whole percent, rounded down. Of nothing everything is used.
fn percent_used(check: &LimitCheck) -> i64 {
    let percent = i128::from(check.before).saturating_mul(100).checked_div(check.max.into()).unwrap_or(100);
    i64::try_from(percent).unwrap_or(i64::MAX)
}

/// The words of a request beyond its merchant's category, country and id.
fn detail(details: &Details, input: WordInput) -> Option<&str> {
    let Details { merchant, checks, risk, card, .. } = details;
    match input {
        WordInput::MerchantState => merchant.state.as_deref(),
        WordInput::MerchantPostal => merchant.postal_prefix.as_deref(),
        WordInput::MerchantName => merchant.name.as_deref(),
        WordInput::Payfac => merchant.payment_facilitator.as_deref(),
        WordInput::SubMerchant => merchant.sub_merchant.as_deref(),
        WordInput::Counterparty => merchant.counterparty.as_deref(),
        WordInput::Industry => merchant.industry.as_deref(),
        WordInput::Method => details.method.as_ref().map(Method::as_str),
        WordInput::Wallet => details.wallet.as_ref().map(Wallet::as_str),
        WordInput::Cvc => Some(checks.cvc.as_str()),
        WordInput::Expiry => Some(checks.expiry.as_str()),
        WordInput::AddressLine1 => Some(checks.address_line1.as_str()),
        WordInput::AddressPostal => Some(checks.address_postal.as_str()),
        WordInput::ThreeDs => details.three_ds.as_ref().map(ThreeDs::as_str),
        WordInput::Exemption => details.exemption.as_ref().map(Exemption::as_str),
        WordInput::FraudLevel => risk.fraud.as_ref().map(RiskLevel::as_str),
        WordInput::CardTestingLevel => risk.card_testing.as_ref().map(RiskLevel::as_str),
        WordInput::MerchantDisputeLevel => risk.merchant_dispute.as_ref().map(RiskLevel::as_str),
        WordInput::CardType => card.card_type.as_ref().map(CardType::as_str),
        WordInput::CardFraudWarning => card.fraud_warning.as_ref().map(FraudWarning::as_str),
        WordInput::CardProgram => card.program.as_deref(),
        WordInput::CardholderType => details.cardholder_type.as_ref().map(CardholderType::as_str),
        WordInput::Currency
        | WordInput::Category
        | WordInput::MerchantCountry
        | WordInput::MerchantId
        | WordInput::Group
        | WordInput::Account
        | WordInput::HomeCountry
        | WordInput::CardholderId
        | WordInput::MerchantCurrency => None,
    }
}

const SECONDS_A_DAY: i64 = 86_400;

/// A day as a number that orders days: 20261224.
#[must_use]
pub fn day_number(date: jiff::civil::Date) -> i64 {
    let year = i64::from(date.year()).saturating_mul(10_000);
    year.saturating_add(i64::from(date.month()).saturating_mul(100)).saturating_add(i64::from(date.day()))
}
