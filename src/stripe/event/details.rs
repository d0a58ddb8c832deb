//! The inputs of a request beyond its money, as far as the journal keeps them. Of an address only the state and the first
//! three characters of the postal code are read.

use smol_str::SmolStr;

use super::{
    MerchantNames, Reading,
    card::Card,
    envelope::Envelope,
    tape::{Value, fields},
};
use crate::domain::{
    CardDetails, CardType, CardholderType, Category, Check, Checks, Currency, Details, Exemption,
    FraudWarning, ID_BYTES_MAX, MerchantDetails, Method, Money, Risk, RiskLevel, ThreeDs, Wallet,
    rule::{MetadataKey, MetadataKeys, Owner},
};

/// The longest state that is kept, in bytes: ISO 3166-2 has up to three characters, merchants write more.
const STATE_BYTES_MAX: usize = 16;

/// How much of a postal code is kept, in bytes: a region, and not a street.
const POSTAL_PREFIX_BYTES: usize = 3;

/// The longest merchant name that is kept, in characters.
const NAME_CHARACTERS_MAX: usize = 100;

/// The longest value of a metadata entry at Stripe, in characters.
const METADATA_CHARACTERS_MAX: usize = 500;

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// The values of an authorization that [`read`] looks into.
pub(super) struct Parts<'a> {
    pub(super) authorization_method: Value<'a>,
    pub(super) enriched_merchant_data: Value<'a>,
    pub(super) merchant_data: Value<'a>,
    pub(super) pending_request: Value<'a>,
    pub(super) risk_assessment: Value<'a>,
    pub(super) token: Value<'a>,
    pub(super) verification_data: Value<'a>,
    pub(super) wallet: Value<'a>,
}

/// Reads the inputs of a request for `asked`, the amount that Stripe would hold.
pub(super) fn read(
    parts: &Parts<'_>,
    card: &Card<'_>,
    asked: Option<Money>,
    envelope: &Envelope<'_>,
    reading: &Reading,
) -> Details {
    fields!(parts.pending_request;
        "amount_details" => amount_details,
        "merchant_amount" => merchant_amount,
        "merchant_currency" => merchant_currency,
        "network_risk_score" => network_risk_score,
    );
    fields!(amount_details; "atm_fee" => atm_fee);
    fields!(parts.merchant_data; "category" => category, "category_code" => category_code);
    fields!(parts.verification_data;
        "address_line1_check" => address_line1_check,
        "address_postal_code_check" => address_postal_code_check,
        "authentication_exemption" => authentication_exemption,
        "cvc_check" => cvc_check,
        "expiry_check" => expiry_check,
        "three_d_secure" => three_d_secure,
    );
    fields!(authentication_exemption; "type" => exemption);
    fields!(three_d_secure; "result" => three_ds);
    let currency = merchant_currency.text().and_then(|text| text.parse::<Currency>().ok());
    let local = merchant_amount.whole().filter(|amount| *amount >= 0).zip(currency);
    let check = |value: Value<'_>| value.text().map_or(Check::NotProvided, Check::new);
    Details {
        merchant_amount: local
            .map(|(amount, currency)| Money::new(amount, currency))
            .filter(|local| Some(*local) != asked),
        atm_fee: atm_fee.whole().unwrap_or(0).max(0),
        mcc: unusual_mcc(category.text(), category_code.text()),
        merchant: merchant(parts, reading.merchant_names.are_read(envelope.livemode)),
        method: parts.authorization_method.text().and_then(Method::new),
        wallet: parts.wallet.text().and_then(Wallet::new),
        tokenized: !parts.token.is_null(),
        checks: Checks {
            cvc: check(cvc_check),
            expiry: check(expiry_check),
            address_line1: check(address_line1_check),
            address_postal: check(address_postal_code_check),
        },
        three_ds: three_ds.text().and_then(ThreeDs::new),
        exemption: exemption.text().and_then(Exemption::new),
        risk: risk(parts.risk_assessment, network_risk_score),
        card: card_details(card),
        cardholder_type: card.cardholder_type.text().and_then(CardholderType::new),
        metadata: metadata(card, &reading.metadata),
        controls: None,
        body_hash: 0,
    }
}

