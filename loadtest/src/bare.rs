//! What servers are measured against: hyper, HTTP/1, the body read, a constant answer of the size of a node's. No
//! signature, no parsing, no state.

use std::{
    convert::Infallible,
    io::{self, Write as _},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// An approval as the node writes it.
const ANSWER: &[u8] =
    br#"{"approved":true,"metadata":{"tollgate_decision":"dec_0123456789abcdef","tollgate_reason":"approved"}}"#;

/// Serves on a free port of loopback until the process is killed. Its address is the first line on the standard error.
///
/// # Errors
/// The system has no socket or no threads for it.
pub fn serve() -> io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stderr(), "listening on http://{}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(connection);
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let _ = request.into_body().collect().await;
    let mut reply = Response::new(Full::new(Bytes::from_static(ANSWER)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
        .headers_mut()
        .insert(HeaderName::from_static("stripe-version"), HeaderValue::from_static("2022-08-01"));
    Ok(reply)
}
