//! Policies: which were in force, since when, and what each changed.

use schemars::JsonSchema;
use serde::Serialize;
use similar::TextDiff;

use crate::{
    domain::{Policy, PolicyRecord, PolicyStep, PolicyVersion},
    http::reply::Rfc3339,
};

/// Lines around a change that a diff shows.
const CONTEXT_LINES: usize = 3;

/// What nodes and operators did with policies.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct PoliciesBody {
    /// Newest first; a version is there again for each time that something was done with it.
    pub policies: Vec<PolicyVersionBody>,
}

/// A policy that a node put in force, or that an operator put or proposed.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct PolicyVersionBody {
    /// The version: a hash of the content.
    pub version: String,
    /// When.
    pub at: Rfc3339,
    /// The node that did it.
    pub node: String,
    /// Where the node read it: the path of a file, `environment`, `journal`, or `admin API`.
    pub origin: String,
    /// `own`: a node put it in force because its settings say so; `followed`: because it is the newest in the journal. `put`: an
    /// operator made it the newest. `proposed`: an operator proposed it; `approved`: a second one made it the newest.
    pub step: &'static str,
    /// Who did it, if it was an operator: the name of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it is in force on the node that answers.
    pub in_force: bool,
}

/// A policy with its text.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct PolicyBody {
    /// The version: a hash of the content.
    pub version: String,
    /// Each time that something was done with it, oldest first.
    pub history: Vec<PolicyVersionBody>,
    /// The whole text.
    pub text: String,
    /// The version that was in force before; null for the first one.
    pub before: Option<String>,
    /// The changes from that version, as a unified diff; null for the first one.
    pub diff: Option<String>,
}

/// The policy in force on the node that answers.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub struct InForceBody {
    /// The version: a hash of the content.
    pub version: String,
    /// The whole text.
    pub text: String,
}

impl PoliciesBody {
    /// Of all records, oldest first, on a node where `in_force` is in force.
    pub(in crate::http) fn new(records: &[PolicyRecord], in_force: &PolicyVersion) -> Self {
        let newest_first = records.iter().rev();
        Self { policies: newest_first.map(|record| PolicyVersionBody::new(record, in_force)).collect() }
    }
}

impl PolicyVersionBody {
    fn new(record: &PolicyRecord, in_force: &PolicyVersion) -> Self {
        Self {
            version: record.version.as_str().to_owned(),
            at: Rfc3339(record.at),
            node: record.node.to_string(),
            origin: record.origin.to_string(),
            step: match record.step {
                PolicyStep::Own => "own",
                PolicyStep::Followed => "followed",
                PolicyStep::Put(_) => "put",
                PolicyStep::Proposed(_) => "proposed",
                PolicyStep::Approved(_) => "approved",
            },
            by: record.step.attribution().map(|attribution| attribution.by.to_string()),
            reason: record.step.attribution().map(|attribution| attribution.reason.to_string()),
            in_force: record.version == *in_force,
        }
    }
}

impl PolicyBody {
    /// Of the policy with this version, from all records, oldest first, on a node where `in_force` is in force.
    pub(in crate::http) fn new(
        records: &[PolicyRecord],
        version: &str,
        in_force: &PolicyVersion,
    ) -> Option<Self> {
        let is_it = |record: &&PolicyRecord| record.version.as_str() == version;
        let text_of = |version: &str| PolicyRecord::text_of(records, &PolicyVersion::new(version));
        let text = text_of(version)?;
        let first = records.iter().position(|record| is_it(&record))?;
        let is_in_force = |record: &&PolicyRecord| !matches!(record.step, PolicyStep::Proposed(_));
        let before = records.get(..first)?.iter().rfind(is_in_force).map(|record| record.version.as_str());
        let diff = before.and_then(|before| Some(diff((before, text_of(before)?), (version, text))));
        let history = records.iter().filter(is_it);
        Some(Self {
            version: version.to_owned(),
            history: history.map(|record| PolicyVersionBody::new(record, in_force)).collect(),
            text: text.to_string(),
            before: before.map(ToOwned::to_owned),
            diff,
        })
    }
}

impl From<&Policy> for InForceBody {
    fn from(policy: &Policy) -> Self {
        Self { version: policy.version().as_str().to_owned(), text: policy.text().to_owned() }
    }
}

/// The changes from one text to another, each with its version.
pub(in crate::http) fn diff(before: (&str, &str), after: (&str, &str)) -> String {
    let diff = TextDiff::from_lines(before.1, after.1);
    diff.unified_diff().context_radius(CONTEXT_LINES).header(before.0, after.0).to_string()
}

/// What became of a policy that was put.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct PolicyChangeBody {
    /// The version: a hash of the content.
    pub version: String,
    /// `in_force`: it is recorded, and in force on the node that answers; on every other one without a policy of its own within two
    /// seconds. `recorded`: it is recorded, and not in force on the node that answers yet. `proposed`: a second operator has to
    /// put the same text. `unchanged`: it was the newest policy already. `dry_run`: it could be put; nothing has changed.
    pub state: &'static str,
    /// The version that is or was in force on the node that answers.
    pub before: String,
    /// The changes from that version, as a unified diff; empty if there are none.
    pub diff: String,
    /// Warnings, as `tollgate check` shows them.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn record(version: &str, at: i64, node: &str, text: Option<&str>) -> PolicyRecord {
        PolicyRecord {
            version: PolicyVersion::new(version),
            at: Timestamp::from_seconds(at),
            node: node.into(),
            origin: "policy.yaml".into(),
            text: text.map(Into::into),
            step: PolicyStep::Own,
        }
    }

    #[test]
    fn a_policy_has_its_text_and_what_it_changed_whoever_put_it_in_force_again() {
        let records = [
            record("one", 1, "a", Some("currency: usd\nlimit: 1\n")),
            record("one", 2, "b", None),
            record("two", 3, "a", Some("currency: usd\nlimit: 2\n")),
            record("one", 4, "b", None),
        ];
        let in_force = PolicyVersion::new("two");
        let listed = PoliciesBody::new(&records, &in_force);
        let listed: Vec<(&str, bool)> =
            listed.policies.iter().map(|one| (one.version.as_str(), one.in_force)).collect();
        assert_eq!(listed, [("one", false), ("two", true), ("one", false), ("one", false)]);
        let one = PolicyBody::new(&records, "one", &in_force).unwrap();
        assert_eq!((one.history.len(), one.before, one.diff), (3, None, None));
        let two = PolicyBody::new(&records, "two", &in_force).unwrap();
        assert_eq!(two.text, "currency: usd\nlimit: 2\n");
        assert_eq!(two.before.as_deref(), Some("one"));
        assert_eq!(
            two.diff.as_deref(),
            Some("--- one\n+++ two\n@@ -1,2 +1,2 @@\n currency: usd\n-limit: 1\n+limit: 2\n")
        );
        assert!(PolicyBody::new(&records, "three", &in_force).is_none());
    }
}
