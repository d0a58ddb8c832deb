//! What an actor does for other nodes: it decides for their askers, leaves standing in to them, and believes the journal
//! more than its memory, since they write there too.

use std::{sync::Arc, time::Duration};

use tollgate::{
    actors::{Cause, Settings},
    domain::{Account, Answer, Decided, Decision, Event, Mention, Outcome, Reason, Source, Timestamp},
    journal::{
        Append, EntryId, Fault, Foreign, Gate, Head, Journal, Outcome as Written, Reach, Row, Scan as _,
        Script, record,
    },
};

use super::{House, SOON, roomy, undecided};
use crate::questions::{arrival, card, question};

/// Else a decision that another node found in the journal, and told Stripe, would be undone behind its back.
#[tokio::test(start_paused = true)]
async fn what_a_peer_has_stopped_waiting_for_stands() {
    let gate = Gate::new();
    let held = Fault::HeldBefore(gate.clone(), Box::new(Fault::None));
    let house = House::new(roomy(), &[("all_time", 5_000)], Script::of([held]));
    let asked = house.directory.decide(question("one", "1", 3_000), arrival(Duration::from_millis(50)));
    assert_eq!(asked.await.map_err(|undecided| undecided.cause), Err(Cause::Deadline));
    gate.open();
    let again = house.ask("1", 3_000).await;
    assert_eq!((again.outcome, again.source), (Outcome::Approved, Source::Policy));
    assert_eq!(house.used().await, 3_000);
    let entries = house.journal.load(&account(), Reach::Genesis).await.unwrap();
    assert_eq!(entries.len(), 1, "nothing was booked in its place: {entries:?}");
}

#[tokio::test]
async fn a_question_is_not_given_up_before_others_were_faster_nine_times() {
    let house = House::new(roomy(), &[("all_time", 5_000)], Script::default());
    let overtaken = |times| (0..times).for_each(|_| house.journal.then(Fault::Overtaken(Foreign::default())));
    overtaken(8);
    let answer = house.ask("1", 3_000).await;
    assert_eq!((answer.reason, answer.source), (Reason::Approved, Source::Policy));
    overtaken(9);
    let answer = house.ask("2", 1_000).await;
    assert_eq!(answer.reason, Reason::StandInJournal);
}

#[tokio::test]
async fn a_node_stands_in_for_its_own_askers_only() {
    let house =
        House::new(Settings { in_flight_max: 0, ..roomy() }, &[("all_time", 5_000)], Script::default());
    let asked = house.directory.decide(question("one", "1", 3_000), arrival(SOON)).await;
    assert_eq!(asked.map_err(|undecided| undecided.cause), Err(Cause::Overload));
    assert_eq!(house.journal.scan(0, 10).await.unwrap(), [], "nothing was answered, and nothing booked");
}

/// Another node may have stood in for a question that this one decided: nothing is appended for a repeated question, so
/// that no conflict would tell.
#[tokio::test]
async fn a_repeated_question_is_answered_as_the_journal_has_it() {
    for (is_journal_shared, expected) in [(true, Source::StandIn), (false, Source::Policy)] {
        let house =
            House::new(Settings { is_journal_shared, ..roomy() }, &[("all_time", 5_000)], Script::default());
        let first = house.ask("1", 3_000).await;
        assert_eq!(first.source, Source::Policy);
        assert_eq!(house.ask("1", 3_000).await, first, "nobody has written meanwhile");
        void_elsewhere(&house).await;
        let again: Answer = house.ask("1", 3_000).await;
        assert_eq!(again.source, expected, "shared: {is_journal_shared}");
    }
}

#[tokio::test]
async fn a_stand_in_gives_the_answer_that_is_known() {
    for is_journal_shared in [true, false] {
        let house =
            House::new(Settings { is_journal_shared, ..roomy() }, &[("all_time", 5_000)], Script::default());
        let first = house.ask("1", 3_000).await;
        assert_eq!(first.source, Source::Policy);
        assert_eq!(house.stand_in(question("one", "1", 3_000), Cause::Overload), first);
    }
}

