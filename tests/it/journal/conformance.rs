//! The rules of the journal's trait, as stories. Every implementation runs them; they share nothing with each other, so
//! that they may run on a database that holds other things.

use std::sync::Arc;

use tollgate::{
    domain::{Mention, TransactionId},
    journal::{Append, BODY_BYTES_MAX, Entry, EntryId, Head, Journal, LookBack, Outcome, Reach},
};

use super::{Writer, append, append_one, bodies, is_durable, mention};

/// Holds `journal` to the contract.
pub(crate) async fn check(journal: Arc<dyn Journal>) {
    let shared = Arc::clone(&journal);
    let journal = &*journal;
    what_is_appended_is_loaded_as_it_was_written(journal).await;
    nothing_goes_in_behind_another_entry_than_the_known_one(journal).await;
    a_stale_writer_gets_nothing_in_whatever_it_pipelines(journal).await;
    a_repeated_append_goes_in_once(journal).await;
    a_batch_takes_one_append_of_an_account(journal).await;
    outcomes_come_in_the_order_of_the_batch(journal).await;
    loading_starts_at_the_last_snapshot(journal).await;
    what_entries_speak_of_is_found_wherever_it_was_spoken_of(journal).await;
    a_scan_gives_everything_once_and_in_order(journal).await;
    looking_back_gives_what_a_scan_gives_in_pages_from_the_end(journal).await;
    looking_back_along_a_chain_gives_that_chain(journal).await;
    what_no_journal_can_hold_is_rejected_alone(journal).await;
    any_text_comes_back_as_it_was(journal).await;
    of_many_writers_at_one_place_one_gets_in(shared).await;
}

async fn what_is_appended_is_loaded_as_it_was_written(journal: &dyn Journal) {
    let mut writer = Writer::new("grows");
    assert!(journal.load(&writer.account, Reach::Genesis).await.unwrap().is_empty());
    assert!(append(journal, []).await.is_empty());
    let appends: Vec<Append> = (0..5).map(|n| writer.next(&format!("[{n}]"))).collect();
    let mut times = Vec::new();
    for one in &appends {
        let Outcome::Durable { at } = append_one(journal, one.clone()).await else {
            panic!("a fitting append is durable")
        };
        times.push(at);
    }
    let entries = journal.load(&writer.account, Reach::Genesis).await.unwrap();
    assert_eq!(entries.len(), appends.len());
    for (n, (entry, one)) in entries.iter().zip(&appends).enumerate() {
        let written = (&entry.account, entry.seq, entry.id, entry.prev, entry.is_snapshot, &entry.body);
        let row = &one.rows[0];
        let wanted = (&row.account, n as u64 + 1, one.id, row.head.id, false, &row.body);
        assert_eq!(written, wanted);
        assert_eq!(entry.at, times[n], "an entry has the time that its writer was told");
    }
    assert!(entries.is_sorted_by(|a, b| a.lsn < b.lsn && a.at <= b.at));
}

async fn nothing_goes_in_behind_another_entry_than_the_known_one(journal: &dyn Journal) {
    let mut writer = Writer::new("fenced");
    append(journal, [writer.next("[1]")]).await;
    append(journal, [writer.next("[2]")]).await;
    let known = writer.head;
    let stranger = EntryId::new(fastrand::u64(1..));
    for head in [
        Head::default(),
        Head { seq: 1, id: known.id },
        Head { seq: 2, id: stranger },
        Head { seq: 2, id: EntryId::NONE },
        Head { seq: 3, id: known.id },
        Head { seq: 3, id: stranger },
        Head { seq: u64::MAX, id: known.id },
        Head { seq: 0, id: known.id },
    ] {
        let misfit = Writer { head, ..writer.clone() }.next("[3]");
        assert_eq!(append_one(journal, misfit).await, Outcome::Conflict, "{head:?}");
    }
    for head in [Head { seq: 1, id: EntryId::NONE }, Head { seq: 0, id: stranger }] {
        let misfit = Writer { head, ..Writer::new("unborn") }.next("[1]");
        assert_eq!(append_one(journal, misfit).await, Outcome::Conflict, "{head:?}");
    }
    assert_eq!(bodies(journal, &writer.account, Reach::Genesis).await, ["[1]", "[2]"]);
}

