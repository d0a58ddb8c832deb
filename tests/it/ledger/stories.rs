//! What a ledger does, turn by turn.

use std::{sync::Arc, time::Duration};

use tollgate::{
    domain::{
        AuthorizationSeen, AuthorizationStatus, Event, Fact, Joined, ListedTransaction, Timestamp,
        TransactionId, TransactionKind,
    },
    journal::{EntryId, Outcome, record},
    ledger::{Message, Work},
};

use super::{Story, WITHIN, away, card_account, stand_in};
use crate::questions::{card, policy, question, told};

#[test]
fn a_reply_leaves_when_its_own_entry_is_durable_and_no_sooner() {
    let mut story = Story::new();
    assert_eq!(story.asks("a", 600), "append in time: decided a approved");
    // One append at a time: what is decided meanwhile waits, on the tentative state.
    assert_eq!(story.asks("b", 600), "");
    assert_eq!(story.asks("c", 400), "");
    assert_eq!(
        story.is_durable(),
        "release a: approved; append in time: decided b declined, decided c approved"
    );
    assert_eq!(story.is_durable(), "release b: declined; release c: approved");
    assert_eq!(story.held(), 1_000);
}

#[test]
fn a_repeated_request_is_decided_once_and_answered_with_the_first() {
    let mut story = Story::new();
    let request = question("one", "a", 600);
    assert_eq!(story.asks_for("first", request.clone()), "append in time: decided a approved");
    assert_eq!(story.asks_for("second", request.clone()), "note Repeated");
    assert_eq!(story.is_durable(), "release first second: approved");
    assert_eq!(story.asks_for("third", request), "note Repeated; repeat third: approved");
    assert_eq!(story.held(), 600);
}

#[test]
fn a_lost_place_is_read_again_and_decided_again() {
    for outcome in [Outcome::Conflict, Outcome::Unknown] {
        let mut story = Story::new();
        story.asks("a", 600);
        story.asks("b", 300);
        let id = story.appends[0].id;
        let other = stand_in("other", 1);
        story.another_writes(&[Event::StoodIn(Box::new(other))]);
        assert_eq!(story.ends(outcome), "note Conflict; reload", "{outcome:?}");
        // Nothing leaves before the chain tells what became of it.
        assert_eq!(story.asks("c", 300), "");
        assert_eq!(
            story.reloaded(id),
            "append in time: decided a approved, decided b approved, decided c declined"
        );
        assert_eq!(story.is_durable(), "release a: approved; release b: approved; release c: declined");
    }
}

#[test]
fn an_append_of_unknown_outcome_that_is_in_the_chain_is_released() {
    let mut story = Story::new();
    story.asks("a", 600);
    let append = story.appends[0].clone();
    let id = append.id;
    story.write(append);
    assert_eq!(story.ends(Outcome::Unknown), "note Conflict; reload");
    assert_eq!(story.reloaded(id), "release a: approved");
    assert_eq!(story.held(), 600);
}

#[test]
fn places_lost_over_and_over_end_in_the_stand_in() {
    let mut story = Story::new();
    story.asks("a", 600);
    for round in 0..8 {
        let id = story.appends[0].id;
        story.ends(Outcome::Conflict);
        assert_eq!(story.reloaded(id), "append in time: decided a approved", "round {round}");
    }
    let id = story.appends[0].id;
    story.ends(Outcome::Conflict);
    assert_eq!(story.reloaded(id), "give up a: journal");
    assert_eq!(story.held(), 0);
}

#[test]
fn what_was_not_written_for_want_of_time_is_undone_without_a_look_into_the_journal() {
    let mut story = Story::new();
    story.asks("a", 600);
    assert_eq!(story.asks("b", 600), "");
    // b was declined beside a; without a it is approved.
    assert_eq!(story.ends(Outcome::Expired), "give up a: overload; append in time: decided b approved");
    assert_eq!(story.held(), 600);
}

#[test]
fn what_the_journal_refuses_is_given_up_and_the_account_read_again() {
    let mut story = Story::new();
    story.asks("a", 600);
    story.asks("b", 300);
    assert_eq!(story.ends(Outcome::Rejected), "note Rejected; give up a: journal; give up b: journal; load");
    assert_eq!(story.asks("c", 1_000), "");
    assert_eq!(story.loaded(), "note Loaded; append in time: decided c approved");
}

