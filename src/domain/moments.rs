//! The moments of a window, oldest first, in parts that copies share. The ledger keeps a copy of each account for every append,
//! to take back what was certainly not written. For a budget that may be every purchase of all its cards: a copy has to cost
//! little, and so has a change after it.

use std::{collections::VecDeque, sync::Arc};

use super::time::Timestamp;

/// A part with twice as many moments is divided.
const PART: usize = 512;

/// What was spent and came in at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// Used.
    pub spent: i64,
    /// Given back.
    pub incoming: i64,
}

impl Moment {
    /// What is used after this moment, of `used` before it.
    #[must_use]
    pub fn after(&self, used: i64) -> i64 {
        if self.incoming == 0 {
            return used.saturating_add(self.spent);
        }
        used.saturating_add(self.spent).saturating_sub(self.incoming).max(0)
    }

    const fn is_nothing(&self) -> bool {
        self.spent == 0 && self.incoming == 0
    }
}

/// Moments, each of another time.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    /// None is empty.
    parts: VecDeque<Arc<VecDeque<Moment>>>,
    len: usize,
}

impl PartialEq for Moments {
    /// Where the parts end does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Moments {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { parts: VecDeque::new(), len: 0 }
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The oldest.
    #[must_use]
    pub fn first(&self) -> Option<&Moment> {
        self.parts.front()?.front()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Moment> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// Those up to a time.
    pub fn through(&self, at: Timestamp) -> impl Iterator<Item = &Moment> {
        self.iter().take_while(move |moment| moment.at <= at)
    }

    /// Those after a time.
    pub fn after(&self, at: Timestamp) -> impl Iterator<Item = &Moment> {
        let is_over = |moment: &Moment| moment.at <= at;
        let part = self.parts.partition_point(|part| part.back().is_some_and(is_over));
        let first = self.parts.get(part).map_or(0, |part| part.partition_point(is_over));
        let mut parts = self.parts.range(part..);
        let head = parts.next().into_iter().flat_map(move |part| part.range(first..));
        head.chain(parts.flat_map(|part| part.iter()))
    }

    /// Puts one behind all others.
    pub fn push(&mut self, moment: Moment) {
        self.len = self.len.saturating_add(1);
        match self.parts.back_mut() {
            Some(part) if part.len() < PART => Arc::make_mut(part).push_back(moment),
            _ => self.parts.push_back(Arc::new(VecDeque::from([moment]))),
        }
    }

    /// Takes the oldest.
    pub fn pop_first(&mut self) -> Option<Moment> {
        let part = Arc::make_mut(self.parts.front_mut()?);
        let first = part.pop_front();
        if part.is_empty() {
            self.parts.pop_front();
        }
        self.len = self.len.saturating_sub(usize::from(first.is_some()));
        first
    }

    /// Changes the moment at a time, made where there is none. One at which nothing is left goes.
    pub fn change(&mut self, at: Timestamp, change: impl FnOnce(&mut Moment)) {
        let is_before = |moment: &Moment| moment.at < at;
        let at_part = self.parts.partition_point(|part| part.back().is_some_and(is_before));
        let mut new = Moment { at, spent: 0, incoming: 0 };
        let Some(part) = self.parts.get_mut(at_part) else {
            change(&mut new);
            if !new.is_nothing() {
                self.push(new);
            }
            return;
        };
        let part = Arc::make_mut(part);
        let place = part.partition_point(is_before);
        if let Some(known) = part.get_mut(place).filter(|known| known.at == at) {
            change(known);
            if known.is_nothing() {
                part.remove(place);
                self.len = self.len.saturating_sub(1);
            }
        } else {
            change(&mut new);
            if !new.is_nothing() {
                part.insert(place, new);
                self.len = self.len.saturating_add(1);
            }
        }
        if part.is_empty() {
            self.parts.remove(at_part);
        } else if part.len() >= 2 * PART {
            let rest = part.split_off(PART);
            self.parts.insert(at_part.saturating_add(1), Arc::new(rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn all(moments: &Moments) -> Vec<(i64, i64)> {
        moments.iter().map(|moment| (moment.at.as_micros(), moment.spent)).collect()
    }

    /// Against a map that knows nothing of parts, with copies that are looked at again later.
    #[test]
    fn moments_are_what_a_map_of_times_is_and_copies_stay_as_they_were() {
        let mut state = 7_u64;
        let mut random = |below: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from(state >> 33).unwrap() % below
        };
        let (mut moments, mut model) = (Moments::new(), BTreeMap::<i64, i64>::new());
        let mut copies = Vec::new();
        for step in 0..40_000_i64 {
            // Most are new, some are somewhere in the middle, some take all back.
            let at = if random(4) == 0 { random(step + 1) } else { step };
            let spent = match (random(3), model.get(&at)) {
                (0, Some(known)) => -known,
                _ => 1 + random(9),
            };
            moments.change(Timestamp::from_micros(at), |moment| moment.spent += spent);
            *model.entry(at).or_default() += spent;
            model.retain(|known, spent| *known != at || *spent != 0);
            if random(8) == 0 {
                assert_eq!(
                    moments.pop_first().map(|moment| moment.at.as_micros()),
                    model.pop_first().map(|(at, _)| at)
                );
            }
            if step % 4_000 == 0 {
                let floor = random(step + 1);
                let after: Vec<i64> =
                    moments.after(Timestamp::from_micros(floor)).map(|one| one.at.as_micros()).collect();
                assert_eq!(after, model.range(floor + 1..).map(|(at, _)| *at).collect::<Vec<_>>());
                let through = moments.through(Timestamp::from_micros(floor)).count();
                assert_eq!(through + after.len(), moments.len());
                copies.push((moments.clone(), all(&moments)));
            }
        }
        assert_eq!(all(&moments), model.into_iter().collect::<Vec<_>>());
        assert!(
            moments.parts.len() > 4
                && moments.parts.iter().all(|part| !part.is_empty() && part.len() < 2 * PART)
        );
        for (copy, was) in &copies {
            assert_eq!(all(copy), *was);
        }
        let mut rebuilt = Moments::new();
        moments.iter().for_each(|moment| rebuilt.push(*moment));
        assert_eq!(moments, rebuilt, "whatever the parts");
    }

    #[test]
    fn a_copy_shares_what_is_not_changed() {
        let mut moments = Moments::new();
        for at in 0..10_000 {
            moments.push(Moment { at: Timestamp::from_micros(at), spent: 1, incoming: 0 });
        }
        let copy = moments.clone();
        moments.change(Timestamp::from_micros(10_000), |moment| moment.spent = 1);
        let shared =
            moments.parts.iter().zip(&copy.parts).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        assert!(shared + 1 >= copy.parts.len(), "{shared} of {} parts are shared", copy.parts.len());
    }
}
