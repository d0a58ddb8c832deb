//! The listener for other nodes: HTTP/2 without TLS, many requests at once on few connections. What is asked and answered
//! is not here.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::server::{Bounds, Respond, Stop, counted, not_accepted};
use crate::metrics::{Cut, Listener, Metrics};

/// Each node has two connections to each other one.
const CONNECTIONS_MAX: usize = 1_024;

/// Requests on one connection at the same time. One more waits at its sender, within its own time.
const STREAMS_MAX: u32 = 1_024;

/// A connection whose other side is gone without a word is closed after two of these.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Serves `listener` until `stop` says so, and returns when its last connection has ended.
pub async fn run_h2c<S: Respond>(
    listener: TcpListener,
    service: S,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: Stop,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let server = Arc::new(Server { service, bounds, metrics, stop });
    let mut stopping = pin!(server.stop.stopping());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // One above the bound is just closed: whoever is no node has nothing to do here.
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    tokio::spawn(Arc::clone(&server).connection(stream, place));
                }
            }
            Err(error) => not_accepted(&server.metrics, Listener::Peer, &error).await,
        }
    }
    drop(listener);
    let _ = places.acquire_many(u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX)).await;
}

/// What all connections share.
struct Server<S> {
    service: S,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: Stop,
}

impl<S: Respond> Server<S> {
    async fn connection(self: Arc<Self>, stream: TcpStream, place: OwnedSemaphorePermit) {
        counted(&self.metrics, Listener::Peer, self.exchange(stream)).await;
        drop(place);
    }

    /// Answers until the other side or the node ends it. Says why the connection was cut, if it was.
    async fn exchange(self: &Arc<Self>, stream: TcpStream) -> Option<Cut> {
        let _ = stream.set_nodelay(true);
        if timeout(self.bounds.head_within, stream.peek(&mut [0])).await.is_err() {
            return Some(Cut::Idle);
        }
        let service = service_fn(|request| {
            let server = Arc::clone(self);
            async move { Ok::<_, Infallible>(server.service.respond(request).await) }
        });
        let mut protocol = http2::Builder::new(TokioExecutor::new());
        protocol
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(self.bounds.header_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY);
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            biased;
            ended = &mut connection => Some(ended),
            () = self.stop.stopping() => None,
        };
        let ended = if let Some(ended) = ended {
            Ok(ended)
        } else {
            connection.as_mut().graceful_shutdown();
            timeout(self.bounds.drain_within, connection).await
        };
        match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) if error.is_parse() => Some(Cut::Protocol),
            Ok(Err(_)) => Some(Cut::Broken),
            Err(_) => Some(Cut::Drain),
        }
    }
}