/// The entries of metadata that are named, cut to what Stripe allows.
pub(super) fn metadata(card: &Card<'_>, keys: &MetadataKeys) -> Vec<(MetadataKey, SmolStr)> {
    let value = |named: &MetadataKey| {
        let mut entries = match named.owner {
            Owner::Card => card.metadata.fields(),
            Owner::Cardholder => card.cardholder_metadata.fields(),
        };
        let (_, value) = entries.find(|(name, _)| *name == named.key.as_str())?;
        let text: SmolStr = value.text()?.chars().take(METADATA_CHARACTERS_MAX).collect();
        Some((named.clone(), text))
    };
    keys.iter().filter_map(value).collect()
}

/// The merchant category code, where it is not the usual one of the category.
fn unusual_mcc(category: Option<&str>, code: Option<&str>) -> Option<u16> {
    let code = code.filter(|code| code.len() == 4)?;
    let usual = Category::of(category, Some(code)).usual_code();
    if usual == Some(code) { None } else { code.parse().ok() }
}

fn merchant(parts: &Parts<'_>, is_name_read: bool) -> MerchantDetails {
    fields!(parts.merchant_data;
        "name" => name,
        "payment_facilitator_id" => payment_facilitator,
        "postal_code" => postal_code,
        "state" => state,
        "sub_merchant_id" => sub_merchant,
    );
    fields!(parts.enriched_merchant_data; "merchant" => enriched);
    fields!(enriched; "id" => counterparty, "industry" => industry);
    fields!(industry; "id" => industry_id);
    let is_region = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ');
    let prefix = |text: &str| text.trim_start().get(..POSTAL_PREFIX_BYTES).map(str::to_ascii_uppercase);
    let state = state.text().map(str::trim).filter(|text| !text.is_empty() && text.len() <= STATE_BYTES_MAX);
    MerchantDetails {
        state: state.filter(is_region).map(|text| text.to_ascii_uppercase().into()),
        postal_prefix: postal_code
            .text()
            .and_then(prefix)
            .filter(|prefix| is_region(&&**prefix))
            .map(SmolStr::from),
        payment_facilitator: id(payment_facilitator),
        sub_merchant: id(sub_merchant),
        counterparty: id(counterparty),
        industry: id(industry_id),
        name: name.text().filter(|_| is_name_read).and_then(normalized),
    }
}

/// A name in lower case with single spaces.
fn normalized(name: &str) -> Option<SmolStr> {
    let mut text = String::with_capacity(name.len());
    for word in name.split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(word.chars().flat_map(char::to_lowercase));
    }
    let cut: SmolStr = text.chars().take(NAME_CHARACTERS_MAX).collect();
    (!cut.is_empty()).then_some(cut)
}

fn risk(assessment: Value<'_>, network: Value<'_>) -> Risk {
    fields!(assessment;
        "card_testing_risk" => card_testing,
        "fraud_risk" => fraud,
        "merchant_dispute_risk" => merchant_dispute,
    );
    fields!(fraud; "level" => fraud_level, "score" => score);
    fields!(card_testing; "level" => card_testing_level);
    fields!(merchant_dispute; "level" => merchant_dispute_level);
    let level = |value: Value<'_>| value.text().and_then(RiskLevel::new);
    Risk {
        fraud: level(fraud_level),
        fraud_score: score.hundredths(),
        card_testing: level(card_testing_level),
        merchant_dispute: level(merchant_dispute_level),
        network: network.whole().and_then(|score| u8::try_from(score).ok()),
    }
}

fn card_details(card: &Card<'_>) -> CardDetails {
    fields!(card.latest_fraud_warning; "type" => fraud_warning);
    let day = |seconds: i64| u32::try_from(seconds.div_euclid(DAY_SECONDS)).ok();
    CardDetails {
        created_day: card.created.whole().and_then(day),
        card_type: card.kind.text().and_then(CardType::new),
        fraud_warning: fraud_warning.text().and_then(FraudWarning::new),
        program: id(card.program),
    }
}

/// An id of the network's or Stripe's, as it came or within an object.
fn id(value: Value<'_>) -> Option<SmolStr> {
    let is_id = |text: &&str| {
        !text.is_empty() && text.len() <= ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    super::card::id_text(value).filter(is_id).map(SmolStr::from)
}

impl MerchantNames {
    const fn are_read(self, livemode: bool) -> bool {
        match self {
            Self::TestMode => !livemode,
            Self::Always => true,
            Self::Never => false,
        }
    }
}
