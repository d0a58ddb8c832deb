//! The options of `tollgate tail`. What it does is in `demo`, beside the client that it uses.

use clap::Args;

use super::card;
use crate::domain::{CardId, Outcome, Reason};

/// Options of `tail`.
#[derive(Debug, Args)]
pub struct TailOptions {
    /// The node's admin port; by default `TOLLGATE_ADMIN_LISTEN`
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<String>,
    /// Only this outcome: approved, partial, or declined
    #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
    pub outcome: Option<Outcome>,
    /// Only this reason, such as `spending_limit`
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub reason: Option<Reason>,
    /// Only this card
    #[arg(long, value_name = "ID", value_parser = card)]
    pub card: Option<CardId>,
    /// Only cards of this group
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Show this many earlier decisions first, at most 200
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 10)]
    pub last: u16,
    /// End after the earlier decisions
    #[arg(long)]
    pub no_follow: bool,
}

fn outcome(text: &str) -> Result<Outcome, String> {
    let expected = || format!("expected one of {}", Outcome::ALL.map(Outcome::as_str).join(", "));
    Outcome::new(text).ok_or_else(expected)
}

fn reason(text: &str) -> Result<Reason, String> {
    let expected = || format!("expected one of {}", Reason::ALL.map(Reason::as_str).join(", "));
    Reason::new(text).ok_or_else(expected)
}
