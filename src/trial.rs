//! Trying another policy: every request that was decided is decided again under it, beside the answers that were given. On a
//! journal, `replay` feeds it; beside a running node, what the node appends does. Nothing here changes an answer.

mod recent;
mod chain;
mod order;
mod report;
mod compare;
mod findings;
mod feed;
mod shadow;
mod trials;

pub use chain::Ended;
pub(crate) use chain::{Chains, Undecided};
pub use compare::{Comparison, Selection};
pub use feed::Feed;
pub use findings::{Findings, ShadowView};
pub(crate) use order::{Groups, Read, in_order, is_carried};
pub use report::{Change, Changed, Difference, Fate, Money, Report, World};
pub use shadow::Worker;
pub use trials::{NotSet, Parts, ReadPolicy, Trials};
