//! Several nodes on one database: what a decision costs all of them together, how many rows go down in a statement, and
//! what the way to another node adds to the latency. The database's own time is not counted.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::{
    CONNECTIONS, Scale, TOLLGATE,
    events::{Cards, Events, Writer},
    generator::{self, Pace},
    report::{self, ClusterRow, Latencies, Spread},
    server::{Batches, Journal, Process},
};

const SIZES: [usize; 3] = [1, 3, 5];

/// Nodes that share a database, one after another: they would share the processor otherwise.
pub(crate) fn measure(scale: &Scale, writer: &mut Writer, database: &str) {
    let mut rate = None;
    let mut rows = Vec::new();
    for size in SIZES {
        let nodes: Vec<Process> =
            (0..size).map(|node| Process::tollgate(TOLLGATE, Journal::Postgres(database, node))).collect();
        know_each_other(&nodes);
        let targets: Vec<SocketAddr> = nodes.iter().map(|node| node.webhook).collect();
        let warm = writer.write(scale.cards.max(CONNECTIONS), Cards::Many(scale.cards));
        // Connections to the database are made, and cards are read: on a busy machine some of it takes too long.
        generator::run(&targets, &warm, CONNECTIONS, Pace::AsFastAsAnswered);
        let warm = writer.write(scale.cards.max(CONNECTIONS), Cards::Many(scale.cards));
        generator::run(&targets, &warm, CONNECTIONS, Pace::AsFastAsAnswered);
        let (mut cpu_us, mut rates, mut batches) = (Vec::new(), Vec::new(), Batches::default());
        let forwards = || nodes.iter().map(answered).sum::<f64>();
        let forwarded_before = forwards();
        for _ in 0..scale.rounds {
            let events = writer.write(scale.requests, Cards::Many(scale.cards));
            let cpu = || nodes.iter().map(Process::cpu).sum::<Duration>();
            let all_batches = || nodes.iter().map(Process::batches).collect::<Vec<_>>();
            let (cpu_before, batches_before) = (cpu(), all_batches());
            let load = load(&targets, &events, Pace::AsFastAsAnswered);
            cpu_us.push(cpu().saturating_sub(cpu_before).as_secs_f64() * 1e6 / events.len() as f64);
            rates.push(events.len() as f64 / load.took.as_secs_f64());
            all_batches()
                .iter()
                .zip(&batches_before)
                .for_each(|(now, before)| batches.add(now.since(before)));
        }
        let forwarded = (forwards() - forwarded_before) / (scale.rounds * scale.requests) as f64;
        let (cpu_us, rates) = (Spread::of(cpu_us), Spread::of(rates));
        // The same for all: half of what one node takes.
        let rate = *rate.get_or_insert(rates.median / 2.0);
        let latencies = (0..scale.rounds).map(|_| {
            let requests = (rate * scale.open_loop.as_secs_f64()) as usize;
            let events = writer.write(requests.max(CONNECTIONS), Cards::Many(scale.cards));
            Latencies::of(load(&targets, &events, Pace::PerSecond(rate)))
        });
        let latencies = latencies.collect();
        let rows_a_statement = batches.mean();
        rows.push(ClusterRow { nodes: size, cpu_us, rates, rows_a_statement, forwarded, latencies });
    }
    report::cluster(&rows, rate.unwrap_or_default());
}

fn load(targets: &[SocketAddr], events: &Events, pace: Pace) -> generator::Load {
    let load = generator::run(targets, events, CONNECTIONS, pace);
    // On a busy machine the database may make some wait too long; many would be another measurement.
    let missed = events.len() - load.approved;
    assert!(missed * 1_000 <= events.len(), "{missed} of {} requests were not approved", events.len());
    load
}

fn answered(node: &Process) -> f64 {
    node.metric("tollgate_forwards_total{result=\"answered\"}")
}

/// Waits until every node has all its connections to all others.
fn know_each_other(nodes: &[Process]) {
    let since = Instant::now();
    let others = nodes.len() - 1;
    let is_connected = |node: &Process| node.get("/v1/node").matches("\"connections\":2").count() == others;
    while !nodes.iter().all(is_connected) {
        assert!(since.elapsed() < Duration::from_secs(20), "the nodes do not find each other");
        thread::sleep(Duration::from_millis(50));
    }
}
