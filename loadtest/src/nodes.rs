//! Nodes that the load test starts itself, ends as told, and starts again where they were. What is asked of them is
//! elsewhere.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    admin::{Admin, Books as _},
    clock::Clock,
    postgres::NoServer,
    process::{NotUp, Process},
    scenario::{Act, DatabaseAct, Limits, Standby},
    servers::Servers,
};

/// How long nodes may take to find each other.
const PATIENCE_US: u64 = 60_000_000;
/// How often they are asked whether they have.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Nodes on this machine, with a journal of their own.
pub struct Nodes {
    binary: PathBuf,
    directory: PathBuf,
    settings: BTreeMap<String, String>,
    each: Vec<Node>,
    /// Behind the nodes: it ends after them.
    database: Option<Box<Servers>>,
}

/// A node's process, and where it answers, which stays the same when it is started again.
struct Node {
    process: Option<Process>,
    at: Addresses,
    /// What it ran as, each time that it was started, as the system names it.
    programs: Vec<PathBuf>,
}

/// Where a node answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Addresses {
    webhook: SocketAddr,
    admin: SocketAddr,
    /// For other nodes, where there are any.
    peers: Option<SocketAddr>,
}

/// Why there are no nodes.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// The files of a node cannot be made.
    #[error("cannot prepare {0}: {1}")]
    Directory(PathBuf, io::Error),
    /// The program does not start.
    #[error("cannot start {0}: {1}; build it with `cargo build`, or name it with --binary")]
    Program(PathBuf, io::Error),
    /// The node ended, or took too long.
    #[error("node {0} is not ready; its log is {1}")]
    NotReady(usize, PathBuf),
    /// More than one node needs a journal that they can share.
    #[error("nodes share a journal in PostgreSQL: {0}")]
    Database(#[from] NoServer),
    /// They do not become a cluster.
    #[error(
        "expected node {0} to find the {1} others, found that it has not after a minute; the logs are in {2}"
    )]
    Alone(usize, usize, PathBuf),
}

impl Nodes {
    /// Starts so many nodes with these limits, in `directory`, which is emptied first. One node keeps its journal in a file,
    /// unless its database has a standby; several share a PostgreSQL, which is started for them, and know each
    /// other when this returns.
    ///
    /// # Errors
    /// They do not come up.
    pub fn start(
        count: usize,
        binary: &Path,
        directory: &Path,
        secrets: &str,
        limits: &Limits,
        standby: Option<Standby>,
        more: &[(&str, String)],
    ) -> Result<Self, NotStarted> {
        let prepare = || -> io::Result<PathBuf> {
            if directory.exists() {
                fs::remove_dir_all(directory)?;
            }
            fs::create_dir_all(directory)?;
            directory.canonicalize()
        };
        let directory = prepare().map_err(|cause| NotStarted::Directory(directory.to_owned(), cause))?;
        let database = if count > 1 || standby.is_some() {
            Some(Box::new(Servers::start(&directory, standby)?))
        } else {
            None
        };
        let journal =
            database.as_ref().map_or_else(|| "sqlite:tollgate.db".to_owned(), |database| database.url());
        let mut settings: BTreeMap<String, String> = [
            ("TOLLGATE_JOURNAL", &*journal),
            ("TOLLGATE_LOG_FORMAT", "json"),
            // A line for each declined purchase would be part of what is measured.
            ("TOLLGATE_LOG", "warn,tollgate::cli::startup=info"),
            ("TOLLGATE_DRAIN_DELAY", "500ms"),
            ("STRIPE_WEBHOOK_SECRET", secrets),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        for (name, limit) in [
            ("TOLLGATE_CARD_LIMIT_PER_AUTHORIZATION", limits.per_authorization),
            ("TOLLGATE_CARD_LIMIT_DAILY", limits.daily),
            ("TOLLGATE_CARD_LIMIT_ALL_TIME", limits.all_time),
        ] {
            settings.extend(limit.map(|limit| (name.to_owned(), limit.to_string())));
        }
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let mut nodes = Self { binary: found(binary), directory, settings, each: Vec::new(), database };
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let peers = (count > 1).then_some(anywhere);
        for number in 0..count {
            let at = Addresses { webhook: anywhere, admin: anywhere, peers };
            nodes.each.push(Node { process: None, at, programs: Vec::new() });
            nodes.launch(number)?;
        }
        if count > 1 {
            nodes.wait_for_each_other()?;
        }
        Ok(nodes)
    }

    /// From now on nodes are started from this program.
    pub fn start_from(&mut self, binary: &Path) {
        self.binary = found(binary);
    }

    /// For each node, what it ran as from its first start on.
    pub fn programs(&self) -> impl Iterator<Item = &[PathBuf]> {
        self.each.iter().map(|node| node.programs.as_slice())
    }

    /// The journal, without what is secret in it.
    #[must_use]
    pub fn journal(&self) -> &str {
        self.settings.get("TOLLGATE_JOURNAL").map_or("", String::as_str)
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.each.len()
    }

    /// The processes of those that run.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.each.iter().filter_map(|node| node.process.as_ref().map(Process::id))
    }

    /// Where each takes webhooks.
    pub fn webhooks(&self) -> impl Iterator<Item = SocketAddr> {
        self.each.iter().map(|node| node.at.webhook)
    }

    /// Where each has its admin API.
    pub fn admins(&self) -> impl Iterator<Item = SocketAddr> {
        self.each.iter().map(|node| node.at.admin)
    }

