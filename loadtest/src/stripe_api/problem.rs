//! Errors in Stripe's shape: `{"error": {"type", "message", "code", "param"}}`. Which call deserves which is not here.

use hyper::StatusCode;
use serde_json::{Value, json};

/// An answer that is an error.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// The header `Retry-After`, in seconds.
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    /// No key, or another one.
    pub(super) fn unauthorized() -> Self {
        let error = json!({"type": "invalid_request_error", "message": "Invalid API Key provided."});
        Self::new(StatusCode::UNAUTHORIZED, &error)
    }

    /// The key may not act for this account.
    pub(super) fn no_such_account(account: &str) -> Self {
        let message = format!("The provided key does not have access to account '{account}'.");
        let error = json!({"type": "invalid_request_error", "code": "account_invalid", "message": message});
        Self::new(StatusCode::FORBIDDEN, &error)
    }

    /// No object of this id.
    pub(super) fn missing(status: StatusCode, what: &str, id: &str, param: &str) -> Self {
        let message = format!("No such {what}: '{id}'");
        let error = json!({
            "type": "invalid_request_error", "code": "resource_missing", "message": message, "param": param,
        });
        Self::new(status, &error)
    }

    /// No such path.
    pub(super) fn unknown_path(method: &str, path: &str) -> Self {
        let message = format!("Unrecognized request URL ({method}: {path}).");
        Self::new(StatusCode::NOT_FOUND, &json!({"type": "invalid_request_error", "message": message}))
    }

    /// A parameter that cannot be used.
    pub(super) fn parameter(code: &str, param: &str, message: &str) -> Self {
        let error =
            json!({"type": "invalid_request_error", "code": code, "message": message, "param": param});
        Self::new(StatusCode::BAD_REQUEST, &error)
    }

    /// An approval or decline that comes after the authorization was decided.
    pub(super) fn too_late(id: &str) -> Self {
        let message = format!("Authorization '{id}' has no pending request: it has already been decided.");
        Self::refused(&message)
    }

    /// Something that cannot be done to an object as it is.
    pub(super) fn refused(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, &json!({"type": "invalid_request_error", "message": message}))
    }

    /// The same idempotency key with other parameters.
    pub(super) fn other_parameters() -> Self {
        let message = "Keys for idempotent requests can only be used with the same parameters they were \
                       first used with.";
        Self::new(StatusCode::BAD_REQUEST, &json!({"type": "idempotency_error", "message": message}))
    }

    /// Too many calls.
    pub(super) fn rate_limited(retry_after: Option<u64>) -> Self {
        let message = "Request rate limit exceeded.";
        let error = json!({"type": "invalid_request_error", "code": "rate_limit", "message": message});
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, &error) }
    }

    /// Stripe's own failure.
    pub(super) fn server(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, &json!({"type": "api_error", "message": "An unknown error occurred."}))
    }

    fn new(status: StatusCode, error: &Value) -> Self {
        Self { status, body: json!({ "error": error }), retry_after: None }
    }
}
