//! The command line: commands and their options. What the commands do is elsewhere, `check` and `config` below here.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, value_parser};

use crate::{
    config::{self, Load, Problem},
    domain::{CardId, Category, ConnectedAccountId, Country, Currency, NetworkId, Timestamp, parse_span},
    journal::Location,
    stripe::Secret,
};

pub mod check;
pub mod export;
pub mod interrupt;
pub mod order;
pub mod pages;
pub mod serve;
pub mod sign;
pub mod tail;
pub mod test;
pub mod token;
mod startup;

/// Decides Stripe Issuing authorizations: exact limits, durable answers, every decision explained.
///
/// Without a command it runs `serve`. Settings are environment variables: see `tollgate config`.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version = VERSION, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeOptions,
}

/// The version of this program, with the commit that it was built from.
pub const VERSION: &str = env!("BUILD_VERSION");

impl Cli {
    /// The command; `serve` where none is named.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve Stripe's webhook until SIGTERM (the default)
    Serve(ServeOptions),
    /// Show purchases on a temporary node, or on several
    Demo(DemoOptions),
    /// Check a policy file, and show what each card gets
    Check(CheckOptions),
    /// Run the tests of a policy file, or write a first set from a journal
    Test(TestOptions),
    /// Send a signed authorization request to a running node, and show its decision
    Purchase(PurchaseOptions),
    /// Follow the decisions of a running node and its cluster, one line each
    Tail(tail::TailOptions),
    /// Raise a limit of a card or a budget for a while
    Raise(order::RaiseOptions),
    /// Let one purchase on a card pass the limits
    Grant(order::GrantOptions),
    /// Decline everything on a card, or everything that charges a budget
    Pause(order::PauseOptions),
    /// End a pause of a card or a budget
    Resume(order::ResumeOptions),
    /// Sign an event as Stripe does, to send it by hand
    Sign(SignOptions),
    /// Make a token for an operator: prints the line for `TOLLGATE_ADMIN_TOKENS_FILE`, and the token
    Token(token::TokenOptions),
    /// Record what happened at Stripe while no node was running
    Reconcile(ReconcileOptions),
    /// Decide a journal again, or under another policy
    Replay(ReplayOptions),
    /// Write decisions, captures, or credits as CSV
    Export(export::ExportOptions),
    /// Show every setting with its value, source, and meaning
    Config(ConfigOptions),
    /// List every metric
    Metrics(MetricsOptions),
    /// Print completions for a shell
    Completions(CompletionsOptions),
    /// Print the manual page
    Man(ManOptions),
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeOptions {
    /// Start although the end of the journal is missing: decisions that were answered are lost, and limits may be exceeded by
    /// as much
    #[arg(long)]
    pub accept_journal_loss: bool,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Keep the nodes running at the end, and print their addresses, secret, and a `curl` command
    #[arg(long)]
    pub keep: bool,
    /// Number of nodes. Several share a temporary PostgreSQL, which must be installed, and one of them is killed
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = value_parser!(u8).range(1..=9))]
    pub nodes: u8,
}

/// Options of `check`.
#[derive(Debug, Default, Args)]
pub struct CheckOptions {
    /// The policy file; `-` reads standard input
    #[arg(required_unless_present_any = ["schema", "webhooks"])]
    pub policy: Option<PathBuf>,
    /// Show only what this card gets
    #[arg(long, value_name = "ID")]
    pub card: Option<String>,
    /// Show only what a card of this group gets
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
    /// Print the JSON schema of policy files, for editors
    #[arg(long, conflicts_with_all = ["policy", "card", "group", "json", "webhooks"])]
    pub schema: bool,
    /// Check a file of endpoints for outgoing webhooks (`TOLLGATE_WEBHOOKS`) instead of a policy
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "card", "group", "json"])]
    pub webhooks: Option<PathBuf>,
    /// Send a test event to each endpoint of a good file, and show the results
    #[arg(long, requires = "webhooks")]
    pub send: bool,
}

