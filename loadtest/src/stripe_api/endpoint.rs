//! The endpoint that events go to: signed, delivered, and what came back. What the events tell is elsewhere.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{clock, signature::Signer};

/// How long Stripe waits for a decision.
const DECIDED_WITHIN: Duration = Duration::from_secs(2);
/// How long it waits for an event to be acknowledged.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// How often it delivers an event that is not acknowledged, and the first wait between; each further one is twice as long.
const DELIVERIES_MAX: u32 = 10;
const DELIVERED_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// More than any reply has.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Where the events of the test helpers go.
#[derive(Clone)]
pub struct Endpoint {
    /// Its address.
    pub address: SocketAddr,
    /// What requests call it.
    pub host: String,
    /// Its path.
    pub path: String,
    /// Signs all that goes there.
    pub signer: Signer,
}

/// What came of asking for a decision.
pub(super) enum Asked {
    /// A decision.
    Decided(Reply),
    /// A reply that is none.
    Error,
    /// No reply in time.
    Timeout,
}

/// What Stripe reads in a reply.
#[derive(Deserialize)]
pub(super) struct Reply {
    pub(super) approved: bool,
    pub(super) amount: Option<i64>,
    #[serde(default)]
    pub(super) metadata: serde_json::Map<String, serde_json::Value>,
    /// How the cardholder is to be asked whether it was them.
    pub(super) send_fraud_challenges: Option<Vec<String>>,
}

impl Endpoint {
    /// Asks for a decision.
    pub(super) async fn ask(&self, event: Bytes) -> Asked {
        match timeout(DECIDED_WITHIN, self.exchange(event)).await {
            Ok(Ok((head, body))) => {
                let has_version = head.headers().get("stripe-version").is_some_and(|value| !value.is_empty());
                let is_heard = head.status() == StatusCode::OK && has_version;
                let reply = is_heard.then(|| serde_json::from_slice::<Reply>(&body).ok()).flatten();
                match reply.filter(|reply| reply.amount.is_none_or(|amount| amount > 0)) {
                    Some(reply) => Asked::Decided(reply),
                    // Any other status is as good as no reply.
                    None if head.status() == StatusCode::OK => Asked::Error,
                    None => Asked::Timeout,
                }
            }
            Ok(Err(_)) | Err(_) => Asked::Timeout,
        }
    }

    /// Delivers an event until it is acknowledged, beside whatever else goes on.
    pub(super) fn deliver(self: Arc<Self>, event: Bytes) {
        tokio::spawn(async move {
            for delivery in 0..DELIVERIES_MAX {
                let delivered = timeout(ACKNOWLEDGED_WITHIN, self.exchange(event.clone())).await;
                if matches!(delivered, Ok(Ok((head, _))) if head.status().is_success()) {
                    return;
                }
                sleep(DELIVERED_AGAIN_AFTER.saturating_mul(2_u32.saturating_pow(delivery))).await;
            }
        });
    }

    async fn exchange(
        &self,
        event: Bytes,
    ) -> Result<(Response<()>, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(&self.path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(header::USER_AGENT, "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header("stripe-signature", self.signer.header(clock::unix_seconds(), &event))
            .body(Full::new(event))?;
        let (head, body): (_, Incoming) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, REPLY_BYTES_MAX).collect().await?.to_bytes();
        connection.abort();
        Ok((Response::from_parts(head, ()), body))
    }
}
