//! What is wrong with the settings, in words that say what to do. No secret is ever in them.

use std::{fmt, io};

use super::{setting::Setting, table::SETTINGS};
use crate::policy::nearest::nearest;

/// One thing that is wrong with the settings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// A value that cannot be used.
    #[error("{name}={value}: expected {expected}, for example `{example}`")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value, unless it is secret.
        value: Shown,
        /// What it should have been.
        expected: String,
        /// A value that could be set.
        example: &'static str,
    },
    /// A name that means nothing.
    #[error("{name}: unknown setting{}", Suggestion(*nearest))]
    Unknown {
        /// The variable.
        name: String,
        /// The setting that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A value that still has its quotes.
    #[error(
        "{name}: expected a value without quotes around it, found one with them; `docker --env-file` and systemd's \
         `Environment=` keep some quotes: remove them"
    )]
    Quoted {
        /// The variable.
        name: String,
    },
    /// A file with a secret that cannot be read.
    #[error("{name}={path}: the file cannot be read: {cause}")]
    Unreadable {
        /// The variable, with `_FILE`.
        name: String,
        /// The file, where the value looks like one.
        path: Shown,
        /// What the system says.
        cause: String,
    },
    /// Any other file that cannot be read.
    #[error("{name}={path}: the file cannot be read: {cause}; expected {expected}, for example `{example}`")]
    NoFile {
        /// The variable.
        name: &'static str,
        /// Its value.
        path: String,
        /// What the system says.
        cause: String,
        /// What it should have been.
        expected: String,
        /// A value that could be set.
        example: &'static str,
    },
    /// Settings that cannot be had together, or not without another.
    #[error("{0}")]
    Conflict(String),
}

impl Problem {
    /// `value` is not what `setting` expects.
    pub(super) fn invalid(setting: &Setting, value: &str) -> Self {
        let value = if setting.is_secret() { Shown::Redacted } else { Shown::Plain(without_password(value)) };
        Self::Invalid {
            name: setting.name,
            value,
            expected: setting.kind.expected(),
            example: setting.example,
        }
    }

    /// What is in a file is not what `setting` expects. It is not shown: it may be another secret.
    pub(super) fn invalid_in_file(setting: &Setting) -> Self {
        Self::Invalid {
            name: setting.name,
            value: Shown::Redacted,
            expected: setting.kind.expected(),
            example: setting.example,
        }
    }

    /// The file that `name` gives for a secret cannot be read. A value that does not look like a path may be the
    /// secret itself, set under the wrong name.
    pub(super) fn unreadable(name: String, path: &str, cause: String) -> Self {
        let is_path = ["/", "./", "../"].iter().any(|start| path.starts_with(start));
        let path = if is_path { Shown::Plain(path.to_owned()) } else { Shown::Redacted };
        Self::Unreadable { name, path, cause }
    }

    /// The file at `path`, which `setting` names, cannot be read.
    pub(super) fn no_file(setting: &Setting, path: &str, cause: &io::Error) -> Self {
        Self::NoFile {
            name: setting.name,
            path: path.to_owned(),
            cause: cause.to_string(),
            expected: setting.kind.expected(),
            example: setting.example,
        }
    }

    /// No setting has this name, and `nearest` was meant.
    pub(super) fn misspelled(name: &str, nearest: &'static str) -> Self {
        Self::Unknown { name: name.to_owned(), nearest: Some(nearest) }
    }

    /// No setting has this name.
    pub(super) fn unknown(name: &str) -> Self {
        let nearest = nearest(name, SETTINGS.iter().map(|setting| setting.name));
        Self::Unknown { name: name.to_owned(), nearest }
    }
}

/// A value as messages show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// As it is.
    Plain(String),
    /// Not at all.
    Redacted,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => f.write_str(value),
            Self::Redacted => f.write_str("(not shown)"),
        }
    }
}

struct Suggestion(Option<&'static str>);

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => f.write_str("; `tollgate config` lists all"),
        }
    }
}

/// A URL without the user and password in it, wherever they stand: people put database passwords there.
pub(super) fn without_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (user, place) = match rest.rsplit_once('@') {
        Some((_, place)) => ("(not shown)@", place),
        None => ("", rest),
    };
    match place.split_once('?') {
        // A key may be written with `%`.
        Some((place, query)) if query.contains('%') || query.to_ascii_lowercase().contains("pass") => {
            format!("{scheme}://{user}{place}?(not shown)")
        }
        Some(_) | None => format!("{scheme}://{user}{place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        let check = |value, expected: &str| assert_eq!(without_password(value), expected);
        check("postgres://me:p@ss@db/tollgate", "postgres://(not shown)@db/tollgate");
        check("postgres://db/tollgate", "postgres://db/tollgate");
        check("postgres://me:p?ss@db/tollgate", "postgres://(not shown)@db/tollgate");
        check("postgres://db/tollgate?sslmode=require", "postgres://db/tollgate?sslmode=require");
        check("postgres://db/tollgate?user=me&Password=p", "postgres://db/tollgate?(not shown)");
        check("postgres://db/tollgate?pass%77ord=p", "postgres://db/tollgate?(not shown)");
        check("sqlite:a@b", "sqlite:a@b");
    }
}
