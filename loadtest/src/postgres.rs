//! PostgreSQL on this machine: where its programs are, who may run them, and a server of our own, which is stopped and
//! removed at the end. What is asked of it is elsewhere.

use std::{
    env,
    fs::{self, Permissions},
    io,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::{
    process::{NotUp, Process},
    scenario::{DatabaseAct, Standby},
};

/// The superuser of the server.
const USER: &str = "tollgate";
/// Who runs the server where we are root, as whom it refuses to run: `nobody`, on every Linux.
pub(crate) const NOBODY: u32 = 65_534;
/// How often another port is tried, where somebody else took the one that was free.
const PORTS_TRIED: usize = 5;

/// Where PostgreSQL's programs are.
#[derive(Clone, Debug)]
pub struct Programs(PathBuf);

impl Programs {
    /// Where all of these are together: on the PATH, where Debian and others have them, or where `pg_config` says; none
    /// where it is not installed.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "where programs are is no setting of ours")]
    pub fn find(needed: &[&str]) -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let below = |directory: &str| -> Vec<PathBuf> {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let mut bins: Vec<PathBuf> = entries.map(|entry| entry.path().join("bin")).collect();
            bins.sort();
            bins.reverse();
            bins
        };
        let told = Command::new("pg_config").arg("--bindir").output().ok();
        let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()));
        env::split_paths(&path)
            .chain(["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt"].into_iter().flat_map(below))
            .chain(told)
            .find(|directory| needed.iter().all(|name| directory.join(name).is_file()))
            .map(Self)
    }

    /// The directory that they are in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// One of them, run by whoever may run a server.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.0.join(name));
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
        command
    }
}

/// Gives a file or a directory to whoever runs servers.
///
/// # Errors
/// The system refuses.
pub fn give(path: &Path) -> io::Result<()> {
    if geteuid().is_root() { chown(path, Some(NOBODY), Some(NOBODY)) } else { Ok(()) }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum NoServer {
    /// There are no programs.
    #[error(
        "expected PostgreSQL's initdb and postgres on the PATH or in /usr/lib/postgresql, found neither: install it (on \
         Debian: apt-get install postgresql)"
    )]
    NotInstalled,
    /// It does not start.
    #[error(
        "expected a PostgreSQL server in {at}, found: {said}; started by root, it runs as user `nobody`, who needs access: \
         use another directory with --out"
    )]
    NotStarted {
        /// Where.
        at: PathBuf,
        /// What it said.
        said: String,
    },
}

/// The database of nodes: one server, or a primary with a standby. Dropped, it is stopped and its data removed.
pub(crate) struct Database {
    programs: Programs,
    primary: Server,
    standby: Option<Server>,
}

impl Database {
    /// Starts fresh servers in `directory`, which is there; their logs are beside their data.
    pub(crate) fn start(directory: &Path, standby: Option<Standby>) -> Result<Self, NoServer> {
        let needed: &[&str] = if standby.is_some() {
            &["initdb", "postgres", "pg_basebackup", "pg_ctl"]
        } else {
            &["initdb", "postgres"]
        };
        let programs = Programs::find(needed).ok_or(NoServer::NotInstalled)?;
        let mut primary = Server::prepare(directory, "postgres")?;
        let arguments = ["--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync", "--username", USER];
        primary.run(programs.command("initdb").arg("-D").arg(&primary.data).args(arguments))?;
        // A commit waits for whoever follows; the standby has no such setting when it becomes a primary.
        let is_synchronous = standby == Some(Standby::Synchronous);
        let waits: &[&str] = if is_synchronous { &["-c", "synchronous_standby_names=*"] } else { &[] };
        primary.launch(&programs, waits)?;
        let standby =
            if standby.is_some() { Some(Server::following(&primary, directory, &programs)?) } else { None };
        Ok(Self { programs, primary, standby })
    }

    /// The address of its first database, as `TOLLGATE_JOURNAL` takes it: all servers, of which the one that can be written
    /// to is meant. There is no password in it.
    pub(crate) fn url(&self) -> String {
        let at = |server: &Server| format!("127.0.0.1:{}", server.port);
        match &self.standby {
            None => format!("postgres://{USER}@{}/postgres", at(&self.primary)),
            Some(standby) => format!(
                "postgres://{USER}@{},{}/postgres?target_session_attrs=read-write",
                at(&self.primary),
                at(standby)
            ),
        }
    }

