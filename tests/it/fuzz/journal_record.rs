//! Any body of a journal's entry: no panic; and what is read is written as a body that is read as the same events.

use tollgate::journal::record::{decode, encode};

pub(crate) fn check(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    let Ok(events) = decode(body) else { return };
    let written = encode(&events);
    let again = decode(&written).expect("what is written can be read");
    assert_eq!(encode(&again), written);
}
