//! What was said about one authorization, and what follows from it for the money that it uses: for all facts together,
//! whatever their order, and for those of them that a node may have known at a moment.

use super::Range;

/// How many facts may be on their way at once for every combination of them to be looked at.
const OPEN_MAX: usize = 8;

/// Money of an authorization, or of a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// Held.
    pub held: i64,
    /// Captured.
    pub captured: i64,
    /// Refunded.
    pub refunded: i64,
}

impl Position {
    /// What counts against a limit.
    #[must_use]
    pub const fn used(&self) -> i64 {
        self.held.saturating_add(self.captured)
    }

    /// What counts against a balance: refunds give back.
    #[must_use]
    pub const fn net(&self) -> i64 {
        self.used().saturating_sub(self.refunded)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            held: self.held.saturating_add(other.held),
            captured: self.captured.saturating_add(other.captured),
            refunded: self.refunded.saturating_add(other.refunded),
        }
    }
}

impl Position {
    /// The one without the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            held: self.held.saturating_sub(other.held),
            captured: self.captured.saturating_sub(other.captured),
            refunded: self.refunded.saturating_sub(other.refunded),
        }
    }
}

/// Something that was said to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fact {
    pub(super) what: What,
    /// When it left; at the end of time where it has not.
    pub(super) sent_us: u64,
    /// When the node had certainly heard it.
    pub(super) known_us: Option<u64>,
    /// The event that tells it; none for a decision.
    pub(super) event: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// A question, and what is held for its answer, or would be.
    Decision { index: usize, granted: i64 },
    /// The authorization as it was.
    Snapshot(Snapshot),
    /// Money moved, by the authorization's transaction at this place.
    Transaction { index: usize, captured: i64, refunded: i64 },
}

/// An authorization at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Snapshot {
    pub(super) is_terminal: bool,
    pub(super) history: usize,
    pub(super) transactions: usize,
    pub(super) is_update: bool,
    /// Approved in total.
    pub(super) amount: i64,
    /// Captured by the transactions that it lists: they are money, whether or not their own events have come.
    pub(super) captured: i64,
    /// Refunded by them.
    pub(super) refunded: i64,
}

impl Snapshot {
    /// The one with more progress holds, whichever comes first; of two with the same, the later event.
    const fn progress(&self) -> (bool, usize, usize, bool) {
        (self.is_terminal, self.history, self.transactions, self.is_update)
    }
}

/// All facts about one authorization.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts(Vec<Fact>);

impl Facts {
    pub(super) fn add(&mut self, fact: Fact) {
        self.0.push(fact);
    }

    pub(super) fn has_decision(&self, place: usize) -> bool {
        self.0.iter().any(|fact| matches!(fact.what, What::Decision { index, .. } if index == place))
    }

    pub(super) fn take_decision(&mut self, place: usize) {
        self.0.retain(|fact| !matches!(fact.what, What::Decision { index, .. } if index == place));
    }

    /// The event with this number leaves.
    pub(super) fn left(&mut self, number: u64, now_us: u64) {
        for fact in self.0.iter_mut().filter(|fact| fact.event == Some(number)) {
            fact.sent_us = fact.sent_us.min(now_us);
        }
    }

    /// The event with this number was acknowledged. Questions without an answer that it covers are settled by it.
    pub(super) fn known(&mut self, number: u64, now_us: u64) {
        let mut covered = 0;
        for fact in self.0.iter_mut().filter(|fact| fact.event == Some(number)) {
            fact.known_us.get_or_insert(now_us);
            if let What::Snapshot(snapshot) = fact.what {
                covered = if snapshot.is_terminal { usize::MAX } else { snapshot.history };
            }
        }
        self.0.retain(|fact| {
            fact.known_us.is_some() || !matches!(fact.what, What::Decision { index, .. } if index < covered)
        });
    }

    /// Whether nothing is on its way, and all was known before a moment.
    pub(super) fn are_known_before(&self, us: u64) -> bool {
        self.0.iter().all(|fact| fact.known_us.is_some_and(|known_us| known_us <= us))
    }

    /// What follows from all facts together.
    pub(super) fn position(&self) -> Position {
        position(self.0.iter())
    }

