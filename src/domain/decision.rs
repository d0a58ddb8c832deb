//! The answer, with everything that explains it later. A decline is an answer like any other, not an error.

use std::{fmt, sync::Arc};

use super::{
    answering::AnswerBy,
    exception::{Excepted, Lifted},
    ids::{Account, DecisionId},
    money::Currency,
    policy::{Interval, Measure, PolicyVersion},
    request::Violation,
    rule::{Marks, Ruled},
    time::Timestamp,
};
use crate::planted::{self, Planted};

/// What was answered to one question, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// Names the decision in replies, logs and books.
    pub id: DecisionId,
    /// When it was made. Never earlier than an earlier decision on the same card.
    pub at: Timestamp,
    /// Yes, partly, or no.
    pub outcome: Outcome,
    /// Minor units that are reserved by this answer; zero when declined.
    pub granted: i64,
    /// Why.
    pub reason: Reason,
    /// How the request broke the contract, where that is the reason.
    pub violation: Option<Violation>,
    /// Every limit that was looked at, with its numbers before and after.
    pub limits: Vec<LimitCheck>,
    /// The largest amount that would have passed, in minor units; `None` where no limit on amounts applied.
    pub largest_approvable: Option<i64>,
    /// What else would have passed.
    pub would_pass: Option<Box<WouldPass>>,
    /// Whether the cardholder is asked by text message.
    pub challenge: bool,
    /// What the rules of the policy had to do with it.
    pub ruled: Option<Box<Ruled>>,
    /// What exceptions had to do with it, beside higher limits.
    pub excepted: Option<Box<Excepted>>,
    /// The policy that it was made by.
    pub policy: PolicyVersion,
    /// Who decided.
    pub source: Source,
    /// How the answer goes to Stripe.
    pub answer_by: AnswerBy,
    /// How long the stages before the commit took.
    pub stages: Stages,
    /// Its place among the events of its append, where that is of several accounts: it was made on what those before it
    /// left of the budgets.
    pub turn: u32,
}

/// The smallest changes, other than less money, with which a declined request would have passed as it is. Each is enough
/// alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WouldPass {
    /// The earliest time at which it passes if nothing else happens until then.
    pub at: Option<Timestamp>,
    /// The rule without which it passes.
    pub without: Option<Arc<str>>,
}

/// Yes, partly, or no.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// What was asked.
    Approved,
    /// Less than what was asked, where Stripe lets us choose.
    Partial,
    /// Nothing.
    Declined,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Approved, Self::Partial, Self::Declined];

    /// The word in the API and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Partial => "partial",
            Self::Declined => "declined",
        }
    }

    /// Reads [`Outcome::as_str`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// Why: `Approved`, or one of the closed list of decline reasons. A partial approval carries the reason for which
/// it is not a full one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// Nothing stood against it.
    Approved,
    /// An amount limit.
    SpendingLimit,
    /// A count limit.
    VelocityLimit,
    /// The category is blocked.
    CategoryBlocked,
    /// The category is not among the allowed.
    CategoryNotAllowed,
    /// The merchant's country is blocked.
    CountryBlocked,
    /// The merchant's country is not among the allowed.
    CountryNotAllowed,
    /// The card presence is blocked, or not among the allowed.
    PresenceBlocked,
    /// The merchant is blocked.
    MerchantBlocked,
    /// The merchant is not among the allowed.
    MerchantNotAllowed,
    /// A rule of the policy: its name is beside it.
    Rule,
    /// The card is paused, here or at Stripe.
    CardPaused,
    /// The policy lacks the card's group, and declines such cards.
    UnknownGroup,
    /// A prepaid budget has less left than was asked for.
    InsufficientBalance,
    /// A budget is paused.
    BudgetPaused,
    /// The currency is not the card's, or no limit names it.
    CurrencyMismatch,
    /// The request broke the contract.
    ContractViolation,
    /// More work than fits: answered without the books.
    StandInOverload,
    /// Too late for a decision: answered without the books.
    StandInDeadline,
    /// The journal did not take it: answered without the books.
    StandInJournal,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 20] = [
        Self::Approved,
        Self::SpendingLimit,
        Self::VelocityLimit,
        Self::CategoryBlocked,
        Self::CategoryNotAllowed,
        Self::CountryBlocked,
        Self::CountryNotAllowed,
        Self::PresenceBlocked,
        Self::MerchantBlocked,
        Self::MerchantNotAllowed,
        Self::Rule,
        Self::CardPaused,
        Self::UnknownGroup,
        Self::InsufficientBalance,
        Self::BudgetPaused,
        Self::CurrencyMismatch,
        Self::ContractViolation,
        Self::StandInOverload,
        Self::StandInDeadline,
        Self::StandInJournal,
    ];

    /// The word in the API, in replies' metadata, in policies and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::SpendingLimit => "spending_limit",
            Self::VelocityLimit => "velocity_limit",
            Self::CategoryBlocked => "category_blocked",
            Self::CategoryNotAllowed => "category_not_allowed",
            Self::CountryBlocked => "country_blocked",
            Self::CountryNotAllowed => "country_not_allowed",
            Self::PresenceBlocked => "presence_blocked",
            Self::MerchantBlocked => "merchant_blocked",
            Self::MerchantNotAllowed => "merchant_not_allowed",
            Self::Rule => "rule",
            Self::CardPaused => "card_paused",
            Self::UnknownGroup => "unknown_group",
            Self::InsufficientBalance => "insufficient_balance",
            Self::BudgetPaused => "budget_paused",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::ContractViolation => "contract_violation",
            Self::StandInOverload => "stand_in_overload",
            Self::StandInDeadline => "stand_in_deadline",
            Self::StandInJournal => "stand_in_journal",
        }
    }

    /// Reads [`Reason::as_str`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// Whether a text message to the cardholder may lift it: the lists may be lifted, limits and the rest never.
    #[must_use]
    pub const fn can_be_lifted_by_challenge(self) -> bool {
        match self {
            Self::CategoryBlocked
            | Self::CategoryNotAllowed
            | Self::CountryBlocked
            | Self::CountryNotAllowed
            | Self::PresenceBlocked
            | Self::MerchantBlocked
            | Self::MerchantNotAllowed => true,
            Self::Approved
            | Self::SpendingLimit
            | Self::VelocityLimit
            | Self::Rule
            | Self::CardPaused
            | Self::UnknownGroup
            | Self::InsufficientBalance
            | Self::BudgetPaused
            | Self::CurrencyMismatch
            | Self::ContractViolation
            | Self::StandInOverload
            | Self::StandInDeadline
            | Self::StandInJournal => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who decided.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// The policy, on the books.
    Policy,
    /// The stand-in, without the books.
    StandIn,
    /// Stripe, the network or the merchant, whatever we said.
    Forced,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::Policy, Self::StandIn, Self::Forced];

    /// The word in the API and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::StandIn => "stand_in",
            Self::Forced => "forced",
        }
    }

    /// Reads [`Source::as_str`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == text)
    }
}

