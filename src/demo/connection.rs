//! One connection to one port of a node, over a real socket, and what comes back over it.

use std::{net::SocketAddr, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time::timeout};

use super::Failure;
use crate::{
    clock,
    stripe::{self, SIGNATURE_HEADER, STRIPE_VERSION},
};

/// No node takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a node.
pub(super) struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await.map_err(Failure::during("connect to the node"))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(Failure::during("connect to the node"))?;
        // Where it breaks, the exchange that needs it fails and says so.
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    /// Posts an event under this signature.
    pub(super) async fn post(&mut self, event: Vec<u8>, signature: &str) -> Result<Reply, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/webhook")
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, stripe::CONTENT_TYPE)
            .header(SIGNATURE_HEADER, signature)
            .body(Full::from(event))
            .map_err(Failure::during("write a request"))?;
        self.exchange(request).await
    }

    /// Gets what is there.
    pub(super) async fn get(&mut self, path: &str) -> Result<Reply, Failure> {
        self.get_with(path, None).await
    }

    /// Gets what is there, with this value of `Authorization`.
    pub(super) async fn get_with(
        &mut self,
        path: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Reply, Failure> {
        let mut request = Request::get(path).header(HOST, self.address.to_string());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::default()).map_err(Failure::during("write a request"))?;
        self.exchange(request).await
    }

    /// Posts JSON, with this value of `Authorization`.
    pub(super) async fn post_json(
        &mut self,
        path: &str,
        body: Vec<u8>,
        authorization: Option<HeaderValue>,
    ) -> Result<Reply, Failure> {
        let mut request = Request::post(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::from(body)).map_err(Failure::during("write a request"))?;
        self.exchange(request).await
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
        let took = clock::instant().duration_since(started);
        Ok(Reply { status, names_version, body, took, by: String::new(), is_second_try: false })
    }
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Without `Stripe-Version` a reply is no decision to Stripe.
    pub(super) names_version: bool,
    pub(super) body: Bytes,
    pub(super) took: Duration,
    /// The node that has answered.
    pub(super) by: String,
    /// Another node was asked first, and did not answer.
    pub(super) is_second_try: bool,
}

impl Reply {
    /// The body as JSON of this shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(Failure::during("read an answer"))
    }
}
