//! The label values of policies that are tried.

use super::{Label, Labels};

label! {
    /// The history on which a candidate decides.
    World {
        /// The one that there was.
        Happened = "happened",
        /// The one that it would have made.
        Gone = "gone",
    }

    /// How a candidate would change an answer.
    TrialChange {
        /// It declines what was approved.
        NewlyDeclined = "newly_declined",
        /// It approves what was declined.
        NewlyApproved = "newly_approved",
        /// It approves another amount.
        OtherAmount = "other_amount",
        /// It asks the cardholder by text message.
        NewlyChallenged = "newly_challenged",
    }
}
