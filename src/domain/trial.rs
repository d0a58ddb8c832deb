//! What the journal keeps of policies that are tried beside the one in force. How they are tried is elsewhere.

use std::sync::Arc;

use super::{attribution::Attribution, policy::PolicyVersion, time::Timestamp};

/// A candidate is tried beside the policy in force from here on, or none is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShadowRecord {
    /// Which one; none where the trial ends.
    pub candidate: Option<Candidate>,
    /// When.
    pub at: Timestamp,
    /// Who did it, and why.
    pub attribution: Attribution,
}

/// A policy that is tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Names its content.
    pub version: PolicyVersion,
    /// The whole text.
    pub text: Arc<str>,
}

/// What a node found that decided with a candidate beside the policy in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShadowFound {
    /// The node.
    pub node: Arc<str>,
    /// The candidate.
    pub candidate: PolicyVersion,
    /// When it was recorded.
    pub at: Timestamp,
    /// The findings, as JSON: a part of a report, to be added to the parts before it.
    pub findings: Arc<str>,
}
