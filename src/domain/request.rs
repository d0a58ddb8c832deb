//! The question: one authorization request, reduced to what a decision may look at.

use std::{fmt, sync::Arc};

use super::{
    controls::Controls,
    details::Details,
    ids::{Account, AuthorizationId, CardId, CardholderId, ConnectedAccountId, EventId},
    merchant::{CardPresence, Merchant},
    money::{AMOUNT_MAX, Currency, Money},
    observed::{HistoryEntry, ListedTransaction},
    standing::{Standing, State},
    time::Timestamp,
};

/// What Stripe asks: may this be held on this card?
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of Stripe's request")]
#[derive(Clone, PartialEq, Debug)]
pub struct AuthorizationRequest {
    /// The event that brought the question.
    pub event: EventId,
    /// The authorization that is asked about; an increment asks again about the same one.
    pub authorization: AuthorizationId,
    /// The card, or why the request cannot be decided at all.
    pub card: Option<CardId>,
    /// The card's own currency, where the event has the card.
    pub card_currency: Option<Currency>,
    /// The card that this card replaces: they share their books.
    pub replacement_for: Option<CardId>,
    /// Whose card it is. Read to look the cardholder up.
    pub cardholder: Option<CardholderId>,
    /// At Stripe the card or its cardholder is not active, as the request itself or an event has said.
    pub is_paused: bool,
    /// `metadata.tollgate_group` of the card, or else of its cardholder; where the request names none, what their
    /// own events named last.
    pub group: Option<Arc<str>>,
    /// When the request reached us, by our clock. Windows are decided by it.
    pub received_at: Timestamp,
    /// When Stripe created the authorization; the epoch where it does not say.
    pub created: Timestamp,
    /// How many requests of this authorization were decided before: the length of `request_history`.
    pub history_entries: u32,
    /// What Stripe has approved on this authorization before this question: the top-level `amount`.
    pub approved_before: i64,
    /// `pending_request.amount`: what would be held *in addition*; or how the request breaks the contract.
    pub asked: Result<Money, Violation>,
    /// Whether the reply may approve another amount.
    pub is_amount_controllable: bool,
    /// The part of the amount that is paid out in cash. A partial approval may not go below it.
    pub cashback: i64,
    /// Where the card is used.
    pub merchant: Merchant,
    /// Whether the card was there, where that is known.
    pub card_presence: Option<CardPresence>,
    /// The cardholder has confirmed a declined attempt at this merchant by text message.
    pub verified_by_fraud_challenge: bool,
    /// Whether real money moves.
    pub livemode: bool,
    /// The connected account, in events of Stripe Connect.
    pub connected_account: Option<ConnectedAccountId>,
    /// Everything else that a rule may look at.
    pub details: Details,
    /// The card's own `spending_controls`, read only where the policy mirrors them.
    pub stripe_controls: Option<Arc<Controls>>,
    /// What else the request tells of its authorization, its merchant and its card.
    pub told: Told,
}

/// What a request embeds beside the amount that it asks for: the authorization, the card and the cardholder as they
/// were when Stripe made it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// When Stripe created the event; the epoch where it does not say.
    pub at: Timestamp,
    /// `pending_request.hold_amount`: what Stripe will hold, where that is not the amount.
    pub hold_amount: i64,
    /// `request_history`, oldest first.
    pub history: Vec<HistoryEntry>,
    /// The captures and refunds that it lists.
    pub transactions: Vec<ListedTransaction>,
    /// The card. Read to compare it with what the card's events said, and not written down: what comes of it is.
    pub card: Option<State>,
    /// The cardholder, likewise.
    pub cardholder: Option<State>,
}

impl AuthorizationRequest {
    /// The stream of entries that the answer is booked in: the card's, unless the card is none or another's.
    #[must_use]
    pub fn account(&self) -> Account {
        match (&self.card, self.asked) {
            (None, _) | (_, Err(Violation::WrongAccount)) => Account::from(&self.authorization),
            (Some(card), _) => Account::from(card),
        }
    }

    /// Whether the card's own events have said something else of it, and later.
    #[must_use]
    pub fn is_behind_card(&self, standing: &Standing) -> bool {
        let embedded = self.told.card.as_ref();
        standing.over(embedded, self.told.at).is_some_and(|state| Some(state) != embedded)
    }

    /// Whether the cardholder's own events have said something else of it, and later.
    #[must_use]
    pub fn is_behind_cardholder(&self, standing: &Standing) -> bool {
        let embedded = self.told.cardholder.as_ref();
        standing.over(embedded, self.told.at).is_some_and(|state| Some(state) != embedded)
    }

    /// Takes what the card's own events have said later.
    pub fn heed_card(&mut self, standing: &Standing) {
        if let Some(state) = standing.over(self.told.card.as_ref(), self.told.at).cloned() {
            let is_embedded = self.told.card.replace(state.clone()).is_some();
            self.heed(is_embedded, state);
        }
    }

    /// Takes what the cardholder's own events have said later.
    pub fn heed_cardholder(&mut self, standing: &Standing) {
        if let Some(state) = standing.over(self.told.cardholder.as_ref(), self.told.at).cloned() {
            let is_embedded = self.told.cardholder.replace(state.clone()).is_some();
            self.heed(is_embedded, state);
        }
    }

