//! The real binary as a process of its own: started on free ports, watched by its log, ended by signals. What the tests
//! ask of it is elsewhere.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    client::{Client, Response, request},
    deliveries::{SECRET, signed},
    log::Log,
};

/// Nothing here takes this long: a test that waits in vain fails instead of hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where a node lives: a directory that outlives its processes, and the settings that they are started with.
pub(crate) struct Site {
    directory: TempDir,
    settings: BTreeMap<String, String>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
}

impl Site {
    /// A fresh directory, free ports, one known secret, a short drain, and these settings.
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        let mut site = Self {
            directory: tempfile::tempdir().unwrap(),
            settings: BTreeMap::new(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
        };
        for (name, value) in [
            ("TOLLGATE_LISTEN", "127.0.0.1:0"),
            ("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:0"),
            ("TOLLGATE_LOG_FORMAT", "json"),
            ("TOLLGATE_DRAIN_DELAY", "0s"),
            ("STRIPE_WEBHOOK_SECRET", SECRET),
        ] {
            site.set(name, value);
        }
        for (name, value) in settings {
            site.set(name, value);
        }
        site
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.settings.remove(name).expect("it was set");
    }

    /// Gives these arguments to every process from now on.
    pub(crate) fn arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    /// Starts every process from now on by way of this command, which executes what follows it.
    pub(crate) fn wrap(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    /// A file of the site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The journal, where it is by default.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path("data/tollgate.db")
    }

    /// Starts a process, which may or may not come up.
    pub(crate) fn launch(&self) -> Process {
        let mut child = self.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        Process { child, log, read: 0 }
    }

    /// Starts a process whose standard output is followed, in place of its log.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Process {
        let mut child =
            self.command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let log = Log::of(child.stdout.take().unwrap());
        Process { child, log, read: 0 }
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_tollgate").to_owned();
        let words: Vec<String> =
            self.wrapper.iter().cloned().chain([binary]).chain(self.arguments.iter().cloned()).collect();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(self.limit())
            .envs(&self.settings)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// What a card may spend where nothing is said of it: as much as by default, and in all its life instead of in a day,
    /// which may end in the middle of a test.
    fn limit(&self) -> Option<(&'static str, &'static str)> {
        let is_limit = |name: &String| {
            ["TOLLGATE_POLICY", "TOLLGATE_CARD_LIMIT", "TOLLGATE_CARD_VELOCITY"]
                .iter()
                .any(|limit| name.starts_with(limit))
        };
        (!self.settings.keys().any(is_limit)).then_some(("TOLLGATE_CARD_LIMIT_ALL_TIME", "50000"))
    }

    /// Starts a node. When this returns, it answers.
    pub(crate) async fn start(&self) -> Node {
        let mut process = self.launch();
        let ready = process.logged("ready").await;
        let address = |name: &str| -> SocketAddr {
            let url = ready[name].as_str().unwrap().strip_prefix("http://").unwrap();
            url.trim_end_matches("/webhook").parse().unwrap()
        };
        let peers = ready["peers"].as_str().map(|address| address.parse().unwrap());
        let is_elsewhere = ["TOLLGATE_JOURNAL", "TOLLGATE_JOURNAL_FILE"]
            .iter()
            .any(|name| self.settings.contains_key(*name));
        let journal = (!is_elsewhere && self.wrapper.is_empty()).then(|| self.journal());
        Node { webhook: address("webhook"), admin: address("admin"), peers, token: None, journal, process }
    }

    /// Runs a command in the site to its end, with more settings.
    pub(crate) async fn run(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command
            .args(arguments)
            .env_clear()
            .envs(&self.settings)
            .envs(settings.iter().copied())
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        // The other side may be served by this very thread.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        timeout(PATIENCE, output).await.expect("the command does not end").unwrap()
    }

    /// Starts a process that is to end by itself.
    pub(crate) async fn refuses_to_start(&self) -> Ending {
        self.launch().ended().await
    }
}

/// A running process; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    log: Log,
    /// How many lines of the log have been looked at.
    read: usize,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The exit code, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// All that it wrote to its standard error.
    pub(crate) log: String,
}

impl Process {
    /// Waits for the next line of the log with this message.
    pub(crate) async fn logged(&mut self, message: &str) -> Value {
        self.line(|line| serde_json::from_str(line).ok().filter(|entry: &Value| entry["message"] == message))
            .await
    }

    /// Waits for the next line that `pick` takes.
    pub(crate) async fn line<T>(&mut self, pick: impl Fn(&str) -> Option<T>) -> T {
        loop {
            match self.next_line().await {
                Some(line) => {
                    if let Some(picked) = pick(&line) {
                        return picked;
                    }
                }
                None => panic!("the process ended without the line:\n{}", self.log.text()),
            }
        }
    }

