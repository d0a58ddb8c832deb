//! What the conditions of one decision look at: every input with its value.

use super::input::{ClockPart, Flag, NumberInput, Reads, WEEKDAYS, WordInput};
use crate::domain::{
    ids::NetworkId,
    merchant::{CardPresence, Category, Country},
    money::Money,
    policy::Zone,
    request::AuthorizationRequest,
    time::Timestamp,
};

/// The facts of one decision.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The request.
    pub request: &'a AuthorizationRequest,
    /// What it asks for.
    pub asked: Money,
    /// The time of the decision.
    pub at: Timestamp,
}

impl<'a> Facts<'a> {
    pub(super) fn flag(&self, flag: Flag) -> bool {
        let request = self.request;
        match flag {
            Flag::Present => request.card_presence == Some(CardPresence::Present),
            Flag::IsIncrement => request.history_entries > 0,
            Flag::AmountControllable => request.is_amount_controllable,
            Flag::VerifiedByChallenge => request.verified_by_fraud_challenge,
            Flag::Livemode => request.livemode,
        }
    }

    #[allow(
        clippy::unnecessary_wraps,
        reason = "inputs that are not in every request come with their own arm"
    )]
    pub(super) fn number(&self, input: NumberInput) -> Option<i64> {
        match input {
            NumberInput::Amount => Some(self.asked.amount),
            NumberInput::Total => Some(self.asked.amount.saturating_add(self.request.approved_before)),
            NumberInput::Cash => Some(self.request.cashback),
        }
    }

    pub(super) fn word(&'a self, input: WordInput) -> Option<&'a str> {
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
        }
    }

    /// Whether an input has a value.
    pub(super) fn has(&self, input: Reads) -> bool {
        match input {
            Reads::Flag(Flag::Present) => self.request.card_presence.is_some(),
            Reads::Flag(
                Flag::IsIncrement | Flag::AmountControllable | Flag::VerifiedByChallenge | Flag::Livemode,
            )
            | Reads::Clock(_) => true,
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

/// A day as a number that orders days: 20261224.
#[must_use]
pub fn day_number(date: jiff::civil::Date) -> i64 {
    let year = i64::from(date.year()).saturating_mul(10_000);
    year.saturating_add(i64::from(date.month()).saturating_mul(100)).saturating_add(i64::from(date.day()))
}
