//! The door: a request gets in as an event that somebody with a secret has signed, or is turned away with a reason. Both
//! ports have the same one: a node believes another no more than it believes a stranger.

use std::{sync::Arc, time::Duration};

use hyper::{
    Method, Request, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::{ALLOW, HeaderValue},
    http::request::Parts,
};

use super::{
    mode::Mode,
    refusals::{Known, Refusals},
};
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
    metrics::{Metrics, Refusal, SecretSlot, Stage, WebhookResult},
    stripe::{
        self, Incoming as Delivery, MerchantNames, Reading, SIGNATURE_HEADER, SignatureError, Verifier,
    },
};

/// The one path that is served.
const PATH: &str = "/webhook";

/// Lets requests in.
pub(super) struct Door {
    pub(super) verifier: Verifier,
    pub(super) metrics: Arc<Metrics>,
    pub(super) body_bytes_max: usize,
    pub(super) mode: Mode,
    pub(super) refusals: Refusals,
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
        let (head, body) = request.into_parts();
        let lines = head.headers.get_all(SIGNATURE_HEADER).into_iter().map(HeaderValue::as_bytes);
        let signature = stripe::join_headers(lines).map(|header| Bytes::copy_from_slice(&header));
        if let Some(misdirected) = Misdirected::of(&head) {
            return Err(self.misdirected(misdirected, signature, body, received_at).await);
        }
        let gathered = self.gather(body).await;
        let body = gathered.map_err(|unusable| self.unusable(unusable, signature.as_deref(), received_at))?;
        let sealed = Sealed { signature, received_at, body };
        let (delivery, arrival) =
            self.open(&sealed, received_at, received, within, reading).map_err(|ending| *ending)?;
        Ok(Admitted { delivery, arrival, trace: TraceParent::of(&head.headers), sealed })
    }

    /// The body, unless it is larger than it may be, or says so.
    async fn gather(&self, body: Incoming) -> Result<Bytes, Unusable> {
        if body::declared(&body).is_some_and(|bytes| bytes > self.body_bytes_max) {
            return Err(Unusable::TooLarge);
        }
        body::gather(body, self.body_bytes_max).await
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
            return Err(Box::new(self.unusable(Unusable::TooLarge, signature.as_deref(), now)));
        }
        self.metrics.webhook.body_bytes.record(f64::from(u32::try_from(body.len()).unwrap_or(u32::MAX)));
        let gathered = clock::instant();
        if let Some(ending) = self.unbelieved(signature.as_deref(), body, now) {
            return Err(Box::new(ending));
        }
        let verified = clock::instant();
        let reading = Reading { merchant_names: self.merchant_names, ..reading };
        let delivery = stripe::read(body, *received_at, &reading)
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

    /// What goes to another path or comes by another method. Its body is read only if it carries a signature: an endpoint
    /// with a wrong address in Stripe's dashboard is a mistake that somebody has to hear of.
    async fn misdirected(
        &self,
        misdirected: Misdirected,
        signature: Option<Bytes>,
        body: Incoming,
        now: Timestamp,
    ) -> Ending {
        let has_body = !body.is_end_stream();
        if signature.is_some()
            && let Ok(body) = self.gather(body).await
            && self.verifier.verify(signature.as_deref(), &body, now).is_ok()
        {
            let known = Known { is_verified: true, ..Known::default() };
            self.refusals.signed(misdirected.refusal(), &known, now, &misdirected.advice());
        }
        let reply = misdirected.reply();
        let reply = if has_body { reply.and_close() } else { reply };
        Ending { event: UNREAD, result: misdirected.result(), reply }
    }

    fn unusable(&self, unusable: Unusable, signature: Option<&[u8]>, now: Timestamp) -> Ending {
        let (result, status, code, refusal) = match unusable {
            Unusable::TooLarge => (
                WebhookResult::TooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                Refusal::BodyTooLarge,
            ),
            Unusable::Late => {
                (WebhookResult::BodyLate, StatusCode::REQUEST_TIMEOUT, "body_late", Refusal::BodyLate)
            }
            Unusable::Broken => {
                (WebhookResult::BodyBroken, StatusCode::BAD_REQUEST, "body_broken", Refusal::BodyBroken)
            }
        };
        let message = match unusable {
            Unusable::TooLarge => &format!(
                "expected a body of at most {} bytes (TOLLGATE_BODY_BYTES_MAX), found more",
                self.body_bytes_max
            ),
            Unusable::Late => "the body did not arrive in time (TOLLGATE_BODY_READ_TIMEOUT); send it at once",
            Unusable::Broken => "the body ended early, or its HTTP/1.1 framing is invalid",
        };
        if self.verifier.is_plausible(signature, now) {
            self.refusals.signed(refusal, &Known::default(), now, message);
        }
        Ending { event: UNREAD, result, reply: error(status, code, message).and_close() }
    }

    /// Turns away what nobody with a secret has signed, or not about now.
    fn unbelieved(&self, signature: Option<&[u8]>, body: &[u8], now: Timestamp) -> Option<Ending> {
        let cause = match self.verifier.verify(signature, body, now) {
            Ok(slot) => {
                self.metrics.webhook.secrets_used.get(SecretSlot::at(slot.0)).increment(1);
                return None;
            }
            Err(cause) => cause,
        };
        self.metrics.webhook.signature_failures.get([cause.as_str()]).increment(1);
        match cause {
            SignatureError::TimestampOutsideTolerance { .. } => {
                let known = Known { is_verified: true, ..Known::default() };
                self.refusals.signed(Refusal::WrongTime, &known, now, &cause.to_string());
            }
            SignatureError::MissingHeader
            | SignatureError::HeaderTooLarge
            | SignatureError::Malformed
            | SignatureError::NoCandidate
            | SignatureError::Mismatch => self.refusals.unsigned(cause, now),
        }
        let reply = error(StatusCode::BAD_REQUEST, "bad_signature", &cause.to_string());
        Some(Ending { event: UNREAD, result: WebhookResult::BadSignature, reply })
    }

    /// Turns away test money from a live node, and real money from a test node.
    fn misplaced(&self, delivery: &Delivery, now: Timestamp) -> Option<Ending> {
        let (livemode, id) = match delivery {
            Delivery::Request(request) => (request.livemode, &request.event),
            Delivery::Observation(observation) => (observation.livemode, &observation.event),
            Delivery::Acknowledged { .. } => return None,
        };
        let event = delivery.kind().as_str();
        if self.mode.admits(livemode) {
            return None;
        }
        let (found, expected) = if livemode { ("live", "test") } else { ("test", "live") };
        let message = format!("expected {expected} events, found a {found} event; see TOLLGATE_LIVEMODE");
        let known = Known { event: Some(id), kind: Some(event), is_verified: true };
        self.refusals.signed(Refusal::WrongMode, &known, now, &message);
        let reply = error(StatusCode::BAD_REQUEST, "wrong_mode", &message);
        Some(Ending { event, result: WebhookResult::WrongMode, reply })
    }

    fn malformed(&self, cause: stripe::Malformed, now: Timestamp) -> Ending {
        self.metrics.webhook.malformed.get([cause.as_str()]).increment(1);
        let known = Known { is_verified: true, ..Known::default() };
        let what = format!("{cause}; look at what the endpoint is subscribed to");
        self.refusals.signed(Refusal::Malformed, &known, now, &what);
        let reply = error(StatusCode::BAD_REQUEST, "malformed", &cause.to_string());
        Ending { event: UNREAD, result: WebhookResult::Malformed, reply }
    }
}

