//! A listener and its connections: how many, how long, and how they end. What is asked and answered is not here.

use std::{convert::Infallible, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    seats::{Seat, Seats},
    socket::{Patience, Progress, Socket},
};
use crate::{
    clock,
    log::Seldom,
    metrics::{Cut, Listener, Metrics, Shed},
};

/// What goes back over a connection.
pub type Reply = Response<Full<Bytes>>;

/// Answers requests.
pub trait Respond: Send + Sync + 'static {
    /// The reply to one request. A reply that names `Connection: close` ends the connection.
    fn respond(&self, request: Request<Incoming>) -> impl Future<Output = Reply> + Send;
}

/// What a listener holds its clients to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// How many connections may be open. For one more, the one that has been idle the longest is closed; if none is idle, it
    /// gets a 503.
    pub connections_max: usize,
    /// How large the request line and the headers may be together, in bytes; at least 8192.
    pub header_bytes_max: usize,
    /// How long the headers may take, from their first byte.
    pub head_within: Duration,
    /// How long the body may take, from the end of the headers.
    pub body_within: Duration,
    /// How long a connection may wait for its next request. Longer than what the load balancer in front keeps its
    /// own side open for: else it sends into a connection that we have just closed.
    pub idle_within: Duration,
    /// How long a reply may find no room in the client's window.
    pub write_within: Duration,
    /// How long what is in flight may take when the listener stops.
    pub drain_within: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            header_bytes_max: 32 * 1024,
            head_within: Duration::from_secs(5),
            body_within: Duration::from_secs(1),
            idle_within: Duration::from_secs(90),
            write_within: Duration::from_secs(5),
            drain_within: Duration::from_secs(5),
        }
    }
}

/// The smallest buffer that the parser of headers works with.
const BUFFER_BYTES_MIN: usize = 8 * 1024;

/// After a failure to accept that is ours, such as for want of file descriptors: time for connections to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a stopping listener still takes what was on its way: connections in the backlog, and requests on
/// connections that look idle. Closing at once would answer those with a reset.
const LAST_CALL: Duration = Duration::from_millis(100);

/// How long a connection above the bound waits for the one that was evicted for it.
const EVICTED_WITHIN: Duration = Duration::from_secs(1);

/// How many connections above the bound are told so at the same time; any more are just closed.
const REFUSALS_MAX: usize = 64;

/// What a connection above the bound is told.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 99\r\n\r\n\
    {\"error\":{\"code\":\"too_many_connections\",\"message\":\"every connection is in use; try again shortly\"}}";

/// What a connection is told whose headers did not come in time.
const HEAD_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 85\r\n\r\n\
    {\"error\":{\"code\":\"headers_late\",\"message\":\"the headers did not arrive in good time\"}}";

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// How far a listener is on its way out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Serving,
    Leaving,
    Stopping,
}

/// Tells listeners to stop. Dropped, it stops them as well.
pub struct Drain(watch::Sender<Phase>);

impl Drain {
    /// A drain, and what listeners watch it by.
    #[must_use]
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (Self(sender), Stop(receiver))
    }

    /// From now on every reply closes its connection, so that clients go elsewhere for their next request. New
    /// connections are still taken.
    pub fn leave(&self) {
        self.0
            .send_if_modified(|phase| std::mem::replace(phase, Phase::Leaving.max(*phase)) < Phase::Leaving);
    }

    /// Finish what is in flight, close what is idle, and take nothing new.
    pub fn stop(&self) {
        self.0.send_replace(Phase::Stopping);
    }
}

/// A listener's view of its [`Drain`].
#[derive(Clone)]
pub struct Stop(watch::Receiver<Phase>);

impl Stop {
    /// Cheaper than to look at the phase: it begins unseen, and is left so.
    fn is_leaving(&self) -> bool {
        self.0.has_changed().unwrap_or(true)
    }

    pub(super) async fn stopping(&self) {
        // An error means that the drain is gone, and with it whoever wanted us to serve.
        let _ = self.0.clone().wait_for(|phase| *phase == Phase::Stopping).await;
    }

    /// When what was on its way has had its time.
    async fn last_call(&self) {
        self.stopping().await;
        sleep(LAST_CALL).await;
    }
}

