//! What operators do to a cluster that serves: secrets and passwords change, versions run side by side. What befalls it
//! without anybody's doing is elsewhere.

use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tollgate::journal::postgres::Address;

use super::{
    Cluster,
    load::{Load, SETTINGS},
};
use crate::{
    client::Client,
    deliveries::{SECRET, Verdict, purchase, signed, signed_with_all},
    postgres::Server,
    process::within,
};

const SECOND: Duration = Duration::from_secs(1);
/// Why the stand-in answers where the journal cannot be reached.
const NO_JOURNAL: &str = "stand_in_journal";
/// The secret that takes the place of [`SECRET`].
const NEXT: &str = "whsec_that_takes_its_place";

/// Gives every node a setting, one after another under load, as a rolling restart does.
async fn restart_all(cluster: &mut Cluster, load: &Load, name: &str, value: &str) {
    for n in 0..cluster.nodes.len() {
        let node = cluster.take(n);
        node.process.signal(Signal::TERM);
        within("it says that it leaves", async { while node.get("/readyz").await.status != 503 {} }).await;
        load.aim(cluster.targets());
        let ending = node.process.ended().await;
        assert_eq!(ending.code, Some(0), "{}", ending.log);
        cluster.sites[n].set(name, value);
        cluster.start_node(n).await;
        cluster.settled().await;
        load.aim(cluster.targets());
        load.go_on(SECOND, 50).await;
    }
}

/// Everybody was answered at the first try, in time, and what was promised holds. Whether by a decision is for the test of
/// rolling restarts.
async fn nobody_noticed(cluster: &Cluster, load: Load) {
    let account = load.stop().await;
    assert_eq!((account.given_up(), account.turned_away()), (0, 0));
    account.audit(cluster).await;
}

#[tokio::test]
async fn a_signing_secret_is_rotated_node_by_node_and_nobody_notices() {
    let used = |slot: u8| format!("tollgate_signature_secrets_used_total{{slot=\"{slot}\"}}");
    let drain = [("TOLLGATE_DRAIN_DELAY", "700ms")];
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(drain).collect();
    let Some(mut cluster) = Cluster::start(3, &settings).await else { return };
    let load = Load::start(&cluster);
    load.go_on(SECOND, 50).await;
    // The secret is rolled in Stripe's dashboard, with an overlap: until its end Stripe signs with both.
    load.sign_with(&[SECRET, NEXT]);
    restart_all(&mut cluster, &load, "STRIPE_WEBHOOK_SECRET", &format!("{NEXT},{SECRET}")).await;
    load.go_on(SECOND, 50).await;
    // The last requests that one node alone could not believe by the new secret are answered. From here on the place of
    // the old one stands still, on all nodes, whatever comes.
    let [new, old] = [cluster.metric(&used(1)).await, cluster.metric(&used(2)).await];
    load.go_on(SECOND, 100).await;
    assert!(cluster.metric(&used(1)).await >= new + 100.0);
    assert!((cluster.metric(&used(2)).await - old).abs() < 0.1, "the old secret is still needed");
    load.sign_with(&[NEXT]);
    load.go_on(SECOND, 50).await;
    restart_all(&mut cluster, &load, "STRIPE_WEBHOOK_SECRET", NEXT).await;
    let refused = cluster.metric("tollgate_forwards_total{result=\"refused\"}").await;
    assert!(refused.abs() < 0.1, "{refused} forwarded requests were not believed");
    nobody_noticed(&cluster, load).await;
    // Whoever has only the old one is a stranger now.
    let body = purchase("ic_of_a_cluster_0", "iauth_old_secret", 100);
    assert_eq!(cluster.node(0).deliver(&body).await.status, 400);
}

#[tokio::test]
async fn a_node_that_lacks_a_secret_is_asked_in_vain_and_who_was_asked_decides() {
    let Some(mut cluster) = Cluster::prepare(2, &[]).await else { return };
    cluster.sites[0].set("STRIPE_WEBHOOK_SECRET", &format!("{NEXT},{SECRET}"));
    for n in 0..2 {
        cluster.start_node(n).await;
    }
    cluster.settled().await;
    let body = purchase(&cluster.card_of(1, 0), "iauth_of_the_new_secret", 100);
    let signed = signed_with_all(&[NEXT], &body);
    let verdict = Verdict::of(&cluster.node(0).connect().await.exchange(signed).await);
    assert_eq!((verdict.approved, verdict.reason.as_str()), (true, "approved"));
    let refused = cluster.node(0).metric("tollgate_forwards_total{result=\"refused\"}").await;
    assert!((refused - 1.0).abs() < 0.1, "{refused} were refused");
    // The owner has it from the journal, and the same answer to the question under the secret that both know.
    assert_eq!(Verdict::of(&cluster.node(1).deliver(&body).await), verdict);
}

