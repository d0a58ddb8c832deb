//! What is true of a card from now on. The books of a card are the fold of its events, and nothing else.

use std::sync::Arc;

use super::{
    authorization::Authorization,
    budget::BudgetEvent,
    card::{Card, Unlinked},
    controls::Controls,
    decision::Decision,
    ids::{Account, AuthorizationId, CardId, TransactionId},
    observed::Observation,
    policy::PolicyVersion,
    request::AuthorizationRequest,
    time::Timestamp,
};

/// One fact in a card's books.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A question, and our answer on the books.
    Decided(Box<Decided>),
    /// A question, and the answer that was given in place of a decision. It voids what was decided on the same
    /// question: the stand-in's answer is the one that Stripe has.
    StoodIn(Box<Decided>),
    /// What Stripe says happened.
    Observed(Box<Observation>),
    /// What the books had evicted, and that is spoken of again.
    Recalled(Box<Recalled>),
    /// The card replaces another: its purchases go on in that one's books.
    Joined(Joined),
    /// What was booked on a card before it was known to replace another.
    Carried(Box<Carried>),
    /// The `spending_controls` at Stripe of the card and its cardholder, where the policy mirrors them: from here on the
    /// requests of the chain carry these.
    Controls(Arc<Controls>),
    /// The budgets that the card charges from here on: an authorization charges those in force when it is first counted.
    Charges(Arc<[Account]>),
    /// What happened to a budget. It stands in the chain of the budget, and changes no card.
    Budget(Box<BudgetEvent>),
    /// A policy was put in force. It stands in the chain of policies, and changes no card.
    Policy(Box<PolicyRecord>),
    /// The whole state after everything before it.
    Snapshot(Box<Card>),
}

/// A policy that was put in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyRecord {
    /// Which policy.
    pub version: PolicyVersion,
    /// When.
    pub at: Timestamp,
    /// The node that put it in force.
    pub node: Arc<str>,
    /// Where the text came from, such as the path of a file.
    pub origin: Arc<str>,
    /// The whole text; absent where an earlier record of this version has it.
    pub text: Option<Arc<str>>,
}

/// A question with its answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Decided {
    /// What was asked.
    pub request: Arc<AuthorizationRequest>,
    /// What was answered.
    pub decision: Decision,
}

/// What came back from the journal: everything that belongs together, as its entries tell it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Recalled {
    /// Records of authorizations.
    pub authorizations: Vec<(AuthorizationId, Authorization)>,
    /// Captures and refunds that name no authorization.
    pub unlinked: Vec<(TransactionId, Unlinked)>,
}

/// The step of a card into the books of the card that it replaces, so that both count against the same limits. Cards
/// of one chain share the books of the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The card that is replaced.
    pub card: CardId,
    /// Whether that card's books have all that was booked here before.
    pub is_carried: bool,
}

/// What was booked on a card before it joined these books. On disk the events stand before it as they are.
#[derive(Clone, PartialEq, Debug)]
pub struct Carried {
    /// Which card.
    pub from: CardId,
    /// Up to which entry of its own books.
    pub through: u64,
    /// What happened.
    pub events: Vec<Event>,
}
