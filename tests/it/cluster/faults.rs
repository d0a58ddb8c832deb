//! What befalls nodes while there is traffic: they die, hang, are cut off from each other or from the database, are
//! restarted one after another, and disagree about the time. In all of it no card passes its limit, nothing that was
//! acknowledged is lost, the same question gets the same answer, and every request is answered by its deadline.

use std::{fs, ops::Range, time::Duration};

use rustix::process::Signal;
use tollgate::clock;

use super::{
    Cluster,
    load::{Account, Load, SETTINGS},
    proxy::Proxy,
};
use crate::{
    deliveries::{Verdict, purchase},
    postgres::{Server, Stop, is_installed_or_said},
    process::within,
};

const SECOND: Duration = Duration::from_secs(1);
/// How long a fault lasts, so that every timeout in the nodes runs out during it.
const FAULT: Duration = Duration::from_secs(5);

/// An answer that took no longer than this, by a decision, is a usual one, even on a slow machine.
const USUAL: Duration = Duration::from_millis(250);

/// How long after the start of this time the last answer in it came that was long in coming, or the stand-in's.
fn back_to_normal(account: &Account, time: &Range<clock::Instant>) -> Duration {
    let asked = account.asked();
    let odd =
        asked.values().filter(|one| time.contains(&one.sent) && (one.took > USUAL || one.is_stand_in()));
    odd.map(|one| one.sent.duration_since(time.start) + one.took).max().unwrap_or_default()
}

#[tokio::test]
async fn an_owner_that_is_killed_is_not_missed() {
    let Some(mut cluster) = Cluster::start(3, &SETTINGS).await else { return };
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    let killed = clock::instant();
    cluster.take(1).kill().await;
    // The balancer finds out by itself, and then sends nothing there.
    load.go_on(SECOND, 50).await;
    load.aim(cluster.targets());
    load.go_on(FAULT, 200).await;
    let alone = killed..clock::instant();
    cluster.start_node(1).await;
    cluster.settled().await;
    load.aim(cluster.targets());
    load.go_on(SECOND, 100).await;
    let account = load.stop().await;
    let normal = back_to_normal(&account, &alone);
    println!("back to normal {normal:?} after the kill");
    assert_eq!(account.given_up(), 0);
    account.audit(&cluster).await;
}

#[tokio::test]
async fn a_node_that_hangs_for_ten_seconds_wakes_with_stale_cards_and_harms_nobody() {
    let Some(cluster) = Cluster::start(3, &SETTINGS).await else { return };
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    let all = cluster.targets();
    cluster.node(1).process.signal(Signal::STOP);
    load.aim(vec![all[0], all[2]]);
    load.go_on(2 * FAULT, 200).await;
    // The others have decided on its cards meanwhile.
    cluster.node(1).process.signal(Signal::CONT);
    load.aim(all);
    load.go_on(2 * SECOND, 200).await;
    cluster.settled().await;
    let account = load.stop().await;
    // Only what the node had taken before it hung went without an answer.
    assert!(account.given_up() <= 8, "{} questions were not answered", account.given_up());
    let conflicts = cluster.node(1).metric("tollgate_journal_conflicts_total").await;
    println!("{conflicts} appends of the woken node lost their place");
    assert!(conflicts >= 1.0, "it had no stale card");
    account.audit(&cluster).await;
}

#[tokio::test]
async fn nodes_that_are_cut_off_from_each_other_go_on() {
    let Some(mut cluster) = Cluster::prepare(3, &SETTINGS).await else { return };
    let mut ways = Vec::new();
    for n in 0..3 {
        let way = Proxy::open().await;
        cluster.sites[n].set("TOLLGATE_PEER_ADDRESS", &way.address.to_string());
        cluster.start_node(n).await;
        way.lead_to(cluster.node(n).peers.unwrap());
        ways.push(way);
    }
    cluster.settled().await;
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    // First nobody reaches node 1, which reaches the others; then nobody reaches anybody. All reach the database.
    ways[1].cut();
    load.go_on(2 * SECOND, 100).await;
    ways.iter().for_each(Proxy::cut);
    load.go_on(FAULT, 200).await;
    let conflicts = cluster.metric("tollgate_journal_conflicts_total").await;
    ways.iter().for_each(Proxy::mend);
    cluster.settled().await;
    load.go_on(SECOND, 100).await;
    let account = load.stop().await;
    println!("{conflicts} appends lost their place while each decided for itself");
    assert!(conflicts >= 1.0, "they were not cut off");
    assert_eq!((account.given_up(), account.turned_away()), (0, 0));
    account.audit(&cluster).await;
}

