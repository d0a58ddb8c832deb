//! The legacy way to answer: `POST …/approve` or `…/decline` before the webhook is answered, inside its deadline. What
//! to answer was settled elsewhere. Source: <https://docs.stripe.com/api/issuing/authorizations/approve>.

use std::time::Duration;

use super::{Api, Failure, Listing, Patience, list::path_segment, transport::Call};
use crate::{
    clock::{self, Instant},
    domain::{Answer, AuthorizationId, ConnectedAccountId, Outcome},
    stripe::response::marks_metadata,
};

/// Within one second there is no time for more.
const PATIENCE: Patience =
    Patience { attempts_max: 3, first: Duration::from_millis(40), longest: Duration::from_millis(160) };

/// An answer on its way to Stripe.
#[derive(Clone, Copy, Debug)]
pub struct Resolution<'a> {
    /// What it is about.
    pub authorization: &'a AuthorizationId,
    /// The connected account that owns it.
    pub account: Option<&'a ConnectedAccountId>,
    /// What is answered.
    pub answer: &'a Answer,
    /// Whether the decision's id and reason go along.
    pub with_metadata: bool,
}

impl Api {
    /// Tells Stripe the answer, and returns when Stripe has taken it, at `deadline` at the latest.
    ///
    /// The same decision goes under the same idempotency key: sent twice, it is taken once.
    ///
    /// # Errors
    /// Why Stripe has not taken it, or has not said so in time. It may have been taken all the same: whatever is
    /// answered instead must be the same decision.
    pub async fn answer(&self, resolution: Resolution<'_>, deadline: Instant) -> Result<(), Failure> {
        let call = call(resolution);
        let mut attempts = 0_u32;
        loop {
            attempts = attempts.saturating_add(1);
            let failure = match clock::timeout_at(deadline, self.shared.transport.exchange(&call)).await {
                Err(_) => return Err(Failure::Late),
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failure)) => failure,
            };
            let pause = PATIENCE.pause(attempts, fastrand::f64(), failure.retry_after());
            let resumes = clock::instant().checked_add(pause).filter(|at| *at < deadline);
            match resumes {
                Some(at) if attempts < PATIENCE.attempts_max && failure.may_pass() => {
                    clock::sleep_until(at).await;
                }
                Some(_) | None => return Err(failure),
            }
        }
    }
}

fn call(resolution: Resolution<'_>) -> Call {
    let Resolution { authorization, account, answer, with_metadata } = resolution;
    let (verb, amount) = match answer.outcome {
        Outcome::Approved | Outcome::Partial => ("approve", answer.amount.filter(|amount| *amount > 0)),
        Outcome::Declined => ("decline", None),
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    if let Some(amount) = amount {
        form.append_pair("amount", &amount.to_string());
    }
    if with_metadata {
        form.append_pair("metadata[tollgate_decision]", &answer.decision.to_string());
        form.append_pair("metadata[tollgate_reason]", answer.reason.as_str());
        for (key, value) in answer.marks.iter().flat_map(|marks| marks_metadata(marks)) {
            form.append_pair(&format!("metadata[{key}]"), value);
        }
    }
    let authorization = path_segment(authorization.as_str());
    let path = format!("{}/{authorization}/{verb}", Listing::Authorizations.path());
    let idempotency_key = format!("tollgate_{}", answer.decision);
    Call::post(path, form.finish(), &idempotency_key, account)
}
