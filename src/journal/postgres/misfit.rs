//! Why a database cannot be the journal: each with what was found, and what to do.

use std::error::Error;

/// Why a database cannot be the journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Misfit {
    /// The URL cannot be read. It is not repeated: there may be a password in it.
    #[error("has an address that cannot be read: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url,
    /// The certificates that the URL names are no use.
    #[error("is to be verified by certificates that cannot be used: {0}. Set sslrootcert to a PEM file")]
    Certificates(String),
    /// Nobody answers there, or not us.
    #[error(
        "cannot be reached: {0}. Check host, port, user, password and sslmode, and that the server runs and lets us in"
    )]
    Unreachable(String),
    /// It follows another server.
    #[error(
        "is a standby, and takes no entries: name the primary, or all hosts with target_session_attrs=read-write"
    )]
    Standby,
    /// What it says is durable might not be.
    #[error("runs with {setting} = {found}: an answer could be lost in a power cut. Set it to {expected}")]
    Unsafe {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// It is too old.
    #[error("is version {0}: expected PostgreSQL 13 or later")]
    Version(i32),
    /// What is in the schema is something else.
    #[error("has a schema named tollgate that is no journal: {0}. Move it away, or name another database")]
    NotAJournal(String),
    /// A later version of Tollgate has been here.
    #[error("holds a journal of format {found}, and this version knows {known}: start a later version")]
    Later {
        /// What was found.
        found: i32,
        /// The last that is known.
        known: i32,
    },
    /// It is another journal than the one that this node has answered from.
    #[error("holds another journal than the one that this node has answered from")]
    Another,
    /// It answered with an error.
    #[error("refuses: {0}")]
    Refused(String),
}

impl Misfit {
    /// What the server, or the way to it, answered.
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        if error.as_db_error().is_some() {
            Self::Refused(told(error))
        } else {
            Self::Unreachable(told(error))
        }
    }
}

/// An error and its causes, in one line. The values of parameters are never part of it.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        let hint = told.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        return format!("{} [{}]{hint}", told.message(), told.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(because) = cause {
        text = format!("{text}: {because}");
        cause = because.source();
    }
    text
}
