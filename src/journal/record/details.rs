//! The inputs of a request beyond its money, on disk: one object in which whatever is usual is left out.

use serde::Deserialize;
use smol_str::SmolStr;

use super::{Borrowed, Unreadable, decided::number_unless_zero, object::Object, optional};
use crate::domain::{
    CardDetails, CardType, CardholderType, Check, Checks, Details, Exemption, FraudWarning, MerchantDetails,
    Method, Money, Risk, RiskLevel, ThreeDs, Wallet,
    rule::{MetadataKey, Owner},
};

#[derive(Deserialize, Default)]
pub(super) struct DetailsRecord<'a> {
    /// Absent where it is the amount of the request.
    #[serde(default)]
    merchant_amount: Option<i64>,
    #[serde(borrow, default)]
    merchant_currency: Option<Borrowed<'a>>,
    #[serde(default)]
    atm_fee: i64,
    #[serde(default)]
    mcc: Option<u16>,
    #[serde(borrow, default)]
    state: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    postal: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    payfac: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    sub_merchant: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    counterparty: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    industry: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    name: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    method: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    wallet: Option<Borrowed<'a>>,
    #[serde(default)]
    token: bool,
    /// Card verification code, expiry, first address line, postal code: `m`atch, `x` for mismatch, `-` for not provided.
    /// Absent where nothing was provided.
    #[serde(borrow, default)]
    checks: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    three_ds: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    exemption: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    fraud: Option<Borrowed<'a>>,
    /// Hundredths.
    #[serde(default)]
    fraud_score: Option<i64>,
    #[serde(borrow, default)]
    card_testing: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    merchant_dispute: Option<Borrowed<'a>>,
    #[serde(default)]
    network_risk: Option<u8>,
    /// Days since 1970.
    #[serde(default)]
    card_day: Option<u32>,
    #[serde(borrow, default)]
    card_type: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    warning: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    program: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    cardholder_type: Option<Borrowed<'a>>,
    /// Entries of the card's metadata that rules name.
    #[serde(borrow, default)]
    card_metadata: Vec<(Borrowed<'a>, Borrowed<'a>)>,
    #[serde(borrow, default)]
    cardholder_metadata: Vec<(Borrowed<'a>, Borrowed<'a>)>,
    /// Sixteen hexadecimal digits, as `body`.
    #[serde(borrow, default)]
    controls: Option<Borrowed<'a>>,
    #[serde(borrow, default)]
    body: Option<Borrowed<'a>>,
}

/// Writes the details of a request, as [`DetailsRecord`] reads them.
pub(super) fn write(record: &mut Object<'_>, details: &Details) {
    let Details {
        merchant_amount,
        atm_fee,
        mcc,
        merchant,
        method,
        wallet,
        tokenized,
        checks,
        three_ds,
        exemption,
        risk,
        card,
        cardholder_type,
        metadata,
        controls,
        body_hash,
    } = details;
    if let Some(local) = merchant_amount {
        record.number("merchant_amount", local.amount);
        record.word("merchant_currency", local.currency.as_str());
    }
    number_unless_zero(record, "atm_fee", *atm_fee);
    optional_number(record, "mcc", mcc.map(i64::from));
    let MerchantDetails {
        state,
        postal_prefix,
        payment_facilitator,
        sub_merchant,
        counterparty,
        industry,
        name,
    } = merchant;
    for (key, text) in [
        ("state", state),
        ("postal", postal_prefix),
        ("payfac", payment_facilitator),
        ("sub_merchant", sub_merchant),
        ("counterparty", counterparty),
        ("industry", industry),
        ("name", name),
        ("program", &card.program),
    ] {
        if let Some(text) = text {
            record.text(key, text);
        }
    }
    word(record, "method", method.as_ref().map(Method::as_str));
    word(record, "wallet", wallet.as_ref().map(Wallet::as_str));
    record.flag("token", *tokenized);
    write_checks(record, *checks);
    word(record, "three_ds", three_ds.as_ref().map(ThreeDs::as_str));
    word(record, "exemption", exemption.as_ref().map(Exemption::as_str));
    word(record, "fraud", risk.fraud.as_ref().map(RiskLevel::as_str));
    optional_number(record, "fraud_score", risk.fraud_score);
    word(record, "card_testing", risk.card_testing.as_ref().map(RiskLevel::as_str));
    word(record, "merchant_dispute", risk.merchant_dispute.as_ref().map(RiskLevel::as_str));
    optional_number(record, "network_risk", risk.network.map(i64::from));
    optional_number(record, "card_day", card.created_day.map(i64::from));
    word(record, "card_type", card.card_type.as_ref().map(CardType::as_str));
    word(record, "warning", card.fraud_warning.as_ref().map(FraudWarning::as_str));
    word(record, "cardholder_type", cardholder_type.as_ref().map(CardholderType::as_str));
    for (key, owner) in [("card_metadata", Owner::Card), ("cardholder_metadata", Owner::Cardholder)] {
        let entries: Vec<(&str, &str)> = metadata
            .iter()
            .filter(|(known, _)| known.owner == owner)
            .map(|(known, value)| (known.key.as_str(), value.as_str()))
            .collect();
        if !entries.is_empty() {
            record.serialized(key, &entries);
        }
    }
    if let Some(controls) = controls {
        record.shown("controls", format_args!("{controls:016x}"));
    }
    record.shown("body", format_args!("{body_hash:016x}"));
}