/// What makes a request none for the webhook.
enum Misdirected {
    Path(String),
    Method(Method),
}

impl Misdirected {
    /// The longest part of a path that is logged, in characters.
    const SHOWN_CHARS_MAX: usize = 100;

    fn of(head: &Parts) -> Option<Self> {
        if head.uri.path() != PATH {
            let path = head.uri.path().chars().take(Self::SHOWN_CHARS_MAX).collect();
            Some(Self::Path(path))
        } else if head.method != Method::POST {
            Some(Self::Method(head.method.clone()))
        } else {
            None
        }
    }

    const fn refusal(&self) -> Refusal {
        match self {
            Self::Path(_) => Refusal::WrongPath,
            Self::Method(_) => Refusal::WrongMethod,
        }
    }

    const fn result(&self) -> WebhookResult {
        match self {
            Self::Path(_) => WebhookResult::NotFound,
            Self::Method(_) => WebhookResult::MethodNotAllowed,
        }
    }

    /// For the log only, and only if a secret fits: the path may be anything.
    fn advice(&self) -> String {
        match self {
            Self::Path(path) => format!(
                "expected the path {PATH}, found {path:?}: correct the endpoint's URL in Stripe's dashboard, or what \
                 the proxy in front makes of the path"
            ),
            Self::Method(method) => format!("expected POST, found {method}: a proxy in front changes it"),
        }
    }

    fn reply(&self) -> Reply {
        match self {
            Self::Path(_) => {
                let message = "nothing is served here; the webhook is POST /webhook";
                error(StatusCode::NOT_FOUND, "not_found", message)
            }
            Self::Method(_) => {
                let message = "expected a POST, found another method";
                error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
                    .with(ALLOW, HeaderValue::from_static("POST"))
            }
        }
    }
}

pub(super) fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}
