//! Cards in memory: exact under concurrency, durable before known, one answer to one question, in time.

mod askers;
mod budgets;
mod cardholders;
mod decisions;
mod evicted;
mod holds;
mod overload;
mod peers;
mod replacement;
mod room;
mod standing_in;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};
use tollgate::{
    actors::{Cause, Directory, Parts, Settings, StandIn, StandInRule, Undecided},
    clock,
    domain::{Account, Answer, AuthorizationRequest, EventId, Outcome, Policy, Reason, Source},
    journal::{Committer, CommitterSettings, Fault, Faulty, Journal, Memory, Odds, Reach, Scan as _, Script},
    metrics::Metrics,
    replay,
    trial::Trials,
};

use crate::questions::{arrival, card, policy, question, told};

const SOON: Duration = Duration::from_secs(20);

/// A directory on a journal, with hands on all that a test may want to change.
struct House {
    directory: Directory,
    policy: watch::Sender<Arc<Policy>>,
    journal: Arc<Faulty>,
    metrics: Arc<Metrics>,
}

impl House {
    fn new(settings: Settings, limits: &[(&str, i64)], script: Script) -> Self {
        Self::on(Arc::new(Memory::new()), settings, limits, script)
    }

    fn on(inner: Arc<dyn Journal>, settings: Settings, limits: &[(&str, i64)], script: Script) -> Self {
        let journal = Arc::new(Faulty::new(inner, script));
        let (policy, in_force) = watch::channel(policy("test", limits));
        let shared: Arc<dyn Journal> = journal.clone();
        let told = |_: usize, _: Duration| {};
        let metrics = Arc::new(Metrics::new(&tollgate::http::vocabulary()));
        let parts = Parts {
            committer: Arc::new(Committer::new(
                Arc::clone(&shared),
                CommitterSettings::default(),
                Arc::new(told),
            )),
            trials: Trials::default(),
            journal: shared,
            policy: in_force,
            metrics: Arc::clone(&metrics),
        };
        let directory = Directory::new(settings, parts);
        tokio::spawn(directory.clone().sweep());
        Self { directory, policy, journal, metrics }
    }

    async fn ask(&self, name: &str, amount: i64) -> Answer {
        self.directory.ask(question("one", name, amount), arrival(SOON)).await.answer
    }

    /// The stand-in's answer to this request, or the one that is known.
    fn stand_in(&self, request: AuthorizationRequest, cause: Cause) -> Answer {
        self.directory.stand_in(&undecided(request, cause)).answer
    }

    /// How many snapshots of the card are in the journal.
    async fn snapshots(&self) -> usize {
        let entries = self.journal.load(&Account::from(&card("one")), Reach::Genesis).await.unwrap();
        entries.iter().filter(|entry| entry.is_snapshot).count()
    }

    /// Decides the journal again: each answer of a policy comes out as it is recorded.
    async fn repeats(&self, at_least: u64) {
        let policy = Arc::clone(&self.policy.borrow());
        let verified =
            replay::replay(&*self.journal, replay::Pass::new([policy]), None, |_| {}).await.unwrap().verified;
        assert!(verified.is_equal() && verified.requests >= at_least, "{verified:?}");
    }

    /// What the books say is used of the first limit.
    async fn used(&self) -> i64 {
        let view = self.directory.card(&card("one"), clock::now()).await.unwrap().unwrap();
        view.limits[0].used
    }
}

fn undecided(request: AuthorizationRequest, cause: Cause) -> Undecided {
    Undecided { request: Arc::new(request), cause, is_declined: false }
}

fn roomy() -> Settings {
    Settings { card_queue_max: 10_000, ..Settings::default() }
}

