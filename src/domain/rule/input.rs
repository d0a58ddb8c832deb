//! What a condition may look at: every input by its name, with its kind. How it is read from a request is elsewhere.

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
    /// One of these words, or another that Stripe has added since.
    OneOf(&'static [&'static str]),
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

use Presence::{Always, MayBeUnknown};

/// Every input, in the order of the reference.
pub const INPUTS: [Input; 16] = [
    Input {
        name: "amount",
        reads: Reads::Number(NumberInput::Amount),
        kind: Kind::Money(Denomination::Request),
        presence: Always,
        meaning: "What the request asks for, in minor units of its currency. For an increment, what it adds.",
        example: "amount > 30000",
    },
    Input {
        name: "total",
        reads: Reads::Number(NumberInput::Total),
        kind: Kind::Money(Denomination::Request),
        presence: Always,
        meaning: "`amount` and what was approved before on the same authorization.",
        example: "total > 100000",
    },
    Input {
        name: "cash",
        reads: Reads::Number(NumberInput::Cash),
        kind: Kind::Money(Denomination::Request),
        presence: Always,
        meaning: "The part of the amount that is paid out in cash; 0 without cash-back.",
        example: "cash > 0",
    },
    Input {
        name: "currency",
        reads: Reads::Word(WordInput::Currency),
        kind: Kind::Currency,
        presence: Always,
        meaning: "The currency of the request.",
        example: "currency == \"usd\" && amount > 30000",
    },
    Input {
        name: "category",
        reads: Reads::Word(WordInput::Category),
        kind: Kind::Category,
        presence: MayBeUnknown,
        meaning: "The merchant's category, by Stripe's name for it.",
        example: "category in [\"betting_casino_gambling\", \"wires_money_orders\"]",
    },
    Input {
        name: "merchant.country",
        reads: Reads::Word(WordInput::MerchantCountry),
        kind: Kind::Country,
        presence: MayBeUnknown,
        meaning: "The merchant's country.",
        example: "merchant.country != \"US\"",
    },
    Input {
        name: "merchant.id",
        reads: Reads::Word(WordInput::MerchantId),
        kind: Kind::MerchantId,
        presence: MayBeUnknown,
        meaning: "The merchant's id at the card network (`merchant_data.network_id`).",
        example: "merchant.id == \"001234567890\"",
    },
    Input {
        name: "present",
        reads: Reads::Flag(Flag::Present),
        kind: Kind::Flag,
        presence: MayBeUnknown,
        meaning: "The card was at the terminal. False also where the request does not say.",
        example: "!present && amount > 50000",
    },
    Input {
        name: "is_increment",
        reads: Reads::Flag(Flag::IsIncrement),
        kind: Kind::Flag,
        presence: Always,
        meaning: "The request adds to an authorization that was answered before.",
        example: "is_increment && total > 100000",
    },
    Input {
        name: "amount_controllable",
        reads: Reads::Flag(Flag::AmountControllable),
        kind: Kind::Flag,
        presence: Always,
        meaning: "The reply may approve a smaller amount.",
        example: "!amount_controllable && amount > 50000",
    },
    Input {
        name: "verified_by_challenge",
        reads: Reads::Flag(Flag::VerifiedByChallenge),
        kind: Kind::Flag,
        presence: Always,
        meaning: "The cardholder has confirmed a declined attempt at this merchant by text message.",
        example: "amount > 30000 && !verified_by_challenge",
    },
    Input {
        name: "livemode",
        reads: Reads::Flag(Flag::Livemode),
        kind: Kind::Flag,
        presence: Always,
        meaning: "Real money moves: the request is not a test.",
        example: "!livemode",
    },
    Input {
        name: "group",
        reads: Reads::Word(WordInput::Group),
        kind: Kind::Text,
        presence: MayBeUnknown,
        meaning: "The group that the card is in: `tollgate_group` of the metadata of the card or of its cardholder.",
        example: "group == \"travel\"",
    },
    Input {
        name: "hour",
        reads: Reads::Clock(ClockPart::Hour),
        kind: Kind::Number,
        presence: Always,
        meaning: "The hour of the request, 0 to 23, in the policy's `time_zone`; `hour(\"Asia/Tokyo\")` in another.",
        example: "hour < 6 || hour >= 22",
    },
    Input {
        name: "weekday",
        reads: Reads::Clock(ClockPart::Weekday),
        kind: Kind::OneOf(&WEEKDAYS),
        presence: Always,
        meaning: "The day of the week, `monday` to `sunday`, in the policy's `time_zone`; `weekday(\"Asia/Tokyo\")` in another.",
        example: "weekday in [\"saturday\", \"sunday\"]",
    },
    Input {
        name: "date",
        reads: Reads::Clock(ClockPart::Date),
        kind: Kind::Date,
        presence: Always,
        meaning: "The day of the calendar, in the policy's `time_zone`; `date(\"Asia/Tokyo\")` in another.",
        example: "date >= \"2026-12-24\" && date <= \"2026-12-26\"",
    },
];

impl Input {
    /// The input of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        INPUTS.iter().find(|input| input.name == name)
    }

    /// The input that reads this.
    #[must_use]
    pub fn of(reads: Reads) -> Option<&'static Self> {
        INPUTS.iter().find(|input| input.reads == reads)
    }
}

impl Reads {
    /// The name in a condition.
    #[must_use]
    pub fn name(self) -> &'static str {
        Input::of(self).map_or("?", |input| input.name)
    }
}
