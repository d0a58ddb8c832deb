//! The load: one thread, raw sockets, requests that were built before. It does as little as it can, since it shares the
//! machine with what it measures.

use std::{
    collections::VecDeque,
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Interest, Poll, Token, net::TcpStream};

use crate::events::Events;

/// When requests leave.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// The next one on a connection when the one before it is answered: a closed loop.
    AsFastAsAnswered,
    /// So many a second on average, at random times that do not wait for answers: an open loop.
    PerSecond(f64),
}

/// What came of it.
pub(crate) struct Load {
    pub(crate) approved: usize,
    pub(crate) took: Duration,
    /// How long there was nothing to do for the generator, which is on its core all the time.
    pub(crate) idle: Duration,
    /// From the time at which each request should have left, in an open loop.
    pub(crate) latencies: Vec<Latency>,
    /// The longest that a request left late although a connection was free: the generator's own fault.
    pub(crate) late_max: Duration,
}

/// How long one request took.
#[derive(Clone, Copy)]
pub(crate) struct Latency {
    /// Its place among the events.
    pub(crate) request: usize,
    /// Which of the servers was asked.
    pub(crate) server: usize,
    pub(crate) took: Duration,
}

/// Sends all of `events` over connections that the servers have in turn, and returns when they are answered.
pub(crate) fn run(servers: &[SocketAddr], events: &Events, connections: usize, pace: Pace) -> Load {
    let mut poll = Poll::new().unwrap();
    let mut connections: Vec<Connection> = (0..connections)
        .map(|place| {
            let stream = std::net::TcpStream::connect(servers[place % servers.len()]).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)
                .unwrap();
            Connection { stream, request: None, received: 0, inbox: [0; INBOX_BYTES] }
        })
        .collect();
    let mut ready = mio::Events::with_capacity(connections.len());
    let mut run = Run {
        events,
        servers: servers.len(),
        due: Due::new(pace, events.len()),
        idle: (0..connections.len()).collect(),
        free_since: Duration::ZERO,
        load: Load {
            approved: 0,
            took: Duration::ZERO,
            idle: Duration::ZERO,
            latencies: Vec::with_capacity(events.len()),
            late_max: Duration::ZERO,
        },
        answered: 0,
    };
    let start = Instant::now();
    run.send_due(&mut connections, start);
    while run.answered < events.len() {
        // Never asleep: the server would pay for each waking. And the next request may be due sooner than the shortest
        // time that the system can sleep.
        let asked = Instant::now();
        poll.poll(&mut ready, Some(Duration::ZERO)).unwrap();
        if ready.is_empty() {
            run.load.idle += asked.elapsed();
        }
        for event in &ready {
            run.progress(event.token().0, &mut connections, start);
        }
        run.send_due(&mut connections, start);
    }
    run.load.took = start.elapsed();
    run.load
}

/// Replies have a few hundred bytes.
const INBOX_BYTES: usize = 2048;

struct Connection {
    stream: TcpStream,
    request: Option<Request>,
    received: usize,
    inbox: [u8; INBOX_BYTES],
}

struct Request {
    place: usize,
    sent: usize,
    intended: Duration,
}

struct Run<'a> {
    events: &'a Events,
    servers: usize,
    due: Due,
    /// The longest idle first.
    idle: VecDeque<usize>,
    /// Since when there is an idle connection: before that the server was late, not the generator.
    free_since: Duration,
    load: Load,
    answered: usize,
}

impl Run<'_> {
    /// Sends what is due, as long as there are connections for it.
    fn send_due(&mut self, connections: &mut [Connection], start: Instant) {
        while let Some(&place) = self.idle.front() {
            let now = if self.due.is_timed() { start.elapsed() } else { Duration::ZERO };
            let Some((request, intended)) = self.due.take(now) else { break };
            self.idle.pop_front();
            self.load.late_max = self.load.late_max.max(now.saturating_sub(intended.max(self.free_since)));
            let connection = &mut connections[place];
            connection.request = Some(Request { place: request, sent: 0, intended });
            connection.write(self.events);
        }
    }

    fn progress(&mut self, place: usize, connections: &mut [Connection], start: Instant) {
        let connection = &mut connections[place];
        connection.write(self.events);
        if let Some(is_approved) = connection.read() {
            let request = connection.request.take().expect("a reply follows a request");
            self.answered += 1;
            self.load.approved += usize::from(is_approved);
            if self.due.is_timed() {
                let took = start.elapsed().saturating_sub(request.intended);
                let server = place % self.servers;
                self.load.latencies.push(Latency { request: request.place, server, took });
            }
            if self.idle.is_empty() && self.due.is_timed() {
                self.free_since = start.elapsed();
            }
            self.idle.push_back(place);
        }
    }
}

impl Connection {
    fn write(&mut self, events: &Events) {
        let Some(request) = &mut self.request else { return };
        let bytes = events.get(request.place);
        while request.sent < bytes.len() {
            match self.stream.write(&bytes[request.sent..]) {
                Ok(sent) => request.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the server does not take a request: {error}"),
            }
        }
    }

    /// Whether the reply is an approval, when it is there.
    fn read(&mut self) -> Option<bool> {
        self.request.as_ref()?;
        loop {
            match self.stream.read(&mut self.inbox[self.received..]) {
                Ok(0) => panic!("the server has closed a connection"),
                Ok(read) => self.received += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("the server does not answer: {error}"),
            }
            let Some((status, body)) = whole(&self.inbox[..self.received]) else { continue };
            assert_eq!(status, b"200", "{}", String::from_utf8_lossy(&self.inbox[..self.received]));
            let is_approved = body.starts_with(br#"{"approved":true"#);
            self.received = 0;
            return Some(is_approved);
        }
    }
}

/// The status and the body of a reply, when all of it is there.
fn whole(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    const LENGTH: &[u8] = b"content-length: ";
    let body_at = reply.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let length_at = reply[..body_at].windows(LENGTH.len()).position(|word| word == LENGTH)? + LENGTH.len();
    let digits = reply[length_at..].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    Some((reply.get(9..12)?, reply.get(body_at..body_at + length)?))
}

/// Which request is next, and when.
struct Due {
    next: usize,
    requests: usize,
    /// When the next one is due; nothing in a closed loop.
    at: Option<Duration>,
    mean_gap: f64,
    random: fastrand::Rng,
}

impl Due {
    fn new(pace: Pace, requests: usize) -> Self {
        let (at, mean_gap) = match pace {
            Pace::AsFastAsAnswered => (None, 0.0),
            Pace::PerSecond(rate) => (Some(Duration::ZERO), 1.0 / rate),
        };
        Self { next: 0, requests, at, mean_gap, random: fastrand::Rng::with_seed(1) }
    }

    fn is_timed(&self) -> bool {
        self.at.is_some()
    }

    fn take(&mut self, now: Duration) -> Option<(usize, Duration)> {
        if self.next == self.requests || self.at.is_some_and(|at| at > now) {
            return None;
        }
        let intended = self.at.unwrap_or_default();
        // Independent arrivals: exponential gaps.
        self.at =
            self.at.map(|at| at + Duration::from_secs_f64(-self.mean_gap * (1.0 - self.random.f64()).ln()));
        self.next += 1;
        Some((self.next - 1, intended))
    }
}

/// Whether the machine does other things meanwhile: runnable tasks, averaged over a minute.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
