//! The small bodies of replies: of probes, of the log's filter, of errors.

use schemars::JsonSchema;
use serde::Serialize;

/// An error: what was expected, what was found, what to do.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct ErrorBody {
    /// The error.
    pub(in crate::http) error: ProblemBody,
}

/// What is wrong.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct ProblemBody {
    /// For programs; it does not change.
    pub(in crate::http) code: String,
    /// For people.
    pub(in crate::http) message: String,
}

/// The state of the node.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct StatusBody {
    /// `live`, `ready`, `starting`, `restoring`, or `draining`.
    pub(in crate::http) status: String,
}

/// The filter of the log.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct LogBody {
    /// The filter, such as `info,tollgate::http=debug`.
    pub(in crate::http) filter: String,
}