    /// Waits for the next line, or for the end.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        let line = timeout(PATIENCE, self.log.line(self.read)).await.expect("the line does not come");
        self.read += 1;
        line
    }

    /// All that it has written so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it, as one hangs that goes on with [`Signal::CONT`]. When this returns, none of its threads runs: a signal that
    /// was only sent leaves it the time for an answer.
    pub(crate) async fn hang(&self) {
        self.signal(Signal::STOP);
        let threads = format!("/proc/{}/task", self.child.id());
        within("all threads stop", async {
            while !fs::read_dir(&threads).unwrap().flatten().all(|thread| is_stopped(&thread.path())) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Ending {
        timeout(PATIENCE, self.log.end()).await.expect("the process does not end");
        let code = self.child.wait().unwrap().code();
        Ending { code, log: self.log.text() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that has come up.
pub(crate) struct Node {
    pub(crate) webhook: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where other nodes are answered, if there may be any.
    pub(crate) peers: Option<SocketAddr>,
    /// What is sent to the admin API as its bearer token.
    pub(crate) token: Option<String>,
    /// Its journal, where that is a file of its own.
    pub(crate) journal: Option<PathBuf>,
    pub(crate) process: Process,
}

impl Node {
    /// A new connection to the webhook.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.webhook).await
    }

    /// Delivers an event over a connection of its own.
    pub(crate) async fn deliver(&self, body: &[u8]) -> Response {
        self.connect().await.exchange(signed(body)).await
    }

    /// Asks the admin port.
    pub(crate) async fn get(&self, path: &str) -> Response {
        let credentials =
            self.token.as_ref().map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        Client::connect(self.admin).await.exchange(request("GET", path, &credentials)).await
    }

    /// What the books say, which must be there.
    pub(crate) async fn books(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        response.json()
    }

    pub(crate) async fn card(&self, id: &str) -> Value {
        self.books(&format!("/v1/cards/{id}")).await
    }

    pub(crate) async fn authorization(&self, id: &str) -> Value {
        self.books(&format!("/v1/authorizations/{id}")).await
    }

    /// The sum of all series that begin like this.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.body;
        let of_series = text.lines().filter(|line| line.starts_with(series));
        let values: Vec<f64> =
            of_series.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert!(!values.is_empty(), "{series} is not in\n{text}");
        values.iter().sum()
    }

    /// Asks the books again and again until they say what is expected; for what the node does on its own.
    pub(crate) async fn eventually(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        within(&format!("{path} says it"), async {
            loop {
                let response = self.get(path).await;
                if response.status == 200 && is_so(&response.json()) {
                    return response.json();
                }
            }
        })
        .await
    }

    /// Looks at a series again and again until its value is what is expected.
    pub(crate) async fn until_metric(&self, series: &str, is_so: impl Fn(f64) -> bool) {
        within(series, async { while !is_so(self.metric(series).await) {} }).await;
    }

    /// Ends it as the system does, in order. All that it logged.
    pub(crate) async fn stop(self) -> String {
        self.process.signal(Signal::TERM);
        let ending = self.process.ended().await;
        assert_eq!(ending.code, Some(0), "{}", ending.log);
        if let Some(journal) = self.journal {
            let replayed = replayed(&journal).await;
            assert_eq!(replayed.status.code(), Some(0), "not every answer can be repeated: {replayed:?}");
        }
        ending.log
    }

    /// Ends it as a power cut does. All that it logged.
    pub(crate) async fn kill(self) -> String {
        self.process.signal(Signal::KILL);
        let ending = self.process.ended().await;
        assert_eq!(ending.code, None, "it ended before it was killed: {}", ending.log);
        ending.log
    }
}

/// Decides a journal again under the policies that were in force.
pub(crate) async fn replayed(journal: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["replay", "--verify", "--journal", &format!("sqlite:{}", journal.display())]);
    command.env_clear().stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    timeout(PATIENCE, output).await.expect("the replay does not end").unwrap()
}

/// The result of `work`, which must not take for ever.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Whether a thread is stopped, by its state behind the name, which may have anything in it. One that has ended runs no more.
fn is_stopped(thread: &Path) -> bool {
    let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('T'))
}

/// A setting of a test, or its default.
#[allow(clippy::disallowed_methods, reason = "a test has no configuration but this")]
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// How many processes work in this directory or below it. One that has ended, and that nobody has asked for, works nowhere.
pub(crate) fn at_work_in(directory: &Path) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let workplaces = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    workplaces.filter(|place| place.starts_with(directory)).count()
}

/// Waits until nobody works there any more.
pub(crate) async fn all_have_gone_from(directory: &Path) {
    within("all processes end", async {
        while at_work_in(directory) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
