//! Stripe's wire and nobody else's: who sent a body, what it says, how it is answered. Stripe's words end here; what
//! leaves this room is the domain's, and only fields on the allow-list leave it: no names, mail, phone or address.

mod signature;
mod sign;
mod sample;
mod event;
mod response;
mod backfill;

pub mod api;

use std::{fmt, time::Duration};

pub use backfill::{Backfill, cardholder_of, transactions_of};
pub use event::{Incoming, Kind, Malformed, MerchantNames, Reader, Reading, Unbooked, read};
pub use response::{CONTENT_TYPE, RECEIVED_BODY, STRIPE_VERSION, decision_body};
pub use sample::{Merchant, Purchase, new_authorization_id};
pub use sign::{Body, curl, sign};
pub use signature::{
    HEADER_BYTES_MAX, SIGNATURE_HEADER, Secret, SecretSlot, SignatureError, Verifier, join_headers,
};

/// What the room is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The signing secrets, all tried: of the synchronous endpoint, of the regular one, of those that are rolled.
    pub secrets: Vec<Secret>,
    /// How far a signature's time may be from ours, in both directions.
    pub signature_tolerance: Duration,
    /// What replies name as `Stripe-Version`.
    pub api_version: ApiVersion,
    /// Whether replies carry the decision's id and reason as `metadata`.
    pub reply_metadata: bool,
    /// When names of merchants are read and recorded.
    pub merchant_names: MerchantNames,
    /// Stripe's API, where there is a key for it.
    pub api: Option<api::Settings>,
}

impl Settings {
    /// Stripe's own default tolerance.
    pub const SIGNATURE_TOLERANCE: Duration = Duration::from_mins(5);

    /// The defaults, with these secrets.
    #[must_use]
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self {
            secrets,
            signature_tolerance: Self::SIGNATURE_TOLERANCE,
            api_version: ApiVersion::default(),
            reply_metadata: true,
            merchant_names: MerchantNames::default(),
            api: None,
        }
    }

    /// Checks signatures as these settings say.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier::new(&self.secrets, self.signature_tolerance)
    }
}

/// A version of Stripe's API: `2022-08-01`, or, since 2024, with the name of its release train, `2026-07-29.dahlia`.
/// A reply without a valid one is no decision to Stripe, so that its shape is checked at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiVersion(Box<str>);

impl ApiVersion {
    /// The longest version, in bytes.
    const BYTES_MAX: usize = 40;

    /// Takes a date, with or without a train's name behind a dot.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let (date, train) = text.split_once('.').map_or((text, None), |(date, train)| (date, Some(train)));
        let day = date.parse::<jiff::civil::Date>().ok()?;
        let plain = day.to_string() == date
            && text.len() <= Self::BYTES_MAX
            && train.is_none_or(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()));
        plain.then(|| Self(text.into()))
    }

    /// The version as Stripe writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The version that Stripe's own samples of direct replies name.
impl Default for ApiVersion {
    fn default() -> Self {
        Self("2022-08-01".into())
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_version_is_a_date_and_perhaps_a_train() {
        for good in ["2022-08-01", "2026-07-29.dahlia", ApiVersion::default().as_str()] {
            assert_eq!(ApiVersion::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "latest",
            "2022-13-01",
            "2022-8-1",
            "20220801",
            "2022-08-01.",
            "2022-08-01.Dahlia",
            "2022-08-01\r\nA: b",
        ] {
            assert_eq!(ApiVersion::new(bad), None, "{bad:?}");
        }
    }
}
