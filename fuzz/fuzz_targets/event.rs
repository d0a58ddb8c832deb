//! Any body: no panic, and what is read is what the plain reader of the differential test reads.
#![no_main]

#[path = "../../tests/it/stripe_differential/plain.rs"]
mod plain;

use libfuzzer_sys::fuzz_target;
use tollgate::{
    domain::Timestamp,
    stripe::{Malformed, Reading, read},
};

fuzz_target!(|body: &[u8]| {
    let received_at = Timestamp::from_micros(1_790_000_001_000_042);
    for mirror_stripe_controls in [false, true] {
        let ours = read(body, received_at, &Reading { mirror_stripe_controls, ..Reading::default() });
        // The plain reader does not see the depth that is too much for ours.
        if ours != Err(Malformed::TooDeep) {
            assert_eq!(ours.ok(), plain::read(body, received_at, mirror_stripe_controls));
        }
    }
});
