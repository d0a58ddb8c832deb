//! How far an endpoint has the events of the journal, on disk.

use serde::{Deserialize, Serialize};

use super::Text;
use crate::domain::{Delivered, Timestamp};

#[derive(Serialize, Deserialize)]
pub(super) struct DeliveredRecord<'a> {
    #[serde(borrow)]
    endpoint: Text<'a>,
    through: u64,
    at: i64,
}

impl<'a> From<&'a Delivered> for DeliveredRecord<'a> {
    fn from(Delivered { endpoint, through, at }: &'a Delivered) -> Self {
        Self { endpoint: (&**endpoint).into(), through: *through, at: at.as_micros() }
    }
}

impl DeliveredRecord<'_> {
    pub(super) fn into_delivered(self) -> Delivered {
        Delivered {
            endpoint: self.endpoint.as_ref().into(),
            through: self.through,
            at: Timestamp::from_micros(self.at),
        }
    }
}