/// Options of `test`.
#[derive(Debug, Args)]
pub struct TestOptions {
    /// The policy file, which may hold its tests under `tests`
    pub policy: PathBuf,
    /// A file of tests [default: `policy.tests.yaml` beside `policy.yaml`, if there is one]
    #[arg(long, value_name = "FILE")]
    pub tests: Option<PathBuf>,
    /// Write the results to this file, as XML in the form of `JUnit`
    #[arg(long, value_name = "FILE", conflicts_with = "init")]
    pub junit: Option<PathBuf>,
    /// Write a first file of tests, from the decisions of the last day of a journal
    #[arg(long)]
    pub init: bool,
    /// The journal for `--init`, as `TOLLGATE_JOURNAL` names it; without it, that one. Nodes may be running
    #[arg(long, value_name = "JOURNAL", value_parser = journal, requires = "init")]
    pub journal: Option<Location>,
}

/// Options of `purchase`.
#[derive(Debug, Args)]
pub struct PurchaseOptions {
    /// The amount, such as 25.00
    pub amount: String,
    /// The card
    #[arg(long, value_name = "ID", default_value = "ic_demo", value_parser = card)]
    pub card: CardId,
    /// The currency of the amount and of the card
    #[arg(long, value_name = "CODE", default_value = "usd")]
    pub currency: Currency,
    /// The merchant category, by Stripe's name or by its four-digit code
    #[arg(long, value_name = "CATEGORY", default_value = "eating_places_restaurants", value_parser = category)]
    pub merchant_category: Category,
    /// The country of the merchant
    #[arg(long, value_name = "CODE", default_value = "US", value_parser = country)]
    pub merchant_country: Country,
    /// The id of the merchant at the card network
    #[arg(long, value_name = "ID", default_value = "1234567890", value_parser = merchant)]
    pub merchant: NetworkId,
    /// The merchant takes a partial approval
    #[arg(long)]
    pub partial: bool,
    /// The node's webhook port; by default `TOLLGATE_LISTEN`
    #[arg(long, value_name = "HOST:PORT")]
    pub node: Option<String>,
    /// The node's admin port, for the explanation; by default `TOLLGATE_ADMIN_LISTEN`
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<String>,
    /// The signing secret; by default the first of `STRIPE_WEBHOOK_SECRET`
    #[arg(long, value_parser = secret)]
    pub secret: Option<Secret>,
}

/// Options of `sign`.
#[derive(Debug, Args)]
pub struct SignOptions {
    /// The file with the event, byte for byte; by default a purchase of 25.00 USD on card `ic_demo`
    pub event: Option<PathBuf>,
    /// The signing secret; by default the first of `STRIPE_WEBHOOK_SECRET`
    #[arg(long, value_parser = secret)]
    pub secret: Option<Secret>,
    /// Print a `curl` command that sends the event to this address; without an event file, the default is the webhook at
    /// `TOLLGATE_LISTEN`
    #[arg(long, value_name = "URL")]
    pub curl: Option<String>,
}

/// Options of `reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileOptions {
    /// The start: a time such as 2026-11-22T10:00:00Z, or an age such as 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Since,
    /// The end: a time such as 2026-11-22T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// Only this card
    #[arg(long, value_name = "ID", value_parser = card)]
    pub card: Option<CardId>,
    /// The connected account to read, with the API key of its platform
    #[arg(long, value_name = "ID", value_parser = account)]
    pub account: Option<ConnectedAccountId>,
    /// Show differences without recording them; exit code 1 if there are any
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `replay`.
#[derive(Debug, Args)]
pub struct ReplayOptions {
    /// Decide every recorded request under the policy then in force; exit code 1 if an answer differs
    #[arg(long, required_unless_present = "policy")]
    pub verify: bool,
    /// Decide every recorded request under this policy file too, and report what would change
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Count only requests since a time such as 2026-11-22T10:00:00Z, or for a period such as 30d
    #[arg(long, value_name = "TIME", value_parser = since, requires = "policy")]
    pub since: Option<Since>,
    /// Count only requests on one card (`ic_…`), or on cards of a group (`group:NAME`)
    #[arg(long, value_name = "CARDS", value_parser = cards, requires = "policy")]
    pub cards: Option<Cards>,
    /// Write the report as JSON to this file
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub json: Option<PathBuf>,
    /// Write the report as one self-contained HTML page to this file
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub html: Option<PathBuf>,
    /// Exit with code 1 if this holds, such as `newly_declined_share > 0.5%` or `newly_approved_count > 0`
    #[arg(long, value_name = "CONDITION", value_parser = condition, requires = "policy")]
    pub fail_if: Vec<Condition>,
    /// The journal, as `TOLLGATE_JOURNAL` names it; without it, that one. Nodes may be running
    #[arg(long, value_name = "JOURNAL", value_parser = journal)]
    pub journal: Option<Location>,
}

