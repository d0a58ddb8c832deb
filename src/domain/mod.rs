//! The pure heart: money, time, questions, policies, decisions, and the books of a card. No async, no clock, no I/O,
//! no serialisation, no logging, no randomness: the same input gives the same output, always.

mod ids;
mod time;
mod money;
mod merchant;
mod categories;
mod details;
mod request;
mod observed;
mod span;
mod policy;
mod controls;
mod trial;
pub mod rule;
mod decision;
mod answering;
mod attribution;
mod event;
mod exception;
mod warned;
mod budget;
mod values;
mod moments;
mod window;
mod transaction;
mod authorization;
mod worth;
mod authorizations;
mod card;
mod settling;
mod evicted;
mod attempts;
mod standing;
mod limit_checks;
mod budget_checks;
mod decide;
mod would_pass;
mod explain;

pub use answering::{AnswerBy, Answering};
pub use attempts::Latest;
pub use attribution::Attribution;
pub use authorization::{Answered, Authorization, Embedded, Progress, Seen, StripeOutcome};
pub use authorizations::Authorizations;
pub use budget::{Budget, BudgetEvent, BudgetPolicy, Budgets, Charged, Holder, Leg, Per, Side, Sums};
pub use card::{Card, Move, Moves, NeedsHistory, Totals, Unlinked};
pub use controls::{Controls, Lists};
pub use decide::{decide, decide_charging, decide_without_ledger};
pub use decision::{Answer, Decision, LimitCheck, Outcome, Reason, Source, Stages, WouldPass};
pub use details::{
    CardDetails, CardType, CardholderType, Check, Checks, Details, Exemption, FraudWarning, MerchantDetails,
    Method, Risk, RiskLevel, ThreeDs, Wallet,
};
pub use event::{
    Carried, Decided, Delivered, Event, Joined, PolicyEvent, PolicyRecord, PolicyStep, Recalled,
};
pub use evicted::{Forgotten, SETTLED_KEPT_MAX};
pub use exception::{
    Action, COMMANDS_KEPT_MAX, Command, EXCEPTIONS_MAX, Excepted, Exception, Exceptions, Grant, Lifted,
    Raise, Use,
};
pub use explain::explain;
pub use ids::{
    Account, AuthorizationId, CardId, CardholderId, ConnectedAccountId, DecisionId, EventId, ID_BYTES_MAX,
    Mention, NetworkId, TransactionId,
};
pub use limit_checks::{limits_in_force, windows_in_force};
pub use merchant::{CardPresence, Category, Country, Merchant};
pub use moments::{Moment, Moments};
pub use money::{AMOUNT_MAX, Currency, Money, NotACurrency};
pub use observed::{
    AuthorizationSeen, AuthorizationStatus, CardSeen, CardholderSeen, EventType, Fact, HistoryEntry,
    HolderSeen, ListedTransaction, Observation, Subject, TransactionKind, TransactionSeen,
};
pub use policy::{
    CardPolicy, Feature, Interval, Layers, Limit, Measure, Occurrence, Overrides, Policy, PolicyVersion,
    UnknownGroup, Window, Zone, parse_span,
};
pub use request::{AuthorizationRequest, Question, Told, Violation};
pub use standing::{Standing, State};
pub use time::Timestamp;
pub use transaction::{ToldBy, Transaction, Transactions, Version};
pub use trial::{Candidate, ShadowFound, ShadowRecord};
pub use values::Values;
pub use warned::Warned;
pub use window::{Spend, Tally, Uses};
