//! Which appends go first, which are given back, and how long one is expected to wait, on a paused clock.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tollgate::journal::{
    Committer, CommitterSettings, Faulty, Gate, Memory, Outcome, Pace, Script, Ticket, Urgency,
};

use super::{Writer, all, is_durable};

/// A committer whose first append waits behind a gate, so that all others queue.
struct Queued {
    journal: Arc<Faulty>,
    committer: Committer,
    gate: Gate,
    told: mpsc::Receiver<(String, Outcome)>,
    tell: mpsc::Sender<(String, Outcome)>,
}

impl Queued {
    async fn with(settings: CommitterSettings) -> Self {
        let journal = Arc::new(Faulty::new(Arc::new(Memory::new()), Script::default()));
        let gate = journal.hold_next();
        let committer = Committer::new(journal.clone(), settings, Arc::new(|_: usize, _: Duration| {}));
        let (tell, told) = mpsc::channel(10_000);
        let queued = Self { journal, committer, gate, told, tell };
        queued.submit("first", Urgency::Now);
        queued.gate.arrived().await;
        queued
    }

    fn submit(&self, name: &str, urgency: Urgency) -> Option<Ticket> {
        let mut writer = Writer::new(name);
        let (tell, told) = (self.tell.clone(), name.to_owned());
        let done = move |outcome| tell.try_send((told, outcome)).unwrap();
        self.committer.submit(writer.next(&format!("[{name:?}]")), urgency, Box::new(done))
    }

    /// Lets everything go, and gives what was written after the first, in order.
    async fn written(&self) -> Vec<String> {
        self.gate.open();
        self.committer.flush().await;
        let bodies = all(&*self.journal).await.into_iter().skip(1).map(|entry| entry.body);
        bodies.map(|body| body.trim_matches(['[', ']', '"']).to_owned()).collect()
    }

    /// What became of each, in the order in which it was told.
    fn told(&mut self) -> Vec<(String, Outcome)> {
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }

    fn expired(&mut self) -> Vec<String> {
        let told = self.told().into_iter();
        told.filter(|(_, outcome)| *outcome == Outcome::Expired).map(|(name, _)| name).collect()
    }
}

fn by(milliseconds: u64) -> Urgency {
    Urgency::By(Instant::now() + Duration::from_millis(milliseconds))
}

fn of_four() -> CommitterSettings {
    CommitterSettings { batch_max: 4, ..CommitterSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn the_nearest_deadline_goes_first_and_facts_and_decisions_take_turns() {
    let queued = Queued::with(CommitterSettings::default()).await;
    for (name, urgency) in [
        ("d3", by(3_000)),
        ("d1", by(1_000)),
        ("f1", Urgency::Now),
        ("l1", Urgency::Later),
        ("d2", by(2_000)),
        ("f2", Urgency::Now),
        ("d4", by(4_000)),
        ("l2", Urgency::Later),
    ] {
        queued.submit(name, urgency);
    }
    assert_eq!(queued.written().await, ["d1", "f1", "d2", "f2", "d3", "d4", "l1", "l2"]);
}

#[tokio::test(start_paused = true)]
async fn what_can_wait_gets_what_is_left_and_a_slot_in_every_fourth_batch() {
    let queued = Queued::with(of_four()).await;
    for n in 0..30 {
        queued.submit(&format!("d{n}"), by(10_000));
        queued.submit(&format!("l{n}"), Urgency::Later);
    }
    let written = queued.written().await;
    let later: Vec<usize> = (0..60).filter(|place| written[*place].starts_with('l')).collect();
    // In the fourth and the eighth batch one, at the end of it, until no decision is left.
    assert_eq!(&later[..4], [15, 31, 32, 33], "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_late_is_given_back_and_not_written() {
    let mut queued = Queued::with(CommitterSettings::default()).await;
    for (name, urgency) in [("soon", by(100)), ("late", by(5_000)), ("fact", Urgency::Now)] {
        queued.submit(name, urgency);
    }
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(queued.written().await, ["late", "fact"]);
    assert_eq!(queued.expired(), ["soon"]);
    assert_eq!(queued.committer.undecided(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_durable_in_time_is_given_back_before_its_time_is_over() {
    let mut queued = Queued::with(CommitterSettings::default()).await;
    queued.journal.slow_down(Pace { batch: Duration::ZERO, append: Duration::from_millis(300) });
    queued.gate.open();
    queued.committer.flush().await;
    // It is known how long a commit takes. Of those that cannot be in time one is tried all the same.
    queued.submit("measured", by(10_000));
    queued.committer.flush().await;
    for n in 0..5 {
        queued.submit(&format!("hopeless{n}"), by(100));
    }
    queued.submit("hopeful", by(1_000));
    queued.committer.flush().await;
    let expired = queued.expired();
    assert_eq!(expired, ["hopeless1", "hopeless2", "hopeless3", "hopeless4"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_gives_the_newcomer_back() {
    let mut queued = Queued::with(CommitterSettings { queue_max: 2, ..CommitterSettings::default() }).await;
    for name in ["one", "two", "three"] {
        queued.submit(name, Urgency::Now);
    }
    assert_eq!(queued.expired(), ["three"]);
    assert_eq!(queued.written().await, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_is_neither_written_nor_told() {
    let mut queued = Queued::with(CommitterSettings::default()).await;
    let tickets = [("later", Urgency::Later), ("fact", Urgency::Now), ("decision", by(1_000))]
        .map(|(name, urgency)| queued.submit(name, urgency).unwrap());
    queued.submit("stays", Urgency::Later);
    assert!(tickets.iter().all(|ticket| queued.committer.withdraw(*ticket)));
    assert!(!queued.committer.withdraw(tickets[0]), "twice");
    assert_eq!(queued.written().await, ["stays"]);
    assert!(queued.told().iter().all(|(_, outcome)| is_durable(*outcome)));
}

#[tokio::test(start_paused = true)]
async fn the_expected_wait_follows_what_was_measured_and_what_is_queued() {
    let queued = Queued::with(CommitterSettings::default()).await;
    queued.journal.slow_down(Pace { batch: Duration::ZERO, append: Duration::from_millis(5) });
    queued.gate.open();
    queued.committer.flush().await;
    for n in 0..10 {
        queued.submit(&format!("measured{n}"), Urgency::Now);
        queued.committer.flush().await;
    }
    let gate = queued.journal.hold_next();
    queued.submit("on_its_way", Urgency::Now);
    gate.arrived().await;
    assert_eq!(queued.committer.expected_wait(by(1_000)), Duration::ZERO, "none of its kind waits");
    for n in 0..100 {
        queued.submit(&format!("d{n}"), by(1_000));
        queued.submit(&format!("l{n}"), Urgency::Later);
    }
    let wait = queued.committer.expected_wait(by(1_000));
    assert!((Duration::from_millis(450)..Duration::from_millis(550)).contains(&wait), "{wait:?}");
    // A commit that is overdue is expected to take as long again.
    tokio::time::advance(Duration::from_secs(2)).await;
    let wait = queued.committer.expected_wait(by(1_000));
    assert!(wait > Duration::from_secs(2), "{wait:?}");
    assert!(queued.committer.backlog().oldest >= Duration::from_secs(2));
}
