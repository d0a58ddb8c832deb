//! Thin events, `v1.*` and `v2.*`: they name what happened, and carry nothing of it. Those about Stripe's view of our answers are known
//! one by one. Source: <https://docs.stripe.com/event-destinations#thin-events>.

use super::{
    Incoming, Kind, Malformed, Unbooked,
    tape::{Value, fields},
};
use crate::domain::EventId;

/// Reads a body that is no event of the v1 API.
///
/// # Errors
/// It is no thin event either, or one without a type.
pub(super) fn read(root: Value<'_>) -> Result<Incoming, Malformed> {
    fields!(root; "id" => id, "object" => shape, "type" => event_type);
    if shape.text() != Some("v2.core.event") {
        return Err(Malformed::NotAnEvent);
    }
    let event_type = event_type.text().filter(|text| !text.is_empty()).ok_or(Malformed::NoType)?;
    if !matches!(event_type.split_once('.'), Some(("v1" | "v2", _))) {
        return Err(Malformed::NotAnEvent);
    }
    Ok(Incoming::Acknowledged {
        event: id.text().and_then(EventId::new),
        kind: Kind::of(event_type),
        cause: Unbooked::NotOurs,
    })
}
