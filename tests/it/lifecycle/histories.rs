//! Random histories of one card. After every step the books agree with an account that was kept apart from them, and
//! every decision with a recount of everything that happened before it.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tollgate::{
    domain::{
        AuthorizationRequest, Card, CardPolicy, Decision, Event, Interval, Limit, Measure, Outcome,
        Timestamp, decide,
    },
    journal::record,
};

use super::{
    recount, windows,
    world::{Climate, World},
};

/// How many steps are taken in all, shared out among the properties of this file.
fn steps() -> usize {
    #[allow(clippy::disallowed_methods, reason = "the size of a test run is not a setting of the engine")]
    let asked = std::env::var("TOLLGATE_TEST_STEPS");
    asked.map_or(12_000, |text| text.parse().expect("TOLLGATE_TEST_STEPS is a number of steps"))
}

const STEPS_EACH: usize = 60;

/// Fewer show too little of what can happen.
const WORLDS_MIN: usize = 50;

/// Runs a world for each seed. The seed stands in the message of every failure.
fn worlds(mut run: impl FnMut(u64)) {
    let count = u64::try_from((steps() / STEPS_EACH).max(WORLDS_MIN)).unwrap();
    (0..count).for_each(|seed| {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        if let Err(cause) = told {
            eprintln!("the world that broke has the seed {seed}");
            std::panic::resume_unwind(cause);
        }
    });
}

struct Run {
    world: World,
    card: Card,
    policy: Arc<CardPolicy>,
    booked: usize,
}

impl Run {
    fn new(seed: u64, is_forced: bool) -> Self {
        let mut random = Rng::with_seed(!seed);
        let policy = windows::policy(&mut random);
        let pauses = [Duration::from_secs(30), Duration::from_hours(3), Duration::from_hours(60)];
        let climate = Climate { is_forced, pause_max: pauses[random.usize(0..pauses.len())] };
        let world = World::new(seed, windows::start(&mut random), climate);
        let mut run = Self { card: Card::default(), booked: 0, world, policy };
        run.card = run.adopted(Card::default(), run.world.now);
        run
    }

    fn adopted(&self, mut card: Card, now: Timestamp) -> Card {
        let windows = self.policy.controls.spending_limits.iter().map(|limit| &limit.window);
        card.adopt(windows, self.policy.refunds_restore, now).unwrap();
        card
    }

    /// One question with its answer, or one thing that happens anyway.
    fn step(&mut self) {
        self.world.pause();
        if self.world.random.bool() {
            let (place, request) = self.world.question();
            self.book();
            let decision = decide(&self.card, &self.policy, &request);
            self.audit(place, &request, &decision);
            self.world.answered(place, request, decision);
        } else {
            self.world.happen();
        }
        self.book();
    }

    fn book(&mut self) {
        for event in &self.world.log[self.booked..] {
            self.card.apply(event);
        }
        self.booked = self.world.log.len();
    }

    /// Weighs a decision against a recount: nothing past a limit, and nothing declined that would have fitted.
    fn audit(&self, place: usize, request: &AuthorizationRequest, decision: &Decision) {
        let purchase = &self.world.purchases[place];
        let full = request.held_if_approved();
        let mut room = i64::MAX;
        for limit in &self.policy.controls.spending_limits {
            if !recount::is_counted(&limit.window, &purchase.merchant) {
                continue;
            }
            let used = self.used(limit, place, decision.at);
            match limit.window.measure {
                Measure::Amount(_) => room = room.min((limit.max - used).max(0)),
                Measure::Count if used >= limit.max && !purchase.counts() => room = -1,
                Measure::Count => {}
            }
            let told = decision.limits.iter().filter(|check| check.interval == limit.window.interval);
            assert!(
                told.into_iter().any(|check| (check.before, check.max) == (used, limit.max)),
                "{:?} holds {used}: {:?}",
                limit.window,
                decision.limits
            );
        }
        let least = request.cashback.max(1);
        let is_partial = request.is_amount_controllable && self.policy.partial_approvals && room >= least;
        let expected = match room {
            room if full <= room => (Outcome::Approved, full),
            room if is_partial => (Outcome::Partial, room),
            _ => (Outcome::Declined, 0),
        };
        assert_eq!((decision.outcome, decision.granted), expected, "{decision:?}");
    }