/// Serves `listener` until `stop` says so, and returns when its last connection has ended.
pub async fn run<S: Respond>(
    listener: TcpListener,
    name: Listener,
    service: S,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: Stop,
) {
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let server = Arc::new(Server {
        protocol: protocol(bounds),
        name,
        service,
        bounds,
        metrics,
        stop,
        seats: Seats::new(),
        crowded: Seldom::default(),
        misread: Seldom::default(),
    });
    let last_call = server.stop.last_call();
    tokio::pin!(last_call);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut last_call => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => drop(tokio::spawn(Arc::clone(&server).connection(stream, place))),
                Err(_) => Arc::clone(&server).make_room(stream, &places, &refusals),
            },
            Err(error) => not_accepted(&server.metrics, name, &error).await,
        }
    }
    drop(listener);
    let all = u32::try_from(bounds.connections_max).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
}

/// Counts a connection of a listener, from its first byte to its last. What it is served by says why it was cut, if it was.
pub(super) async fn counted(metrics: &Metrics, name: Listener, served: impl Future<Output = Option<Cut>>) {
    let sockets = &metrics.sockets;
    sockets.accepted.get(name).increment(1);
    sockets.open.get(name).increment(1.0);
    if let Some(cut) = served.await {
        sockets.cut.get((name, cut)).increment(1);
    }
    sockets.open.get(name).decrement(1.0);
}

/// A connection was not accepted. Where that is our own failure, others get time to end.
pub(super) async fn not_accepted(metrics: &Metrics, name: Listener, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    metrics.sockets.accept_errors.get(name).increment(1);
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    tracing::error!(
        listener = name.as_str(),
        %error,
        "cannot accept connections; if file descriptors are short, raise `ulimit -n` or lower the bound on connections"
    );
    sleep(ACCEPT_PAUSE).await;
}

fn protocol(bounds: Bounds) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        // A client may close its sending side and still wait for the answer.
        .half_close(true)
        .max_buf_size(bounds.header_bytes_max.max(BUFFER_BYTES_MIN))
        .max_header_size(bounds.header_bytes_max)
        // Timeouts are the socket's.
        .header_read_timeout(None)
        // Replies are small: one buffer, one write.
        .writev(false);
    protocol
}

/// What all connections of a listener share.
struct Server<S> {
    protocol: http1::Builder,
    name: Listener,
    service: S,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: Stop,
    seats: Seats,
    /// The log's word on connections that were refused.
    crowded: Seldom,
    /// The log's word on connections that speak something else.
    misread: Seldom,
}

impl<S: Respond> Server<S> {
    async fn connection(self: Arc<Self>, stream: TcpStream, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let seat = self.seats.take();
        counted(&self.metrics, self.name, self.serve(stream, &seat)).await;
        drop(seat);
        drop(place);
    }

    /// A connection above the bound: takes the place of the one that has been idle the longest, if one is idle.
    fn make_room(self: Arc<Self>, stream: TcpStream, places: &Arc<Semaphore>, refusals: &Arc<Semaphore>) {
        if !self.seats.evict_longest_idle() {
            return self.refuse(stream, refusals);
        }
        let (places, refusals) = (Arc::clone(places), Arc::clone(refusals));
        tokio::spawn(async move {
            match timeout(EVICTED_WITHIN, places.acquire_owned()).await {
                Ok(Ok(place)) => self.connection(stream, place).await,
                Ok(Err(_)) | Err(_) => self.refuse(stream, &refusals),
            }
        });
    }

    /// Waits for a first byte, and then exchanges requests and replies. Says why the connection was cut, if it was.
    async fn serve(&self, stream: TcpStream, seat: &Seat) -> Option<Cut> {
        let mut first_byte = [0];
        tokio::select! {
            biased;
            peeked = stream.peek(&mut first_byte) => match peeked {
                Ok(0) => return None,
                Ok(_) => {}
                Err(_) => return Some(Cut::Broken),
            },
            () = sleep(self.bounds.idle_within) => return Some(Cut::Idle),
            () = seat.evicted() => return Some(Cut::Evicted),
            () = self.stop.last_call() => return None,
        }
        // A box, so that a connection which was opened ahead of its use holds no parser and no buffers.
        Box::pin(self.exchange(stream, seat)).await
    }

