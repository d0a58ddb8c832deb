//! The tests that run the real parts, one module a subject.

mod commands;
mod generated;
