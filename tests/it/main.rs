//! The tests that run the real parts, one module a subject.

#[cfg(test)]
mod questions;
#[cfg(test)]
mod actors;
#[cfg(test)]
mod stripe_events;
#[cfg(test)]
mod stripe_differential;
#[cfg(test)]
mod lifecycle;
