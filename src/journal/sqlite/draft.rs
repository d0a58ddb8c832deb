//! The judgement of appends, and the transaction that comes of it, before anything is written.

use smallvec::SmallVec;

use super::{recent::Place, schema::StoredRow};
use crate::{
    domain::Timestamp,
    journal::{Append, Row},
};

/// What one append will be told, once the transaction went through.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    /// Goes in, all of it.
    Accepted,
    /// Is in already; this is one of its entries.
    Repeated(u64),
    /// Another entry is where one of its rows should go.
    Conflict,
    /// No journal can hold it.
    Rejected,
}

/// A verdict, and whether it rests on what the same transaction writes, and falls with it.
pub(super) type Judged = (Verdict, bool);

/// The end of the chain of each row of an append, in their order.
pub(super) type Places = SmallVec<[Place; 1]>;

/// The transaction that is being put together.
pub(super) struct Draft<'a> {
    pub(super) at: Timestamp,
    /// Its first entry's number.
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) rows: Vec<(&'a Row, StoredRow<'a>)>,
}

impl<'a> Draft<'a> {
    /// Holds an append against the ends of its chains, and moves them all on where every row fits.
    pub(super) fn judge(&mut self, append: &'a Append, places: &mut Places, batch_first: u64) -> Judged {
        let falls = places.iter().any(|place| place.lsn >= self.first);
        let is_after_one_of_batch = places.iter().any(|place| place.lsn >= batch_first);
        let mut rows = append.rows.iter().zip(places.iter());
        let verdict = if is_after_one_of_batch {
            Verdict::Conflict
        } else if rows.clone().all(|(row, place)| row.head == place.head) {
            if append.is_writable() {
                self.accept(append, places);
                return (Verdict::Accepted, true);
            }
            Verdict::Rejected
        } else {
            let is_repeated = rows.all(|(row, place)| row.next_head(append.id) == place.head);
            let lsn = places.first().filter(|_| is_repeated).map(|place| place.lsn);
            lsn.map_or(Verdict::Conflict, Verdict::Repeated)
        };
        (verdict, falls)
    }

    /// Drafts every row of an append that fits.
    fn accept(&mut self, append: &'a Append, places: &mut Places) {
        for (row, place) in append.rows.iter().zip(places) {
            self.rows.push((row, StoredRow::of(row, append.id, self.next, place.lsn, self.at)));
            *place = Place { lsn: self.next, head: row.next_head(append.id) };
            self.next = self.next.saturating_add(1);
        }
    }
}
