//! Real orders of events around one card, each told as a few calls. Limits are a thousand a day unless a story says
//! otherwise. After every decision each window holds what the decision said it would.

use std::{sync::Arc, time::Duration};

use tollgate::domain::{
    AuthorizationRequest, AuthorizationStatus, Card, CardPolicy, Category, Decision, Event, Fact,
    HistoryEntry, Interval, Limit, ListedTransaction, Measure, Money, Outcome, Overrides, Policy,
    PolicyVersion, Recalled, Timestamp, TransactionKind, Window, Zone, decide,
};

use super::facts::{self, Snapshot};

struct Scene {
    card: Card,
    policy: Arc<CardPolicy>,
    now: Timestamp,
    events: usize,
}

/// What a snapshot tells, as a story needs it.
#[derive(Clone)]
struct Tells {
    amount: i64,
    status: AuthorizationStatus,
    approved: bool,
    /// Amount, approved, hours before now.
    history: Vec<(i64, bool, u64)>,
    listed: Vec<(&'static str, TransactionKind, i64)>,
}

use AuthorizationStatus::{Closed, Expired, Pending, Reversed};
use TransactionKind::{Capture, Refund};

fn tells(amount: i64, status: AuthorizationStatus, history: &[i64]) -> Tells {
    let history = history.iter().map(|amount| (*amount, true, 0)).collect();
    Tells { amount, status, approved: true, history, listed: Vec::new() }
}

fn limits(text: &str) -> Vec<Limit> {
    let limit = |text: &str| {
        let (height, rest) = text.trim().split_once(' ').unwrap();
        let (interval, category) = rest.split_once(" for ").map_or((rest, None), |(i, c)| (i, Some(c)));
        let (max, measure) = match height.strip_suffix('x') {
            Some(count) => (count.parse().unwrap(), Measure::Count),
            None => (height.parse().unwrap(), Measure::Amount(None)),
        };
        let categories = category.map(|name| [Category::named(name).unwrap()].into());
        let interval = Interval::parse(interval).unwrap();
        Limit {
            max,
            window: Arc::new(Window {
                measure,
                interval,
                time_zone: Zone::UTC,
                categories,
                merchants: None,
                occurrence: tollgate::domain::Occurrence::Approval,
            }),
        }
    };
    text.split(',').map(limit).collect()
}

impl Scene {
    fn new(text: &str) -> Self {
        Self::with(text, false)
    }

    fn with(text: &str, refunds_restore: bool) -> Self {
        let default = Overrides {
            spending_limits: Some(limits(text)),
            refunds_restore: Some(refunds_restore),
            ..Overrides::default()
        };
        let (groups, cards) = Default::default();
        let policy = Policy::new(PolicyVersion::new("orders"), &default, &groups, cards).for_card(None, None);
        let now = facts::at("2026-11-22T12:00:00Z");
        let mut card = Card::default();
        let windows = policy.controls.spending_limits.iter().map(|limit| &limit.window);
        card.adopt(windows, refunds_restore, now).unwrap();
        Self { card, policy, now, events: 0 }
    }

    fn used(&self) -> Vec<i64> {
        self.card.tallies.iter().map(|tally| tally.used(self.card.time)).collect()
    }

    fn next_day(&mut self) {
        self.now = self.now.plus(Duration::from_hours(24));
    }

    fn step(&mut self) -> usize {
        self.now = self.now.plus(Duration::from_secs(2));
        self.events += 1;
        self.events
    }

    fn request(&mut self, name: &str, amount: i64) -> AuthorizationRequest {
        let number = self.step();
        let mut request = facts::question(number, &facts::authorization(name), amount, self.now);
        request.told.at = Timestamp::from_seconds(self.now.as_seconds());
        request
    }

    /// A request with what it embeds: the decided requests before it, and what is in force.
    fn ask_with(
        &mut self,
        name: &str,
        amount: i64,
        change: impl FnOnce(&mut AuthorizationRequest),
    ) -> Decision {
        let mut request = self.request(name, amount);
        change(&mut request);
        let decision = decide(&self.card, &self.policy, &request);
        self.card.apply(&facts::decided(request.clone(), decision.clone()));
        let counted: Vec<i64> = self
            .card
            .tallies
            .iter()
            .filter(|tally| {
                tally.window.admits(&request.merchant, request.card_currency, request.card_currency)
            })
            .map(|tally| tally.used(self.card.time))
            .collect();
        let told = decision.limits.iter().filter(|check| check.interval != Interval::PerAuthorization);
        let told: Vec<i64> = told
            .map(|check| match (decision.outcome, check.measure) {
                (Outcome::Partial, Measure::Amount(_)) => check.before + decision.granted,
                (Outcome::Approved, _) | (Outcome::Partial, Measure::Count) => check.after,
                (Outcome::Declined, _) => check.before,
            })
            .collect();
        assert_eq!(counted, told, "each window holds what the decision said: {decision:?}");
        decision
    }

