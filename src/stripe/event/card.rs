//! A card, as every event embeds it and as its own events tell it. Its number, its owner's name and address stay out.

use std::sync::Arc;

use super::{
    Malformed, Stop, Unbooked,
    envelope::Envelope,
    tape::{Value, fields},
};
use crate::domain::{CardId, CardSeen, Currency, Fact};

/// The longest value of a metadata entry at Stripe, in characters.
const GROUP_CHARACTERS_MAX: usize = 500;

/// What is read of a card: of an id alone, only the id.
pub(super) struct Card<'a> {
    pub(super) id: Option<CardId>,
    pub(super) currency: Option<Currency>,
    /// `metadata.tollgate_group` of the card, or else of its cardholder.
    pub(super) group: Option<Arc<str>>,
    pub(super) status: Value<'a>,
    pub(super) replacement_for: Value<'a>,
    pub(super) spending_controls: Value<'a>,
    pub(super) cardholder_spending_controls: Value<'a>,
}

impl<'a> Card<'a> {
    pub(super) fn read(card: Value<'a>) -> Result<Self, Malformed> {
        fields!(card;
            "id" => id,
            "currency" => currency,
            "status" => status,
            "metadata" => metadata,
            "cardholder" => cardholder,
            "replacement_for" => replacement_for,
            "spending_controls" => spending_controls,
        );
        fields!(cardholder;
            "metadata" => cardholder_metadata,
            "spending_controls" => cardholder_spending_controls,
        );
        let own_group = group(metadata)?;
        let cardholder_group = group(cardholder_metadata)?;
        Ok(Self {
            id: id.text().or(card.text()).and_then(CardId::new),
            currency: currency.text().and_then(|text| text.parse().ok()),
            group: own_group.or(cardholder_group).map(Arc::from),
            status,
            replacement_for,
            spending_controls,
            cardholder_spending_controls,
        })
    }
}

/// `issuing_card.created` and `.updated`.
pub(super) fn seen(envelope: &Envelope<'_>) -> Result<(CardId, Fact), Stop> {
    let card = Card::read(envelope.object)?;
    let seen = CardSeen {
        is_update: envelope.is_update(),
        is_active: card.status.text().ok_or(Unbooked::NoStatus)? == "active",
        currency: card.currency,
        group: card.group,
        replacement_for: id_text(card.replacement_for)?.and_then(CardId::new),
    };
    Ok((card.id.ok_or(Unbooked::NoId)?, Fact::Card(Box::new(seen))))
}

/// The id of something that comes as an id or, expanded, as an object.
pub(super) fn id_text(value: Value<'_>) -> Result<Option<&str>, Malformed> {
    fields!(value; "id" => id);
    Ok(value.text().or(id.text()))
}

/// The name of the policy group in some metadata.
fn group(metadata: Value<'_>) -> Result<Option<&str>, Malformed> {
    fields!(metadata; "tollgate_group" => group);
    let usable = |name: &&str| !name.is_empty() && name.chars().nth(GROUP_CHARACTERS_MAX).is_none();
    Ok(group.text().filter(usable))
}