    fn heed(&mut self, is_embedded: bool, state: State) {
        if !is_embedded {
            // The request says nothing of it, so that it cannot say something else.
            self.is_paused |= !state.is_active;
            self.group = self.group.take().or(state.group);
            return;
        }
        let states = || self.told.card.iter().chain(&self.told.cardholder);
        let group = states().find_map(|state| state.group.clone());
        self.is_paused = states().any(|state| !state.is_active);
        self.group = group;
    }

    /// What makes two requests the same question.
    #[must_use]
    pub fn question(&self) -> Question {
        Question {
            history_entries: self.history_entries,
            amount: self.asked.map_or(0, |asked| asked.amount),
            approved_before: if self.history_entries == 0 { self.approved_before } else { 0 },
        }
    }

    /// What Stripe will hold if this is approved: the amount, or more where it says so. A fuel dispenser asks for one
    /// unit of its own currency and holds a hundred of them
    /// (<https://docs.stripe.com/issuing/purchases/authorizations#fuel-dispenser-transactions>). The two amounts of the
    /// request are its rate of exchange.
    #[must_use]
    pub fn held_if_approved(&self) -> i64 {
        self.asked.map_or(0, |asked| self.held_if_asked(asked))
    }

    /// What Stripe will hold if this is approved for `asked`.
    #[must_use]
    pub fn held_if_asked(&self, asked: Money) -> i64 {
        let held = asked.amount.max(self.told.hold_amount);
        let is_one = |amount: &Money| (1..=amount.currency.unit()).contains(&amount.amount);
        let abroad = self.details.merchant_amount.filter(|pump| pump.currency != asked.currency);
        let Some(pump) = abroad.filter(is_one).or(Some(asked).filter(is_one)) else { return held };
        if !self.merchant.category.is_fuel_dispenser() {
            return held;
        }
        let hundred = i128::from(pump.currency.unit()).saturating_mul(FUEL_HOLD_UNITS);
        let exact = hundred.saturating_mul(asked.amount.into());
        let rounded_up = exact.saturating_add(i128::from(pump.amount)).saturating_sub(1);
        let converted = rounded_up.checked_div(pump.amount.into()).unwrap_or_default();
        held.max(i64::try_from(converted).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX))
    }

    /// Whether this is a fuel dispenser that asks for less than it holds.
    #[must_use]
    pub fn is_pump_check(&self) -> bool {
        self.merchant.category.is_fuel_dispenser()
            && self.asked.is_ok_and(|asked| self.held_if_approved() > asked.amount)
    }
}

/// How many units a fuel dispenser holds that asks for one.
const FUEL_HOLD_UNITS: i128 = 100;

/// What makes a question of one authorization differ from another question of the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Question {
    /// The length of `request_history`.
    pub history_entries: u32,
    /// `pending_request.amount`, zero where it is unusable.
    pub amount: i64,
    /// The top-level `amount` where there is no history, which alone tells one increment from the next then; else zero.
    pub approved_before: i64,
}

/// How a request breaks the contract. It is declined and alarmed, never guessed at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Violation {
    /// No `card.id`.
    NoCard,
    /// `pending_request` is missing or null, or has no amount that is a whole number.
    NoAmount,
    /// `pending_request.amount` is below zero.
    NegativeAmount,
    /// `pending_request.amount` is above what can be summed exactly.
    AmountTooLarge,
    /// No `pending_request.currency`, or none of three letters.
    NoCurrency,
    /// `is_amount_controllable` is there, but no boolean.
    NoControllable,
    /// The event is shaped as before 2020 (`pending_held_amount`): the endpoint's API version must be raised.
    LegacyShape,
    /// The card belongs to another connected account.
    WrongAccount,
}

impl Violation {
    /// Every way, for metrics and parsers.
    pub const ALL: [Self; 8] = [
        Self::NoCard,
        Self::NoAmount,
        Self::NegativeAmount,
        Self::AmountTooLarge,
        Self::NoCurrency,
        Self::NoControllable,
        Self::LegacyShape,
        Self::WrongAccount,
    ];

    /// A word for labels and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCard => "no_card",
            Self::NoAmount => "no_amount",
            Self::NegativeAmount => "negative_amount",
            Self::AmountTooLarge => "amount_too_large",
            Self::NoCurrency => "no_currency",
            Self::NoControllable => "no_controllable",
            Self::LegacyShape => "legacy_shape",
            Self::WrongAccount => "wrong_account",
        }
    }

    /// Reads [`Violation::as_str`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|violation| violation.as_str() == text)
    }
}

/// For people: what was expected.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCard => "the request names no card (`card.id`)",
            Self::NoAmount => "`pending_request.amount` is no whole number of minor units",
            Self::NegativeAmount => "`pending_request.amount` is below zero",
            Self::AmountTooLarge => "`pending_request.amount` is too large to be summed exactly",
            Self::NoCurrency => "`pending_request.currency` is no three-letter currency",
            Self::NoControllable => "`pending_request.is_amount_controllable` is no boolean",
            Self::LegacyShape => {
                "the event has the shape of before 2020 (`pending_held_amount`); raise the API version of the webhook endpoint"
            }
            Self::WrongAccount => "the card's events have come from another connected account (`account`)",
        })
    }
}
