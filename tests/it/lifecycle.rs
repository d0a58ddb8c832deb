//! The life of an authorization, told as stories in data and as random histories. Each is folded into the books of a
//! card, and what the books say then is compared with what was written down before, or counted apart.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "an overflow in the account that is kept apart stops the test, as it should"
)]

mod facts;
mod stories;
mod orders;
mod standing;
mod books;
mod world;
mod recount;
mod histories;
mod windows;
mod wire;
