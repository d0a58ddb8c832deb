//! The door: a request gets in as an event that somebody with a secret has signed, or is turned away with a reason. Both
//! ports have the same one: a node believes another no more than it believes a stranger.

use std::{sync::Arc, time::Duration};

use hyper::{
    Method, Request, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::{ALLOW, HeaderValue},
};

use super::mode::Mode;
use crate::{
    clock::{self, Instant},
    cluster::{Arrival, Sealed},
    domain::Timestamp,
    http::{
        body::{self, Unusable},
        reply::{With as _, error},
        server::Reply,
        trace::TraceParent,
        vocabulary::UNREAD,
    },
    log::Seldom,
    metrics::{Metrics, SecretSlot, Stage, WebhookResult},
    stripe::{self, Incoming as Delivery, MerchantNames, Reading, SIGNATURE_HEADER, Verifier},
};

/// The one path that is served.
const PATH: &str = "/webhook";

/// Lets requests in.
pub(super) struct Door {
    pub(super) verifier: Verifier,
    pub(super) metrics: Arc<Metrics>,
    pub(super) body_bytes_max: usize,
    pub(super) mode: Mode,
    pub(super) odd: Seldom,
    pub(super) merchant_names: MerchantNames,
}

/// A request that was let in.
pub(super) struct Admitted {
    pub(super) delivery: Delivery,
    pub(super) arrival: Arrival,
    pub(super) trace: Option<TraceParent>,
    pub(super) sealed: Sealed,
}

/// What became of one request, for the reply and for the metrics.
pub(super) struct Ending {
    pub(super) event: &'static str,
    pub(super) result: WebhookResult,
    pub(super) reply: Reply,
}

impl Door {
    /// Reads a request that was received just now, and has to be answered `within` so long.
    pub(super) async fn admit(
        &self,
        request: Request<Incoming>,
        received: Instant,
        within: Duration,
        reading: Reading,
    ) -> Result<Admitted, Ending> {
        let received_at = clock::now();
        if let Some(ending) = self.misdirected(&request) {
            return Err(ending);
        }
        let (head, body) = request.into_parts();
        let gathered = body::gather(body, self.body_bytes_max).await;
        let body = gathered.map_err(|unusable| self.unusable(unusable))?;
        let lines = head.headers.get_all(SIGNATURE_HEADER).into_iter().map(HeaderValue::as_bytes);
        let signature = stripe::join_headers(lines).map(|header| Bytes::copy_from_slice(&header));
        let sealed = Sealed { signature, received_at, body };
        let (delivery, arrival) =
            self.open(&sealed, received_at, received, within, reading).map_err(|ending| *ending)?;
        Ok(Admitted { delivery, arrival, trace: TraceParent::of(&head.headers), sealed })
    }

    /// Reads what was signed, if it is `now` that somebody with a secret may have signed it.
    pub(super) fn open(
        &self,
        sealed: &Sealed,
        now: Timestamp,
        received: Instant,
        within: Duration,
        reading: Reading,
    ) -> Result<(Delivery, Arrival), Box<Ending>> {
        let Sealed { signature, received_at, body } = sealed;
        if body.len() > self.body_bytes_max {
            return Err(Box::new(self.unusable(Unusable::TooLarge)));
        }
        self.metrics.webhook.body_bytes.record(f64::from(u32::try_from(body.len()).unwrap_or(u32::MAX)));
        let gathered = clock::instant();
        if let Some(ending) = self.unbelieved(signature.as_deref(), body, now) {
            return Err(Box::new(ending));
        }
        let verified = clock::instant();
        let reading = Reading { merchant_names: self.merchant_names, ..reading };
        let delivery = stripe::read(body, *received_at, reading)
            .map_err(|malformed| Box::new(self.malformed(malformed, *received_at)))?;
        let parsed = clock::instant();
        let arrival = Arrival {
            received,
            deadline: received.checked_add(within).unwrap_or(received),
            verify_us: micros(verified.saturating_duration_since(gathered)),
            parse_us: micros(parsed.saturating_duration_since(verified)),
        };
        let stages = &self.metrics.decisions.stages;
        stages.get(Stage::Verify).record(verified.saturating_duration_since(gathered));
        stages.get(Stage::Parse).record(parsed.saturating_duration_since(verified));
        if let Some(ending) = self.misplaced(&delivery, *received_at) {
            return Err(Box::new(ending));
        }
        Ok((delivery, arrival))
    }

