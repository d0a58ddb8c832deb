//! What operators do, turn by turn: raises, grants and pauses change decisions exactly as long and as often as they say, and
//! end by themselves.

use std::{sync::Arc, time::Duration};

use tollgate::{
    config::policy_file,
    domain::{
        Account, Action, Attribution, AuthorizationRequest, CardId, Command, Currency, Event, Excepted,
        Grant, Interval, Measure, NetworkId, Policy, Raise, Reason, Timestamp, explain,
    },
    journal::{Outcome, record},
    ledger::{Hops, Message, Operation, Work},
};

use super::{Name, Story, WITHIN, card_account, stand_in};
use crate::questions::question;

/// Gives an order for an account.
pub(super) fn orders(story: &mut Story, account: &Account, id: &str, action: Action) -> String {
    let command = Command {
        id: id.into(),
        card: CardId::new(account.as_str()).filter(|_| account.as_budget().is_none()),
        at: start(),
        attribution: Attribution { by: "ann".into(), reason: "a test".into() },
        action,
        turn: 0,
    };
    let operation = Operation { command, hops: Hops::default(), caller: Name("operator") };
    story.turn(Message::Work(account.clone(), Work::Operation(Box::new(operation))))
}

fn start() -> Timestamp {
    Timestamp::parse("2030-03-05T10:00:00Z").unwrap()
}

fn after(seconds: u64) -> Timestamp {
    start().plus(Duration::from_secs(seconds))
}

fn raise(by: i64, until: Timestamp) -> Action {
    let measure = Measure::Amount(Some(Currency::USD));
    Action::Raise(Raise { by, measure, interval: Interval::AllTime, until })
}

fn grant(amount: i64) -> Grant {
    Grant { amount, currency: Currency::USD, merchant: None, until: after(1_000) }
}

const SHARED: &str = "
version: 1
currency: usd
budgets:
  company: {spending_limits: [{amount: 1000, interval: all_time}], owners: [finance]}
  team: {parent: company, spending_limits: [{amount: 800, interval: all_time}, {count: 4, interval: all_time}]}
default: {budgets: [team], spending_limits: [{amount: 700, interval: all_time}]}
";

/// A card and its budgets in memory, at [`start`].
struct Scene {
    story: Story,
    names: usize,
}

