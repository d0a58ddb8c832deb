//! A connection between two nodes: TLS in which both prove their keys, a hello of each, and then messages in both directions
//! at once, each with its length before it. What they mean is not here, and why it is not HTTP/2 is in `docs/performance.md`.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::{
    bytes::{Buf as _, BytesMut},
    codec::{Decoder as _, Encoder as _, LengthDelimitedCodec},
    io::poll_read_buf,
};

use super::{
    identity::Identity,
    member::{Fingerprint, Member},
    tls,
    wire::{Hello, Message},
};
use crate::{
    clock::timeout,
    journal::{Lineage, postgres::Database},
    metrics::{Metrics, PeerRefusal},
};

/// How long a connection may take to come about, until both hellos are there.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// How many bytes are read from a side that has not proved yet who it is. With certificates, whose chains are long, more.
const UNPROVED_BYTES_MAX: usize = 4 * 1024;
const UNPROVED_BYTES_MAX_WITH_CERTIFICATES: usize = 16 * 1024;

/// The largest hello, and the largest message after it.
const HELLO_BYTES_MAX: usize = 1_024;
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// The largest body that fits into one, whatever stands before it. What is larger is decided where it came in.
pub(super) const BODY_BYTES_MAX: usize = 384 * 1024;

/// How much is reserved to read into, and how little of it may be left: the bodies that came in it hold it until they are read.
const READ_BYTES: usize = 32 * 1024;
const READ_BYTES_MIN: usize = 4 * 1024;

/// What may wait to be sent; then no more is taken on until some of it has gone.
const OUTBOX_BYTES_MAX: usize = 256 * 1024;

/// This node, as it shows itself to others.
pub struct Local {
    pub(super) identity: Identity,
    server: Arc<ServerConfig>,
    hello: Mutex<Hello>,
    database: OnceLock<Arc<Database>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Local {
    /// What says this of itself, and proves it by this key.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(identity: Identity, hello: Hello, metrics: Arc<Metrics>) -> io::Result<Self> {
        let server = tls::server(&identity)?;
        Ok(Self { identity, server, hello: Mutex::new(hello), database: OnceLock::new(), metrics })
    }

    pub(super) fn hello(&self) -> Hello {
        self.hello.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What peers say of a failover is passed on to this database.
    pub(super) fn informs(&self, database: Arc<Database>) {
        // There is one database for the life of a node.
        let _ = self.database.set(database);
    }

    /// From now on this is where it appends.
    pub(super) fn appends_to(&self, journal: String, lineage: Lineage) {
        let mut hello = self.hello.lock().unwrap_or_else(PoisonError::into_inner);
        (hello.journal, hello.lineage) = (journal, Some(lineage.to_string()));
    }

    /// Whether `hello` is from this member, and from one that shares this node's journal.
    pub(super) fn check(&self, hello: &Hello, member: &Member) -> Result<(), NotConnected> {
        if (&hello.node, hello.incarnation) != (&member.node, member.incarnation) {
            let (found, expected) = (hello.node.clone(), member.node.clone());
            return Err(NotConnected::OtherName { found, expected });
        }
        let (here, there) = (Place::of(&self.hello()), Place::of(hello));
        if here.journal != there.journal || here.is_in_another_system(&there) {
            return Err(NotConnected::OtherJournal { here: here.to_string(), there: there.to_string() });
        }
        if let Some((there, here)) = there.lineage.zip(here.lineage)
            && here.is_before(there)
        {
            tracing::warn!(
                node = member.node,
                "a peer's database has had a failover that this node's has not: look where TOLLGATE_JOURNAL leads"
            );
            if let Some(database) = self.database.get() {
                database.saw(there);
            }
        }
        Ok(())
    }

    const fn unproved_bytes_max(&self) -> usize {
        if self.identity.roots.is_some() { UNPROVED_BYTES_MAX_WITH_CERTIFICATES } else { UNPROVED_BYTES_MAX }
    }
}

/// Where a node appends.
struct Place {
    journal: String,
    lineage: Option<Lineage>,
}

impl Place {
    fn of(hello: &Hello) -> Self {
        let lineage = hello.lineage.as_ref().and_then(|lineage| lineage.parse().ok());
        Self { journal: hello.journal.clone(), lineage }
    }

