//! The real binary on a PostgreSQL journal: two nodes on one card, a database that goes and comes, a password that is
//! shown nowhere.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};
use tollgate::journal::postgres::Address;

use crate::{
    deliveries::{Verdict, purchase},
    postgres::{Server, Stop},
    process::{Node, Site, within},
};

const LIMIT: i64 = 10_000;

fn site(url: &str) -> Site {
    Site::new(&[
        ("TOLLGATE_JOURNAL", url),
        ("TOLLGATE_CARD_LIMIT_ALL_TIME", &LIMIT.to_string()),
        ("TOLLGATE_ANSWER_WITHIN", "1900ms"),
    ])
}

async fn ask(node: &Node, card: &str, authorization: &str, amount: i64) -> Verdict {
    Verdict::of(&node.deliver(&purchase(card, authorization, amount)).await)
}

#[tokio::test]
async fn a_node_that_starts_answers_probes_and_takes_no_request_that_it_would_swallow() {
    let Some(server) = Server::start().await else { return };
    // Somebody else makes the tables, and takes his time.
    let holder = Address::new(&server.url()).unwrap().connect().await.unwrap();
    holder.client().batch_execute("SELECT pg_advisory_lock(hashtext('tollgate schema'))").await.unwrap();
    let mut site = site(&server.url());
    let webhook = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.set("TOLLGATE_LISTEN", &webhook.to_string());
    let mut process = site.launch();
    let starting = process.logged("starting: probes and metrics are answered").await;
    let admin = starting["admin"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let mut client = crate::client::Client::connect(admin).await;
    let mut status = async |path: &str| client.exchange(crate::client::request("GET", path, "")).await.status;
    assert_eq!((status("/livez").await, status("/readyz").await), (200, 503));
    assert_eq!((status("/metrics").await, status("/v1/node").await), (200, 503));
    let refused = tokio::net::TcpStream::connect(webhook).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    holder.client().batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    process.logged("ready").await;
    assert_eq!(status("/readyz").await, 200);
    assert!(tokio::net::TcpStream::connect(webhook).await.is_ok());
}

#[tokio::test]
async fn two_nodes_that_decide_for_one_card_never_overspend() {
    let Some(server) = Server::start().await else { return };
    let (first, second) = (site(&server.url()), site(&server.url()));
    let nodes = [first.start().await, second.start().await];
    let addresses = [nodes[0].webhook, nodes[1].webhook];
    // Twice what the limit lets through, from both sides at once; some of it asked of both.
    let mut shoppers = JoinSet::new();
    for shopper in 0..8_usize {
        shoppers.spawn(async move {
            let mut verdicts = Vec::new();
            for n in 0..10 {
                let body = purchase("ic_shared", &format!("iauth_{shopper}_{n}"), 250);
                let request = crate::deliveries::signed(&body);
                let node = addresses[(shopper + n) % 2];
                let response = crate::client::Client::connect(node).await.exchange(request).await;
                verdicts.push((format!("iauth_{shopper}_{n}"), Verdict::of(&response)));
            }
            verdicts
        });
    }
    let mut verdicts: Vec<_> = shoppers.join_all().await.into_iter().flatten().collect();
    verdicts.sort_by(|(one, _), (other, _)| one.cmp(other));
    let approved = verdicts.iter().filter(|(_, verdict)| verdict.approved).count();
    let spent = i64::try_from(approved).unwrap() * 250;
    assert!(spent <= LIMIT, "{spent} was approved");
    // Conflicts may be answered by the stand-in, which declines; the limit is reached all the same.
    let mut extra = 0;
    for n in 0..60 {
        let node = &nodes[n % 2];
        extra += i64::from(ask(node, "ic_shared", &format!("iauth_after_{n}"), 250).await.approved);
    }
    assert_eq!(spent + extra * 250, LIMIT);

    // The same question has the same answer, wherever it is asked.
    for (authorization, verdict) in &verdicts {
        if verdict.reason.starts_with("stand_in") {
            continue;
        }
        for node in &nodes {
            let again = ask(node, "ic_shared", authorization, 250).await;
            assert_eq!((&again.decision, again.approved), (&verdict.decision, verdict.approved));
        }
    }
    let [one, other] = [nodes[0].card("ic_shared").await, nodes[1].card("ic_shared").await];
    assert_eq!(one["limits"], other["limits"]);
    assert_eq!(one["limits"][0]["used"], LIMIT);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn while_the_database_is_away_the_stand_in_answers_in_time() {
    let Some(mut server) = Server::start().await else { return };
    let site = site(&server.url());
    let node = site.start().await;
    assert!(ask(&node, "ic_known", "iauth_before", 100).await.approved);

    server.stop(Stop::Kill).await;
    let gone = Instant::now();
    let mut asked = 0;
    while gone.elapsed() < Duration::from_secs(5) {
        let asked_at = Instant::now();
        // A card that the node knows, and one that it would have to read.
        let card = if asked % 2 == 0 { "ic_known".to_owned() } else { format!("ic_{asked}") };
        let verdict = ask(&node, &card, &format!("iauth_away_{asked}"), 100).await;
        assert!(verdict.reason.starts_with("stand_in"), "{verdict:?}");
        assert!(asked_at.elapsed() < Duration::from_secs(10), "it hung");
        asked += 1;
    }
    server.restart().await;
    within("decisions again", async {
        for n in 0.. {
            let verdict = ask(&node, "ic_known", &format!("iauth_back_{n}"), 100).await;
            if verdict.approved {
                break;
            }
            assert!(verdict.reason.starts_with("stand_in"), "{verdict:?}");
        }
    })
    .await;
    assert!(ask(&node, "ic_fresh", "iauth_fresh", 100).await.approved);
    let again = ask(&node, "ic_known", "iauth_before", 100).await;
    assert!(again.approved, "{again:?}");
    let log = node.stop().await;
    assert!(log.contains("the journal's database is back"), "{log}");
    assert_eq!(log.matches("the journal's database cannot be reached").count(), 1, "told once:\n{log}");
}

#[tokio::test]
async fn a_node_ends_although_the_database_never_says_what_became_of_an_append() {
    let Some(mut server) = Server::start().await else { return };
    let node = site(&server.url()).start().await;
    assert!(ask(&node, "ic_known", "iauth_before", 100).await.approved);

    // Its commit waits for a standby that there is not, until the server is gone.
    server.configure("synchronous_standby_names = 'nobody'");
    server.reload();
    server.says("SHOW synchronous_standby_names", "nobody").await;
    let verdict = ask(&node, "ic_known", "iauth_unknown", 100).await;
    assert!(verdict.reason.starts_with("stand_in"), "{verdict:?}");
    server.stop(Stop::Kill).await;
    let log = node.stop().await;
    assert!(log.contains("the journal does not say what became of the last appends"), "{log}");
}

#[tokio::test]
async fn a_password_is_shown_nowhere() {
    let Some(server) = Server::start().await else { return };
    server.sql("CREATE ROLE app LOGIN PASSWORD 'hunter2'");
    server.sql("CREATE DATABASE app OWNER app");
    let url = format!("postgres://app:hunter2@127.0.0.1:{}/app", server.port());
    let mut site = site(&url);
    site.set("TOLLGATE_LOG", "debug");
    let shown = site.run(&["config"], &[]).await;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned() + &String::from_utf8_lossy(&shown.stderr);
    // Words are wrapped.
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("postgres://(not shown)@127.0.0.1"), "{text}");
    let node = site.start().await;
    assert!(ask(&node, "ic_1", "iauth_1", 100).await.approved);
    let log = node.stop().await;

    let nowhere = format!("postgres://app:hunter2@127.0.0.1:{}/nowhere", server.port());
    site.set("TOLLGATE_JOURNAL", &nowhere);
    let refused = site.refuses_to_start().await;
    assert_eq!(refused.code, Some(74), "{}", refused.log);
    assert!(refused.log.contains("the PostgreSQL journal at 127.0.0.1"), "{}", refused.log);
    for text in [text, log, refused.log] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_database_on_another_machine_without_tls_is_warned_of_and_its_url_may_come_from_a_file() {
    let Some(server) = Server::start().await else { return };
    let mut site = site("");
    site.unset("TOLLGATE_JOURNAL");
    site.set("TOLLGATE_JOURNAL_FILE", "journal");
    let is_warned = async |hosts: &str| {
        std::fs::write(site.path("journal"), format!("postgres://postgres:hunter2@{hosts}/postgres\n"))
            .unwrap();
        let node = site.start().await;
        assert!(ask(&node, "ic_1", "iauth_1", 100).await.approved);
        let log = node.stop().await;
        assert!(!log.contains("hunter2"), "{log}");
        log.contains("is not encrypted, and the database is on another machine")
    };
    assert!(!is_warned(&format!("127.0.0.1:{}", server.port())).await);
    // Of two servers the first is used; the second is not on this machine, and there is none.
    assert!(is_warned(&format!("127.0.0.1:{},192.0.2.1:5432", server.port())).await);
}

#[tokio::test]
async fn the_main_job_is_done_on_postgres_too() {
    let Some(server) = Server::start().await else { return };
    let mut site = Site::new(&super::main_job::LIMITS);
    site.set("TOLLGATE_JOURNAL", &server.url());
    super::main_job::check(&site).await;
}

#[tokio::test]
async fn what_was_acknowledged_on_postgres_outlives_every_crash() {
    let Some(server) = Server::start().await else { return };
    let mut site = super::crash::site();
    site.set("TOLLGATE_JOURNAL", &server.url());
    super::crash::check_rounds(&site).await;
}
