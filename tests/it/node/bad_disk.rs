//! Disks that cannot be written, fill up, or lose what was on them: the node answers by stand-in or ends with a message
//! that says what to do, and nothing that it acknowledged is lost.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rusqlite::Connection;

use crate::{
    client::Client,
    deliveries::{Verdict, purchase, signed},
    process::{Ending, Node, Site},
};

/// The journal cannot be used, or has died.
const EX_IOERR: i32 = 74;

async fn approved(node: &Node, authorization: &str) -> Verdict {
    let verdict = Verdict::of(&node.deliver(&purchase("ic_disk", authorization, 100)).await);
    assert_eq!(verdict.reason, "approved");
    verdict
}

#[track_caller]
fn check(ending: &Ending, message: &str) {
    assert_eq!(ending.code, Some(EX_IOERR), "{}", ending.log);
    assert!(ending.log.contains(message), "no `{message}` in {}", ending.log);
    assert!(!ending.log.contains("\"ready\""), "{}", ending.log);
}

#[tokio::test]
async fn a_place_that_cannot_hold_a_journal_is_named() {
    let mut site = Site::new(&[]);
    fs::write(site.path("file"), "not a directory").unwrap();
    fs::create_dir(site.path("directory.db")).unwrap();
    for (journal, message) in [
        ("sqlite:file/tollgate.db", "cannot create the directory file"),
        ("sqlite:directory.db", "directory.db"),
        ("sqlite:file", "is not a journal of this version: it is not a database"),
        ("sqlite:/proc/tollgate/tollgate.db", "cannot create the directory /proc/tollgate"),
    ] {
        site.set("TOLLGATE_JOURNAL", journal);
        check(&site.refuses_to_start().await, message);
    }
    assert_eq!(fs::read(site.path("file")).unwrap(), b"not a directory", "it was somebody else's");
}

#[tokio::test]
async fn two_nodes_do_not_write_one_journal() {
    let site = Site::new(&[]);
    let node = site.start().await;
    check(&site.refuses_to_start().await, "is in use by another process");
    approved(&node, "iauth_still_serving").await;
}

/// What is done to the files of a node that was killed, and what the next one says.
#[tokio::test]
async fn a_journal_that_lost_its_end_is_not_served_from_until_told_so() {
    check_loss("ends at entry 3, but entry 4 was already answered for", |site| {
        let journal = Connection::open(site.journal()).unwrap();
        journal.execute("DELETE FROM entry WHERE lsn = (SELECT max(lsn) FROM entry)", []).unwrap();
    })
    .await;
}

#[tokio::test]
async fn so_is_one_whose_log_was_cut() {
    check_loss("was already answered for", |site| {
        let wal = fs::OpenOptions::new().write(true).open(site.path("data/tollgate.db-wal")).unwrap();
        // The header of the log, and half a page.
        wal.set_len(32 + 2_048).unwrap();
    })
    .await;
}

#[tokio::test]
async fn so_is_one_that_holds_other_entries() {
    check_loss("holds other entries than the ones answered for", |site| {
        let journal = Connection::open(site.journal()).unwrap();
        journal.execute("UPDATE entry SET body = replace(body, '100', '1') WHERE lsn = 2", []).unwrap();
    })
    .await;
}

#[tokio::test]
async fn so_is_one_without_its_mark() {
    check_loss("its -mark file, which records its length, is missing", |site| {
        fs::remove_file(site.path("data/tollgate.db-mark")).unwrap();
    })
    .await;
}

