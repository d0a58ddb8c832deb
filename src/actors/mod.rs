//! The shell around the ledgers: actors that keep them in memory, and the directory that finds their actors. An account is
//! decided by one actor, one request after another; no lock is held around it, and no handler waits for I/O.

mod agreement;
mod budgets;
mod cardholders;
mod commands;
mod decisions;
mod directory;
mod effects;
mod holds;
mod inbox;
mod notes;
mod places;
mod recall;
mod reply;
mod roots;
mod sampling;
mod shard;
mod stand_in;
mod standing_in;
mod tally;
mod unconfirmed;
mod views;

use std::time::Duration;

use crate::{
    clock::Instant,
    domain::{Answer, Answering, Stages},
};

pub use crate::ledger::{Cause, SNAPSHOT_BYTES_MAX};
pub use agreement::CLAIM_WITHIN;
pub use budgets::{BudgetView, MovementView};
pub use commands::{NotOperated, Order, Target, Was, Wish};
pub use decisions::{DecisionFilter, DecisionPage, NotAPlace, Place};
pub use directory::{Directory, Parts, Undecided};
pub use stand_in::{StandIn, StandInRule};
pub use unconfirmed::{Claim, UnconfirmedView};
pub use views::{AuthorizationView, CardView, DecisionView, EntryView, HoldView, LimitView};

/// The room's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests inside the node.
    pub in_flight_max: usize,
    /// Whether other nodes write to the same journal, so that books in memory may be older than what is in it.
    pub is_journal_shared: bool,
    /// Requests waiting at one card.
    pub card_queue_max: usize,
    /// A card that was not asked for so long leaves memory.
    pub card_idle_after: Duration,
    /// Cards in memory.
    pub cards_resident_max: usize,
    /// The most bytes of an entry with a snapshot. A card that is larger is written without one, and folded from further
    /// back.
    pub snapshot_bytes_max: usize,
    /// Cards being loaded at once.
    pub loads_max: usize,
    /// What is answered in place of a decision.
    pub stand_in: StandIn,
    /// How answers go to Stripe.
    pub answering: Answering,
    /// An answer that Stripe has not spoken of for so long is worth a look.
    pub unconfirmed_after: Duration,
    /// Answers that are watched for Stripe's confirmation.
    pub unconfirmed_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            in_flight_max: 10_000,
            is_journal_shared: false,
            card_queue_max: 64,
            card_idle_after: Duration::from_mins(5),
            cards_resident_max: 100_000,
            snapshot_bytes_max: SNAPSHOT_BYTES_MAX,
            loads_max: 64,
            stand_in: StandIn::default(),
            answering: Answering::default(),
            unconfirmed_after: Duration::from_mins(15),
            unconfirmed_max: 100_000,
        }
    }
}

/// When a request arrived, and how long the stages before this room took.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When its headers were read.
    pub received: Instant,
    /// When the answer must have left.
    pub deadline: Instant,
    /// Checking the signature, in microseconds.
    pub verify_us: u32,
    /// Reading the event, in microseconds.
    pub parse_us: u32,
}

/// An answer, and how long it took to come about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimedAnswer {
    /// What goes back to Stripe.
    pub answer: Answer,
    /// The stages up to the decision; all zero where none was taken now: a repeated answer, or the stand-in's.
    pub stages: Stages,
    /// Becoming durable, in microseconds; zero where it did not have to.
    pub commit_us: u32,
}

impl From<Answer> for TimedAnswer {
    fn from(answer: Answer) -> Self {
        Self { answer, stages: Stages::default(), commit_us: 0 }
    }
}

/// Why an observation was not booked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotBooked {
    /// Not now; Stripe delivers it again.
    #[error("the event could not be recorded: {}", .0.as_str())]
    Now(Cause),
    /// Never: it would be booked with another account's money.
    #[error("expected events of the connected account that the card belongs to, found another's (`account`)")]
    WrongAccount,
}

impl From<Cause> for NotBooked {
    fn from(cause: Cause) -> Self {
        Self::Now(cause)
    }
}

/// Whole microseconds of a span, as far as they fit.
fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}
