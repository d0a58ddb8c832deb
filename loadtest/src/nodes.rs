//! Nodes that the load test starts itself, ends as told, and starts again where they were. What is asked of them is
//! elsewhere.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::scenario::{Act, Limits};

/// How long a node may take to come up, and to end in order.
const PATIENCE: Duration = Duration::from_mins(1);

/// Nodes on this machine, with a journal of their own.
pub struct Nodes {
    binary: PathBuf,
    directory: PathBuf,
    settings: BTreeMap<String, String>,
    each: Vec<Node>,
}

/// A node's process, and where it answers, which stays the same when it is started again.
struct Node {
    child: Option<Child>,
    webhook: SocketAddr,
    admin: SocketAddr,
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
    #[error(
        "expected --local 1, found --local {0}: nodes share a PostgreSQL journal, which is not started here yet"
    )]
    NoSharedJournal(usize),
}

impl Nodes {
    /// Starts so many nodes with these limits, in `directory`, which is emptied first.
    ///
    /// # Errors
    /// They do not come up.
    pub fn start(
        count: usize,
        binary: &Path,
        directory: &Path,
        secrets: &str,
        limits: &Limits,
        more: &[(&str, String)],
    ) -> Result<Self, NotStarted> {
        let journal = journal(count)?;
        let prepare = || -> io::Result<PathBuf> {
            if directory.exists() {
                fs::remove_dir_all(directory)?;
            }
            fs::create_dir_all(directory)?;
            directory.canonicalize()
        };
        let directory = prepare().map_err(|cause| NotStarted::Directory(directory.to_owned(), cause))?;
        let mut settings: BTreeMap<String, String> = [
            ("TOLLGATE_JOURNAL", journal),
            ("TOLLGATE_LOG_FORMAT", "json"),
            // A line for each declined purchase would be part of what is measured.
            ("TOLLGATE_LOG", "warn,tollgate::cli::serve=info"),
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
        let binary = binary.canonicalize().unwrap_or_else(|_| binary.to_owned());
        let mut nodes = Self { binary, directory, settings, each: Vec::new() };
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        for number in 0..count {
            nodes.each.push(Node { child: None, webhook: anywhere, admin: anywhere });
            nodes.launch(number)?;
        }
        Ok(nodes)
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

    /// Where each takes webhooks.
    pub fn webhooks(&self) -> impl Iterator<Item = SocketAddr> {
        self.each.iter().map(|node| node.webhook)
    }

    /// Where each has its admin API.
    pub fn admins(&self) -> impl Iterator<Item = SocketAddr> {
        self.each.iter().map(|node| node.admin)
    }

    /// Lets the first node catch up with what Stripe's API knows.
    ///
    /// # Errors
    /// It cannot: in the program's own words.
    pub fn reconcile(&self) -> Result<(), String> {
        let Some(node) = self.each.first() else { return Ok(()) };
        let output = self
            .command(node)
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
        let Some(child) = self.each.get_mut(number).and_then(|node| node.child.as_mut()) else { return };
        match act {
            Act::Kill => {
                let _ = child.kill();
            }
            Act::Terminate => {
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
            }
        }
        let _ = child.wait();
        if let Some(node) = self.each.get_mut(number) {
            node.child = None;
        }
    }

    /// Starts a node, and returns when it is ready.
    ///
    /// # Errors
    /// It does not come up.
    pub fn launch(&mut self, number: usize) -> Result<(), NotStarted> {
        let log = self.directory.join(format!("node-{number}.log"));
        let Some(node) = self.each.get(number) else { return Ok(()) };
        let mut child = self
            .command(node)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|cause| NotStarted::Program(self.binary.clone(), cause))?;
        let ready = child.stderr.take().map(|stderr| watch(stderr, &log));
        let Some(node) = self.each.get_mut(number) else { return Ok(()) };
        node.child = Some(child);
        let not_ready = || NotStarted::NotReady(number, log.clone());
        let ready = ready.and_then(|ready| ready.recv_timeout(PATIENCE).ok()).ok_or_else(not_ready)?;
        (node.webhook, node.admin) = ready;
        Ok(())
    }
}

impl Nodes {
    /// The program with the settings of a node, and nothing else from outside.
    fn command(&self, node: &Node) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(&self.settings)
            .env("TOLLGATE_LISTEN", node.webhook.to_string())
            .env("TOLLGATE_ADMIN_LISTEN", node.admin.to_string())
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for number in 0..self.each.len() {
            self.end(number, Act::Kill);
        }
    }
}

/// One node keeps its journal in a file; several need one that they share.
const fn journal(count: usize) -> Result<&'static str, NotStarted> {
    match count {
        1 => Ok("sqlite:tollgate.db"),
        _ => Err(NotStarted::NoSharedJournal(count)),
    }
}

/// Keeps a node's log, and tells where it answers once it is ready.
fn watch(stderr: ChildStderr, log: &Path) -> Receiver<(SocketAddr, SocketAddr)> {
    let (tell, ready) = sync_channel(1);
    let file = File::options().append(true).create(true).open(log);
    thread::spawn(move || {
        let mut file = file.ok();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(addresses) = addresses(&line) {
                let _ = tell.try_send(addresses);
            }
            if let Some(file) = &mut file {
                let _ = writeln!(file, "{line}");
            }
        }
    });
    ready
}

/// The addresses in the line of a node that is ready.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let entry: Value = serde_json::from_str(line).ok()?;
    if entry.get("message")? != "ready" {
        return None;
    }
    let address = |name: &str| {
        let url = entry.get(name)?.as_str()?.strip_prefix("http://")?;
        url.trim_end_matches("/webhook").parse().ok()
    };
    Some((address("webhook")?, address("admin")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_ready_node_has_its_addresses() {
        let line = r#"{"message":"ready","webhook":"http://127.0.0.1:4242/webhook","admin":"http://127.0.0.1:9464"}"#;
        let (webhook, admin) = addresses(line).unwrap();
        assert_eq!((webhook.port(), admin.port()), (4242, 9464));
        assert_eq!(addresses(&line.replace("ready", "draining")), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits { daily: Some(1), ..Limits::default() };
        let start = |count, binary: &str| {
            let at = directory.path().join("nodes");
            Nodes::start(count, Path::new(binary), &at, "whsec_1", &limits, &[]).err().unwrap().to_string()
        };
        assert!(start(1, "/nowhere/tollgate").starts_with("cannot start /nowhere/tollgate: "));
        assert!(start(2, "/nowhere/tollgate").starts_with("expected --local 1, found --local 2"));
        assert!(start(1, "/bin/true").starts_with("node 0 is not ready; its log is "));
    }
}