/// Asks so many questions at once, and gives the answers in order.
async fn ask_at_once(house: &House, asked: usize, amount: i64) -> Vec<Answer> {
    let mut answers = JoinSet::new();
    for name in 0..asked {
        let directory = house.directory.clone();
        answers.spawn(async move {
            let request = question("one", &format!("{name:04}"), amount);
            (name, directory.ask(request, arrival(SOON)).await.answer)
        });
    }
    let mut answers = answers.join_all().await;
    answers.sort_by_key(|(name, _)| *name);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn approved(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.outcome == Outcome::Approved).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_questions_are_approved_exactly_up_to_the_limit() {
    for (limit, amount) in [(50_000, 1_000), (50_000, 777), (999, 1_000), (i64::MAX, 1)] {
        let house = House::new(roomy(), &[("all_time", limit)], Script::default());
        let answers = ask_at_once(&house, 200, amount).await;
        let fit = usize::try_from(limit / amount).unwrap().min(200);
        assert_eq!(approved(&answers), fit, "limit {limit}, amount {amount}");
        if fit > 0 {
            assert_eq!(house.used().await, i64::try_from(fit).unwrap() * amount);
        }
        house.repeats(200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_card_with_very_many_open_holds_is_answered_and_remembered_without_a_snapshot() {
    let settings = Settings {
        card_queue_max: 20_000,
        card_idle_after: Duration::from_millis(500),
        snapshot_bytes_max: 64 * 1024,
        ..Settings::default()
    };
    let house = House::new(settings, &[("all_time", i64::MAX)], Script::default());
    let answers = ask_at_once(&house, 2_000, 1).await;
    assert_eq!(approved(&answers), 2_000);
    let before = house.snapshots().await;
    // A snapshot is long overdue, and the card leaves memory: still none is written.
    for name in 0..200 {
        assert_eq!(house.ask(&format!("more-{name}"), 1).await.outcome, Outcome::Approved);
    }
    while house.directory.resident() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.snapshots().await, before);
    assert_eq!(house.used().await, 2_200);
    assert_eq!(house.ask("0000", 1).await, answers[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_card_whose_very_many_authorizations_are_closed_gets_a_snapshot_again() {
    const MANY: usize = 2_500;
    let settings = Settings { card_queue_max: 20_000, snapshot_bytes_max: 700 * 1024, ..Settings::default() };
    let house = House::new(settings, &[("all_time", i64::MAX)], Script::default());
    assert_eq!(approved(&ask_at_once(&house, MANY, 1).await), MANY);
    let mut closed = JoinSet::new();
    for name in 0..MANY {
        let directory = house.directory.clone();
        closed.spawn(async move {
            let fact = told("one", &format!("{name:04}"), 1, false, "webhook_declined");
            directory.book(fact, arrival(SOON)).await.unwrap();
        });
    }
    closed.join_all().await;
    let before = house.snapshots().await;
    for name in 0..130 {
        house.ask(&format!("more-{name}"), 1).await;
    }
    assert!(house.snapshots().await > before, "{before} snapshots before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_card_in_memory_needs_nothing_of_the_journal_to_be_read() {
    let house = House::new(roomy(), &[("all_time", 50_000)], Script::default());
    let mut answers = Vec::new();
    for round in 0..10 {
        let mut asked = JoinSet::new();
        for name in 0..20 {
            let directory = house.directory.clone();
            asked.spawn(async move {
                let request = question("one", &format!("{round}-{name}"), 1_000);
                directory.ask(request, arrival(SOON)).await.answer
            });
        }
        answers.extend(asked.join_all().await);
        assert_eq!(house.directory.resident(), 1);
        // Nothing is read for a card that is in memory: a journal that cannot be read does not matter.
        house.journal.fail_loads(usize::MAX);
    }
    assert_eq!(approved(&answers), 50);
    house.journal.fail_loads(0);
    assert_eq!(house.used().await, 50_000);
    // The same question gets the same answer, whenever it is asked.
    let answer = house.ask("0-0", 1_000).await;
    assert!(answers.contains(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_idle_card_leaves_memory_behind_a_snapshot() {
    let settings = Settings { card_idle_after: Duration::from_millis(200), ..roomy() };
    let house = House::new(settings, &[("all_time", 50_000)], Script::default());
    for name in ["first", "second"] {
        let answer = house.ask(name, 1_000).await;
        assert_eq!(answer.outcome, Outcome::Approved);
        while house.directory.resident() > 0 {
            tokio::task::yield_now().await;
        }
        let from_snapshot = house.journal.load(&Account::from(&card("one")), Reach::Snapshot).await.unwrap();
        assert_eq!(from_snapshot.iter().map(|entry| entry.is_snapshot).collect::<Vec<_>>(), [true]);
    }
    assert_eq!(house.used().await, 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_is_exact_while_cards_come_and_go_and_other_nodes_interfere() {
    for seed in 0..8 {
        eprintln!("seed {seed}");
        let odds =
            Odds { rejected: 0, overtaken: 15, lost_before: 10, lost_after: 10, half_lost: 5, unreadable: 0 };
        let settings = Settings { card_idle_after: Duration::from_millis(2), ..roomy() };
        let house = House::new(settings, &[("all_time", 50_000)], Script::seeded(seed, odds));
        let mut answers = Vec::new();
        for round in 0..10 {
            let mut asked = JoinSet::new();
            for name in 0..20 {
                let directory = house.directory.clone();
                asked.spawn(async move {
                    let request = question("one", &format!("{round}-{name}"), 1_000);
                    directory.ask(request, arrival(SOON)).await.answer
                });
            }
            answers.extend(asked.join_all().await);
            // The card leaves memory between the rounds.
            while house.directory.resident() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(house.holds_open(), 0, "seed {seed}: open holds without a card in memory");
        }
        let by_policy: Vec<Answer> =
            answers.iter().filter(|answer| answer.source == Source::Policy).cloned().collect();
        let stood_in = answers.len() - by_policy.len();
        assert!(approved(&by_policy) <= 50, "seed {seed}: {} approved", approved(&by_policy));
        if stood_in == 0 {
            assert_eq!(approved(&by_policy), 50, "seed {seed}");
        }
        house.journal.heal();
        assert_eq!(house.used().await, i64::try_from(approved(&by_policy)).unwrap() * 1_000, "seed {seed}");
    }
}

#[tokio::test]
async fn questions_ride_together_and_are_answered_when_their_own_entry_is_durable() {
    let house = House::new(roomy(), &[("all_time", 2_500)], Script::default());
    let gate = house.journal.hold_next();
    let first = tokio::spawn({
        let directory = house.directory.clone();
        async move { directory.ask(question("one", "a", 1_000), arrival(SOON)).await.answer }
    });
    gate.arrived().await;
    let behind = house.journal.hold_next();
    let mut later = JoinSet::new();
    for name in ["b", "c"] {
        let directory = house.directory.clone();
        later.spawn(async move { directory.ask(question("one", name, 1_000), arrival(SOON)).await.answer });
    }
    // A duplicate of a question that is decided and not durable waits with it.
    let duplicate = tokio::spawn({
        let directory = house.directory.clone();
        async move { directory.ask(question("one", "a", 1_000), arrival(SOON)).await.answer }
    });
    assert!(!first.is_finished());
    gate.open();
    let first = first.await.unwrap();
    assert_eq!(first, duplicate.await.unwrap());
    behind.arrived().await;
    assert!(later.try_join_next().is_none(), "their own entry is not durable yet");
    behind.open();
    let later = later.join_all().await;
    assert_eq!(approved(&later), 1, "one of the two still fits");
    let entries = house.journal.scan(0, 10).await.unwrap();
    assert_eq!(entries.len(), 2, "b and c went down in one entry");
}

#[tokio::test]
async fn an_entry_that_turns_durable_after_the_stand_in_answered_is_void() {
    let house = House::new(roomy(), &[("all_time", 50_000)], Script::default());
    let gate = house.journal.hold_next();
    let late = tokio::spawn({
        let directory = house.directory.clone();
        async move {
            directory.ask(question("one", "late", 1_000), arrival(Duration::from_millis(30))).await.answer
        }
    });
    gate.arrived().await;
    let late = late.await.unwrap();
    assert_eq!((late.outcome, late.reason), (Outcome::Declined, Reason::StandInDeadline));
    gate.open();
    assert_eq!(house.ask("next", 1_000).await.outcome, Outcome::Approved);
    assert_eq!(house.used().await, 1_000, "the late approval holds nothing");
    assert_eq!(house.ask("late", 1_000).await, late, "the same question, the same answer");
    let id = question("one", "late", 0).authorization;
    let view = house.directory.authorization(&id).await.unwrap().unwrap();
    assert_eq!(view.decisions.len(), 1);
    assert_eq!(view.decisions[0].decided.decision.source, Source::StandIn);
    assert_eq!(view.record.hold(), 0);
}

#[tokio::test]
async fn a_stand_in_approval_is_booked_and_counts() {
    let stand_in = StandIn {
        deadline: StandInRule::Approve { amount_max: 5_000, approvals_max: 3 },
        ..StandIn::default()
    };
    let house = House::new(Settings { stand_in, ..roomy() }, &[("all_time", 10_000)], Script::default());
    let gate = house.journal.hold_next();
    let late = tokio::spawn({
        let directory = house.directory.clone();
        async move {
            directory.ask(question("one", "late", 4_000), arrival(Duration::from_millis(30))).await.answer
        }
    });
    gate.arrived().await;
    let late = late.await.unwrap();
    assert_eq!((late.outcome, late.source), (Outcome::Approved, Source::StandIn));
    gate.open();
    assert_eq!(house.ask("next", 7_000).await.outcome, Outcome::Declined, "6,000 are left");
    assert_eq!(house.ask("last", 6_000).await.outcome, Outcome::Approved);
    let view =
        house.directory.authorization(&question("one", "late", 0).authorization).await.unwrap().unwrap();
    assert_eq!((view.record.hold(), view.record.overrun()), (4_000, 4_000));
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once_and_the_refusal_is_the_answer() {
    let settings = Settings { card_queue_max: 3, ..Settings::default() };
    let house = House::new(settings, &[("all_time", 50_000)], Script::default());
    house.journal.fail_loads(0);
    let answers = ask_at_once(&house, 40, 100).await;
    let shed: Vec<usize> = (0..40).filter(|name| answers[*name].reason == Reason::StandInOverload).collect();
    assert!(!shed.is_empty() && shed.len() <= 37, "{} of 40 were refused", shed.len());
    for name in shed {
        assert_eq!(house.ask(&format!("{name:04}"), 100).await, answers[name], "asked again");
    }
}

#[tokio::test]
async fn what_the_journal_rejects_is_answered_by_the_stand_in_and_forgotten() {
    let house = House::new(roomy(), &[("all_time", 1_000)], Script::of([Fault::Rejected]));
    let refused = house.ask("full-disk", 1_000).await;
    assert_eq!((refused.outcome, refused.reason), (Outcome::Declined, Reason::StandInJournal));
    assert_eq!(house.ask("afterwards", 1_000).await.outcome, Outcome::Approved);
    assert_eq!(house.used().await, 1_000);
    assert_eq!(house.ask("full-disk", 1_000).await, refused);
}

#[tokio::test]
async fn a_card_whose_books_cannot_be_read_is_answered_by_the_stand_in_until_they_can() {
    let house = House::new(roomy(), &[("all_time", 1_000)], Script::default());
    house.journal.fail_loads(1);
    assert_eq!(house.ask("unread", 1_000).await.reason, Reason::StandInJournal);
    assert_eq!(house.ask("read", 1_000).await.outcome, Outcome::Approved);
}

#[tokio::test]
async fn answers_stay_the_same_after_the_card_has_left_memory() {
    let settings = Settings { card_idle_after: Duration::from_millis(2), ..roomy() };
    let house = House::new(settings, &[("all_time", 5_000)], Script::default());
    let before = ask_at_once(&house, 20, 700).await;
    while house.directory.resident() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask_at_once(&house, 20, 700).await, before);
    assert_eq!(house.used().await, 4_900);
}

#[tokio::test]
async fn answers_stay_the_same_long_after_they_were_let_go() {
    let house = House::new(roomy(), &[("all_time", 100)], Script::default());
    // Declines settle at once; far more of them than are kept.
    let first = house.ask("first", 200).await;
    for round in 0..40 {
        let mut asked = JoinSet::new();
        for name in 0..64 {
            let directory = house.directory.clone();
            let request = question("one", &format!("{round}-{name}"), 200);
            asked.spawn(async move { directory.ask(request, arrival(SOON)).await.answer });
        }
        assert_eq!(approved(&asked.join_all().await), 0);
        for entry in 0..4 {
            house.ask(&format!("{round}-entry-{entry}"), 200).await;
        }
    }
    let entries = house.journal.scan(0, 10_000).await.unwrap();
    assert!(entries.iter().any(|entry| entry.is_snapshot), "nothing was let go");
    assert_eq!(house.ask("first", 200).await, first);
    house.ask("behind-it", 200).await;
    let again = house.journal.scan(0, 10_000).await.unwrap();
    assert!(again.iter().any(|entry| entry.body.contains("recalled")), "it was looked up in the journal");
    house.repeats(2_000).await;
}

#[tokio::test]
async fn a_stand_ins_answer_about_an_authorization_that_was_let_go_is_booked_with_it() {
    let stand_in = StandIn {
        deadline: StandInRule::Approve { amount_max: 5_000, approvals_max: 3 },
        ..StandIn::default()
    };
    let house = House::new(Settings { stand_in, ..roomy() }, &[("all_time", 1_000)], Script::default());
    // Declines settle at once; far more of them than are kept.
    for entry in 0..1_200 {
        house.ask(&format!("{entry:04}"), 2_000).await;
    }
    let event = EventId::new("evt_increment").unwrap();
    let increment = AuthorizationRequest { event, history_entries: 1, ..question("one", "0000", 300) };
    let gate = house.journal.hold_next();
    let held = tokio::spawn({
        let directory = house.directory.clone();
        async move { directory.ask(question("one", "held", 100), arrival(SOON)).await }
    });
    gate.arrived().await;
    let late = house.directory.ask(increment.clone(), arrival(Duration::from_millis(30))).await.answer;
    assert_eq!((late.outcome, late.source), (Outcome::Approved, Source::StandIn));
    gate.open();
    assert_eq!(held.await.unwrap().answer.outcome, Outcome::Approved);
    assert_eq!(
        house.directory.ask(increment, arrival(SOON)).await.answer,
        late,
        "the same question, the same answer"
    );
    assert_eq!(house.used().await, 400);
    let view =
        house.directory.authorization(&question("one", "0000", 0).authorization).await.unwrap().unwrap();
    assert_eq!((view.decisions.len(), view.record.hold()), (2, 300));
}

#[tokio::test]
async fn a_new_limit_counts_what_was_spent_before_it_was_made() {
    let house = House::new(roomy(), &[("per_authorization", 1_000)], Script::default());
    for name in 0..5 {
        assert_eq!(house.ask(&format!("before-{name}"), 1_000).await.outcome, Outcome::Approved);
    }
    house.policy.send_replace(policy("tighter", &[("rolling(24h)", 5_500)]));
    let answer = house.ask("after", 1_000).await;
    assert_eq!((answer.outcome, answer.reason), (Outcome::Declined, Reason::SpendingLimit));
    assert_eq!(house.used().await, 5_000);
    assert_eq!(house.ask("smaller", 500).await.outcome, Outcome::Approved);
}

/// `issuing_authorization.created` may overtake the request that it tells of: what it holds is this question's own.
#[tokio::test]
async fn a_question_that_stripe_has_decided_already_counts_once() {
    for reason in ["webhook_approved", "webhook_timeout"] {
        let limits = [("all_time", 1_000), ("per_authorization", 1_000), ("rolling(1h)", 1_000)];
        let house = House::new(roomy(), &limits, Script::default());
        house.directory.book(told("one", "overtaken", 1_000, true, reason), arrival(SOON)).await.unwrap();
        assert_eq!(house.used().await, 1_000);
        let answer = house.ask("overtaken", 1_000).await;
        assert_eq!((answer.outcome, answer.source), (Outcome::Approved, Source::Policy), "{reason}");
        assert_eq!(house.used().await, 1_000);
        let view = house.directory.authorization(&question("one", "overtaken", 0).authorization).await;
        let view = view.unwrap().unwrap();
        assert_eq!((view.record.hold(), view.record.overrun()), (1_000, 0), "{reason}");
        let told = &view.decisions[0].decided.decision.limits;
        assert!(told.iter().all(|check| (check.before, check.after) == (0, 1_000)), "{told:?}");
        // The next purchase finds it counted.
        assert_eq!(house.ask("next", 1).await.outcome, Outcome::Declined);
    }
}

#[tokio::test]
async fn what_stripe_did_is_adopted_counted_and_shown_beside_what_we_said() {
    let house = House::new(roomy(), &[("all_time", 1_000)], Script::default());
    assert_eq!(house.ask("agreed", 600).await.outcome, Outcome::Approved);
    assert_eq!(house.ask("overruled", 600).await.outcome, Outcome::Declined);
    for observation in [
        told("one", "agreed", 600, true, "webhook_approved"),
        told("one", "overruled", 600, true, "webhook_timeout"),
        told("one", "unasked", 300, true, "network_stip"),
    ] {
        house.directory.book(observation, arrival(SOON)).await.unwrap();
    }
    assert_eq!(house.used().await, 1_500, "what Stripe holds counts, also above the limit");
    assert_eq!(house.ask("afterwards", 1).await.outcome, Outcome::Declined);
    let overruled = question("one", "overruled", 0).authorization;
    let view = house.directory.authorization(&overruled).await.unwrap().unwrap();
    assert_eq!((view.record.hold(), view.record.overrun()), (600, 600));
    let outcomes: Vec<_> = view.record.outcomes().map(|one| (one.agrees(), one.is_forced())).collect();
    assert_eq!(outcomes, [(Some(false), true)]);
    let rendered = house.metrics.render();
    for line in [
        r#"tollgate_stripe_outcomes_total{reason="webhook_approved",agrees="true"} 1"#,
        r#"tollgate_stripe_outcomes_total{reason="webhook_timeout",agrees="false"} 1"#,
        r#"tollgate_stripe_outcomes_total{reason="network_fallback",agrees="unasked"} 1"#,
    ] {
        assert!(rendered.contains(line), "no {line} in\n{rendered}");
    }
}

#[tokio::test]
async fn an_answer_that_stripe_never_speaks_of_shows_up_and_is_remembered_over_a_restart() {
    let settings = || Settings { unconfirmed_after: Duration::ZERO, ..roomy() };
    let journal: Arc<dyn Journal> = Arc::new(Memory::new());
    let house = House::on(Arc::clone(&journal), settings(), &[("all_time", 1_000)], Script::default());
    for name in ["heard", "unheard"] {
        house.ask(name, 100).await;
    }
    house.directory.book(told("one", "heard", 100, true, "webhook_approved"), arrival(SOON)).await.unwrap();
    let names = |house: &House| {
        let waiting = house.directory.unconfirmed(clock::now());
        waiting.iter().map(|one| one.authorization.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&house), ["iauth_unheard"]);
    let restarted = House::on(journal, settings(), &[("all_time", 1_000)], Script::default());
    assert_eq!(names(&restarted), Vec::<String>::new());
    restarted.directory.clone().look_back().await;
    assert_eq!(names(&restarted), ["iauth_unheard"]);
}
