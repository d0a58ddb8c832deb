//! Changes of what is tried beside the policy in force: what a body asks for, and what becomes of it.

use hyper::StatusCode;

use super::{
    super::{bodies::SetShadowBody, reply::error, server::Reply},
    Admin, Books,
    change::Change,
    found,
};
use crate::{metrics::AdminRefusal, trial::NotSet};

impl<B: Books> Admin<B> {
    /// Tries the policy in the body, and replies with what is tried.
    pub(super) async fn set_shadow(&self, books: &B, change: &Change) -> Reply {
        let read = serde_json::from_slice::<SetShadowBody>(&change.body)
            .map_err(|error| format!("expected {{\"policy\", \"reason\"}}: {error}"))
            .and_then(|asked| Ok((change.attribution(asked.reason.as_deref())?, asked)));
        let (attribution, asked) = match read {
            Ok(read) => read,
            Err(message) => return self.refuse(AdminRefusal::BadParameter, &message),
        };
        match books.set_shadow(asked.policy.as_deref(), attribution).await {
            Ok(()) => found(books.shadow().await.map(Some), "candidate"),
            Err(cause) => not_set(&cause),
        }
    }
}

/// Why a candidate was not changed.
fn not_set(cause: &NotSet) -> Reply {
    let (status, code) = match cause {
        NotSet::NotAPolicy(_) => (StatusCode::BAD_REQUEST, "bad_policy"),
        NotSet::Already(_) => (StatusCode::CONFLICT, "tried_already"),
        NotSet::Nothing => (StatusCode::CONFLICT, "nothing_tried"),
        NotSet::NotRecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_recorded"),
    };
    error(status, code, &cause.to_string())
}