/// Where `app` with this password finds the journal.
fn as_app(server: &Server, password: &str) -> String {
    format!("postgres://app:{password}@127.0.0.1:{}/postgres", server.port())
}

#[tokio::test]
async fn the_databases_password_changes_under_load_and_nobody_notices() {
    let drain = [("TOLLGATE_DRAIN_DELAY", "700ms")];
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(drain).collect();
    let Some(mut cluster) = Cluster::prepare(3, &settings).await else { return };
    // In clear, since it is about the password and not about its proof, which takes long in a build for tests.
    let who = "host all app 127.0.0.1/32 password\nhost all postgres 127.0.0.1/32 trust\n";
    cluster.server.write("pg_hba.conf", who);
    cluster.server.reload();
    cluster.server.sql("CREATE ROLE app LOGIN PASSWORD 'before'");
    cluster.server.sql("GRANT CREATE ON DATABASE postgres TO app");
    let before = as_app(&cluster.server, "before");
    for n in 0..3 {
        cluster.sites[n].set("TOLLGATE_JOURNAL", &before);
        cluster.start_node(n).await;
    }
    cluster.settled().await;
    // One question after another: each node has hardly more than one connection of each kind.
    for n in 0..3 {
        for purchase_of_it in 0..2 {
            let name = format!("iauth_before_{n}_{purchase_of_it}");
            let verdict =
                Verdict::of(&cluster.node(n).deliver(&purchase(&cluster.card_of(n, 100), &name, 100)).await);
            assert!(verdict.approved);
        }
    }
    cluster.server.sql("ALTER ROLE app PASSWORD 'after'");
    let address = Address::new(&before).unwrap();
    within("the old one lets nobody in", async { while address.connect().await.is_ok() {} }).await;
    // More at once than there are connections, and new ones are not made any more.
    let mut askers = JoinSet::new();
    for place in 0..24 {
        let card = cluster.card_of(place % 3, 100 + place);
        let (target, name) = (cluster.node(place % 3).webhook, format!("iauth_at_once_{place}"));
        askers.spawn(async move {
            let body = purchase(&card, &name, 100);
            Verdict::of(&Client::connect(target).await.exchange(signed(&body)).await)
        });
    }
    for verdict in askers.join_all().await {
        assert_ne!(verdict.reason, NO_JOURNAL);
    }
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    let after = as_app(&cluster.server, "after");
    restart_all(&mut cluster, &load, "TOLLGATE_JOURNAL", &after).await;
    nobody_noticed(&cluster, load).await;
}

#[tokio::test]
async fn an_older_node_goes_on_beside_a_newer_journal_and_is_not_started_on_one() {
    let Some(mut cluster) = Cluster::start(2, &[]).await else { return };
    // As a later version does at its start.
    cluster.server.sql("UPDATE tollgate.journal SET format = 99; ALTER TABLE tollgate.entry ADD later text");
    for n in 0..2 {
        let body = purchase(&cluster.card_of(n, 0), &format!("iauth_beside_{n}"), 100);
        assert!(Verdict::of(&cluster.node(1 - n).deliver(&body).await).approved);
    }
    cluster.take(1).stop().await;
    let refused = cluster.sites[1].refuses_to_start().await;
    assert_eq!(refused.code, Some(74), "{}", refused.log);
    let told = "holds a journal of format 99, and this version knows 1: start a later version";
    assert!(refused.log.contains(told), "{}", refused.log);
    // The one that runs makes new connections, too.
    cluster.server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    );
    let card = cluster.card_of(1, 1);
    within("it decides again", async {
        for n in 0.. {
            let body = purchase(&card, &format!("iauth_after_all_{n}"), 100);
            if Verdict::of(&cluster.node(0).deliver(&body).await).approved {
                break;
            }
        }
    })
    .await;
}
