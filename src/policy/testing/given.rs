//! Inputs of a condition as values: put into a request, and read from one.

use crate::domain::{
    AuthorizationId, AuthorizationRequest, Card, CardPresence, CardType, CardholderId, CardholderType,
    Category, Check, ConnectedAccountId, Country, Currency, Details, EventId, Exemption, FraudWarning,
    Merchant, Method, Money, NetworkId, RiskLevel, ThreeDs, Timestamp, Told, Wallet,
    rule::{Facts, Flag, INPUTS, Input, NumberInput, Reads, WordInput},
};

/// The value of an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Given {
    /// A condition.
    Flag(bool),
    /// A number; seconds, for a duration.
    Number(i64),
    /// A word.
    Word(Box<str>),
}

/// An input cannot have this value, or follows from something else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotGiven {
    /// What to do.
    pub advice: &'static str,
}

/// A request that says nothing but its currency and its time.
#[must_use]
pub fn blank(currency: Currency, at: Timestamp) -> Option<AuthorizationRequest> {
    Some(AuthorizationRequest {
        event: EventId::new("evt_test")?,
        authorization: AuthorizationId::new("iauth_test")?,
        card: None,
        card_currency: None,
        replacement_for: None,
        cardholder: None,
        is_paused: false,
        group: None,
        received_at: at,
        created: at,
        history_entries: 0,
        approved_before: 0,
        asked: Ok(Money::new(0, currency)),
        is_amount_controllable: false,
        cashback: 0,
        merchant: Merchant::default(),
        card_presence: None,
        verified_by_fraud_challenge: false,
        livemode: true,
        connected_account: None,
        details: Details::default(),
        stripe_controls: None,
        told: Told::default(),
    })
}

