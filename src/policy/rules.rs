//! The language of rules: a strict subset of CEL's syntax, read into typed conditions. What is wrong is said with its
//! place, what was expected and the nearest name.

mod error;
mod lexer;
mod syntax;
mod parser;
mod literal;
mod names;
mod compile;
mod reference;

pub use compile::{Compiled, Context, ListUse, check_entry, compile};
pub use error::{RuleError, Span};
pub use names::{FUNCTIONS, Function};
pub use reference::reference;

/// How deep the parts of a condition may lie inside each other.
pub const NESTING_MAX: usize = 32;
/// How many parts a condition may have: inputs, literals, operators, calls.
pub const NODES_MAX: usize = 256;

#[cfg(test)]
mod tests;
