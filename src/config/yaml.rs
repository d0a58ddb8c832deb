//! Files in YAML as they are read here: a tree whose values know their places, mappings taken apart key by key, mistakes with
//! line, column, and what to do. What the keys of a file mean is not known here.

pub(super) mod node;
pub(super) mod fields;
pub(super) mod mistake;

pub use mistake::{Mistake, Place, Severity};
