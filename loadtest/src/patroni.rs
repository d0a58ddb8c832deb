//! Patroni on this machine: two PostgreSQL servers of which it decides, by a lease in etcd, which one is the primary, and
//! `HAProxy` as the one address of the database. The configuration is that of `deploy/`. Dropped, all of it ends.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::{
    clock::Clock,
    postgres::{NOBODY, NoServer, Programs, children, free_port, give},
    process::Process,
    scenario::DatabaseAct,
};

/// How Patroni and `HAProxy` are set up.
const CONFIGURATION: &str = include_str!("../../deploy/patroni.yml");
const PROXY: &str = include_str!("../../deploy/patroni-haproxy.cfg");

/// How long all of it may take to come up.
const PATIENCE_US: u64 = 120_000_000;
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Two servers, what watches over them, and the way to the one that writes.
pub(crate) struct Patroni {
    proxy: Process,
    proxy_port: u16,
    members: [Member; 2],
    etcd: Process,
}

/// A PostgreSQL server and its Patroni.
struct Member {
    patroni: Option<Process>,
    data: PathBuf,
    postgres: u16,
    api: u16,
}

impl Patroni {
    /// Starts all of it in `directory`, which is there. When this returns, the first server is the primary, and the second
    /// its synchronous standby.
    pub(crate) fn start(directory: &Path) -> Result<Self, NoServer> {
        let failed = |said: String| NoServer::NotStarted { at: directory.to_owned(), said };
        let port = || free_port().map_err(|cause| failed(cause.to_string()));
        let home = directory.join("patroni");
        let made = fs::create_dir(&home).and_then(|()| give(&home));
        made.map_err(|cause| failed(cause.to_string()))?;
        let programs = Programs::find(&["initdb", "postgres", "pg_basebackup", "pg_rewind"]);
        let programs = programs.ok_or(NoServer::NotInstalled)?;
        let (etcd_port, etcd_peers, proxy_port) = (port()?, port()?, port()?);
        let (client, peers) =
            (format!("http://127.0.0.1:{etcd_port}"), format!("http://127.0.0.1:{etcd_peers}"));
        let mut etcd = command("etcd", &home);
        etcd.args(["--name", "etcd-a", "--data-dir", "etcd", "--unsafe-no-fsync"]);
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        etcd.args(["--initial-cluster", &format!("etcd-a={peers}")]);
        let etcd = run(&mut etcd, &home, "etcd")?;
        let mut members = Vec::new();
        for name in ["db-a", "db-b"] {
            let mut member = Member { patroni: None, data: home.join(name), postgres: port()?, api: port()? };
            let text = member.configuration(name, etcd_port, &home, &programs);
            let path = home.join(format!("{name}.yml"));
            fs::write(&path, text).and_then(|()| give(&path)).map_err(|cause| failed(cause.to_string()))?;
            member.patroni = Some(run(command("patroni", &home).arg(&path), &home, name)?);
            let is_up = if members.is_empty() { "/primary" } else { "/sync" };
            if !member.says(is_up) {
                let log = home.join(format!("{name}.log"));
                return Err(failed(fs::read_to_string(log).unwrap_or_default()));
            }
            members.push(member);
        }
        let members: [Member; 2] =
            members.try_into().map_err(|_| failed("expected two servers".to_owned()))?;
        let path = home.join("haproxy.cfg");
        let text = members.iter().zip(["db-a", "db-b"]).fold(PROXY.to_owned(), |text, (member, name)| {
            text.replace(&format!("{name}:5432"), &format!("127.0.0.1:{}", member.postgres))
                .replace(&format!("addr {name} port 8008"), &format!("addr 127.0.0.1 port {}", member.api))
        });
        let text = text.replace("bind db:5432", &format!("bind 127.0.0.1:{proxy_port}"));
        fs::write(&path, text).and_then(|()| give(&path)).map_err(|cause| failed(cause.to_string()))?;
        let proxy =
            run(command("/usr/sbin/haproxy", &home).args(["-db", "-f"]).arg(&path), &home, "haproxy")?;
        // It takes both servers for the primary until it has asked.
        let said = || fs::read_to_string(home.join("haproxy.log")).unwrap_or_default();
        if !until(|| said().contains("db-b is DOWN")) {
            return Err(failed(said()));
        }
        Ok(Self { proxy, proxy_port, members, etcd })
    }

