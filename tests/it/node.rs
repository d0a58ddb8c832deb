//! What a user of the real binary is promised, asked of the real binary: over sockets, with signals, through crashes.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

mod main_job;
mod one_card;
mod explanations;
mod decisions;
mod export;
mod console;
mod first_minutes;
mod crash;
mod drain;
mod overload;
mod stand_in;
mod bad_disk;
mod settings;
mod policy;
pub(crate) mod policy_api;
mod accounts;
mod budgets;
mod exceptions;
mod outgoing;
mod rules;
mod shadow;
mod privacy;
mod programmes;
mod bounds;
mod refusals;
mod observing;
mod standing;
mod postgres;
