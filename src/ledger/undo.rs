//! What it takes to take back events that accounts have applied and that were certainly not written: each account as it was
//! before the first of them.

use super::member::{Member, Members, Slot};
use crate::{
    domain::{Authorization, AuthorizationId, Budget, Card, Event, Fact},
    planted::{self, Planted},
};

/// How to get back to the accounts before some events.
#[derive(Default)]
pub(super) enum Undo {
    /// There were no events.
    #[default]
    Nothing,
    /// By these.
    To(Vec<(Slot, Checkpoint)>),
    /// Not without the journal: an event changed more than the records it names.
    Impossible,
}

/// An account as it was.
pub(super) enum Checkpoint {
    Card(Box<CardBefore>),
    Budget(Box<Budget>),
}

/// The card as it was: everything but its records, which are many; of those the ones that were changed since.
pub(super) struct CardBefore {
    rest: Card,
    /// As they were before each change, in order.
    records: Vec<(AuthorizationId, Option<Authorization>)>,
}

/// What an event changes.
enum Change<'a> {
    /// At most one record of an authorization, and nothing that is kept by transaction.
    Record(Option<&'a AuthorizationId>),
    /// A budget.
    Budget,
    More,
}

impl Undo {
    /// Notes how an account is before `event` is applied to it.
    pub(super) fn note<C>(&mut self, at: Slot, member: &mut Member<C>, event: &Event) {
        let change = change(event);
        if matches!(self, Self::Impossible) {
            return;
        }
        if matches!(change, Change::More) {
            *self = Self::Impossible;
            return;
        }
        if matches!(self, Self::Nothing) {
            *self = Self::To(Vec::with_capacity(1));
        }
        let Self::To(checkpoints) = self else { return };
        let place = checkpoints.iter().position(|(of, _)| *of == at).unwrap_or_else(|| {
            let checkpoint = match change {
                Change::Budget => Checkpoint::Budget(Box::new(member.budget.clone())),
                Change::Record(_) | Change::More => Checkpoint::Card(Box::new(CardBefore {
                    rest: without_records(&mut member.card),
                    records: Vec::new(),
                })),
            };
            checkpoints.push((at, checkpoint));
            checkpoints.len().saturating_sub(1)
        });
        if let (Change::Record(Some(id)), Some((_, Checkpoint::Card(before)))) =
            (change, checkpoints.get_mut(place))
        {
            before.records.push((id.clone(), member.card.authorizations.get(id).cloned()));
        }
    }

    /// Takes everything back that was noted. False: nothing was done, since that is impossible.
    #[must_use]
    pub(super) fn undo<C>(self, members: &mut Members<C>) -> bool {
        let checkpoints = match self {
            Self::Nothing => return true,
            Self::Impossible => return false,
            Self::To(checkpoints) => checkpoints,
        };
        for (at, checkpoint) in checkpoints {
            match checkpoint {
                Checkpoint::Card(before) => before.put_back(&mut members[at].card),
                Checkpoint::Budget(_) if planted::is(Planted::LegsKept) => {}
                Checkpoint::Budget(before) => members[at].budget = *before,
            }
        }
        true
    }

    /// What was noted here, and then there.
    pub(super) fn extend(&mut self, later: Self) {
        match (&mut *self, later) {
            (_, Self::Nothing) | (Self::Impossible, _) => {}
            (_, Self::Impossible) => *self = Self::Impossible,
            (Self::To(checkpoints), Self::To(later)) => {
                for (at, later) in later {
                    match (checkpoints.iter_mut().find(|(of, _)| *of == at), later) {
                        (Some((_, Checkpoint::Card(before))), Checkpoint::Card(later)) => {
                            before.records.extend(later.records);
                        }
                        (Some(_), _) => {}
                        (None, later) => checkpoints.push((at, later)),
                    }
                }
            }
            (Self::Nothing, later @ Self::To(_)) => *self = later,
        }
    }
}

impl CardBefore {
    fn put_back(self, card: &mut Card) {
        let Self { rest, records } = self;
        let current = std::mem::replace(card, rest);
        card.authorizations = current.authorizations;
        card.unlinked = current.unlinked;
        card.places = current.places;
        for (id, record) in records.into_iter().rev() {
            match record {
                Some(record) => card.authorizations.insert(id, record),
                None => drop(card.authorizations.remove(&id)),
            }
        }
    }
}

/// A copy of everything that is not kept by authorization or transaction.
fn without_records(card: &mut Card) -> Card {
    let authorizations = std::mem::take(&mut card.authorizations);
    let (unlinked, places) = (std::mem::take(&mut card.unlinked), std::mem::take(&mut card.places));
    let rest = card.clone();
    (card.authorizations, card.unlinked, card.places) = (authorizations, unlinked, places);
    rest
}

fn change(event: &Event) -> Change<'_> {
    match event {
        Event::Decided(decided) | Event::StoodIn(decided) if decided.request.told.transactions.is_empty() => {
            Change::Record(Some(&decided.request.authorization))
        }
        Event::Recalled(recalled) if recalled.unlinked.is_empty() => match recalled.authorizations.as_slice()
        {
            [(id, record)] if record.transactions.is_empty() => Change::Record(Some(id)),
            _ => Change::More,
        },
        Event::Observed(observation) => match &observation.fact {
            Fact::Authorization(seen) if seen.listed.is_empty() => Change::Record(Some(&seen.id)),
            Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => Change::Record(None),
            Fact::Authorization(_) | Fact::Transaction(_) => Change::More,
        },
        Event::Controls(_)
        | Event::Charges(_)
        | Event::Command(_)
        | Event::Policy(_)
        | Event::Delivered(_) => Change::Record(None),
        Event::Budget(_) => Change::Budget,
        Event::Decided(_)
        | Event::StoodIn(_)
        | Event::Recalled(_)
        | Event::Joined(_)
        | Event::Carried(_)
        | Event::Snapshot(_) => Change::More,
    }
}
