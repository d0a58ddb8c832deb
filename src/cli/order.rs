//! The options of `tollgate raise`, `grant`, `pause` and `resume`. What they do is in `demo`, beside the client that they use.

use std::time::Duration;

use clap::Args;

use super::merchant;
use crate::domain::{CardId, Currency, Interval, NetworkId, Timestamp, parse_span};

/// Options of `raise`.
#[derive(Debug, Args)]
pub struct RaiseOptions {
    /// The card, `ic_…`, or the budget: `budget:NAME`, and of a template `budget:NAME/KEY`
    #[arg(value_parser = target)]
    pub target: Target,
    /// By how much limits on amounts are raised, such as 200.00
    #[arg(required_unless_present = "count", conflicts_with = "count")]
    pub amount: Option<String>,
    /// By how many limits on approvals are raised
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..))]
    pub count: Option<i64>,
    /// The currency of the amount
    #[arg(long, value_name = "CODE", default_value = "usd")]
    pub currency: Currency,
    /// The window of the limits, such as daily; needed if the account has several
    #[arg(long, value_name = "INTERVAL", value_parser = interval)]
    pub interval: Option<Interval>,
    /// The end: a time such as 2026-11-27T00:00:00Z, or a span such as 24h [default: the end of the window]
    #[arg(long, value_name = "TIME", value_parser = until)]
    pub until: Option<Until>,
    /// What is recorded with it, and where it goes.
    #[command(flatten)]
    pub order: OrderOptions,
}

/// Options of `grant`.
#[derive(Debug, Args)]
pub struct GrantOptions {
    /// The card
    #[arg(value_parser = super::card)]
    pub card: CardId,
    /// By how much each limit on amounts is higher for one purchase, such as 300.00
    pub amount: String,
    /// The currency of the amount and of the purchase
    #[arg(long, value_name = "CODE", default_value = "usd")]
    pub currency: Currency,
    /// Only at this merchant, by its id at the card network
    #[arg(long, value_name = "ID", value_parser = merchant)]
    pub merchant: Option<NetworkId>,
    /// The end: a time such as 2026-11-27T00:00:00Z, or a span such as 24h
    #[arg(long, value_name = "TIME", value_parser = until)]
    pub until: Until,
    /// What is recorded with it, and where it goes.
    #[command(flatten)]
    pub order: OrderOptions,
}

/// Options of `pause`.
#[derive(Debug, Args)]
pub struct PauseOptions {
    /// The card, `ic_…`, or the budget: `budget:NAME`, and of a template `budget:NAME/KEY`
    #[arg(value_parser = target)]
    pub target: Target,
    /// The end: a time such as 2026-11-27T00:00:00Z, or a span such as 24h [default: `tollgate resume`]
    #[arg(long, value_name = "TIME", value_parser = until)]
    pub until: Option<Until>,
    /// What is recorded with it, and where it goes.
    #[command(flatten)]
    pub order: OrderOptions,
}

/// Options of `resume`.
#[derive(Debug, Args)]
pub struct ResumeOptions {
    /// The card, `ic_…`, or the budget: `budget:NAME`, and of a template `budget:NAME/KEY`
    #[arg(value_parser = target)]
    pub target: Target,
    /// What is recorded with it, and where it goes.
    #[command(flatten)]
    pub order: OrderOptions,
}

/// What all of them record, and where they go.
#[derive(Debug, Args)]
pub struct OrderOptions {
    /// Why, which is recorded with the name of the token: that in `TOLLGATE_ADMIN_TOKEN`
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// An id of your own: repeated with it, the command counts once [default: a random one]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// The node's admin port; by default `TOLLGATE_ADMIN_LISTEN`
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<String>,
}

/// A card or a budget, as `limits[].account` of a decision names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A card.
    Card(CardId),
    /// The name of a budget, perhaps with a key.
    Budget(String),
}

/// When something ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// At a time.
    At(Timestamp),
    /// After a span.
    In(Duration),
}

fn target(text: &str) -> Result<Target, String> {
    if let Some(name) = text.strip_prefix("budget:").filter(|name| !name.is_empty()) {
        let is_usable = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
        return is_usable
            .then(|| Target::Budget(name.to_owned()))
            .ok_or_else(|| "expected the key of a budget as `limits[].account` has it".to_owned());
    }
    super::card(text)
        .map(Target::Card)
        .map_err(|_| "expected a card `ic_…`, or a budget `budget:NAME` or `budget:NAME/KEY`".to_owned())
}

fn interval(text: &str) -> Result<Interval, String> {
    Interval::parse(text).ok_or_else(|| "expected an interval such as daily or rolling(24h)".to_owned())
}

fn until(text: &str) -> Result<Until, String> {
    let span = parse_span(text).map(Until::In);
    span.or_else(|| Timestamp::parse(text).map(Until::At))
        .ok_or_else(|| "expected 2026-11-27T00:00:00Z, or a span of s, m, h or d such as 24h".to_owned())
}
