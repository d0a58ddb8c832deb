//! A whole load test: nodes are started or found, the scenario is played against them as often as asked, the books are
//! compared, and the record says what came of it.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use crate::{
    admin::{Admin, Books as _},
    audit::Auditor,
    clock::{self, Clock},
    credits::{NEWS_MAX, Operator},
    events::Writer,
    generator::{
        Played, Progress, Scene, Secrets, Target,
        api::{Api, KEY},
        play,
    },
    nodes::{Nodes, NotStarted},
    record::{self, FORMAT, Mark, Record, Run, Verdict},
    report,
    scenario::{Act, DatabaseAct, Limits, Scenario},
    setup,
    signature::Signer,
    slow_disk, verdict,
    watch::{self, Window},
};

/// The secret of nodes that are started here.
const LOCAL_SECRET: &str = "whsec_of_a_load_test_on_this_machine";

/// How long a node may take to be connected to before anything is asked.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// What to run, and against what.
pub struct Options {
    /// What.
    pub scenario: Scenario,
    /// Against what.
    pub against: Against,
    /// How often.
    pub repeats: usize,
    /// Where record and report go, and the nodes' files.
    pub directory: PathBuf,
    /// The command that repeats it.
    pub command: String,
}

/// The nodes.
pub enum Against {
    /// So many of this program, started here.
    Local {
        /// How many.
        count: usize,
        /// The program.
        binary: PathBuf,
        /// What they are first started from, if that is another: a node that the scenario ends comes back as the program.
        upgrade_from: Option<PathBuf>,
    },
    /// Those that are there.
    There {
        /// Where they take webhooks.
        targets: Vec<Target>,
        /// Where their admin APIs are, for those that are told.
        admins: Vec<SocketAddr>,
        /// What the admin APIs want to see.
        token: Option<String>,
        /// Signing secrets with a comma between: of questions, and of events if that is another.
        secrets: String,
    },
}

