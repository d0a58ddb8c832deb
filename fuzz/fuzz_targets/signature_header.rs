//! Any header of a signature. What must hold is said where the tests have it too.
#![no_main]

#[path = "../../tests/it/fuzz/signature_header.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check::check(input));
