//! One call over HTTP: its headers, its bounds, and what came back. Whether to try again is not decided here.

use std::{error::Error as _, io, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, crypto::ring};

use super::{Failure, Roots, Settings};
use crate::{
    clock,
    domain::{ConnectedAccountId, Timestamp},
};

/// The largest answer that is read: a page of a hundred full authorizations has about half a megabyte.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A connection that was not used so long is closed by us, before Stripe's side does it.
const IDLE_WITHIN: Duration = Duration::from_secs(50);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_ACCOUNT: HeaderName = HeaderName::from_static("stripe-account");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const OURSELVES: HeaderValue = HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION")));

/// Connections to Stripe.
pub(super) struct Transport {
    client: HttpsClient,
    base: String,
    attempt_within: Duration,
    headers: HeaderMap,
}

/// A client for HTTPS that keeps its connections.
pub type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts these authorities, or else those that browsers trust.
#[must_use]
pub fn https_client(roots: Option<&Roots>) -> HttpsClient {
    let provider = ring::default_provider();
    let connector = HttpsConnectorBuilder::new();
    let connector = match roots {
        None => connector.with_provider_and_webpki_roots(provider),
        Some(roots) => {
            let config = ClientConfig::builder_with_provider(Arc::new(provider));
            config.with_safe_default_protocol_versions().map(|config| {
                let config = config.with_root_certificates(roots.store()).with_no_client_auth();
                connector.with_tls_config(config)
            })
        }
    };
    // Only a provider without ciphers is refused, and this one has them.
    let connector = connector.unwrap_or_else(|_| HttpsConnectorBuilder::new().with_webpki_roots());
    let connector = connector.https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_WITHIN)
        .build(connector)
}

/// What is to be sent.
pub(super) struct Call {
    method: Method,
    /// With its query.
    path: String,
    form: Option<String>,
    headers: HeaderMap,
}

/// A success.
pub(super) struct Reply {
    pub(super) body: Bytes,
    /// The time of the answer by Stripe's clock, or else by ours.
    pub(super) at: Timestamp,
}

impl Call {
    pub(super) fn get(path: String, account: Option<&ConnectedAccountId>) -> Self {
        Self { method: Method::GET, path, form: None, headers: headers(account, None) }
    }

    /// The key makes it safe to send the same call again.
    pub(super) fn post(
        path: String,
        form: String,
        idempotency_key: &str,
        account: Option<&ConnectedAccountId>,
    ) -> Self {
        Self {
            method: Method::POST,
            path,
            form: Some(form),
            headers: headers(account, Some(idempotency_key)),
        }
    }
}

/// Ids and keys are visible ASCII: always a header's value.
fn headers(account: Option<&ConnectedAccountId>, idempotency_key: Option<&str>) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).ok();
    let account = account.and_then(|account| value(account.as_str()));
    let key = idempotency_key.and_then(value);
    let pairs = [(STRIPE_ACCOUNT, account), (IDEMPOTENCY_KEY, key)];
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Self {
        let client = https_client(settings.roots.as_ref());
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, settings.key.bearer());
        headers.insert(USER_AGENT, OURSELVES);
        headers.extend(
            HeaderValue::from_str(settings.version.as_str()).ok().map(|version| (STRIPE_VERSION, version)),
        );
        let base = settings.base.as_str().to_owned();
        Self { client, base, attempt_within: settings.attempt_within, headers }
    }

    /// Sends a call once.
    pub(super) async fn exchange(&self, call: &Call) -> Result<Reply, Failure> {
        let request = self.request(call)?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| unreachable(&error))?;
            read(response).await
        };
        clock::timeout(self.attempt_within, exchange).await.unwrap_or(Err(Failure::Late))
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, Failure> {
        let body = Full::from(call.form.clone().unwrap_or_default());
        let uri = format!("{}{}", self.base, call.path);
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(uri)
            .body(body)
            .map_err(|error| Failure::Unreachable { cause: error.to_string() })?;
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.extend(call.headers.clone());
        if call.form.is_some() {
            headers.insert(CONTENT_TYPE, FORM);
        }
        Ok(request)
    }
}

async fn read(response: Response<Incoming>) -> Result<Reply, Failure> {
    let (head, body) = response.into_parts();
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let retry_after = text(RETRY_AFTER).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let at = text(DATE).and_then(date).unwrap_or_else(clock::now);
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
        Ok(_) => Failure::TooLarge { bytes_max: BODY_BYTES_MAX },
        Err(error) => Failure::Unreachable { cause: error.to_string() },
    })?;
    let body = body.to_bytes();
    if head.status.is_success() {
        Ok(Reply { body, at })
    } else {
        Err(Failure::of(head.status, retry_after, &body))
    }
}

/// `Sun, 22 Nov 2026 10:00:00 GMT`.
fn date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp().into())
}

/// The client's own sentence says little; what caused it says more.
fn unreachable(error: &hyper_util::client::legacy::Error) -> Failure {
    let mut cause = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        if is_untrusted(inner) {
            return Failure::Untrusted { cause: inner.to_string() };
        }
        cause = inner.to_string();
        next = inner.source();
    }
    Failure::Unreachable { cause }
}

/// Whether TLS refused the other side. An error of the system wraps what is not its own, perhaps more than once.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(refused) = error.downcast_ref::<rustls::Error>() {
        return matches!(refused, rustls::Error::InvalidCertificate(_));
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.is_some_and(|inner| is_untrusted(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_clock_is_read_from_the_header() {
        let expected = Timestamp::parse("2026-11-22T10:00:00Z");
        assert_eq!(date("Sun, 22 Nov 2026 10:00:00 GMT"), expected);
        assert_eq!(date("yesterday"), None);
    }
}
