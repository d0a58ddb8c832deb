//! The servers of a comparison as processes of their own, and what the system says that they cost. Dropped, they end.

use std::{
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use super::{Database, Failure, LIMIT, Options, SECRET};
use crate::{generator::Target, nodes::Nodes, process::Leash, scenario::Limits, system::cpu_seconds};

/// A server under test.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) keeps: &'static str,
    pub(super) target: Target,
    /// It gets one in so many of the questions.
    pub(super) one_in: usize,
    process: Process,
    /// The database that it uses.
    database: Option<u32>,
}

enum Process {
    Node(Nodes),
    Other(Running),
}

/// Killed when it is dropped.
struct Running {
    child: Child,
    _leash: Leash,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU seconds so far.
pub(super) struct Cpu {
    pub(super) server: f64,
    pub(super) database: Option<f64>,
}

impl Contender {
    pub(super) fn cpu(&self) -> io::Result<Cpu> {
        let processes: Vec<u32> = match &self.process {
            Process::Node(nodes) => nodes.processes().collect(),
            Process::Other(running) => vec![running.child.id()],
        };
        let server = processes.into_iter().map(cpu_seconds).sum::<io::Result<f64>>()?;
        Ok(Cpu { server, database: self.database.map(cpu_seconds).transpose()? })
    }
}

/// Starts all that can be started, the simplest first. What cannot is told in `skipped`.
pub(super) fn start(options: &Options, skipped: &mut Vec<String>) -> Result<Vec<Contender>, Failure> {
    let own = std::env::current_exe()?;
    let mut bare = Command::new(own);
    bare.arg("bare");
    let mut contenders = vec![
        other("bare hyper", "nothing, checks nothing", bare, 1, None)?,
        node("tollgate, memory", "limits; lost when it ends", options, "memory:", None)?,
        node(
            "tollgate, sqlite",
            "limits, on the disk before it answers",
            options,
            "sqlite:tollgate.db",
            None,
        )?,
    ];
    let needs = "PostgreSQL was not found: skipped";
    if let Some(database) = &options.database {
        let url = format!("{}/tollgate", database.url);
        let keeps = "limits, in PostgreSQL before it answers";
        contenders.push(node("tollgate, postgresql", keeps, options, &url, Some(database))?);
    } else {
        skipped.push(format!("tollgate, postgresql: {needs}"));
    }
    let Some(peers) = &options.peers else {
        skipped.push(
            "express + stripe, with and without PostgreSQL: Node or its packages are missing: skipped"
                .to_owned(),
        );
        return Ok(contenders);
    };
    let express = peer(peers, "stateless", None);
    contenders.push(other("express + stripe", "nothing", express, PEERS_ONE_IN, None)?);
    if let Some(database) = &options.database {
        let express = peer(peers, "postgres", Some(database));
        let keeps = "limits, by SELECT … FOR UPDATE";
        contenders.push(other(
            "express + stripe + postgresql",
            keeps,
            express,
            PEERS_ONE_IN,
            Some(database),
        )?);
    } else {
        skipped.push(format!("express + stripe + postgresql: {needs}"));
    }
    Ok(contenders)
}

/// They take so much longer that a part of the questions is enough to measure them.
const PEERS_ONE_IN: usize = 4;

fn node(
    name: &'static str,
    keeps: &'static str,
    options: &Options,
    journal: &str,
    database: Option<&Database>,
) -> Result<Contender, Failure> {
    let directory = options.directory.join(name.replace(", ", "-"));
    let limits = Limits { daily: Some(LIMIT), ..Limits::default() };
    let more = [
        ("TOLLGATE_JOURNAL", journal.to_owned()),
        // Every connection may ask about the same card.
        ("TOLLGATE_CARD_QUEUE_MAX", options.connections.max(64).to_string()),
    ];
    let nodes = Nodes::start(1, &options.binary, &directory, SECRET, &limits, None, &more)?;
    let address = nodes.webhooks().next().ok_or_else(|| io::Error::other("no node was started"))?;
    let target = Target { address, host: address.to_string(), path: "/webhook".to_owned() };
    let database = database.map(|database| database.process);
    Ok(Contender { name, keeps, target, one_in: 1, process: Process::Node(nodes), database })
}

fn peer(directory: &Path, kind: &str, database: Option<&Database>) -> Command {
    let mut command = Command::new("node");
    command.arg("server.js").arg(kind).current_dir(directory);
    command.env("STRIPE_WEBHOOK_SECRET", SECRET).env("LIMIT", LIMIT.to_string()).env("PORT", "0");
    if let Some(database) = database {
        command.env("DATABASE_URL", format!("{}/peer", database.url));
    }
    command.env("NODE_ENV", "production");
    command
}

/// A server that says on its standard error where it listens.
fn other(
    name: &'static str,
    keeps: &'static str,
    mut command: Command,
    one_in: usize,
    database: Option<&Database>,
) -> io::Result<Contender> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take();
    let leash = Leash::of(&mut child)?;
    let running = Running { child, _leash: leash };
    let silent = || io::Error::other(format!("{name}: it ended before it listened"));
    let mut said = BufReader::new(stderr.ok_or_else(silent)?).lines().map_while(Result::ok);
    let mut before = Vec::new();
    let address = loop {
        let Some(line) = said.next() else {
            return Err(io::Error::other(format!("{name} ended before it listened: {}", before.join(" / "))));
        };
        match line.split_once("listening on http://").map(|(_, address)| address.parse()) {
            Some(Ok(address)) => break address,
            _ => before.push(line),
        }
    };
    // What it says later is read, so that it never waits for a reader.
    thread::spawn(move || said.for_each(drop));
    let target = Target { address, host: address.to_string(), path: "/webhook".to_owned() };
    let database = database.map(|database| database.process);
    Ok(Contender { name, keeps, target, one_in, process: Process::Other(running), database })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_come_up_is_told_with_its_own_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such port >&2; exit 3"]);
        let cause = other("broken", "nothing", command, 1, None).err().unwrap();
        assert_eq!(cause.to_string(), "broken ended before it listened: no such port");
    }
}
