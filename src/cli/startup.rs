//! What holds when a node has started: its policy, journal, secrets and addresses. For a person on a terminal, with lines
//! to paste; for a log, the same in one line.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{VERSION, sign::reachable};
use crate::{
    config::{PolicySource, Settings, policy_file::outline},
    domain::Policy,
    journal::Location,
    node::Node,
    stripe::Secret,
};

/// What is known before the node starts.
pub(super) struct Startup {
    journal: Location,
    /// Whether there was no journal yet; unknown for a database.
    is_journal_new: Option<bool>,
    policy_source: PolicySource,
    secrets: usize,
    /// The signing secret of this run, if none is configured.
    made_secret: Option<Secret>,
}

/// Where the node answers, and by which policy it decides.
struct Running {
    webhook: SocketAddr,
    admin: SocketAddr,
    peers: Option<SocketAddr>,
    policy: Arc<Policy>,
}

impl Startup {
    /// Looks at the settings, and at what is there.
    pub(super) fn of(settings: &Settings, made_secret: Option<Secret>) -> Self {
        let journal = match &settings.journal.location {
            Location::Sqlite(path) => Location::Sqlite(absolute(path)),
            other @ (Location::Memory | Location::Postgres(_)) => other.clone(),
        };
        let is_journal_new = match &journal {
            Location::Sqlite(path) => Some(!path.exists()),
            Location::Memory => Some(true),
            Location::Postgres(_) => None,
        };
        let (policy_source, secrets) = (settings.policy_source.clone(), settings.stripe.secrets.len());
        Self { journal, is_journal_new, policy_source, secrets, made_secret }
    }

    /// One line of the log.
    pub(super) fn log(&self, node: &Node) {
        let policy = node.policy();
        let file = match &self.policy_source {
            PolicySource::File(path) => Some(absolute(path)),
            PolicySource::Environment(_) | PolicySource::Journal(_) => None,
        };
        tracing::info!(
            webhook = %format_args!("http://{}/webhook", node.webhook()),
            admin = %format_args!("http://{}", node.admin()),
            peers = node.peers().map(tracing::field::display),
            version = VERSION,
            policy = policy.version().as_str(),
            policy_file = file.as_ref().map(|file| tracing::field::display(file.display())),
            journal = %self.journal,
            journal_is_new = self.is_journal_new,
            secrets = self.secrets,
            secret_is_made = self.made_secret.is_some(),
            "ready"
        );
    }

    /// Some lines for a person, and three to paste. `program` is how this program was called.
    pub(super) fn show(&self, node: &Node, program: &str, out: &mut dyn Write) -> io::Result<()> {
        let running = Running {
            webhook: node.webhook(),
            admin: node.admin(),
            peers: node.peers(),
            policy: node.policy(),
        };
        self.show_running(&running, program, out)
    }

    fn show_running(&self, running: &Running, program: &str, out: &mut dyn Write) -> io::Result<()> {
        let Running { webhook, admin, peers, ref policy } = *running;
        writeln!(out, "Tollgate {VERSION} is ready.\n")?;
        writeln!(out, "  webhook  http://{webhook}/webhook")?;
        writeln!(out, "  admin    http://{admin}")?;
        if let Some(peers) = peers {
            writeln!(out, "  peers    {peers}")?;
        }
        let state = match self.is_journal_new {
            Some(true) => " (new)",
            Some(false) => " (continued)",
            None => "",
        };
        match &self.journal {
            Location::Sqlite(path) => writeln!(out, "  journal  {}{state}", path.display())?,
            Location::Memory => writeln!(out, "  journal  in memory: forgotten when the node ends")?,
            Location::Postgres(_) => writeln!(out, "  journal  PostgreSQL (TOLLGATE_JOURNAL)")?,
        }
        self.show_policy(policy, out)?;
        let (secret, option) = match &self.made_secret {
            Some(made) => (
                format!("{}, for this run only: STRIPE_WEBHOOK_SECRET is not set", made.reveal()),
                format!(" --secret {}", made.reveal()),
            ),
            None => (format!("{} in STRIPE_WEBHOOK_SECRET", self.secrets), String::new()),
        };
        writeln!(out, "  secret   {secret}")?;

        writeln!(out, "\nTry it from another terminal:\n")?;
        let node =
            if webhook.port() == 4242 { String::new() } else { format!(" --node {}", reachable(webhook)) };
        let explained = reachable(admin);
        let by = if admin.port() == 9464 { String::new() } else { format!(" --admin {explained}") };
        writeln!(out, "  {program} purchase 25.00 --card ic_demo{option}{node}{by}")?;
        writeln!(out, "  curl -s http://{explained}/v1/cards/ic_demo")?;
        writeln!(out, "  curl -s http://{explained}/metrics | grep tollgate_decisions_total\n")
    }

