//! What a condition may look at: the shape of an input. The inputs themselves are a table of their own.

use std::{collections::BTreeSet, fmt, sync::Arc};

use smol_str::SmolStr;

/// One input of a condition, as the policy names it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Input {
    /// The name in a condition.
    pub name: &'static str,
    /// Where its value comes from.
    pub reads: Reads,
    /// What it may be compared with.
    pub kind: Kind,
    /// Whether there is always a value.
    pub presence: Presence,
    /// What it is, for the reference.
    pub meaning: &'static str,
    /// A condition that uses it.
    pub example: &'static str,
}

/// Where the value of an input comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// Yes or no.
    Flag(Flag),
    /// A whole number.
    Number(NumberInput),
    /// A word.
    Word(WordInput),
    /// The time of the decision, in a time zone.
    Clock(ClockPart),
    /// An entry of metadata, whose key follows the name.
    Metadata(Owner),
}

/// What an input may be compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Yes or no: a condition by itself.
    Flag,
    /// Minor units of a currency.
    Money(Denomination),
    /// A whole number.
    Number,
    /// A span of time.
    Duration,
    /// A day of the calendar.
    Date,
    /// Any text.
    Text,
    /// A merchant category of Stripe's.
    Category,
    /// ISO 3166-1 alpha-2.
    Country,
    /// ISO 4217, lower case.
    Currency,
    /// A merchant's id at the card network.
    MerchantId,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words of Stripe's, or another that it has added since.
    StripeWord(&'static [&'static str]),
}

/// The currency that an amount is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denomination {
    /// That of the request.
    Request,
    /// The merchant's own.
    Merchant,
}

/// Whether an input has a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Always.
    Always,
    /// Not always; one without a value equals nothing, so that it can be compared all the same.
    MayBeUnknown,
    /// Not always, and it is used only where `has(…)` holds.
    Optional,
}

/// Inputs that are a condition by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flag {
    /// The card was at the terminal.
    Present,
    /// More is asked on an authorization that was answered before.
    IsIncrement,
    /// The reply may approve another amount.
    AmountControllable,
    /// The cardholder has confirmed a declined attempt by text message.
    VerifiedByChallenge,
    /// Real money moves.
    Livemode,
    /// The merchant asks in another currency than that of the request.
    IsForeignCurrency,
    /// A network token was used.
    Tokenized,
    /// The merchant is in another country than the home of the policy.
    IsAbroad,
}

/// Whose metadata.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Owner {
    /// The card's.
    Card,
    /// The cardholder's.
    Cardholder,
}

impl Owner {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Card, Self::Cardholder];

    /// What an input that reads it begins with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Card => "card.metadata.",
            Self::Cardholder => "cardholder.metadata.",
        }
    }
}

/// The key of an entry of metadata.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MetadataKey {
    /// Whose.
    pub owner: Owner,
    /// The key.
    pub key: SmolStr,
}

impl MetadataKey {
    /// Reads `card.metadata.tier`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let of = |owner: Owner| name.strip_prefix(owner.prefix()).map(|key| (owner, key));
        let (owner, key) = Owner::ALL.into_iter().find_map(of).filter(|(_, key)| !key.is_empty())?;
        Some(Self { owner, key: key.into() })
    }
}

/// `card.metadata["tier"]`; with a key that is a name, `card.metadata.tier`.
impl fmt::Display for MetadataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, key } = self;
        let is_name = key.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
            && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if is_name {
            return write!(f, "{}{key}", owner.prefix());
        }
        write!(f, "{}[{key:?}]", owner.prefix().trim_end_matches('.'))
    }
}

/// The entries of metadata that a policy looks at: no others are read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetadataKeys(Option<Arc<[MetadataKey]>>);

impl MetadataKeys {
    /// These keys.
    #[must_use]
    pub fn of<'a>(keys: impl Iterator<Item = &'a MetadataKey>) -> Self {
        let keys: BTreeSet<&MetadataKey> = keys.collect();
        Self((!keys.is_empty()).then(|| keys.into_iter().cloned().collect()))
    }

    /// Each key, in order.
    pub fn iter(&self) -> impl Iterator<Item = &MetadataKey> {
        self.0.iter().flat_map(|keys| keys.iter())
    }
}

/// Inputs that are whole numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberInput {
    /// What the request asks for.
    Amount,
    /// That and what was approved before on the same authorization.
    Total,
    /// The part that is paid out in cash.
    Cash,
    /// The fee of the cash machine.
    AtmFee,
    /// What Stripe will hold.
    Hold,
    /// What the merchant asks for, in its own currency.
    MerchantAmount,
    /// The merchant category code.
    Mcc,
    /// Stripe's score of the risk of fraud.
    FraudScore,
    /// The network's score of risk.
    NetworkRisk,
    /// Seconds since the day on which the card was created.
    CardAge,
}

/// Inputs that are words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WordInput {
    /// The currency of the request.
    Currency,
    /// The merchant's category.
    Category,
    /// The merchant's country.
    MerchantCountry,
    /// The merchant's id at the card network.
    MerchantId,
    /// The group that the card is in.
    Group,
    /// The connected account of the card.
    Account,
    /// The home of the policy.
    HomeCountry,
    /// The currency that the merchant asks in.
    MerchantCurrency,
    /// The merchant's state.
    MerchantState,
    /// The beginning of the merchant's postal code.
    MerchantPostal,
    /// The merchant's name.
    MerchantName,
    /// The payment facilitator.
    Payfac,
    /// The merchant behind a payment facilitator.
    SubMerchant,
    /// The merchant as Stripe knows it.
    Counterparty,
    /// The merchant's industry.
    Industry,
    /// How the card was presented.
    Method,
    /// The wallet.
    Wallet,
    /// The check of the verification code.
    Cvc,
    /// The check of the expiry date.
    Expiry,
    /// The check of the address.
    AddressLine1,
    /// The check of the postal code.
    AddressPostal,
    /// The outcome of 3D Secure.
    ThreeDs,
    /// The exemption that was claimed.
    Exemption,
    /// Stripe's level of the risk of fraud.
    FraudLevel,
    /// Stripe's level of the risk of card testing.
    CardTestingLevel,
    /// Stripe's level of the risk of disputes.
    MerchantDisputeLevel,
    /// Virtual or physical.
    CardType,
    /// The newest fraud warning.
    CardFraudWarning,
    /// The card program.
    CardProgram,
    /// The cardholder.
    CardholderId,
    /// A person or a company.
    CardholderType,
}

/// Parts of the time of a decision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ClockPart {
    /// 0 to 23.
    Hour,
    /// `monday` to `sunday`.
    Weekday,
    /// The day of the calendar.
    Date,
}

/// The days of a week, from Monday.
pub const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