#[test]
fn a_decision_that_nobody_waits_for_any_more_is_not_written() {
    let mut story = Story::new();
    story.asks("a", 100);
    story.asks("b", 600);
    story.now += WITHIN + Duration::from_millis(1);
    // Its own time has just begun: only b is dead, and c is decided without it.
    assert_eq!(story.asks("c", 900), "");
    assert_eq!(
        story.is_durable(),
        "release a: approved; give up b: deadline; append in time: decided c approved"
    );
    assert_eq!(story.asks("late", 1), "");
}

#[test]
fn a_request_that_comes_too_late_is_not_decided() {
    let mut story = Story::unread();
    assert_eq!(story.asks("a", 100), "load");
    story.now += WITHIN;
    assert_eq!(story.loaded(), "note Loaded; give up a: deadline");
}

#[test]
fn a_decision_that_was_not_heard_is_voided_by_the_stand_ins() {
    let mut story = Story::new();
    story.asks("a", 600);
    assert_eq!(story.is_durable(), "release a: approved");
    let unheard = Message::Unheard(card_account(), Box::new(stand_in("a", 600)));
    assert_eq!(story.turn(unheard), "append later: stood in a declined");
    assert_eq!(story.held(), 0);
    // Once is enough.
    assert_eq!(story.turn(Message::Unheard(card_account(), Box::new(stand_in("a", 600)))), "");
    assert_eq!(story.is_durable(), "");
    assert_eq!(story.asks("a", 600), "note Repeated; repeat a: declined");
}

#[test]
fn a_stand_in_decision_takes_the_place_of_one_that_has_not_left() {
    let mut story = Story::new();
    story.asks("a", 600);
    assert_eq!(story.stands_in("a", 600), "");
    assert_eq!(story.held(), 0);
    assert_eq!(story.is_durable(), "release a: declined by the stand-in; append later: stood in a declined");
    // Nor does one that is durable stay, if its answer has certainly not left.
    let mut story = Story::new();
    story.asks("a", 600);
    story.is_durable();
    assert_eq!(story.records(None, stand_in("a", 600)), "append later: stood in a declined");
    assert_eq!(story.held(), 0);
}

/// Nobody could say then whether Stripe has the approval: its hold has to stay.
#[test]
fn a_stand_in_decision_leaves_what_was_answered_to_another_delivery() {
    let other_delivery = |name: &str| {
        let mut alone = stand_in(name, 600);
        let request = Arc::make_mut(&mut alone.request);
        request.received_at = request.received_at.plus(Duration::from_millis(1));
        alone
    };
    // In memory already.
    let mut story = Story::shared();
    story.asks("a", 600);
    story.is_durable();
    assert_eq!(story.records(Some("a"), other_delivery("a")), "");
    assert_eq!(story.held(), 600);
    // Written by another node before the append gets in.
    let mut elsewhere = Story::new();
    elsewhere.asks("a", 600);
    let decided = record::decode(&elsewhere.appends[0].rows[0].body).unwrap();
    let mut story = Story::shared();
    assert_eq!(story.records(Some("a"), other_delivery("a")), "append later: stood in a declined");
    let id = story.appends[0].id;
    story.another_writes(&decided);
    assert_eq!(story.ends(Outcome::Conflict), "note Conflict; reload");
    assert_eq!(story.reloaded(id), "");
    assert_eq!(story.held(), 600);
    // Written while the journal did not take it.
    let mut story = Story::shared();
    story.records(Some("a"), other_delivery("a"));
    assert_eq!(story.ends(Outcome::Rejected), "note Rejected; pause Record; load");
    story.another_writes(&decided);
    assert_eq!(story.loaded(), "note Loaded");
    assert_eq!(story.held(), 600);
    assert!(!story.ledger.is_busy());
    // One that was made for the very same delivery got lost on its way to whoever stood in.
    let mut story = Story::shared();
    story.another_writes(&decided);
    let mut same_delivery = stand_in("a", 600);
    let [Event::Decided(other)] = &decided[..] else { panic!("{decided:?}") };
    Arc::make_mut(&mut same_delivery.request).received_at = other.request.received_at;
    assert_eq!(story.records(Some("a"), same_delivery), "append later: stood in a declined");
    let own = story.appends[0].id;
    assert_eq!(story.ends(Outcome::Conflict), "note Conflict; reload");
    assert_eq!(story.reloaded(own), "append later: stood in a declined");
    assert_eq!(story.held(), 0);
}

