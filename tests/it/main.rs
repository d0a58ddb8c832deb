//! The tests that run the real parts, one module a subject.

#[cfg(test)]
mod actors;
#[cfg(test)]
mod answering;
#[cfg(test)]
mod client;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod dashboards;
#[cfg(test)]
mod deliveries;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod http;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod loadtest;
#[cfg(test)]
mod log;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod model;
#[cfg(test)]
mod needs;
#[cfg(test)]
mod node;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod process;
#[cfg(test)]
mod questions;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod reconcile;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod stripe_api;
#[cfg(test)]
mod stripe_differential;
#[cfg(test)]
mod stripe_events;
#[cfg(test)]
mod stripe_fixtures;
#[cfg(test)]
mod stripe_test_helpers;
#[cfg(test)]
mod stripe_tls;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod words;
