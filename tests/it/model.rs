//! Random histories of one card programme, told to the engine as Stripe's JSON, against a model that shares nothing with
//! it: `stripe` knows what happened and tells it, with losses, repetitions and delays; `account` says what each window must
//! hold by what was told; `engine` is the ledger on a journal, which loses its memory and its process at any time.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "an overflow in the model stops the test, as it should"
)]

mod account;
mod engine;
mod history;
mod stripe;

use history::History;

/// How many steps are taken in all.
fn steps() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "the size of a test run is not a setting of the engine")]
    let asked = std::env::var("TOLLGATE_MODEL_STEPS");
    asked.map_or(1_500, |text| text.parse().expect("TOLLGATE_MODEL_STEPS is a number of steps"))
}

#[allow(clippy::disallowed_methods, reason = "the first world of a test run is not a setting of the engine")]
fn first_seed() -> u64 {
    std::env::var("TOLLGATE_MODEL_SEED").map_or(0, |text| text.parse().expect("a number"))
}

const STEPS_EACH: u64 = 100;

#[test]
fn every_window_and_every_answer_is_what_a_model_written_apart_says() {
    let seeds = first_seed()..first_seed() + (steps() / STEPS_EACH).max(1);
    let mut seen = history::Seen::default();
    for seed in seeds {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut history = History::new(seed);
            (0..STEPS_EACH).for_each(|_| history.step());
            history.seen
        }));
        match told {
            Ok(of_one) => seen.add(of_one),
            Err(cause) => {
                eprintln!(
                    "the history that broke has the seed {seed}: TOLLGATE_MODEL_SEED={seed} TOLLGATE_MODEL_STEPS=100"
                );
                std::panic::resume_unwind(cause);
            }
        }
    }
    println!("{seen:?}");
    seen.assert_everything_happened();
}
