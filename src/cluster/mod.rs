//! Which node answers for a card. One node is a cluster of one.

use crate::clock::Instant;

/// When a request came, until when it is answered, and what it has cost so far.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When its headers were read.
    pub received: Instant,
    /// When its answer is due.
    pub deadline: Instant,
    /// Checking the signature took this long, in microseconds.
    pub verify_us: u32,
    /// Reading the event took this long, in microseconds.
    pub parse_us: u32,
}

/// An event is not in the books, and should be delivered again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the event could not be booked; deliver it again")]
pub struct NotBooked;
