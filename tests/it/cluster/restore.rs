//! Backups of the database that are taken while nodes serve, and restored, by the very commands of docs/operating.md: what
//! was answered before is answered again in the same bytes, and limits go on being exact.

use std::{collections::BTreeMap, fs, time::Duration};

use serde_json::Value;
use tollgate::clock::{self, Instant};
use tollgate_loadtest::postgres::give;

use super::{
    Cluster,
    load::{Account, Asked, Load, SETTINGS},
};
use crate::{
    deliveries::{Verdict, capture, purchase},
    postgres::{Server, Stop, place},
};

const SECOND: Duration = Duration::from_secs(1);
const NODES: usize = 2;

/// The page that operators follow, and the one that tells them how to make the database.
const OPERATING: &str = include_str!("../../../docs/operating.md");
const JOURNAL_FORMAT: &str = include_str!("../../../docs/journal-format.md");

#[tokio::test]
async fn a_dump_that_is_taken_under_load_is_restored_and_answers_as_before() {
    let Some(cluster) = documented("").await else { return };
    let books = spend(&cluster).await;
    let (dump, restore) = commands("pg_dump");
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    let (began, answers) = (clock::instant(), load.answers());
    cluster.server.shell(&dump).await;
    assert!(load.answers() > answers, "nothing was answered while it was taken");
    load.go_on(SECOND, 100).await;
    let account = load.stop().await;
    let mut server = cluster.stop().await;
    server.shell(&restore).await;
    server.used_by("tollgate", "restored");
    let restored = Cluster::on(server, NODES, &SETTINGS).started().await;
    goes_on_as_before(&restored, &account, began, &books).await;
}

#[tokio::test]
async fn a_base_backup_with_archived_logs_has_every_answer_until_the_last_of_them() {
    let archive = place();
    let logs = archive.path().join("wal");
    fs::create_dir(&logs).and_then(|()| give(&logs)).unwrap();
    let here = |text: &str| text.replace("/backup", archive.path().to_str().unwrap());
    let Some(cluster) = documented(&here(block("archive_command"))).await else { return };
    let books = spend(&cluster).await;
    let (back_up, restore) = commands("pg_basebackup");
    let load = Load::start(&cluster);
    load.go_on(SECOND, 100).await;
    cluster.server.shell(&here(&back_up)).await;
    load.go_on(SECOND, 100).await;
    let until = clock::instant();
    cluster.server.archived().await;
    load.go_on(SECOND, 50).await;
    let Cluster { mut server, nodes, .. } = cluster;
    server.stop(Stop::Kill).await;
    let account = load.stop().await;
    drop((server, nodes));
    let mut server = Server::restored(&here(&restore)).await;
    server.used_by("tollgate", "tollgate");
    let restored = Cluster::on(server, NODES, &SETTINGS).started().await;
    goes_on_as_before(&restored, &account, until, &books).await;
}

/// Nodes on a server with these settings, and on a database that is made as the documentation has it. The server's own
/// superuser is somebody else.
async fn documented(settings: &str) -> Option<Cluster> {
    let mut server = Server::start_with(settings).await?;
    let (_, make) = JOURNAL_FORMAT.split_once("```sql\nCREATE ROLE").unwrap();
    let (make, _) = make.split_once("```").unwrap();
    for statement in format!("CREATE ROLE{make}").lines() {
        server.sql(statement);
    }
    server.used_by("tollgate", "tollgate");
    Some(Cluster::on(server, NODES, &SETTINGS).started().await)
}

/// The block of the page that has this word in it.
fn block(word: &str) -> &'static str {
    let blocks = OPERATING.split("```").skip(1).step_by(2);
    let block = blocks.filter_map(|block| block.split_once('\n')).find(|(_, lines)| lines.contains(word));
    block.unwrap_or_else(|| panic!("nothing is said about {word}")).1
}

/// What an operator types to make a backup with this program, and what to restore it.
fn commands(program: &str) -> (String, String) {
    let block = block(program).replace("db.internal", "127.0.0.1");
    let (back_up, restore) = block.split_once("# To restore").unwrap();
    (back_up.to_owned(), format!("#{restore}"))
}

/// What is told of some cards that nobody else uses, by the path at which it is told: one purchase was captured, one is
/// held, and one was declined.
async fn spend(cluster: &Cluster) -> Vec<(String, Value)> {
    let mut books = Vec::new();
    for n in 0..NODES {
        let card = cluster.card_of(n, 100);
        let ids = [3_000, 2_500, 1_500].map(|amount| (format!("iauth_{card}_{amount}"), amount));
        for (id, amount) in &ids {
            let verdict = Verdict::of(&cluster.node(0).deliver(&purchase(&card, id, *amount)).await);
            assert_eq!(verdict.approved, *amount != 2_500, "{id}");
        }
        let (first, amount) = &ids[0];
        assert_eq!(cluster.node(0).deliver(&capture(&card, first, *amount)).await.status, 200);
        let authorizations = ids.iter().map(|(id, _)| format!("/v1/authorizations/{id}"));
        for path in authorizations.chain([format!("/v1/cards/{card}")]) {
            books.push((path.clone(), cluster.node(0).books(&path).await));
        }
    }
    books
}

/// The books are those of before, everything that was answered until then is answered in the same bytes, and cards have
/// what the rest of their limit is, to the cent.
async fn goes_on_as_before(restored: &Cluster, account: &Account, until: Instant, books: &[(String, Value)]) {
    for (path, before) in books {
        for node in restored.running() {
            assert_eq!(node.books(path).await, *before, "{path}");
        }
    }
    let asked = account.asked();
    let all = asked.len();
    // What the stand-in said is booked when that can be, and may not have been until then.
    let is_known = |one: &Asked| one.sent + one.took < until && !one.is_stand_in();
    let known: BTreeMap<String, Asked> = asked.into_iter().filter(|(_, one)| is_known(one)).collect();
    println!("{} of {all} answers were known", known.len());
    assert!(known.len() >= 50, "only {} answers were known", known.len());
    // Decided anew, most of them would be answered in the same bytes too.
    assert!(Account::is_booked(restored, &known));
    for (place, (authorization, one)) in known.iter().enumerate() {
        let again = restored.node(place % NODES).deliver(&one.body).await;
        assert_eq!(again.body, one.reply, "{authorization}");
    }
    let used_alone = books.iter().filter_map(|(path, _)| path.strip_prefix("/v1/cards/"));
    let mut cards: Vec<&str> = known.values().map(|one| one.card.as_str()).chain(used_alone).collect();
    cards.sort_unstable();
    cards.dedup();
    for (place, card) in cards.into_iter().enumerate() {
        let node = restored.node(place % NODES);
        let limit = node.card(card).await["limits"][0].clone();
        let [max, used, left] = ["max", "used", "remaining"].map(|key| limit[key].as_i64().unwrap());
        let approved = known.values().filter(|one| one.card == card && one.verdict.approved);
        let approved: i64 = approved.map(|one| one.amount).sum();
        assert!((approved..=max).contains(&used), "{card}: {approved} were approved, {used} are used");
        let questions = [("over", left + 1, false), ("rest", left, true), ("nothing", 1, false)];
        for (name, amount, is_approved) in questions.into_iter().filter(|(_, amount, _)| *amount > 0) {
            let id = format!("iauth_{name}_of_{card}");
            let verdict = Verdict::of(&node.deliver(&purchase(card, &id, amount)).await);
            assert_eq!(verdict.approved, is_approved, "{amount} of {left} on {card}: {}", verdict.reason);
        }
        assert_eq!(node.card(card).await["overrun"], 0, "{card}");
    }
}