#[tokio::test]
async fn a_stand_in_says_the_same_again_whatever_the_cause() {
    for is_journal_shared in [true, false] {
        let house =
            House::new(Settings { is_journal_shared, ..roomy() }, &[("all_time", 5_000)], Script::default());
        let [first, again] =
            [Cause::Journal, Cause::Deadline].map(|cause| house.stand_in(question("one", "1", 3_000), cause));
        assert_eq!(again, first, "shared: {is_journal_shared}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_for_a_peer_gives_way_to_a_stand_in_that_left_before_it_was_durable() {
    let gate = Gate::new();
    let held = Fault::HeldBefore(gate.clone(), Box::new(Fault::None));
    let settings = Settings { is_journal_shared: true, ..roomy() };
    let house = House::new(settings, &[("all_time", 5_000)], Script::of([held]));
    let directory = house.directory.clone();
    let asked = tokio::spawn(async move {
        directory.decide(question("one", "1", 3_000), arrival(SOON)).await.map(|timed| timed.answer)
    });
    gate.arrived().await;
    let duplicate = house.stand_in(question("one", "1", 3_000), Cause::Overload);
    assert_eq!(duplicate.source, Source::StandIn);
    gate.open();
    assert_eq!(asked.await.unwrap().ok(), Some(duplicate.clone()));
    assert_eq!(house.ask("1", 3_000).await, duplicate);
    house.directory.flush().await;
    assert_eq!(house.used().await, 0);
}

/// Two nodes on one journal, and the owner of the card is the arbiter.
fn two_nodes() -> (House, House) {
    let settings = || Settings { is_journal_shared: true, ..roomy() };
    let owner = House::new(settings(), &[("all_time", 5_000)], Script::default());
    let other = House::on(owner.journal.clone(), settings(), &[("all_time", 5_000)], Script::default());
    (owner, other)
}

/// A database that comes back decides what was asked before it went, and one of the nodes has stood in meanwhile.
#[tokio::test]
async fn a_stand_in_of_another_node_takes_the_place_of_a_decision_that_has_not_left() {
    let (owner, other) = two_nodes();
    let gate = owner.journal.hold_next();
    let directory = owner.directory.clone();
    let asked =
        tokio::spawn(async move { directory.ask(question("one", "1", 3_000), arrival(SOON)).await.answer });
    gate.arrived().await;
    let undecided = undecided(question("one", "1", 3_000), Cause::Journal);
    let claim = async |claim| Some(owner.directory.agree(claim));
    let told = other.directory.stand_in_with(&undecided, claim).await.answer;
    assert_eq!((told.source, told.outcome), (Source::StandIn, Outcome::Declined));
    gate.open();
    assert_eq!(asked.await.unwrap(), told);
    for house in [&owner, &other] {
        assert_eq!(house.ask("1", 3_000).await, told);
    }
    other.directory.flush().await;
    assert_eq!(owner.used().await, 0);
}

#[tokio::test]
async fn a_node_that_cannot_decide_gives_the_answer_of_the_one_that_could() {
    let (owner, other) = two_nodes();
    let first = owner.ask("1", 3_000).await;
    assert_eq!((first.source, first.outcome), (Source::Policy, Outcome::Approved));
    let undecided = undecided(question("one", "1", 3_000), Cause::Journal);
    let claim = async |claim| Some(owner.directory.agree(claim));
    assert_eq!(other.directory.stand_in_with(&undecided, claim).await.answer, first);
    other.directory.flush().await;
    assert_eq!(owner.used().await, 3_000);
    let entries = owner.journal.scan(0, 10).await.unwrap();
    assert_eq!(entries.len(), 1, "nothing was recorded in its place: {entries:?}");
}

/// A node may decide in place of the owner, which has stood in for a duplicate meanwhile.
#[tokio::test]
async fn a_decision_in_place_of_the_owner_gives_way_to_what_the_owner_has_answered() {
    let (owner, other) = two_nodes();
    let first = owner.stand_in(question("one", "1", 3_000), Cause::Journal);
    owner.directory.flush().await;
    // It does not know yet of what the owner has written.
    let claim = async |claim| Some(owner.directory.agree(claim));
    let request = Arc::new(question("one", "1", 3_000));
    let decided = Answer { source: Source::Policy, outcome: Outcome::Approved, ..first.clone() };
    let told = other.directory.confirm(&request, decided.into(), claim).await.answer;
    assert_eq!(told, first);
    assert_eq!(other.ask("1", 3_000).await, first);
}

/// A node that has stood in for the only question in the books writes so.
async fn void_elsewhere(house: &House) {
    let entries = house.journal.load(&account(), Reach::Genesis).await.unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    let events = record::decode(&entry.body).unwrap();
    let [Event::Decided(decided)] = &events[..] else { panic!("{events:?}") };
    let decision = Decision {
        outcome: Outcome::Declined,
        granted: 0,
        reason: Reason::StandInDeadline,
        source: Source::StandIn,
        ..decided.decision.clone()
    };
    let request = Arc::clone(&decided.request);
    let mentions = vec![Mention::from(&request.authorization)];
    let voids = Event::StoodIn(Box::new(Decided { request, decision }));
    let head = Head { seq: entry.seq, id: entry.id };
    let body = record::encode(&[voids]);
    let row = Row { account: account(), head, is_snapshot: false, mentions, body };
    let append = Append::one(EntryId::new(7), row);
    let written = house.journal.append(Arc::from([append])).await;
    assert!(matches!(written[..], [Written::Durable { .. }]), "{written:?}");
}

fn account() -> Account {
    Account::from(&card("one"))
}

/// A decision that another node made for this node's asker, and whose answer never got here: Stripe has the stand-in's.
/// One that was made for another delivery of the question, sooner or later or at the same time, was told by whichever
/// node had that: an approval that Stripe may have keeps its hold.
#[tokio::test]
async fn a_stand_in_takes_the_place_of_a_decision_that_was_lost_on_its_way_and_of_no_other() {
    for (later_us, expected) in [(0, Source::StandIn), (1, Source::Policy), (-1, Source::Policy)] {
        let settings = || Settings { is_journal_shared: true, ..roomy() };
        let owner = House::new(settings(), &[("all_time", 5_000)], Script::default());
        let shared: Arc<dyn Journal> = owner.journal.clone();
        let asked = House::on(shared, settings(), &[("all_time", 5_000)], Script::default());
        let mut request = question("one", "1", 3_000);
        // What the card has seen before may be of a later time: requests overtake each other between nodes.
        let mut other = question("one", "2", 100);
        other.received_at = other.received_at.plus(Duration::from_millis(1));
        owner.directory.decide(other, arrival(SOON)).await.unwrap();
        owner.directory.decide(request.clone(), arrival(SOON)).await.unwrap();
        request.received_at = Timestamp::from_micros(request.received_at.as_micros() + later_us);
        // The other node cannot be asked.
        let undecided = undecided(request, Cause::Deadline);
        let told = asked.directory.stand_in_with(&undecided, async |_| None).await.answer;
        assert_eq!(told.source, Source::StandIn);
        asked.directory.flush().await;
        assert_eq!(asked.ask("1", 3_000).await, told, "received {later_us} us later");
        assert_eq!(owner.ask("1", 3_000).await.source, expected, "received {later_us} us later");
        assert_eq!(asked.used().await, if expected == Source::Policy { 3_100 } else { 100 });
    }
}