/// From when on to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// A time.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

/// Options of `config`.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct ConfigOptions {
    /// Print `.env.example`
    #[arg(long)]
    pub env_example: bool,
    /// Print the documentation page
    #[arg(long)]
    pub markdown: bool,
    /// Print the settings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `metrics`.
#[derive(Debug, Args)]
pub struct MetricsOptions {
    /// Print the documentation page
    #[arg(long)]
    pub markdown: bool,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsOptions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
pub struct ManOptions {
    /// Write the page of each command into this directory
    #[arg(long, value_name = "PATH")]
    pub directory: Option<PathBuf>,
}

/// What a command came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All is well.
    Done,
    /// It was looked at, and found wanting.
    Failed,
    /// The settings cannot be used.
    BadSettings,
    /// An address or another thing of the system's is not to be had.
    Unavailable,
    /// The journal cannot be used, or has died.
    JournalBroken,
}

impl Verdict {
    /// The exit code of the process: 0, 1, or one of sysexits': 69 (`EX_UNAVAILABLE`), 74 (`EX_IOERR`), 78
    /// (`EX_CONFIG`). The command line's own mistakes are 2.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadSettings => 78,
            Self::Unavailable => 69,
            Self::JournalBroken => 74,
        }
    }
}

/// Shows the settings as `options` say. `load` reads them; the generated pages need none.
///
/// # Errors
/// The output cannot be written.
pub fn show_settings(
    options: &ConfigOptions,
    load: Load,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    if options.env_example {
        write!(out, "{}", config::env_example())?;
        return Ok(Verdict::Done);
    }
    if options.markdown {
        write!(out, "{}", config::markdown())?;
        return Ok(Verdict::Done);
    }
    match load() {
        Ok(loaded) => {
            let show = if options.json { config::json } else { config::overview };
            write!(out, "{}", show(&loaded.effective))?;
            Ok(Verdict::Done)
        }
        Err(problems) => tell_problems(&problems, err),
    }
}

/// Tells every problem of the settings, with which a command ends.
///
/// # Errors
/// The output cannot be written.
pub fn tell_problems(problems: &[Problem], err: &mut dyn Write) -> io::Result<Verdict> {
    writeln!(err, "tollgate: the settings are invalid:")?;
    for problem in problems {
        writeln!(err, "  {problem}")?;
    }
    Ok(Verdict::BadSettings)
}

fn since(text: &str) -> Result<Since, String> {
    let ago = parse_span(text).map(Since::Ago);
    ago.or_else(|| Timestamp::parse(text).map(Since::At))
        .ok_or_else(|| "expected 2026-11-22T10:00:00Z, or a span of s, m, h or d such as 24h".to_owned())
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "expected a time such as 2026-11-22T10:00:00Z".to_owned())
}

fn card(text: &str) -> Result<CardId, String> {
    let card = CardId::new(text).filter(|card| card.as_str().starts_with("ic_"));
    card.ok_or_else(|| "expected the id of a card: ic_…".to_owned())
}

fn category(text: &str) -> Result<Category, String> {
    let category = Category::named(text).or_else(|| Category::coded(text));
    category.ok_or_else(|| {
        "expected a merchant category such as book_stores, or its code such as 5942".to_owned()
    })
}

fn country(text: &str) -> Result<Country, String> {
    Country::new(text).ok_or_else(|| "expected a country as two letters such as US".to_owned())
}

fn merchant(text: &str) -> Result<NetworkId, String> {
    NetworkId::new(text).ok_or_else(|| "expected the id of a merchant at the card network".to_owned())
}

fn account(text: &str) -> Result<ConnectedAccountId, String> {
    let account = ConnectedAccountId::new(text).filter(|account| account.as_str().starts_with("acct_"));
    account.ok_or_else(|| "expected the id of an account: acct_…".to_owned())
}

/// Some of all cards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cards {
    /// One card.
    One(String),
    /// The cards that were members of a group when they were used.
    Group(String),
}

fn cards(text: &str) -> Result<Cards, String> {
    match text.strip_prefix("group:") {
        Some(name) if !name.is_empty() => Ok(Cards::Group(name.to_owned())),
        None if text.starts_with("ic_") => Ok(Cards::One(text.to_owned())),
        Some(_) | None => Err("expected the id of a card (`ic_…`) or `group:NAME`".to_owned()),
    }
}

