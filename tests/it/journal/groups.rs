//! The rules of appends with several rows, as stories for every implementation: a group goes in whole or not at all.

use std::{collections::HashMap, sync::Arc};

use tollgate::{
    domain::Account,
    journal::{APPEND_BYTES_MAX, Append, BODY_BYTES_MAX, EntryId, Head, Journal, Outcome, Reach, Rows},
};

use super::{Writer, append, append_one, bodies, group, is_durable, mention};

/// Holds `journal` to the contract.
pub(crate) async fn check(journal: Arc<dyn Journal>) {
    let shared = Arc::clone(&journal);
    let journal = &*journal;
    all_rows_of_a_group_go_in_with_one_id_and_one_time(journal).await;
    nothing_of_a_group_goes_in_of_which_a_row_does_not_fit(journal).await;
    nothing_of_a_group_goes_in_where_a_place_is_taken(journal).await;
    a_repeated_group_goes_in_once(journal).await;
    a_group_behind_what_its_batch_has_written_is_a_conflict(journal).await;
    a_group_that_no_journal_can_hold_is_rejected_alone(journal).await;
    what_any_row_of_a_group_mentions_is_found(journal).await;
    groups_that_race_for_an_account_are_whole_or_absent(vec![shared; 4], 12).await;
}

fn writers<const N: usize>(name: &str) -> [Writer; N] {
    std::array::from_fn(|n| Writer::new(&format!("{name}{n}")))
}

async fn lengths(journal: &dyn Journal, writers: &[Writer]) -> Vec<usize> {
    let mut lengths = Vec::new();
    for writer in writers {
        lengths.push(bodies(journal, &writer.account, Reach::Genesis).await.len());
    }
    lengths
}

async fn all_rows_of_a_group_go_in_with_one_id_and_one_time(journal: &dyn Journal) {
    let mut writers: [Writer; 9] = writers("whole");
    for n in 1..=3 {
        // The chains have different lengths.
        let one = group(writers.iter_mut().take(3 * n), &format!("[{n}]"));
        let Outcome::Durable { at } = append_one(journal, one.clone()).await else { panic!("it fits") };
        for row in &one.rows {
            let entries = journal.load(&row.account, Reach::Genesis).await.unwrap();
            let last = entries.last().unwrap();
            assert_eq!((last.id, last.at, last.prev), (one.id, at, row.head.id));
            assert_eq!((last.seq, &last.body), (row.head.seq + 1, &row.body));
        }
    }
    assert_eq!(lengths(journal, &writers).await, [3, 3, 3, 2, 2, 2, 1, 1, 1]);
}

async fn nothing_of_a_group_goes_in_of_which_a_row_does_not_fit(journal: &dyn Journal) {
    let mut writers: [Writer; 4] = writers("misfit");
    assert!(is_durable(append_one(journal, group(&mut writers[..3], "[1]")).await));
    for place in 0..4 {
        for head in [
            Head::default(),
            Head { seq: 1, id: EntryId::new(fastrand::u64(1..)) },
            Head { seq: 2, id: writers[0].head.id },
            Head { seq: u64::MAX, id: writers[0].head.id },
        ] {
            let mut stale = writers.clone();
            if stale[place].head == head {
                continue;
            }
            stale[place].head = head;
            let mut others: [Writer; 2] = self::writers("beside");
            let batch = [others[0].next("[]"), group(&mut stale, "[\"stale\"]"), others[1].next("[]")];
            let outcomes = append(journal, batch).await;
            assert_eq!(outcomes[1], Outcome::Conflict, "{place} {head:?}");
            assert!(is_durable(outcomes[0]) && is_durable(outcomes[2]));
            assert_eq!(lengths(journal, &writers).await, [1, 1, 1, 0]);
        }
    }
    assert!(is_durable(append_one(journal, group(&mut writers, "[2]")).await), "the chains were not touched");
}

async fn nothing_of_a_group_goes_in_where_a_place_is_taken(journal: &dyn Journal) {
    let mut writers: [Writer; 3] = writers("taken");
    assert!(is_durable(append_one(journal, group(&mut writers, "[1]")).await));
    for place in 0..3 {
        let mut late = writers.clone();
        assert!(is_durable(append_one(journal, writers[place].next("[2]")).await));
        let lengths_before = lengths(journal, &writers).await;
        assert_eq!(append_one(journal, group(&mut late, "[\"late\"]")).await, Outcome::Conflict);
        assert_eq!(lengths(journal, &writers).await, lengths_before);
        // Whatever it pipelines.
        assert_eq!(append_one(journal, group(&mut late, "[\"later\"]")).await, Outcome::Conflict);
        assert_eq!(lengths(journal, &writers).await, lengths_before);
    }
}

