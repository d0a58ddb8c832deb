//! Group commit in front of a journal that fails, waits and forgets, on a paused clock.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use tollgate::journal::{
    Append, Committer, CommitterSettings, Fault, Faulty, Foreign, Gate, Journal, Memory, Outcome, Reach,
    Script, Urgency,
};

use super::{Writer, all, bodies, is_durable};

struct Desk {
    journal: Arc<Faulty>,
    committer: Arc<Committer>,
    /// The size of each batch that came back.
    batches: Arc<Mutex<Vec<usize>>>,
    told: mpsc::Receiver<(String, Outcome)>,
    tell: mpsc::Sender<(String, Outcome)>,
}

impl Desk {
    fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self::with(faults, CommitterSettings::default())
    }

    fn with(faults: impl IntoIterator<Item = Fault>, settings: CommitterSettings) -> Self {
        let journal = Arc::new(Faulty::new(Arc::new(Memory::new()), Script::of(faults)));
        let batches = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&batches);
        let observer = Arc::new(move |entries: usize, _: Duration| seen.lock().unwrap().push(entries));
        let committer = Arc::new(Committer::new(journal.clone(), settings, observer));
        let (tell, told) = mpsc::channel(10_000);
        Self { journal, committer, batches, told, tell }
    }

    fn submit(&self, append: Append) {
        let (tell, name) = (self.tell.clone(), append.rows[0].account.as_str().to_owned());
        self.committer.submit(
            append,
            Urgency::Now,
            Box::new(move |outcome| tell.try_send((name, outcome)).unwrap()),
        );
    }

    async fn outcome(&mut self) -> Outcome {
        self.told.recv().await.unwrap().1
    }

    fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }
}

fn held(gate: &Gate, fault: Fault) -> Fault {
    Fault::HeldBefore(gate.clone(), Box::new(fault))
}

#[tokio::test]
async fn what_comes_during_a_commit_goes_down_in_the_next_one() {
    let gate = Gate::new();
    let settings = CommitterSettings { batch_max: 64, ..CommitterSettings::default() };
    let mut desk = Desk::with([held(&gate, Fault::None)], settings);
    desk.submit(Writer::new("first").next("[]"));
    gate.arrived().await;
    for n in 0..100 {
        desk.submit(Writer::new(&format!("rides{n}")).next("[]"));
    }
    assert_eq!(desk.committer.undecided(), 101);
    gate.open();
    for _ in 0..101 {
        assert!(is_durable(desk.outcome().await));
    }
    desk.committer.flush().await;
    assert_eq!(desk.batches(), [1, 64, 36]);
}

/// An append of so many accounts.
fn of_rows(name: &str, rows: usize) -> Append {
    let mut append = Writer::new(name).next("[]");
    for row in 1..rows {
        append.rows.extend(Writer::new(&format!("{name}{row}")).next("[]").rows);
    }
    append
}

