//! Policies as text: the language of rules, and the words that a policy may use. What a policy does is up to the domain.

pub(crate) mod codes;
pub(crate) mod nearest;
pub mod rules;
pub mod testing;