fn write_checks(record: &mut Object<'_>, checks: Checks) {
    if checks == Checks::default() {
        return;
    }
    let Checks { cvc, expiry, address_line1, address_postal } = checks;
    let letters = [cvc, expiry, address_line1, address_postal].map(|check| match check {
        Check::Match => b'm',
        Check::Mismatch => b'x',
        Check::NotProvided => b'-',
    });
    record.word("checks", str::from_utf8(&letters).unwrap_or_default());
}

/// A field with one of Stripe's words, which need no escapes.
fn word(record: &mut Object<'_>, key: &'static str, word: Option<&str>) {
    if let Some(word) = word {
        record.word(key, word);
    }
}

fn optional_number(record: &mut Object<'_>, key: &'static str, number: Option<i64>) {
    if let Some(number) = number {
        record.number(key, number);
    }
}

impl DetailsRecord<'_> {
    pub(super) fn into_details(self) -> Result<Details, Unreadable> {
        let currency =
            optional("merchant_currency", self.merchant_currency.as_ref(), |text| text.parse().ok())?;
        let text = |text: Option<Borrowed<'_>>| text.map(|text| text.as_ref().into());
        let level = |field, text: Option<&Borrowed<'_>>| optional(field, text, RiskLevel::new);
        let hash = |field, text: Option<&Borrowed<'_>>| {
            optional(field, text, |text| u64::from_str_radix(text, 16).ok())
        };
        let body = hash("body", self.body.as_ref())?;
        Ok(Details {
            merchant_amount: self
                .merchant_amount
                .zip(currency)
                .map(|(amount, currency)| Money::new(amount, currency)),
            atm_fee: self.atm_fee,
            mcc: self.mcc,
            method: optional("method", self.method.as_ref(), Method::new)?,
            wallet: optional("wallet", self.wallet.as_ref(), Wallet::new)?,
            tokenized: self.token,
            checks: optional("checks", self.checks.as_ref(), checks)?.unwrap_or_default(),
            three_ds: optional("three_ds", self.three_ds.as_ref(), ThreeDs::new)?,
            exemption: optional("exemption", self.exemption.as_ref(), Exemption::new)?,
            risk: Risk {
                fraud: level("fraud", self.fraud.as_ref())?,
                fraud_score: self.fraud_score,
                card_testing: level("card_testing", self.card_testing.as_ref())?,
                merchant_dispute: level("merchant_dispute", self.merchant_dispute.as_ref())?,
                network: self.network_risk,
            },
            card: CardDetails {
                created_day: self.card_day,
                card_type: optional("card_type", self.card_type.as_ref(), CardType::new)?,
                fraud_warning: optional("warning", self.warning.as_ref(), FraudWarning::new)?,
                program: text(self.program),
            },
            cardholder_type: optional("cardholder_type", self.cardholder_type.as_ref(), CardholderType::new)?,
            merchant: MerchantDetails {
                state: text(self.state),
                postal_prefix: text(self.postal),
                payment_facilitator: text(self.payfac),
                sub_merchant: text(self.sub_merchant),
                counterparty: text(self.counterparty),
                industry: text(self.industry),
                name: text(self.name),
            },
            metadata: entries(Owner::Card, self.card_metadata)
                .chain(entries(Owner::Cardholder, self.cardholder_metadata))
                .collect(),
            controls: hash("controls", self.controls.as_ref())?,
            body_hash: body.unwrap_or_default(),
        })
    }
}

fn entries(
    owner: Owner,
    entries: Vec<(Borrowed<'_>, Borrowed<'_>)>,
) -> impl Iterator<Item = (MetadataKey, SmolStr)> {
    entries
        .into_iter()
        .map(move |(key, value)| (MetadataKey { owner, key: key.as_ref().into() }, value.as_ref().into()))
}

/// Reads what [`write_checks`] wrote.
fn checks(text: &str) -> Option<Checks> {
    let check = |letter: u8| match letter {
        b'm' => Some(Check::Match),
        b'x' => Some(Check::Mismatch),
        b'-' => Some(Check::NotProvided),
        _ => None,
    };
    let [cvc, expiry, address_line1, address_postal] = text.as_bytes() else { return None };
    Some(Checks {
        cvc: check(*cvc)?,
        expiry: check(*expiry)?,
        address_line1: check(*address_line1)?,
        address_postal: check(*address_postal)?,
    })
}
