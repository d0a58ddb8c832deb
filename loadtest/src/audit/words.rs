//! What an audit speaks of: questions, answers, and what must be known of them at the end.

use super::Position;
use crate::{authorization::Status, budgets::Share};

/// Which question: of which authorization, after how many that were decided before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Question {
    /// The number of its authorization.
    pub authorization: u64,
    /// Its place in the history of requests.
    pub index: usize,
}

/// An answer that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer<'a> {
    /// What is held for it; nothing if it was declined.
    pub granted: Option<i64>,
    /// Whether it was given without the books.
    pub is_stand_in: bool,
    /// The decision's id, where the reply names it.
    pub decision: Option<&'a str>,
    /// The reason, where the reply names it.
    pub reason: Option<&'a str>,
    /// The bytes, to compare with those of a duplicate; none where the answer went over Stripe's API, and the reply
    /// says nothing.
    pub body: Option<&'a [u8]>,
    /// Which node gave it.
    pub node: usize,
}

/// An answer that a node gave, and must still know at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    /// The decision's id, where the reply named it.
    pub decision: Option<String>,
    /// What was held for it.
    pub granted: Option<i64>,
    /// When the answer came.
    pub at_us: u64,
}

/// How an authorization must stand in a node's books at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Its number.
    pub authorization: u64,
    /// What is held, captured and refunded.
    pub position: Position,
    /// Where it is in its life.
    pub status: Status,
    /// Whether it stands.
    pub approved: bool,
    /// Whether Stripe decided a question itself, for want of an answer in time.
    pub was_late: bool,
    /// Every answer that a node gave.
    pub acknowledged: Vec<Acknowledged>,
    /// What its card shares.
    pub share: Option<Share>,
}
