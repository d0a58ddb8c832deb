//! Tollgate decides Stripe Issuing authorizations: exact limits, durable answers, every decision explained.
//!
//! The rooms in reading order, from the process to the heart. Imports go one way, downwards; `metrics`, `log` and
//! `clock` may be held by all but `domain`. `docs/architecture.md` walks through them.

pub mod cli;
pub mod demo;
pub mod reconcile;
pub mod replay;
pub mod export;
pub mod config;
pub mod node;
pub mod outgoing;
pub mod http;
pub mod stripe;
pub mod cluster;
pub mod actors;
pub mod trial;
pub mod journal;
pub mod ledger;
pub mod policy;
pub mod domain;
pub mod metrics;
pub mod log;
pub mod clock;
pub mod planted;
