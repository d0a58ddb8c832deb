//! The command line: commands and their options. What the commands do is elsewhere, `check` and `config` below here.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, value_parser};

use crate::{
    config::{self, Loaded, Problem},
    domain::{CardId, ConnectedAccountId, Timestamp, parse_span},
    stripe::Secret,
};

pub mod check;
pub mod serve;
pub mod sign;

/// Decides Stripe Issuing authorizations: exact limits, durable answers, every decision explained.
///
/// Without a command it serves. Settings are environment variables: see `tollgate config`.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeOptions,
}

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
    /// Answer Stripe's webhook until SIGTERM (the default)
    Serve(ServeOptions),
    /// Play through purchases on a node of its own, or on several, in a temporary directory
    Demo(DemoOptions),
    /// Point at every mistake of a policy file, and show what cards get
    Check(CheckOptions),
    /// Sign an event as Stripe does, for trying out a node
    Sign(SignOptions),
    /// Book what happened at Stripe while no node was listening
    Reconcile(ReconcileOptions),
    /// Show every setting, with its value, source and meaning
    Config(ConfigOptions),
    /// List every metric
    Metrics(MetricsOptions),
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeOptions {
    /// Start although the journal ends before what was acknowledged: what is missing is lost, and limits may be
    /// overspent by it
    #[arg(long)]
    pub accept_journal_loss: bool,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Leave it running at the end, with its address, secret and a `curl` to paste
    #[arg(long)]
    pub keep: bool,
    /// How many nodes; several share a PostgreSQL of their own, which has to be installed, and one of them is killed
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = value_parser!(u8).range(1..=9))]
    pub nodes: u8,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckOptions {
    /// The policy file
    #[arg(required_unless_present = "schema")]
    pub policy: Option<PathBuf>,
    /// Show only what this card gets
    #[arg(long, value_name = "ID")]
    pub card: Option<String>,
    /// Show only what a card of this group gets
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Print the JSON schema of policy files, for editors
    #[arg(long, conflicts_with_all = ["policy", "card", "group"])]
    pub schema: bool,
}

/// Options of `sign`.
#[derive(Debug, Args)]
pub struct SignOptions {
    /// The file with the event, as it will be sent
    pub event: PathBuf,
    /// The signing secret; without it the first of `STRIPE_WEBHOOK_SECRET`
    #[arg(long, value_parser = secret)]
    pub secret: Option<Secret>,
    /// Print a `curl` command that sends the event to this address
    #[arg(long, value_name = "URL")]
    pub curl: Option<String>,
}

/// Options of `reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileOptions {
    /// From when on: a time such as 2026-11-22T10:00:00Z, or how long ago, such as 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Since,
    /// Until when: a time such as 2026-11-22T10:00:00Z; without it, now
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// Only this card
    #[arg(long, value_name = "ID", value_parser = card)]
    pub card: Option<CardId>,
    /// The connected account to read, with the key of its platform
    #[arg(long, value_name = "ID", value_parser = account)]
    pub account: Option<ConnectedAccountId>,
    /// Show what differs, and book nothing; exit code 1 where something does
    #[arg(long)]
    pub dry_run: bool,
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
    /// Print the page of documentation
    #[arg(long)]
    pub markdown: bool,
    /// Print the settings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `metrics`.
#[derive(Debug, Args)]
pub struct MetricsOptions {
    /// Print the page of documentation
    #[arg(long)]
    pub markdown: bool,
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
    load: impl FnOnce() -> Result<Loaded, Vec<Problem>>,
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
        Err(problems) => {
            tell_problems(&problems, err)?;
            Ok(Verdict::BadSettings)
        }
    }
}

/// Tells every problem of the settings.
///
/// # Errors
/// The output cannot be written.
pub fn tell_problems(problems: &[Problem], err: &mut dyn Write) -> io::Result<()> {
    writeln!(err, "tollgate: the settings cannot be used:")?;
    for problem in problems {
        writeln!(err, "  {problem}")?;
    }
    Ok(())
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

fn account(text: &str) -> Result<ConnectedAccountId, String> {
    let account = ConnectedAccountId::new(text).filter(|account| account.as_str().starts_with("acct_"));
    account.ok_or_else(|| "expected the id of an account: acct_…".to_owned())
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
            &["sign"],
            &["sign", "e.json", "--secret", ""],
            &["reconcile"],
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
