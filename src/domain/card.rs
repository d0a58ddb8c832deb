//! The books of one card.

/// State.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Card {}
