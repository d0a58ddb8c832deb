//! Why a database cannot be the journal: each with what was found, and what to do.

use std::{error::Error, time::Duration};

use crate::journal::Lineage;

/// Why a database cannot be the journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Misfit {
    /// The URL cannot be read. It is not repeated: there may be a password in it.
    #[error("has an address that cannot be read: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url,
    /// What the URL says of TLS cannot be used.
    #[error("cannot be reached over TLS with the parameters of its URL: {0}")]
    Tls(String),
    /// Nobody answers there, or not us.
    #[error(
        "cannot be reached: {0}. Check host, port, user, password and sslmode, and that the server runs and lets us in"
    )]
    Unreachable(String),
    /// Something is there, or nothing, that does not answer.
    #[error("does not answer within {0:?}. Check that the server runs, and that packets get there and back")]
    Silent(Duration),
    /// It is the primary of before a failover: what it takes would be lost.
    #[error(
        "is a primary of before the failover: it writes on timeline {found}, and this node has seen {known}. Stop it, or \
         make it a standby of the new one"
    )]
    Earlier {
        /// What was found.
        found: Lineage,
        /// The highest that was seen.
        known: Lineage,
    },
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
    /// Something in between shares sessions, so that nobody knows what holds in them.
    #[error(
        "is reached by way of a connection pooler, which shares server sessions between clients: \
         name the server itself, or a proxy that passes TCP connections on as they are"
    )]
    Pooler,
    /// It is too old.
    #[error("is version {0}: expected PostgreSQL 13 or later")]
    Version(i32),
    /// What is in the schema is something else.
    #[error("has a schema named tollgate that is no journal: {0}. Move it away, or name another database")]
    NotAJournal(String),
    /// There are no tables of a journal.
    #[error("has no journal: start a node on it first, or name another database")]
    NoJournal,
    /// A later version of Tollgate has been here.
    #[error("holds a journal of format {found}, and this version knows {known}: start a later version")]
    Later {
        /// What was found.
        found: i32,
        /// The last that is known.
        known: i32,
    },
    /// No server can be used now: the journal's control connection says why.
    #[error("{0}")]
    Away(String),
    /// The address has led to another server than the one in force.
    #[error("has changed to another server")]
    Moved,
    /// Too few servers have an entry before it is acknowledged.
    #[error(
        "has entries on {found} of its servers before they are acknowledged, and TOLLGATE_JOURNAL_COPIES={expected}: set \
         synchronous_standby_names there, or start the standby"
    )]
    Copies {
        /// How many have it.
        found: u32,
        /// How many are demanded.
        expected: u32,
    },
    /// It lacks what this node was told is durable.
    #[error(
        "lacks entries that were already answered for: entry {seq} of {account}, among others. Name the database that has \
         them; or, if they are lost for good, start once with --accept-journal-loss: limits may then be overspent by as \
         much as they had approved"
    )]
    Loss {
        /// Whose chain.
        account: String,
        /// Which entry of it.
        seq: i64,
    },
    /// It is another journal than the one that this node has answered from.
    #[error("holds another journal than the one that this node has answered from")]
    Another,
    /// It answered with an error.
    #[error("refuses: {0}")]
    Refused(String),
}

impl Misfit {
    /// How much it tells of several servers' misfits: the greater, the closer one was to be of use.
    pub(super) const fn weight(&self) -> u8 {
        match self {
            Self::Url | Self::Tls(_) => 0,
            Self::Silent(_) => 1,
            Self::Unreachable(_) | Self::Away(_) | Self::Moved => 2,
            Self::Refused(_) => 3,
            Self::Standby => 4,
            Self::Copies { .. }
            | Self::Pooler
            | Self::Version(_)
            | Self::NotAJournal(_)
            | Self::NoJournal
            | Self::Later { .. }
            | Self::Unsafe { .. } => 5,
            Self::Earlier { .. } | Self::Another | Self::Loss { .. } => 6,
        }
    }

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
