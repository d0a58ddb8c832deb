//! A card and its cardholder, as every event embeds them and as their own events tell them. The card's number, the
//! cardholder's name and address stay out.

use std::sync::Arc;

use super::{
    About, Unbooked,
    envelope::Envelope,
    tape::{Value, fields},
};
use crate::domain::{CardId, CardSeen, CardholderId, CardholderSeen, Currency, Fact, State, Subject};

/// The longest value of a metadata entry at Stripe, in characters.
const GROUP_CHARACTERS_MAX: usize = 500;

/// What is read of a card: of an id alone, only the id.
pub(super) struct Card<'a> {
    pub(super) id: Option<CardId>,
    pub(super) currency: Option<Currency>,
    /// `metadata.tollgate_group` of the card itself.
    pub(super) group: Option<Arc<str>>,
    /// `metadata.tollgate_group` of its cardholder.
    pub(super) cardholder_group: Option<Arc<str>>,
    pub(super) created: Value<'a>,
    pub(super) kind: Value<'a>,
    pub(super) latest_fraud_warning: Value<'a>,
    pub(super) program: Value<'a>,
    pub(super) status: Value<'a>,
    pub(super) replacement_for: Option<CardId>,
    pub(super) cardholder: Option<CardholderId>,
    pub(super) cardholder_type: Value<'a>,
    pub(super) cardholder_status: Value<'a>,
    pub(super) spending_controls: Value<'a>,
    pub(super) cardholder_spending_controls: Value<'a>,
    pub(super) metadata: Value<'a>,
    pub(super) cardholder_metadata: Value<'a>,
}

impl<'a> Card<'a> {
    pub(super) fn read(card: Value<'a>) -> Self {
        fields!(card;
            "id" => id,
            "created" => created,
            "currency" => currency,
            "latest_fraud_warning" => latest_fraud_warning,
            "program" => program,
            "type" => kind,
            "status" => status,
            "metadata" => metadata,
            "cardholder" => cardholder,
            "replacement_for" => replacement_for,
            "spending_controls" => spending_controls,
        );
        fields!(cardholder;
            "id" => cardholder_id,
            "metadata" => cardholder_metadata,
            "spending_controls" => cardholder_spending_controls,
            "status" => cardholder_status,
            "type" => cardholder_type,
        );
        Self {
            created,
            kind,
            latest_fraud_warning,
            program,
            cardholder_type,
            id: id.text().or(card.text()).and_then(CardId::new),
            currency: currency.text().and_then(|text| text.parse().ok()),
            group: group(metadata).map(Arc::from),
            cardholder_group: group(cardholder_metadata).map(Arc::from),
            status,
            replacement_for: id_text(replacement_for).and_then(CardId::new),
            cardholder: cardholder_id.text().or(cardholder.text()).and_then(CardholderId::new),
            cardholder_status,
            spending_controls,
            cardholder_spending_controls,
            metadata,
            cardholder_metadata,
        }
    }
}

impl Card<'_> {
    /// The card as it is embedded; none where it is not.
    pub(super) fn state(&self) -> Option<State> {
        let is_active = self.status.text()? == ACTIVE;
        Some(State { is_active, group: self.group.clone() })
    }

    /// The cardholder as it is embedded; none where it is not.
    pub(super) fn cardholder_state(&self) -> Option<State> {
        let is_active = self.cardholder_status.text()? == ACTIVE;
        Some(State { is_active, group: self.cardholder_group.clone() })
    }

    /// Whether the card or its cardholder is said to be anything but active.
    pub(super) fn is_paused(&self) -> bool {
        [self.status, self.cardholder_status]
            .into_iter()
            .filter_map(Value::text)
            .any(|status| status != ACTIVE)
    }
}

const ACTIVE: &str = "active";

/// `issuing_card.created` and `.updated`.
pub(super) fn seen(envelope: &Envelope<'_>) -> Result<About, Unbooked> {
    let card = Card::read(envelope.object);
    let seen = CardSeen {
        is_update: envelope.is_update(),
        is_active: card.status.text().ok_or(Unbooked::NoStatus)? == ACTIVE,
        currency: card.currency,
        before: card.state().and_then(|state| before(envelope, &state)),
        group: card.group,
    };
    Ok(About {
        subject: Subject::Card(card.id.ok_or(Unbooked::NoId)?),
        replacement_for: card.replacement_for,
        fact: Fact::Card(Box::new(seen)),
    })
}

/// `issuing_cardholder.created` and `.updated`.
pub(super) fn cardholder_seen(envelope: &Envelope<'_>) -> Result<About, Unbooked> {
    fields!(envelope.object; "id" => id, "metadata" => metadata, "status" => status);
    let is_active = status.text().ok_or(Unbooked::NoStatus)? == ACTIVE;
    let state = State { is_active, group: group(metadata).map(Arc::from) };
    let seen = CardholderSeen {
        is_update: envelope.is_update(),
        is_active,
        before: before(envelope, &state),
        group: state.group,
    };
    Ok(About {
        subject: Subject::Cardholder(id.text().and_then(CardholderId::new).ok_or(Unbooked::NoId)?),
        replacement_for: None,
        fact: Fact::Cardholder(Box::new(seen)),
    })
}

/// The state before the event: what it was, where `previous_attributes` says that something changed, and else what it
/// is.
fn before(envelope: &Envelope<'_>, state: &State) -> Option<State> {
    fields!(envelope.previous; "metadata" => metadata, "status" => status);
    fields!(metadata; "tollgate_group" => was_in);
    if status.is_missing() && was_in.is_missing() {
        return None;
    }
    Some(State {
        is_active: status.text().map_or(state.is_active, |status| status == ACTIVE),
        group: if was_in.is_missing() { state.group.clone() } else { group(metadata).map(Arc::from) },
    })
}

/// The id of something that comes as an id or, expanded, as an object.
pub(super) fn id_text(value: Value<'_>) -> Option<&str> {
    fields!(value; "id" => id);
    value.text().or(id.text())
}

/// The name of the policy group in some metadata.
fn group(metadata: Value<'_>) -> Option<&str> {
    fields!(metadata; "tollgate_group" => group);
    let usable = |name: &&str| !name.is_empty() && name.chars().nth(GROUP_CHARACTERS_MAX).is_none();
    group.text().filter(usable)
}
