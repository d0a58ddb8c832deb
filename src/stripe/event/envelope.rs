//! The envelope that every event comes in. What is inside is for the other files.

use super::{
    Kind, Malformed,
    tape::{Value, fields},
};
use crate::domain::{ConnectedAccountId, EventId, Timestamp};

/// An event, opened.
pub(super) struct Envelope<'a> {
    pub(super) event: Option<EventId>,
    pub(super) event_type: &'a str,
    pub(super) kind: Kind,
    /// When Stripe created the event; where it does not say, when it reached us.
    pub(super) created: Timestamp,
    pub(super) received_at: Timestamp,
    pub(super) livemode: bool,
    pub(super) connected_account: Option<ConnectedAccountId>,
    /// `data.object`, which is an object.
    pub(super) object: Value<'a>,
    /// `data.previous_attributes`.
    pub(super) previous: Value<'a>,
}

impl<'a> Envelope<'a> {
    pub(super) fn read(root: Value<'a>, received_at: Timestamp) -> Result<Self, Malformed> {
        if !root.is_object() {
            return Err(Malformed::NotJson);
        }
        fields!(root;
            "id" => id,
            "object" => shape,
            "type" => event_type,
            "created" => created,
            "livemode" => livemode,
            "account" => account,
            "data" => data,
        );
        if !shape.is_null() && shape.text() != Some("event") {
            return Err(Malformed::NotAnEvent);
        }
        let event_type = event_type.text().filter(|text| !text.is_empty()).ok_or(Malformed::NoType)?;
        fields!(data; "object" => object, "previous_attributes" => previous);
        if !object.is_object() {
            return Err(Malformed::NoObject);
        }
        Ok(Self {
            event: id.text().and_then(EventId::new),
            event_type,
            kind: Kind::of(event_type),
            created: created.whole().map_or(received_at, Timestamp::from_seconds),
            received_at,
            livemode: livemode.flag().unwrap_or(false),
            connected_account: account.text().and_then(ConnectedAccountId::new),
            object,
            previous,
        })
    }

    /// Whether the event shows the object as it was made or changed.
    pub(super) fn is_of_change(&self) -> bool {
        matches!(self.event_type.split_once('.'), Some((_, "created" | "updated")))
    }

    /// Whether the event tells of a change, rather than of something new.
    pub(super) fn is_update(&self) -> bool {
        !self.event_type.ends_with(".created")
    }
}