    /// The address of the first primary alone.
    pub(crate) fn url_of_first(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.primary.port)
    }

    /// Does this to the servers.
    pub(crate) fn befall(&mut self, act: DatabaseAct) -> Result<(), NoServer> {
        match act {
            DatabaseAct::Kill => {
                // Stopped before they are killed, so that none of them does anything more once the first is gone.
                self.primary.signal(Signal::STOP);
                self.primary.signal(Signal::KILL);
            }
            DatabaseAct::Silence => self.primary.signal(Signal::STOP),
            DatabaseAct::Return => self.primary.signal(Signal::CONT),
            DatabaseAct::Lag => self.standby.iter().for_each(Server::lag),
            DatabaseAct::Promote => {
                if let Some(standby) = &self.standby {
                    standby.signal(Signal::CONT);
                    let mut promote = self.programs.command("pg_ctl");
                    standby.run(promote.arg("promote").arg("-D").arg(&standby.data))?;
                }
            }
            DatabaseAct::Rejoin => {
                if let Some(standby) = &mut self.standby {
                    std::mem::swap(&mut self.primary, standby);
                    standby.follow(&self.primary, &self.programs)?;
                }
            }
        }
        Ok(())
    }
}

/// A running server with the settings that PostgreSQL comes with. Dropped, it is stopped and its data removed.
struct Server {
    process: Option<Process>,
    data: PathBuf,
    log: PathBuf,
    port: u16,
}

impl Server {
    /// A place for a server of this name.
    fn prepare(directory: &Path, name: &str) -> Result<Self, NoServer> {
        let (data, log) = (directory.join(name), directory.join(format!("{name}.log")));
        let server = Self { process: None, data, log, port: 0 };
        let made = fs::create_dir(&server.data).and_then(|()| give(&server.data));
        made.and_then(|()| fs::set_permissions(&server.data, Permissions::from_mode(0o700)))
            .map_err(|cause| server.failed(cause.to_string()))?;
        Ok(server)
    }

    /// A standby of this primary, which has all that the primary has when this returns.
    fn following(primary: &Self, directory: &Path, programs: &Programs) -> Result<Self, NoServer> {
        let mut standby = Self::prepare(directory, "standby")?;
        standby.copy_of(primary, programs)?;
        standby.launch(programs, &[])?;
        Ok(standby)
    }

    /// Ends it, if it has not ended, and makes it a standby of this primary, at its own port.
    fn follow(&mut self, primary: &Self, programs: &Programs) -> Result<(), NoServer> {
        if let Some(process) = self.process.take() {
            process.end(Signal::KILL);
        }
        let emptied = fs::remove_dir_all(&self.data).and_then(|()| fs::create_dir(&self.data));
        let made = emptied.and_then(|()| fs::set_permissions(&self.data, Permissions::from_mode(0o700)));
        made.and_then(|()| give(&self.data)).map_err(|cause| self.failed(cause.to_string()))?;
        self.copy_of(primary, programs)?;
        self.launch(programs, &[])
    }

    /// Fills its place with a copy of this primary, to follow it.
    fn copy_of(&self, primary: &Self, programs: &Programs) -> Result<(), NoServer> {
        let source = format!("host=127.0.0.1 port={} user={USER}", primary.port);
        let mut copy = programs.command("pg_basebackup");
        copy.arg("-D").arg(&self.data).args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        self.run(copy.args(["--wal-method=stream", "--dbname", &source]))
    }

    /// Starts it at the port that it had, or at one that is free.
    fn launch(&mut self, programs: &Programs, arguments: &[&str]) -> Result<(), NoServer> {
        let is_new = self.port == 0;
        for _ in 0..PORTS_TRIED {
            if is_new {
                self.port = free_port().map_err(|cause| self.failed(cause.to_string()))?;
            }
            let mut command = programs.command("postgres");
            command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
            command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
            // A standby that is promoted while it looks for its primary waits so long first; five seconds by default.
            command.args(["-c", "wal_retrieve_retry_interval=200ms"]);
            let is_up = |line: &str| line.contains("ready to accept").then_some(());
            match Process::start(command.args(arguments), &self.log, is_up) {
                Ok((process, ())) => {
                    self.process = Some(process);
                    return Ok(());
                }
                Err(NotUp::Program(cause)) => return Err(self.failed(cause.to_string())),
                Err(NotUp::NotReady) => {}
            }
        }
        Err(self.failed(fs::read_to_string(&self.log).unwrap_or_default().trim_end().to_owned()))
    }

