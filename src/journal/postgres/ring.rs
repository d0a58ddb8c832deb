//! What this node has been told is durable, kept for a while: so that it can tell whether a database still has it, and
//! give it back if not. Also what it does not know the fate of.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::{self, Instant},
    journal::{Append, EntryId, Lineage, Outcome},
};

/// How long entries are kept: a standby that is further behind is no standby for money.
const KEPT_FOR: Duration = Duration::from_mins(1);
/// The newest batches are kept however old they are. Of batches that are on their way over this many connections at
/// once, the one that was committed last is among the last so many that came back: a database that has these has all.
const NEWEST: usize = 4;
const _: () = assert!(super::BATCHES_IN_FLIGHT_MAX == 4, "as many as there are connections");

/// The entries of the last minute. Shared by those who append and by the control.
pub(super) struct Ring {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Appends that are acknowledged by any other lineage than this one are not.
    lineage: Lineage,
    batches: VecDeque<Batch>,
    bytes: usize,
    /// Appends of unknown outcome, which are being repeated.
    doubtful: HashMap<EntryId, Append>,
    /// Statements under way.
    in_flight: usize,
}

/// Entries that were acknowledged together.
#[derive(Clone)]
pub(super) struct Batch {
    appends: Arc<[Append]>,
    places: Arc<[usize]>,
    at: Instant,
    bytes: usize,
}

impl Batch {
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Append> {
        self.places.iter().filter_map(|place| self.appends.get(*place))
    }
}

/// A statement under way. Dropped, it is not any more.
pub(super) struct UnderWay<'a>(&'a Ring);

impl Ring {
    /// Keeps at most about so many bytes of bodies.
    pub(super) fn new(lineage: Lineage, bytes_max: usize) -> Self {
        let (batches, doubtful) = (VecDeque::new(), HashMap::new());
        Self { bytes_max, kept: Mutex::new(Kept { lineage, batches, bytes: 0, doubtful, in_flight: 0 }) }
    }

    /// The lineage that acknowledges.
    pub(super) fn lineage(&self) -> Lineage {
        self.kept().lineage
    }

    /// From now on only this lineage acknowledges.
    pub(super) fn follow(&self, lineage: Lineage) {
        self.kept().lineage = lineage;
    }

    /// A statement is sent.
    pub(super) fn under_way(&self) -> UnderWay<'_> {
        let mut kept = self.kept();
        kept.in_flight = kept.in_flight.saturating_add(1);
        UnderWay(self)
    }

    /// Whether statements are under way.
    pub(super) fn is_busy(&self) -> bool {
        self.kept().in_flight > 0
    }

    /// What the server of `lineage` has answered of appends at these places. An acknowledgement that comes after that
    /// server was left is none.
    pub(super) fn note(
        &self,
        batch: &Arc<[Append]>,
        places: &[usize],
        outcomes: Vec<Outcome>,
        lineage: Lineage,
    ) -> Vec<Outcome> {
        let mut kept = self.kept();
        let is_late = lineage != kept.lineage;
        let weigh = |outcome| match outcome {
            Outcome::Durable { .. } | Outcome::Conflict if is_late => Outcome::Unknown,
            Outcome::Durable { .. }
            | Outcome::Conflict
            | Outcome::Rejected
            | Outcome::Expired
            | Outcome::Unknown => outcome,
        };
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(weigh).collect();
        let mut durable = Vec::new();
        let mut bytes = 0_usize;
        for (place, outcome) in places.iter().zip(&outcomes) {
            let Some(append) = batch.get(*place) else { continue };
            match outcome {
                Outcome::Durable { .. } => {
                    kept.doubtful.remove(&append.id);
                    durable.push(*place);
                    bytes = bytes.saturating_add(append.bytes());
                }
                Outcome::Conflict => {
                    kept.doubtful.remove(&append.id);
                }
                Outcome::Unknown => {
                    kept.doubtful.insert(append.id, append.clone());
                }
                // It says nothing of an earlier try.
                Outcome::Rejected | Outcome::Expired => {}
            }
        }
        if !durable.is_empty() {
            let (appends, at) = (Arc::clone(batch), clock::instant());
            kept.bytes = kept.bytes.saturating_add(bytes);
            kept.batches.push_back(Batch { appends, places: durable.into(), at, bytes });
            kept.shrink(self.bytes_max);
        }
        outcomes
    }

    /// What was acknowledged last: a database that has these has all.
    pub(super) fn newest(&self) -> Vec<Batch> {
        self.kept().batches.iter().rev().take(NEWEST).cloned().collect()
    }

    /// All that is kept, the newest first.
    pub(super) fn all(&self) -> Vec<Batch> {
        self.kept().batches.iter().rev().cloned().collect()
    }

    /// Appends of unknown outcome.
    pub(super) fn doubtful(&self) -> Vec<Append> {
        self.kept().doubtful.values().cloned().collect()
    }

    /// Forgets these entries: they are lost. What else is kept may be missed by the next server.
    pub(super) fn forget(&self, lost: &[Append]) {
        let lost: HashSet<EntryId> = lost.iter().map(|append| append.id).collect();
        let mut kept = self.kept();
        for batch in &mut kept.batches {
            let is_kept =
                |place: &usize| batch.appends.get(*place).is_some_and(|append| !lost.contains(&append.id));
            let places: Vec<usize> = batch.places.iter().copied().filter(is_kept).collect();
            batch.places = places.into();
        }
        kept.batches.retain(|batch| !batch.places.is_empty());
        kept.bytes = kept.batches.iter().map(|batch| batch.bytes).sum();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn shrink(&mut self, bytes_max: usize) {
        let now = clock::instant();
        while self.batches.len() > NEWEST
            && let Some(oldest) = self.batches.front()
            && (self.bytes > bytes_max || now.saturating_duration_since(oldest.at) > KEPT_FOR)
        {
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
            self.batches.pop_front();
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut kept = self.0.kept();
        kept.in_flight = kept.in_flight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Account, Timestamp},
        journal::{Head, Row},
    };

    #[test]
    fn what_is_lost_is_forgotten_and_the_rest_is_kept() {
        let append = |id: u64| {
            let row = Row {
                account: Account::new(&format!("ic_{id}")).unwrap(),
                head: Head::default(),
                is_snapshot: false,
                mentions: Vec::new(),
                body: "[]".into(),
            };
            Append::one(EntryId::new(id), row)
        };
        let lineage = Lineage { system: 7, timeline: 1 };
        let ring = Ring::new(lineage, 1 << 20);
        let durable = Outcome::Durable { at: Timestamp::from_micros(0) };
        for batch in [[1, 2], [3, 4]] {
            let batch: Arc<[Append]> = batch.map(append).into();
            ring.note(&batch, &[0, 1], vec![durable; 2], lineage);
        }
        let kept = || -> Vec<u64> {
            ring.all()
                .iter()
                .flat_map(|batch| batch.entries().map(|append| append.id.get()).collect::<Vec<_>>())
                .collect()
        };
        assert_eq!(kept(), [3, 4, 1, 2]);
        ring.forget(&[append(1), append(2), append(4)]);
        assert_eq!(kept(), [3]);
    }
}
