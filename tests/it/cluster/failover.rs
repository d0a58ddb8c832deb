//! The database fails over while there is traffic: nothing that was acknowledged is lost, no card passes its limit, every
//! request is answered by its deadline, and decisions are taken again.

use std::time::Duration;

use tollgate::clock;

use super::{
    Cluster,
    load::{Load, SETTINGS},
    proxy::Proxy,
};
use crate::postgres::{Server, Stop, is_installed};

const SECOND: Duration = Duration::from_secs(1);

/// Three nodes on a primary and its standby, which has everything before it is acknowledged.
async fn on_a_pair() -> Option<(Cluster, Server)> {
    if !is_installed() {
        return None;
    }
    let primary = Server::start().await?;
    let standby = primary.standby("second").await;
    primary.configure("synchronous_standby_names = 'second'");
    primary.reload();
    primary.says("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", "1").await;
    let url = primary.url_with(&standby);
    let mut cluster = Cluster::on(primary, 3, &SETTINGS);
    for site in &mut cluster.sites {
        site.set("TOLLGATE_JOURNAL", &url);
    }
    Some((cluster.started().await, standby))
}

#[tokio::test]
async fn a_primary_that_falls_silent_is_replaced_by_its_standby() {
    let Some((mut cluster, standby)) = on_a_pair().await else { return };
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    cluster.server.freeze();
    load.go_on(2 * SECOND, 1).await;
    standby.promote().await;
    let promoted = clock::instant();
    let before = std::mem::replace(&mut cluster.server, standby);
    load.go_on(5 * SECOND, 200).await;
    // The old one comes back, writable, and is used by nobody.
    before.thaw();
    load.go_on(2 * SECOND, 200).await;
    cluster.settled().await;
    let account = load.stop().await;
    let asked = account.asked();
    let decided = asked.values().filter(|one| one.sent > promoted && !one.is_stand_in());
    let first = decided.map(|one| one.sent + one.took).min().expect("nothing was decided any more");
    println!("decided again {:?} after the promotion", first - promoted);
    assert_eq!((account.given_up(), account.turned_away()), (0, 0));
    account.audit(&cluster).await;
}

/// How often the database is lost in a row; a nightly run takes more.
const LOSSES: usize = 4;

#[tokio::test]
async fn a_standby_that_lacks_the_tail_gets_it_back_from_the_nodes() {
    let Some(primary) = Server::start().await else { return };
    let mut cluster = Cluster::on(primary, 3, &SETTINGS);
    // A node has one address for the database, as behind a balancer that follows the primary.
    let front = Proxy::open().await;
    front.lead_to(([127, 0, 0, 1], cluster.server.port()).into());
    for site in &mut cluster.sites {
        site.set("TOLLGATE_JOURNAL", &Server::url_at(front.address.port()));
    }
    let mut cluster = cluster.started().await;
    let load = Load::start(&cluster);
    for loss in 0..LOSSES {
        let stream = Proxy::open().await;
        stream.lead_to(([127, 0, 0, 1], cluster.server.port()).into());
        let standby = cluster.server.standby_by(stream.address.port(), "behind").await;
        load.go_on(SECOND, 50).await;
        // From here on the standby gets nothing; the nodes go on.
        stream.cut();
        load.go_on(SECOND / 2, 50).await;
        cluster.server.stop(Stop::Kill).await;
        standby.promote().await;
        front.lead_to(([127, 0, 0, 1], standby.port()).into());
        let promoted = clock::instant();
        cluster.server = standby;
        let restored = async {
            for node in cluster.running() {
                let url = "/v1/node";
                node.eventually(url, |seen| {
                    seen["journal"]["timeline"] == loss + 2 && seen["journal"]["phase"] == "open"
                })
                .await;
            }
        };
        restored.await;
        println!("open again {:?} after the promotion", promoted.elapsed());
        load.go_on(SECOND, 50).await;
    }
    cluster.settled().await;
    let account = load.stop().await;
    let restored = cluster.metric("tollgate_journal_restored_entries_total").await;
    println!("{restored} entries were given back");
    assert!(restored > 0.0, "the standbys lacked nothing");
    let lost = cluster.metric("tollgate_journal_lost_entries_total").await;
    assert!(lost < 1.0, "{lost} entries are lost");
    assert_eq!((account.given_up(), account.turned_away()), (0, 0));
    account.audit(&cluster).await;
}