    fn show_policy(&self, policy: &Policy, out: &mut dyn Write) -> io::Result<()> {
        let version = policy.version().as_str();
        match &self.policy_source {
            PolicySource::File(path) => {
                writeln!(out, "  policy   {} (version {version})", absolute(path).display())?;
            }
            PolicySource::Environment(_) => {
                writeln!(out, "  policy   the limits in TOLLGATE_CARD_* (no policy file)")?;
            }
            PolicySource::Journal(default) if default.version() == policy.version() => {
                writeln!(out, "  policy   no policy file (TOLLGATE_POLICY), and none in the journal")?;
            }
            PolicySource::Journal(_) => {
                writeln!(out, "  policy   the newest in the journal (version {version})")?;
            }
        }
        for line in outline(&policy.for_card(None, None)) {
            writeln!(out, "           each card: {line}")?;
        }
        let (groups, cards) = (policy.groups().count(), policy.cards().count());
        if groups > 0 || cards > 0 {
            let (of_groups, of_cards) = (counted(groups, "group"), counted(cards, "card"));
            writeln!(
                out,
                "           other settings for {of_groups} and {of_cards}: `tollgate check` shows them"
            )?;
        }
        Ok(())
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config;

    fn shown(pairs: &[(&str, &str)], made: Option<&str>, addresses: [&str; 2]) -> String {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = config::read(pairs, |path| fs::read_to_string(path)).unwrap().settings;
        let startup = Startup::of(&settings, made.map(|made| Secret::new(made).unwrap()));
        let [webhook, admin] = addresses.map(|address| address.parse().unwrap());
        let policy = match &settings.policy_source {
            PolicySource::File(path) => {
                let text = fs::read_to_string(path).unwrap();
                Arc::new(config::policy_file::read(&text).unwrap().policy)
            }
            PolicySource::Environment(policy) | PolicySource::Journal(policy) => Arc::clone(policy),
        };
        let mut out = Vec::new();
        startup.show_running(&Running { webhook, admin, peers: None, policy }, "tollgate", &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_holds_without_any_setting_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("tollgate.db");
        let location = format!("sqlite:{}", journal.display());
        let pairs = [("TOLLGATE_JOURNAL", &*location)];
        let addresses = ["127.0.0.1:4242", "127.0.0.1:9464"];
        let expected = format!(
            "Tollgate {VERSION} is ready.

  webhook  http://127.0.0.1:4242/webhook
  admin    http://127.0.0.1:9464
  journal  {} (new)
  policy   no policy file (TOLLGATE_POLICY), and none in the journal
           each card: at most 500.00 USD (50000 minor units of any other currency) a day (UTC)
  secret   whsec_made, for this run only: STRIPE_WEBHOOK_SECRET is not set

Try it from another terminal:

  tollgate purchase 25.00 --card ic_demo --secret whsec_made
  curl -s http://127.0.0.1:9464/v1/cards/ic_demo
  curl -s http://127.0.0.1:9464/metrics | grep tollgate_decisions_total

",
            journal.display()
        );
        assert_eq!(shown(&pairs, Some("whsec_made"), addresses), expected);
        fs::write(&journal, "").unwrap();
        assert!(shown(&pairs, Some("whsec_made"), addresses).contains("tollgate.db (continued)"));
    }

    #[test]
    fn configured_secrets_are_counted_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy.yaml");
        fs::write(
            &policy,
            "version: 1\ncurrency: usd\ndefault: {paused: true}\ngroups: {travel: {paused: false}}\n",
        )
        .unwrap();
        let pairs = [
            ("TOLLGATE_JOURNAL", "postgres://user:hunter2@db/tollgate"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_one,whsec_two"),
            ("TOLLGATE_POLICY", policy.to_str().unwrap()),
        ];
        let shown = shown(&pairs, None, ["0.0.0.0:5000", "0.0.0.0:5001"]);
        for part in [
            "  journal  PostgreSQL (TOLLGATE_JOURNAL)\n",
            &format!("  policy   {} (version ", policy.display()),
            "each card: paused: everything is declined\n",
            "other settings for 1 group and 0 cards: `tollgate check` shows them\n",
            "  secret   2 in STRIPE_WEBHOOK_SECRET\n",
            "purchase 25.00 --card ic_demo --node 127.0.0.1:5000 --admin 127.0.0.1:5001\n",
        ] {
            assert!(shown.contains(part), "no `{part}` in\n{shown}");
        }
        assert!(!shown.contains("whsec_") && !shown.contains("hunter2"), "{shown}");
    }
}