    /// A restored dump has the identity of the journal, and is another one all the same.
    fn is_in_another_system(&self, other: &Self) -> bool {
        self.lineage.zip(other.lineage).is_some_and(|(one, other)| one.system != other.system)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lineage {
            Some(lineage) => write!(f, "{} (database system {})", self.journal, lineage.system),
            None => f.write_str(&self.journal),
        }
    }
}

/// Why two nodes are not connected.
#[derive(Debug, thiserror::Error)]
pub enum NotConnected {
    /// It took too long.
    #[error("the connection was not open within {OPEN_WITHIN:?}")]
    Late,
    /// What was sent is not what nodes send.
    #[error("expected TLS 1.3 as nodes of this version use it, found: {0}")]
    NotANode(String),
    /// The other side has a key that `TOLLGATE_PEER_CA` has not signed, or no longer.
    #[error("expected a key that TOLLGATE_PEER_CA has signed, found: {0}")]
    NotSigned(String),
    /// The other side does not want this one; its log says why.
    #[error("the other side refused this one ({0}); its log says why")]
    Rejected(String),
    /// The other side has the key of an earlier run of this node, or of another one.
    #[error("the caller asked for a node with another key")]
    OtherServer,
    /// The other side sends without an end.
    #[error("the other side sent too many bytes before it had proved its key")]
    TooLong,
    /// The other side has a key that no member has.
    #[error("no member has the key that the other side has proved: {0}")]
    UnknownKey(Fingerprint),
    /// Something else sits where the member should be.
    #[error(
        "expected the key of the member table, found another: something is between the nodes, or in the member's place"
    )]
    Impostor,
    /// A member that calls itself by another name than that of its key.
    #[error("expected the node {expected}, whose key this is, found that it calls itself {found}")]
    OtherName {
        /// What the member table has.
        expected: String,
        /// What it said.
        found: String,
    },
    /// A member of the same table, with another journal.
    #[error("expected a node of the journal {here}, found one of {there}: compare TOLLGATE_JOURNAL of both")]
    OtherJournal {
        /// This node's.
        here: String,
        /// The other one's.
        there: String,
    },
    /// Nothing answers there, or the network broke it.
    #[error(transparent)]
    Broken(io::Error),
}

impl NotConnected {
    /// The word for it in metrics.
    #[must_use]
    pub const fn cause(&self) -> PeerRefusal {
        match self {
            Self::Late => PeerRefusal::Late,
            Self::NotANode(_) => PeerRefusal::NotANode,
            Self::NotSigned(_) => PeerRefusal::NotSigned,
            Self::Rejected(_) => PeerRefusal::Rejected,
            Self::OtherServer => PeerRefusal::OtherServer,
            Self::TooLong => PeerRefusal::TooLong,
            Self::UnknownKey(_) => PeerRefusal::UnknownKey,
            Self::Impostor => PeerRefusal::Impostor,
            Self::OtherName { .. } => PeerRefusal::OtherName,
            Self::OtherJournal { .. } => PeerRefusal::OtherJournal,
            Self::Broken(_) => PeerRefusal::Broken,
        }
    }
}

impl From<io::Error> for NotConnected {
    fn from(error: io::Error) -> Self {
        use rustls::{CertificateError, Error};
        let inner = error.get_ref();
        if inner.and_then(|inner| inner.downcast_ref::<TooLong>()).is_some() {
            return Self::TooLong;
        }
        match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
                Self::Impostor
            }
            // The library's word for a name that no certificate was found for.
            Some(Error::General(_)) => Self::OtherServer,
            Some(Error::InvalidCertificate(cause)) => Self::NotSigned(cause.to_string()),
            Some(Error::AlertReceived(alert)) => Self::Rejected(format!("{alert:?}")),
            Some(other) => Self::NotANode(other.to_string()),
            None => Self::Broken(error),
        }
    }
}

/// A connection to another node. Nothing is lost when a future of it is dropped.
pub struct Connection {
    stream: TlsStream<Bounded>,
    codec: LengthDelimitedCodec,
    inbox: BytesMut,
    outbox: BytesMut,
    is_flushed: bool,
}

/// What has happened on a connection.
#[derive(PartialEq, Eq, Debug)]
pub enum Turn {
    /// A message has come.
    Came(Message),
    /// So much was sent that more may be.
    Sent,
    /// The other side has ended it.
    Ended,
}

impl Connection {
    /// Connects to a member. It has proved its key and said hello when this returns: one that hangs takes connections all
    /// the same, its system does that for it.
    ///
    /// # Errors
    /// [`NotConnected`].
    pub async fn connect(local: &Local, member: &Member) -> Result<Self, NotConnected> {
        let connecting = async {
            let connector = TlsConnector::from(tls::client(&local.identity, member.key)?);
            let name = tls::server_name(member.key)?;
            let stream = TcpStream::connect(&member.address).await?;
            stream.set_nodelay(true)?;
            let stream = connector.connect(name, Bounded::new(stream, local.unproved_bytes_max())).await?;
            let mut connection = Self::new(stream.into());
            connection.send(&Message::Hello(local.hello()))?;
            let hello = connection.hello().await?;
            local.check(&hello, member)?;
            connection.open();
            Ok(connection)
        };
        timeout(OPEN_WITHIN, connecting).await.unwrap_or(Err(NotConnected::Late))
    }

