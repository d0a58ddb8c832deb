//! The pure heart: money, time, questions, policies, decisions, and the books of a card. No async, no clock, no I/O,
//! no serialisation, no logging, no randomness: the same input gives the same output, always.

mod ids;
mod time;
mod money;
mod merchant;
mod categories;
mod request;
mod observed;
mod policy;
mod decision;
mod event;
mod card;

pub use card::Card;
pub use decision::{Answer, Decision, LimitCheck, Outcome, Reason, Source, Stages};
pub use event::{Decided, Event};
pub use ids::{
    Account, AuthorizationId, CardId, CardholderId, ConnectedAccountId, DecisionId, EventId, ID_BYTES_MAX,
    NetworkId, TransactionId,
};
pub use merchant::{CardPresence, Category, Country, Merchant};
pub use money::{AMOUNT_MAX, Currency, Money, NotACurrency};
pub use observed::{
    AuthorizationSeen, AuthorizationStatus, CardSeen, EventType, Fact, HistoryEntry, Observation,
    TransactionKind, TransactionSeen,
};
pub use policy::{
    CardPolicy, Controls, Interval, Limit, Listed, Lists, Measure, Overrides, Policy, PolicyVersion, Window,
    Zone, parse_span,
};
pub use request::{AuthorizationRequest, Question, Violation};
pub use time::Timestamp;