/// One limit as a decision saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitCheck {
    /// The account of the budget whose limit it is; none for one of the card's own.
    pub account: Option<Account>,
    /// Whether this is the balance of a prepaid budget: what was credited, and what of it is used.
    pub is_balance: bool,
    /// Amount or count; the currency is the one that was compared.
    pub measure: Measure,
    /// The window.
    pub interval: Interval,
    /// Used before this decision, in its window.
    pub before: i64,
    /// Used after it: what would have been used, had a declined request been approved.
    pub after: i64,
    /// The limit's height, with all that lifts it.
    pub max: i64,
    /// What of its height is not the policy's.
    pub lifted: Option<Box<Lifted>>,
    /// When the window begins anew; a rolling one gives back bit by bit, and some never do.
    pub resets_at: Option<Timestamp>,
    /// Who can raise it, where it stands against the request.
    pub owners: Option<Arc<str>>,
}

impl LimitCheck {
    /// The same limit, so much higher.
    pub(super) fn lifted(self, lifted: Lifted) -> Self {
        if lifted == Lifted::default() {
            return self;
        }
        Self { max: self.max.saturating_add(lifted.sum()), lifted: Some(Box::new(lifted)), ..self }
    }

    /// The currency of an amount limit.
    #[must_use]
    pub const fn currency(&self) -> Option<Currency> {
        match self.measure {
            Measure::Amount(currency) => currency,
            Measure::Count => None,
        }
    }
}

/// How long each stage took, in microseconds. The commit's time is not here: it ends after the entry is written.
#[allow(clippy::struct_field_names, reason = "units stand last in names")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stages {
    /// Checking the signature.
    pub verify_us: u32,
    /// Reading the event.
    pub parse_us: u32,
    /// Finding the card's node and actor.
    pub route_us: u32,
    /// Waiting for the card.
    pub queue_us: u32,
    /// Deciding.
    pub decide_us: u32,
}

impl Decision {
    /// The limit that stood in the way: the tightest of the kind that the reason names.
    #[must_use]
    pub fn tightest(&self) -> Option<&LimitCheck> {
        let is_limit = matches!(
            self.reason,
            Reason::SpendingLimit | Reason::VelocityLimit | Reason::InsufficientBalance
        );
        let is_count = self.reason == Reason::VelocityLimit;
        let failing = self.limits.iter().filter(|_| is_limit);
        let failing =
            failing.filter(|check| (check.measure == Measure::Count) == is_count && check.after > check.max);
        failing.min_by_key(|check| check.max.saturating_sub(check.before))
    }

    /// What goes back to Stripe: the amount is named only where Stripe lets us choose it.
    #[must_use]
    pub fn answer(&self, is_amount_controllable: bool) -> Answer {
        let names_amount = is_amount_controllable
            && self.granted > 0
            && !(planted::is(Planted::PartialInFull) && self.outcome == Outcome::Partial);
        Answer {
            decision: self.id,
            outcome: self.outcome,
            amount: names_amount.then_some(self.granted),
            reason: self.reason,
            challenge: self.challenge,
            source: self.source,
            by: self.answer_by,
            marks: self.ruled.as_ref().and_then(|ruled| ruled.marks.some()),
        }
    }
}

/// What goes back to Stripe for a decision. The same question gets this again, to the byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Which decision it is.
    pub decision: DecisionId,
    /// Yes, partly, or no.
    pub outcome: Outcome,
    /// The amount to name in the reply: only for an approval whose amount is controllable.
    pub amount: Option<i64>,
    /// Why.
    pub reason: Reason,
    /// Whether the cardholder is asked by text message.
    pub challenge: bool,
    /// Who decided.
    pub source: Source,
    /// How it goes to Stripe.
    pub by: AnswerBy,
    /// What the rules say of it.
    pub marks: Option<Arc<Marks>>,
}
