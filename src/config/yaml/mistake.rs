//! What is wrong with a file: where, what was found, what to do.

use std::fmt;

/// One thing that is wrong, or odd, in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// What follows from it.
    pub severity: Severity,
    /// Where it stands in the file.
    pub place: Place,
    /// Where it stands among the keys: `default.spending_limits[0].amount`; empty for the file as a whole.
    pub path: String,
    /// What was found.
    pub found: String,
    /// What to do.
    pub advice: String,
}

/// Line, column, path, what was found and what to do, in one line.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.place.line, self.place.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.found, self.advice)
    }
}

/// What follows from a mistake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// The file is not used.
    Error,
    /// The file can be used, but part of it never does anything: `tollgate check` fails, a running node goes on.
    Ineffective,
    /// Odd, but it may be meant.
    Warning,
}

impl Severity {
    /// The word before the message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error | Self::Ineffective => "error",
            Self::Warning => "warning",
        }
    }
}

/// A stretch of one line. Lines and columns count from 1, in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The first character.
    pub column: usize,
    /// How many characters, at least one.
    pub width: usize,
}

impl Place {
    /// The beginning of the file.
    pub const START: Self = Self { line: 1, column: 1, width: 1 };
}

/// A value of the file, with where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::config) struct Located<T> {
    pub(in crate::config) value: T,
    pub(in crate::config) place: Place,
    pub(in crate::config) path: String,
}

impl<T> Located<T> {
    /// Another value at the same place.
    pub(in crate::config) fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), place: self.place, path: self.path }
    }
}

/// Mistakes, as they are found.
#[derive(Default, Debug)]
pub(in crate::config) struct Findings {
    errors: Vec<Mistake>,
    ineffective: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Findings {
    /// Of each severity, so that warnings never crowd out an error. More than a person reads: a broken file of the
    /// largest size could have a hundred thousand.
    pub(in crate::config) const MISTAKES_MAX: usize = 100;

    pub(in crate::config) fn note(
        &mut self,
        severity: Severity,
        place: Place,
        path: &str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let mistakes = match severity {
            Severity::Error => &mut self.errors,
            Severity::Ineffective => &mut self.ineffective,
            Severity::Warning => &mut self.warnings,
        };
        if mistakes.len() < Self::MISTAKES_MAX {
            let (found, advice) = (found.into(), advice.into());
            mistakes.push(Mistake { severity, place, path: path.to_owned(), found, advice });
        }
    }

    /// What `read` notes as an error makes a part of the file ineffective, and the rest of it can be used.
    pub(in crate::config) fn ineffective<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let errors = std::mem::take(&mut self.errors);
        let value = read(self);
        for mistake in std::mem::replace(&mut self.errors, errors) {
            self.note(Severity::Ineffective, mistake.place, &mistake.path, mistake.found, mistake.advice);
        }
        value
    }

    /// Notes something about a located value.
    pub(in crate::config) fn at<T>(
        &mut self,
        severity: Severity,
        what: &Located<T>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.note(severity, what.place, &what.path, found, advice);
    }

    /// Whether more errors would not be kept.
    pub(in crate::config) const fn are_full(&self) -> bool {
        self.errors.len() >= Self::MISTAKES_MAX
    }

    /// Whether nothing was noted yet.
    pub(in crate::config) const fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.ineffective.is_empty() && self.warnings.is_empty()
    }

    /// In the order of the file. What stands in the file once is told once, however many aliases repeat it.
    pub(in crate::config) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> =
            self.errors.into_iter().chain(self.ineffective).chain(self.warnings).collect();
        mistakes.sort_by_key(|mistake| mistake.place);
        mistakes.dedup_by(|b, a| a.place == b.place && a.found == b.found && a.advice == b.advice);
        mistakes
    }
}
