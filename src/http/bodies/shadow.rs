//! What is tried beside the policy in force.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    http::reply::Rfc3339,
    trial::{Findings, ShadowView},
};

/// The candidate, and what it would change.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct ShadowBody {
    /// The version of the candidate; null where none is tried.
    pub candidate: Option<String>,
    /// Since when it is tried, or when the last trial ended.
    pub since: Option<Rfc3339>,
    /// Who did that: the name of the caller's token, or `TOLLGATE_SHADOW_POLICY` where a file says so.
    pub by: Option<String>,
    /// Why; of a file, its path.
    pub reason: Option<String>,
    /// What all nodes have found, of the last candidate where none is tried; null where nothing was decided since.
    pub findings: Option<Findings>,
    /// The nodes that have found something lately.
    pub nodes: Vec<ShadowNodeBody>,
}

/// A node that has found something.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct ShadowNodeBody {
    /// Its name.
    pub node: String,
    /// When it recorded that last.
    pub recorded_at: Rfc3339,
}

/// What is to be tried.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SetShadowBody {
    /// The text of a policy file; null ends the trial.
    pub(in crate::http) policy: Option<String>,
    /// Why.
    pub(in crate::http) reason: Option<String>,
}

impl From<ShadowView> for ShadowBody {
    fn from(view: ShadowView) -> Self {
        let ShadowView { record, findings, nodes } = view;
        let nodes = nodes
            .iter()
            .map(|(node, at)| ShadowNodeBody { node: node.to_string(), recorded_at: Rfc3339(*at) });
        Self {
            candidate: record
                .as_ref()
                .and_then(|record| record.candidate.as_ref())
                .map(|candidate| candidate.version.as_str().to_owned()),
            since: record.as_ref().map(|record| Rfc3339(record.at)),
            by: record.as_ref().map(|record| record.attribution.by.to_string()),
            reason: record.as_ref().map(|record| record.attribution.reason.to_string()),
            findings,
            nodes: nodes.collect(),
        }
    }
}