impl Scene {
    fn new(text: &str) -> Self {
        let parsed = policy_file::read(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let policy: Arc<Policy> = Arc::new(parsed.policy);
        let mut story = Story::new();
        story.policy = policy;
        for budget in ["budget:team", "budget:company"] {
            let shown = story.asks("nobody", 0);
            assert_eq!(shown, format!("load {budget}"));
            story.now += WITHIN;
            story.loaded_of(&Account::new(budget).unwrap());
        }
        Self { story, names: 0 }
    }

    fn request(&mut self, amount: i64, seconds: u64) -> AuthorizationRequest {
        self.names += 1;
        let name = format!("p{}", self.names);
        AuthorizationRequest { received_at: after(seconds), ..question("one", &name, amount) }
    }

    /// Asks for so much, so many seconds after the start; whether it is approved, and why not.
    fn asks(&mut self, amount: i64, seconds: u64) -> (&'static str, &'static str) {
        let request = self.request(amount, seconds);
        self.asks_for(request)
    }

    fn asks_for(&mut self, request: AuthorizationRequest) -> (&'static str, &'static str) {
        self.story.asks_for("p", request);
        self.story.is_durable();
        let decision = self.decided().1;
        (decision.outcome.as_str(), decision.reason.as_str())
    }

    /// The last decision, by the journal.
    fn decided(&self) -> (Arc<AuthorizationRequest>, tollgate::domain::Decision) {
        let entries = self.story.chain.iter().rev();
        let mut events = entries.flat_map(|entry| record::decode(&entry.body).unwrap().into_iter().rev());
        let decided = events.find_map(|event| match event {
            Event::Decided(decided) => Some(decided),
            _ => None,
        });
        let decided = decided.expect("something was decided");
        (decided.request, decided.decision)
    }

    fn explained(&self) -> String {
        let (request, decision) = self.decided();
        explain(&request, &decision)
    }

    fn orders(&mut self, account: &str, id: &str, action: Action) {
        let account = Account::new(account).unwrap();
        orders(&mut self.story, &account, id, action);
        assert_eq!(self.story.is_durable(), "receipt operator", "{id}");
    }

    /// What the chain of an account comes to is what is in memory.
    fn is_folded(&self) {
        let folded = self.story.folded(&card_account()).card;
        assert_eq!(folded.exceptions, self.story.ledger.card(&card_account()).unwrap().exceptions);
        for budget in ["budget:team", "budget:company"] {
            let account = Account::new(budget).unwrap();
            let folded = self.story.folded(&account).budget;
            assert_eq!(folded.exceptions, self.story.ledger.budget(&account).unwrap().exceptions);
        }
    }
}

const APPROVED: (&str, &str) = ("approved", "approved");
const LIMITED: (&str, &str) = ("declined", "spending_limit");

#[test]
fn a_raise_lifts_its_limit_until_it_ends_and_forgets_nothing() {
    let mut scene = Scene::new(SHARED);
    assert_eq!(scene.asks(700, 1), APPROVED);
    assert_eq!(scene.asks(50, 2), LIMITED);
    scene.orders("ic_one", "r1", raise(100, after(100)));
    // The team has 100 left, and the card 100.
    assert_eq!(scene.asks(101, 3), LIMITED);
    assert_eq!(scene.asks(60, 4), APPROVED);
    assert_eq!(
        scene.explained(),
        "approved: 0.60 USD; 7.60 of the 8.00 USD lifetime limit (7.00 raised by 1.00 until 2030-03-05T10:01:40Z) is used"
    );
    let check = scene.decided().1.limits.into_iter().next().unwrap();
    let lifted = check.lifted.unwrap();
    assert_eq!((check.max, lifted.raised, lifted.until), (800, 100, Some(after(100))));
    // It ends to the microsecond, and what was spent with it stays spent.
    let last = AuthorizationRequest {
        received_at: after(100).minus(Duration::from_micros(1)),
        ..scene.request(20, 0)
    };
    assert_eq!(scene.asks_for(last), APPROVED);
    assert_eq!(scene.asks(1, 100), LIMITED);
    assert!(scene.explained().starts_with("declined: 7.80 of the 7.00 USD lifetime limit is used"));
    assert!(scene.story.ledger.card(&card_account()).unwrap().exceptions.iter().next().is_none());
    scene.is_folded();
}

#[test]
fn raises_add_up_and_each_ends_by_itself() {
    let mut scene = Scene::new(SHARED);
    scene.orders("ic_one", "r1", raise(100, after(100)));
    scene.orders("ic_one", "r2", raise(50, after(50)));
    scene.orders("budget:team", "r3", raise(500, after(100)));
    assert_eq!(scene.asks(851, 1), LIMITED);
    assert_eq!(scene.decided().1.largest_approvable, Some(850));
    assert_eq!(scene.asks(801, 50), LIMITED);
    assert_eq!(scene.asks(800, 50), APPROVED);
    scene.is_folded();
}

#[test]
fn a_raise_is_of_the_limits_that_it_names() {
    let mut scene = Scene::new(SHARED);
    let daily =
        Raise { by: 900, measure: Measure::Amount(None), interval: Interval::Daily, until: after(100) };
    scene.orders("ic_one", "r1", Action::Raise(daily.clone()));
    let euros = Raise { measure: Measure::Amount("eur".parse().ok()), interval: Interval::AllTime, ..daily };
    scene.orders("budget:team", "r2", Action::Raise(euros));
    assert_eq!(scene.asks(701, 1), LIMITED);
    let counts = Raise { by: 1, measure: Measure::Count, interval: Interval::AllTime, until: after(100) };
    scene.orders("budget:team", "r3", Action::Raise(counts));
    for second in 2..7 {
        assert_eq!(scene.asks(1, second), APPROVED, "{second}");
    }
    assert_eq!(scene.asks(1, 7), ("declined", "velocity_limit"));
    assert!(
        scene.explained().starts_with(
            "declined: 5 of the 5 approvals in all of budget team (4 raised by 1 until 2030-03-05T10:01:40Z) are used"
        ),
        "{}",
        scene.explained()
    );
}

#[test]
fn a_grant_lets_one_purchase_pass_every_limit_and_is_used_up() {
    let mut scene = Scene::new(SHARED);
    for second in 1..5 {
        assert_eq!(scene.asks(170, second), APPROVED);
    }
    // 680 of the card's 700, of the team's 800 and the company's 1,000 are used, and all four approvals.
    assert_eq!(scene.asks(300, 5).0, "declined");
    scene.orders("ic_one", "g1", Action::Grant(grant(300)));
    assert_eq!(scene.asks(321, 6).0, "declined");
    assert_eq!(scene.asks(320, 7), APPROVED);
    let decision = scene.decided().1;
    assert_eq!(
        decision.excepted.as_deref(),
        Some(&Excepted::Granted { id: "g1".into(), amount: 300, is_check: false })
    );
    assert!(decision.limits.iter().all(|check| check.after <= check.max), "{decision:?}");
    assert_eq!(
        scene.explained(),
        "approved: 3.20 USD; 10.00 of the 10.00 USD lifetime limit (7.00 raised by 3.00 for this purchase) is used"
    );
    assert_eq!(scene.asks(1, 8).0, "declined");
    scene.is_folded();
}

#[test]
fn a_grant_is_not_touched_by_what_passes_without_it() {
    let mut scene = Scene::new(SHARED);
    scene.orders("ic_one", "g1", Action::Grant(grant(300)));
    assert_eq!(scene.asks(700, 1), APPROVED);
    assert_eq!(scene.decided().1.excepted, None);
    assert_eq!(scene.asks(300, 2), APPROVED);
    assert!(scene.decided().1.excepted.is_some());
}

#[test]
fn an_account_check_passes_by_a_grant_and_leaves_it() {
    let mut scene = Scene::new(SHARED);
    for second in 1..5 {
        assert_eq!(scene.asks(175, second), APPROVED);
    }
    scene.orders("ic_one", "g1", Action::Grant(grant(500)));
    // One dollar is the largest check. Three may pass with one grant.
    for amount in [100, 0, 100] {
        assert_eq!(scene.asks(amount, 5), APPROVED, "{amount}");
        assert!(matches!(
            scene.decided().1.excepted.as_deref(),
            Some(Excepted::Granted { is_check: true, .. })
        ));
    }
    assert_eq!(scene.asks(100, 6).0, "declined");
    // What checks have taken is not there for the purchase.
    assert_eq!(scene.asks(301, 7).0, "declined");
    assert_eq!(scene.asks(300, 8), APPROVED);
    assert_eq!(scene.asks(101, 9).0, "declined");
    scene.is_folded();
}

#[test]
fn a_grant_passes_limits_and_nothing_else() {
    let merchant = NetworkId::new("1234567890").unwrap();
    let check = |text: &str, grant: Grant, expected: Reason| {
        let mut scene = Scene::new(text);
        scene.orders("ic_one", "g1", Action::Grant(grant));
        assert_eq!(scene.asks(900, 1).1, expected.as_str(), "{text}");
        assert_eq!(scene.decided().1.excepted, None, "{text}");
    };
    let with = |more: &str| SHARED.replace("default: {", &format!("default: {{{more}, "));
    check(&with("blocked_categories: [fast_food_restaurants]"), grant(300), Reason::CategoryBlocked);
    check(&with("paused: true"), grant(300), Reason::CardPaused);
    check(&with("rules: [{name: no, when: 'amount > 800', then: decline}]"), grant(300), Reason::Rule);
    let prepaid = SHARED.replace("company: {", "company: {prepaid: true, ");
    check(&prepaid, grant(300), Reason::InsufficientBalance);
    check(SHARED, Grant { merchant: Some(merchant), ..grant(300) }, Reason::SpendingLimit);
    check(SHARED, Grant { currency: "eur".parse().unwrap(), ..grant(300) }, Reason::SpendingLimit);
    check(SHARED, Grant { until: after(1), ..grant(300) }, Reason::SpendingLimit);
}

#[test]
fn a_grant_of_a_decision_that_came_too_late_is_there_again() {
    let mut scene = Scene::new(SHARED);
    scene.orders("ic_one", "g1", Action::Grant(grant(300)));
    let request = AuthorizationRequest { received_at: after(1), ..question("one", "late", 900) };
    assert_eq!(scene.asks_for(request), APPROVED);
    assert_eq!(scene.asks(800, 2).0, "declined");
    scene.story.turn(Message::Unheard(card_account(), Box::new(stand_in("late", 900))));
    scene.story.is_durable();
    assert_eq!(scene.asks(900, 3), APPROVED);
    scene.is_folded();
}

#[test]
fn a_pause_declines_everything_until_it_ends_or_is_resumed() {
    let mut scene = Scene::new(SHARED);
    let paused = ("declined", "card_paused");
    scene.orders("ic_one", "p1", Action::Pause { until: Some(after(100)) });
    assert_eq!(scene.asks(1, 1), paused);
    assert_eq!(scene.explained(), "declined: the card is paused until 2030-03-05T10:01:40Z");
    assert_eq!(scene.decided().1.would_pass.and_then(|would_pass| would_pass.at), Some(after(100)));
    assert_eq!(scene.asks(1, 100), APPROVED);
    scene.orders("ic_one", "p2", Action::Pause { until: None });
    assert_eq!(scene.asks(1, 101), paused);
    assert_eq!(scene.explained(), "declined: the card is paused");
    scene.orders("ic_one", "p3", Action::Resume);
    assert_eq!(scene.asks(1, 102), APPROVED);
    scene.is_folded();
}

#[test]
fn a_paused_budget_pauses_all_below_it() {
    let mut scene = Scene::new(SHARED);
    scene.orders("budget:company", "p1", Action::Pause { until: Some(after(100)) });
    assert_eq!(scene.asks(1, 1), ("declined", "budget_paused"));
    assert_eq!(scene.explained(), "declined: budget company is paused until 2030-03-05T10:01:40Z");
    scene.orders("budget:team", "p2", Action::Resume);
    assert_eq!(scene.asks(1, 2), ("declined", "budget_paused"));
    scene.orders("budget:company", "p3", Action::Resume);
    assert_eq!(scene.asks(1, 3), APPROVED);
    scene.is_folded();
}

#[test]
fn a_command_counts_once_and_is_recorded_again_after_a_lost_place() {
    for outcome in [Outcome::Conflict, Outcome::Unknown] {
        let mut scene = Scene::new(SHARED);
        let shown = orders(&mut scene.story, &card_account(), "r1", raise(100, after(100)));
        assert_eq!(shown, "append now: raise r1 100");
        assert_eq!(orders(&mut scene.story, &card_account(), "r1", raise(100, after(100))), "");
        let id = scene.story.appends[0].id;
        // Another node has decided a purchase on the card meanwhile.
        let mut elsewhere = Scene::new(SHARED);
        elsewhere.story.ids = 1_000;
        elsewhere.story.asks("x", 600);
        let append = elsewhere.story.appends.remove(0);
        scene.story.write(append);
        scene.story.ends(outcome);
        assert_eq!(scene.story.reloaded(id), "append now: raise r1 100", "{outcome:?}");
        assert_eq!(scene.story.is_durable(), "receipt operator; receipt operator");
        assert_eq!(scene.asks(201, 1), LIMITED);
        assert_eq!(scene.asks(200, 2), APPROVED);
        scene.is_folded();
    }
}

#[test]
fn exceptions_outlast_a_snapshot() {
    let mut scene = Scene::new(SHARED);
    scene.orders("ic_one", "g1", Action::Grant(grant(300)));
    scene.orders("budget:team", "p1", Action::Pause { until: Some(after(900)) });
    assert_eq!(scene.asks(900, 1).1, "budget_paused");
    scene.story.turn(Message::Leave);
    scene.story.is_durable();
    let snapshots = scene.story.chain.iter().filter(|entry| entry.is_snapshot).count();
    assert_eq!(snapshots, 3);
    for (account, id) in [("ic_one", "g1"), ("budget:team", "p1")] {
        let account = Account::new(account).unwrap();
        let last = scene.story.chain.iter().rfind(|entry| entry.account == account).unwrap();
        let folded = tollgate::ledger::fold(std::slice::from_ref(last)).unwrap();
        let all = scene.story.folded(&account);
        let (is, was) = if account.as_budget().is_some() {
            (folded.budget.exceptions, all.budget.exceptions)
        } else {
            (folded.card.exceptions, all.card.exceptions)
        };
        assert_eq!(is, was);
        assert_eq!(&*is.iter().next().unwrap().command.id, id);
        assert!(is.has(id));
    }
}
