//! The whole state of a card, on disk: what a snapshot holds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Text, Unreadable,
    authorization::AuthorizationRecord,
    authorization::TransactionRecord,
    budget::charges,
    command::{ExceptionsRecord, exceptions},
    controls::ControlsRecord,
    decided::MerchantRecord,
    decided::currency_text,
    field, is_false,
    observed::StateRecord,
    optional,
    tally::TallyRecord,
};
use crate::domain::{
    AuthorizationId, Card, CardId, Carried, ConnectedAccountId, EventId, Forgotten, Joined, Latest, Recalled,
    Standing, Timestamp, Totals, TransactionId, Unlinked,
};

#[derive(Serialize, Deserialize)]
pub(super) struct CardRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    time: i64,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    authorizations: Vec<(Text<'a>, AuthorizationRecord<'a>)>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    unlinked: Vec<(Text<'a>, UnlinkedRecord<'a>)>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    places: Vec<(Text<'a>, Text<'a>)>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    tallies: Vec<TallyRecord<'a>>,
    #[serde(skip_serializing_if = "is_false", default)]
    refunds_restore: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    group: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    standing: Option<StandingRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    account: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    joined: Option<JoinedRecord<'a>>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    carried: Vec<CarriedRecord<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    controls: Option<ControlsRecord<'a>>,
    forgotten: (i64, i64),
    /// Captured, refunded, overrun.
    #[serde(default)]
    let_go: (i64, i64, i64),
    /// The latest attempt and approval; of those that are forgotten, the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    latest: Option<[i64; 4]>,
    /// A rule that declines all requests, and until when.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    blocked: Option<(Text<'a>, i64)>,
    /// The budgets that it charged last.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    charges: Vec<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    exceptions: Option<ExceptionsRecord<'a>>,
}

/// The state of a card or cardholder by its own events.
#[derive(Serialize, Deserialize)]
struct StandingRecord<'a> {
    #[serde(borrow)]
    state: StateRecord<'a>,
    #[serde(borrow)]
    before: StateRecord<'a>,
    /// Update, created, event.
    version: (bool, i64, Text<'a>),
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    base: Option<StateRecord<'a>>,
}

/// The step into another card's books.
#[derive(Serialize, Deserialize)]
pub(super) struct JoinedRecord<'a> {
    card: Text<'a>,
    #[serde(skip_serializing_if = "is_false", default)]
    carried: bool,
}

/// The end of what was booked on a card before it joined these books.
#[derive(Serialize, Deserialize)]
pub(super) struct CarriedRecord<'a> {
    card: Text<'a>,
    through: u64,
}

/// What came back, by ids.
#[derive(Serialize, Deserialize)]
pub(super) struct RecalledRecord<'a> {
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    authorizations: Vec<(Text<'a>, AuthorizationRecord<'a>)>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    unlinked: Vec<(Text<'a>, UnlinkedRecord<'a>)>,
}

#[derive(Serialize, Deserialize)]
struct UnlinkedRecord<'a> {
    #[serde(borrow, flatten)]
    transaction: TransactionRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    #[serde(borrow, flatten)]
    merchant: MerchantRecord<'a>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    charges: Vec<Text<'a>>,
}

impl<'a> From<&'a Card> for CardRecord<'a> {
    fn from(card: &'a Card) -> Self {
        let Forgotten { created_through, spent_through, latest: gone } = card.forgotten;
        let latest = [card.latest.attempt, card.latest.approval, gone.attempt, gone.approval];
        Self {
            currency: card.currency.map(currency_text),
            time: card.time.as_micros(),
            authorizations: card
                .authorizations
                .iter()
                .map(|(id, one)| (id.as_str().into(), one.into()))
                .collect(),
            unlinked: card.unlinked.iter().map(|(id, one)| (id.as_str().into(), one.into())).collect(),
            places: card
                .places
                .iter()
                .map(|(id, place)| (id.as_str().into(), place.as_str().into()))
                .collect(),
            tallies: card.tallies.iter().map(TallyRecord::from).collect(),
            refunds_restore: card.refunds_restore,
            group: card.group.as_deref().map(Into::into),
            standing: card.standing.as_ref().map(StandingRecord::from),
            account: card.connected_account.as_ref().map(|account| account.as_str().into()),
            joined: card.joined.as_ref().map(JoinedRecord::from),
            carried: card.carried.iter().map(CarriedRecord::from).collect(),
            controls: card.stripe_controls.as_deref().map(ControlsRecord::from),
            forgotten: (created_through.as_micros(), spent_through.as_micros()),
            let_go: (card.let_go.captured, card.let_go.refunded, card.let_go.overrun),
            blocked: card.blocked.as_ref().map(|(rule, until)| ((&**rule).into(), until.as_micros())),
            latest: (latest != [Timestamp::MIN; 4]).then(|| latest.map(Timestamp::as_micros)),
            charges: card.charges.iter().map(|account| account.as_str().into()).collect(),
            exceptions: ExceptionsRecord::of(&card.exceptions),
        }
    }
}

