//! What befalls nodes while there is traffic: they die, hang, are cut off from each other or from the database, are
//! restarted one after another, and disagree about the time. In all of it no card passes its limit, nothing that was
//! acknowledged is lost, the same question gets the same answer, and every request is answered by its deadline.

use std::{fs, ops::Range, time::Duration};

use rustix::process::Signal;
use tollgate::clock;

use super::{
    Cluster,
    load::{Account, Asked, Load, SETTINGS},
    proxy::Proxy,
};
use crate::{
    deliveries::{Verdict, purchase},
    needs::{self, Program},
    postgres::{Server, Stop},
    process::within,
};

const SECOND: Duration = Duration::from_secs(1);
/// How long a fault lasts, so that every timeout in the nodes runs out during it.
const FAULT: Duration = Duration::from_secs(5);

/// An answer that took no longer than this, by a decision, is a usual one, even on a slow machine.
const USUAL: Duration = Duration::from_millis(250);
/// What takes longer than so many times the median is not usual, on a machine that is busy with something else.
const UNUSUAL_TIMES: u32 = 3;

/// The aim: so long after a kill everything is as before. A machine that is busy with something else gets twice that.
const NORMAL_AGAIN_WITHIN: Duration = Duration::from_secs(3);

/// So many answers in a row that came as usual are no accident.
const IN_A_ROW: usize = 5;

/// How long after the start of `time` answers about these cards came as usual again, as far as they did: decided, and not
/// much later than `before`, on this machine and with all that it does besides. The longest are printed, with what each
/// stage took.
async fn back_to_normal(
    cluster: &Cluster,
    account: &Account,
    before: &Range<clock::Instant>,
    time: &Range<clock::Instant>,
    is_of_these: impl Fn(&str) -> bool,
) -> Option<Duration> {
    let asked = account.asked();
    let took = asked.values().filter(|one| before.contains(&one.sent)).map(|one| one.took);
    let mut took: Vec<Duration> = took.collect();
    took.sort();
    let usual = (took[took.len() / 2] * UNUSUAL_TIMES).max(USUAL);
    let after = asked.iter().filter(|(_, one)| time.contains(&one.sent) && is_of_these(&one.card));
    let mut after: Vec<(&String, &Asked)> = after.collect();
    after.sort_by_key(|(_, one)| one.took);
    for (authorization, one) in after.iter().rev().take(5) {
        let node = cluster.running().next().expect("a node runs");
        let book = node.get(&format!("/v1/authorizations/{authorization}")).await.json();
        println!(
            "asked {:?} after it: took {:?}, tried {} times, {}: {}",
            one.sent.duration_since(time.start),
            one.took,
            one.tries,
            one.verdict.reason,
            book["decisions"][0]["stage_us"],
        );
    }
    after.sort_by_key(|(_, one)| one.sent + one.took);
    let is_usual = |(_, one): &(&String, &Asked)| one.took <= usual && !one.is_stand_in();
    let row = after.windows(IN_A_ROW).find(|row| row.iter().all(is_usual))?;
    let (_, first) = row[0];
    println!("as usual: within {usual:?}");
    Some(first.sent.duration_since(time.start) + first.took)
}

#[tokio::test]
async fn an_owner_that_is_killed_is_not_missed() {
    // A question that is brought to the dead all the same takes longer than one on a busy machine.
    let patience = [("TOLLGATE_ANSWER_WITHIN", "1900ms"), ("TOLLGATE_FORWARD_WITHIN", "900ms")];
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(patience).collect();
    let Some(mut cluster) = Cluster::start(3, &settings).await else { return };
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    // Connections are made and cards are read by now.
    let before = clock::instant();
    load.go_on(2 * SECOND, 200).await;
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
    let is_orphan = |card: &str| cluster.owner(card) == Some(1);
    let normal = back_to_normal(&cluster, &account, &(before..killed), &alone, is_orphan).await;
    println!("back to normal {normal:?} after the kill; the aim is {NORMAL_AGAIN_WITHIN:?}");
    assert!(normal.is_some_and(|normal| normal <= 2 * NORMAL_AGAIN_WITHIN), "{normal:?}");
    assert_eq!(account.given_up(), 0);
    account.audit(&cluster).await;
}

#[tokio::test]
async fn a_node_that_hangs_for_ten_seconds_wakes_with_stale_cards_and_harms_nobody() {
    let Some(cluster) = Cluster::start(3, &SETTINGS).await else { return };
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    let all = cluster.targets();
    cluster.node(1).process.hang().await;
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
    let before = clock::instant();
    load.go_on(SECOND, 100).await;
    let gone = clock::instant();
    cluster.server.stop(Stop::Immediate).await;
    load.go_on(FAULT, 10).await;
    cluster.server.restart().await;
    let back = clock::instant();
    load.go_on(2 * FAULT, 200).await;
    cluster.settled().await;
    let account = load.stop().await;
    let normal =
        back_to_normal(&cluster, &account, &(before..gone), &(back..clock::instant()), |_| true).await;
    println!("back to normal {normal:?} after the database");
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
    let program = Program { name: "libfaketime", install: "apt-get install libfaketime" };
    if !needs::has(program, faketime.is_some()) {
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
