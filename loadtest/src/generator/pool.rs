//! Connections to the nodes, kept open and used again, all of them on one thread: requests go out, replies come back, or
//! the reason why not. What is sent, and when, is elsewhere.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{alarm::Alarm, reply};

/// A reply has a few hundred bytes; whatever has more than this is none.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Room for what one look at the sockets brings.
const EVENTS: usize = 1_024;

/// Why there was no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// Nobody listens there.
    Refused,
    /// The connection broke before the reply.
    Reset,
    /// What came back is not HTTP.
    Garbled,
}

/// A request that ended.
pub(super) struct Done<T> {
    pub(super) tag: T,
    pub(super) result: Result<reply::Reply, Broken>,
}

/// A request on its way: what it takes to give it up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticket {
    place: usize,
    generation: u64,
}

/// The connections to all nodes.
pub(super) struct Pool<T> {
    poll: Poll,
    events: Events,
    alarm: Alarm,
    targets: Vec<Target>,
    connections: Vec<Connection<T>>,
    /// Places of connections that are closed.
    vacant: Vec<usize>,
    done: VecDeque<Done<T>>,
    /// Which connections the sockets have told of, and whether as closed by the other side.
    told: Vec<(usize, bool)>,
    generation: u64,
    /// How many may be open to each target.
    open_max: usize,
    most_open: usize,
}

struct Target {
    address: SocketAddr,
    /// The connection used last is used next: it is the surest to be alive.
    idle: Vec<usize>,
    open: usize,
}

struct Connection<T> {
    stream: Option<TcpStream>,
    target: usize,
    is_open: bool,
    is_connected: bool,
    outbox: Vec<u8>,
    sent: usize,
    inbox: Vec<u8>,
    request: Option<(T, u64)>,
}

impl<T> Pool<T> {
    /// Connections to these nodes, at most `open_max` to each.
    pub(super) fn new(targets: &[SocketAddr], open_max: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        Ok(Self {
            alarm: Alarm::new(&poll)?,
            poll,
            events: Events::with_capacity(EVENTS),
            targets: targets
                .iter()
                .map(|address| Target { address: *address, idle: Vec::new(), open: 0 })
                .collect(),
            connections: Vec::new(),
            vacant: Vec::new(),
            done: VecDeque::new(),
            told: Vec::with_capacity(EVENTS),
            generation: 0,
            open_max,
            most_open: 0,
        })
    }

    /// The most connections that were open at once.
    pub(super) const fn most_open(&self) -> usize {
        self.most_open
    }

    /// Whether a request to this target would find a connection.
    pub(super) fn is_free(&self, target: usize) -> bool {
        self.targets.get(target).is_some_and(|to| !to.idle.is_empty() || to.open < self.open_max)
    }

