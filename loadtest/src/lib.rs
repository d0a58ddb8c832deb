//! Stripe's part, played for Tollgate: what load tests and integration tests run against. It knows Stripe's wire from
//! the outside, as Stripe does, and nothing of the engine.
//!
//! The rooms in reading order. [`run`] is a whole load test: it starts [`nodes`] or finds them (several share a journal in
//! [`postgres`]), lets the [`generator`] play a [`scenario`] while it [`watch`]es them, or asks the `system` what they use,
//! and puts what came of it into a [`record`], with the machine's
//! [`setup`] and a verdict; a `slow_disk` slows them, and their database is `servers`, of [`postgres`] alone or with `patroni`; [`report`] and [`screen`] show it to people. What is played are [`story`]s of
//! [`authorization`]s with cards of a [`population`], some of which share [`budgets`] that an operator [`credits`], told in [`events`] with a [`signature`]. The [`audit`] judges the
//! answers, and reads the books over the [`admin`] API. [`compare`] asks other servers the same: a [`corpus`] of
//! questions goes to each, and to a [`bare`] one. [`clock`] is the one place that reads the time. [`stripe_api`] is for
//! tests that need Stripe's API without its webhooks, [`liar`] for tests of the audit.

pub mod run;
pub mod scenario;
pub mod record;
pub mod report;
mod words;
mod verdict;
pub mod screen;
pub mod setup;
mod slow_disk;
pub mod nodes;
pub mod postgres;
mod patroni;
mod servers;
mod process;
mod system;
pub mod watch;
pub mod generator;
pub mod population;
pub mod budgets;
pub mod credits;
pub mod authorization;
pub mod story;
pub mod events;
pub mod signature;
pub mod corpus;
pub mod compare;
pub mod bare;
pub mod audit;
pub mod admin;
pub mod stripe_api;
pub mod liar;
pub mod clock;
