//! Budgets under concurrency: exact over many cards, many nodes, lost places and evictions; all accounts of a purchase have
//! it, or none.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};
use tollgate::{
    actors::{Directory, NotOperated, Order, Parts, Settings, Target, Wish},
    clock,
    config::policy_file,
    domain::{
        Account, Attribution, AuthorizationRequest, BudgetEvent, Card, CardholderId, Currency, Event, Fact,
        HolderSeen, Observation, Outcome, Policy, Source,
    },
    journal::{Committer, CommitterSettings, Faulty, Journal, Memory, Odds, Scan as _, Script, record},
    metrics::Metrics,
    replay,
    trial::Trials,
};

use super::{SOON, roomy};
use crate::questions::{arrival, question, told};

const SHARED: &str = "
version: 1
currency: usd
budgets:
  company: {spending_limits: [{amount: 50000, interval: all_time}, {count: 60, interval: all_time}]}
  person: {parent: company, per: cardholder, spending_limits: [{amount: 9000, interval: monthly}]}
default: {budgets: [person], spending_limits: [{amount: 100000, interval: daily}]}
";

fn policy(text: &str) -> Arc<Policy> {
    let parsed = policy_file::read(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    Arc::new(parsed.policy)
}

/// A node on a journal.
struct Node {
    directory: Directory,
    policy: watch::Sender<Arc<Policy>>,
}

impl Node {
    fn on(journal: &Arc<Faulty>, settings: Settings, text: &str) -> Self {
        let (policy, in_force) = watch::channel(policy(text));
        let shared: Arc<dyn Journal> = journal.clone();
        let told = |_: usize, _: Duration| {};
        let parts = Parts {
            committer: Arc::new(Committer::new(
                Arc::clone(&shared),
                CommitterSettings::default(),
                Arc::new(told),
            )),
            trials: Trials::default(),
            journal: shared,
            policy: in_force,
            metrics: Arc::new(Metrics::new(&tollgate::http::vocabulary())),
        };
        let directory = Directory::new(settings, parts);
        tokio::spawn(directory.clone().sweep());
        Self { directory, policy }
    }

    async fn held(&self, name: &str, key: Option<&str>) -> i64 {
        self.directory.budget(name, key, clock::now()).await.unwrap().unwrap().sums.held
    }
}

fn holder(card: usize) -> CardholderId {
    CardholderId::new(&format!("ich_{}", card % 10)).unwrap()
}

fn purchase(card: usize, name: &str, amount: i64) -> AuthorizationRequest {
    AuthorizationRequest { cardholder: Some(holder(card)), ..question(&format!("{card}"), name, amount) }
}

fn heard(card: usize, name: &str, amount: i64, approved: bool) -> Observation {
    let mut heard = told(&format!("{card}"), name, amount, approved, "webhook_approved");
    if let Fact::Authorization(seen) = &mut heard.fact {
        seen.holder = Some(Box::new(HolderSeen { cardholder: Some(holder(card)), ..HolderSeen::default() }));
    }
    heard
}

/// What is held of each budget by the cards' own chains, and by the chains of the budgets, at every prefix of the journal.
async fn agrees(journal: &Faulty) -> BTreeMap<Account, i64> {
    let (mut after, mut entries) = (0, Vec::new());
    loop {
        let page = journal.scan(after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.lsn;
        entries.extend(page);
    }
    let mut cards: HashMap<Account, Card> = HashMap::new();
    let mut budgets: BTreeMap<Account, i64> = BTreeMap::new();
    let mut place = 0;
    while let Some(first) = entries.get(place) {
        // What was appended together stands together here.
        let group: Vec<_> = entries[place..].iter().take_while(|entry| entry.id == first.id).collect();
        place += group.len();
        for entry in group {
            for event in record::decode(&entry.body).unwrap() {
                match &event {
                    Event::Budget(event) => {
                        if let BudgetEvent::Leg(leg) = &**event {
                            *budgets.entry(entry.account.clone()).or_default() +=
                                leg.after.sums.used() - leg.before.sums.used();
                        }
                    }
                    // Nothing is evicted here.
                    Event::Snapshot(_) | Event::Recalled(_) => {}
                    event => cards.entry(entry.account.clone()).or_default().apply(event),
                }
            }
        }
        let mut by_cards: BTreeMap<Account, i64> = BTreeMap::new();
        for authorization in cards.values().flat_map(|card| card.authorizations.values()) {
            let used = authorization.hold() + authorization.captured() - authorization.refunded();
            for account in authorization.charges.iter() {
                *by_cards.entry(account.clone()).or_default() += used;
            }
        }
        budgets.retain(|_, used| *used != 0);
        by_cards.retain(|_, used| *used != 0);
        assert_eq!(budgets, by_cards, "after entry {place}");
    }
    budgets
}

async fn verified(journal: &Faulty, text: &str, at_least: u64) {
    let pass = replay::Pass::new([policy(text)]);
    let verified = replay::replay(journal, pass, None, |_| {}).await.unwrap().verified;
    assert!(verified.is_equal() && verified.requests >= at_least, "{verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn purchases_on_many_cards_are_approved_exactly_up_to_their_budget() {
    let journal = Arc::new(Faulty::new(Arc::new(Memory::new()), Script::default()));
    let node = Node::on(&journal, roomy(), SHARED);
    let mut answers = JoinSet::new();
    for name in 0..200_usize {
        let directory = node.directory.clone();
        let request = purchase(name % 50, &format!("{name:03}"), 1_700);
        answers.spawn(async move { directory.ask(request, arrival(SOON)).await.answer });
    }
    let answers = answers.join_all().await;
    assert!(answers.iter().all(|answer| answer.source == Source::Policy));
    let approved = answers.iter().filter(|answer| answer.outcome == Outcome::Approved).count();
    // Each person has room for five, and the company for 29 of them.
    assert_eq!(approved, 29);
    assert_eq!(node.held("company", None).await, 29 * 1_700);
    let by_budget = agrees(&journal).await;
    assert_eq!(by_budget[&Account::budget("company", None)], 29 * 1_700);
    assert!(by_budget.iter().all(|(account, used)| account.as_str() == "budget:company" || *used <= 9_000));
    verified(&journal, SHARED, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_nodes_on_a_journal_that_fails_share_a_budget_exactly() {
    for seed in 0..6 {
        let odds =
            Odds { rejected: 3, lost_before: 5, lost_after: 5, half_lost: 5, overtaken: 0, unreadable: 2 };
        let journal = Arc::new(Faulty::new(Arc::new(Memory::new()), Script::seeded(seed, odds)));
        let settings = Settings { is_journal_shared: true, ..roomy() };
        let nodes: Vec<Node> = (0..3).map(|_| Node::on(&journal, settings.clone(), SHARED)).collect();
        let mut answers = JoinSet::new();
        for name in 0..90_usize {
            let directory = nodes[name % 3].directory.clone();
            let request = purchase(name % 30, &format!("{name:03}"), 1_700);
            answers.spawn(async move { directory.ask(request, arrival(SOON)).await.answer });
        }
        let answers = answers.join_all().await;
        let approved = answers
            .iter()
            .filter(|answer| answer.outcome == Outcome::Approved && answer.source == Source::Policy)
            .count();
        for node in &nodes {
            node.directory.flush().await;
        }
        journal.heal();
        let by_budget = agrees(&journal).await;
        let used = by_budget.get(&Account::budget("company", None)).copied().unwrap_or_default();
        assert!(used <= 50_000, "seed {seed}: {used}");
        assert_eq!(used, i64::try_from(approved).unwrap() * 1_700, "seed {seed}");
        verified(&journal, SHARED, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_cards_their_budgets_agree_with_them() {
    for seed in 0..4_u64 {
        let journal = Arc::new(Faulty::new(Arc::new(Memory::new()), Script::default()));
        // Accounts leave memory all the while.
        let settings =
            Settings { card_idle_after: Duration::from_millis(2), cards_resident_max: 6, ..roomy() };
        let node = Node::on(&journal, settings, SHARED);
        let mut random = fastrand::Rng::with_seed(seed);
        for step in 0..60 {
            let card = random.usize(..8);
            let name = format!("{seed}-{}", random.usize(..30));
            let amount = random.i64(1..40) * 100;
            match random.usize(..10) {
                0..=4 => {
                    node.directory.ask(purchase(card, &name, amount), arrival(SOON)).await;
                }
                5..=6 => {
                    let heard = heard(card, &name, amount, true);
                    node.directory.book(heard, arrival(SOON)).await.unwrap();
                }
                7 => {
                    let heard = heard(card, &name, amount, false);
                    node.directory.book(heard, arrival(SOON)).await.unwrap();
                }
                8 => {
                    // The budget above, or the person's own: what is held stays where it was.
                    let named = if random.bool() { "budgets: [company]" } else { "budgets: [person]" };
                    node.policy.send_replace(policy(&SHARED.replace("budgets: [person]", named)));
                }
                _ => {
                    node.directory.sweep_once();
                    tokio::task::yield_now().await;
                }
            }
            if step % 20 == 19 {
                agrees(&journal).await;
            }
        }
        let by_budget = agrees(&journal).await;
        for (account, used) in by_budget {
            let (name, key) = account.as_budget().unwrap();
            let view = node.directory.budget(name, key, clock::now()).await.unwrap().unwrap();
            assert_eq!(view.sums.used(), used, "seed {seed}: {account}");
        }
    }
}

#[tokio::test]
async fn a_statement_of_a_balance_counts_what_happened_after_it() {
    let text = "
version: 1
currency: usd
budgets: {person: {per: cardholder, prepaid: true}}
default: {budgets: [person]}
";
    let journal = Arc::new(Faulty::new(Arc::new(Memory::new()), Script::default()));
    let node = Node::on(&journal, roomy(), text);
    let account = Target::Budget { name: "person".to_owned(), key: Some("ich_1".to_owned()) };
    let change = async |(id, wish): (&str, Wish)| {
        let attribution = Attribution { by: "ops".into(), reason: "a test".into() };
        let order = Order { id: id.to_owned(), attribution, wish };
        node.directory.operate(&account, order, clock::now()).await
    };
    let credit = |id, amount| (id, Wish::Credit { amount, currency: Currency::USD });
    let ask = async |name: &str, amount| {
        let answer = node.directory.ask(purchase(1, name, amount), arrival(SOON)).await.answer;
        (answer.outcome, answer.reason.as_str())
    };
    assert_eq!(ask("none", 1).await, (Outcome::Declined, "insufficient_balance"));
    change(credit("a", 5_000)).await.unwrap();
    change(credit("a", 5_000)).await.unwrap();
    assert!(matches!(change(credit("a", 6_000)).await, Err(NotOperated::IdInUse(_))));
    assert_eq!(ask("first", 3_000).await, (Outcome::Approved, "approved"));
    let as_of = clock::now();
    while clock::now() <= as_of {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask("second", 1_500).await, (Outcome::Approved, "approved"));
    // By another ledger 2,600 were left then; 1,500 of that are held since.
    let statement = || ("", Wish::Statement { available: 2_600, currency: Currency::USD, as_of });
    change(statement()).await.unwrap();
    change(statement()).await.unwrap();
    let view = node.directory.budget("person", Some("ich_1"), clock::now()).await.unwrap().unwrap();
    assert_eq!(view.available(), Some(1_100));
    assert_eq!(ask("third", 1_101).await, (Outcome::Declined, "insufficient_balance"));
    assert_eq!(ask("fourth", 1_100).await, (Outcome::Approved, "approved"));
    let wrong = change(("b", Wish::Credit { amount: 1, currency: "eur".parse().unwrap() })).await;
    assert!(matches!(wrong, Err(NotOperated::Currency { .. })), "{wrong:?}");
    verified(&journal, text, 5).await;
}

/// A budget knows nothing of the cards below it, so waking it does not read them.
#[tokio::test]
async fn a_root_reads_the_cards_that_are_asked_for_and_no_others() {
    let journal = Arc::new(Faulty::new(Arc::new(Memory::new()), Script::default()));
    let settings = Settings { card_idle_after: Duration::from_millis(1), ..roomy() };
    let node = Node::on(&journal, settings, SHARED);
    for card in 0..50 {
        let request = purchase(card, &format!("first{card}"), 100);
        let answer = node.directory.ask(request, arrival(SOON)).await.answer;
        assert_eq!(answer.outcome, Outcome::Approved, "{answer:?}");
    }
    while node.directory.resident() > 0 {
        node.directory.sweep_once();
        tokio::task::yield_now().await;
    }
    let answer = node.directory.ask(purchase(7, "again", 100), arrival(SOON)).await.answer;
    assert_eq!(answer.outcome, Outcome::Approved, "{answer:?}");
    assert!(node.directory.resident() <= 3, "the card, its cardholder's budget, and the company");
    assert_eq!(node.held("company", None).await, 5_100);
}
