//! Rules of a policy: a condition and what follows where it holds. Reading them from text happens elsewhere.

mod condition;
mod facts;
mod input;
mod inputs;
mod judge;
mod largest;
mod list;
mod listed;
mod moments;
mod ruled;
mod shown;
mod trace;

pub use condition::{Comparison, Condition, Last, Number, Order, Share, Unit, Word, Words};
pub use facts::{AVERAGED_LEAST, Facts, day_number};
pub use input::{
    ClockPart, Denomination, Flag, Input, Kind, MetadataKey, MetadataKeys, NumberInput, Owner, Presence,
    Reads, WEEKDAYS, WordInput,
};
pub use inputs::INPUTS;
pub use judge::{Cap, Judged, OnStandIn, Rule, Tag, Then, judge};
pub(super) use largest::largest_passing;
pub use list::List;
pub(super) use listed::rules_of;
pub(super) use moments::moments_of;
pub use ruled::{Marks, Ruled};
pub use trace::{Traced, trace};
