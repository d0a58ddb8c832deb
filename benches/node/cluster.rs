//! Several nodes on one database: what a decision costs all of them together, what it is made of, and what the way to
//! another node adds to the latency. Clusters of all sizes take the same requests in the same rounds, each with a database
//! of its own in one server, so that neither the machine's moods nor the cards' age favours any of them.

use std::{
    array,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use tollgate::cluster::Placement;

use crate::{
    CONNECTIONS, Scale, TOLLGATE,
    events::{Cards, Events, Writer},
    generator::{self, Load, Pace},
    postgres::Server,
    report::{self, ClusterRow, Hop, HopRow, Latencies, Spread},
    server::{Journal, Process},
};

const SIZES: [usize; 3] = [1, 3, 5];

/// What is counted: all series that begin like this, of all nodes together.
const SERIES: [&str; 9] = [
    "tollgate_journal_batch_entries_sum",
    "tollgate_journal_batch_entries_count",
    "tollgate_forwards_total{result=\"answered\"}",
    "tollgate_forwards_total",
    "tollgate_journal_conflicts_total",
    "tollgate_requests_shed_total",
    "tollgate_repeated_questions_total",
    "tollgate_card_activations_total",
    "tollgate_journal_appended_bytes_total",
];

/// Hops that took so long at most, in milliseconds, and the series that counts them.
const HOPS: [(f64, &str); 9] = [
    (0.25, "tollgate_hop_duration_seconds_bucket{le=\"0.00025\"}"),
    (0.5, "tollgate_hop_duration_seconds_bucket{le=\"0.0005\"}"),
    (1.0, "tollgate_hop_duration_seconds_bucket{le=\"0.001\"}"),
    (2.5, "tollgate_hop_duration_seconds_bucket{le=\"0.0025\"}"),
    (5.0, "tollgate_hop_duration_seconds_bucket{le=\"0.005\"}"),
    (10.0, "tollgate_hop_duration_seconds_bucket{le=\"0.01\"}"),
    (25.0, "tollgate_hop_duration_seconds_bucket{le=\"0.025\"}"),
    (50.0, "tollgate_hop_duration_seconds_bucket{le=\"0.05\"}"),
    (f64::INFINITY, "tollgate_hop_duration_seconds_count"),
];

/// How many connections the load comes over, to each node: a node that has little to do at once pays more for each
/// request, however many others there are, so that clusters are compared where their nodes have the same to do. Five nodes
/// with the fewer have as many as the first bench of one node has.
const CONNECTIONS_A_NODE: [usize; 2] = [CONNECTIONS / 5, CONNECTIONS / 2];
/// The place of the load that is taken for saturation.
const MANY: usize = 1;

/// Nodes that share a database.
struct Cluster {
    name: String,
    nodes: Vec<Process>,
    targets: Vec<SocketAddr>,
    placement: Placement,
    /// By the number of connections.
    samples: [Vec<Sample>; CONNECTIONS_A_NODE.len()],
    hops: Vec<Hop>,
}

/// One round of one load.
struct Sample {
    cpu_us: f64,
    rate: f64,
    missed: f64,
    wakeups: f64,
    database_us: f64,
    requests: f64,
    counts: [f64; SERIES.len()],
}

/// Measures clusters of each size, and of another build if there is one.
pub(crate) fn measure(scale: &Scale, writer: &mut Writer) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = "shared_buffers = 512MB\nmax_wal_size = 4GB\nmax_connections = 300\nautovacuum = on";
    let Some(server) = runtime.block_on(Server::start_with(settings)) else { return };
    let builds = [Some((TOLLGATE, "")), scale.other.as_deref().map(|other| (other, " other"))];
    let mut clusters: Vec<Cluster> = builds
        .into_iter()
        .flatten()
        .flat_map(|(program, build)| SIZES.map(|size| (program, format!("{size}{build}"), size)))
        .map(|(program, name, size)| Cluster::start(&server, program, name, size))
        .collect();
    for cluster in &clusters {
        cluster.know_each_other();
        // Connections to the database are made, and cards are read: on a busy machine some of it takes too long.
        for _ in 0..2 {
            let warm = writer.write(scale.cards.max(CONNECTIONS), Cards::InTurn(scale.cards));
            generator::run(&cluster.targets, &warm, CONNECTIONS, Pace::AsFastAsAnswered);
        }
    }
    for _ in 0..scale.rounds {
        for load in 0..CONNECTIONS_A_NODE.len() {
            let events = writer.write(scale.requests, Cards::Many(scale.cards));
            for cluster in &mut clusters {
                cluster.round(load, &events, &server);
            }
        }
    }
    report::cluster(&rows(&clusters));
    for _ in 0..scale.rounds {
        for cluster in clusters.iter_mut().filter(|cluster| cluster.nodes.len() > 1) {
            let rate = cluster.half_of_its_rate();
            let requests = (rate * scale.open_loop.as_secs_f64()) as usize;
            let events = writer.write(requests.max(CONNECTIONS), Cards::Many(scale.cards));
            cluster.hop(&events, rate);
        }
    }
    let hops: Vec<HopRow> = clusters
        .into_iter()
        .filter(|cluster| !cluster.hops.is_empty())
        .map(|cluster| HopRow { rate: cluster.half_of_its_rate(), name: cluster.name, rounds: cluster.hops })
        .collect();
    report::hops(&hops);
    println!("load average at the end: {}", generator::load_average());
}