    fn used(&self, limit: &Limit, place: usize, now: Timestamp) -> i64 {
        if limit.window.interval != Interval::PerAuthorization {
            return recount::used(&self.world, &limit.window, self.policy.refunds_restore, now);
        }
        let uses = self.world.purchases[place].uses(false);
        match limit.window.measure {
            Measure::Amount(_) => uses.iter().map(|(_, amount, _)| amount).sum(),
            Measure::Count => uses.iter().map(|(.., count)| count).sum(),
        }
    }

    /// The books say what the account says.
    fn agree(&self, card: &Card, when: &str) {
        for purchase in &self.world.purchases {
            let Some(record) = card.authorizations.get(&purchase.id) else {
                assert_eq!(
                    (purchase.hold(), purchase.captured()),
                    (0, 0),
                    "{when}: {} is missing",
                    purchase.id
                );
                continue;
            };
            let told = (record.hold(), record.captured(), record.refunded(), record.status());
            let kept = (purchase.hold(), purchase.captured(), purchase.refunded(), purchase.status());
            assert_eq!(told, kept, "{when}: {purchase:#?}\n{record:#?}");
        }
        let open = self.world.purchases.iter().filter(|purchase| purchase.hold() > 0).count();
        assert_eq!(card.authorizations.open(), open, "{when}: open holds");
        self.sums_agree(card, when);
    }

    fn sums_agree(&self, card: &Card, when: &str) {
        for tally in &card.tallies {
            let used = recount::used(&self.world, &tally.window, self.policy.refunds_restore, card.time);
            assert_eq!(tally.used(card.time), used, "{when}: {:?}", tally.window);
        }
    }
}

#[test]
fn the_books_agree_with_an_account_kept_apart_after_every_step() {
    worlds(|seed| {
        let mut run = Run::new(seed, true);
        for step in 0..STEPS_EACH {
            run.step();
            run.agree(&run.card, &format!("after step {step}"));
        }
    });
}

#[test]
fn what_we_approved_never_passes_a_limit() {
    worlds(|seed| {
        let mut run = Run::new(seed, false);
        for _ in 0..STEPS_EACH {
            run.step();
            for limit in &run.policy.controls.spending_limits {
                let window = &limit.window;
                if window.interval != Interval::PerAuthorization {
                    let used = recount::used(&run.world, window, run.policy.refunds_restore, run.card.time);
                    assert!(used <= limit.max, "{used} of {} in {window:?}", limit.max);
                    continue;
                }
                for purchase in &run.world.purchases {
                    let held = purchase.hold() + purchase.captured();
                    let is_amount = matches!(window.measure, Measure::Amount(_));
                    let is_counted = recount::is_counted(window, &purchase.merchant);
                    assert!(!is_amount || !is_counted || held <= limit.max, "{held} of {}", limit.max);
                }
            }
        }
    });
}

#[test]
fn the_same_question_gets_the_same_answer() {
    worlds(|seed| {
        let mut run = Run::new(seed, true);
        (0..STEPS_EACH).for_each(|_| run.step());
        for event in &run.world.log {
            let Event::Decided(decided) = event else { continue };
            let expected = decided.decision.answer(decided.request.is_amount_controllable);
            let again = run.card.answer_to(&decided.request).map(|answered| answered.answer.clone());
            assert_eq!(again.as_ref(), Some(&expected), "asked again");
            let mut other_event = AuthorizationRequest::clone(&decided.request);
            other_event.event = super::facts::event(usize::MAX / 2);
            let again = run.card.answer_to(&other_event).map(|answered| answered.answer.clone());
            assert_eq!(again, Some(expected), "asked by another event");
        }
    });
}

#[test]
fn order_and_repetition_of_what_happened_do_not_matter() {
    worlds(|seed| {
        let mut run = Run::new(seed, true);
        (0..STEPS_EACH).for_each(|_| run.step());
        run.world.tell_all();
        run.book();
        run.agree(&run.card, "in order");
        let mut random = Rng::with_seed(seed);
        let is_ours = |event: &Event| matches!(event, Event::Decided(_));
        let mut answers = run.world.log.iter().filter(|event| is_ours(event));
        let mut shuffled = run.world.log.clone();
        shuffled.extend(run.world.log.iter().filter(|event| !is_ours(event) && random.bool()).cloned());
        random.shuffle(&mut shuffled);
        let mut card = run.adopted(Card::default(), Timestamp::default());
        for event in &shuffled {
            card.apply(if is_ours(event) { answers.next().unwrap() } else { event });
        }
        run.agree(&card, "shuffled");
        assert_eq!(card.held(), run.card.held());
    });
}

