//! A standby that lacks the tail is promoted: what was acknowledged is missed, and given back, before anything new goes
//! in; where it cannot be given back, that is said.

use std::{path::Path, sync::Arc};

use tollgate::journal::{
    Journal, Loss, OpenError, Outcome, Postgres, Reach,
    postgres::{Misfit, Options, Phase},
};

use super::super::Writer;
use crate::{
    cluster::proxy::Proxy,
    journal::{append_one, bodies, group, is_durable},
    postgres::{Server, Stop},
    process::within,
};

/// A primary, a standby that can be held back, and a front that leads to one of them.
struct Pair {
    primary: Server,
    standby: Server,
    stream: Proxy,
    front: Proxy,
}

impl Pair {
    async fn start() -> Option<Self> {
        let primary = Server::start().await?;
        let (front, stream) = (Proxy::open().await, Proxy::open().await);
        for proxy in [&front, &stream] {
            proxy.lead_to(([127, 0, 0, 1], primary.port()).into());
        }
        let standby = primary.standby_by(stream.address.port(), "behind").await;
        Some(Self { primary, standby, stream, front })
    }

    fn url(&self) -> String {
        Server::url_at(self.front.address.port())
    }

    /// The standby has everything so far, and gets nothing more.
    async fn hold_back(&self) {
        self.primary.followed_by(&self.standby).await;
        self.stream.cut();
    }

    /// The primary dies, the standby takes over.
    async fn fail_over(&mut self) {
        self.primary.stop(Stop::Kill).await;
        self.standby.promote().await;
        self.front.lead_to(([127, 0, 0, 1], self.standby.port()).into());
    }

    async fn open(&self, node: &str, loss: Loss) -> Postgres {
        let options = Options { node: node.to_owned(), loss, ..Options::default() };
        Postgres::open_with(&self.url(), options).await.unwrap()
    }
}

/// Until entries are taken on this timeline.
async fn is_open_on(journal: &Postgres, timeline: u32) {
    let mut status = journal.database().status();
    let is_open =
        status.wait_for(|status| status.phase == Phase::Open && status.lineage.timeline == timeline);
    within("the lineage is open", is_open).await.unwrap();
}

#[tokio::test]
async fn what_the_new_primary_lacks_is_given_back_in_the_order_of_its_chains() {
    let Some(mut pair) = Pair::start().await else { return };
    let nodes = [pair.open("a", Loss::Restore).await, pair.open("b", Loss::Restore).await];
    let mut writer = Writer::new("torn");
    for n in 0..4 {
        assert!(is_durable(append_one(&nodes[n % 2], writer.next(&format!("[{n}]"))).await));
    }
    pair.hold_back().await;
    // Each node's entries stand behind the other's.
    for n in 4..10 {
        assert!(is_durable(append_one(&nodes[n % 2], writer.next(&format!("[{n}]"))).await));
    }
    let before = nodes[0].load(&writer.account, Reach::Genesis).await.unwrap();
    pair.fail_over().await;
    for node in &nodes {
        is_open_on(node, 2).await;
    }
    let after = nodes[0].load(&writer.account, Reach::Genesis).await.unwrap();
    let chain = |entries: &[tollgate::journal::Entry]| -> Vec<_> {
        entries.iter().map(|entry| (entry.seq, entry.id, entry.prev, entry.body.clone())).collect()
    };
    assert_eq!(chain(&after), chain(&before));
    let next = writer.next("[10]");
    within("more goes in", async { while !is_durable(append_one(&nodes[1], next.clone()).await) {} }).await;
    let [a, b] = nodes.each_ref().map(|node| node.database().status().borrow().clone());
    assert_eq!((a.restored, b.restored, a.lost + b.lost), (3, 3, 0));
}

#[tokio::test]
async fn what_stood_behind_entries_of_a_dead_node_is_reported_as_lost() {
    let Some(mut pair) = Pair::start().await else { return };
    let living = pair.open("living", Loss::Restore).await;
    let dead = pair.open("dead", Loss::Restore).await;
    let (mut shared, mut own) = (Writer::new("shared"), Writer::new("own"));
    pair.hold_back().await;
    assert!(is_durable(append_one(&dead, shared.next("[\"of the dead\"]")).await));
    assert!(is_durable(append_one(&living, shared.next("[\"behind it\"]")).await));
    assert!(is_durable(append_one(&living, own.next("[\"alone\"]")).await));
    drop(dead);
    pair.fail_over().await;
    is_open_on(&living, 2).await;
    assert_eq!(bodies(&living, &own.account, Reach::Genesis).await, ["[\"alone\"]"]);
    assert!(bodies(&living, &shared.account, Reach::Genesis).await.is_empty());
    let status = living.database().status().borrow().clone();
    assert_eq!((status.restored, status.lost), (1, 1));
}