    /// The address of the database: that of `HAProxy`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.proxy_port)
    }

    /// The address of the first server alone.
    pub(crate) fn url_of_first(&self) -> String {
        let [first, _] = &self.members;
        format!("postgres://postgres@127.0.0.1:{}/postgres", first.postgres)
    }

    /// Does this to the machine of the first server. Which one takes over, and when, is Patroni's to decide.
    pub(crate) fn befall(&mut self, act: DatabaseAct) {
        let [first, _] = &self.members;
        match act {
            DatabaseAct::Kill => {
                first.signal(Signal::STOP);
                first.signal(Signal::KILL);
            }
            DatabaseAct::Silence => first.signal(Signal::STOP),
            DatabaseAct::Return => first.signal(Signal::CONT),
            DatabaseAct::Lag | DatabaseAct::Promote | DatabaseAct::Rejoin => {}
        }
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        for member in &mut self.members {
            // What hangs is not stopped; and a server goes on without its Patroni.
            member.signal(Signal::CONT);
            member.signal(Signal::KILL);
            drop(member.patroni.take());
            let _ = fs::remove_dir_all(&member.data);
        }
        for process in [&self.proxy, &self.etcd] {
            let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
            let _ = id.map(|id| kill_process(id, Signal::TERM));
        }
    }
}

impl Member {
    fn configuration(&self, name: &str, etcd: u16, home: &Path, programs: &Programs) -> String {
        let here = |port: u16| format!("127.0.0.1:{port}");
        CONFIGURATION
            .replace("name: db-a", &format!("name: {name}"))
            .replace("db-a:8008", &here(self.api))
            .replace("db-a:5432", &here(self.postgres))
            .replace("etcd-a:2379", &here(etcd))
            .replace("/var/lib/postgresql/15/tollgate", &self.data.display().to_string())
            .replace("/var/lib/postgresql", &home.display().to_string())
            .replace("tollgate.pgpass", &format!("{name}.pgpass"))
            .replace("/usr/lib/postgresql/15/bin", &programs.directory().display().to_string())
            // Nodes here have no password.
            .replace("samenet scram-sha-256", "127.0.0.1/32 trust")
    }

    /// Whether Patroni says this of it, before it takes too long.
    fn says(&self, path: &str) -> bool {
        until(|| self.says_now(path))
    }

    fn says_now(&self, path: &str) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.api))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.split(' ').nth(1) == Some("200"))
        };
        ask().unwrap_or(false)
    }

    /// Sends a signal to its Patroni and to all processes of its server.
    fn signal(&self, signal: Signal) {
        let server: Option<u32> = fs::read_to_string(self.data.join("postmaster.pid"))
            .ok()
            .and_then(|text| text.lines().next()?.parse().ok());
        // Patroni first, which would start it again.
        let own = self.patroni.iter().map(Process::id).chain(server);
        let own: Vec<u32> = own.chain(server.into_iter().flat_map(children)).collect();
        for id in own {
            let id = i32::try_from(id).ok().and_then(Pid::from_raw);
            // One that has ended needs no signal.
            let _ = id.map(|id| kill_process(id, signal));
        }
    }
}

/// Whether it is so, before it takes too long.
fn until(is_so: impl Fn() -> bool) -> bool {
    let clock = Clock::start();
    while !is_so() {
        if clock.now_us() > PATIENCE_US {
            return false;
        }
        thread::sleep(ASK_EVERY);
    }
    true
}

/// A program, run by whoever may run a server.
fn command(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("HOME", home).current_dir(home);
    command
}

/// Starts it. Whether it is up is for its users to find out.
fn run(command: &mut Command, home: &Path, name: &str) -> Result<Process, NoServer> {
    let started = Process::launch(command, &home.join(format!("{name}.log")));
    started.map_err(|cause| NoServer::NotStarted {
        at: home.to_owned(),
        said: format!("{name}: {cause}; on Debian: apt-get install patroni etcd-server haproxy"),
    })
}
