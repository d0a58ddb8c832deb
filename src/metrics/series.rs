//! The handles of one family, found by the values of its labels without formatting or a registry.

use std::marker::PhantomData;

use super::label::{Labels, OTHER};

/// One handle for each combination of labels that are enums of this room.
pub struct Series<L, H> {
    handles: Box<[H]>,
    nowhere: H,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels, H> Series<L, H> {
    /// `handles` in the order of [`Labels::index`]; `nowhere` is for an index past them, which cannot be.
    pub(super) fn new(handles: Vec<H>, nowhere: H) -> Self {
        Self { handles: handles.into(), nowhere, labels: PhantomData }
    }

    /// The handle for these values.
    #[inline]
    pub fn get(&self, labels: L) -> &H {
        self.handles.get(labels.index()).unwrap_or(&self.nowhere)
    }
}

/// One handle for each combination of `N` labels whose words another room owns. The sets are short: looking through
/// them compares lengths more than letters.
pub struct Worded<const N: usize, H> {
    words: [Vec<&'static str>; N],
    handles: Box<[H]>,
    nowhere: H,
}

impl<const N: usize, H> Worded<N, H> {
    /// `handles` row by row, the last label counting fastest.
    pub(super) fn new(words: [Vec<&'static str>; N], handles: Vec<H>, nowhere: H) -> Self {
        Self { words, handles: handles.into(), nowhere }
    }

    /// The handle for these values. A word that is not in its set counts as `other`, or, where the set has no such
    /// value, nowhere: a label never grows while the program runs.
    #[inline]
    pub fn get(&self, values: [&str; N]) -> &H {
        let place = self.words.iter().zip(values).try_fold(0_usize, |place, (set, value)| {
            let find = |word: &str| set.iter().position(|known| *known == word);
            let at = find(value).or_else(|| find(OTHER))?;
            place.checked_mul(set.len())?.checked_add(at)
        });
        place.and_then(|place| self.handles.get(place)).unwrap_or(&self.nowhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::label::{Agrees, Label, Listener, Stage};

    #[test]
    fn every_combination_has_its_own_place() {
        let pairs: Vec<usize> = [Listener::Webhook, Listener::Admin]
            .into_iter()
            .flat_map(|listener| {
                [Agrees::Yes, Agrees::No, Agrees::Unasked].map(|agrees| (listener, agrees).index())
            })
            .collect();
        assert_eq!(pairs, [0, 1, 2, 3, 4, 5]);
        assert_eq!(Stage::WORDS[Stage::Respond.index()], Stage::Respond.as_str());
    }

    #[test]
    fn a_word_outside_its_set_is_other_or_nowhere() {
        let sets = [vec!["a", "b"], vec!["x", OTHER]];
        let worded = Worded::new(sets, vec!["ax", "ao", "bx", "bo"], "nowhere");
        let check = |values: [&str; 2], expected: &str| assert_eq!(*worded.get(values), expected);
        check(["a", "x"], "ax");
        check(["b", "x"], "bx");
        check(["b", "news"], "bo");
        check(["c", "x"], "nowhere");
    }
}
