//! The judgement of appends, and the transaction that comes of it, before anything is written.

use super::{recent::Place, schema::Row};
use crate::{domain::Timestamp, journal::Append};

/// What one append will be told, once the transaction went through.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    /// Goes in.
    Accepted,
    /// Is in already, as this entry.
    Repeated(u64),
    /// Another entry is where this one should go.
    Conflict,
    /// No journal can hold it.
    Rejected,
}

/// A verdict, and whether it rests on what the same transaction writes, and falls with it.
pub(super) type Judged = (Verdict, bool);

/// The transaction that is being put together.
pub(super) struct Draft<'a> {
    pub(super) at: Timestamp,
    /// Its first entry's number.
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) rows: Vec<(&'a Append, Row<'a>)>,
}

impl<'a> Draft<'a> {
    /// Holds an append against the end of its chain, and moves that on where it fits.
    pub(super) fn judge(&mut self, append: &'a Append, place: &mut Place, batch_first: u64) -> Judged {
        let falls = place.lsn >= self.first;
        let is_second_of_batch = place.lsn >= batch_first;
        if is_second_of_batch {
            (Verdict::Conflict, falls)
        } else if append.is(place.head) {
            (Verdict::Repeated(place.lsn), falls)
        } else if append.head != place.head {
            (Verdict::Conflict, falls)
        } else if append.is_writable() {
            self.rows.push((append, Row::of(append, self.next, place.lsn, self.at)));
            *place = Place { lsn: self.next, head: append.next_head() };
            self.next = self.next.saturating_add(1);
            (Verdict::Accepted, true)
        } else {
            (Verdict::Rejected, falls)
        }
    }
}
