//! Another node, and the ways to it: several connections that are kept open and looked after, and one forwarded
//! request over one of them. Which requests go to which node is not decided here.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http2::{self, Connection, SendRequest},
    header::{HeaderName, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, task::JoinHandle};

use super::wire::{HOP, PeerReply, RECEIVED_AT_US, WITHIN_MS};
use crate::{
    clock::{self, Instant, sleep, timeout, timeout_at},
    domain::Timestamp,
    metrics::Forward,
};

/// Connections to each peer: a packet that is lost on one of them does not hold up the others.
const LINKS: usize = 2;

/// How often a peer is asked whether it is there, and how long it may take to say so. A peer that hangs, or that the
/// network has swallowed, is given up after both; until then what is forwarded to it costs its budget.
const PING_EVERY: Duration = Duration::from_millis(200);
const PONG_WITHIN: Duration = Duration::from_millis(400);

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// How long to wait before connecting again; the wait doubles with each failure.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A reply of ours has some two hundred bytes.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A request as it came, for its owner to verify again. Its signature is all that makes it believed.
pub struct Sealed {
    /// Its headers.
    pub headers: HeaderMap,
    /// The name of the one with the signature.
    pub signature: &'static str,
    /// When it was received.
    pub received_at: Timestamp,
    /// Its body, byte for byte.
    pub body: Bytes,
}

/// Until when a reply is waited for.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// With a peer that answers nothing at all meanwhile.
    pub(super) silent: Instant,
    /// With one that answers others. This is what it is told that it has.
    pub(super) living: Instant,
}

/// Another node.
pub(super) struct Peer {
    links: [Arc<Link>; LINKS],
    next: AtomicUsize,
    answered: AtomicU64,
    failed: AtomicU64,
    keepers: Vec<JoinHandle<()>>,
}

/// One connection, as long as there is one.
#[derive(Default)]
struct Link(Mutex<Option<SendRequest<Full<Bytes>>>>);

impl Peer {
    /// A peer at this address, `host:port`. Connections to it are kept open until it is dropped.
    pub(super) fn new(address: &str) -> Self {
        let links: [Arc<Link>; LINKS] = Default::default();
        let keep = |link: &Arc<Link>| tokio::spawn(keep(Arc::clone(link), address.to_owned()));
        let keepers = links.iter().map(keep).collect();
        let (answered, failed) = Default::default();
        Self { links, next: AtomicUsize::new(0), answered, failed, keepers }
    }

    /// How many of its connections are open.
    pub(super) fn links(&self) -> usize {
        self.links.iter().filter(|link| link.is_open()).count()
    }

    /// How many forwarded requests it has answered, and how many it has not.
    pub(super) fn told(&self) -> [u64; 2] {
        [&self.answered, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }

    /// Brings a request to the peer and waits for its reply. A peer that answers others meanwhile is only slow: whoever
    /// decided in its place would be slower still, with books to read first, and would cost it the append that it is at.
    pub(super) async fn ask(
        &self,
        from: &HeaderValue,
        sealed: Sealed,
        patience: Patience,
    ) -> Result<PeerReply, Forward> {
        let answered_before = self.answered.load(Ordering::Relaxed);
        let mut exchange = pin!(self.exchange(from, sealed, patience.living));
        let in_time = match timeout_at(patience.silent, &mut exchange).await {
            Err(late) if self.answered.load(Ordering::Relaxed) == answered_before => Err(late),
            Err(_) => timeout_at(patience.living, exchange).await,
            in_time @ Ok(_) => in_time,
        };
        let reply = in_time.unwrap_or(Err(Forward::Late));
        let count = if reply.is_ok() { &self.answered } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        reply
    }

    async fn exchange(
        &self,
        from: &HeaderValue,
        sealed: Sealed,
        deadline: Instant,
    ) -> Result<PeerReply, Forward> {
        let mut sender = self.sender().ok_or(Forward::Unreachable)?;
        let request = request(from, sealed, deadline);
        let response = sender.send_request(request).await.map_err(|_| Forward::Broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), REPLY_BYTES_MAX);
        let body = body.collect().await.map_err(|_| Forward::Broken)?.to_bytes();
        if status != StatusCode::OK {
            return Err(Forward::Refused);
        }
        PeerReply::decode(&body).ok_or(Forward::Refused)
    }

    /// An open connection, each in its turn.
    fn sender(&self) -> Option<SendRequest<Full<Bytes>>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, after) = self.links.split_at(turn % LINKS);
        after.iter().chain(before).find_map(|link| link.sender())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for keeper in &self.keepers {
            keeper.abort();
        }
    }
}

impl Link {
    fn is_open(&self) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_some_and(|sender| !sender.is_closed())
    }

    fn sender(&self) -> Option<SendRequest<Full<Bytes>>> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    fn set(&self, sender: Option<SendRequest<Full<Bytes>>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sender;
    }
}