#[test]
fn what_can_wait_goes_with_what_cannot() {
    let mut story = Story::new();
    assert_eq!(story.stands_in("s", 1), "append later: stood in s declined");
    assert_eq!(story.asks("a", 600), "withdraw");
    let id = story.appends.remove(0).id;
    assert_eq!(story.turn(Message::Withdrawn(id)), "append in time: stood in s declined, decided a approved");
    assert_eq!(story.is_durable(), "release a: approved");
    // One that is on its way already is asked for once.
    story.stands_in("t", 1);
    assert_eq!(story.asks("b", 100), "withdraw");
    assert_eq!(story.asks("c", 100), "");
    assert_eq!(story.is_durable(), "append in time: decided b approved, decided c approved");
}

#[test]
fn stand_in_decisions_that_the_journal_does_not_take_are_kept() {
    let mut story = Story::new();
    story.stands_in("s", 1);
    assert_eq!(story.ends(Outcome::Rejected), "note Rejected; pause Record; load");
    assert!(story.ledger.is_busy());
    assert_eq!(story.cannot_be_loaded(), "note NotLoaded");
    let record = || Message::Due(tollgate::ledger::Timer::Record);
    assert_eq!(story.turn(record()), "load; pause Record");
    assert_eq!(story.loaded(), "note Loaded");
    assert_eq!(story.turn(record()), "append later: stood in s declined");
    assert_eq!(story.is_durable(), "");
    assert!(!story.ledger.is_busy());
}

#[test]
fn an_account_that_cannot_be_loaded_gives_up_what_waits_and_leaves() {
    let mut story = Story::unread();
    story.asks("a", 600);
    assert_eq!(story.tells("t", told("one", "x", 1, true, "webhook_approved")), "");
    assert_eq!(story.cannot_be_loaded(), "give up a: journal; give up t: journal; note NotLoaded; leave");
}

#[test]
fn no_more_work_waits_than_may() {
    let mut story = Story::unread();
    story.settings.queue_max = 2;
    assert_eq!((story.asks("a", 1), story.asks("b", 1)), ("load".to_owned(), String::new()));
    assert_eq!(story.asks("c", 1), "note QueueFull; give up c: overload");
    // Stripe has a stand-in decision already: it is not turned away.
    assert_eq!(story.stands_in("s", 1), "");
    assert_eq!(
        story.loaded(),
        "note Loaded; append in time: decided a approved, decided b approved, stood in s declined"
    );
}

#[test]
fn nothing_stands_behind_an_append_that_is_in_doubt() {
    let mut story = Story::new();
    story.asks("a", 100);
    story.is_journal_in_trouble = true;
    assert_eq!(story.asks("b", 100), "give up b: journal");
    story.is_journal_in_trouble = false;
    assert_eq!(story.is_durable(), "release a: approved");
}

#[test]
fn an_answer_that_another_node_may_have_voided_is_looked_up() {
    let mut story = Story::new();
    story.settings.is_journal_shared = true;
    story.asks("a", 600);
    assert_eq!(story.is_durable(), "release a: approved");
    assert_eq!(story.asks("a", 600), "find soon");
    let work = story.sought.remove(0);
    // The journal does not say in good time: what is in memory is believed.
    let shown = story.turn(Message::Found { account: card_account(), work, changes: 1, result: Err(away()) });
    assert!(shown.starts_with("note RepeatedFromMemory") && shown.ends_with("repeat a: approved"), "{shown}");
}

#[test]
fn an_account_leaves_behind_a_snapshot_and_only_when_there_is_nothing_to_do() {
    let mut story = Story::new();
    story.asks("a", 600);
    assert_eq!(story.turn(Message::Leave), "");
    story.is_durable();
    assert_eq!(story.turn(Message::Leave), "append later: snapshot");
    assert_eq!(story.is_durable(), "leave");

    // A request on the way there keeps it.
    let mut story = Story::new();
    story.asks("a", 600);
    story.is_durable();
    story.turn(Message::Leave);
    assert_eq!(story.asks("b", 100), "withdraw");
    assert_eq!(story.is_durable(), "append in time: decided b approved");

    // Nothing was written since the last one.
    let mut story = Story::new();
    assert_eq!(story.turn(Message::Leave), "leave");
}