    /// What a node may have taken to be used when it decided a question that left at `sent_us` and whose answer was here
    /// at `now_us`, as `counts` counts it; without the decision at the place `without`.
    pub(super) fn range(
        &self,
        sent_us: u64,
        now_us: u64,
        without: Option<usize>,
        counts_as: fn(&Position) -> i64,
    ) -> Range {
        let counts = |fact: &&Fact| match fact.what {
            What::Decision { index, .. } => Some(index) != without,
            What::Snapshot(_) | What::Transaction { .. } => true,
        };
        let heard = |fact: &Fact| fact.known_us.is_some_and(|known_us| known_us <= sent_us);
        let sent: Vec<&Fact> = self.0.iter().filter(counts).filter(|fact| fact.sent_us <= now_us).collect();
        let (known, open): (Vec<&Fact>, Vec<&Fact>) = sent.into_iter().partition(|fact| heard(fact));
        if open.len() > OPEN_MAX {
            let all = || known.iter().chain(&open).copied();
            let least = Position { refunded: most_refunded(all()), ..Position::default() };
            return Range { low: counts_as(&least), high: most(all()) };
        }
        let mut range = Range { low: i64::MAX, high: i64::MIN };
        for chosen in 0..1_u32 << open.len() {
            let is_chosen = |place: usize| chosen & (1_u32 << place) != 0;
            let heard = open.iter().enumerate().filter(|(place, _)| is_chosen(*place)).map(|(_, fact)| *fact);
            let used = counts_as(&position(known.iter().copied().chain(heard)));
            range.high = range.high.max(used);
            // By the time of the last decision of all that were answered, every approval among them was in the books.
            let has_all_approvals = open.iter().enumerate().all(|(place, fact)| {
                let is_approval = matches!(fact.what, What::Decision { .. }) && fact.known_us.is_some();
                !is_approval || is_chosen(place)
            });
            if has_all_approvals {
                range.low = range.low.min(used);
            }
        }
        range
    }
}

fn position<'a>(facts: impl Iterator<Item = &'a Fact> + Clone) -> Position {
    let mut latest: Option<(Snapshot, Option<u64>)> = None;
    let (mut listed, mut captured, mut refunded) = (0, 0_i64, 0_i64);
    for fact in facts.clone() {
        match fact.what {
            What::Snapshot(snapshot) => {
                if snapshot.transactions > listed {
                    (listed, captured, refunded) =
                        (snapshot.transactions, snapshot.captured, snapshot.refunded);
                }
                let is_later = latest.is_none_or(|(known, event)| {
                    (known.progress(), event) < (snapshot.progress(), fact.event)
                });
                if is_later {
                    latest = Some((snapshot, fact.event));
                }
            }
            What::Decision { .. } | What::Transaction { .. } => {}
        }
    }
    for fact in facts.clone() {
        match fact.what {
            What::Transaction { index, captured: taken, refunded: back } if index >= listed => {
                captured = captured.saturating_add(taken);
                refunded = refunded.saturating_add(back);
            }
            What::Transaction { .. } | What::Snapshot(_) | What::Decision { .. } => {}
        }
    }
    let (told, through) = latest.map_or((0, 0), |(latest, _)| (latest.amount, latest.history));
    let unconfirmed = facts.fold(0_i64, |sum, fact| match fact.what {
        What::Decision { index, granted } if index >= through => sum.saturating_add(granted),
        What::Decision { .. } | What::Snapshot(_) | What::Transaction { .. } => sum,
    });
    let is_over = latest.is_some_and(|(latest, _)| latest.is_terminal);
    let open = told.saturating_add(unconfirmed).saturating_sub(captured).max(0);
    Position { held: if is_over { 0 } else { open }, captured, refunded }
}

/// More than what can follow from any of the facts.
fn most<'a>(facts: impl Iterator<Item = &'a Fact>) -> i64 {
    facts.fold(0, |sum: i64, fact| {
        sum.saturating_add(match fact.what {
            What::Decision { granted, .. } => granted,
            What::Snapshot(snapshot) => snapshot.amount.saturating_add(snapshot.captured),
            What::Transaction { captured, .. } => captured,
        })
    })
}

/// More than what was given back by any of the facts.
fn most_refunded<'a>(facts: impl Iterator<Item = &'a Fact>) -> i64 {
    facts.fold(0, |sum: i64, fact| {
        sum.saturating_add(match fact.what {
            What::Decision { .. } => 0,
            What::Snapshot(snapshot) => snapshot.refunded.max(0),
            What::Transaction { refunded, .. } => refunded.max(0),
        })
    })
}
