//! The options of `tollgate export`. What it writes is elsewhere.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::journal::Location;

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportOptions {
    /// What each line is
    #[arg(long, value_enum, default_value_t = Table::Decisions)]
    pub table: Table,
    /// Only what was recorded after this line: its `cursor`
    #[arg(long, value_name = "CURSOR", conflicts_with = "cursor_file")]
    pub after: Option<String>,
    /// Go on behind the cursor in this file, and write the last one into it when all lines are written
    #[arg(long, value_name = "FILE")]
    pub cursor_file: Option<PathBuf>,
    /// The journal, as `TOLLGATE_JOURNAL` names it; without it, that one. Nodes may be running
    #[arg(long, value_name = "JOURNAL", value_parser = super::journal)]
    pub journal: Option<Location>,
}

/// What a line of an export is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Table {
    /// A decision on a request
    Decisions,
    /// A capture or refund, as an event of Stripe reported it
    Transactions,
    /// A change of a prepaid balance by an operator
    Credits,
}