/// Puts values into a request, in the order in which they build on each other.
///
/// # Errors
/// The input that cannot have its value.
pub fn set(
    request: &mut AuthorizationRequest,
    values: &[(&'static Input, Given)],
) -> Result<(), (&'static Input, NotGiven)> {
    let first = |input: &Input| input.reads != Reads::Word(WordInput::Currency);
    let mut ordered: Vec<&(&'static Input, Given)> = values.iter().collect();
    let place = |input: &Input| INPUTS.iter().position(|known| known.name == input.name);
    ordered.sort_by_key(|(input, _)| (first(input), place(input)));
    for (input, value) in ordered {
        let is_set = match (input.reads, value) {
            (Reads::Flag(flag), Given::Flag(value)) => set_flag(request, flag, *value),
            (Reads::Number(number), Given::Number(value)) => set_number(request, number, *value),
            (Reads::Word(word), Given::Word(value)) => set_word(request, word, value),
            (Reads::Clock(_), _) => Err(NotGiven { advice: "it follows from `at`: remove it" }),
            (Reads::Metadata(_), _) => {
                Err(NotGiven { advice: "it follows from its entries: write one, with its key" })
            }
            (Reads::Flag(_) | Reads::Number(_) | Reads::Word(_), _) => Err(WRONG),
        };
        is_set.map_err(|cause| (*input, cause))?;
    }
    if request.card_presence.is_none()
        && let Some(method) = &request.details.method
    {
        request.card_presence = CardPresence::of_method(method.as_str());
    }
    Ok(())
}

const WRONG: NotGiven = NotGiven { advice: "give it a value of its kind; docs/policy.md lists the inputs" };

fn set_flag(request: &mut AuthorizationRequest, flag: Flag, value: bool) -> Result<(), NotGiven> {
    match flag {
        Flag::Present => {
            let presence = if value { CardPresence::Present } else { CardPresence::NotPresent };
            request.card_presence = Some(presence);
        }
        Flag::IsIncrement => request.history_entries = request.history_entries.max(u32::from(value)),
        Flag::AmountControllable => request.is_amount_controllable = value,
        Flag::VerifiedByChallenge => request.verified_by_fraud_challenge = value,
        Flag::Livemode => request.livemode = value,
        Flag::Tokenized => request.details.tokenized = value,
        Flag::IsAbroad => {
            return Err(NotGiven { advice: "it follows from `merchant.country`: remove it" });
        }
        Flag::IsForeignCurrency => {
            return Err(NotGiven { advice: "it follows from `merchant_currency`: remove it" });
        }
    }
    Ok(())
}

fn set_number(request: &mut AuthorizationRequest, input: NumberInput, value: i64) -> Result<(), NotGiven> {
    let asked = request.asked.map_err(|_| WRONG)?;
    let details = &mut request.details;
    match input {
        NumberInput::Amount => request.asked = Ok(Money::new(value, asked.currency)),
        NumberInput::Total => request.approved_before = value.saturating_sub(asked.amount),
        NumberInput::Cash => request.cashback = value,
        NumberInput::AtmFee => details.atm_fee = value,
        NumberInput::Hold => request.told.hold_amount = value,
        NumberInput::MerchantAmount => {
            let currency = details.merchant_amount.unwrap_or(asked).currency;
            details.merchant_amount = Some(Money::new(value, currency));
        }
        NumberInput::Mcc => {
            let code = u16::try_from(value).ok().filter(|code| (1..10_000).contains(code)).ok_or(WRONG)?;
            if request.merchant.category == Category::Missing {
                request.merchant.category = Category::of(None, Some(&format!("{code:04}")));
            }
            details.mcc = Some(code);
        }
        NumberInput::FraudScore => details.risk.fraud_score = Some(value),
        NumberInput::NetworkRisk => details.risk.network = Some(u8::try_from(value).map_err(|_| WRONG)?),
        NumberInput::CardAge => {
            let born = request.received_at.as_seconds().saturating_sub(value).div_euclid(SECONDS_A_DAY);
            details.card.created_day = Some(u32::try_from(born).map_err(|_| WRONG)?);
        }
    }
    Ok(())
}

const SECONDS_A_DAY: i64 = 86_400;

fn set_word(request: &mut AuthorizationRequest, input: WordInput, value: &str) -> Result<(), NotGiven> {
    let asked = request.asked.map_err(|_| WRONG)?;
    let details = &mut request.details;
    match input {
        WordInput::Currency => {
            request.asked = Ok(Money::new(asked.amount, value.parse().map_err(|_| WRONG)?));
        }
        WordInput::MerchantCurrency => {
            let amount = details.merchant_amount.unwrap_or(asked).amount;
            details.merchant_amount = Some(Money::new(amount, value.parse().map_err(|_| WRONG)?));
        }
        WordInput::Category => request.merchant.category = Category::of(Some(value), None),
        WordInput::MerchantCountry => request.merchant.country = Some(Country::new(value).ok_or(WRONG)?),
        WordInput::MerchantId => request.merchant.network_id = Some(NetworkId::new(value).ok_or(WRONG)?),
        WordInput::HomeCountry => {
            return Err(NotGiven { advice: "it follows from the policy: remove it" });
        }
        WordInput::Group => request.group = Some(value.into()),
        WordInput::Account => {
            request.connected_account = Some(ConnectedAccountId::new(value).ok_or(WRONG)?);
        }
        WordInput::CardholderId => request.cardholder = Some(CardholderId::new(value).ok_or(WRONG)?),
        WordInput::MerchantState => details.merchant.state = Some(value.into()),
        WordInput::MerchantPostal => details.merchant.postal_prefix = Some(value.into()),
        WordInput::MerchantName => details.merchant.name = Some(value.into()),
        WordInput::Payfac => details.merchant.payment_facilitator = Some(value.into()),
        WordInput::SubMerchant => details.merchant.sub_merchant = Some(value.into()),
        WordInput::Counterparty => details.merchant.counterparty = Some(value.into()),
        WordInput::Industry => details.merchant.industry = Some(value.into()),
        WordInput::Method => details.method = Some(Method::new(value).ok_or(WRONG)?),
        WordInput::Wallet => details.wallet = Some(Wallet::new(value).ok_or(WRONG)?),
        WordInput::Cvc => details.checks.cvc = Check::new(value),
        WordInput::Expiry => details.checks.expiry = Check::new(value),
        WordInput::AddressLine1 => details.checks.address_line1 = Check::new(value),
        WordInput::AddressPostal => details.checks.address_postal = Check::new(value),
        WordInput::ThreeDs => details.three_ds = Some(ThreeDs::new(value).ok_or(WRONG)?),
        WordInput::Exemption => details.exemption = Some(Exemption::new(value).ok_or(WRONG)?),
        WordInput::FraudLevel => details.risk.fraud = Some(RiskLevel::new(value).ok_or(WRONG)?),
        WordInput::CardTestingLevel => details.risk.card_testing = Some(RiskLevel::new(value).ok_or(WRONG)?),
        WordInput::MerchantDisputeLevel => {
            details.risk.merchant_dispute = Some(RiskLevel::new(value).ok_or(WRONG)?);
        }
        WordInput::CardType => details.card.card_type = Some(CardType::new(value).ok_or(WRONG)?),
        WordInput::CardFraudWarning => {
            details.card.fraud_warning = Some(FraudWarning::new(value).ok_or(WRONG)?);
        }
        WordInput::CardProgram => details.card.program = Some(value.into()),
        WordInput::CardholderType => {
            details.cardholder_type = Some(CardholderType::new(value).ok_or(WRONG)?);
        }
    }
    Ok(())
}

/// The values of a request that a blank one does not have, in the order of the reference. [`set`] makes the same request
/// of them, as far as rules and limits look at it.
#[must_use]
pub fn given(request: &AuthorizationRequest) -> Vec<(&'static Input, Given)> {
    let Ok(asked) = request.asked else { return Vec::new() };
    let card = Card::default();
    let Some(mut plain) = blank(asked.currency, request.received_at) else { return Vec::new() };
    plain.asked = Ok(asked);
    let facts = Facts::new(&card, request, asked, request.received_at);
    let usual = Facts { request: &plain, ..facts };
    let value = |facts: &Facts<'_>, reads: Reads| -> Option<Given> {
        match reads {
            Reads::Flag(flag) => facts.has(reads).then(|| Given::Flag(facts.flag(flag))),
            Reads::Number(number) => facts.number(number).map(Given::Number),
            Reads::Word(word) => facts.word(word).map(|word| Given::Word(word.into())),
            Reads::Clock(_) | Reads::Metadata(_) => None,
        }
    };
    let is_always = |reads: Reads| {
        [Reads::Number(NumberInput::Amount), Reads::Word(WordInput::Currency)].contains(&reads)
    };
    let follows = |reads: Reads| {
        let is_usual_code = reads == Reads::Number(NumberInput::Mcc) && request.details.mcc.is_none();
        is_usual_code || reads == Reads::Flag(Flag::IsForeignCurrency)
    };
    INPUTS
        .iter()
        .filter(|input| !follows(input.reads))
        .filter_map(|input| {
            let found = value(&facts, input.reads)?;
            let is_shown = is_always(input.reads) || value(&usual, input.reads).as_ref() != Some(&found);
            is_shown.then_some((input, found))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

    use super::*;
    use crate::domain::rule::Kind;

    /// A value that is not the usual one.
    fn example(input: &Input) -> Given {
        match input.kind {
            Kind::Flag => Given::Flag(input.name != "livemode"),
            Kind::Money(_) | Kind::Number => Given::Number(42),
            Kind::Duration => Given::Number(3 * SECONDS_A_DAY),
            Kind::Date => Given::Number(20_260_101),
            Kind::Text => Given::Word("text".into()),
            Kind::Category => Given::Word("bakeries".into()),
            Kind::Country => Given::Word("GB".into()),
            Kind::Currency => Given::Word("eur".into()),
            Kind::MerchantId => Given::Word("001".into()),
            Kind::OneOf(words) | Kind::StripeWord(words) => {
                Given::Word(words.first().copied().unwrap().into())
            }
        }
    }

    #[test]
    fn every_input_is_set_and_read_back_or_says_what_it_follows_from() {
        let at = Timestamp::parse("2026-01-15T00:00:00Z").unwrap();
        let mut derived = Vec::new();
        for input in &INPUTS {
            let mut request = blank(Currency::USD, at).unwrap();
            let value = example(input);
            match set(&mut request, &[(input, value.clone())]) {
                Ok(()) => {
                    let read = given(&request);
                    let found = read.iter().find(|(known, _)| known.name == input.name);
                    assert_eq!(found.map(|(_, value)| value), Some(&value), "{}", input.name);
                    let mut again = blank(Currency::USD, at).unwrap();
                    set(&mut again, &read).unwrap();
                    assert_eq!(again, request, "{}", input.name);
                }
                Err((_, NotGiven { advice })) => {
                    assert!(advice.starts_with("it follows from"), "{}: {advice}", input.name);
                    derived.push(input.name);
                }
            }
        }
        assert_eq!(
            derived,
            [
                "is_foreign_currency",
                "is_abroad",
                "home_country",
                "card.metadata.KEY",
                "cardholder.metadata.KEY",
                "hour",
                "weekday",
                "date"
            ]
        );
    }
}