/// A condition on a figure of a replay's report.
#[derive(Clone, PartialEq, Debug)]
pub struct Condition {
    /// The condition as it was given.
    pub text: String,
    /// The figure's name.
    pub figure: String,
    /// Whether the figure must be above the bound, rather than at it or above.
    pub is_strict: bool,
    /// The bound; shares are between 0 and 1.
    pub bound: f64,
}

impl Condition {
    /// Whether it holds for the figure's value.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        if self.is_strict { value > self.bound } else { value >= self.bound }
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let expected =
        || "expected a figure, `>` or `>=`, and a number: `newly_declined_share > 0.5%`".to_owned();
    let (figure, bound) = text.split_once('>').ok_or_else(expected)?;
    let (is_strict, bound) = match bound.strip_prefix('=') {
        Some(bound) => (false, bound.trim()),
        None => (true, bound.trim()),
    };
    let (number, scale) = bound.strip_suffix('%').map_or((bound, 1.0), |percent| (percent, 0.01));
    let bound = number.trim_end().parse::<f64>().map_err(|_| expected())? * scale;
    let figure = figure.trim().to_owned();
    if replay_figures().any(|known| known == figure) {
        return Ok(Condition { text: text.to_owned(), figure, is_strict, bound });
    }
    let known: Vec<String> = replay_figures().collect();
    Err(format!("expected one of {}, found {figure}", known.join(", ")))
}

/// The figures that a condition may name.
fn replay_figures() -> impl Iterator<Item = String> {
    ["newly_declined", "newly_approved", "other_amount", "newly_challenged"]
        .into_iter()
        .flat_map(|change| [format!("{change}_count"), format!("{change}_share")])
}

fn journal(text: &str) -> Result<Location, String> {
    text.parse().map_err(|_| "expected sqlite:FILE or postgres://…".to_owned())
}

fn secret(text: &str) -> Result<Secret, String> {
    Secret::new(text).ok_or_else(|| "a secret has at least one character".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, clap::Error> {
        let all = ["tollgate"].iter().chain(arguments);
        Cli::try_parse_from(all).map(Cli::into_command)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_serves() {
        for arguments in [&["--accept-journal-loss"][..], &["serve", "--accept-journal-loss"]] {
            let Ok(Command::Serve(options)) = parse(arguments) else { panic!("{arguments:?}") };
            assert!(options.accept_journal_loss);
        }
        assert!(matches!(parse(&[]), Ok(Command::Serve(ServeOptions { accept_journal_loss: false }))));
    }

    #[test]
    fn what_means_nothing_is_a_usage_error() {
        for arguments in [
            &["sevre"][..],
            &["check"],
            &["check", "--schema", "p.yaml"],
            &["check", "p.yaml", "--accept-journal-loss"],
            &["config", "--json", "--markdown"],
            &["demo", "--nodes", "0"],
            &["demo", "--nodes", "10"],
            &["purchase"],
            &["purchase", "25.00", "--merchant-category", "fast_food"],
            &["purchase", "25.00", "--merchant-country", "USA"],
            &["raise", "ic_1", "200.00"],
            &["raise", "ic_1", "--reason", "x"],
            &["raise", "ic_1", "200.00", "--count", "2", "--reason", "x"],
            &["raise", "budget:", "200.00", "--reason", "x"],
            &["grant", "budget:team", "200.00", "--until", "24h", "--reason", "x"],
            &["grant", "ic_1", "200.00", "--reason", "x"],
            &["pause", "engineering", "--reason", "x"],
            &["resume", "ic_1", "--until", "24h", "--reason", "x"],
            &["completions", "cmd"],
            &["sign", "e.json", "--secret", ""],
            &["reconcile"],
            &["replay"],
            &["replay", "--verify", "--journal", "data/"],
            &["reconcile", "--since", "yesterday"],
            &["reconcile", "--since", "24h", "--until", "1h"],
            &["reconcile", "--since", "24h", "--card", "iauth_1"],
        ] {
            let error = parse(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }

    #[test]
    fn a_secret_on_the_command_line_is_not_shown() {
        let command = parse(&["sign", "e.json", "--secret", "whsec_topsecret"]).unwrap();
        assert!(!format!("{command:?}").contains("topsecret"));
    }
}