/// Why a load test could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There are no nodes.
    #[error(transparent)]
    Nodes(#[from] NotStarted),
    /// Nobody is where the nodes should be.
    #[error("expected a node at {0}, found none: {1}")]
    Nobody(SocketAddr, io::Error),
    /// The generator has no sockets, or the record cannot be written.
    #[error("the load test cannot go on: {0}")]
    System(#[from] io::Error),
    /// The books at the end cannot be read, or are not those of this test.
    #[error("the ledger cannot be compared: {0}")]
    Books(String),
    /// The scenario cannot be run like this.
    #[error("{0}")]
    Scenario(String),
}

/// Where requests go, and who is asked at the end.
struct Site {
    targets: Vec<Target>,
    admins: Vec<SocketAddr>,
    token: Option<String>,
    secrets: Secrets,
}

/// Runs it. Progress is told once a second.
///
/// # Errors
/// It could not be run to its end; what is in the record then does not matter.
pub fn run(options: &Options, mut tell: impl FnMut(&Progress)) -> Result<Record, Failure> {
    options.scenario.check().map_err(Failure::Scenario)?;
    let has_day = options.scenario.limits.daily.is_some() || options.scenario.budgets.is_some();
    if has_day && meets_midnight(clock::unix_seconds(), options.scenario.duration_s) {
        let what = "expected a run with a daily limit to end before midnight (UTC), where the limit begins anew; found one \
                    that would not: start it after midnight, or use another limit";
        return Err(Failure::Scenario(what.to_owned()));
    }
    if let Against::Local { upgrade_from: Some(_), .. } = options.against
        && options.scenario.disturbances.is_empty()
    {
        let what = "expected a scenario that ends nodes with --upgrade-from, such as rolling-restart: they are upgraded when \
                    they are started again";
        return Err(Failure::Scenario(what.to_owned()));
    }
    let mut record = Record {
        format: FORMAT,
        verdict: Verdict::default(),
        scenario: options.scenario.clone(),
        setup: setup::look(&options.directory),
        commands: vec![options.command.clone()],
        runs: Vec::new(),
    };
    fs::create_dir_all(&options.directory)?;
    let mut log = Vec::new();
    for _ in 0..options.repeats.max(1) {
        let (run, hlog) = run_once(options, &mut record, &mut tell)?;
        record.runs.push(run);
        log = hlog;
    }
    record.verdict = verdict::of(&record.scenario, &record.setup, &record.runs);
    fs::write(options.directory.join("latency.hlog"), log)?;
    let json = serde_json::to_vec_pretty(&record).map_err(io::Error::other)?;
    fs::write(options.directory.join("record.json"), json)?;
    fs::write(options.directory.join("report.html"), report::html(&record))?;
    Ok(record)
}

fn run_once(
    options: &Options,
    record: &mut Record,
    tell: &mut impl FnMut(&Progress),
) -> Result<(Run, Vec<u8>), Failure> {
    let scenario = &options.scenario;
    let api = if scenario.stripe.needs_api() { Some(Api::start()?) } else { None };
    let (nodes, site, run_id) = match &options.against {
        Against::Local { count, binary, upgrade_from } => {
            let first = upgrade_from.as_ref().unwrap_or(binary);
            let mut nodes = start_nodes(options, *count, first, api.as_ref())?;
            nodes.start_from(binary);
            record.setup.is_local = true;
            nodes.journal().clone_into(&mut record.setup.journal);
            record.setup.file_system = setup::look(&options.directory.join("nodes")).file_system;
            let site = Site::local(&nodes);
            (Some(nodes), site, 0)
        }
        Against::There { targets, admins, token, secrets } => {
            look_for_one(targets)?;
            let site = Site {
                targets: targets.clone(),
                admins: admins.clone(),
                token: token.clone(),
                secrets: signers(secrets),
            };
            // Books that are there already are about other cards.
            (None, site, u64::try_from(clock::unix_seconds()).unwrap_or_default())
        }
    };
    let disturbs = !scenario.disturbances.is_empty() || scenario.database.is_some();
    if nodes.is_none() && (api.is_some() || disturbs) {
        let what = "expected --local for a scenario that ends nodes or their database, or plays Stripe's API: those of --target \
                    are not ours to end, and talk to Stripe itself";
        return Err(Failure::Scenario(what.to_owned()));
    }
    if !scenario.is_scraped && (nodes.is_none() || !scenario.disturbances.is_empty()) {
        let what = "expected --local and no disturbances for a scenario that sees its nodes from outside: it has to know \
                    their processes";
        return Err(Failure::Scenario(what.to_owned()));
    }
    let windows = windows(scenario, nodes.as_ref(), &site);
    record.setup.targets =
        site.targets.iter().map(|target| format!("http://{}{}", target.address, target.path)).collect();
    if let Some(admin) = site.admins.first() {
        record.setup.server = watch::build_info(&mut Admin::new(*admin, site.token.clone()));
    }
    let writer = Writer::new(run_id);
    let clock = Clock::start();
    let mut nodes = nodes;
    let (news, heard) = sync_channel(NEWS_MAX);
    let auditor = Auditor::new(scenario.limits).sharing(scenario.budgets, heard);
    let mut operator = scenario
        .budgets
        .map(|budgets| Operator::new(budgets, &site.admins, site.token.as_deref(), run_id, clock, news));
    if let Some(operator) = &mut operator {
        operator.credit_all(0).map_err(Failure::Scenario)?;
    }
    let (stop_crediting, credited_until) = sync_channel::<()>(0);
    let (stop_watching, watched_until) = sync_channel(0);
    let (stop_disturbing, disturbed_until) = sync_channel(0);
    let (played, watched, marks, credits) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            // Moved in, so that it ends with this thread.
            let until = watched_until;
            watch::watch(windows, clock, &until)
        });
        let disturbing = scope.spawn(|| {
            let until = disturbed_until;
            nodes.as_mut().map_or(Ok(Vec::new()), |nodes| disturb(scenario, nodes, clock, &until))
        });
        let crediting = operator.map(|operator| {
            scope.spawn(move || {
                let until = credited_until;
                operator.go_on(scenario.duration_s, &until)
            })
        });
        let (targets, secrets, api) = (&site.targets, &site.secrets, api.as_ref());
        let played = play(Scene { scenario, targets, secrets, writer: &writer, api, clock }, auditor, tell);
        drop((stop_disturbing, stop_crediting));
        let credits = crediting
            .map(|crediting| crediting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let marks = disturbing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        drop(stop_watching);
        let watched = watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (played, watched, marks, credits)
    });
    let credits = credits.transpose().map_err(Failure::Books)?;
    let mut watched = watched;
    for (node, programs) in watched.iter_mut().zip(nodes.iter().flat_map(Nodes::programs)) {
        node.programs = programs.iter().map(|program| program.display().to_string()).collect();
        node.programs.dedup();
    }
    let mut played = played?;
    let hlog = std::mem::take(&mut played.hlog);
    if let Some(nodes) = nodes.as_ref().filter(|_| !played.lost.is_empty()) {
        nodes.reconcile().map_err(Failure::Books)?;
        for event in std::mem::take(&mut played.lost) {
            played.auditor.acknowledged(event, clock.now_us());
        }
    }
    let run = finish(scenario, &site, &writer, played, watched, marks?)?;
    Ok((Run { credits, ..run }, hlog))
}

