//! Stripe's part, played for Tollgate: what load tests and integration tests run against. It knows Stripe's wire from
//! the outside, as Stripe does, and nothing of the engine.
//!
//! The rooms in reading order: a [`scenario`] is run, and what came of it is a [`record`]; [`clock`] is the one place
//! that reads the time. [`stripe_api`] is for tests that need Stripe's API without its webhooks.

pub mod scenario;
pub mod record;
pub mod report;
pub mod stripe_api;
pub mod clock;
