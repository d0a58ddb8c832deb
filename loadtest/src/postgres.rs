//! PostgreSQL on this machine: where its programs are, who may run them, and a server of our own, which is stopped and
//! removed at the end. What is asked of it is elsewhere.

use std::{
    env, fs, io,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Signal, geteuid};

use crate::process::{NotUp, Process};

/// The superuser of the server.
const USER: &str = "tollgate";
/// Who runs the server where we are root, as whom it refuses to run: `nobody`, on every Linux.
const NOBODY: u32 = 65_534;
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
        "expected a PostgreSQL server in {at}, found: {said}; where root starts it, it runs as nobody, who must be able to \
         get there: name another directory with --out"
    )]
    NotStarted {
        /// Where.
        at: PathBuf,
        /// What it said.
        said: String,
    },
}

/// A running server with the settings that PostgreSQL comes with. Dropped, it is stopped and its data removed.
pub(crate) struct Server {
    process: Option<Process>,
    data: PathBuf,
    port: u16,
}

impl Server {
    /// Starts a fresh server in `directory`, which is there; its log is beside its data.
    pub(crate) fn start(directory: &Path) -> Result<Self, NoServer> {
        let programs = Programs::find(&["initdb", "postgres"]).ok_or(NoServer::NotInstalled)?;
        let failed = |said: String| NoServer::NotStarted { at: directory.to_owned(), said };
        let data = directory.join("postgres");
        let log = directory.join("postgres.log");
        fs::create_dir(&data).and_then(|()| give(&data)).map_err(|cause| failed(cause.to_string()))?;
        let mut server = Self { process: None, data, port: 0 };
        let made = programs
            .command("initdb")
            .arg("-D")
            .arg(&server.data)
            .args(["--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync", "--username", USER])
            .output()
            .map_err(|cause| failed(cause.to_string()))?;
        if !made.status.success() {
            return Err(failed(String::from_utf8_lossy(&made.stderr).trim_end().to_owned()));
        }
        for _ in 0..PORTS_TRIED {
            server.port = free_port().map_err(|cause| failed(cause.to_string()))?;
            let mut command = programs.command("postgres");
            command.arg("-D").arg(&server.data).args(["-p", &server.port.to_string()]);
            command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
            let is_up = |line: &str| line.contains("ready to accept connections").then_some(());
            match Process::start(&mut command, &log, is_up) {
                Ok((process, ())) => {
                    server.process = Some(process);
                    return Ok(server);
                }
                Err(NotUp::Program(cause)) => return Err(failed(cause.to_string())),
                Err(NotUp::NotReady) => {}
            }
        }
        Err(failed(fs::read_to_string(&log).unwrap_or_default().trim_end().to_owned()))
    }

    /// The address of its first database, as `TOLLGATE_JOURNAL` takes it. There is no password in it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            // At once, its other processes with it: nobody wants the data any more.
            process.end(Signal::QUIT);
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
