//! Several nodes on one PostgreSQL, each a process of its own: started, killed, started again, and ended with all that
//! they were given. What they are asked is elsewhere.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::{
    Failure, balancer::Targets, client::Cluster, connection::Connection, database::Database, home::Home,
    leash::Leash,
};
use crate::clock::{self, sleep};

/// How long a node may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The nodes and their database. Dropped, everything is ended at once, the nodes before the database.
pub(super) struct Fleet {
    nodes: Vec<Process>,
    database: Database,
}

/// A node's process, or its place while there is none.
pub(super) struct Process {
    pub(super) name: String,
    settings: Vec<(String, String)>,
    directory: PathBuf,
    running: Option<Running>,
}

struct Running {
    child: Child,
    _leash: Leash,
    ports: Option<Ports>,
    /// How far the log went when it was started.
    log_bytes: usize,
}

/// Where a node listens.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) webhook: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// The line in which a node says that it answers, and where.
#[derive(Deserialize)]
struct Line {
    message: String,
    #[serde(default)]
    webhook: String,
    #[serde(default)]
    admin: String,
}

impl Fleet {
    /// Starts PostgreSQL, and launches so many nodes.
    pub(super) fn launch(home: &Home, nodes: u8) -> Result<Self, Failure> {
        let database = Database::start(home.path())?;
        let mut fleet = Self { nodes: Vec::new(), database };
        for n in 1..=nodes {
            let name = format!("node-{n}");
            let mut settings = home.pairs().to_vec();
            for (setting, value) in [
                ("TOLLGATE_NODE_ID", &*name),
                ("TOLLGATE_JOURNAL", &fleet.database.url()),
                ("TOLLGATE_PEER_LISTEN", "127.0.0.1:0"),
                ("TOLLGATE_ANSWER_WITHIN", "1900ms"),
                ("TOLLGATE_LOG", "info"),
                ("TOLLGATE_LOG_FORMAT", "json"),
            ] {
                settings.retain(|(known, _)| known != setting);
                settings.push((setting.to_owned(), value.to_owned()));
            }
            let mut node = Process { name, settings, directory: home.path().to_owned(), running: None };
            node.launch()?;
            fleet.nodes.push(node);
        }
        Ok(fleet)
    }

    /// The nodes as those who bring questions know them, once all answer and all know each other.
    pub(super) async fn settled(&mut self) -> Result<Targets, Failure> {
        let mut nodes = Vec::new();
        for node in &mut self.nodes {
            nodes.push((node.name.clone(), node.ready().await?.webhook));
        }
        self.know_each_other().await?;
        Ok(Targets::new(nodes))
    }

