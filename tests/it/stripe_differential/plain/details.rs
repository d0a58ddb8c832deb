//! The plain reader of a request's details.

use serde_json::Value;
use tollgate::domain::{
    CardDetails, CardType, CardholderType, Category, Check, Checks, Details, Exemption, FraudWarning,
    MerchantDetails, Method, Money, Risk, RiskLevel, ThreeDs, Wallet,
};

use super::{currency, flag, number, text, whole};

pub(super) fn read(event: &Value, object: &Value, body: &[u8]) -> Details {
    let local = whole(object, "/pending_request/merchant_amount")
        .filter(|amount| *amount >= 0)
        .zip(currency(object, "/pending_request/merchant_currency"))
        .map(|(amount, currency)| Money::new(amount, currency));
    let level = |at: &str| text(object, at).and_then(RiskLevel::new);
    let check = |at: &str| match text(object, &format!("/verification_data/{at}")) {
        Some("match") => Check::Match,
        Some("mismatch") => Check::Mismatch,
        _ => Check::NotProvided,
    };
    let asked = super::asked(object).ok();
    Details {
        metadata: Vec::new(),
        merchant_amount: local.filter(|local| Some(*local) != asked),
        atm_fee: whole(object, "/pending_request/amount_details/atm_fee").unwrap_or(0).max(0),
        mcc: mcc(object),
        merchant: merchant(object, flag(event, "/livemode").unwrap_or(false)),
        method: text(object, "/authorization_method").and_then(Method::new),
        wallet: text(object, "/wallet").and_then(Wallet::new),
        tokenized: object.get("token").is_some_and(|token| !token.is_null()),
        checks: Checks {
            cvc: check("cvc_check"),
            expiry: check("expiry_check"),
            address_line1: check("address_line1_check"),
            address_postal: check("address_postal_code_check"),
        },
        three_ds: text(object, "/verification_data/three_d_secure/result").and_then(ThreeDs::new),
        exemption: text(object, "/verification_data/authentication_exemption/type").and_then(Exemption::new),
        risk: Risk {
            fraud: level("/risk_assessment/fraud_risk/level"),
            fraud_score: number(object, "/risk_assessment/fraud_risk/score")
                .map(|score| (score * 100.0).round())
                .filter(|score| score.abs() <= 1e15)
                .map(hundredths),
            card_testing: level("/risk_assessment/card_testing_risk/level"),
            merchant_dispute: level("/risk_assessment/merchant_dispute_risk/level"),
            network: whole(object, "/pending_request/network_risk_score")
                .and_then(|score| score.try_into().ok()),
        },
        card: CardDetails {
            created_day: whole(object, "/card/created").and_then(|at| at.div_euclid(86_400).try_into().ok()),
            card_type: text(object, "/card/type").and_then(CardType::new),
            fraud_warning: text(object, "/card/latest_fraud_warning/type").and_then(FraudWarning::new),
            program: id(object, "/card/program"),
        },
        cardholder_type: text(object, "/card/cardholder/type").and_then(CardholderType::new),
        controls: None,
        body_hash: twox_hash::XxHash3_64::oneshot(body),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::as_conversions, reason = "a whole number of at most 10^15")]
fn hundredths(rounded: f64) -> i64 {
    rounded as i64
}

fn mcc(object: &Value) -> Option<u16> {
    let code = text(object, "/merchant_data/category_code").filter(|code| code.len() == 4)?;
    let category = Category::of(text(object, "/merchant_data/category"), Some(code));
    if category.usual_code() == Some(code) { None } else { code.parse().ok() }
}

fn merchant(object: &Value, livemode: bool) -> MerchantDetails {
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ');
    let state = text(object, "/merchant_data/state").map(str::trim);
    let postal = text(object, "/merchant_data/postal_code").and_then(|code| code.trim_start().get(..3));
    let name = text(object, "/merchant_data/name").filter(|_| !livemode);
    let name = name.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
    let name = name.map(|name| name.chars().take(100).collect::<String>()).filter(|name| !name.is_empty());
    MerchantDetails {
        state: state
            .filter(|state| (1..=16).contains(&state.len()) && is_plain(state))
            .map(|state| state.to_uppercase().into()),
        postal_prefix: postal.filter(|prefix| is_plain(prefix)).map(|prefix| prefix.to_uppercase().into()),
        payment_facilitator: id(object, "/merchant_data/payment_facilitator_id"),
        sub_merchant: id(object, "/merchant_data/sub_merchant_id"),
        counterparty: id(object, "/enriched_merchant_data/merchant/id"),
        industry: id(object, "/enriched_merchant_data/merchant/industry/id"),
        name: name.map(Into::into),
    }
}

fn id(object: &Value, at: &str) -> Option<smol_str::SmolStr> {
    let id = text(object, at).or(text(object, &format!("{at}/id")))?;
    let is_id = (1..=255).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic());
    is_id.then(|| id.into())
}
