//! The servers under test as processes of their own, and what the system says about them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::events::SECRET;

/// Cores for the server and for the generator.
const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";

/// The limits of the nodes: every card has a calendar and a sliding window, and no purchase meets their height.
pub(crate) const POLICY: [(&str, &str); 2] =
    [("TOLLGATE_CARD_LIMIT_DAILY", "1000000000000"), ("TOLLGATE_CARD_VELOCITY", "1000000000/24h")];

/// Where a node keeps its books.
#[derive(Clone, Copy)]
pub(crate) enum Journal<'a> {
    Memory,
    Sqlite,
    /// The database at this URL, as this one of the nodes that share it.
    Postgres(&'a str, usize),
}

/// A running server. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    pub(crate) webhook: SocketAddr,
    admin: Option<SocketAddr>,
    /// Of a node. Removed behind the process.
    _directory: Option<TempDir>,
}

impl Process {
    /// A server that reads the body and gives a constant answer.
    pub(crate) fn bare() -> Self {
        let mut command = pinned(std::env::current_exe().unwrap().to_str().unwrap());
        command.arg("serve-bare");
        Self::start(command, None)
    }

    /// A node.
    pub(crate) fn tollgate(program: &str, journal: Journal<'_>) -> Self {
        Self::node(pinned(program), journal, None)
    }

    /// A node with this policy instead of [`POLICY`].
    pub(crate) fn with_policy(program: &str, journal: Journal<'_>, policy: &str) -> Self {
        Self::node(pinned(program), journal, Some(policy))
    }

    /// A node whose instructions callgrind counts into this file, when it is told to.
    pub(crate) fn counted(program: &str, journal: Journal<'_>, counts: &Path) -> Self {
        let mut command = pinned("valgrind");
        command.args(["--tool=callgrind", "--instr-atstart=no"]);
        command.arg(format!("--callgrind-out-file={}", counts.display())).arg(program);
        Self::node(command, journal, None)
    }

    /// Has callgrind count from here on, or stop.
    pub(crate) fn count(&self, is_counted: bool) {
        let switch = if is_counted { "on" } else { "off" };
        let own = self.child.id().to_string();
        let control =
            Command::new("callgrind_control").args(["-i", switch, &own]).stdout(Stdio::null()).status();
        assert!(control.unwrap().success(), "callgrind_control does not reach the node");
    }