    /// Waits until every running node counts every running node, and is connected to it.
    pub(super) async fn know_each_other(&self) -> Result<(), Failure> {
        let running = self.nodes().count();
        let give_up_at = clock::instant().checked_add(PATIENCE);
        for (name, ports) in self.nodes() {
            loop {
                let seen = cluster(ports).await?;
                let is_reached = seen.members.iter().all(|member| member.connections != Some(0));
                if is_reached && seen.members.len() == running {
                    break;
                }
                if give_up_at.is_some_and(|give_up_at| clock::instant() > give_up_at) {
                    let found = seen.members.len();
                    let what = format!("{name} should know and reach {running} members, found {found}");
                    return Err(Failure::Unexpected(what));
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// The node of this name.
    pub(super) fn node(&mut self, name: &str) -> Result<&mut Process, Failure> {
        let node = self.nodes.iter_mut().find(|node| node.name == name);
        node.ok_or_else(|| Failure::Unexpected(format!("expected a node of the demo, found `{name}`")))
    }

    /// Those that answer, and where.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, Ports)> {
        self.nodes.iter().filter_map(|node| Some((&*node.name, node.ports()?)))
    }

    pub(super) const fn database(&self) -> &Database {
        &self.database
    }

    /// Ends the nodes in order, all at the same time, and then the rest.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let ask_to_end = |node: &Process| node.signal(Signal::TERM);
        self.nodes.iter().for_each(ask_to_end);
        for node in &mut self.nodes {
            node.ended().await?;
        }
        Ok(())
    }
}

/// How a node sees its cluster.
pub(super) async fn cluster(ports: Ports) -> Result<Cluster, Failure> {
    Connection::open(ports.admin).await?.get("/v1/node").await?.json()
}

impl Process {
    /// Starts the node. It does not answer yet.
    pub(super) fn launch(&mut self) -> Result<(), Failure> {
        let program = std::env::current_exe().map_err(Failure::during("find this program"))?;
        let path = self.log();
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(Failure::during("write a node's log"))?;
        let log_bytes = fs::read(&path).map_err(Failure::during("read a node's log"))?.len();
        let mut child = Command::new(program)
            .arg("serve")
            .env_clear()
            .envs(self.settings.iter().cloned())
            // Ctrl-C is for the demo, which ends everything in its order.
            .process_group(0)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(Failure::during("start a node"))?;
        let leash = Leash::of(&mut child).map_err(Failure::during("run a shell"))?;
        self.running = Some(Running { child, _leash: leash, ports: None, log_bytes });
        Ok(())
    }

    /// Waits until it answers.
    pub(super) async fn ready(&mut self) -> Result<Ports, Failure> {
        let path = self.log();
        let give_up_at = clock::instant().checked_add(PATIENCE);
        loop {
            let log = fs::read(&path).map_err(Failure::during("read a node's log"))?;
            let Some(running) = &mut self.running else {
                return Err(Failure::Unexpected(format!("{} does not run", self.name)));
            };
            let log = String::from_utf8_lossy(log.get(running.log_bytes..).unwrap_or_default()).into_owned();
            if let Some(ports) = log.lines().find_map(ports) {
                running.ports = Some(ports);
                return Ok(ports);
            }
            let has_ended = !matches!(running.child.try_wait(), Ok(None));
            if has_ended || give_up_at.is_some_and(|give_up_at| clock::instant() > give_up_at) {
                let last = log.lines().next_back().unwrap_or("nothing");
                return Err(Failure::Unexpected(format!("{} did not come up, and said: {last}", self.name)));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// `kill -9`: gone from one moment to the next.
    pub(super) fn kill(&mut self) {
        self.running = None;
    }

    /// Where it listens, if it answers.
    pub(super) fn ports(&self) -> Option<Ports> {
        self.running.as_ref()?.ports
    }

    /// What it says of itself, a line each.
    fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            // It may have ended by itself: that is found out when its end is waited for.
            let _ = kill_process(Pid::from_child(&running.child), signal);
        }
    }

    /// Waits for its end, which must be a good one.
    async fn ended(&mut self) -> Result<(), Failure> {
        let give_up_at = clock::instant().checked_add(PATIENCE);
        while let Some(running) = &mut self.running {
            match running.child.try_wait().map_err(Failure::during("wait for a node"))? {
                Some(status) if status.success() => self.running = None,
                Some(status) => {
                    return Err(Failure::Unexpected(format!(
                        "{} should end well, found {status}",
                        self.name
                    )));
                }
                None if give_up_at.is_some_and(|give_up_at| clock::instant() > give_up_at) => {
                    return Err(Failure::Unexpected(format!(
                        "{} does not end within {PATIENCE:?}",
                        self.name
                    )));
                }
                None => sleep(LOOK_EVERY).await,
            }
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a line of a node's log says of its ports.
fn ports(line: &str) -> Option<Ports> {
    let line: Line = serde_json::from_str(line).ok().filter(|line: &Line| line.message == "ready")?;
    let address = |url: &str| url.strip_prefix("http://")?.trim_end_matches("/webhook").parse().ok();
    Some(Ports { webhook: address(&line.webhook)?, admin: address(&line.admin)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_where_it_listens() {
        let ready =
            r#"{"message":"ready","webhook":"http://127.0.0.1:1/webhook","admin":"http://127.0.0.1:2"}"#;
        let found = ports(ready).map(|ports| (ports.webhook.port(), ports.admin.port()));
        assert_eq!(found, Some((1, 2)));
        for other in [r#"{"message":"the members of the cluster","members":"node-1"}"#, r#"{"mess"#, ""] {
            assert!(ports(other).is_none(), "{other}");
        }
    }
}