    /// Takes a connection. Who has proved which key is `member`'s to judge; it says whose key it is.
    pub(super) async fn accept(
        local: &Local,
        stream: TcpStream,
        member: impl AsyncFnOnce(Fingerprint) -> Option<Member>,
    ) -> Result<Self, NotConnected> {
        let accepting = async {
            stream.set_nodelay(true)?;
            let acceptor = TlsAcceptor::from(Arc::clone(&local.server));
            let stream = acceptor.accept(Bounded::new(stream, local.unproved_bytes_max())).await?;
            let mut connection = Self::new(stream.into());
            let presented = connection.stream.get_ref().1.peer_certificates();
            let key = tls::proved(presented, &local.identity)
                .ok_or_else(|| NotConnected::NotANode("no key was presented".to_owned()))?;
            let member = member(key).await.ok_or(NotConnected::UnknownKey(key))?;
            let hello = connection.hello().await?;
            connection.send(&Message::Hello(local.hello()))?;
            // Whatever this side makes of the other: the log of either shall say it.
            connection.flush().await?;
            local.check(&hello, &member)?;
            connection.open();
            Ok(connection)
        };
        timeout(OPEN_WITHIN, accepting).await.unwrap_or(Err(NotConnected::Late))
    }

    fn new(stream: TlsStream<Bounded>) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(HELLO_BYTES_MAX).new_codec();
        Self { stream, codec, inbox: BytesMut::new(), outbox: BytesMut::new(), is_flushed: true }
    }

    /// The first message of the other side.
    async fn hello(&mut self) -> io::Result<Hello> {
        match self.turn(true).await? {
            Turn::Came(Message::Hello(hello)) => Ok(hello),
            Turn::Came(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "expected a hello first")),
            Turn::Sent | Turn::Ended => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// From now on the other side is known.
    fn open(&mut self) {
        self.stream.get_mut().0.left = usize::MAX;
        self.codec.set_max_frame_length(MESSAGE_BYTES_MAX);
    }

    /// Whether one more message may be sent now.
    #[must_use]
    pub fn has_capacity(&self) -> bool {
        self.outbox.len() < OUTBOX_BYTES_MAX
    }

    /// Has a message sent by the next [`turn`](Self::turn).
    ///
    /// # Errors
    /// It is longer than messages may be.
    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        self.codec.encode(message.encode(), &mut self.outbox)
    }

    /// Sends what is to be sent, and waits for the next message, if it `reads` one; or until there is capacity again.
    ///
    /// # Errors
    /// The connection is broken, or what comes is no message.
    pub async fn turn(&mut self, reads: bool) -> io::Result<Turn> {
        let had_capacity = self.has_capacity();
        loop {
            while reads && let Some(message) = self.codec.decode(&mut self.inbox)? {
                if let Some(known) = Message::decode(message.freeze())? {
                    return Ok(Turn::Came(known));
                }
            }
            if reads && self.inbox.capacity().saturating_sub(self.inbox.len()) < READ_BYTES_MIN {
                self.inbox.reserve(READ_BYTES);
            }
            let read = poll_fn(|context| {
                self.poll_send(context)?;
                if !had_capacity && self.has_capacity() {
                    return Poll::Ready(Ok(None));
                }
                if !reads {
                    return Poll::Pending;
                }
                poll_read_buf(Pin::new(&mut self.stream), context, &mut self.inbox).map_ok(Some)
            });
            match read.await? {
                None => return Ok(Turn::Sent),
                Some(0) => return Ok(Turn::Ended),
                Some(_) => {}
            }
        }
    }

    /// Sends all that is to be sent.
    async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            self.poll_send(context)?;
            if self.outbox.is_empty() && self.is_flushed { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Sends as much as the network takes now. An error is the connection's.
    fn poll_send(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.outbox) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.outbox.advance(written),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
            self.is_flushed = false;
        }
        if !self.is_flushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(context)
        {
            flushed?;
            self.is_flushed = true;
        }
        Ok(())
    }
}

/// A stream of which only so many bytes are read.
struct Bounded {
    stream: TcpStream,
    left: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("too many bytes before the other side is known")]
struct TooLong;

impl Bounded {
    const fn new(stream: TcpStream, left: usize) -> Self {
        Self { stream, left }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.left;
        if left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TooLong)));
        }
        if left == usize::MAX {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let size = left.min(into.remaining());
        let mut part = ReadBuf::new(into.initialize_unfilled_to(size));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        into.advance(read);
        self.left = left.saturating_sub(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