    /// Runs one of PostgreSQL's programs to its end.
    fn run(&self, command: &mut Command) -> Result<(), NoServer> {
        let output = command.output().map_err(|cause| self.failed(cause.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.failed(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()))
    }

    /// Sends a signal to all of its processes, the first one first.
    fn signal(&self, signal: Signal) {
        let Some(process) = &self.process else { return };
        let workers = children(process.id());
        for id in [process.id()].into_iter().chain(workers) {
            let id = i32::try_from(id).ok().and_then(Pid::from_raw);
            // One that has ended needs no signal.
            let _ = id.map(|id| kill_process(id, signal));
        }
    }

    /// Stops it, so that it receives nothing. When it goes on, what the system has received for it meanwhile is lost as well:
    /// the process that would read it ends first.
    fn lag(&self) {
        self.signal(Signal::STOP);
        let receives = |id: &u32| {
            fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains("walreceiver"))
        };
        for id in self.process.iter().flat_map(|process| children(process.id())).filter(receives) {
            let id = i32::try_from(id).ok().and_then(Pid::from_raw);
            let _ = id.map(|id| kill_process(id, Signal::TERM));
        }
    }

    fn failed(&self, said: String) -> NoServer {
        NoServer::NotStarted { at: self.data.clone(), said }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What hangs is not stopped.
        self.signal(Signal::CONT);
        if let Some(process) = self.process.take() {
            // At once, its other processes with it: the data is of no use any more.
            process.end(Signal::QUIT);
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// The processes that a process has started.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let is_child = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // State and parent stand behind the name, which may have anything in it.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').nth(1).map(str::to_owned));
        fields.flatten().is_some_and(|found| found == parent.to_string())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(is_child).collect()
}

/// A port of this machine that is free now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `psql` says; nothing where it cannot connect, or has no answer in its time.
    fn ask(programs: &Programs, port: u16, sql: &str) -> Option<String> {
        let mut psql = programs.command("psql");
        psql.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", USER, "-d", "postgres"]);
        psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        let output = psql.env("PGCONNECT_TIMEOUT", "2").output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    #[test]
    fn a_standby_takes_over_with_what_it_has_received_and_the_old_primary_comes_back_without_knowing() {
        let Some(programs) = Programs::find(&["initdb", "postgres", "pg_basebackup", "pg_ctl", "psql"])
        else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let mut database = Database::start(directory.path(), Some(Standby::Synchronous)).unwrap();
        let [primary, standby] = [database.primary.port, database.standby.as_ref().unwrap().port];
        let write = "CREATE TABLE seen AS SELECT 1 AS number";
        assert!(ask(&programs, primary, write).is_some());
        // The standby had it before the primary said so.
        database.befall(DatabaseAct::Silence).unwrap();
        assert_eq!(ask(&programs, primary, "SELECT 1"), None, "it hangs");
        assert_eq!(ask(&programs, standby, "INSERT INTO seen VALUES (2)"), None, "it is a standby");
        database.befall(DatabaseAct::Promote).unwrap();
        assert!(ask(&programs, standby, "INSERT INTO seen VALUES (2)").is_some());
        assert_eq!(ask(&programs, standby, "SELECT sum(number) FROM seen").as_deref(), Some("3"));
        database.befall(DatabaseAct::Return).unwrap();
        assert_eq!(ask(&programs, primary, "SELECT sum(number) FROM seen").as_deref(), Some("1"));
        assert_eq!(ask(&programs, primary, "SELECT pg_is_in_recovery()").as_deref(), Some("f"), "a split");
        database.befall(DatabaseAct::Kill).unwrap();
        assert_eq!(ask(&programs, primary, "SELECT 1"), None);
    }
}
