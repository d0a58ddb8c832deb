//! Tollgate decides Stripe Issuing authorizations: exact limits, durable answers, every decision explained.

pub mod clock;
pub mod log;
pub mod metrics;
pub mod domain;
pub mod journal;
pub mod actors;
pub mod cluster;
pub mod stripe;
pub mod http;