    /// Sends a request, which `write` writes; none where every connection to the target is in use. A target that
    /// cannot be reached shows in what is done.
    pub(super) fn send(
        &mut self,
        target: usize,
        tag: T,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Ticket, T> {
        let Some(place) = self.free(target) else { return Err(tag) };
        self.generation = self.generation.saturating_add(1);
        let generation = self.generation;
        if let Some(connection) = self.connections.get_mut(place) {
            connection.outbox.clear();
            connection.inbox.clear();
            connection.sent = 0;
            write(&mut connection.outbox);
            connection.request = Some((tag, generation));
        }
        // Nothing can be there to be read yet.
        let sent = self.connections.get_mut(place).map_or(Ok(()), Connection::write);
        self.end(place, sent.map(|()| None));
        Ok(Ticket { place, generation })
    }

    /// Gives a request up: its connection is of no more use.
    pub(super) fn give_up(&mut self, ticket: Ticket) -> Option<T> {
        let connection = self.connections.get_mut(ticket.place)?;
        if connection.request.as_ref().is_none_or(|(_, generation)| *generation != ticket.generation) {
            return None;
        }
        let request = connection.request.take();
        self.close(ticket.place);
        request.map(|(tag, _)| tag)
    }

    /// What has ended.
    pub(super) fn done(&mut self) -> Option<Done<T>> {
        self.done.pop_front()
    }

    /// Waits from `now_us` on until the sockets tell of something, but no longer than until `until_us`.
    pub(super) fn wait(&mut self, now_us: u64, until_us: u64) -> io::Result<()> {
        match self.alarm.wait(&mut self.poll, &mut self.events, now_us, until_us) {
            Err(cause) if cause.kind() != ErrorKind::Interrupted => Err(cause),
            _ => Ok(()),
        }
    }

    /// Does what can be done about what the sockets have told of.
    pub(super) fn advance(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        told.extend(self.events.iter().map(|event| (event.token().0, event.is_read_closed())));
        for (place, is_closed) in told.drain(..) {
            self.progress(place, is_closed);
        }
        self.told = told;
    }

    /// A connection that is free, or a new one.
    fn free(&mut self, target: usize) -> Option<usize> {
        let to = self.targets.get_mut(target)?;
        if let Some(place) = to.idle.pop() {
            return Some(place);
        }
        if to.open >= self.open_max {
            return None;
        }
        to.open = to.open.saturating_add(1);
        let address = to.address;
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(Connection {
                stream: None,
                target,
                is_open: false,
                is_connected: false,
                outbox: Vec::new(),
                sent: 0,
                inbox: Vec::new(),
                request: None,
            });
            self.connections.len().saturating_sub(1)
        });
        let open: usize = self.targets.iter().map(|target| target.open).sum();
        self.most_open = self.most_open.max(open);
        let connection = self.connections.get_mut(place)?;
        connection.target = target;
        connection.is_open = true;
        connection.is_connected = false;
        // A failure shows when the request makes no progress.
        connection.stream = TcpStream::connect(address).ok();
        if let Some(stream) = &mut connection.stream {
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(stream, Token(place), interest).is_err() {
                connection.stream = None;
            }
        }
        Some(place)
    }

    /// Does what can be done on a connection of which the sockets have told.
    fn progress(&mut self, place: usize, is_closed: bool) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        let stepped = connection.write().and_then(|()| connection.read(is_closed));
        self.end(place, stepped);
    }

    /// Ends the request on a connection that has its reply, or never gets one.
    fn end(&mut self, place: usize, stepped: Result<Option<(reply::Reply, bool)>, Broken>) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        let target = connection.target;
        let (result, is_kept) = match stepped {
            Ok(None) => return,
            Ok(Some((reply, is_kept))) => (Ok(reply), is_kept),
            Err(broken) => (Err(broken), false),
        };
        let request = connection.request.take();
        if !is_kept {
            self.close(place);
        } else if let Some(target) = self.targets.get_mut(target) {
            target.idle.push(place);
        }
        self.done.extend(request.map(|(tag, _)| Done { tag, result }));
    }

    fn close(&mut self, place: usize) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        if !std::mem::replace(&mut connection.is_open, false) {
            return;
        }
        if let Some(mut stream) = connection.stream.take() {
            let _ = self.poll.registry().deregister(&mut stream);
        }
        if let Some(target) = self.targets.get_mut(connection.target) {
            target.open = target.open.saturating_sub(1);
            target.idle.retain(|idle| *idle != place);
        }
        self.vacant.push(place);
    }
}

impl<T> Connection<T> {
    /// Writes as far as it goes; why it is of no use, if it is not.
    fn write(&mut self) -> Result<(), Broken> {
        let Some(stream) = &mut self.stream else {
            return if self.request.is_some() { Err(Broken::Refused) } else { Ok(()) };
        };
        if !self.is_connected {
            if let Ok(Some(_)) | Err(_) = stream.take_error() {
                return Err(Broken::Refused);
            }
            match stream.peer_addr() {
                Ok(_) => {}
                Err(cause) if cause.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(_) => return Err(Broken::Refused),
            }
            self.is_connected = true;
            let _ = stream.set_nodelay(true);
        }
        while let Some(rest) = self.outbox.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(sent) => self.sent = self.sent.saturating_add(sent),
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => break,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken::Reset),
            }
        }
        Ok(())
    }

    /// Reads all that there is. A reply, and whether the connection is of further use; or why it is not.
    fn read(&mut self, is_closed: bool) -> Result<Option<(reply::Reply, bool)>, Broken> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.is_connected) else { return Ok(None) };
        let mut whole = None;
        let mut chunk = [0; 4_096];
        loop {
            let is_all = match stream.read(&mut chunk) {
                Ok(0) => return whole.map(|(reply, _)| Some((reply, false))).ok_or(Broken::Reset),
                Ok(_) if whole.is_some() || self.request.is_none() => return Err(Broken::Garbled),
                Ok(read) => {
                    self.inbox.extend_from_slice(chunk.get(..read).unwrap_or_default());
                    // The sockets tell only once of what there is. Less than there was room for is all of it, but for
                    // the end, of which they tell too.
                    read < chunk.len() && !is_closed
                }
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(whole),
                Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(Broken::Reset),
            };
            if self.inbox.len() > REPLY_BYTES_MAX {
                return Err(Broken::Garbled);
            }
            whole = reply::read(&self.inbox).map_err(|reply::NotHttp| Broken::Garbled)?;
            if is_all {
                return Ok(whole);
            }
        }
    }
}
