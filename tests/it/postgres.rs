//! A real PostgreSQL server of a test's own: found on this machine, started on a free port of loopback, stopped, killed
//! and started again. What the tests ask of it is elsewhere.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::timeout;
use tollgate_loadtest::postgres::{Programs, give};

use crate::{
    log::Log,
    needs::{self, Program},
};

/// Nothing here takes this long: a test that waits in vain fails instead of hanging.
const PATIENCE: Duration = Duration::from_mins(1);
/// The superuser of every server, and its first database.
const POSTGRES: &str = "postgres";
/// A server that syncs as it must, and is small and quick in everything else.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = on
full_page_writes = on
max_connections = 100
shared_buffers = 32MB
min_wal_size = 32MB
max_wal_size = 256MB
autovacuum = off
log_checkpoints = off
restart_after_crash = on
";

/// A server, with its data. Killed and removed when it is dropped.
pub(crate) struct Server {
    directory: TempDir,
    port: u16,
    running: Option<Running>,
    /// Who uses it, as [`Server::url`] has it.
    role: &'static str,
    database: &'static str,
}

struct Running {
    child: Child,
    log: Log,
}

/// How a server is stopped.
#[derive(Clone, Copy)]
pub(crate) enum Stop {
    /// In order: connections are ended, everything is written.
    Fast,
    /// At once, as after a crash: the log is replayed at the next start.
    Immediate,
    /// The server's main process is gone from one moment to the next; its other processes notice.
    Kill,
}

/// What became of a try to start.
enum Try {
    Up(Running),
    /// Something is in the way that may go.
    Again,
}

