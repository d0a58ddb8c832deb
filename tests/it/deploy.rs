//! The cluster on one machine of `deploy/` tells what happens to it and leaves nothing behind. The balancers in front of
//! real nodes are in `cluster::balancers`.
#![allow(clippy::unwrap_used, reason = "a test that is wrong shall stop")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use crate::{
    postgres::{is_installed, open_directory},
    process::all_have_gone_from,
};

/// The script with three nodes of this build, as it runs.
struct LocalCluster {
    script: Child,
    said: BufReader<ChildStderr>,
}

impl LocalCluster {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local-cluster.sh"))
            .args(["--binary", env!("CARGO_BIN_EXE_tollgate")])
            // Others may run it at the same time.
            .args(["--ports", &fastrand::u16(15_000..32_000).to_string()])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("TMPDIR", directory)
            .env("TOLLGATE_DRAIN_DELAY", "0s")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(script.stderr.take().unwrap());
        Self { script, said }
    }

    /// The next line that has this in it.
    fn line(&mut self, part: &str) -> String {
        let mut said = String::new();
        while self.said.read_line(&mut said).unwrap() > 0 {
            if let Some(line) = said.lines().next_back().filter(|line| line.contains(part)) {
                return line.to_owned();
            }
        }
        panic!("no `{part}` in\n{said}");
    }

    fn signal(&self, signal: &str) {
        kill(signal, &self.script.id().to_string());
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

fn kill(signal: &str, process: &str) {
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

#[tokio::test]
async fn a_local_cluster_tells_that_a_node_is_gone_and_removes_all_of_itself() {
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let mut cluster = LocalCluster::start(directory.path(), &["--balancer", "none"]);
    let process = cluster.line("tollgate-2 ").rsplit(' ').next().unwrap().to_owned();
    cluster.line("Ctrl-C stops everything");
    kill("-KILL", &process);
    cluster.line("tollgate-2 has ended (code 137)");
    cluster.signal("-TERM");
    assert_eq!(cluster.script.wait().unwrap().code(), Some(0));
    all_have_gone_from(directory.path()).await;
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_local_cluster_started_ends_when_the_script_is_killed() {
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let mut cluster = LocalCluster::start(directory.path(), &["--balancer", "none"]);
    cluster.line("Ctrl-C stops everything");
    cluster.script.kill().unwrap();
    all_have_gone_from(directory.path()).await;
}

#[test]
fn a_local_cluster_says_what_is_wrong_before_it_starts_anything_and_what_a_node_said() {
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let check = |arguments: &[&str], said: &str, code: i32| {
        let mut cluster = LocalCluster::start(directory.path(), arguments);
        cluster.line(said);
        assert_eq!(cluster.script.wait().unwrap().code(), Some(code));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    };
    check(&["--balancer", "cat"], "no such balancer: cat", 1);
    check(&["--binary", "/nowhere"], "/nowhere is no program", 1);
    check(&["--nodes", "3"], "--balancer nginx|haproxy|none", 2);
    check(&["--balancer", "none", "--binary", "/bin/false"], "tollgate-1 has ended", 1);
}
