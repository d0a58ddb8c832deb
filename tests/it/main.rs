//! The tests that run the real parts, one module a subject.

#[cfg(test)]
mod client;
#[cfg(test)]
mod http;
#[cfg(test)]
mod stripe_events;
#[cfg(test)]
mod stripe_differential;
