//! Which node a request goes to, and which one is the arbiter of its card.

use tollgate::domain::Source;
use tollgate_loadtest::audit::Question;

use crate::stripe::{Asking, First, Play};

impl Play {
    /// A repeat goes to any node, as the first one. Where no policy has answered it, and the arbiter is another process by now,
    /// it is not sent: this is the documented gap.
    pub(crate) fn node_for(&mut self, asking: &Asking, card: u64) -> Option<usize> {
        let is_decided = |first: &First| first.source == Some(Source::Policy);
        let is_known = !asking.is_repeat
            || self.first.get(&asking.question).is_none_or(is_decided)
            || self.has_same_arbiter(&asking.question, card);
        is_known.then(|| self.node_of(card))
    }

    /// The node that all others ask before they answer a request of this card.
    pub(crate) fn arbiter(&self, card: u64) -> usize {
        usize::try_from(card).unwrap() % self.nodes.count()
    }

    pub(crate) fn has_same_arbiter(&self, question: &Question, card: u64) -> bool {
        let life = self.nodes.get(self.arbiter(card)).life;
        self.first.get(question).is_none_or(|first| first.arbiter_life == life)
    }

    /// Mostly the same node for a card, as with placement; sometimes another.
    fn node_of(&mut self, card: u64) -> usize {
        let count = self.nodes.count();
        if self.plan.random.u8(..5) == 0 { self.plan.random.usize(..count) } else { self.arbiter(card) }
    }
}
