//! The labels of what a node sends by itself: events for endpoints, and spans.

use super::{Label, Labels};

label! {
    /// What became of an attempt to deliver an event to an endpoint.
    Delivery {
        /// The endpoint has it.
        Delivered = "delivered",
        /// The endpoint did not take it; it is sent again.
        Failed = "failed",
        /// The endpoint did not take it for three days.
        GivenUp = "given_up",
    }
}

label! {
    /// How deliveries to an endpoint go.
    Endpoint {
        /// It takes events.
        Up = "up",
        /// It does not.
        Failing = "failing",
    }
}

label! {
    /// What became of a span.
    Export {
        /// The collector has it.
        Exported = "exported",
        /// The collector did not take it, or too many were waiting.
        Dropped = "dropped",
    }
}