async fn a_repeated_group_goes_in_once(journal: &dyn Journal) {
    let mut writers: [Writer; 3] = writers("repeats");
    let first = group(&mut writers, "[1]");
    let outcome = append_one(journal, first.clone()).await;
    assert!(is_durable(outcome));
    append_one(journal, Writer::new("another").next("[]")).await;
    let mut others: [Writer; 2] = self::writers("beside");
    let outcomes =
        append(journal, [others[0].next("[]"), first.clone(), group(&mut others[1..], "[]")]).await;
    assert_eq!(outcomes[1], outcome, "with its first time");
    assert!(is_durable(outcomes[0]) && is_durable(outcomes[2]));

    assert!(is_durable(append_one(journal, writers[1].next("[2]")).await));
    for _ in 0..2 {
        let buried = append_one(journal, first.clone()).await;
        assert!(buried == outcome || buried == Outcome::Conflict, "{buried:?}");
        assert_eq!(lengths(journal, &writers).await, [1, 2, 1]);
    }
    // A part of it, or it with one row more, is another append.
    let part = Append { rows: first.rows[..1].iter().cloned().collect(), ..first.clone() };
    let part = append_one(journal, part).await;
    assert!(part == outcome || part == Outcome::Conflict, "{part:?}");
    let fresh = Writer::new("more");
    for place in [0, 3] {
        let mut more = first.clone();
        more.rows.insert(place, fresh.clone().next("[]").rows.remove(0));
        assert_eq!(append_one(journal, more).await, Outcome::Conflict);
    }
    assert_eq!(lengths(journal, &writers).await, [1, 2, 1]);
    assert_eq!(lengths(journal, &[fresh]).await, [0]);
}

async fn a_group_behind_what_its_batch_has_written_is_a_conflict(journal: &dyn Journal) {
    let [mut a, mut b, mut c, mut d] = writers("overlap");
    let mut stale = Writer { head: Head { seq: 7, id: EntryId::new(7) }, ..d.clone() };
    let (known_b, known_c) = (b.clone(), c.clone());
    let first = group([&mut a, &mut b], "[1]");
    // It would fit behind the first one, and is too early all the same.
    let second = group([&mut b, &mut c], "[2]");
    // The second one did not go in: this one is judged by itself.
    let (mut c_again, mut b_again) = (known_c.clone(), known_b.clone());
    let third = group([&mut c_again, &mut d], "[3]");
    let fourth = group([&mut b_again], "[4]");
    let outcomes = append(journal, [first, second, third, fourth]).await;
    assert!(is_durable(outcomes[0]) && is_durable(outcomes[2]), "{outcomes:?}");
    assert_eq!([outcomes[1], outcomes[3]], [Outcome::Conflict; 2]);
    assert_eq!(lengths(journal, &[a.clone(), known_b, known_c, d.clone()]).await, [1, 1, 1, 1]);

    let [mut fresh, mut twin] = writers("behind");
    let known = fresh.clone();
    let batch = [group([&mut fresh, &mut stale], "[5]"), known.clone().next("[6]")];
    let outcomes = append(journal, batch).await;
    assert_eq!(outcomes[0], Outcome::Conflict);
    assert!(is_durable(outcomes[1]), "a conflict before it takes no place");
    // Two appends of one id are two appends.
    let one = d.next("[7]");
    let other = Append { id: one.id, ..twin.next("[7]") };
    let outcomes = append(journal, [one, other]).await;
    assert!(outcomes.into_iter().all(is_durable));
}

async fn a_group_that_no_journal_can_hold_is_rejected_alone(journal: &dyn Journal) {
    let [mut one, mut two, mut three] = writers("refused");
    let known = [one.clone(), two.clone()];
    let long = "1".repeat(BODY_BYTES_MAX);
    let nameless = Append { id: EntryId::NONE, ..group(&mut known.clone(), "[]") };
    let empty = Append { id: EntryId::new(1), rows: Rows::new() };
    let mut twice = group([&mut one], "[]");
    twice.rows.push(twice.rows[0].clone());
    let mut too_long = group([&mut two, &mut three], "[]");
    too_long.rows[1].body = format!("{long}1");
    let mut too_much = group(&mut writers::<{ APPEND_BYTES_MAX / BODY_BYTES_MAX + 1 }>("much"), "[]");
    too_much.rows.iter_mut().for_each(|row| row.body.clone_from(&long));
    let batch = [nameless, empty, twice, too_long, too_much, group(&mut known.clone(), "[1]")];
    let outcomes = append(journal, batch).await;
    assert_eq!(outcomes[..5], [Outcome::Rejected; 5]);
    assert!(is_durable(outcomes[5]), "the chains were not touched");
    assert_eq!(lengths(journal, &[known[0].clone(), known[1].clone(), three]).await, [1, 1, 0]);
}

