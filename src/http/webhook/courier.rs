//! How an answer leaves: as the reply, or over Stripe's API and then with a reply that decides nothing. What is answered
//! was settled before, and is durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use hyper::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};

use crate::{
    clock::{self, Instant},
    domain::{Answer, AnswerBy, AuthorizationId, ConnectedAccountId, DecisionId},
    http::{
        reply::{With as _, json},
        server::Reply,
    },
    log::Seldom,
    metrics::{Metrics, Way},
    stripe::{
        self, ApiVersion, RECEIVED_BODY, STRIPE_VERSION,
        api::{Api, Resolution},
    },
};

/// Of so many answers that were to go over the API it is known how they left: some 10 MB.
const LEFT_MAX: usize = 100_000;

/// Brings answers to Stripe.
pub(super) struct Courier {
    api: Option<Api>,
    /// Whether the API took the newest answers that were to go over it, so that a duplicate request gets the same reply.
    left: Mutex<LruCache<DecisionId, Way>>,
    version: HeaderValue,
    with_metadata: bool,
    metrics: Arc<Metrics>,
    odd: Seldom,
}

impl Courier {
    pub(super) fn new(settings: &stripe::Settings, metrics: Arc<Metrics>) -> Self {
        Self {
            api: settings.api.as_ref().map(Api::new),
            left: Mutex::new(LruCache::new(LEFT_MAX)),
            version: version_header(&settings.api_version),
            with_metadata: settings.reply_metadata,
            metrics,
            odd: Seldom::default(),
        }
    }

    /// The reply to the webhook. For an answer that goes over the API, Stripe has taken it when this returns, or else
    /// the reply is the answer: the API may have taken it unheard, and then both say the same. A duplicate request gets the
    /// reply that the first one got.
    pub(super) async fn reply(
        &self,
        answer: &Answer,
        authorization: &AuthorizationId,
        account: Option<&ConnectedAccountId>,
        deadline: Instant,
    ) -> Reply {
        let way = match answer.by {
            AnswerBy::Direct => Way::Direct,
            AnswerBy::Api => {
                let before = self.left().get(&answer.decision).copied();
                match before {
                    Some(before) => before,
                    // A box, so that the replies that are answers do not carry the room for this.
                    None => Box::pin(self.over_api(answer, authorization, account, deadline)).await,
                }
            }
        };
        if answer.by == AnswerBy::Api {
            self.left().insert(answer.decision, way);
        }
        self.metrics.decisions.answers.get(way).increment(1);
        match way {
            Way::Api => json(StatusCode::OK, RECEIVED_BODY),
            Way::Direct | Way::Fallback => {
                json(StatusCode::OK, stripe::decision_body(answer, self.with_metadata))
                    .with(HeaderName::from_static(STRIPE_VERSION), self.version.clone())
            }
        }
    }

    fn left(&self) -> MutexGuard<'_, LruCache<DecisionId, Way>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn over_api(
        &self,
        answer: &Answer,
        authorization: &AuthorizationId,
        account: Option<&ConnectedAccountId>,
        deadline: Instant,
    ) -> Way {
        let resolution = Resolution { authorization, account, answer, with_metadata: self.with_metadata };
        let failure = match &self.api {
            Some(api) => match api.answer(resolution, deadline).await {
                Ok(()) => return Way::Api,
                Err(failure) => Some(failure),
            },
            // Decided by a node that had a key.
            None => None,
        };
        if let Some(held_back) = self.odd.turn(clock::now()) {
            let cause = failure.map_or_else(|| "there is no STRIPE_API_KEY".to_owned(), |f| f.to_string());
            tracing::warn!(
                decision = %answer.decision,
                %authorization,
                held_back,
                "answered with the reply, since Stripe's API did not take the answer: {cause}"
            );
        }
        Way::Fallback
    }
}

/// A version is digits, dots, dashes and small letters: always a header's value.
fn version_header(version: &ApiVersion) -> HeaderValue {
    HeaderValue::from_str(version.as_str()).unwrap_or(HeaderValue::from_static("2022-08-01"))
}
