#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use super::*;
use crate::record::heat_row;

const APPROVAL: &[u8] =
    b"HTTP/1.1 200 OK\r\nstripe-version: 2022-08-01\r\ncontent-length: 17\r\n\r\n{\"approved\":true}";

/// A scenario of half a second that only asks.
fn scenario(change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut scenario = Scenario::load("saturation").unwrap();
    scenario.rate = 200.0;
    scenario.duration_s = 0.5;
    scenario.stages = vec![crate::scenario::Stage { share: 1.0, from: 1.0, to: None }];
    scenario.stripe.deadline_ms = 300;
    scenario.stripe.step_ms = 1;
    scenario.drain_s = 1.0;
    change(&mut scenario);
    scenario
}

/// Plays it against servers that do with each connection what `serve` does, until they are left alone.
fn played(scenario: &Scenario, servers: &[fn(std::net::TcpStream)]) -> Played {
    played_with(scenario, servers, |_| {})
}

/// The same; each second `tell` is called, and nothing else happens meanwhile.
fn played_with(
    scenario: &Scenario,
    servers: &[fn(std::net::TcpStream)],
    tell: impl FnMut(&Progress),
) -> Played {
    let targets: Vec<Target> = servers
        .iter()
        .map(|serve| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let serve = *serve;
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    thread::spawn(move || serve(stream));
                }
            });
            Target { address, host: address.to_string(), path: "/webhook".to_owned() }
        })
        .collect();
    let signer = Signer::new("whsec_1");
    let secrets = Secrets { questions: signer.clone(), events: signer };
    let (writer, clock) = (Writer::new(1), Clock::start());
    let scene = Scene { scenario, targets: &targets, secrets: &secrets, writer: &writer, api: None, clock };
    play(scene, Auditor::new(scenario.limits), tell).unwrap()
}

/// Reads whole requests and answers each.
fn approve(mut stream: std::net::TcpStream) {
    let (mut inbox, mut chunk) = (Vec::new(), [0; 8_192]);
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        inbox.extend_from_slice(&chunk[..read]);
        while let Some(end) = end_of_request(&inbox) {
            inbox.drain(..end);
            stream.write_all(APPROVAL).unwrap();
        }
    }
}

fn end_of_request(inbox: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(body_at) = head.parse(inbox).unwrap() else { return None };
    let length = head.headers.iter().find(|header| header.name == "content-length").unwrap();
    let end = body_at + std::str::from_utf8(length.value).unwrap().parse::<usize>().unwrap();
    (inbox.len() >= end).then_some(end)
}

/// Takes everything and says nothing.
fn listen(mut stream: std::net::TcpStream) {
    let mut chunk = [0; 8_192];
    while let Ok(1..) = stream.read(&mut chunk) {}
}

fn slam(stream: std::net::TcpStream) {
    drop(stream);
}

fn sum(outcomes: &Outcomes) -> u64 {
    outcomes.approved
        + outcomes.partial
        + outcomes.declined
        + outcomes.stand_in
        + outcomes.invalid
        + outcomes.late
        + outcomes.failed
        + outcomes.dropped
}

#[test]
fn every_question_ends_once_and_the_same_seed_asks_the_same() {
    let scenario = scenario(|_| {});
    let (one, other) = (played(&scenario, &[approve]), played(&scenario, &[approve]));
    assert!(one.outcomes.approved > 50, "{:?}", one.outcomes);
    assert_eq!(sum(&one.outcomes), one.outcomes.offered);
    assert_eq!(one.outcomes.offered, other.outcomes.offered);
    assert_eq!(one.deliveries.undelivered, 0);
    assert!(one.deliveries.events >= one.outcomes.approved, "each is told at least once");
    let in_seconds: u64 = one.seconds_each.iter().map(|second| second.offered).sum();
    assert_eq!(in_seconds, one.outcomes.offered);
    let in_heat: u64 = one.seconds_each.iter().flat_map(|second| &second.heat).map(|(_, count)| count).sum();
    assert_eq!(in_heat, one.latency.count);
    assert!(one.hlog.starts_with(b"#scenario saturation, seed 1"), "{}", String::from_utf8_lossy(&one.hlog));
}

#[test]
fn what_cannot_start_is_dropped_and_what_is_not_answered_is_late() {
    let played = played(&scenario(|scenario| scenario.connections = 3), &[listen]);
    assert_eq!(sum(&played.outcomes), played.outcomes.offered);
    assert!(
        played.outcomes.dropped > played.outcomes.late && played.outcomes.late >= 3,
        "{:?}",
        played.outcomes
    );
    assert_eq!(played.generator.connections_max, 3);
    assert!(
        played.latency.min_us >= 300_000,
        "a request that was given up counts with its time: {:?}",
        played.latency
    );
    assert!(played.deliveries.undelivered > 0);
}

#[test]
fn a_question_that_would_leave_a_second_late_is_dropped() {
    let scenario = scenario(|scenario| scenario.duration_s = 3.0);
    let mut is_held_up = false;
    let played = played_with(&scenario, &[approve], |_| {
        let clock = Clock::start();
        while !is_held_up && clock.now_us() < 1_500_000 {
            std::thread::yield_now();
        }
        is_held_up = true;
    });
    let outcomes = &played.outcomes;
    assert_eq!(sum(outcomes), outcomes.offered);
    assert!(outcomes.dropped > 20 && outcomes.approved > 200, "{outcomes:?}");
}

#[test]
fn a_broken_connection_is_a_failure_unless_another_node_is_asked() {
    let failing = played(&scenario(|_| {}), &[approve, slam]);
    assert!(failing.outcomes.failed > 10 && failing.outcomes.approved > 10, "{:?}", failing.outcomes);
    assert_eq!(failing.outcomes.retried, 0);
    // What fails at once has not been answered at once.
    let heat = failing.seconds_each.iter().flat_map(|second| &second.heat);
    let slow: u64 = heat.filter(|(row, _)| *row >= heat_row(300_000)).map(|(_, count)| count).sum();
    assert!(slow >= failing.outcomes.failed, "{slow} slow, {:?}", failing.outcomes);
    let retried = played(&scenario(|scenario| scenario.stripe.retry = true), &[approve, slam]);
    assert_eq!(retried.outcomes.failed, 0, "{:?}", retried.outcomes);
    assert!(retried.outcomes.retried > 10, "{:?}", retried.outcomes);
    assert_eq!(sum(&retried.outcomes), retried.outcomes.offered);
}
