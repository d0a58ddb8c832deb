//! Tollgate beside what users would pick instead: the same signed questions go to each server in turn, round by round, as
//! fast as they are answered, and what each took is put side by side. How a server is started is in `contender`, what
//! people see in `table`.

mod contender;
mod table;

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use self::contender::Contender;
use crate::{
    clock, corpus,
    generator::saturate::saturate,
    nodes::NotStarted,
    record::Setup,
    scenario::{NoScenario, Scenario},
    setup,
    signature::Signer,
    words::float,
};

/// The secret of all servers here.
const SECRET: &str = "whsec_of_a_comparison_on_this_machine";
/// No purchase meets this limit, in minor units: a decline would cost something else.
const LIMIT: i64 = 1_000_000_000_000;

/// What to compare.
pub struct Options {
    /// Tollgate's program.
    pub binary: PathBuf,
    /// Where the servers in Node are, installed; none where they are not.
    pub peers: Option<PathBuf>,
    /// A PostgreSQL server of the comparison's own; none where there is none.
    pub database: Option<Database>,
    /// How often each server gets its turn.
    pub rounds: u64,
    /// Questions for each turn. Servers in Node get the first quarter of them.
    pub questions: usize,
    /// Different cards.
    pub cards: usize,
    /// Connections, each with one question on its way.
    pub connections: usize,
    /// Where `compare.json` goes, and what servers write.
    pub directory: PathBuf,
}

/// A PostgreSQL server that nobody else uses.
#[derive(Clone)]
pub struct Database {
    /// `postgres://…`, without a database's name.
    pub url: String,
    /// Its main process.
    pub process: u32,
}

/// What was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Machine and build.
    pub setup: Setup,
    /// Runnable tasks over the minute before the start: what else the machine had to do.
    pub load_before: String,
    /// Connections, each with one question on its way.
    pub connections: usize,
    /// Different cards.
    pub cards: usize,
    /// The mean length of a body.
    pub body_bytes: usize,
    /// Each server.
    pub servers: Vec<Server>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
}

/// A server and its turns.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Server {
    /// What it is.
    pub name: String,
    /// What it keeps, and where.
    pub keeps: String,
    /// Its turns, in order.
    pub turns: Vec<Turn>,
}

/// One server's turn in one round.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Turn {
    /// Questions asked.
    pub questions: u64,
    /// Approved.
    pub approved: u64,
    /// Not approved: declined, refused, or not answered.
    pub other: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// CPU of the server's processes for each question, in microseconds; without the database's.
    pub cpu_us: f64,
    /// CPU of the database's processes for each question, in microseconds; none without a database.
    pub database_cpu_us: Option<f64>,
    /// The median from sending to the answer, with every connection in use.
    pub p50_us: u64,
    /// 99 in 100.
    pub p99_us: u64,
    /// CPU of the generator, in cores. Near 1 it is what limits the rate.
    pub generator_cpu: f64,
}

impl Turn {
    fn per_second(&self) -> f64 {
        float(self.questions) / self.seconds.max(f64::MIN_POSITIVE)
    }

    fn cpu_us_in_all(&self) -> f64 {
        self.cpu_us + self.database_cpu_us.unwrap_or(0.0)
    }
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Tollgate does not start.
    #[error(transparent)]
    Nodes(#[from] NotStarted),
    /// Another server does not start, or the system has no sockets.
    #[error("the comparison cannot go on: {0}")]
    System(#[from] io::Error),
    /// The questions cannot be drawn.
    #[error(transparent)]
    Questions(#[from] NoScenario),
}

/// Compares. `tell` hears what is going on.
///
/// # Errors
/// A server does not start, or stops to answer.
pub fn compare(options: &Options, mut tell: impl FnMut(&str)) -> Result<Comparison, Failure> {
    fs::create_dir_all(&options.directory)?;
    let mut scenario = Scenario::load("saturation")?;
    scenario.cards = options.cards;
    let signer = Signer::new(SECRET);
    let begun = u64::try_from(clock::unix_seconds()).unwrap_or_default();
    let mut comparison = Comparison {
        setup: setup::look(&options.directory),
        load_before: setup::load_average(),
        connections: options.connections,
        cards: options.cards,
        body_bytes: 0,
        servers: Vec::new(),
        skipped: Vec::new(),
    };
    let mut contenders = contender::start(options, &mut comparison.skipped)?;
    comparison.servers.extend(contenders.iter().map(|contender| Server {
        name: contender.name.to_owned(),
        keeps: contender.keeps.to_owned(),
        turns: Vec::new(),
    }));
    // The first round only warms up: compilers, caches, connections to the database.
    for round in 0..=options.rounds {
        let run = begun.saturating_add(round);
        let questions = corpus::questions(&scenario, &signer, run, options.questions, clock::unix_seconds());
        let bytes: usize = questions.iter().map(|question| question.body.len()).sum();
        comparison.body_bytes = bytes.checked_div(questions.len()).unwrap_or_default();
        for (contender, server) in contenders.iter_mut().zip(&mut comparison.servers) {
            let what = if round == 0 {
                "warm-up".to_owned()
            } else {
                format!("round {round} of {}", options.rounds)
            };
            tell(&format!("{what}: {}", contender.name));
            let few = questions.len().checked_div(contender.one_in).unwrap_or_default();
            let turn = turn(contender, questions.get(..few).unwrap_or_default(), options)?;
            if round > 0 {
                server.turns.push(turn);
            }
        }
    }
    let json = serde_json::to_vec_pretty(&comparison).map_err(io::Error::other)?;
    fs::write(options.directory.join("compare.json"), json)?;
    Ok(comparison)
}

/// The table that people read.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    table::table(comparison)
}

fn turn(contender: &mut Contender, questions: &[corpus::Signed], options: &Options) -> io::Result<Turn> {
    let before = contender.cpu()?;
    let done = saturate(&contender.target, questions, options.connections)?;
    let after = contender.cpu()?;
    let count = u64::try_from(questions.len()).unwrap_or(u64::MAX);
    let each = |seconds: f64| seconds * 1e6 / float(count.max(1));
    Ok(Turn {
        questions: count,
        approved: done.approved,
        other: done.declined.saturating_add(done.failed),
        seconds: done.seconds,
        cpu_us: each(after.server - before.server),
        database_cpu_us: after.database.zip(before.database).map(|(after, before)| each(after - before)),
        p50_us: done.latency.p50_us,
        p99_us: done.latency.p99_us,
        generator_cpu: done.generator_cpu,
    })
}
