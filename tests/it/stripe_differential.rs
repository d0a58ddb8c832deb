//! Two readers of the same bytes, which share no code: the engine's, on simd-json's tape, and a plain one on
//! `serde_json`'s values. Whatever a body says, both read the same or both refuse it.

mod mutation;
mod plain;

use tollgate::{
    domain::Timestamp,
    stripe::{Malformed, Reading, read},
};

use crate::stripe_fixtures::{fixture, fixture_names};

const RECEIVED_AT: Timestamp = Timestamp::from_micros(1_790_000_001_000_042);

/// Reads `body` both ways; says whether it was read at all.
fn compare(body: &[u8], mirror_stripe_controls: bool, story: &str) -> bool {
    let ours = read(body, RECEIVED_AT, &Reading { mirror_stripe_controls, ..Reading::default() });
    let plain = plain::read(body, RECEIVED_AT, mirror_stripe_controls);
    match (ours, plain) {
        (Err(_), None) => false,
        (Ok(ours), Some(plain)) if ours == plain => true,
        (ours, plain) => {
            panic!("{story}\n ours: {ours:?}\nplain: {plain:?}\n body: {}", String::from_utf8_lossy(body))
        }
    }
}

#[test]
fn fixtures_are_read_the_same() {
    for name in fixture_names() {
        for mirror in [false, true] {
            assert!(compare(&fixture(&name), mirror, &name));
        }
    }
}

#[test]
fn changed_events_are_read_the_same() {
    let fixtures: Vec<Vec<u8>> = fixture_names().iter().map(|name| fixture(name)).collect();
    let seeds = 0..10_000_u64;
    let tried = seeds.end;
    let read = seeds.filter(|seed| {
        let (body, mirror) = mutation::event(&fixtures, *seed);
        compare(&body, mirror, &format!("seed {seed}"))
    });
    let read = read.count();
    assert!(read > 3_000 && read < 9_900, "{read} of {tried} were read: the changes test too little");
}

#[test]
fn changed_events_have_fields_twice_now_and_then() {
    let fixtures: Vec<Vec<u8>> = fixture_names().iter().map(|name| fixture(name)).collect();
    let is_refused = |seed: &u64| {
        let (body, _) = mutation::event(&fixtures, *seed);
        read(&body, RECEIVED_AT, &Reading::default()) == Err(Malformed::DuplicateKey)
    };
    let twice = (0..1_000).filter(is_refused).count();
    assert!((10..300).contains(&twice), "{twice} of 1000 have a field twice");
}

#[test]
fn damaged_bytes_are_read_the_same() {
    let fixtures: Vec<Vec<u8>> = fixture_names().iter().map(|name| fixture(name)).collect();
    let seeds = 0..10_000_u64;
    let read =
        seeds.filter(|seed| compare(&mutation::bytes(&fixtures, *seed), false, &format!("seed {seed}")));
    assert!(read.count() > 1_000);
}

#[test]
fn a_printed_seed_gives_the_same_event_again() {
    let fixtures: Vec<Vec<u8>> = fixture_names().iter().map(|name| fixture(name)).collect();
    for seed in [0, 17, 9_999] {
        assert_eq!(mutation::event(&fixtures, seed), mutation::event(&fixtures, seed));
        assert_eq!(mutation::bytes(&fixtures, seed), mutation::bytes(&fixtures, seed));
    }
}