    /// What goes to another path or comes by another method. Its body is not read.
    fn misdirected(&self, request: &Request<Incoming>) -> Option<Ending> {
        let (result, reply) = if request.uri().path() != PATH {
            let message = "nothing is served here; the webhook is POST /webhook";
            (WebhookResult::NotFound, error(StatusCode::NOT_FOUND, "not_found", message))
        } else if request.method() != Method::POST {
            let message = "expected a POST, found another method";
            let reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
            (WebhookResult::MethodNotAllowed, reply.with(ALLOW, HeaderValue::from_static("POST")))
        } else if body::declared(request.body()).is_some_and(|bytes| bytes > self.body_bytes_max) {
            return Some(self.unusable(Unusable::TooLarge));
        } else {
            return None;
        };
        let reply = if request.body().is_end_stream() { reply } else { reply.and_close() };
        Some(Ending { event: UNREAD, result, reply })
    }

    fn unusable(&self, unusable: Unusable) -> Ending {
        let (result, status, code) = match unusable {
            Unusable::TooLarge => (WebhookResult::TooLarge, StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Unusable::Late => (WebhookResult::BodyLate, StatusCode::REQUEST_TIMEOUT, "body_late"),
            Unusable::Broken => (WebhookResult::BodyBroken, StatusCode::BAD_REQUEST, "body_broken"),
        };
        let message = match unusable {
            Unusable::TooLarge => {
                &format!("expected a body of at most {} bytes, found more", self.body_bytes_max)
            }
            Unusable::Late => "the body did not arrive in time; send it at once",
            Unusable::Broken => "the body ended early, or is not framed as HTTP/1.1 wants it",
        };
        Ending { event: UNREAD, result, reply: error(status, code, message).and_close() }
    }

    /// Turns away what nobody with a secret has signed.
    fn unbelieved(&self, signature: Option<&[u8]>, body: &[u8], now: Timestamp) -> Option<Ending> {
        let cause = match self.verifier.verify(signature, body, now) {
            Ok(slot) => {
                self.metrics.webhook.secrets_used.get(SecretSlot::at(slot.0)).increment(1);
                return None;
            }
            Err(cause) => cause,
        };
        self.metrics.webhook.signature_failures.get([cause.as_str()]).increment(1);
        if let Some(held_back) = self.odd.turn(now) {
            tracing::warn!(
                cause = cause.as_str(),
                held_back,
                "turned away a request without a valid signature: {cause}; compare STRIPE_WEBHOOK_SECRET with the \
                 endpoint's signing secret in Stripe's dashboard"
            );
        }
        let reply = error(StatusCode::BAD_REQUEST, "bad_signature", &cause.to_string());
        Some(Ending { event: UNREAD, result: WebhookResult::BadSignature, reply })
    }

    /// Turns away test money from a live node, and real money from a test node.
    fn misplaced(&self, delivery: &Delivery, now: Timestamp) -> Option<Ending> {
        let livemode = match delivery {
            Delivery::Request(request) => request.livemode,
            Delivery::Observation(observation) => observation.livemode,
            Delivery::Acknowledged { .. } => return None,
        };
        let event = delivery.kind().as_str();
        if self.mode.admits(livemode) {
            return None;
        }
        let (found, expected) = if livemode { ("live", "test") } else { ("test", "live") };
        if let Some(held_back) = self.odd.turn(now) {
            tracing::warn!(
                kind = event,
                held_back,
                "refused a {found} event at a node of {expected} events: compare TOLLGATE_LIVEMODE with the endpoint"
            );
        }
        let message = format!("expected {expected} events, found a {found} event; see TOLLGATE_LIVEMODE");
        let reply = error(StatusCode::BAD_REQUEST, "wrong_mode", &message);
        Some(Ending { event, result: WebhookResult::WrongMode, reply })
    }

    fn malformed(&self, cause: stripe::Malformed, now: Timestamp) -> Ending {
        self.metrics.webhook.malformed.get([cause.as_str()]).increment(1);
        if let Some(held_back) = self.odd.turn(now) {
            tracing::warn!(
                cause = cause.as_str(),
                held_back,
                "refused a signed body that is no event: {cause}; look at what the endpoint is subscribed to"
            );
        }
        let reply = error(StatusCode::BAD_REQUEST, "malformed", &cause.to_string());
        Ending { event: UNREAD, result: WebhookResult::Malformed, reply }
    }
}

pub(super) fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}