#[test]
fn a_new_window_is_counted_from_the_whole_history() {
    let mut story = Story::new();
    let mut early = question("one", "early", 100);
    early.received_at = early.received_at.minus(Duration::from_hours(72));
    early.created = early.received_at;
    let at = early.received_at;
    story.asks_for("early", early);
    story.is_durable();
    let mut captured = told("one", "early", 100, true, "webhook_approved");
    (captured.created, captured.received_at) = (at, at);
    captured.fact = settled(&captured.fact, 100, at);
    story.tells("captured", captured);
    story.is_durable();
    story.asks("a", 600);
    story.is_durable();
    // The snapshot lets go of what is settled and old.
    story.turn(Message::Leave);
    story.is_durable();
    let mut later = Story::unread();
    later.chain = story.chain;
    later.asks("nobody", 0);
    later.now += WITHIN;
    later.loaded();
    later.policy = policy("new", &[("yearly", 1_000)]);
    let mut request = question("one", "b", 500);
    request.created = request.received_at;
    assert_eq!(later.asks_for("b", request), "load history", "{:?}", later.chain.len());
    let policy = later.policy.for_card(None, None);
    let windows = policy.controls.spending_limits.iter().map(|limit| &limit.window);
    let folded = tollgate::ledger::fold_history(&later.chain, windows, false).unwrap();
    assert_eq!(
        later.turn(Message::Loaded(card_account(), Ok(Box::new(folded)))),
        "note Loaded; append in time: decided b declined"
    );
}

/// The authorization of this fact, closed with so much captured.
fn settled(fact: &Fact, amount: i64, created: Timestamp) -> Fact {
    let Fact::Authorization(seen) = fact else { panic!("it is of an authorization") };
    let listed = vec![ListedTransaction {
        id: TransactionId::new("ipi_1").unwrap(),
        kind: TransactionKind::Capture,
        amount: -amount,
        created,
    }];
    let status = AuthorizationStatus::Closed;
    Fact::Authorization(Box::new(AuthorizationSeen { status, listed, transactions: 1, ..(**seen).clone() }))
}

#[test]
fn purchases_of_a_replacement_card_go_to_the_chain_of_the_first() {
    let mut story = Story::new();
    let mut request = question("one", "a", 600);
    request.replacement_for = Some(card("zero"));
    assert_eq!(story.asks_for("a", request), "append now: joined for good");
    assert_eq!(story.is_durable(), "hand on to ic_zero");
    assert!(matches!(&story.handed_on[0], Work::Request(request) if request.hops.count == 1));
    assert_eq!(story.asks("b", 100), "hand on to ic_zero");
}

#[test]
fn what_was_bought_before_the_replacement_was_known_is_carried_over_first() {
    let mut story = Story::new();
    story.asks("early", 400);
    story.is_durable();
    let mut request = question("one", "a", 600);
    request.replacement_for = Some(card("zero"));
    assert_eq!(story.asks_for("a", request), "append now: joined");
    assert_eq!(story.is_durable(), "carry over to ic_zero");
    assert_eq!(story.asks("b", 100), "");
    let failed = story.turn(Message::CarriedOver(card_account(), Err(away())));
    assert!(failed.starts_with("note NotCarriedOver") && failed.ends_with("pause CarryOver"), "{failed}");
    assert_eq!(
        story.turn(Message::Due(tollgate::ledger::Timer::CarryOver(card_account()))),
        "carry over to ic_zero"
    );
    assert_eq!(story.turn(Message::CarriedOver(card_account(), Ok(()))), "append now: joined for good");
    assert_eq!(story.is_durable(), "hand on to ic_zero; hand on to ic_zero");
}

#[test]
fn a_step_into_another_chain_by_another_node_turns_decisions_away() {
    let mut story = Story::new();
    story.asks("a", 600);
    let id = story.appends[0].id;
    story.another_writes(&[Event::Joined(Joined { card: card("zero"), is_carried: true })]);
    story.ends(Outcome::Conflict);
    assert_eq!(story.reloaded(id), "give up a: journal");
    assert_eq!(story.asks("b", 100), "hand on to ic_zero");
}

#[test]
fn what_came_of_an_append_of_before_is_of_no_consequence() {
    let mut story = Story::new();
    story.asks("a", 600);
    assert_eq!(story.turn(Message::Committed(EntryId::new(999), Outcome::Rejected)), "");
    assert_eq!(story.turn(Message::Withdrawn(EntryId::new(999))), "");
    assert_eq!(story.is_durable(), "release a: approved");
}
