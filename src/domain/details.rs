//! What a request says beyond its money: how the card was used, what was checked, what others think of the risk, and
//! facts of the merchant, the card and the cardholder. Rules look at it, and the journal keeps it, so that a request
//! can be decided again later. The money itself is in `request`.

use smol_str::SmolStr;

use super::{money::Money, rule::MetadataKey};

/// The inputs of one request. Everything that Stripe may leave out is an `Option`; a word that Stripe added later is
/// kept as it came.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Details {
    /// What the merchant asks for, in the merchant's currency (`pending_request.merchant_amount`), where that is not the
    /// amount of the request.
    pub merchant_amount: Option<Money>,
    /// The operator's fee at a cash machine, in minor units (`amount_details.atm_fee`); part of the amount.
    pub atm_fee: i64,
    /// The four-digit merchant category code, where it is not the usual code of the category.
    pub mcc: Option<u16>,
    /// The merchant, beyond its category, country and network id.
    pub merchant: MerchantDetails,
    /// How the card was presented (`authorization_method`).
    pub method: Option<Method>,
    /// The wallet that the card was used from (`wallet`).
    pub wallet: Option<Wallet>,
    /// A network token was used in place of the card's number (`token`).
    pub tokenized: bool,
    /// What Stripe compared (`verification_data`).
    pub checks: Checks,
    /// The outcome of 3D Secure (`verification_data.three_d_secure.result`).
    pub three_ds: Option<ThreeDs>,
    /// The exemption from strong authentication that was claimed (`verification_data.authentication_exemption.type`).
    pub exemption: Option<Exemption>,
    /// How likely fraud is, in the opinion of others.
    pub risk: Risk,
    /// The card.
    pub card: CardDetails,
    /// The entries of metadata that the policy in force named when the request was read.
    pub metadata: Vec<(MetadataKey, SmolStr)>,
    /// The cardholder's type (`card.cardholder.type`).
    pub cardholder_type: Option<CardholderType>,
    /// The fingerprint of the `spending_controls` at Stripe, where the policy in force mirrored them when the request was
    /// read; the controls themselves are in the chain, once for each change.
    pub controls: Option<u64>,
    /// XXH3 (64 bits) of the body as it came, to tell which body was decided on.
    pub body_hash: u64,
}

/// Facts of the merchant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MerchantDetails {
    /// `merchant_data.state`, upper case.
    pub state: Option<SmolStr>,
    /// The first three characters of `merchant_data.postal_code`, upper case.
    pub postal_prefix: Option<SmolStr>,
    /// `merchant_data.payment_facilitator_id` (preview).
    pub payment_facilitator: Option<SmolStr>,
    /// `merchant_data.sub_merchant_id` (preview).
    pub sub_merchant: Option<SmolStr>,
    /// `enriched_merchant_data.merchant.id` (preview).
    pub counterparty: Option<SmolStr>,
    /// `enriched_merchant_data.merchant.industry.id` (preview).
    pub industry: Option<SmolStr>,
    /// `merchant_data.name`, normalized: lower case, single spaces. Read only where `TOLLGATE_RECORD_MERCHANT_NAMES`
    /// lets it be recorded.
    pub name: Option<SmolStr>,
}

/// Facts of the card.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CardDetails {
    /// The day on which it was created, in days since 1970-01-01 UTC.
    pub created_day: Option<u32>,
    /// Virtual or physical.
    pub card_type: Option<CardType>,
    /// The type of the newest fraud warning (`latest_fraud_warning.type`).
    pub fraud_warning: Option<FraudWarning>,
    /// The card program that it belongs to (`program`, preview).
    pub program: Option<SmolStr>,
}

/// What Stripe compared with what it knows of the cardholder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checks {
    /// The card verification code.
    pub cvc: Check,
    /// The card's expiry date.
    pub expiry: Check,
    /// The first line of the billing address.
    pub address_line1: Check,
    /// The postal code of the billing address.
    pub address_postal: Check,
}

/// The result of one comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Check {
    /// They are the same.
    Match,
    /// They differ.
    Mismatch,
    /// The merchant did not send it, or Stripe said nothing of it.
    #[default]
    NotProvided,
}

impl Check {
    /// Reads Stripe's word; one that is not documented is [`Check::NotProvided`].
    #[must_use]
    pub fn new(text: &str) -> Self {
        match text {
            "match" => Self::Match,
            "mismatch" => Self::Mismatch,
            _ => Self::NotProvided,
        }
    }

    /// Stripe's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Mismatch => "mismatch",
            Self::NotProvided => "not_provided",
        }
    }
}

