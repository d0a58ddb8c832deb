//! Rules of a policy: a condition and what follows where it holds. Reading them from text happens elsewhere.

mod condition;
mod facts;
mod input;
mod list;
mod shown;
mod trace;

pub use condition::{Comparison, Condition, Number, Order, Unit, Word, Words};
pub use facts::{Facts, day_number};
pub use input::{
    ClockPart, Denomination, Flag, INPUTS, Input, Kind, NumberInput, Presence, Reads, WEEKDAYS, WordInput,
};
pub use list::List;
pub use trace::{Traced, trace};
