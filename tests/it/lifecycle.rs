//! The life of an authorization, told as stories in data and as random histories. Each is folded into the books of a
//! card, and what the books say then is compared with what was written down before, or counted apart.

mod facts;
mod stories;
mod world;
mod recount;
mod histories;
mod windows;
