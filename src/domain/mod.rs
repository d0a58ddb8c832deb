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
mod policy;
mod controls;
pub mod rule;
mod decision;
mod answering;
mod event;
mod window;
mod transaction;
mod authorization;
mod worth;
mod authorizations;
mod card;
mod settling;
mod evicted;
mod standing;
mod decide;
mod explain;

pub use answering::{AnswerBy, Answering};
pub use authorization::{Answered, Authorization, Embedded, Progress, Seen, StripeOutcome};
pub use authorizations::Authorizations;
pub use card::{Card, NeedsHistory, Totals, Unlinked};
pub use controls::{Controls, Listed, Lists};
pub use decide::{decide, limits_in_force, windows_in_force};
pub use decision::{Answer, Decision, LimitCheck, Outcome, Reason, Source, Stages};
pub use details::{
    CardDetails, CardType, CardholderType, Check, Checks, Details, Exemption, FraudWarning, MerchantDetails,
    Method, Risk, RiskLevel, ThreeDs, Wallet,
};
pub use event::{Carried, Decided, Event, Joined, PolicyRecord, Recalled};
pub use evicted::{Forgotten, SETTLED_KEPT_MAX};
pub use explain::explain;
pub use ids::{
    Account, AuthorizationId, CardId, CardholderId, ConnectedAccountId, DecisionId, EventId, ID_BYTES_MAX,
    Mention, NetworkId, TransactionId,
};
pub use merchant::{CardPresence, Category, Country, Merchant};
pub use money::{AMOUNT_MAX, Currency, Money, NotACurrency};
pub use observed::{
    AuthorizationSeen, AuthorizationStatus, CardSeen, CardholderSeen, EventType, Fact, HistoryEntry,
    ListedTransaction, Observation, Subject, TransactionKind, TransactionSeen,
};
pub use policy::{
    CardPolicy, Interval, Limit, Measure, Overrides, Policy, PolicyVersion, UnknownGroup, Window, Zone,
    parse_span,
};
pub use request::{AuthorizationRequest, Question, Told, Violation};
pub use standing::{Standing, State};
pub use time::Timestamp;
pub use transaction::{ToldBy, Transaction, Transactions, Version};
pub use window::{Moment, Spend, Tally, Uses};