/// Through what each node is seen.
fn windows(scenario: &Scenario, nodes: Option<&Nodes>, site: &Site) -> Vec<(SocketAddr, Window)> {
    match nodes {
        Some(nodes) if !scenario.is_scraped => {
            site.admins.iter().copied().zip(nodes.processes().map(Window::Process)).collect()
        }
        _ => {
            let of = |admin: &SocketAddr| (*admin, Window::Metrics(Admin::new(*admin, site.token.clone())));
            site.admins.iter().map(of).collect()
        }
    }
}

/// Nodes of this program, with the limits and the budgets of the scenario.
fn start_nodes(options: &Options, count: usize, binary: &Path, api: Option<&Api>) -> Result<Nodes, Failure> {
    let scenario = &options.scenario;
    let mut more = settings(scenario, api);
    if let Some(bytes_per_s) = scenario.disk_bytes_per_s {
        more.extend(slow_disk::environment(&options.directory.join("slow-disk"), bytes_per_s)?);
    }
    let mut limits = scenario.limits;
    if let Some(budgets) = &scenario.budgets {
        let path = options.directory.join("policy.yaml");
        fs::write(&path, budgets.policy(&limits))?;
        more.push(("TOLLGATE_POLICY", path.canonicalize()?.display().to_string()));
        limits = Limits::default();
    }
    let directory = options.directory.join("nodes");
    let standby = scenario.database.as_ref().map(|database| database.standby);
    Ok(Nodes::start(count, binary, &directory, LOCAL_SECRET, &limits, standby, &more)?)
}

/// Whether any node is there. Some may be away: that can be what is tested.
fn look_for_one(targets: &[Target]) -> Result<(), Failure> {
    let mut nobody = Ok(());
    for target in targets {
        match TcpStream::connect_timeout(&target.address, CONNECTED_WITHIN) {
            Ok(_) => return Ok(()),
            Err(cause) => nobody = Err(Failure::Nobody(target.address, cause)),
        }
    }
    nobody
}

/// What nodes need to know of Stripe's API.
fn settings(scenario: &Scenario, api: Option<&Api>) -> Vec<(&'static str, String)> {
    let Some(api) = api else { return Vec::new() };
    let answer_by = if scenario.stripe.answers_over_api { "api" } else { "direct" };
    vec![
        ("TOLLGATE_ANSWER_BY", answer_by.to_owned()),
        ("STRIPE_API_KEY", KEY.to_owned()),
        ("STRIPE_API_BASE", api.base_url()),
    ]
}

/// Something that is done, to a node or to the database.
enum Planned {
    End { node: usize, act: Act, away: Duration, astray: Duration },
    Database(DatabaseAct),
}

/// What is done in a scenario, by when it is done.
fn planned(scenario: &Scenario) -> Vec<(f64, Planned)> {
    let ends = scenario.disturbances.iter().map(|disturbance| {
        let away = Duration::from_millis(disturbance.away_ms);
        let astray = Duration::from_millis(disturbance.astray_ms);
        (disturbance.at, Planned::End { node: disturbance.node, act: disturbance.act, away, astray })
    });
    let faults = scenario.database.iter().flat_map(|database| {
        let repeat = database.repeat.max(1);
        (0..repeat).flat_map(move |time| {
            let at = move |share: f64| (f64::from(time) + share) / f64::from(repeat);
            database.faults.iter().map(move |fault| (at(fault.at), Planned::Database(fault.act)))
        })
    });
    let mut planned: Vec<(f64, Planned)> = ends.chain(faults).collect();
    planned.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    planned
}

/// Ends nodes and starts them again, and does to the database what the scenario has, until the other side of `stop` is
/// dropped. What was done, and when.
fn disturb(
    scenario: &Scenario,
    nodes: &mut Nodes,
    clock: Clock,
    stop: &Receiver<()>,
) -> Result<Vec<(u64, Mark)>, NotStarted> {
    let mut marks = Vec::new();
    let mut mark = |what: &str, node: Option<usize>| {
        let now_us = clock.now_us();
        let at_s = Duration::from_micros(now_us).as_secs_f64();
        marks.push((now_us, Mark { at_s, what: what.to_owned(), node, normal_after_s: None }));
    };
    for (at, planned) in planned(scenario) {
        let at = Duration::from_secs_f64(at * scenario.duration_s);
        let wait = at.saturating_sub(Duration::from_micros(clock.now_us()));
        if stop.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
        match planned {
            Planned::End { node, act, away, astray } => {
                let node = node.checked_rem(nodes.count()).unwrap_or_default();
                mark(act.as_str(), Some(node));
                nodes.end(node, act);
                let _ = stop.recv_timeout(away);
                if !astray.is_zero() {
                    if nodes.launch_astray(node)? {
                        mark("astray", Some(node));
                        continue;
                    }
                    mark("refused", Some(node));
                    let _ = stop.recv_timeout(astray);
                }
                mark("start", Some(node));
                nodes.launch(node)?;
                mark("ready", Some(node));
            }
            Planned::Database(act) => {
                mark(act.as_str(), None);
                nodes.befall(act)?;
            }
        }
    }
    Ok(marks)
}