async fn a_stale_writer_gets_nothing_in_whatever_it_pipelines(journal: &dyn Journal) {
    let mut owner = Writer::new("stale");
    append(journal, [owner.next("[1]")]).await;
    let mut stale = owner.clone();
    for body in ["[2]", "[3]", "[4]"] {
        assert!(is_durable(append_one(journal, owner.next(body)).await));
    }
    // Its second entry would fit the sequence by number: only the chain tells.
    for body in ["[\"a\"]", "[\"b\"]", "[\"c\"]", "[\"d\"]", "[\"e\"]"] {
        assert_eq!(append_one(journal, stale.next(body)).await, Outcome::Conflict);
    }
    assert_eq!(bodies(journal, &owner.account, Reach::Genesis).await, ["[1]", "[2]", "[3]", "[4]"]);
    assert!(is_durable(append_one(journal, owner.next("[5]")).await), "the owner goes on");
}

async fn a_repeated_append_goes_in_once(journal: &dyn Journal) {
    let mut writer = Writer::new("repeats");
    let first = writer.next("[1]");
    let outcome = append_one(journal, first.clone()).await;
    for _ in 0..3 {
        let repeated = append_one(journal, first.clone()).await;
        assert!(repeated == outcome || repeated == Outcome::Conflict, "{repeated:?}");
    }
    assert!(is_durable(append_one(journal, writer.next("[2]")).await));
    let buried = append_one(journal, first).await;
    assert!(buried == outcome || buried == Outcome::Conflict, "{buried:?}");
    assert_eq!(bodies(journal, &writer.account, Reach::Genesis).await, ["[1]", "[2]"]);
}

async fn a_batch_takes_one_append_of_an_account(journal: &dyn Journal) {
    let mut writer = Writer::new("twice");
    let mut rival = writer.clone();
    let (first, second) = (writer.next("[1]"), rival.next("[2]"));
    let outcomes = append(journal, [first, second]).await;
    assert!(is_durable(outcomes[0]));
    assert_eq!(outcomes[1], Outcome::Conflict);

    let (third, fourth) = (writer.next("[3]"), writer.next("[4]"));
    let outcomes = append(journal, [third, fourth.clone()]).await;
    assert!(is_durable(outcomes[0]));
    assert_eq!(outcomes[1], Outcome::Conflict, "not even one that would fit");
    assert!(is_durable(append_one(journal, fourth).await));
    assert_eq!(bodies(journal, &writer.account, Reach::Genesis).await, ["[1]", "[3]", "[4]"]);
}

async fn outcomes_come_in_the_order_of_the_batch(journal: &dyn Journal) {
    let mut writers: Vec<Writer> = (0..40).map(|n| Writer::new(&format!("ordered{n}"))).collect();
    let batch = writers.iter_mut().enumerate().map(|(n, writer)| {
        if n % 3 == 0 {
            writer.head = Head { seq: 7, id: EntryId::new(7) };
        }
        writer.next(&format!("[{n}]"))
    });
    let outcomes = append(journal, batch.collect::<Vec<_>>()).await;
    assert_eq!(outcomes.len(), 40);
    for (n, (writer, outcome)) in writers.iter().zip(outcomes).enumerate() {
        let written = bodies(journal, &writer.account, Reach::Genesis).await;
        if n % 3 == 0 {
            assert_eq!(outcome, Outcome::Conflict);
            assert!(written.is_empty());
        } else {
            assert!(is_durable(outcome));
            assert_eq!(written, [format!("[{n}]")]);
        }
    }
}

async fn loading_starts_at_the_last_snapshot(journal: &dyn Journal) {
    let mut writer = Writer::new("snapshots");
    let snapshots = [3, 7];
    for n in 1..=10 {
        let mut one = writer.next(&format!("[{n}]"));
        one.rows[0].is_snapshot = snapshots.contains(&n);
        append(journal, [one]).await;
        let from = snapshots.iter().filter(|at| **at <= n).max().copied().unwrap_or(1);
        let wanted: Vec<String> = (from..=n).map(|n| format!("[{n}]")).collect();
        assert_eq!(bodies(journal, &writer.account, Reach::Snapshot).await, wanted);
    }
    assert_eq!(bodies(journal, &writer.account, Reach::Genesis).await.len(), 10);
}