/// Assessments of risk. Stripe's are in `risk_assessment` (advanced fraud tools), the network's in
/// `pending_request.network_risk_score`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Risk {
    /// Stripe's level of fraud risk.
    pub fraud: Option<RiskLevel>,
    /// Stripe's score of fraud risk, in hundredths; above 2,500 is high.
    pub fraud_score: Option<i64>,
    /// Stripe's level of the risk that the merchant is used to test cards.
    pub card_testing: Option<RiskLevel>,
    /// Stripe's level of the risk of disputes with the merchant.
    pub merchant_dispute: Option<RiskLevel>,
    /// The network's score, 1 to 99; higher is worse.
    pub network: Option<u8>,
}

/// The longest word of Stripe's that is kept where it is not documented, in bytes.
const OTHER_BYTES_MAX: usize = 40;

/// Declares a set of Stripe's words that may grow: the documented ones, and any other that looks like a word.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A word that was not documented when this was written.
            Other(SmolStr),
        }

        impl $name {
            /// The documented words.
            pub const DOCUMENTED: &'static [&'static str] = &[$($word),+];

            /// Reads Stripe's word. What is not documented is kept if it looks like a word: up to 40 lower-case
            /// letters, digits and underscores.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$variant),)+
                    other => is_word(other).then(|| Self::Other(other.into())),
                }
            }

            /// Stripe's word for it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }
    };
}

words! {
    /// How a card was presented.
    Method {
        /// The chip was read.
        Chip = "chip",
        /// Tapped.
        Contactless = "contactless",
        /// The number was typed in by the merchant.
        KeyedIn = "keyed_in",
        /// Without the card, over the Internet.
        Online = "online",
        /// The magnetic stripe was read.
        Swipe = "swipe",
    }
}
words! {
    /// A digital wallet.
    Wallet {
        /// Apple Pay.
        ApplePay = "apple_pay",
        /// Google Pay.
        GooglePay = "google_pay",
        /// Samsung Pay.
        SamsungPay = "samsung_pay",
    }
}
words! {
    /// The outcome of 3D Secure.
    ThreeDs {
        /// The cardholder was authenticated.
        Authenticated = "authenticated",
        /// Authentication was attempted, and the attempt acknowledged.
        AttemptAcknowledged = "attempt_acknowledged",
        /// It failed.
        Failed = "failed",
        /// It was required, and did not take place.
        Required = "required",
    }
}
words! {
    /// An exemption from strong customer authentication.
    Exemption {
        /// A low amount.
        LowValue = "low_value_transaction",
        /// The acquirer's or issuer's analysis of the risk.
        RiskAnalysis = "transaction_risk_analysis",
        /// Not known.
        Unknown = "unknown",
    }
}
words! {
    /// A level of risk.
    RiskLevel {
        /// Lower than usual.
        Low = "low",
        /// Usual.
        Normal = "normal",
        /// Higher than usual.
        Elevated = "elevated",
        /// As high as it gets.
        Highest = "highest",
        /// It was not looked at.
        NotAssessed = "not_assessed",
        /// It could not be determined.
        Unknown = "unknown",
    }
}
words! {
    /// Why Stripe warns of fraud with a card.
    FraudWarning {
        /// The card was seen in card testing.
        CardTestingExposure = "card_testing_exposure",
        /// A dispute for fraud was filed.
        FraudDisputeFiled = "fraud_dispute_filed",
        /// Somebody else reported it.
        ThirdPartyReported = "third_party_reported",
        /// The user indicated fraud.
        UserIndicatedFraud = "user_indicated_fraud",
    }
}
words! {
    /// The type of a card.
    CardType {
        /// Made of plastic.
        Physical = "physical",
        /// A number only.
        Virtual = "virtual",
    }
}
words! {
    /// The type of a cardholder.
    CardholderType {
        /// A person.
        Individual = "individual",
        /// A business.
        Company = "company",
    }
}

/// Whether text looks like one of Stripe's words, and so cannot be anything personal.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= OTHER_BYTES_MAX
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_stripe_adds_is_kept_as_it_came() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Wallet::new(text).as_ref().map(Wallet::as_str), expected, "{text:?}");
        };
        check("apple_pay", Some("apple_pay"));
        check("neuro_pay_2", Some("neuro_pay_2"));
        check("Jenny Rosen", None);
        check(&"x".repeat(41), None);
        check("", None);
        assert_eq!(Wallet::new("apple_pay"), Some(Wallet::ApplePay));
    }

    #[test]
    fn every_documented_word_is_read_back() {
        for word in Method::DOCUMENTED {
            let method = Method::new(word).unwrap();
            assert_eq!(method.as_str(), *word);
            assert!(!matches!(method, Method::Other(_)));
        }
    }
}