#[tokio::test]
async fn a_node_that_is_cut_off_from_the_database_asks_the_others() {
    let Some(mut cluster) = Cluster::prepare(3, &SETTINGS).await else { return };
    let way = Proxy::open().await;
    way.lead_to(([127, 0, 0, 1], cluster.server.port()).into());
    cluster.sites[1].set("TOLLGATE_JOURNAL", &Server::url_at(way.address.port()));
    for n in 0..3 {
        cluster.start_node(n).await;
    }
    cluster.settled().await;
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    way.cut();
    let lost = "the database does not hear this node; it goes on with what it knows";
    cluster.nodes[1].as_mut().unwrap().process.logged(lost).await;
    cluster.node(1).eventually("/v1/node", |seen| seen["members"].as_array().unwrap().len() == 2).await;
    // From here on it owns nothing: even a card that was its own is decided by one who can.
    let body = purchase(&cluster.card_of(1, 100), "iauth_cut_off", 100);
    let verdict = Verdict::of(&cluster.node(1).deliver(&body).await);
    assert_eq!((verdict.approved, verdict.reason.as_str()), (true, "approved"));
    load.go_on(FAULT, 100).await;
    way.mend();
    cluster.settled().await;
    load.go_on(SECOND, 100).await;
    let account = load.stop().await;
    assert_eq!((account.given_up(), account.turned_away()), (0, 0));
    account.audit(&cluster).await;
}

#[tokio::test]
async fn nodes_are_restarted_one_after_another_and_nobody_notices() {
    let drain = [("TOLLGATE_DRAIN_DELAY", "700ms")];
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(drain).collect();
    let Some(mut cluster) = Cluster::start(3, &settings).await else { return };
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    for n in 0..3 {
        let node = cluster.take(n);
        node.process.signal(Signal::TERM);
        within("it says that it leaves", async { while node.get("/readyz").await.status != 503 {} }).await;
        load.aim(cluster.targets());
        let ending = node.process.ended().await;
        assert_eq!(ending.code, Some(0), "{}", ending.log);
        load.go_on(SECOND, 50).await;
        cluster.start_node(n).await;
        cluster.settled().await;
        load.aim(cluster.targets());
        load.go_on(SECOND, 50).await;
    }
    let account = load.stop().await;
    assert_eq!((account.given_up(), account.turned_away()), (0, 0));
    let stood_in = account.asked().values().filter(|one| one.is_stand_in()).count();
    assert_eq!(stood_in, 0, "answers were not decided");
    account.audit(&cluster).await;
}

#[tokio::test]
async fn the_database_may_be_gone_for_five_seconds() {
    let Some(mut cluster) = Cluster::start(3, &SETTINGS).await else { return };
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    cluster.server.stop(Stop::Immediate).await;
    load.go_on(FAULT, 10).await;
    cluster.server.restart().await;
    let back = clock::instant();
    load.go_on(2 * FAULT, 200).await;
    cluster.settled().await;
    let account = load.stop().await;
    println!("back to normal {:?} after the database", back_to_normal(&account, &(back..clock::instant())));
    let stood_in = account.asked().values().filter(|one| one.is_stand_in()).count();
    assert!(stood_in > 0, "somebody answered without the books");
    assert_eq!((account.given_up(), account.turned_away()), (0, 0));
    account.audit(&cluster).await;
}

/// The library that shifts a process's clock, where Debian puts it.
fn faketime() -> Option<String> {
    let directories = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut libraries = directories.map(|directory| directory.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.is_file()).map(|library| library.display().to_string())
}

#[tokio::test]
async fn clocks_half_a_minute_off_cost_nothing() {
    let Some(mut cluster) = Cluster::prepare(3, &SETTINGS).await else { return };
    let faketime = faketime();
    if !is_installed_or_said(faketime.is_some(), "libfaketime", "libfaketime") {
        return;
    }
    for (n, shift) in [(1, "+30s"), (2, "-30s")] {
        let wrapper = [
            "env",
            &format!("LD_PRELOAD={}", faketime.as_deref().unwrap()),
            &format!("FAKETIME={shift}"),
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        ];
        cluster.sites[n].wrap(wrapper.map(ToOwned::to_owned).to_vec());
    }
    for n in 0..3 {
        cluster.start_node(n).await;
    }
    cluster.settled().await;
    let mut seconds = Vec::new();
    for n in 0..3 {
        let authorization = format!("iauth_on_the_clock_of_{n}");
        cluster.node(n).deliver(&purchase(&cluster.card_of(n, 100), &authorization, 100)).await;
        let book = cluster.node(n).authorization(&authorization).await;
        let at: jiff::Timestamp = book["decisions"][0]["at"].as_str().unwrap().parse().unwrap();
        seconds.push(at.as_second() - clock::now().as_seconds());
    }
    println!("seconds off: {seconds:?}");
    let expected = [-10..=1, 20..=31, -40..=-29];
    assert!(seconds.iter().zip(&expected).all(|(found, range)| range.contains(found)), "{seconds:?}");
    let load = Load::start(&cluster);
    load.go_on(SECOND, 200).await;
    // Cards go from one clock to another.
    cluster.take(1).kill().await;
    load.aim(cluster.targets());
    load.go_on(FAULT, 200).await;
    cluster.start_node(1).await;
    cluster.settled().await;
    load.aim(cluster.targets());
    load.go_on(SECOND, 200).await;
    let account = load.stop().await;
    assert_eq!(account.given_up(), 0);
    account.audit(&cluster).await;
}
