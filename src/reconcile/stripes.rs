//! Stripe's side: objects of its API, read by the same reader as events, and folded by the same rules as the books.

use crate::{
    clock,
    domain::{
        AuthorizationId, AuthorizationStatus, Card, CardId, CardholderId, ConnectedAccountId, Event, Fact,
        Money, Observation, State, Subject, Timestamp,
    },
    stripe::{
        self, Backfill, Incoming, Malformed, Reading, Unbooked,
        api::{Failure, Object, Settings},
        transactions_of,
    },
};

use super::difference::{Difference, Field, TransactionState};

/// How objects of one page become events.
pub(super) struct Sides<'a>(Backfill<'a>);

/// An authorization as Stripe tells it now.
pub(super) struct Told {
    pub(super) id: AuthorizationId,
    pub(super) status: AuthorizationStatus,
    pub(super) approved: bool,
    pub(super) amount: Money,
    /// What must be held now; unknown where Stripe lists transactions without what they say.
    pub(super) held: Option<i64>,
    pub(super) transactions: Vec<(TransactionState, Booking)>,
    /// Transactions that cannot be read, each by its id.
    pub(super) unread: Vec<(String, Unread)>,
    event: Vec<u8>,
}

/// A transaction, ready to be booked: new, or in place of the known version.
pub(super) struct Booking {
    new: Vec<u8>,
    corrected: Vec<u8>,
}

impl Booking {
    pub(super) fn event(&self, is_known: bool) -> Vec<u8> {
        if is_known { self.corrected.clone() } else { self.new.clone() }
    }
}

/// Why an object is nothing that is booked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Object(#[from] Failure),
    #[error(transparent)]
    Event(#[from] Malformed),
    #[error(transparent)]
    Fact(#[from] Unbooked),
}

impl<'a> Sides<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        account: Option<&'a ConnectedAccountId>,
        read_at: Timestamp,
    ) -> Self {
        Self(Backfill { version: &settings.version, account, read_at })
    }

    /// A card with the event that tells it.
    pub(super) fn card(&self, object: &Object) -> Result<(CardId, State, Vec<u8>), Unread> {
        let event = self.0.card(object)?;
        let observation = observation(&event)?;
        let card = observation.card().cloned().ok_or(Unbooked::NoCard)?;
        let Fact::Card(seen) = observation.fact else { return Err(Unbooked::NotOurs.into()) };
        Ok((card, State { is_active: seen.is_active, group: seen.group }, event))
    }

    /// A cardholder with the event that tells it.
    pub(super) fn cardholder(&self, object: &Object) -> Result<(CardholderId, State, Vec<u8>), Unread> {
        let event = self.0.cardholder(object)?;
        let observation = observation(&event)?;
        match (observation.subject, observation.fact) {
            (Subject::Cardholder(cardholder), Fact::Cardholder(seen)) => {
                Ok((cardholder, State { is_active: seen.is_active, group: seen.group }, event))
            }
            _ => Err(Unbooked::NotOurs.into()),
        }
    }

    pub(super) fn authorization(&self, object: &Object) -> Result<Told, Unread> {
        let event = self.0.authorization(object)?;
        let observation = observation(&event)?;
        let Fact::Authorization(seen) = &observation.fact else { return Err(Unbooked::NotOurs.into()) };
        let (id, amount, listed) = (seen.id.clone(), seen.amount, seen.transactions);
        let mut card = Card::default();
        let mut transactions = Vec::new();
        let mut unread = Vec::new();
        for object in transactions_of(object) {
            match self.transaction(&object) {
                Ok(told) => transactions.push(told),
                Err(cause) => {
                    unread.push((object.id.clone(), cause));
                    continue;
                }
            }
            card.apply(&Event::Observed(Box::new(self::observation(&self.0.transaction(&object, false)?)?)));
        }
        card.apply(&Event::Observed(Box::new(observation)));
        let record = card.authorizations.remove(&id).unwrap_or_default();
        let is_whole = u32::try_from(transactions.len()) == Ok(listed);
        Ok(Told {
            status: record.status(),
            approved: record.is_approved(),
            held: is_whole.then(|| record.hold()),
            id,
            amount,
            transactions,
            unread,
            event,
        })
    }

    pub(super) fn transaction(&self, object: &Object) -> Result<(TransactionState, Booking), Unread> {
        let booking =
            Booking { new: self.0.transaction(object, false)?, corrected: self.0.transaction(object, true)? };
        let observation = observation(&booking.new)?;
        let card = observation.card().cloned().ok_or(Unbooked::NoCard)?;
        let Fact::Transaction(seen) = observation.fact else { return Err(Unbooked::NotOurs.into()) };
        let state = TransactionState {
            id: seen.id,
            card,
            authorization: seen.authorization,
            kind: seen.kind,
            amount: seen.amount,
        };
        Ok((state, booking))
    }
}

impl Told {
    /// The events that make these differences go away.
    pub(super) fn events(&self, differences: &[Difference]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        for difference in differences {
            match &difference.field {
                Field::Transaction(id) => {
                    let told = self.transactions.iter().find(|(state, _)| state.id == *id);
                    let is_known = difference.ours != "unknown";
                    events.extend(told.map(|(_, booking)| booking.event(is_known)));
                }
                Field::Authorization | Field::Status | Field::Approved | Field::Held | Field::Group => {
                    if !events.contains(&self.event) {
                        events.push(self.event.clone());
                    }
                }
            }
        }
        events
    }
}

/// The authorization that an event tells of, and its card.
pub(super) fn subject(event: &Object) -> Option<(AuthorizationId, CardId)> {
    let observation = observation(event.json.get().as_bytes()).ok()?;
    let card = observation.card()?.clone();
    match observation.fact {
        Fact::Authorization(seen) => Some((seen.id, card)),
        Fact::Transaction(_) | Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
    }
}

fn observation(event: &[u8]) -> Result<Observation, Unread> {
    match stripe::read(event, clock::now(), &Reading::default())? {
        Incoming::Observation(observation) => Ok(*observation),
        Incoming::Acknowledged { cause, .. } => Err(cause.into()),
        Incoming::Request(_) => Err(Unbooked::NotOurs.into()),
    }
}
