//! Cards that share budgets, turn by turn: all accounts of a purchase have it, or none.

use std::sync::Arc;

use tollgate::{
    config::policy_file,
    domain::{Account, Action, Currency, Fact, Policy},
    journal::{EntryId, Outcome},
    ledger::Message,
};

use super::{Story, WITHIN, exceptions::orders, stand_in};
use crate::questions::{question, told};

fn policy(text: &str) -> Arc<Policy> {
    let parsed = policy_file::read(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    Arc::new(parsed.policy)
}

const SHARED: &str = "
version: 1
currency: usd
budgets:
  company: {spending_limits: [{amount: 1000, interval: all_time}], owners: [finance]}
  team: {parent: company, spending_limits: [{amount: 800, interval: all_time}]}
default: {budgets: [team], spending_limits: [{amount: 700, interval: all_time}]}
";

fn company() -> Account {
    Account::budget("company", None)
}

fn team() -> Account {
    Account::budget("team", None)
}

/// The cards one and two, and the budgets, all in memory.
fn shared(text: &str) -> Story {
    let mut story = Story::new();
    story.policy = policy(text);
    assert_eq!(story.asks("nobody", 0), "load budget:team");
    story.now += WITHIN;
    assert_eq!(story.loaded_of(&team()), "note Loaded budget:team; give up nobody: deadline");
    assert_eq!(story.asks("nobody", 0), "load budget:company");
    story.now += WITHIN;
    assert_eq!(story.loaded_of(&company()), "note Loaded budget:company; give up nobody: deadline");
    assert_eq!(story.asks_for("nobody", question("two", "nobody", 0)), "load ic_two");
    story.now += WITHIN;
    let two = Account::new("ic_two").unwrap();
    assert_eq!(story.loaded_of(&two), "note Loaded ic_two; give up nobody: deadline");
    story
}

fn used(story: &Story, account: &Account) -> i64 {
    story.ledger.budget(account).unwrap().sums.used()
}

#[test]
fn a_purchase_is_held_on_the_card_and_on_every_budget_in_one_append() {
    let mut story = shared(SHARED);
    assert_eq!(
        story.asks("a", 500),
        "append in time: charges 2, decided a approved | budget:company: leg a 500 | budget:team: leg a 500"
    );
    // The other card sees it before it is durable.
    assert_eq!(story.asks_for("b", question("two", "b", 400)), "");
    assert_eq!(story.asks_for("c", question("two", "c", 300)), "");
    assert_eq!(
        story.is_durable(),
        "release a: approved; append in time: ic_two: charges 2, decided b declined, decided c approved | \
         budget:company: leg b 0, leg c 300 | budget:team: leg b 0, leg c 300"
    );
    assert_eq!(story.is_durable(), "release b: declined; release c: approved");
    assert_eq!((used(&story, &team()), used(&story, &company())), (800, 800));
}

#[test]
fn what_stripe_says_later_moves_every_leg() {
    let mut story = shared(SHARED);
    story.asks("a", 500);
    story.is_durable();
    // Released in part, and then at all.
    let shown = story.tells("t", told("one", "a", 200, true, "webhook_approved"));
    assert!(shown.contains("budget:company: leg a -300 | budget:team: leg a -300"), "{shown}");
    story.is_durable();
    assert_eq!((used(&story, &team()), used(&story, &company())), (200, 200));
    // A network takes more than anybody allowed: it counts everywhere, and is noted where it passes a limit.
    let mut forced = told("two", "forced", 900, true, "network_stip");
    if let Fact::Authorization(seen) = &mut forced.fact {
        seen.holder = Some(Box::default());
    }
    let shown = story.tells("f", forced);
    assert!(shown.contains("note Overrun budget:team; note Overrun budget:company"), "{shown}");
    story.is_durable();
    assert_eq!((used(&story, &team()), used(&story, &company())), (1_100, 1_100));
}

#[test]
fn a_lost_place_on_one_account_takes_none_of_them() {
    for outcome in [Outcome::Conflict, Outcome::Unknown] {
        let mut story = shared(SHARED);
        story.asks("a", 500);
        story.asks_for("b", question("two", "b", 200));
        let id = story.appends[0].id;
        // Another node has decided a purchase of a third card meanwhile.
        let mut elsewhere = shared(SHARED);
        elsewhere.ids = 1_000;
        elsewhere.asks_for("x", question("two", "x", 600));
        let append = elsewhere.appends.remove(0);
        story.write(append);
        assert_eq!(story.ends(outcome), "note Conflict; reload", "{outcome:?}");
        // Nothing is decided on what is in doubt.
        assert_eq!(story.asks("c", 100), "");
        assert_eq!(
            story.reloaded(id),
            "append in time: charges 2, decided a declined, decided c approved | ic_two: charges 2, decided b declined | \
             budget:company: leg a 0, leg b 0, leg c 100 | budget:team: leg a 0, leg b 0, leg c 100"
        );
        // The card two had 600 of its own 700 by then.
        assert_eq!((used(&story, &team()), used(&story, &company())), (700, 700));
    }
}

#[test]
fn what_was_not_written_in_time_is_undone_on_every_account() {
    let mut story = shared(SHARED);
    story.asks("a", 500);
    assert_eq!(story.asks_for("b", question("two", "b", 600)), "");
    assert_eq!(
        story.ends(Outcome::Expired),
        "give up a: overload; append in time: ic_two: charges 2, decided b approved | \
         budget:company: leg b 600 | budget:team: leg b 600"
    );
    assert_eq!((used(&story, &team()), used(&story, &company())), (600, 600));
}

#[test]
fn a_decision_that_came_too_late_is_taken_off_every_account() {
    let mut story = shared(SHARED);
    story.asks("a", 500);
    story.is_durable();
    let unheard = Message::Unheard(super::card_account(), Box::new(stand_in("a", 500)));
    assert_eq!(
        story.turn(unheard),
        "append later: charges 2, stood in a declined | budget:company: leg a -500 | budget:team: leg a -500"
    );
    assert_eq!((used(&story, &team()), used(&story, &company())), (0, 0));
}

#[test]
fn stand_in_decisions_that_the_journal_does_not_take_count_on_every_account() {
    let mut story = shared(SHARED);
    story.asks("a", 500);
    story.is_durable();
    story.turn(Message::Unheard(super::card_account(), Box::new(stand_in("a", 500))));
    let shown = story.ends(Outcome::Rejected);
    assert_eq!(shown, "note Rejected; pause Record; load; load budget:team; load budget:company");
    for account in [company(), team(), super::card_account()] {
        story.loaded_of(&account);
    }
    assert_eq!((used(&story, &team()), used(&story, &company())), (0, 0));
    let shown = story.turn(Message::Due(tollgate::ledger::Timer::Record));
    assert!(shown.contains("budget:company: leg a -500 | budget:team: leg a -500"), "{shown}");
    story.is_durable();
    for account in [team(), company()] {
        assert_eq!(story.folded(&account).budget.sums.used(), 0, "{account}");
    }
}

#[test]
fn an_authorization_stays_with_the_budgets_that_it_charged_first() {
    let mut story = shared(SHARED);
    story.asks("a", 300);
    story.is_durable();
    // The card moves to a budget of its own.
    story.policy = policy(&SHARED.replace("default: {budgets: [team]", "default: {budgets: [company]"));
    let mut increment = question("one", "a", 100);
    (increment.history_entries, increment.approved_before) = (1, 300);
    increment.event = tollgate::domain::EventId::new("evt_a_2").unwrap();
    let shown = story.asks_for("more", increment);
    assert!(shown.contains("budget:company: leg a 100 | budget:team: leg a 100"), "{shown}");
    story.is_durable();
    let shown = story.asks("b", 200);
    assert!(shown.contains("charges 1, decided b approved"), "{shown}");
    story.is_durable();
    assert_eq!((used(&story, &team()), used(&story, &company())), (400, 600));
}

const PREPAID: &str = "
version: 1
currency: usd
budgets: {team: {prepaid: true}}
default: {budgets: [team]}
";

fn credit(story: &mut Story, id: &str, amount: i64) -> String {
    orders(story, &team(), id, Action::Credit { amount, currency: Currency::USD })
}

#[test]
fn a_balance_is_never_overdrawn_and_takes_each_credit_once() {
    let mut story = Story::new();
    story.policy = policy(PREPAID);
    assert_eq!(credit(&mut story, "top-up-1", 1_000), "load budget:team");
    assert_eq!(
        story.loaded_of(&team()),
        "note Loaded budget:team; append now: budget:team: credit top-up-1 1000"
    );
    // The same one again, before and after it is durable.
    assert_eq!(credit(&mut story, "top-up-1", 1_000), "");
    assert_eq!(story.is_durable(), "receipt operator; receipt operator");
    assert_eq!(credit(&mut story, "top-up-1", 1_000), "receipt operator");
    story.asks("a", 700);
    assert_eq!(story.is_durable(), "release a: approved");
    story.asks("b", 400);
    assert_eq!(story.is_durable(), "release b: declined");
    credit(&mut story, "correction", -100);
    story.is_durable();
    story.asks("c", 201);
    assert_eq!(story.is_durable(), "release c: declined");
    story.asks("d", 200);
    assert_eq!(story.is_durable(), "release d: approved");
    assert_eq!(story.ledger.budget(&team()).unwrap().available(), 0);
}

#[test]
fn a_new_limit_of_a_budget_counts_its_whole_history() {
    let mut story = shared(SHARED);
    story.asks("a", 500);
    story.is_durable();
    story.policy =
        policy(&SHARED.replace("amount: 800, interval: all_time", "amount: 600, interval: yearly"));
    assert_eq!(story.asks("b", 200), "load history budget:team");
    let team_policy = story.policy.budgets().get("team").unwrap().clone();
    let chain: Vec<_> = story.chain.iter().filter(|entry| entry.account == team()).cloned().collect();
    let folded = tollgate::ledger::fold_budget_history(&chain, &team_policy).unwrap();
    let shown = story.turn(Message::Loaded(team(), Ok(Box::new(folded))));
    assert_eq!(
        shown,
        "note Loaded budget:team; append in time: charges 2, decided b declined | budget:company: leg b 0 | budget:team: leg b 0"
    );
}

#[test]
fn a_budget_whose_refunds_give_back_from_now_on_counts_its_whole_history() {
    let mut story = shared(SHARED);
    story.asks("a", 500);
    story.is_durable();
    story.policy = policy(&SHARED.replace("parent: company,", "parent: company, refunds_restore: true,"));
    assert_eq!(story.asks("b", 200), "load history budget:team");
    // And once it has it, it is asked for no more.
    let team_policy = story.policy.budgets().get("team").unwrap().clone();
    let chain: Vec<_> = story.chain.iter().filter(|entry| entry.account == team()).cloned().collect();
    let folded = tollgate::ledger::fold_budget_history(&chain, &team_policy).unwrap();
    story.turn(Message::Loaded(team(), Ok(Box::new(folded))));
    assert_eq!(story.is_durable(), "release b: approved");
    assert!(story.ledger.budget(&team()).unwrap().refunds_restore);
}

#[test]
fn accounts_leave_a_root_that_is_in_use_one_by_one() {
    let mut story = shared(SHARED);
    story.asks("a", 100);
    story.is_durable();
    story.now += WITHIN;
    story.asks_for("b", question("two", "b", 100));
    story.is_durable();
    assert_eq!(story.ledger.accounts(), 4);
    let before = story.now - WITHIN / 2;
    assert_eq!(story.turn(Message::Sweep(before)), "append later: snapshot");
    assert_eq!(story.is_durable(), "");
    assert_eq!(story.ledger.accounts(), 3);
    assert_eq!(
        story.turn(Message::Leave),
        "append later: ic_two: snapshot | budget:company: snapshot | budget:team: snapshot"
    );
    assert_eq!(story.is_durable(), "leave");
    assert_eq!(story.folded(&company()).budget.sums.held, 200);
    let recorded: Vec<EntryId> = story.chain.iter().map(|entry| entry.id).collect();
    assert_eq!(recorded.len(), 3 + 3 + 1 + 3);
    assert!(
        story.chain.iter().all(|entry| !tollgate::journal::record::decode(&entry.body).unwrap().is_empty())
    );
}

#[test]
fn a_card_stays_while_its_request_waits_for_a_budget() {
    let mut story = Story::new();
    story.policy = policy(SHARED);
    assert_eq!(story.asks("a", 500), "load budget:team");
    story.now += WITHIN / 4;
    assert_eq!(story.turn(Message::Sweep(story.now)), "");
    assert_eq!(story.loaded_of(&team()), "note Loaded budget:team; load budget:company");
    assert_eq!(
        story.loaded_of(&company()),
        "note Loaded budget:company; append in time: charges 2, decided a approved | budget:company: leg a 500 | \
         budget:team: leg a 500"
    );
}