async fn what_entries_speak_of_is_found_wherever_it_was_spoken_of(journal: &dyn Journal) {
    let (mut card, mut other) = (Writer::new("finds"), Writer::new("finds_too"));
    // An authorization, and a transaction.
    let (first, second) = (mention("first"), transaction("second"));
    let speaking = |mut one: Append, of: &[&Mention]| {
        one.rows[0].mentions = of.iter().map(|id| (*id).clone()).collect();
        one
    };
    assert!(journal.find(&first).await.unwrap().is_empty());
    append(journal, [speaking(card.next("[1]"), &[&first])]).await;
    append(journal, [speaking(card.next("[2]"), &[&second, &first])]).await;
    append(journal, [speaking(card.next("[3]"), &[])]).await;
    append(journal, [speaking(other.next("[4]"), &[&first, &first])]).await;
    append(journal, [speaking(card.next("[5]"), &[&second])]).await;
    // What did not get in is not found.
    append(journal, [speaking(Writer { head: Head::default(), ..card }.next("[6]"), &[&first])]).await;
    let found = journal.find(&first).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.body.as_str()).collect::<Vec<_>>(), ["[1]", "[2]", "[4]"]);
    let found = journal.find(&second).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.body.as_str()).collect::<Vec<_>>(), ["[2]", "[5]"]);
    assert!(journal.find(&mention("third")).await.unwrap().is_empty());
}

fn transaction(name: &str) -> Mention {
    (&TransactionId::new(&format!("ipi_{name}_{:016x}", fastrand::u64(..))).unwrap()).into()
}

async fn a_scan_gives_everything_once_and_in_order(journal: &dyn Journal) {
    let before = journal.scan(0, usize::MAX).await.unwrap().last().map_or(0, |entry| entry.lsn);
    let mut writers: Vec<Writer> = (0..7).map(|n| Writer::new(&format!("scanned{n}"))).collect();
    for round in 0..5 {
        let batch: Vec<Append> =
            writers.iter_mut().map(|writer| writer.next(&format!("[{round}]"))).collect();
        append(journal, batch).await;
    }
    let whole = journal.scan(before, usize::MAX).await.unwrap();
    assert_eq!(whole.len(), 35);
    assert!(whole.is_sorted_by(|a, b| a.lsn < b.lsn && a.at <= b.at));
    let (mut pages, mut after) = (Vec::new(), before);
    loop {
        let page = journal.scan(after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.lsn;
        assert!(page.len() <= 4);
        pages.extend(page);
    }
    assert_eq!(pages, whole);
    assert!(journal.scan(after, 10).await.unwrap().is_empty());
    assert!(journal.scan(u64::MAX, 10).await.unwrap().is_empty());
    assert!(journal.scan(before, 0).await.unwrap().is_empty());
}

/// All pages of a look back, and how many there were.
async fn looked_back(journal: &dyn Journal, mut what: LookBack) -> (Vec<Entry>, usize) {
    let (mut all, mut pages) = (Vec::new(), 0);
    loop {
        let page = journal.look_back(&what).await.unwrap();
        assert!(page.entries.len() <= what.entries_max);
        assert!(page.entries.is_sorted_by(|a, b| a.lsn > b.lsn));
        all.extend(page.entries);
        pages += 1;
        let Some(next) = page.next else { return (all, pages) };
        assert!(next < what.from && page.reached.is_some());
        what.from = next;
    }
}

async fn looking_back_gives_what_a_scan_gives_in_pages_from_the_end(journal: &dyn Journal) {
    let before = journal.scan(0, usize::MAX).await.unwrap().last().map_or(0, |last| last.lsn);
    let mut writers: Vec<Writer> = (0..4).map(|n| Writer::new(&format!("back{n}"))).collect();
    for n in 0..40_usize {
        let body = format!("[1,\"{}\",\"{}\"]", if n % 7 == 3 { "rare" } else { "usual" }, n % 2);
        append(journal, [writers[n % 4].next(&body)]).await;
    }
    let newest = || LookBack {
        account: None,
        from: LookBack::END,
        look_max: usize::MAX,
        entries_max: usize::MAX,
        texts: Vec::new(),
    };
    let expected = |takes: &dyn Fn(&str) -> bool, scanned: &[Entry]| -> Vec<Entry> {
        scanned.iter().rev().filter(|entry| takes(&entry.body)).cloned().collect()
    };
    let whole = journal.scan(0, usize::MAX).await.unwrap();
    let of_ours = |entries: Vec<Entry>| -> Vec<Entry> {
        entries.into_iter().filter(|entry| entry.lsn > before).collect()
    };
    for (look_max, entries_max) in
        [(usize::MAX, usize::MAX), (5, usize::MAX), (usize::MAX, 3), (4, 4), (1, 1)]
    {
        let what = LookBack { look_max, entries_max, ..newest() };
        let (found, pages) = looked_back(journal, what).await;
        assert_eq!(found, expected(&|_| true, &whole), "{look_max} {entries_max}");
        assert!(pages > whole.len() / look_max.min(entries_max).max(1) / 2);
        let texts = vec!["\"rare\"".to_owned(), "\"1\"".to_owned()];
        let (found, _) = looked_back(journal, LookBack { look_max, entries_max, texts, ..newest() }).await;
        let is_it = |body: &str| body.contains("\"rare\"") && body.contains("\"1\"");
        assert_eq!(of_ours(found).len(), 3);
        assert_eq!(
            looked_back(journal, LookBack { texts: vec!["\"rare\"".into(), "\"1\"".into()], ..newest() })
                .await
                .0,
            expected(&is_it, &whole)
        );
    }
    // What is looked at is bounded, also if nothing is found.
    let texts = vec!["nowhere".to_owned()];
    let page = journal.look_back(&LookBack { look_max: 10, texts, ..newest() }).await.unwrap();
    assert!(page.entries.is_empty());
    assert_eq!(page.reached, Some(whole[whole.len() - 10].at));
    let after = page.next.unwrap();
    assert!(after < whole[whole.len() - 10].lsn && after >= whole[whole.len() - 11].lsn);
    let first = whole[0].lsn;
    let page = journal.look_back(&LookBack { from: first, ..newest() }).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (1, None));
}

