//! Who changed something, and why.

use std::sync::Arc;

/// Who changed something, and why. Every entry that an operator makes has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribution {
    /// The name of the caller's token.
    pub by: Arc<str>,
    /// The reason that the caller gave; empty where none is needed and none was given, as for the credit of a balance.
    pub reason: Arc<str>,
}
