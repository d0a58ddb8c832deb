//! What is wrong with a condition, and where.

use std::fmt;

/// A stretch of a condition, in characters from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span {
    /// The first character.
    pub start: usize,
    /// Behind the last character.
    pub end: usize,
}

impl Span {
    /// From the beginning of one to the end of the other.
    pub(super) const fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }
}

/// One thing that is wrong with a condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleError {
    /// Where.
    pub span: Span,
    /// What was found, and what was expected in its place.
    pub found: String,
    /// What to do.
    pub advice: String,
}

impl RuleError {
    pub(super) fn new(span: Span, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { span, found: found.into(), advice: advice.into() }
    }
}

/// `column 9: unknown input …; did you mean …?`
impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}; {}", self.span.start.saturating_add(1), self.found, self.advice)
    }
}
