//! Stripe's part, played for Tollgate: what load tests and integration tests run against. It knows Stripe's wire from
//! the outside, as Stripe does, and nothing of the engine.

pub mod stripe_api;
