//! Policies over the admin API: a text that an operator puts is read as `tollgate check` reads it, compared with what is in
//! force, and recorded.

use std::time::Duration;

use hyper::StatusCode;

use super::{
    super::{
        bodies::{PolicyChangeBody, diff},
        reply::{error, json},
        server::Reply,
    },
    Admin, Books,
    change::Change,
};
use crate::{
    clock,
    cluster::{NotRecorded, PolicyChange, PolicyChanged},
    domain::{Policy, PolicyVersion},
    metrics::AdminRefusal,
};

/// What the admin API has to know of policies.
pub struct PolicyPort {
    /// Reads the text of a policy.
    pub read: fn(&[u8]) -> Result<ReadPolicy, Vec<String>>,
    /// What gives this node its policy, if it does not follow the journal.
    pub own: Option<&'static str>,
    /// Whether a second operator has to approve a policy.
    pub needs_approval: bool,
}

/// A text that is a policy.
pub struct ReadPolicy {
    /// The policy.
    pub policy: Policy,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

/// How long a reply waits until a recorded policy is in force on this node.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(2);

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl<B: Books> Admin<B> {
    /// Puts the policy in the body in force, or proposes it.
    pub(super) async fn put_policy(&self, books: &B, change: &Change) -> Reply {
        if let Some(own) = self.policies.own {
            let message = format!(
                "expected a node that follows the policy in the journal, found one with {own}; unset that on every node, and \
                 restart them: they go on with the newest policy in the journal"
            );
            return error(StatusCode::CONFLICT, "policy_from_settings", &message);
        }
        // A large text takes a while to read: not on a thread that answers Stripe.
        let (read, body) = (self.policies.read, change.body.clone());
        let Ok(read) = tokio::task::spawn_blocking(move || read(&body)).await else {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "reading the policy was broken off");
        };
        let (policy, warnings) = match read {
            Ok(ReadPolicy { policy, warnings }) => (policy, warnings),
            Err(mistakes) => {
                return error(StatusCode::BAD_REQUEST, "bad_policy", &mistakes.join("\n"));
            }
        };
        let attribution = match change.attribution(None) {
            Ok(attribution) => attribution,
            Err(message) => return self.refuse(AdminRefusal::BadParameter, &message),
        };
        let before = books.policy_in_force();
        let version = policy.version().as_str().to_owned();
        let mut body = PolicyChangeBody {
            diff: diff((&before.version, &before.text), (&version, policy.text())),
            version,
            state: "dry_run",
            before: before.version,
            warnings,
        };
        if change.query.text("dry_run") == Some("true") {
            return ok(&body);
        }
        let (by, reason) = (attribution.by.clone(), attribution.reason.clone());
        let recorded = books.change_policy(PolicyChange {
            policy: &policy,
            attribution,
            replaces: change.query.text("replaces").map(PolicyVersion::new),
            needs_approval: self.policies.needs_approval,
            in_force: PolicyVersion::new(&body.before),
        });
        match recorded.await {
            Ok(PolicyChanged::Unchanged) => body.state = "unchanged",
            Ok(PolicyChanged::Proposed) => {
                tracing::info!(version = body.version, %by, %reason, "a policy was proposed");
                body.state = "proposed";
                return json(StatusCode::ACCEPTED, serde_json::to_vec(&body).unwrap_or_default());
            }
            Ok(PolicyChanged::Newest) => {
                tracing::info!(version = body.version, %by, %reason, "a policy was put");
                body.state = if is_in_force(books, &body.version).await { "in_force" } else { "recorded" };
            }
            Err(cause @ NotRecorded::Replaced { .. }) => {
                return error(StatusCode::CONFLICT, "replaced", &cause.to_string());
            }
            Err(
                cause @ (NotRecorded::Unavailable(_)
                | NotRecorded::Unreadable(_)
                | NotRecorded::Refused
                | NotRecorded::Contended),
            ) => {
                tracing::warn!(version = body.version, %by, %cause, "a policy could not be recorded");
                let message = "the policy could not be recorded now; put it again: it is recorded once";
                return error(StatusCode::SERVICE_UNAVAILABLE, "not_recorded", message);
            }
        }
        ok(&body)
    }
}

/// Waits until this node decides by this version; says whether it does.
async fn is_in_force(books: &impl Books, version: &str) -> bool {
    let started = clock::instant();
    while books.policy_in_force().version != version {
        if started.elapsed() > IN_FORCE_WITHIN {
            return false;
        }
        clock::sleep(LOOK_EVERY).await;
    }
    true
}

fn ok(body: &PolicyChangeBody) -> Reply {
    json(StatusCode::OK, serde_json::to_vec(body).unwrap_or_default())
}