    /// Ends it as an operator does, and returns when it has written everything.
    pub(crate) fn end(mut self) {
        let own = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &own]).status().unwrap().success());
        self.child.wait().unwrap();
    }

    fn node(mut command: Command, journal: Journal<'_>, policy: Option<&str>) -> Self {
        // On the disk that the build is on: the system's temporary directory may be memory.
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let location = match journal {
            Journal::Postgres(url, node) => {
                command
                    .env("TOLLGATE_NODE_ID", format!("node-{node}"))
                    .env("TOLLGATE_PEER_LISTEN", "127.0.0.1:0");
                url.to_owned()
            }
            Journal::Sqlite => format!("sqlite:{}/tollgate.db", directory.path().display()),
            Journal::Memory => "memory:".to_owned(),
        };
        if let Some(policy) = policy {
            let path = directory.path().join("policy.yaml");
            fs::write(&path, policy).unwrap();
            command.env("TOLLGATE_POLICY", path);
        } else {
            command.envs(POLICY);
        }
        command
            .arg("serve")
            .env("STRIPE_WEBHOOK_SECRET", SECRET)
            .env("TOLLGATE_SIGNATURE_TOLERANCE", "1h")
            .env("TOLLGATE_JOURNAL", location)
            .env("TOLLGATE_LISTEN", "127.0.0.1:0")
            .env("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:0")
            .env("TOLLGATE_CARD_QUEUE_MAX", "1000")
            .env("TOLLGATE_LOG", "info")
            .env("TOLLGATE_LOG_FORMAT", "json");
        Self::start(command, Some(directory))
    }

    /// Starts it, and reads its addresses from the line that says it is ready: a node names its admin port before that.
    fn start(mut command: Command, directory: Option<TempDir>) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let (webhook, admin) = loop {
            let line = log.next().expect("the server ended before it was ready").unwrap();
            let address = |name: &str| {
                let (_, rest) = line.split_once(name)?.1.split_once("http://")?;
                rest.split(['/', '"', ' ']).next()?.parse().ok()
            };
            if let Some(webhook) = address("\"webhook\"").or_else(|| address("listening on")) {
                break (webhook, address("\"admin\""));
            }
        };
        // What it says from now on is seldom and matters.
        thread::spawn(move || log.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Self { child, webhook, admin, _directory: directory }
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// Pages of memory that it has touched for the first time: a request that keeps something costs a part of one.
    pub(crate) fn page_faults(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name, in brackets, may have spaces; 10 in proc_pid_stat(5) is 7 behind it.
        let behind_name = stat.rsplit_once(") ").unwrap().1;
        behind_name.split(' ').nth(7).unwrap().parse().unwrap()
    }

    /// How often its threads have given their processor up, because there was nothing more to do.
    pub(crate) fn switches(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let switches = threads.map(|thread| {
            let text = fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.and_then(|count| count.trim().parse::<f64>().ok()).unwrap_or(0.0)
        });
        switches.sum()
    }

    /// The sum of all series that begin with each of these.
    pub(crate) fn metrics<const N: usize>(&self, series: [&str; N]) -> [f64; N] {
        let text = self.get("/metrics");
        series.map(|series| {
            let of_series = text.lines().filter(|line| line.starts_with(series));
            of_series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        })
    }

    /// Appends and batches so far; none of a server without a journal.
    pub(crate) fn batches(&self) -> Batches {
        Batches {
            entries: self.metric("tollgate_journal_batch_entries_sum"),
            batches: self.metric("tollgate_journal_batch_entries_count"),
        }
    }

    /// The value of one series; zero of a server that has none.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// What the admin port says, with a status of 200; nothing of a server that has none.
    pub(crate) fn get(&self, path: &str) -> String {
        let Some(admin) = self.admin else { return String::new() };
        let mut stream = TcpStream::connect(admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
        text
    }

    /// Resident bytes, when they have stopped falling: the journal indexes, cards that nobody asks about let go of their
    /// actors after ten seconds, and the allocator gives back.
    pub(crate) fn settled_memory(&self, same_for: Duration) -> u64 {
        const LOOK_EVERY: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let (mut lowest, mut since) = (self.resident_bytes(), start);
        while since.elapsed() < same_for && start.elapsed() < 5 * same_for {
            thread::sleep(LOOK_EVERY);
            // As a scraper would: an allocator with nothing to do gives nothing back.
            let _ = self.batches();
            let now = self.resident_bytes();
            if now < lowest {
                (lowest, since) = (now, Instant::now());
            }
        }
        lowest
    }

    fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How appends were batched.
#[derive(Clone, Copy, Default)]
pub(crate) struct Batches {
    entries: f64,
    batches: f64,
}

impl Batches {
    pub(crate) fn since(self, before: &Self) -> Self {
        Self { entries: self.entries - before.entries, batches: self.batches - before.batches }
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.entries += more.entries;
        self.batches += more.batches;
    }

    pub(crate) fn mean(self) -> Option<f64> {
        (self.batches > 0.0).then(|| self.entries / self.batches)
    }
}

/// User and system time of a process, to the nanosecond: what the scheduler has counted for each of its threads. The
/// times in `/proc/<pid>/stat` are ticks of 10 ms, too coarse for rounds of a fraction of a second.
fn cpu_of(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        // A thread may have ended meanwhile: none that serves does.
        let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|ran| ran.parse::<u64>().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// A command on the server's core, where there are two cores.
fn pinned(program: &str) -> Command {
    let mut command = if can_pin() {
        let mut taskset = Command::new("taskset");
        taskset.args(["-c", SERVER_CORE, program]);
        taskset
    } else {
        Command::new(program)
    };
    // Nothing of the caller's settings.
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null());
    command
}

/// Puts this process on the generator's core.
pub(crate) fn pin_generator() {
    if can_pin() {
        let own = std::process::id().to_string();
        let _ =
            Command::new("taskset").args(["-p", "-c", GENERATOR_CORE, &own]).stdout(Stdio::null()).status();
    }
}

/// Whether server and generator can have a core each.
pub(crate) fn can_pin() -> bool {
    let tried = Command::new("taskset").args(["-c", "0,1", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
        && fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.matches("processor\t").count() > 1)
}
