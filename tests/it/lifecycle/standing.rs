//! Whose word on a card counts: that of its own events, or of the request that embeds it.

use tollgate::domain::{Card, CardSeen, Event, Fact, State, Timestamp};

use super::facts;

fn state(text: &str) -> State {
    let (status, group) =
        text.split_once(' ').map_or((text, None), |(status, group)| (status, Some(group.into())));
    State { is_active: status == "active", group }
}

/// An event of the second `second` that leaves the card as `after`; before it, by its own word, it was as `before`.
fn event(name: usize, second: i64, after: &str, before: Option<&str>) -> Event {
    let State { is_active, group } = state(after);
    let before = before.map(state);
    let seen = CardSeen { is_update: true, is_active, currency: None, group, before };
    let now = Timestamp::from_seconds(1_795_000_000 + second);
    facts::observed(name, now, Fact::Card(Box::new(seen)))
}

/// What holds for a request of the second `second` that embeds `embedded`, behind these events.
fn check(events: &[Event], second: i64, embedded: &str, expected: &str) {
    let mut orders = vec![events.to_vec(), events.iter().rev().cloned().collect()];
    orders.push([events, events].concat());
    for events in orders {
        let mut card = Card::default();
        for event in &events {
            card.apply(event);
        }
        let now = Timestamp::from_seconds(1_795_000_000 + second);
        let mut request = facts::question(1, &facts::authorization("a"), 1, now);
        request.told.at = now;
        request.told.card = Some(state(embedded));
        request.told.cardholder = Some(state("active"));
        (request.is_paused, request.group) = (embedded.starts_with("inactive"), state(embedded).group);
        request.heed_card(card.standing.as_ref().unwrap());
        let found = State { is_active: !request.is_paused, group: request.group.clone() };
        assert_eq!(found, state(expected), "{embedded} at {second} behind {events:?}");
    }
}

#[test]
fn a_requests_own_state_counts_unless_an_event_is_later() {
    let frozen = [event(1, 10, "inactive", None)];
    check(&frozen, 3_610, "active", "active");
    check(&frozen, 9, "active", "inactive");
    // Of one second: the event counts where the request shows what was before it, else the request.
    check(&frozen, 10, "active", "active");
    check(&[event(1, 10, "inactive", Some("active"))], 10, "active", "inactive");
    check(&[event(1, 10, "active", Some("inactive"))], 10, "inactive", "active");
    check(&[event(1, 10, "active", Some("inactive"))], 11, "inactive", "inactive");
}

#[test]
fn a_group_that_was_taken_off_is_gone() {
    let grouped = [event(1, 10, "active travel", None)];
    check(&grouped, 20, "active", "active");
    check(&grouped, 9, "active", "active travel");
    check(&[event(1, 30, "active", Some("active travel"))], 20, "active travel", "active");
}

#[test]
fn of_two_events_of_one_second_the_states_before_tell_the_order() {
    for (first, second) in [(1, 2), (2, 1)] {
        let changes = [
            event(first, 10, "inactive", Some("active")),
            event(second, 10, "inactive travel", Some("inactive")),
        ];
        check(&changes, 9, "active", "inactive travel");
    }
}

#[test]
fn there_and_back_again_in_one_second_begins_where_the_card_was() {
    for (first, second) in [(2, 3), (3, 2)] {
        let mut card = Card::default();
        card.apply(&event(1, 5, "active", None));
        card.apply(&event(first, 10, "active", Some("inactive")));
        card.apply(&event(second, 10, "inactive", Some("active")));
        assert_eq!(card.standing.unwrap().state, state("active"));
    }
}