    /// Lets the first node catch up with what Stripe's API knows.
    ///
    /// # Errors
    /// It cannot: in the program's own words.
    pub fn reconcile(&self) -> Result<(), String> {
        let Some(node) = self.each.first() else { return Ok(()) };
        let output = self
            .command(0, node)
            .stdin(Stdio::null())
            .args(["reconcile", "--since", "24h"])
            .output()
            .map_err(|cause| format!("cannot run {}: {cause}", self.binary.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!(
            "expected `tollgate reconcile` to book everything, found {}",
            String::from_utf8_lossy(&said)
        ))
    }

    /// Ends a node, and returns when it has ended.
    pub fn end(&mut self, number: usize, act: Act) {
        let process = self.each.get_mut(number).and_then(|node| node.process.take());
        let Some(process) = process else { return };
        process.end(match act {
            Act::Kill => Signal::KILL,
            Act::Terminate => Signal::TERM,
        });
    }

    /// Does this to the database, if there is one.
    ///
    /// # Errors
    /// The standby does not take over.
    pub fn befall(&mut self, act: DatabaseAct) -> Result<(), NotStarted> {
        self.database.as_mut().map_or(Ok(()), |database| database.befall(act).map_err(NotStarted::Database))
    }

    /// Starts a node, and returns when it is ready.
    ///
    /// # Errors
    /// It does not come up.
    pub fn launch(&mut self, number: usize) -> Result<(), NotStarted> {
        self.launch_with(number, &[])
    }

    /// Starts a node that knows only the first primary of the database. Gives whether it came up there.
    ///
    /// # Errors
    /// It cannot be started at all.
    pub fn launch_astray(&mut self, number: usize) -> Result<bool, NotStarted> {
        let first = self.database.as_ref().map(|database| ("TOLLGATE_JOURNAL", database.url_of_first()));
        match self.launch_with(number, first.as_slice()) {
            Ok(()) => Ok(true),
            Err(NotStarted::NotReady(..)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn launch_with(&mut self, number: usize, settings: &[(&str, String)]) -> Result<(), NotStarted> {
        let log = self.directory.join(format!("node-{number}.log"));
        let Some(node) = self.each.get(number) else { return Ok(()) };
        let mut command = self.command(number, node);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        let (process, at) = Process::start(&mut command, &log, addresses).map_err(|cause| match cause {
            NotUp::Program(cause) => NotStarted::Program(self.binary.clone(), cause),
            NotUp::NotReady => NotStarted::NotReady(number, log),
        })?;
        if let Some(node) = self.each.get_mut(number) {
            node.programs.extend(process.program());
            (node.process, node.at) = (Some(process), at);
        }
        Ok(())
    }

    /// Waits until each node counts all of them as members, so that the first questions find the owners of their cards.
    fn wait_for_each_other(&self) -> Result<(), NotStarted> {
        let others = self.count().saturating_sub(1);
        let clock = Clock::start();
        for (number, node) in self.each.iter().enumerate() {
            let mut admin = Admin::new(node.at.admin, None);
            let mut members = || Some(admin.read("/v1/node").ok()??.get("members")?.as_array()?.len());
            while members().is_none_or(|members| members <= others) {
                if clock.now_us() > PATIENCE_US {
                    return Err(NotStarted::Alone(number, others, self.directory.clone()));
                }
                thread::sleep(ASK_EVERY);
            }
        }
        Ok(())
    }
}

impl Nodes {
    /// The program with the settings of a node, and nothing else from outside.
    fn command(&self, number: usize, node: &Node) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(&self.settings)
            .env("TOLLGATE_LISTEN", node.at.webhook.to_string())
            .env("TOLLGATE_ADMIN_LISTEN", node.at.admin.to_string())
            .current_dir(&self.directory);
        if let Some(peers) = node.at.peers {
            command.env("TOLLGATE_NODE_ID", format!("node-{number}"));
            command.env("TOLLGATE_PEER_LISTEN", peers.to_string());
        }
        command
    }
}

/// The program wherever nodes are started.
fn found(binary: &Path) -> PathBuf {
    binary.canonicalize().unwrap_or_else(|_| binary.to_owned())
}

/// The addresses in the line of a node that is ready.
fn addresses(line: &str) -> Option<Addresses> {
    let entry: Value = serde_json::from_str(line).ok()?;
    if entry.get("message")? != "ready" {
        return None;
    }
    let url = |name: &str| {
        let url = entry.get(name)?.as_str()?.strip_prefix("http://")?;
        url.trim_end_matches("/webhook").parse().ok()
    };
    let peers = entry.get("peers").and_then(Value::as_str).and_then(|address| address.parse().ok());
    Some(Addresses { webhook: url("webhook")?, admin: url("admin")?, peers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_ready_node_has_its_addresses() {
        let line = r#"{"message":"ready","webhook":"http://127.0.0.1:4242/webhook","admin":"http://127.0.0.1:9464"}"#;
        let at = addresses(line).unwrap();
        assert_eq!((at.webhook.port(), at.admin.port(), at.peers), (4242, 9464, None));
        let clustered = addresses(&line.replace('}', r#","peers":"127.0.0.1:4243"}"#)).unwrap();
        assert_eq!(clustered.peers.unwrap().port(), 4243);
        assert_eq!(addresses(&line.replace("ready", "draining")), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits { daily: Some(1), ..Limits::default() };
        let start = |binary: &str| {
            let at = directory.path().join("nodes");
            Nodes::start(1, Path::new(binary), &at, "whsec_1", &limits, None, &[]).err().unwrap().to_string()
        };
        assert!(start("/nowhere/tollgate").starts_with("cannot start /nowhere/tollgate: "));
        assert!(start("/bin/true").starts_with("node 0 is not ready; its log is "));
    }
}