    fn ask(&mut self, name: &str, amount: i64) -> Outcome {
        self.ask_with(name, amount, |_| {}).outcome
    }

    /// More on an authorization of which so many requests were decided, with so much in force.
    fn more(&mut self, name: &str, amount: i64, history: u32, before: i64) -> Outcome {
        let increment =
            |r: &mut AuthorizationRequest| (r.history_entries, r.approved_before) = (history, before);
        self.ask_with(name, amount, increment).outcome
    }

    fn seen(&mut self, name: &str, told: &Tells) {
        let number = self.step();
        let (id, now) = (facts::authorization(name), self.now);
        let entry = |(amount, approved, hours): &(i64, bool, u64)| HistoryEntry {
            ..facts::entry(*amount, *approved, "webhook_approved", now.minus(Duration::from_hours(*hours)))
        };
        let listed = told.listed.iter().map(|(id, kind, amount)| ListedTransaction {
            id: facts::transaction(id),
            kind: *kind,
            amount: *amount,
            created: Timestamp::from_seconds(now.as_seconds()),
        });
        let listed: Vec<_> = listed.collect();
        let snapshot = Snapshot {
            amount: told.amount,
            approved: told.approved,
            status: told.status,
            history: told.history.iter().map(entry).collect(),
            transactions: u32::try_from(listed.len()).unwrap(),
            listed,
        };
        let merchant = facts::merchant("fast_food_restaurants", None);
        let fact = facts::snapshot(&id, true, now, &snapshot, &merchant);
        self.card.apply(&facts::observed(number, now, fact));
    }

