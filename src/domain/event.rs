//! What is true of a card from now on. The books of a card are the fold of its events, and nothing else.

use super::{card::Card, decision::Decision, observed::Observation, request::AuthorizationRequest};

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
    /// The whole state after everything before it.
    Snapshot(Box<Card>),
}

/// A question with its answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Decided {
    /// What was asked.
    pub request: AuthorizationRequest,
    /// What was answered.
    pub decision: Decision,
}
