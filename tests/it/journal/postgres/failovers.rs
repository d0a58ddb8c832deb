//! Dozens of failovers in a row to standbys that lack the tail, under load from three nodes' journals: nothing that was
//! acknowledged is lost, and each chain is the one that was acknowledged, entry for entry. Real nodes with real requests
//! meet a few of the same in `cluster::failover`, and many of them in the load test's scenario `database-failovers`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::task::JoinSet;
use tollgate::{
    clock,
    journal::{
        Outcome, Postgres, Reach,
        postgres::{Options, Phase},
    },
};

use super::super::Writer;
use crate::{
    cluster::proxy::Proxy,
    journal::{append_one, bodies},
    postgres::{Server, Stop},
    process::within,
};

/// How often the database is lost.
const FAILOVERS: u32 = 24;
const NODES: usize = 3;
/// Chains that are written to at the same time. Each has an owner, and one entry in ten comes from another node, as when
/// owners change.
const CHAINS: usize = 12;
/// How many entries are acknowledged while the standby gets nothing.
const BEHIND: usize = 200;

/// What the writers share.
#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// Entries, of all writers.
    acknowledged: AtomicUsize,
}

/// Writes one chain until it is over, as an actor does: nothing goes in before the entry in front of it is acknowledged.
/// How many were.
async fn write(nodes: Arc<[Postgres]>, owner: usize, shared: Arc<Shared>) -> (Writer, usize) {
    let (mut writer, mut acknowledged) = (Writer::new("failovers"), 0);
    while !shared.is_over.load(Ordering::SeqCst) {
        let append = writer.next(&format!("[{acknowledged}]"));
        let node = &nodes[if fastrand::u8(..10) == 0 { fastrand::usize(..NODES) } else { owner }];
        loop {
            match append_one(node, append.clone()).await {
                Outcome::Durable { .. } => break,
                Outcome::Unknown | Outcome::Rejected => {}
                outcome @ (Outcome::Conflict | Outcome::Expired) => {
                    panic!("entry {acknowledged} of {}: {outcome:?}", writer.account)
                }
            }
        }
        acknowledged += 1;
        shared.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    (writer, acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dozens_of_failovers_lose_nothing_that_was_acknowledged() {
    let Some(mut primary) = Server::start().await else { return };
    let front = Proxy::open().await;
    front.lead_to(([127, 0, 0, 1], primary.port()).into());
    let mut nodes = Vec::new();
    for n in 0..NODES {
        let options = Options { node: format!("node-{n}"), ..Options::default() };
        nodes.push(Postgres::open_with(&Server::url_at(front.address.port()), options).await.unwrap());
    }
    let nodes: Arc<[Postgres]> = nodes.into();
    let shared = Arc::new(Shared::default());
    let mut writers = JoinSet::new();
    for chain in 0..CHAINS {
        writers.spawn(write(Arc::clone(&nodes), chain % NODES, Arc::clone(&shared)));
    }
    let mut took = Vec::new();
    for timeline in 2..FAILOVERS + 2 {
        let started = clock::instant();
        let stream = Proxy::open().await;
        stream.lead_to(([127, 0, 0, 1], primary.port()).into());
        let standby = primary.standby_by(stream.address.port(), "behind").await;
        let made = started.elapsed();
        stream.cut();
        let enough = shared.acknowledged.load(Ordering::SeqCst) + BEHIND;
        within("more entries are acknowledged", async {
            while shared.acknowledged.load(Ordering::SeqCst) < enough {
                tokio::task::yield_now().await;
            }
        })
        .await;
        primary.stop(Stop::Kill).await;
        standby.promote().await;
        front.lead_to(([127, 0, 0, 1], standby.port()).into());
        let promoted = clock::instant();
        for node in &*nodes {
            let mut status = node.database().status();
            let is_open =
                status.wait_for(|status| status.phase == Phase::Open && status.lineage.timeline == timeline);
            within("the lineage is open", is_open).await.unwrap();
        }
        println!(
            "standby made in {made:?}, open again {:?} after the promotion, all {:?}",
            promoted.elapsed(),
            started.elapsed()
        );
        took.push(promoted.elapsed());
        primary = standby;
    }
    shared.is_over.store(true, Ordering::SeqCst);
    let mut acknowledged = 0;
    while let Some(written) = within("the writers end", writers.join_next()).await {
        let (writer, entries) = written.unwrap();
        let expected: Vec<String> = (0..entries).map(|n| format!("[{n}]")).collect();
        assert_eq!(bodies(&nodes[0], &writer.account, Reach::Genesis).await, expected, "{}", writer.account);
        acknowledged += entries;
    }
    let of = |node: &Postgres| node.database().status().borrow().clone();
    let restored: u64 = nodes.iter().map(|node| of(node).restored).sum();
    let lost: u64 = nodes.iter().map(|node| of(node).lost).sum();
    took.sort_unstable();
    println!(
        "{FAILOVERS} failovers, {acknowledged} acknowledged, {restored} given back, {lost} lost; open again after {:?} in \
         the middle, {:?} at most",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert_eq!(lost, 0);
    assert!(restored > u64::from(FAILOVERS), "the standbys lacked nothing");
}