    fn settled(
        &mut self,
        id: &str,
        is_update: bool,
        (kind, amount): (TransactionKind, i64),
        authorization: Option<&str>,
    ) -> Event {
        let number = self.step();
        let authorization = authorization.map(facts::authorization);
        let merchant = facts::merchant("fast_food_restaurants", None);
        let (id, now) = (facts::transaction(id), self.now);
        let fact = facts::settled(&id, is_update, now, (kind, amount), authorization.as_ref(), &merchant);
        let event = facts::observed(number, now, fact);
        self.card.apply(&event);
        event
    }
}

#[test]
fn listed_transactions_are_money_whether_or_not_their_own_events_come() {
    for (status, captured) in [(Closed, 1_000), (Reversed, 400), (Expired, 400), (Pending, 400)] {
        let mut scene = Scene::new("1000 daily");
        assert_eq!(scene.ask("a", 1_000), Outcome::Approved);
        let listed = Tells { listed: vec![("1", Capture, -captured)], ..tells(1_000, status, &[1_000]) };
        scene.seen("a", &listed);
        let held = if status == Pending { 600 } else { 0 };
        assert_eq!((scene.used(), scene.card.held()), (vec![captured + held], held), "{status}");
        assert_eq!(scene.ask("b", 1_001 - captured - held), Outcome::Declined, "{status}");
        // Its own event comes after all, twice, and a snapshot lists it again.
        scene.settled("1", false, (Capture, -captured), Some("a"));
        scene.settled("1", false, (Capture, -captured), Some("a"));
        scene.seen("a", &listed);
        assert_eq!(scene.used(), [captured + held], "{status}");
        // Or says that it belongs elsewhere.
        for place in [Some("other"), None] {
            scene.settled("1", true, (Capture, -captured), place);
            scene.seen("a", &listed);
            let in_force = if status == Pending { 1_000 } else { 0 };
            assert_eq!(scene.used(), [captured + in_force], "{status}: {place:?}");
            assert_eq!(scene.card.totals().captured, captured);
        }
    }
}

#[test]
fn a_transactions_own_first_event_takes_it_out_of_where_it_was_listed() {
    for place in [Some("other"), None] {
        let mut scene = Scene::new("1000 daily");
        scene.ask("a", 500);
        let listed = Tells { listed: vec![("1", Capture, -500)], ..tells(500, Closed, &[500]) };
        scene.seen("a", &listed);
        scene.settled("1", false, (Capture, -500), place);
        scene.seen("a", &listed);
        assert_eq!((scene.used(), scene.card.totals().captured), (vec![500], 500), "{place:?}");
        let known = &scene.card.authorizations[&facts::authorization("a")];
        assert_eq!(known.captured(), 0);
    }
}

#[test]
fn a_request_lists_transactions_too() {
    let mut scene = Scene::new("1000 daily");
    scene.ask("a", 600);
    let decision = scene.ask_with("a", 300, |r| {
        (r.history_entries, r.approved_before) = (1, 0);
        r.told.history = vec![facts::entry(600, true, "webhook_approved", r.received_at)];
        let created = r.told.at;
        r.told.transactions =
            vec![ListedTransaction { id: facts::transaction("1"), kind: Capture, amount: -700, created }];
    });
    assert_eq!((decision.limits[0].before, decision.limits[0].after), (700, 1_000));
    assert_eq!((scene.used(), scene.card.held()), (vec![1_000], 300));
}

#[test]
fn what_a_reduction_leaves_belongs_to_the_newest_approvals() {
    let mut scene = Scene::new("1000 daily, 1000 all_time");
    assert_eq!(scene.ask("a", 1_000), Outcome::Approved);
    scene.seen("a", &tells(100, Pending, &[1_000]));
    scene.next_day();
    assert_eq!(scene.more("a", 900, 1, 100), Outcome::Approved);
    assert_eq!(scene.used(), [900, 1_000]);
    scene.seen("a", &tells(1_000, Pending, &[1_000, 900]));
    assert_eq!(scene.used(), [900, 1_000]);
    assert_eq!(scene.ask("b", 101), Outcome::Declined);
    // The older window gives back first.
    scene.seen("a", &tells(900, Pending, &[1_000, 900]));
    assert_eq!(scene.used(), [900, 900]);
    scene.seen("a", &tells(850, Pending, &[1_000, 900]));
    assert_eq!(scene.used(), [850, 850]);
}

#[test]
fn a_request_is_a_later_word_than_a_snapshot_of_as_many_requests() {
    let mut scene = Scene::new("1000 daily");
    scene.ask("a", 1_000);
    scene.seen("a", &tells(1_000, Pending, &[1_000]));
    // The partial reversal was lost; the increment tells what is in force.
    assert_eq!(scene.more("a", 900, 1, 100), Outcome::Approved);
    assert_eq!(scene.used(), [1_000]);
    // What it tells counts where it was declined, too.
    assert_eq!(scene.more("a", 901, 2, 100), Outcome::Declined);
    assert_eq!(scene.used(), [100]);
}

#[test]
fn a_terminal_status_is_not_for_ever() {
    for (status, amount, captured) in
        [(Reversed, 0, 0), (Expired, 600, 0), (Closed, 600, 0), (Closed, 600, 300), (Reversed, 0, 300)]
    {
        // Stripe may go on counting from what was captured, or begin anew.
        for total in [400 + captured, 400] {
            let mut scene = Scene::new("1000 daily");
            assert_eq!(scene.ask("a", 600), Outcome::Approved);
            let mut over = tells(amount, status, &[600]);
            over.listed.extend((captured > 0).then_some(("1", Capture, -captured)));
            scene.seen("a", &over);
            assert_eq!(scene.used(), [captured], "{status}");
            assert_eq!(scene.more("a", 400, 1, 0), Outcome::Approved);
            let told = (scene.used(), scene.card.held());
            assert_eq!(told, (vec![400 + captured], 400), "{status}: held until a snapshot covers it");
            scene.seen("a", &over);
            assert_eq!(scene.card.held(), 400, "{status}: an old snapshot changes nothing");
            let again = Tells { listed: over.listed.clone(), ..tells(total, Pending, &[600, 400]) };
            scene.seen("a", &again);
            let record = &scene.card.authorizations[&facts::authorization("a")];
            assert_eq!((record.hold(), record.status()), (400, Pending), "{status}, {total}");
            assert_eq!(scene.used(), [400 + captured], "{status}, {total}");
            assert_eq!(scene.ask("b", 601 - captured), Outcome::Declined);
            scene.seen("a", &tells(0, Reversed, &[600, 400]));
            assert_eq!(
                scene.used(),
                [captured],
                "{status}, {total}: at equal histories a terminal status wins"
            );
        }
    }
}

/// The network approved more without us, after the authorization had ended.
#[test]
fn more_decided_requests_are_the_later_word_after_a_terminal_status() {
    for status in [Reversed, Expired, Closed] {
        let mut scene = Scene::new("1000 daily");
        assert_eq!(scene.ask("a", 600), Outcome::Approved);
        scene.seen("a", &tells(0, status, &[600]));
        assert_eq!(scene.card.held(), 0, "{status}");
        scene.seen("a", &tells(400, Pending, &[600, 400]));
        assert_eq!((scene.used(), scene.card.held()), (vec![400], 400), "{status}");
        assert_eq!(scene.ask("b", 601), Outcome::Declined, "{status}");
        assert_eq!(scene.ask("c", 600), Outcome::Approved, "{status}");
    }
}

#[test]
fn what_was_declined_and_is_approved_at_the_next_request_is_held() {
    let mut scene = Scene::new("1000 daily, 1x daily");
    assert_eq!(scene.ask("a", 1_200), Outcome::Declined);
    let declined = Tells { approved: false, history: vec![(1_200, false, 0)], ..tells(1_200, Closed, &[]) };
    scene.seen("a", &declined);
    assert_eq!(scene.more("a", 700, 1, 1_200), Outcome::Approved, "a rejected amount is not in force");
    assert_eq!((scene.used(), scene.card.held()), (vec![700, 1], 700));
}

#[test]
fn a_request_that_names_an_old_place_in_the_history_is_counted_all_the_same() {
    let mut scene = Scene::new("1000 daily");
    scene.seen("a", &tells(300, Pending, &[100, 200]));
    assert_eq!(scene.more("a", 500, 1, 100), Outcome::Approved);
    assert_eq!(
        (scene.used(), scene.card.held()),
        (vec![800], 800),
        "nothing is approved that is not counted"
    );
    // One that Stripe has told of is counted once.
    assert_eq!(scene.more("a", 200, 1, 100), Outcome::Approved);
    assert_eq!(scene.used(), [800]);
}

/// A snapshot of the second of the one before, under an event id of which the order says nothing.
fn twin(scene: &mut Scene, event: usize, amount: i64, before: i64) {
    let id = facts::authorization("a");
    let told = Snapshot {
        amount,
        approved: true,
        status: Pending,
        history: vec![facts::entry(1_000, true, "webhook_approved", scene.now)],
        transactions: 0,
        listed: Vec::new(),
    };
    let mut fact =
        facts::snapshot(&id, true, scene.now, &told, &facts::merchant("fast_food_restaurants", None));
    if let Fact::Authorization(seen) = &mut fact {
        seen.amount_before = Some(before);
    }
    scene.card.apply(&facts::observed(event, scene.now, fact));
}

#[test]
fn of_two_snapshots_of_one_second_what_was_before_tells_the_order() {
    // A reduction, and a pump that has finished: each event may have the greater id, and each may come first.
    for (first, second) in [((600, 1_000), (200, 600)), ((200, 1_000), (900, 200))] {
        for ids in [(801, 802), (802, 801)] {
            for is_first_first in [true, false] {
                let mut scene = Scene::new("1000 daily");
                scene.ask("a", 1_000);
                let mut twins = vec![(ids.0, first), (ids.1, second)];
                if !is_first_first {
                    twins.reverse();
                }
                for (event, (amount, before)) in twins {
                    twin(&mut scene, event, amount, before);
                }
                assert_eq!(scene.used(), [second.0], "{first:?} {second:?} {ids:?} {is_first_first}");
            }
        }
    }
}

#[test]
fn money_that_comes_in_never_raises_a_limit() {
    let mut scene = Scene::with("1000 daily, 1000 all_time, 1000 rolling(24h)", true);
    scene.settled("r", false, (Refund, 400), None);
    assert_eq!(scene.used(), [0, 0, 0]);
    assert_eq!(scene.ask("a", 1_001), Outcome::Declined);
    assert_eq!(scene.ask("b", 1_000), Outcome::Approved);
    assert_eq!(scene.ask("c", 1), Outcome::Declined);
    assert_eq!(scene.used(), [1_000, 1_000, 1_000]);
    // It gives back what was spent before it.
    scene.settled("s", false, (Refund, 400), None);
    assert_eq!(scene.used(), [600, 600, 600]);
    scene.settled("s", true, (Refund, 5_000), None);
    assert_eq!(scene.used(), [0, 0, 0]);
    assert_eq!(scene.ask("d", 1_000), Outcome::Approved);
    // And nothing where what was spent before it is undone.
    scene.seen("b", &tells(0, Reversed, &[1_000]));
    assert_eq!(scene.used(), [1_000, 1_000, 1_000]);
    // With a link it gives back what its purchase took, and nothing of what is held.
    scene.settled("t", false, (Refund, 700), Some("d"));
    assert_eq!(scene.used(), [1_000, 1_000, 1_000], "nothing was captured of it");
    scene.settled("u", false, (Capture, -900), Some("d"));
    assert_eq!(scene.used(), [300, 300, 300]);
    scene.settled("v", false, (Refund, 9_000), Some("d"));
    assert_eq!(scene.used(), [100, 100, 100]);
}

#[test]
fn a_capture_with_the_sign_of_a_refund_makes_no_room() {
    for authorization in [None, Some("a")] {
        let mut scene = Scene::new("1000 daily");
        scene.ask("a", 400);
        scene.settled("t", false, (Capture, 300), authorization);
        assert_eq!(scene.used(), [400], "{authorization:?}");
        assert_eq!(scene.ask("b", 601), Outcome::Declined);
    }
}

#[test]
fn equal_increments_without_a_history_differ_by_what_is_in_force() {
    let mut scene = Scene::new("1000 daily");
    assert_eq!(scene.ask("a", 400), Outcome::Approved);
    assert_eq!(scene.more("a", 250, 0, 400), Outcome::Approved);
    let (first, used) = (scene.card.authorizations[&facts::authorization("a")].answers.len(), scene.used());
    assert_eq!((first, used), (2, vec![650]));
    assert_eq!(scene.more("a", 250, 0, 650), Outcome::Approved);
    assert_eq!(scene.used(), [900]);
    assert_eq!(scene.more("a", 250, 0, 900), Outcome::Declined);
    // A redelivery is the same question, and so is another event of equal content.
    let mut again = scene.request("a", 250);
    again.approved_before = 650;
    let answered = scene.card.answer_to(&again).unwrap();
    assert_eq!(answered.question.approved_before, 650);
    // Stripe's word covers them all.
    scene.seen("a", &Tells { history: Vec::new(), ..tells(900, Pending, &[]) });
    assert_eq!(scene.used(), [900]);
    scene.seen("a", &Tells { history: Vec::new(), ..tells(0, Reversed, &[]) });
    assert_eq!(scene.used(), [0]);
}

#[test]
fn an_increment_of_another_category_is_counted_under_its_own() {
    let mut scene = Scene::new("1000 daily, 500 daily for bakeries, 500 daily for fast_food_restaurants");
    assert_eq!(scene.ask("a", 400), Outcome::Approved);
    let bakery = |r: &mut AuthorizationRequest| {
        (r.history_entries, r.approved_before) = (1, 400);
        r.merchant = facts::merchant("bakeries", None);
    };
    assert_eq!(scene.ask_with("a", 300, bakery).outcome, Outcome::Approved);
    assert_eq!(scene.used(), [700, 300, 400], "what was spent before stays where it was");
    let more = |r: &mut AuthorizationRequest| {
        bakery(r);
        (r.history_entries, r.approved_before) = (2, 700);
    };
    assert_eq!(scene.ask_with("a", 201, more).outcome, Outcome::Declined);
    scene.seen("a", &tells(700, Pending, &[400, 300]));
    assert_eq!(scene.used(), [700, 300, 400]);
    scene.seen("a", &tells(350, Pending, &[400, 300]));
    assert_eq!(scene.used(), [350, 300, 50]);
}

#[test]
fn the_larger_of_amount_and_hold_amount_counts() {
    let mut scene = Scene::new("1000 daily");
    assert_eq!(scene.ask_with("a", 900, |r| r.told.hold_amount = 1_001).outcome, Outcome::Declined);
    assert_eq!(scene.ask_with("b", 900, |r| r.told.hold_amount = 1_000).outcome, Outcome::Approved);
    assert_eq!(scene.used(), [1_000]);
    let mut scene = Scene::new("1000 daily");
    assert_eq!(scene.ask_with("c", 900, |r| r.told.hold_amount = 100).outcome, Outcome::Approved);
    assert_eq!(scene.used(), [900]);
}

#[test]
fn a_pump_abroad_holds_a_hundred_units_of_its_own_currency() {
    let pump = |amount: i64, currency: &str| {
        let amount = Money::new(amount, currency.parse().unwrap());
        move |r: &mut AuthorizationRequest| {
            r.merchant = facts::merchant("automated_fuel_dispensers", None);
            r.details.merchant_amount = Some(amount);
        }
    };
    let mut scene = Scene::new("20000 daily");
    assert_eq!(scene.ask_with("pound", 117, pump(100, "gbp")).outcome, Outcome::Approved);
    assert_eq!(scene.used(), [11_700]);
    // Less than one dollar for one of its units.
    let mut scene = Scene::new("20000 daily");
    assert_eq!(scene.ask_with("franc", 85, pump(100, "chf")).outcome, Outcome::Approved);
    assert_eq!(scene.used(), [8_500]);
    // More than one unit is what it says.
    let mut scene = Scene::new("20000 daily");
    assert_eq!(scene.ask_with("pounds", 11_700, pump(10_000, "gbp")).outcome, Outcome::Approved);
    assert_eq!(scene.used(), [11_700]);
}

#[test]
fn velocity_counts_authorizations_and_not_their_increments() {
    let mut scene = Scene::new("2x daily, 1x per_authorization");
    assert_eq!(scene.ask("a", 100), Outcome::Approved);
    assert_eq!(scene.more("a", 100, 1, 100), Outcome::Approved);
    assert_eq!(scene.ask("b", 100), Outcome::Approved);
    assert_eq!(scene.more("a", 100, 2, 200), Outcome::Approved, "an increment is none more");
    assert_eq!(scene.used(), [2]);
    assert_eq!(scene.ask("c", 100), Outcome::Declined);
    scene.next_day();
    assert_eq!(scene.more("a", 100, 3, 300), Outcome::Approved);
    assert_eq!(scene.used(), [0], "it was counted on its first day");
}

#[test]
fn what_was_over_captured_leaves_a_later_increment_whole() {
    for is_told in [false, true] {
        let mut scene = Scene::new("2000 daily");
        scene.ask("a", 1_000);
        if is_told {
            scene.seen("a", &tells(1_000, Pending, &[1_000]));
        }
        scene.settled("1", false, (Capture, -1_200), Some("a"));
        assert_eq!(scene.used(), [1_200]);
        assert_eq!(scene.more("a", 500, 1, 1_000), Outcome::Approved);
        assert_eq!((scene.used(), scene.card.held()), (vec![1_700], 500), "{is_told}");
    }
}

#[test]
fn what_was_forced_stays_where_it_was_when_something_is_approved_after_all() {
    let mut scene = Scene::new("1000 daily, 2000 all_time");
    assert_eq!(scene.ask("a", 1_200), Outcome::Declined);
    scene.settled("1", false, (Capture, -800), Some("a"));
    assert_eq!(scene.used(), [800, 800]);
    scene.next_day();
    assert_eq!(scene.more("a", 900, 1, 0), Outcome::Approved);
    assert_eq!(scene.used(), [900, 1_700]);
}

#[test]
fn a_record_that_was_evicted_comes_back_as_it_was() {
    let mut scene = Scene::new("1000 daily, 1000 all_time");
    scene.ask("a", 600);
    let listed = Tells { listed: vec![("1", Capture, -500)], ..tells(600, Closed, &[600]) };
    scene.seen("a", &listed);
    let id = facts::authorization("a");
    let authorizations = vec![(id.clone(), scene.card.authorizations[&id].clone())];
    let recalled = Recalled { authorizations, ..Recalled::default() };
    scene.card.forget(scene.now.plus(Duration::from_hours(48)));
    assert!(scene.card.authorizations.is_empty());
    assert_eq!(scene.used(), [500, 500]);
    scene.card.apply(&Event::Recalled(Box::new(recalled)));
    scene.settled("1", false, (Capture, -500), None);
    assert_eq!((scene.used(), scene.card.totals().captured), (vec![500, 500], 500));
    assert_eq!(scene.more("a", 300, 1, 0), Outcome::Approved);
    assert_eq!(scene.used(), [800, 800]);
}
