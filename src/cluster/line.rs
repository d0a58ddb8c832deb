//! A connection between two nodes: messages in both directions at once, each with its length before it. What they mean is
//! not here, and why it is not HTTP/2 is in `docs/performance.md`.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, ToSocketAddrs},
};
use tokio_util::{
    bytes::BytesMut,
    codec::{Decoder as _, Encoder as _, LengthDelimitedCodec},
};

use super::wire::Message;
use crate::clock::timeout;

/// What both sides say before anything else: who says something else is no node, or one of another age.
const GREETING: [u8; 11] = *b"tollgate/1\n";

/// How long a connection may take to come about, the greetings included.
const OPEN_WITHIN: Duration = Duration::from_secs(1);

/// The largest message.
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// The largest body that fits into one, whatever stands before it. What is larger is decided where it came in.
pub(super) const BODY_BYTES_MAX: usize = 384 * 1024;

/// How much room is made to read into, and how little of it may be left: the bodies that came in it hold it until they are read.
const READ_BYTES: usize = 32 * 1024;
const READ_BYTES_MIN: usize = 4 * 1024;

/// What may wait to be sent; then no more is taken on until some of it has gone.
const OUTBOX_BYTES_MAX: usize = 256 * 1024;

/// A connection to another node. Nothing is lost when a future of it is dropped.
pub struct Line {
    stream: TcpStream,
    codec: LengthDelimitedCodec,
    inbox: BytesMut,
    outbox: BytesMut,
}

impl Line {
    /// Calls a node. It has said that it is one when this returns: one that hangs takes connections all the same, its
    /// system does that for it.
    ///
    /// # Errors
    /// Nobody is there, or no node, or it says nothing.
    pub async fn call(address: impl ToSocketAddrs) -> io::Result<Self> {
        let calling = async { Self::greet(TcpStream::connect(address).await?).await };
        timeout(OPEN_WITHIN, calling).await?
    }

    /// Takes a call.
    ///
    /// # Errors
    /// As above, from the other side.
    pub async fn take(stream: TcpStream) -> io::Result<Self> {
        timeout(OPEN_WITHIN, Self::greet(stream)).await?
    }

    async fn greet(mut stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.write_all(&GREETING).await?;
        let mut heard = [0; GREETING.len()];
        stream.read_exact(&mut heard).await?;
        if heard != GREETING {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no node of this version"));
        }
        let codec = LengthDelimitedCodec::builder().max_frame_length(MESSAGE_BYTES_MAX).new_codec();
        Ok(Self { stream, codec, inbox: BytesMut::new(), outbox: BytesMut::new() })
    }

    /// Whether one more message may be said now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outbox.len() < OUTBOX_BYTES_MAX
    }

    /// Has a message sent by the next [`turn`](Self::turn).
    ///
    /// # Errors
    /// It is longer than messages may be.
    pub fn say(&mut self, message: &Message) -> io::Result<()> {
        self.codec.encode(message.encode(), &mut self.outbox)
    }

    /// Sends what was said, and waits for the next message; for none where nobody `listens`. Nothing: the other side has ended it.
    ///
    /// # Errors
    /// The connection is broken, or what comes is no message.
    pub async fn turn(&mut self, listens: bool) -> io::Result<Option<Message>> {
        loop {
            while listens && let Some(message) = self.codec.decode(&mut self.inbox)? {
                if let Some(known) = Message::decode(message.freeze())? {
                    return Ok(Some(known));
                }
            }
            if self.inbox.capacity().saturating_sub(self.inbox.len()) < READ_BYTES_MIN {
                self.inbox.reserve(READ_BYTES);
            }
            let (mut read, mut write) = self.stream.split();
            tokio::select! {
                read = read.read_buf(&mut self.inbox), if listens => if read? == 0 {
                    return Ok(None);
                },
                written = write.write_buf(&mut self.outbox), if !self.outbox.is_empty() => {
                    written?;
                }
                else => return std::future::pending().await,
            }
        }
    }
}