async fn what_any_row_of_a_group_mentions_is_found(journal: &dyn Journal) {
    let mut writers: [Writer; 3] = writers("finds");
    let (shared, own) = (mention("shared"), mention("own"));
    let mut one = group(&mut writers, "[1]");
    one.rows[0].mentions = vec![shared.clone()];
    one.rows[2].mentions = vec![own.clone(), shared.clone()];
    one.rows[2].is_snapshot = true;
    let mut absent =
        group(&mut writers.clone().map(|known| Writer { head: Head::default(), ..known }), "[2]");
    absent.rows[1].mentions = vec![shared.clone()];
    assert!(is_durable(append(journal, [one, absent]).await[0]));
    let accounts = |entries: Vec<tollgate::journal::Entry>| -> Vec<Account> {
        entries.into_iter().map(|entry| entry.account).collect()
    };
    // Rows of one group have no order among themselves that anybody may rely on.
    let mut found = accounts(journal.find(&shared).await.unwrap());
    found.sort();
    let mut wanted = vec![writers[0].account.clone(), writers[2].account.clone()];
    wanted.sort();
    assert_eq!(found, wanted);
    assert_eq!(accounts(journal.find(&own).await.unwrap()), [writers[2].account.clone()]);
    let loaded = journal.load(&writers[2].account, Reach::Snapshot).await.unwrap();
    assert!(loaded[0].is_snapshot);
}

/// Writers on each of these journals, which are one, append groups of two out of six accounts, each behind what it has
/// read last, two groups to a batch. Gives how many groups went in and how many lost a place.
pub(crate) async fn groups_that_race_for_an_account_are_whole_or_absent(
    journals: Vec<Arc<dyn Journal>>,
    rounds: usize,
) -> (usize, usize) {
    let known: [Writer; 6] = writers("raced");
    let mut tried: HashMap<EntryId, (Vec<Account>, Outcome)> = HashMap::new();
    for _ in 0..rounds {
        let mut heads = known.clone();
        for writer in &mut heads {
            let last = journals[0].load(&writer.account, Reach::Last(1)).await.unwrap();
            writer.head = last.last().map(|last| Head { seq: last.seq, id: last.id }).unwrap_or_default();
        }
        let races = journals.iter().flat_map(|journal| [Arc::clone(journal), Arc::clone(journal)]);
        let races = races.map(|journal| {
            let mut heads = heads.clone();
            fastrand::shuffle(&mut heads);
            let mut neighbour = Writer::new("neighbour");
            let [a, b, c, d, ..] = &mut heads;
            let batch: Arc<[Append]> =
                [group([a, b], "[1]"), neighbour.next("[]"), group([c, d], "[2]")].into();
            tokio::spawn(async move { (until_definite(&*journal, &batch).await, batch) })
        });
        for race in races.collect::<Vec<_>>() {
            let (outcomes, batch) = race.await.unwrap();
            assert!(is_durable(outcomes[1]), "the others of a batch do not suffer: {outcomes:?}");
            for (one, outcome) in batch.iter().zip(outcomes) {
                tried.insert(one.id, (one.accounts().cloned().collect(), outcome));
            }
        }
    }
    let mut found: HashMap<EntryId, Vec<Account>> = HashMap::new();
    for writer in &known {
        let chain = journals[0].load(&writer.account, Reach::Genesis).await.unwrap();
        let mut before = EntryId::NONE;
        for (entry, seq) in chain.iter().zip(1..) {
            assert_eq!((entry.seq, entry.prev), (seq, before));
            before = entry.id;
            found.entry(entry.id).or_default().push(entry.account.clone());
        }
    }
    let (mut whole, mut absent) = (0, 0);
    for (id, (mut accounts, outcome)) in tried.into_iter().filter(|(_, (accounts, _))| accounts.len() > 1) {
        accounts.sort();
        let mut there = found.remove(&id).unwrap_or_default();
        there.sort();
        if is_durable(outcome) {
            assert_eq!(there, accounts, "a group is in as a whole");
            whole += 1;
        } else {
            assert_eq!(outcome, Outcome::Conflict);
            assert!(there.is_empty(), "a group that is not in leaves nothing: {there:?} of {accounts:?}");
            absent += 1;
        }
    }
    assert!(found.is_empty());
    assert!(whole >= rounds && absent >= rounds, "{whole} went in, and {absent} did not");
    (whole, absent)
}

/// Repeats what is unknown.
async fn until_definite(journal: &dyn Journal, batch: &Arc<[Append]>) -> Vec<Outcome> {
    let mut outcomes = journal.append(Arc::clone(batch)).await;
    for (one, outcome) in batch.iter().zip(&mut outcomes) {
        while *outcome == Outcome::Unknown {
            *outcome = append_one(journal, one.clone()).await;
        }
    }
    outcomes
}