#[test]
fn a_released_hold_gives_its_window_back_to_the_cent() {
    worlds(|seed| {
        let mut run = Run::new(seed, true);
        (0..STEPS_EACH).for_each(|_| run.step());
        run.world.pause();
        let amounts = |card: &Card| -> Vec<i64> {
            let tallies = card.tallies.iter().filter(|tally| tally.window.measure != Measure::Count);
            tallies.map(|tally| tally.used(run.world.now)).collect()
        };
        let id = super::facts::authorization("released");
        let request = super::facts::question(usize::MAX / 3, &id, 12_345, run.world.now);
        let mut card = run.card.clone();
        let before = amounts(&card);
        let decision = super::facts::answer(&request, Some(12_345), tollgate::domain::Source::Policy);
        let merchant = request.merchant.clone();
        card.apply(&super::facts::decided(request, decision));
        let told = super::facts::Snapshot {
            amount: 0,
            approved: true,
            status: tollgate::domain::AuthorizationStatus::Reversed,
            history: vec![super::facts::entry(12_345, true, "webhook_approved", run.world.now)],
            transactions: 0,
            listed: Vec::new(),
        };
        let fact = super::facts::snapshot(&id, true, run.world.now, &told, &merchant);
        card.apply(&super::facts::observed(usize::MAX / 3 + 1, run.world.now, fact));
        assert_eq!(amounts(&card), before);
    });
}

#[test]
fn forgetting_changes_no_sum_and_a_new_window_is_right_or_says_that_it_cannot_be() {
    let mut refused = 0;
    let mut counted = 0;
    worlds(|seed| {
        let mut run = Run::new(seed, true);
        for step in 0..STEPS_EACH {
            run.step();
            if step % 10 == 9 {
                let now = run.card.time;
                let (held, totals) = (run.card.held(), run.card.totals());
                run.card.forget(now);
                run.sums_agree(&run.card, "after forgetting");
                assert_eq!(run.card.held(), held, "nothing that is held is forgotten");
                assert_eq!(run.card.totals(), totals, "what is let go has been counted");
                // What was let go comes back from the journal before it is spoken of again.
                let other = windows::policy(&mut run.world.random);
                let mut card = run.card.clone();
                let windows = other.controls.spending_limits.iter().map(|limit| &limit.window);
                if card.adopt(windows, run.policy.refunds_restore, now).is_ok() {
                    counted += 1;
                    run.sums_agree(&card, "a new window");
                } else {
                    refused += 1;
                    assert_eq!(card, run.card, "unchanged when refused");
                }
                run.recall();
                assert_eq!(run.card.totals(), totals, "what comes back is counted once");
            }
        }
    });
    assert!(refused > 10 && counted > 10, "both happen: {refused} refused, {counted} counted");
}

impl Run {
    /// Takes back everything that was let go, as the journal has it.
    fn recall(&mut self) {
        let mut whole = Card::default();
        self.world.log.iter().for_each(|event| whole.apply(event));
        let authorizations = whole.authorizations.iter().map(|(id, one)| (id.clone(), one.clone())).collect();
        let unlinked = whole.unlinked.into_iter().collect();
        let all = tollgate::domain::Recalled { authorizations, unlinked };
        if let Some(lacking) = self.card.lacking(all) {
            self.card.apply(&Event::Recalled(Box::new(lacking)));
        }
    }
}

#[test]
fn the_fold_of_the_journal_is_the_live_state() {
    worlds(|seed| {
        let mut run = Run::new(seed, true);
        let mut bodies: Vec<String> = Vec::new();
        let mut since = 0;
        for step in 0..STEPS_EACH {
            run.step();
            let mut events = run.world.log[since..].to_vec();
            since = run.world.log.len();
            if step == STEPS_EACH / 2 {
                events.push(Event::Snapshot(Box::new(run.card.clone())));
            }
            let body = record::encode(&events);
            assert_eq!(record::decode(&body).unwrap(), events);
            bodies.push(body);
        }
        let fold = |from: usize| {
            let mut card = run.adopted(Card::default(), Timestamp::default());
            for body in &bodies[from..] {
                record::decode(body).unwrap().iter().for_each(|event| card.apply(event));
            }
            card
        };
        assert_eq!(fold(0), run.card, "from the beginning");
        let tail = fold(STEPS_EACH / 2);
        assert_eq!(tail, run.card, "from the snapshot");
    });
}