/// Three decisions; a crash; `spoil`. The node then refuses to start, changes nothing, and starts when told so.
async fn check_loss(message: &str, spoil: impl Fn(&Site)) {
    let mut site = Site::new(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000")]);
    let node = site.start().await;
    for n in 1..=3 {
        approved(&node, &format!("iauth_{n}")).await;
    }
    node.kill().await;
    spoil(&site);
    for _ in 0..2 {
        let ending = site.refuses_to_start().await;
        check(&ending, message);
        check(&ending, "--accept-journal-loss");
    }
    site.arguments(&["--accept-journal-loss"]);
    let node = site.start().await;
    assert!(node.process.log().contains("accepted by --accept-journal-loss"), "{}", node.process.log());
    approved(&node, "iauth_after").await;
    // Its past was changed on purpose, so that not every answer can be repeated.
    Node { journal: None, ..node }.stop().await;
    // It is a journal like any other again.
    site.arguments(&[]);
    let node = site.start().await;
    assert_eq!(node.authorization("iauth_after").await["held"], 100);
}

#[tokio::test]
async fn a_journal_that_may_not_grow_ends_the_node_and_loses_nothing() {
    let mut site = Site::new(&[]);
    // In units of 512 bytes: about a hundred decisions. A write beyond fails as it does on a broken disk.
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$@\"";
    site.wrap(["sh", "-c", limited, "sh"].map(ToOwned::to_owned).to_vec());
    let node = site.start().await;
    let mut client = node.connect().await;
    let mut acknowledged = Vec::new();
    for n in 0..10_000 {
        let authorization = format!("iauth_{n}");
        match client.try_exchange(&signed(&purchase(&format!("ic_{n}"), &authorization, 100))).await {
            Ok(response) => acknowledged.push((authorization, Verdict::of(&response))),
            Err(_) => break,
        }
    }
    let ending = node.process.ended().await;
    assert_eq!(ending.code, Some(EX_IOERR), "{}", ending.log);
    assert!(ending.log.contains("the journal has died: cannot commit"), "{}", ending.log);
    assert!(acknowledged.len() > 10, "{} were acknowledged", acknowledged.len());

    site.wrap(Vec::new());
    let node = site.start().await;
    for (authorization, verdict) in acknowledged {
        let decision = &node.authorization(&authorization).await["decisions"][0];
        assert_eq!(decision["id"], *verdict.decision, "{authorization}");
        assert_eq!(decision["reason"], *verdict.reason, "{authorization}");
    }
}

/// A small disk in a namespace of its own, which goes with this value.
struct SmallDisk {
    holder: Child,
    site: PathBuf,
}

impl SmallDisk {
    /// Mounts one at `site`'s data directory. None where that is not allowed, as in some containers.
    fn mount(site: &Site) -> Option<Self> {
        fs::create_dir(site.path("data")).unwrap();
        let script = "mount -t tmpfs -o size=3m tmpfs \"$1\" && echo mounted && read until_the_test_ends";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(site.path("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let disk = Self { holder, site: site.path("") };
        if said != "mounted\n" {
            println!("no small disk can be mounted here: the limit on a file's size stands for it");
            return None;
        }
        Some(disk)
    }

    /// What makes a command see the disk.
    fn wrapper(&self) -> Vec<String> {
        let target = format!("--target={}", self.holder.id());
        // The same directory, but as it is seen in there.
        let directory = format!("--wdns={}", self.site.display());
        ["nsenter", &target, "--user", "--mount", "--preserve-credentials", &directory, "--"]
            .map(ToOwned::to_owned)
            .to_vec()
    }

    /// Runs a shell's script in the site's directory, where the disk is mounted.
    fn run(&self, script: &str) {
        let wrapper = self.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).args(["sh", "-c", script]);
        assert!(command.status().unwrap().success(), "{script}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[tokio::test]
async fn a_full_disk_is_stood_in_for_until_there_is_room_again() {
    let mut site = Site::new(&[("TOLLGATE_ANSWER_WITHIN", "1900ms")]);
    let Some(disk) = SmallDisk::mount(&site) else { return };
    site.wrap(disk.wrapper());
    disk.run("head -c 1000000 /dev/zero > data/ballast");
    let node = site.start().await;
    let mut client = node.connect().await;
    let mut acknowledged = Vec::new();
    for n in 0..10_000 {
        let verdict = ask(&mut client, &format!("iauth_{n}")).await;
        if verdict.reason == "stand_in_journal" {
            assert!(!verdict.approved);
            break;
        }
        assert_eq!(verdict.reason, "approved");
        acknowledged.push((format!("iauth_{n}"), verdict));
    }
    assert!(acknowledged.len() > 20, "{} fitted", acknowledged.len());
    assert_eq!(node.get("/readyz").await.status, 200);
    assert!(node.metric("tollgate_journal_errors_total").await > 0.0);

    disk.run("rm data/ballast");
    let after = ask(&mut client, "iauth_after").await;
    assert_eq!(after.reason, "approved", "there is room again");
    acknowledged.push(("iauth_after".to_owned(), after));
    node.kill().await;
    let node = site.start().await;
    for (authorization, verdict) in &acknowledged {
        let decision = &node.authorization(authorization).await["decisions"][0];
        assert_eq!(decision["id"], *verdict.decision, "{authorization}");
        assert_eq!(decision["reason"], *verdict.reason, "{authorization}");
    }

    // And a disk that is only for reading from now on.
    node.stop().await;
    disk.run("mount -o remount,ro data");
    check(&site.refuses_to_start().await, "Check that the directory exists, can be written, and has room");
    disk.run("mount -o remount,rw data");
    assert_eq!(site.start().await.authorization("iauth_0").await["held"], 100);
}

async fn ask(client: &mut Client, authorization: &str) -> Verdict {
    let card = authorization.replace("iauth", "ic");
    Verdict::of(&client.exchange(signed(&purchase(&card, authorization, 100))).await)
}
