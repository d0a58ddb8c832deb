//! Stripe's side of the wire, and an operator's: events signed and posted over a real socket, and questions to `/v1`.

use std::{net::SocketAddr, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{net::TcpStream, time::timeout};

use super::Failure;
use crate::{
    clock,
    node::Node,
    stripe::{self, SIGNATURE_HEADER, STRIPE_VERSION, Secret},
};

/// No node takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection to each of a node's ports.
pub(super) struct Client {
    webhook: Webhook,
    admin: Connection,
}

impl Client {
    pub(super) async fn connect(node: &Node, secret: &Secret) -> Result<Self, Failure> {
        let webhook = Webhook::connect(node, secret).await?;
        let admin = Connection::open(node.admin()).await?;
        Ok(Self { webhook, admin })
    }

    /// Posts an event, signed.
    pub(super) async fn deliver(&mut self, event: Vec<u8>) -> Result<Reply, Failure> {
        self.webhook.deliver(event).await
    }

    /// Posts an event that is signed with another secret.
    pub(super) async fn forge(&mut self, event: Vec<u8>, secret: &Secret) -> Result<Reply, Failure> {
        self.webhook.post(event, secret).await
    }

    /// What the books say of an authorization.
    pub(super) async fn authorization(&mut self, id: &str) -> Result<Authorization, Failure> {
        self.look_up(&format!("/v1/authorizations/{id}")).await
    }

    /// What the books say of a card.
    pub(super) async fn card(&mut self, id: &str) -> Result<Card, Failure> {
        self.look_up(&format!("/v1/cards/{id}")).await
    }

    async fn look_up<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        let request = Request::get(path).header(HOST, self.admin.address.to_string());
        let request = request.body(Full::default()).map_err(Failure::during("write a request"))?;
        let reply = self.admin.exchange(request).await?;
        if reply.status != StatusCode::OK {
            return Err(Failure::Unexpected(format!("GET {path}: expected 200, found {}", reply.status)));
        }
        reply.json()
    }
}

/// A connection that signs what it posts.
pub(super) struct Webhook {
    connection: Connection,
    secret: Secret,
}

impl Webhook {
    pub(super) async fn connect(node: &Node, secret: &Secret) -> Result<Self, Failure> {
        Ok(Self { connection: Connection::open(node.webhook()).await?, secret: secret.clone() })
    }

    /// Posts an event, signed.
    pub(super) async fn deliver(&mut self, event: Vec<u8>) -> Result<Reply, Failure> {
        let secret = self.secret.clone();
        self.post(event, &secret).await
    }

    async fn post(&mut self, event: Vec<u8>, secret: &Secret) -> Result<Reply, Failure> {
        let signature = stripe::sign(secret, clock::now().as_seconds(), &event);
        let request = Request::builder()
            .method(Method::POST)
            .uri("/webhook")
            .header(HOST, self.connection.address.to_string())
            .header(CONTENT_TYPE, stripe::CONTENT_TYPE)
            .header(SIGNATURE_HEADER, signature)
            .body(Full::from(event))
            .map_err(Failure::during("write a request"))?;
        self.connection.exchange(request).await
    }
}

struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await.map_err(Failure::during("connect to the node"))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(Failure::during("connect to the node"))?;
        // Where it breaks, the exchange that needs it fails and says so.
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        let started = clock::instant();
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            let names_version = head.headers.contains_key(STRIPE_VERSION);
            Ok::<_, hyper::Error>((head.status, names_version, body))
        };
        let exchanged = timeout(PATIENCE, exchange).await.map_err(Failure::during("get an answer"))?;
        let (status, names_version, body) = exchanged.map_err(Failure::during("get an answer"))?;
        Ok(Reply { status, names_version, body, took: clock::instant().duration_since(started) })
    }
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Without `Stripe-Version` a reply is no decision to Stripe.
    pub(super) names_version: bool,
    pub(super) body: Bytes,
    pub(super) took: Duration,
}

impl Reply {
    /// The body as JSON of this shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(Failure::during("read an answer"))
    }
}

/// The body of a decision.
#[derive(Deserialize, Debug)]
pub(super) struct Answer {
    pub(super) approved: bool,
    pub(super) amount: Option<i64>,
    pub(super) metadata: Metadata,
}

#[derive(Deserialize, Debug)]
pub(super) struct Metadata {
    #[serde(rename = "tollgate_reason")]
    pub(super) reason: String,
}

/// What is looked at of `GET /v1/authorizations/{id}`.
#[derive(Deserialize)]
pub(super) struct Authorization {
    pub(super) status: String,
    pub(super) held: i64,
    pub(super) captured: i64,
    pub(super) decisions: Vec<Decision>,
}

#[derive(Deserialize)]
pub(super) struct Decision {
    pub(super) explanation: String,
}

/// What is looked at of `GET /v1/cards/{id}`.
#[derive(Deserialize)]
pub(super) struct Card {
    pub(super) limits: Vec<Limit>,
}

#[derive(Deserialize)]
pub(super) struct Limit {
    /// `amount` or `count`.
    #[serde(rename = "limit")]
    pub(super) measure: String,
    pub(super) window: String,
    pub(super) max: i64,
    pub(super) used: i64,
    pub(super) remaining: i64,
    pub(super) resets_at: Option<String>,
}
