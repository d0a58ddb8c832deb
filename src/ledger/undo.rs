//! What it takes to take back events that an account has applied and that were certainly not written: the account as it was
//! before the first of them.

use crate::domain::{Authorization, AuthorizationId, Card, Event, Fact};

/// How to get back to the card before some events.
#[derive(Default)]
pub(super) enum Undo {
    /// There were no events.
    #[default]
    Nothing,
    /// By this.
    To(Box<Checkpoint>),
    /// Not without the journal: an event changed more than the records it names.
    Impossible,
}

/// The card as it was: everything but its records, which are many; of those the ones that were changed since.
pub(super) struct Checkpoint {
    rest: Card,
    /// As they were before each change, in order.
    records: Vec<(AuthorizationId, Option<Authorization>)>,
}

/// What an event changes.
enum Change<'a> {
    /// At most one record of an authorization, and nothing that is kept by transaction.
    Record(Option<&'a AuthorizationId>),
    More,
}

impl Undo {
    /// Notes how `card` is before `event` is applied to it.
    pub(super) fn note(&mut self, card: &mut Card, event: &Event) {
        let Change::Record(id) = change(event) else {
            *self = Self::Impossible;
            return;
        };
        if matches!(self, Self::Nothing) {
            *self = Self::To(Box::new(Checkpoint { rest: without_records(card), records: Vec::new() }));
        }
        if let (Self::To(checkpoint), Some(id)) = (self, id) {
            checkpoint.records.push((id.clone(), card.authorizations.get(id).cloned()));
        }
    }

    /// Takes everything back that was noted. False: nothing was done, since that is impossible.
    #[must_use]
    pub(super) fn undo(self, card: &mut Card) -> bool {
        match self {
            Self::Nothing => true,
            Self::Impossible => false,
            Self::To(checkpoint) => {
                let Checkpoint { rest, records } = *checkpoint;
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
                true
            }
        }
    }

    /// What was noted here, and then there.
    pub(super) fn extend(&mut self, later: Self) {
        match (&mut *self, later) {
            (_, Self::Nothing) | (Self::Impossible, _) => {}
            (_, Self::Impossible) => *self = Self::Impossible,
            (Self::To(checkpoint), Self::To(later)) => checkpoint.records.extend(later.records),
            (Self::Nothing, later @ Self::To(_)) => *self = later,
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
        Event::Controls(_) | Event::Policy(_) => Change::Record(None),
        Event::Decided(_)
        | Event::StoodIn(_)
        | Event::Recalled(_)
        | Event::Joined(_)
        | Event::Carried(_)
        | Event::Snapshot(_) => Change::More,
    }
}