impl Server {
    /// Starts a fresh server, or says loudly that there is none and what to do, and gives nothing.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with("").await
    }

    /// With more lines of `postgresql.conf`.
    pub(crate) async fn start_with(settings: &str) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let mut server = Self::nowhere();
        let shape = ["--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync", "--username", POSTGRES];
        run(program("initdb").arg("-D").arg(server.data()).args(shape));
        server.configure(&format!("{SETTINGS}\n{settings}\n"));
        server.restart().await;
        Some(server)
    }

    /// A standby that streams from this server, with `application_name` as its name there.
    pub(crate) async fn standby(&self, application_name: &str) -> Self {
        self.standby_by(self.port, application_name).await
    }

    /// The same by way of another port: that of a proxy, which may hold back what the standby is to get.
    pub(crate) async fn standby_by(&self, port: u16, application_name: &str) -> Self {
        let mut standby = Self::nowhere();
        let source = format!(
            "host=127.0.0.1 port={port} user={POSTGRES} dbname={POSTGRES} application_name={application_name}",
        );
        let how = ["--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--dbname", &source];
        let mut backup = program("pg_basebackup");
        backup.arg("-D").arg(standby.data()).args(how);
        tokio::task::spawn_blocking(move || run(&mut backup)).await.unwrap();
        standby.restart().await;
        standby
    }

    /// A server that takes up where a backup of another ends: `script` puts that into its data directory, `PGDATA`. When
    /// this returns, it has come to the end of the archived logs and writes again.
    pub(crate) async fn restored(script: &str) -> Self {
        let mut server = Self::nowhere();
        server.shell(script).await;
        server.restart().await;
        server.says("SELECT pg_is_in_recovery()", "f").await;
        server
    }

    /// A place for a server, and nothing in it.
    fn nowhere() -> Self {
        Self { directory: place(), port: free_port(), running: None, role: POSTGRES, database: POSTGRES }
    }

    /// From now on it is used by this role, in this database.
    pub(crate) const fn used_by(&mut self, role: &'static str, database: &'static str) {
        self.role = role;
        self.database = database;
    }

    /// Adds lines to `postgresql.conf`, which count from the next start or [`Server::reload`] on.
    pub(crate) fn configure(&self, settings: &str) {
        let path = self.data().join("postgresql.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        writeln!(file, "{settings}").unwrap();
    }

    /// Writes a file into its data directory, for nobody else to read. Gives the path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.data().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        give(&path).unwrap();
        path
    }

    /// Runs a script as an operator does who has PostgreSQL's programs at hand: in a directory of the server, with its port
    /// for a default. Other tasks go on meanwhile.
    pub(crate) async fn shell(&self, script: &str) {
        let programs = PathBuf::from(program("psql").get_program());
        let path = format!("{}:/usr/bin:/bin", programs.parent().unwrap().display());
        let mut shell = program("/bin/sh");
        shell.args(["-e", "-c", script]).current_dir(self.directory.path());
        shell.env("PATH", path).env("PGPORT", self.port.to_string()).env("PGDATA", self.data());
        tokio::task::spawn_blocking(move || run(&mut shell)).await.unwrap();
    }

    /// Returns when everything that was committed before is in the archive.
    pub(crate) async fn archived(&self) {
        let last = self.sql("SELECT pg_walfile_name(pg_switch_wal())");
        self.says(&format!("SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver"), "t").await;
    }

    /// Lets the running server read its settings again.
    pub(crate) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Starts it, on the port and the data that it had. When this returns, it takes connections.
    pub(crate) async fn restart(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        for _ in 0..50 {
            match timeout(PATIENCE, self.try_start()).await.expect("the server does not come up") {
                Try::Up(running) => {
                    self.running = Some(running);
                    return;
                }
                // Only a server that nobody has been told the address of may move.
                Try::Again if !self.data().join("postmaster.opts").exists() => self.port = free_port(),
                Try::Again => {}
            }
        }
        panic!("the server does not come up again");
    }

    async fn try_start(&self) -> Try {
        let mut child = program("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        let mut place = 0;
        while let Some(line) = log.line(place).await {
            place += 1;
            let is_up = ["ready to accept connections", "ready to accept read-only connections"];
            if is_up.iter().any(|message| line.contains(message)) {
                return Try::Up(Running { child, log });
            }
        }
        child.wait().unwrap();
        let text = log.text();
        // The processes of a killed server may still be on their way out; a port may be taken for a moment.
        let passes = ["pre-existing shared memory block", "could not create any TCP/IP sockets", "lock file"];
        assert!(passes.iter().any(|message| text.contains(message)), "the server does not start:\n{text}");
        Try::Again
    }

    /// Stops it. When this returns, all its processes are gone.
    pub(crate) async fn stop(&mut self, how: Stop) {
        self.signal(match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
            Stop::Kill => Signal::KILL,
        });
        let Running { mut child, log } = self.running.take().unwrap();
        timeout(PATIENCE, log.end()).await.expect("the server does not end");
        child.wait().unwrap();
    }

    /// Lets a standby take over. When this returns, it writes.
    pub(crate) async fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote()"), "t", "{}", self.log());
        self.says("SELECT pg_is_in_recovery()", "f").await;
    }

    /// Stops all its processes where they are: its kernel goes on taking connections and bytes, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets a frozen server go on.
    pub(crate) fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let main = self.running.as_ref().expect("it does not run").child.id();
        // The main process first: one that is stopped starts no other.
        self.signal(signal);
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(stat) = fs::read_to_string(process.path().join("stat")) else { continue };
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
            let is_child = parent.is_some_and(|parent| parent == main.to_string());
            let id = process.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(id) = id.and_then(Pid::from_raw).filter(|_| is_child) {
                // One that has ended meanwhile needs no signal.
                let _ = kill_process(id, signal);
            }
        }
    }

    /// CPU time of all its processes, the ended ones too, in clock ticks of a hundredth of a second.
    #[allow(dead_code, reason = "for benches")]
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let main = self.running.as_ref().expect("it does not run").child.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let ticks = processes.filter_map(|process| {
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            // Behind the name, which may have anything in it: state, parent … utime, stime, and those of the ended.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let is_main = process.file_name().to_str() == Some(&main);
            let counted = &fields[11..if is_main { 15 } else { 13 }];
            let ticks: u64 = counted.iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
            (is_main || fields[1] == main).then_some(ticks)
        });
        ticks.sum()
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The address of the database that is used, as `TOLLGATE_JOURNAL` takes it.
    pub(crate) fn url(&self) -> String {
        url(self.role, self.port, self.database)
    }

    /// The address of a server's first database by way of another port: that of a proxy.
    pub(crate) fn url_at(port: u16) -> String {
        url(POSTGRES, port, POSTGRES)
    }

    /// The address of a database that is on this server or on another, whichever writes.
    pub(crate) fn url_with(&self, other: &Self) -> String {
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", self.port, other.port);
        format!("postgres://{POSTGRES}@{hosts}/{POSTGRES}?target_session_attrs=read-write")
    }

    /// Returns when a standby of it has everything that was committed before.
    pub(crate) async fn followed_by(&self, standby: &Self) {
        let last = self.sql("SELECT pg_current_wal_flush_lsn()");
        standby.says(&format!("SELECT pg_last_wal_replay_lsn() >= '{last}'"), "t").await;
    }

    /// Runs SQL with `psql` as the superuser, in the database that is used, and gives what it printed: columns with `|` between them, a line a row.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let how = ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql];
        let database = url(POSTGRES, self.port, self.database);
        run(program("psql").args(how).arg(database)).trim_end().to_owned()
    }

    /// Asks until it answers this.
    pub(crate) async fn says(&self, question: &str, answer: &str) {
        let said = async {
            while self.sql(question) != answer {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("{question} is never {answer}"));
    }

    /// All that it has logged since it was last started.
    pub(crate) fn log(&self) -> String {
        self.running.as_ref().map(|running| running.log.text()).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn signal(&self, signal: Signal) {
        let running = self.running.as_ref().expect("it does not run");
        kill_process(Pid::from_child(&running.child), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.running.is_some() {
            // One that is frozen ends when it goes on.
            self.thaw();
        }
        if let Some(mut running) = self.running.take() {
            // "Immediate": its other processes go with it.
            let _ = kill_process(Pid::from_child(&running.child), Signal::QUIT);
            let _ = running.child.wait();
        }
    }
}

/// Whether there is a server to be started; the test is to end here if not.
pub(crate) fn is_installed() -> bool {
    needs::has(Program { name: "PostgreSQL", install: "apt-get install postgresql" }, programs().is_some())
}

fn url(role: &str, port: u16, database: &str) -> String {
    format!("postgres://{role}@127.0.0.1:{port}/{database}")
}

/// A directory in which somebody else may run a server, where the tests run as root.
pub(crate) fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
    directory
}

/// A directory that belongs to whoever runs the server.
pub(crate) fn place() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    give(directory.path()).unwrap();
    directory
}