impl Cluster {
    fn start(server: &Server, program: &str, name: String, size: usize) -> Self {
        let database = format!("cluster_of_{}", name.replace(' ', "_"));
        server.sql(&format!("CREATE DATABASE {database}"));
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}", server.port());
        let names: Vec<String> = (0..size).map(|node| format!("node-{node}")).collect();
        let node = |node| Process::tollgate(program, Journal::Postgres(&url, node));
        let nodes: Vec<Process> = (0..size).map(node).collect();
        let targets = nodes.iter().map(|node| node.webhook).collect();
        let placement = Placement::new(names.iter().map(String::as_str));
        Self { name, nodes, targets, placement, samples: array::from_fn(|_| Vec::new()), hops: Vec::new() }
    }

    /// Waits until every node has all its connections to all others.
    fn know_each_other(&self) {
        let since = Instant::now();
        let others = self.nodes.len() - 1;
        let is_connected =
            |node: &Process| node.get("/v1/node").matches("\"connections\":2").count() == others;
        while !self.nodes.iter().all(is_connected) {
            assert!(since.elapsed() < Duration::from_secs(20), "the nodes do not find each other");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn round(&mut self, load: usize, events: &Events, server: &Server) {
        let connections = CONNECTIONS_A_NODE[load] * self.nodes.len();
        let counts_before = self.counts();
        let (switches, database, cpu) = (self.switches(), server.cpu_ticks(), self.cpu());
        let loaded = self.load(events, connections, Pace::AsFastAsAnswered);
        let (cpu, database, wakeups) =
            (self.cpu().saturating_sub(cpu), server.cpu_ticks() - database, self.switches() - switches);
        let counts = self.counts();
        let requests = events.len() as f64;
        self.samples[load].push(Sample {
            cpu_us: cpu.as_secs_f64() * 1e6 / requests,
            rate: requests / loaded.took.as_secs_f64(),
            missed: requests - loaded.approved as f64,
            wakeups: wakeups / requests,
            database_us: database as f64 * 1e4 / requests,
            requests,
            counts: array::from_fn(|series| counts[series] - counts_before[series]),
        });
    }

    /// Half of what the cluster takes: what a request waits for is then mostly its own work.
    fn half_of_its_rate(&self) -> f64 {
        Spread::of(self.samples[MANY].iter().map(|sample| sample.rate).collect()).median / 2.0
    }

    fn hop(&mut self, events: &Events, rate: f64) {
        let before = self.sums(HOPS.map(|(_, series)| series));
        let load = self.load(events, CONNECTIONS_A_NODE[MANY] * self.nodes.len(), Pace::PerSecond(rate));
        let is_at_its_owner = |latency: &generator::Latency| {
            self.placement.owner(&events.card(latency.request)) == Some(latency.server)
        };
        let local = Latencies::some(&load, is_at_its_owner);
        let forwarded = Latencies::some(&load, |latency| !is_at_its_owner(latency));
        let after = self.sums(HOPS.map(|(_, series)| series));
        let way = array::from_fn(|bucket| (HOPS[bucket].0, after[bucket] - before[bucket]));
        self.hops.push(Hop { local, forwarded, way });
    }

    fn load(&self, events: &Events, connections: usize, pace: Pace) -> Load {
        let load = generator::run(&self.targets, events, connections, pace);
        // On a busy machine some wait too long, and the stand-in answers: they are told. Many are another measurement.
        let missed = events.len() - load.approved;
        assert!(missed * 20 <= events.len(), "{missed} of {} requests were not approved", events.len());
        load
    }

    fn cpu(&self) -> Duration {
        self.nodes.iter().map(Process::cpu).sum()
    }

    fn switches(&self) -> f64 {
        self.nodes.iter().map(Process::switches).sum()
    }

    fn counts(&self) -> [f64; SERIES.len()] {
        self.sums(SERIES)
    }

    /// What all nodes count together.
    fn sums<const N: usize>(&self, series: [&str; N]) -> [f64; N] {
        let each: Vec<[f64; N]> = self.nodes.iter().map(|node| node.metrics(series)).collect();
        array::from_fn(|series| each.iter().map(|counts| counts[series]).sum())
    }
}

fn rows(clusters: &[Cluster]) -> Vec<ClusterRow> {
    let mut rows = Vec::new();
    for (load, connections) in CONNECTIONS_A_NODE.into_iter().enumerate() {
        let of = |cluster: &Cluster, take: fn(&Sample) -> f64| {
            cluster.samples[load].iter().map(take).collect::<Vec<f64>>()
        };
        for cluster in clusters {
            let cpu_us = of(cluster, |sample| sample.cpu_us);
            let alone = of(single(clusters, cluster), |sample| sample.cpu_us);
            let ratio = cpu_us.iter().zip(&alone).map(|(these, one)| these / one).collect();
            let samples = &cluster.samples[load];
            let requests: f64 = samples.iter().map(|sample| sample.requests).sum();
            let missed: f64 = samples.iter().map(|sample| sample.missed).sum();
            let [rows_, statements, answered, forwards, conflicts, shed, repeated, loads, bytes] =
                array::from_fn(|series| samples.iter().map(|sample| sample.counts[series]).sum::<f64>());
            let of_thousand = |count: f64| count * 1e3 / requests;
            rows.push(ClusterRow {
                name: cluster.name.clone(),
                connections: connections * cluster.nodes.len(),
                cpu_us: Spread::of(cpu_us),
                ratio: Spread::of(ratio),
                rates: Spread::of(of(cluster, |sample| sample.rate)),
                database_us: Spread::of(of(cluster, |sample| sample.database_us)).median,
                wakeups: Spread::of(of(cluster, |sample| sample.wakeups)).median,
                rows_a_statement: rows_ / statements,
                counts: vec![
                    ("forwards answered", of_thousand(answered)),
                    ("forwards not answered", of_thousand(forwards - answered)),
                    ("statements", of_thousand(statements)),
                    ("conflicts", of_thousand(conflicts)),
                    ("shed", of_thousand(shed)),
                    ("not approved", of_thousand(missed)),
                    ("repeated", of_thousand(repeated)),
                    ("cards loaded", of_thousand(loads)),
                    ("KB appended", of_thousand(bytes) / 1024.0),
                ],
            });
        }
    }
    rows
}

/// The single node of the same build.
fn single<'a>(clusters: &'a [Cluster], of: &Cluster) -> &'a Cluster {
    let is_single = |one: &&Cluster| one.nodes.len() == 1 && one.name[1..] == of.name[1..];
    clusters.iter().find(is_single).expect("there is one of each build")
}
