//! Stripe's books for one authorization: what was asked, what became of it, and what was captured. When things happen,
//! and how they are told, is elsewhere. Source: <https://docs.stripe.com/issuing/purchases/authorizations>.

use crate::population::{Card, Merchant};

/// What a pump holds where it asks for one unit.
const FUEL_HOLD_UNITS: i64 = 100;

/// What is bought.
#[derive(Clone, Copy, Debug)]
pub struct Purchase {
    /// With which card.
    pub card: Card,
    /// Where.
    pub merchant: &'static Merchant,
    /// What is asked for first, in minor units of the card's currency.
    pub amount: i64,
    /// Whether less may be approved.
    pub is_controllable: bool,
    /// Paid out in cash with the first request: not less than this may be approved for it.
    pub cashback: Option<i64>,
    /// `authorization_method`.
    pub method: &'static str,
    /// `wallet`.
    pub wallet: Option<&'static str>,
    /// The currency of the shop, and how many of its minor units are a thousand of the card's.
    pub merchant_currency: (&'static str, i64),
    /// `network_risk_score`.
    pub risk_score: u8,
}

impl Purchase {
    /// What is held for `asked` where it is approved in full.
    #[must_use]
    pub fn held_for(&self, asked: i64) -> i64 {
        if self.merchant.is_fuel_dispenser() { self.unit().saturating_mul(FUEL_HOLD_UNITS) } else { asked }
    }

    /// One unit of the card's currency in its minor units.
    #[must_use]
    pub fn unit(&self) -> i64 {
        if self.card.currency == "jpy" { 1 } else { 100 }
    }

    /// An amount in the shop's currency.
    #[must_use]
    pub fn at_merchant(&self, amount: i64) -> i64 {
        amount.saturating_mul(self.merchant_currency.1).checked_div(1_000).unwrap_or_default()
    }
}

/// `status` of an authorization.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Money is held, if it was approved.
    Pending,
    /// Captured, or declined.
    Closed,
    /// Taken back by the shop.
    Reversed,
    /// Released by time.
    Expired,
}

impl Status {
    /// Stripe's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Closed => "closed",
            Self::Reversed => "reversed",
            Self::Expired => "expired",
        }
    }
}

/// One decided request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What was asked, in addition.
    pub asked: i64,
    /// What became of it.
    pub approved: bool,
    /// Who decided, and why.
    pub reason: &'static str,
    /// When, in seconds since 1970.
    pub created: i64,
}

/// A capture or a refund.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// Its number, of all transactions.
    pub number: u64,
    /// Refund rather than capture.
    pub is_refund: bool,
    /// As Stripe signs it: a capture is negative, a refund positive, a refund taken back negative.
    pub amount: i64,
    /// Whether it names its authorization.
    pub is_linked: bool,
    /// When, in seconds since 1970.
    pub created: i64,
}

/// An authorization as Stripe has it.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// Its number, of all authorizations.
    pub number: u64,
    /// What is bought.
    pub purchase: Purchase,
    /// When it was first asked, in seconds since 1970.
    pub created: i64,
    /// Approved in total, or rejected.
    pub amount: i64,
    /// Whether it stands.
    pub approved: bool,
    /// Where it is in its life.
    pub status: Status,
    /// Every decided request, oldest first.
    pub history: Vec<Entry>,
    /// Those that name it.
    pub transactions: Vec<Transaction>,
}

impl Authorization {
    /// One that is about to be asked for.
    #[must_use]
    pub const fn new(number: u64, purchase: Purchase, created: i64) -> Self {
        Self {
            number,
            purchase,
            created,
            amount: 0,
            approved: false,
            status: Status::Pending,
            history: Vec::new(),
            transactions: Vec::new(),
        }
    }

    /// A request was decided: so much more is held, or nothing.
    pub fn decided(&mut self, asked: i64, granted: Option<i64>, reason: &'static str, now: i64) {
        self.history.push(Entry { asked, approved: granted.is_some(), reason, created: now });
        match granted {
            Some(granted) => {
                self.amount = self.amount.saturating_add(granted);
                self.approved = true;
            }
            // A declined increment leaves what was approved before.
            None if self.approved => {}
            None => {
                self.amount = asked;
                self.status = Status::Closed;
            }
        }
    }

    /// The shop takes back so much of what is held; with nothing left the authorization is reversed.
    pub fn reversed(&mut self, amount: i64) {
        self.amount = self.amount.saturating_sub(amount).max(0);
        if self.amount == 0 {
            self.status = Status::Reversed;
        }
    }

    /// A pump tells what went into the tank.
    pub const fn finalized(&mut self, amount: i64) {
        self.amount = amount;
    }

    /// Nobody took the money in time.
    pub const fn expired(&mut self) {
        self.status = Status::Expired;
    }

    /// The shop takes its money, or gives it back. The last capture closes the authorization.
    pub fn settled(&mut self, transaction: Transaction, closes: bool) {
        self.transactions.push(transaction);
        if closes {
            self.status = Status::Closed;
        }
    }

    /// What is still held.
    #[must_use]
    pub fn held(&self) -> i64 {
        let is_open = self.approved && self.status == Status::Pending;
        if is_open { self.amount.saturating_sub(self.captured()).max(0) } else { 0 }
    }

    /// What was captured.
    #[must_use]
    pub fn captured(&self) -> i64 {
        let captures = self.transactions.iter().filter(|one| !one.is_refund);
        captures.fold(0, |sum: i64, one| sum.saturating_sub(one.amount))
    }
}