/// Compares the books, and puts together what is known of a run.
fn finish(
    scenario: &Scenario,
    site: &Site,
    writer: &Writer,
    played: Played,
    watched: Vec<record::Node>,
    marks: Vec<(u64, Mark)>,
) -> Result<Run, Failure> {
    let ends_us: Vec<u64> = marks.iter().filter(|(_, mark)| mark.is_end()).map(|(us, _)| *us).collect();
    let without_warning = [Act::Kill.as_str(), DatabaseAct::Kill.as_str(), DatabaseAct::Silence.as_str()];
    let kills = marks.iter().filter(|(_, mark)| without_warning.contains(&&*mark.what));
    let kills_us: Vec<u64> = kills.map(|(us, _)| *us).collect();
    let told: Vec<Mark> = marks
        .into_iter()
        .map(|(us, mark)| {
            let next_us = ends_us.iter().find(|end_us| **end_us > us).copied().unwrap_or(u64::MAX);
            let normal_us = mark.is_end().then(|| match mark.node {
                Some(_) => played.normal_after_us(us, next_us),
                None => played.decided_after_us(us, next_us),
            });
            Mark { normal_after_s: normal_us.map(|us| Duration::from_micros(us).as_secs_f64()), ..mark }
        })
        .collect();
    let mut stages = played.stages;
    for stage in &mut stages {
        let to_s = stage.from_s + stage.seconds;
        let cpu: Vec<f64> =
            watched.iter().filter_map(|node| watch::cpu_seconds(node, stage.from_s, to_s)).collect();
        stage.nodes_cpu = (!cpu.is_empty()).then(|| cpu.iter().sum::<f64>() / stage.seconds);
    }
    let to = |address: &SocketAddr| Admin::new(*address, site.token.clone());
    // A node that has not come back from what befell the database reads nothing: another one may.
    let reads = |address: &&SocketAddr| to(address).read("/v1/cards/ic_of_no_run").is_ok();
    let asked = match scenario.database {
        None => site.admins.first(),
        Some(_) => site.admins.iter().find(reads),
    };
    let mut admin = asked.map(to);
    let audit = played.auditor.close(admin.as_mut(), writer, &kills_us).map_err(Failure::Books)?;
    Ok(Run {
        seed: scenario.seed,
        seconds: played.seconds,
        outcomes: played.outcomes,
        latency: played.latency,
        deliveries: played.deliveries,
        seconds_each: played.seconds_each,
        stages,
        marks: told,
        generator: played.generator,
        nodes: watched,
        credits: None,
        audit,
    })
}

/// Whether a run that starts now, with what it takes to end, would go over midnight.
fn meets_midnight(now: i64, duration_s: f64) -> bool {
    const DAY_S: i64 = 86_400;
    const END_S: f64 = 120.0;
    let since = i32::try_from(now.rem_euclid(DAY_S)).unwrap_or_default();
    f64::from(since) + duration_s + END_S > 86_400.0
}

impl Site {
    fn local(nodes: &Nodes) -> Self {
        Self {
            targets: nodes
                .webhooks()
                .map(|address| Target { address, host: address.to_string(), path: "/webhook".to_owned() })
                .collect(),
            admins: nodes.admins().collect(),
            token: None,
            secrets: signers(LOCAL_SECRET),
        }
    }
}

fn signers(secrets: &str) -> Secrets {
    let mut each = secrets.split(',').map(str::trim);
    let questions = each.next().unwrap_or_default();
    let events = each.next().unwrap_or(questions);
    Secrets { questions: Signer::new(questions), events: Signer::new(events) }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn one_node_of_several_has_to_be_there() {
        let [there, gone] = [0, 0].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        let of = |listener: &TcpListener| {
            let address = listener.local_addr().unwrap();
            Target { address, host: address.to_string(), path: "/webhook".to_owned() }
        };
        let [here, away] = [of(&there), of(&gone)];
        drop(gone);
        assert!(look_for_one(&[away.clone(), here]).is_ok());
        let cause = look_for_one(std::slice::from_ref(&away)).unwrap_err().to_string();
        assert!(cause.starts_with(&format!("expected a node at {}, found none: ", away.host)), "{cause}");
    }

    #[test]
    fn a_run_meets_midnight_if_it_does_not_end_well_before() {
        for (now, duration_s, meets) in
            [(0, 60.0, false), (86_000, 60.0, false), (86_300, 60.0, true), (86_399, 1.0, true)]
        {
            assert_eq!(meets_midnight(1_790_000_000 / 86_400 * 86_400 + now, duration_s), meets, "{now}");
        }
    }
}
