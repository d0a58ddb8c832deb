//! The boards: one page a question. Each panel says in three sentences what it shows, what good looks like, and what to
//! do if it does not.

mod overview;
mod cards_and_policy;
mod changes;
mod cluster_and_journal;
mod runtime;

use crate::board::Board;

/// Every board, the first one first.
#[must_use]
pub fn all() -> Vec<Board> {
    vec![
        overview::board(),
        cards_and_policy::board(),
        changes::board(),
        cluster_and_journal::board(),
        runtime::board(),
    ]
}