/// The same bytes under the same signature, and what a peer has to know besides.
fn request(from: &HeaderValue, sealed: Sealed, deadline: Instant) -> Request<Full<Bytes>> {
    let within = deadline.saturating_duration_since(clock::instant()).as_millis();
    let mut request = Request::new(Full::new(sealed.body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("http://peer/webhook");
    let headers = request.headers_mut();
    for line in sealed.headers.get_all(sealed.signature) {
        headers.append(HeaderName::from_static(sealed.signature), line.clone());
    }
    headers.insert(HOP, from.clone());
    headers.insert(RECEIVED_AT_US, HeaderValue::from(sealed.received_at.as_micros()));
    headers.insert(WITHIN_MS, HeaderValue::from(u64::try_from(within).unwrap_or(u64::MAX)));
    request
}

/// Keeps one connection open, for ever.
async fn keep(link: Arc<Link>, address: String) {
    let mut pause = PAUSE_FIRST;
    loop {
        if let Some((mut sender, mut connection)) = connect(&address).await
            && is_answered(&mut sender, &mut connection).await
        {
            tracing::debug!(peer = %address, "connected to a peer");
            link.set(Some(sender));
            // However it ends, the next one is looked for.
            let _ = connection.await;
            link.set(None);
            pause = PAUSE_FIRST;
            tracing::debug!(peer = %address, "lost a connection to a peer");
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

type Open = Connection<TokioIo<TcpStream>, Full<Bytes>, TokioExecutor>;

async fn connect(address: &str) -> Option<(SendRequest<Full<Bytes>>, Open)> {
    let connecting = async {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let mut protocol = http2::Builder::new(TokioExecutor::new());
        protocol
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .keep_alive_while_idle(true);
        protocol.handshake(TokioIo::new(stream)).await.ok()
    };
    timeout(CONNECT_WITHIN, connecting).await.ok().flatten()
}

/// Whether the peer says anything at all. One that hangs takes connections all the same, its system does that for it:
/// without this it would be asked again and again, and cost each time its budget.
async fn is_answered(sender: &mut SendRequest<Full<Bytes>>, connection: &mut Open) -> bool {
    let mut greeting = Request::new(Full::default());
    *greeting.uri_mut() = Uri::from_static("http://peer/");
    tokio::select! {
        // It ends, and with it the answer.
        _ = connection => false,
        answered = timeout(CONNECT_WITHIN, sender.send_request(greeting)) => matches!(answered, Ok(Ok(_))),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Response, body::Incoming, server::conn::http2 as server, service::service_fn};
    use tokio::{
        io::AsyncReadExt as _,
        net::TcpListener,
        sync::{Notify, Semaphore},
        task::yield_now,
    };

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_connections_and_says_nothing_is_not_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer::new(&listener.local_addr().unwrap().to_string());
        // As a process does that is stopped: what is sent to it arrives.
        let (mut silent, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        silent.read_exact(&mut preface).await.unwrap();
        assert!(preface.starts_with(b"PRI * HTTP/2.0"));
        assert_eq!(peer.links(), 0);
        // Whatever it says, it is there.
        let (open, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let refuse = |_| async {
                let mut refusal = Response::new(Full::<Bytes>::default());
                *refusal.status_mut() = StatusCode::BAD_REQUEST;
                Ok::<_, Infallible>(refusal)
            };
            server::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(open), service_fn(refuse))
                .await
        });
        let reached = async {
            while peer.links() == 0 {
                yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), reached).await.unwrap();
        assert_eq!(peer.links(), 1);
    }

    /// A peer that keeps questions of the body `slow` until it is let, and answers all others at once.
    struct Slow {
        peer: Arc<Peer>,
        has_one: Arc<Notify>,
        lets: Arc<Semaphore>,
    }

    impl Slow {
        /// Over one connection that is not looked after, so that no time is measured but the one that is waited.
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (has_one, lets) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
            let (tell, gate) = (Arc::clone(&has_one), Arc::clone(&lets));
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (other, _) = listener.accept().await.unwrap();
            let answer = service_fn(move |request: Request<Incoming>| {
                let (tell, gate) = (Arc::clone(&tell), Arc::clone(&gate));
                async move {
                    if request.into_body().collect().await.unwrap().to_bytes() == "slow" {
                        tell.notify_one();
                        gate.acquire().await.unwrap().forget();
                    }
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(PeerReply::Booked.encode())))
                }
            });
            tokio::spawn(
                server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(other), answer),
            );
            let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
            let (sender, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            let links: [Arc<Link>; LINKS] = Default::default();
            links.first().unwrap().set(Some(sender));
            let [answered, failed] = Default::default();
            let peer = Peer { links, next: AtomicUsize::new(0), answered, failed, keepers: Vec::new() };
            Self { peer: Arc::new(peer), has_one, lets }
        }

        fn ask(&self, body: &'static str) -> JoinHandle<Result<PeerReply, Forward>> {
            let (peer, now) = (Arc::clone(&self.peer), clock::instant());
            let after = |span: Duration| now.checked_add(span).unwrap();
            let patience = Patience { silent: after(SILENT), living: after(SILENT.saturating_mul(10)) };
            let sealed = Sealed {
                headers: HeaderMap::new(),
                signature: "stripe-signature",
                received_at: Timestamp::from_micros(0),
                body: Bytes::from_static(body.as_bytes()),
            };
            tokio::spawn(async move { peer.ask(&HeaderValue::from_static("here"), sealed, patience).await })
        }
    }

    const SILENT: Duration = Duration::from_mins(10);

    /// Lets the time of a silent peer pass, and all who wait see that.
    async fn silence_is_over() {
        tokio::time::pause();
        tokio::time::advance(SILENT).await;
        tokio::time::resume();
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_peer_that_answers_others_is_waited_for() {
        let slow = Slow::new().await;
        let asked = slow.ask("slow");
        slow.has_one.notified().await;
        assert_eq!(slow.ask("quick").await.unwrap(), Ok(PeerReply::Booked));
        silence_is_over().await;
        slow.lets.add_permits(1);
        assert_eq!(asked.await.unwrap(), Ok(PeerReply::Booked));
    }

    #[tokio::test]
    async fn a_peer_that_answers_nobody_is_not_waited_for() {
        let slow = Slow::new().await;
        assert_eq!(slow.ask("quick").await.unwrap(), Ok(PeerReply::Booked));
        let asked = slow.ask("slow");
        slow.has_one.notified().await;
        silence_is_over().await;
        assert_eq!(asked.await.unwrap(), Err(Forward::Late));
    }
}