/// A node has to go on trying what it was told nothing of, until nobody else can give back one more entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stood_behind_an_entry_whose_writer_heard_nothing_of_it_is_given_back() {
    let Some(mut pair) = Pair::start().await else { return };
    let own_front = Proxy::open().await;
    own_front.lead_to(([127, 0, 0, 1], pair.primary.port()).into());
    let options = Options { node: "unheard".to_owned(), ..Options::default() };
    let url = Server::url_at(own_front.address.port());
    let unheard = Arc::new(Postgres::open_with(&url, options).await.unwrap());
    let [first, last, ghost] = [
        pair.open("first", Loss::Restore).await,
        pair.open("last", Loss::Restore).await,
        pair.open("ghost", Loss::Restore).await,
    ];
    // It has a connection that it may go on with.
    let mut own = Writer::new("own");
    assert!(is_durable(append_one(&*unheard, own.next("[]")).await));
    let mut writer = Writer::new("shared");
    pair.hold_back().await;
    assert!(is_durable(append_one(&first, writer.next("[\"first\"]")).await));
    // It is written, and nothing of that gets back to its writer.
    let append = writer.next("[\"unheard\"]");
    own_front.cut();
    let (journal, same) = (Arc::clone(&unheard), append.clone());
    let appending = tokio::spawn(async move { append_one(&*journal, same).await });
    assert!(is_durable(append_one(&ghost, append).await));
    drop(ghost);
    assert!(is_durable(append_one(&last, writer.next("[\"last\"]")).await));
    pair.primary.stop(Stop::Kill).await;
    pair.standby.promote().await;
    let standby = ([127, 0, 0, 1], pair.standby.port()).into();
    // It is there before the one whose entry its own stood behind.
    own_front.lead_to(standby);
    own_front.mend();
    pair.standby.says("SELECT count(tried) FROM tollgate.writer", "1").await;
    pair.front.lead_to(standby);
    for node in [&*unheard, &first, &last] {
        is_open_on(node, 2).await;
    }
    let bodies = bodies(&last, &writer.account, Reach::Genesis).await;
    assert_eq!(bodies, ["[\"first\"]", "[\"unheard\"]", "[\"last\"]"]);
    assert_eq!(last.database().status().borrow().lost, 0);
    assert_eq!(appending.await.unwrap(), Outcome::Unknown);
}

#[tokio::test]
async fn groups_are_given_back_whole_and_lost_whole() {
    let Some(mut pair) = Pair::start().await else { return };
    let living = pair.open("living", Loss::Restore).await;
    let dead = pair.open("dead", Loss::Restore).await;
    let [mut x, mut y, mut z, mut shared, mut own] = ["x", "y", "z", "shared", "own"].map(Writer::new);
    pair.hold_back().await;
    assert!(is_durable(append_one(&dead, shared.next("[\"of the dead\"]")).await));
    for one in [
        group([&mut x, &mut y], "[1]"),
        group([&mut y, &mut z], "[2]"),
        // One row of it stands behind the entry of the dead node, the other one behind nothing.
        group([&mut shared, &mut own], "[3]"),
        group([&mut z, &mut x], "[4]"),
        own.next("[5]"),
        y.next("[6]"),
    ] {
        assert!(is_durable(append_one(&living, one).await));
    }
    drop(dead);
    pair.fail_over().await;
    is_open_on(&living, 2).await;
    for (writer, expected) in [
        (&x, &["[1]", "[4]"][..]),
        (&y, &["[1]", "[2]", "[6]"]),
        (&z, &["[2]", "[4]"]),
        (&shared, &[]),
        (&own, &[]),
    ] {
        assert_eq!(bodies(&living, &writer.account, Reach::Genesis).await, expected);
    }
    let status = living.database().status().borrow().clone();
    assert_eq!((status.restored, status.lost), (7, 3), "entries, not groups");
}

#[tokio::test]
async fn loss_may_be_accepted_and_may_stop_the_node() {
    for loss in [Loss::Accept, Loss::Stop] {
        let Some(mut pair) = Pair::start().await else { return };
        let journal = pair.open("only", loss).await;
        let mut writer = Writer::new("given_up");
        pair.hold_back().await;
        assert!(is_durable(append_one(&journal, writer.next("[1]")).await));
        pair.fail_over().await;
        if loss == Loss::Stop {
            let fatal = within("it stops", journal.fatal()).await;
            assert!(fatal.to_string().contains("1 entries that were answered for are missing"), "{fatal}");
            assert_eq!(append_one(&journal, writer.next("[2]")).await, Outcome::Unknown);
        } else {
            is_open_on(&journal, 2).await;
            assert_eq!(journal.database().status().borrow().lost, 1);
            assert_eq!(append_one(&journal, writer.next("[2]")).await, Outcome::Conflict);
        }
    }
}

/// Why a node that remembers does not start.
async fn refusal(url: &str, memory: &Path) -> Misfit {
    let memory = Some(memory.to_owned());
    match Postgres::open_with(url, Options { node: "again".to_owned(), memory, ..Options::default() }).await {
        Err(OpenError::Database { misfit, .. }) => misfit,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn a_node_knows_after_a_restart_what_it_has_seen_and_answered() {
    let Some(mut pair) = Pair::start().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let memory = directory.path().join("again.timeline");
    let options = |accept_journal_loss| Options {
        node: "again".to_owned(),
        memory: Some(memory.clone()),
        accept_journal_loss,
        ..Options::default()
    };
    let journal = Postgres::open_with(&pair.url(), options(false)).await.unwrap();
    let mut writer = Writer::new("remembered");
    pair.hold_back().await;
    assert!(is_durable(append_one(&journal, writer.next("[1]")).await));
    let written = || std::fs::read_to_string(&memory).unwrap_or_default();
    within("it is written down", async {
        while !written().contains(writer.account.as_str()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(journal);
    pair.fail_over().await;
    let lost = refusal(&pair.url(), &memory).await;
    assert!(
        matches!(&lost, Misfit::Loss { seq: 1, account } if *account == writer.account.as_str()),
        "{lost}"
    );
    let journal = Postgres::open_with(&pair.url(), options(true)).await.unwrap();
    is_open_on(&journal, 2).await;
    within("it is written down", async {
        while !written().contains("/2\"") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(journal);
    // The primary of before is back, and the only one that is reached.
    pair.primary.restart().await;
    pair.front.lead_to(([127, 0, 0, 1], pair.primary.port()).into());
    let earlier = refusal(&pair.url(), &memory).await;
    assert!(matches!(earlier, Misfit::Earlier { .. }), "{earlier}");
}