#[tokio::test(start_paused = true)]
async fn bounds_count_the_rows_of_an_append_and_a_large_one_goes_by_itself() {
    let gate = Gate::new();
    let settings = CommitterSettings { batch_max: 4, queue_max: 14, ..CommitterSettings::default() };
    let mut desk = Desk::with([held(&gate, Fault::None)], settings);
    desk.submit(Writer::new("first").next("[]"));
    gate.arrived().await;
    for (name, rows) in [("a", 2), ("b", 2), ("c", 3), ("d", 6), ("e", 1)] {
        desk.submit(of_rows(name, rows));
    }
    desk.submit(Writer::new("beyond").next("[]"));
    assert_eq!(desk.outcome().await, Outcome::Expired);
    gate.open();
    desk.committer.flush().await;
    assert_eq!(desk.batches(), [1, 4, 3, 6, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_is_repeated_with_growing_patience_until_it_is_known() {
    let mut desk = Desk::new((0..10).map(|n| if n % 2 == 0 { Fault::LostBefore } else { Fault::LostAfter }));
    let started = Instant::now();
    let mut writer = Writer::new("unknown");
    desk.submit(writer.next("[1]"));
    assert!(is_durable(desk.outcome().await));
    let waits: u64 = [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000].iter().sum();
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(waits) && took < Duration::from_millis(waits + 50), "{took:?}");
    assert_eq!(bodies(&*desk.journal, &writer.account, Reach::Genesis).await, ["[1]"]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_append_holds_nobody_else_up() {
    let mut desk = Desk::new([Fault::LostAfter]);
    let started = Instant::now();
    desk.submit(Writer::new("unknown").next("[]"));
    while desk.batches().is_empty() {
        tokio::task::yield_now().await;
    }
    for n in 0..50 {
        desk.submit(Writer::new(&format!("other{n}")).next("[]"));
    }
    for _ in 0..50 {
        let (name, outcome) = desk.told.recv().await.unwrap();
        assert!(name.starts_with("ic_other") && is_durable(outcome));
    }
    assert!(started.elapsed() < Duration::from_millis(10));
    assert!(is_durable(desk.outcome().await));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_goes_ahead_of_new_work() {
    let gate = Gate::new();
    let settings = CommitterSettings { batch_max: 2, ..CommitterSettings::default() };
    let mut desk = Desk::with([Fault::LostBefore, held(&gate, Fault::None)], settings);
    desk.submit(Writer::new("unknown").next("[\"unknown\"]"));
    while desk.batches().is_empty() {
        tokio::task::yield_now().await;
    }
    for n in 0..8 {
        desk.submit(Writer::new(&format!("queued{n}")).next("[\"queued\"]"));
    }
    gate.arrived().await;
    tokio::time::advance(Duration::from_millis(20)).await;
    gate.open();
    for _ in 0..9 {
        desk.outcome().await;
    }
    let order: Vec<String> = all(&*desk.journal).await.into_iter().map(|entry| entry.body).collect();
    assert_eq!(order.iter().position(|body| body == "[\"unknown\"]"), Some(2), "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_after_an_unknown_outcome_is_not_believed() {
    let mut desk = Desk::new([Fault::LostAfter, Fault::Rejected, Fault::Rejected]);
    desk.submit(Writer::new("doubted").next("[]"));
    assert!(is_durable(desk.outcome().await), "it was written by the first try");
    desk.journal.then(Fault::Rejected);
    desk.submit(Writer::new("believed").next("[]"));
    assert_eq!(desk.outcome().await, Outcome::Rejected);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_another_node_overtook_is_a_conflict() {
    let foreign = Foreign { body: "[\"foreign\"]".into(), mentions: Vec::new() };
    let mut desk = Desk::new([Fault::Overtaken(foreign)]);
    let mut writer = Writer::new("overtaken");
    desk.submit(writer.next("[\"own\"]"));
    assert_eq!(desk.outcome().await, Outcome::Conflict);
    assert_eq!(bodies(&*desk.journal, &writer.account, Reach::Genesis).await, ["[\"foreign\"]"]);
}

#[tokio::test(start_paused = true)]
async fn half_a_batch_is_told_apart() {
    let gate = Gate::new();
    let mut desk = Desk::new([held(&gate, Fault::None), Fault::HalfRejected(2), Fault::HalfLost(1)]);
    desk.submit(Writer::new("first").next("[]"));
    gate.arrived().await;
    (0..4).for_each(|n| desk.submit(Writer::new(&format!("half{n}")).next("[]")));
    gate.open();
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        outcomes.push(desk.outcome().await);
    }
    assert_eq!(outcomes.iter().filter(|outcome| is_durable(**outcome)).count(), 3);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Rejected).count(), 2);
    desk.submit(Writer::new("lost").next("[]"));
    assert!(is_durable(desk.outcome().await));
    assert_eq!(all(&*desk.journal).await.len(), 4);
}

#[tokio::test]
async fn whoever_panics_on_an_outcome_harms_nobody_else() {
    let mut desk = Desk::new([]);
    desk.committer.submit(Writer::new("panics").next("[]"), Urgency::Now, Box::new(|_| panic!("on purpose")));
    desk.submit(Writer::new("goes_on").next("[]"));
    assert!(is_durable(desk.outcome().await));
    desk.committer.close().await;
}

#[tokio::test]
async fn the_next_append_may_be_submitted_from_the_outcome_of_the_last() {
    fn go_on(committer: &Arc<Committer>, mut writer: Writer, left: usize, done: mpsc::Sender<Writer>) {
        let append = writer.next(&format!("[{left}]"));
        let next = Arc::clone(committer);
        committer.submit(
            append,
            Urgency::Now,
            Box::new(move |outcome| {
                assert!(is_durable(outcome));
                if left == 0 { done.try_send(writer).unwrap() } else { go_on(&next, writer, left - 1, done) }
            }),
        );
    }
    let desk = Desk::new([]);
    let (done, mut is_done) = mpsc::channel(1);
    go_on(&desk.committer, Writer::new("chained"), 999, done);
    let writer = is_done.recv().await.unwrap();
    assert_eq!(writer.head.seq, 1000);
    assert_eq!(bodies(&*desk.journal, &writer.account, Reach::Genesis).await.len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_every_outcome_and_takes_nothing_more() {
    let late = || Fault::Delayed(Duration::from_millis(700), Box::new(Fault::LostBefore));
    let mut desk = Desk::new([late(), late()]);
    desk.submit(Writer::new("late").next("[]"));
    tokio::task::yield_now().await;
    let closing = {
        let committer = Arc::clone(&desk.committer);
        tokio::spawn(async move { committer.close().await })
    };
    tokio::task::yield_now().await;
    desk.submit(Writer::new("too_late").next("[]"));
    assert_eq!(desk.outcome().await, Outcome::Rejected);
    assert!(!closing.is_finished());
    closing.await.unwrap();
    assert!(is_durable(desk.told.try_recv().unwrap().1), "told before the close returned");
    assert_eq!(desk.committer.undecided(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_submitted_goes_down_even_if_the_committer_is_dropped() {
    let mut desk = Desk::new([Fault::LostBefore]);
    desk.submit(Writer::new("dropped").next("[]"));
    desk.committer = Arc::new(Committer::new(
        desk.journal.clone(),
        CommitterSettings::default(),
        Arc::new(|_: usize, _: Duration| {}),
    ));
    assert!(is_durable(desk.outcome().await));
}

#[tokio::test]
async fn two_batches_may_be_in_flight_where_the_journal_is_far_away() {
    let (first, second) = (Gate::new(), Gate::new());
    let settings = CommitterSettings { batches_in_flight_max: 2, ..CommitterSettings::default() };
    let mut desk = Desk::with([held(&first, Fault::None), held(&second, Fault::None)], settings);
    desk.submit(Writer::new("one").next("[]"));
    first.arrived().await;
    desk.submit(Writer::new("two").next("[]"));
    second.arrived().await;
    desk.submit(Writer::new("three").next("[]"));
    second.open();
    assert!(desk.told.recv().await.unwrap().0.starts_with("ic_two"));
    assert!(desk.told.recv().await.unwrap().0.starts_with("ic_three"));
    first.open();
    assert!(desk.told.recv().await.unwrap().0.starts_with("ic_one"));
    desk.committer.close().await;
}

/// A committer with one append on its way behind a gate, and room for another batch.
async fn with_one_on_its_way(another_batch_from: usize) -> (Desk, Gate) {
    let gate = Gate::new();
    let settings =
        CommitterSettings { batches_in_flight_max: 2, another_batch_from, ..CommitterSettings::default() };
    let desk = Desk::with([held(&gate, Fault::None)], settings);
    desk.submit(Writer::new("one").next("[]"));
    gate.arrived().await;
    (desk, gate)
}

#[tokio::test(start_paused = true)]
async fn too_few_for_another_batch_go_down_together_when_the_one_before_is_back() {
    let (mut desk, gate) = with_one_on_its_way(3).await;
    for name in ["two", "three"] {
        desk.submit(Writer::new(name).next("[]"));
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(desk.told.try_recv().is_err(), "they did not wait");
    gate.open();
    for name in ["ic_one", "ic_two", "ic_three"] {
        assert!(desk.told.recv().await.unwrap().0.starts_with(name));
    }
    assert_eq!(desk.batches(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn enough_for_another_batch_wait_for_nothing() {
    let (mut desk, gate) = with_one_on_its_way(2).await;
    let started = Instant::now();
    for name in ["two", "three"] {
        desk.submit(Writer::new(name).next("[]"));
    }
    for name in ["ic_two", "ic_three"] {
        assert!(desk.told.recv().await.unwrap().0.starts_with(name));
    }
    assert_eq!((desk.batches(), started.elapsed()), (vec![2], Duration::ZERO));
    gate.open();
    assert!(desk.told.recv().await.unwrap().0.starts_with("ic_one"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_takes_unusually_long_holds_nothing_up() {
    let (mut desk, gate) = with_one_on_its_way(100).await;
    for name in ["two", "three"] {
        desk.submit(Writer::new(name).next("[]"));
        assert!(desk.told.recv().await.unwrap().0.starts_with(&format!("ic_{name}")));
    }
    gate.open();
    assert!(desk.told.recv().await.unwrap().0.starts_with("ic_one"));
}

#[tokio::test]
async fn a_dead_journal_answers_nothing_more() {
    let mut desk = Desk::new([]);
    let fatal = desk.journal.fatal();
    desk.journal.die("its disk is gone");
    assert_eq!(fatal.await.to_string(), "the journal has died: its disk is gone");
    desk.submit(Writer::new("unanswered").next("[]"));
    while desk.batches().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert!(desk.told.try_recv().is_err());
    assert_eq!(desk.committer.undecided(), 1);
}

#[cfg(debug_assertions)]
#[tokio::test]
#[should_panic(expected = "when the outcome of the previous one is known")]
async fn an_account_may_not_submit_twice_at_once() {
    let desk = Desk::new([]);
    let mut writer = Writer::new("hasty");
    desk.submit(writer.next("[]"));
    desk.submit(writer.next("[]"));
}