fn programs() -> Option<Programs> {
    Programs::find(&["initdb", "postgres", "psql", "createdb", "pg_dump", "pg_basebackup"])
}

/// One of PostgreSQL's programs, as whoever may run a server.
fn program(name: &str) -> Command {
    let mut command = programs().unwrap().command(name);
    command.stdin(Stdio::null());
    command
}

/// Runs it to its good end, and gives what it printed.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// A port that is free now, below those that the system gives to connections on their way out, so that it stays free
/// while the server is down.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(15_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[tokio::test]
async fn a_server_keeps_what_was_committed_however_it_ends() {
    let Some(mut server) = Server::start().await else { return };
    server.sql("CREATE TABLE kept (n int)");
    let port = server.port();
    for (n, how) in [Stop::Fast, Stop::Immediate, Stop::Kill].into_iter().enumerate() {
        server.sql(&format!("INSERT INTO kept VALUES ({n})"));
        server.stop(how).await;
        server.restart().await;
        assert_eq!(server.sql("SELECT count(*) FROM kept"), (n + 1).to_string());
        let is_replayed = server.log().contains("was not properly shut down");
        assert_eq!(is_replayed, !matches!(how, Stop::Fast));
    }
    assert_eq!(server.port(), port);
}

#[tokio::test]
async fn a_standby_follows() {
    let Some(server) = Server::start().await else { return };
    let standby = server.standby("follower").await;
    server.sql("CREATE TABLE followed AS SELECT 1 AS n");
    server.configure("synchronous_standby_names = 'follower'\nsynchronous_commit = remote_apply");
    server.reload();
    server.sql("INSERT INTO followed VALUES (2)");
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
    standby.says("SELECT to_regclass('followed') IS NOT NULL", "t").await;
}