impl CardRecord<'_> {
    pub(super) fn into_card(self) -> Result<Card, Unreadable> {
        let [attempt, approval, gone_attempt, gone_approval] =
            self.latest.map_or([Timestamp::MIN; 4], |latest| latest.map(Timestamp::from_micros));
        let mut card = Card {
            currency: optional("currency", self.currency.as_ref(), |text| text.parse().ok())?,
            time: Timestamp::from_micros(self.time),
            refunds_restore: self.refunds_restore,
            group: self.group.as_deref().map(Into::into),
            forgotten: Forgotten {
                created_through: Timestamp::from_micros(self.forgotten.0),
                spent_through: Timestamp::from_micros(self.forgotten.1),
                latest: Latest { attempt: gone_attempt, approval: gone_approval },
            },
            latest: Latest { attempt, approval },
            blocked: self.blocked.map(|(rule, until)| ((&*rule).into(), Timestamp::from_micros(until))),
            let_go: Totals { captured: self.let_go.0, refunded: self.let_go.1, overrun: self.let_go.2 },
            connected_account: optional("account", self.account.as_ref(), ConnectedAccountId::new)?,
            joined: self.joined.map(JoinedRecord::into_joined).transpose()?,
            charges: charges(&self.charges)?,
            exceptions: exceptions(self.exceptions)?,
            stripe_controls: self.controls.map(ControlsRecord::into_controls).transpose()?.map(Arc::new),
            ..Card::default()
        };
        for (id, record) in self.authorizations {
            card.authorizations.insert(field("id", &id, AuthorizationId::new)?, record.into_authorization()?);
        }
        for (id, record) in self.unlinked {
            card.unlinked.insert(field("id", &id, TransactionId::new)?, record.into_unlinked()?);
        }
        for (id, place) in self.places {
            let place = field("authorization", &place, AuthorizationId::new)?;
            card.places.insert(field("id", &id, TransactionId::new)?, place);
        }
        card.tallies = self.tallies.into_iter().map(TallyRecord::into_tally).collect::<Result<_, _>>()?;
        for CarriedRecord { card: from, through } in self.carried {
            card.carried.push((field("card", &from, CardId::new)?, through));
        }
        card.standing = self.standing.map(StandingRecord::into_standing).transpose()?;
        Ok(card)
    }
}

impl<'a> From<&'a Standing> for StandingRecord<'a> {
    fn from(standing: &'a Standing) -> Self {
        let (is_update, created, event) = &standing.version;
        Self {
            state: (&standing.state).into(),
            before: (&standing.before).into(),
            version: (*is_update, created.as_micros(), event.as_str().into()),
            base: standing.base.as_ref().map(StateRecord::from),
        }
    }
}

impl StandingRecord<'_> {
    fn into_standing(self) -> Result<Standing, Unreadable> {
        let (is_update, created, event) = self.version;
        Ok(Standing {
            state: self.state.into(),
            before: self.before.into(),
            version: (is_update, Timestamp::from_micros(created), field("event", &event, EventId::new)?),
            base: self.base.map(Into::into),
        })
    }
}

impl<'a> From<&'a Joined> for JoinedRecord<'a> {
    fn from(joined: &'a Joined) -> Self {
        Self { card: joined.card.as_str().into(), carried: joined.is_carried }
    }
}

impl JoinedRecord<'_> {
    pub(super) fn into_joined(self) -> Result<Joined, Unreadable> {
        Ok(Joined { card: field("card", &self.card, CardId::new)?, is_carried: self.carried })
    }
}

impl<'a> From<&'a (CardId, u64)> for CarriedRecord<'a> {
    fn from((card, through): &'a (CardId, u64)) -> Self {
        Self { card: card.as_str().into(), through: *through }
    }
}

impl<'a> From<&'a Carried> for CarriedRecord<'a> {
    fn from(carried: &'a Carried) -> Self {
        Self { card: carried.from.as_str().into(), through: carried.through }
    }
}

impl CarriedRecord<'_> {
    pub(super) fn into_carried(self) -> Result<Carried, Unreadable> {
        Ok(Carried {
            from: field("card", &self.card, CardId::new)?,
            through: self.through,
            events: Vec::new(),
        })
    }
}

impl<'a> From<&'a Recalled> for RecalledRecord<'a> {
    fn from(recalled: &'a Recalled) -> Self {
        let authorizations = recalled.authorizations.iter().map(|(id, one)| (id.as_str().into(), one.into()));
        let unlinked = recalled.unlinked.iter().map(|(id, one)| (id.as_str().into(), one.into()));
        Self { authorizations: authorizations.collect(), unlinked: unlinked.collect() }
    }
}

impl RecalledRecord<'_> {
    pub(super) fn into_recalled(self) -> Result<Recalled, Unreadable> {
        let mut recalled = Recalled::default();
        for (id, record) in self.authorizations {
            let id = field("id", &id, AuthorizationId::new)?;
            recalled.authorizations.push((id, record.into_authorization()?));
        }
        for (id, record) in self.unlinked {
            let id = field("id", &id, TransactionId::new)?;
            recalled.unlinked.push((id, record.into_unlinked()?));
        }
        Ok(recalled)
    }
}

impl<'a> From<&'a Unlinked> for UnlinkedRecord<'a> {
    fn from(unlinked: &'a Unlinked) -> Self {
        Self {
            transaction: (&unlinked.transaction).into(),
            currency: unlinked.currency.map(currency_text),
            merchant: (&unlinked.merchant).into(),
            charges: unlinked.charges.iter().map(|account| account.as_str().into()).collect(),
        }
    }
}

impl UnlinkedRecord<'_> {
    fn into_unlinked(self) -> Result<Unlinked, Unreadable> {
        Ok(Unlinked {
            transaction: self.transaction.into_transaction()?,
            currency: optional("currency", self.currency.as_ref(), |text| text.parse().ok())?,
            merchant: self.merchant.into_merchant()?,
            charges: charges(&self.charges)?,
        })
    }
}