async fn looking_back_along_a_chain_gives_that_chain(journal: &dyn Journal) {
    let (mut writer, mut other) = (Writer::new("chained"), Writer::new("other"));
    for n in 0..20 {
        let body = format!("[1,{n},\"{}\"]", n % 3);
        append(journal, [writer.next(&body), other.next("[1,\"0\"]")]).await;
    }
    let chain = journal.load(&writer.account, Reach::Genesis).await.unwrap();
    let newest = |texts: &[&str]| LookBack {
        account: Some(writer.account.clone()),
        from: LookBack::END,
        look_max: 3,
        entries_max: 2,
        texts: texts.iter().map(ToString::to_string).collect(),
    };
    let (found, pages) = looked_back(journal, newest(&[])).await;
    assert_eq!(found, chain.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(pages, 10);
    let (found, _) = looked_back(journal, newest(&["\"0\""])).await;
    assert_eq!(
        found,
        chain.iter().rev().filter(|entry| entry.body.contains("\"0\"")).cloned().collect::<Vec<_>>()
    );
    // An entry of another account is none of this one.
    let stranger = journal.load(&other.account, Reach::Genesis).await.unwrap()[5].lsn;
    let page = journal.look_back(&LookBack { from: stranger, ..newest(&[]) }).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (0, None));
    let unknown = LookBack { account: Some(Writer::new("unknown").account), ..newest(&[]) };
    assert!(journal.look_back(&unknown).await.unwrap().entries.is_empty());
}

async fn what_no_journal_can_hold_is_rejected_alone(journal: &dyn Journal) {
    let mut writer = Writer::new("refused");
    let known = writer.clone();
    let nameless = Append { id: EntryId::NONE, ..writer.next("[]") };
    let mut bulky = Writer::new("bulky");
    let too_long = bulky.next(&"1".repeat(BODY_BYTES_MAX + 1));
    let mut neighbour = Writer::new("neighbour");
    let outcomes = append(journal, [nameless, too_long, neighbour.next("[1]")]).await;
    assert_eq!(outcomes[..2], [Outcome::Rejected, Outcome::Rejected]);
    assert!(is_durable(outcomes[2]));
    assert!(journal.load(&writer.account, Reach::Genesis).await.unwrap().is_empty());
    assert!(is_durable(append_one(journal, known.clone().next("[1]")).await), "the chain was not touched");
}

async fn any_text_comes_back_as_it_was(journal: &dyn Journal) {
    let mut writer = Writer::new("text");
    let long = format!("[\"{}\"]", "x".repeat(1024 * 1024));
    let texts = ["[]", "[\"'; DROP TABLE entry; --\"]", "[\"🍞 Bäckerei \\u0001 \\\" \\\\\"]", &long];
    for text in texts {
        assert!(is_durable(append_one(journal, writer.next(text)).await));
    }
    assert_eq!(bodies(journal, &writer.account, Reach::Genesis).await, texts);
}

async fn of_many_writers_at_one_place_one_gets_in(journal: Arc<dyn Journal>) {
    let writer = Writer::new("raced");
    let races = (0..16).map(|n| {
        let (journal, mut writer) = (Arc::clone(&journal), writer.clone());
        tokio::spawn(async move { append_one(&*journal, writer.next(&format!("[{n}]"))).await })
    });
    let mut winners = Vec::new();
    for (n, race) in races.collect::<Vec<_>>().into_iter().enumerate() {
        match race.await.unwrap() {
            Outcome::Durable { .. } => winners.push(format!("[{n}]")),
            outcome => assert_eq!(outcome, Outcome::Conflict),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(bodies(&*journal, &writer.account, Reach::Genesis).await, winners);
}