    async fn exchange(&self, stream: TcpStream, seat: &Seat) -> Option<Cut> {
        let progress = &seat.progress;
        let socket = TokioIo::new(Socket::new(stream, progress, self.patience()));
        let service = service_fn(|request| {
            // Now, and not when the answer is first worked at: the body is waited for in between.
            progress.busy();
            self.answer(request, progress)
        });
        let mut connection = self.protocol.serve_connection(socket, service);
        let mut evicted = None;
        let ended = tokio::select! {
            biased;
            ended = &mut connection => Some(ended),
            () = self.stop.last_call() => None,
            () = seat.evicted() => {
                evicted = Some(Cut::Evicted);
                None
            }
        };
        let ended = if let Some(ended) = ended {
            Ok(ended)
        } else {
            Pin::new(&mut connection).graceful_shutdown();
            timeout(self.bounds.drain_within, &mut connection).await
        };
        let mut socket = connection.into_parts().io.into_inner();
        let cut = match ended {
            Ok(Ok(())) => return socket.cut().or(evicted),
            Ok(Err(error)) if error.is_parse() => Cut::Protocol,
            Ok(Err(_)) => socket.cut().unwrap_or(Cut::Broken),
            Err(_) => Cut::Drain,
        };
        if cut == Cut::HeadLate {
            let _ = socket.write_all(HEAD_LATE).await;
        }
        if cut == Cut::Protocol
            && let Some(held_back) = self.misread.turn(clock::now())
        {
            tracing::warn!(
                listener = self.name.as_str(),
                held_back,
                "cut a connection: expected HTTP/1.1 with headers of at most {} bytes, found something else",
                self.bounds.header_bytes_max
            );
        }
        if matches!(cut, Cut::HeadLate | Cut::Protocol) {
            progress.linger();
            let _ = socket.shutdown().await;
        }
        Some(cut)
    }

    async fn answer(&self, request: Request<Incoming>, progress: &Progress) -> Result<Reply, Infallible> {
        let mut reply = self.service.respond(request).await;
        if self.stop.is_leaving() {
            reply.headers_mut().insert(CONNECTION, CLOSE);
        }
        if reply.headers().contains_key(CONNECTION) {
            progress.linger();
        }
        progress.answered();
        Ok(reply)
    }

    /// Tells a connection above the bound so, as long as not too many are being told.
    fn refuse(self: Arc<Self>, stream: TcpStream, refusals: &Arc<Semaphore>) {
        self.metrics.decisions.shed.get(Shed::Connections).increment(1);
        if let Some(held_back) = self.crowded.turn(clock::now()) {
            tracing::warn!(
                listener = self.name.as_str(),
                connections_max = self.bounds.connections_max,
                held_back,
                "refused a connection: all that may be open are in use by requests"
            );
        }
        let Ok(place) = Arc::clone(refusals).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let progress = Progress::new(clock::instant());
            progress.linger();
            let mut socket = Socket::new(stream, &progress, self.patience());
            if socket.write_all(REFUSAL).await.is_ok() {
                let _ = socket.shutdown().await;
            }
            drop(place);
        });
    }

    fn patience(&self) -> Patience {
        let Bounds { head_within, body_within, idle_within, write_within, .. } = self.bounds;
        Patience { head: head_within, body: body_within, idle: idle_within, reply: write_within }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_replies_name_their_own_length() {
        for reply in [REFUSAL, HEAD_LATE] {
            let reply = std::str::from_utf8(reply).unwrap();
            let (head, body) = reply.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{} in {head}", body.len());
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(body["error"]["message"].is_string());
        }
    }

    #[tokio::test]
    async fn a_drain_only_goes_forward() {
        let (drain, stop) = Drain::new();
        assert!(!stop.is_leaving());
        drain.leave();
        assert!(stop.is_leaving());
        drain.stop();
        drain.leave();
        stop.stopping().await;
        assert!(stop.is_leaving());
    }

    #[tokio::test]
    async fn a_lost_drain_stops_its_listeners() {
        let (drain, stop) = Drain::new();
        drop(drain);
        assert!(stop.is_leaving());
        stop.stopping().await;
    }
}
