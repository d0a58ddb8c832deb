//! Tollgate decides Stripe Issuing authorizations: exact limits, durable answers, every decision explained.

pub mod clock;
pub mod cli;
pub mod config;
pub mod domain;
pub mod journal;
