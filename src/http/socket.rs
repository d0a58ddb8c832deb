//! One TCP connection with a watch on it: how long it may sit idle, take for its headers, or leave a reply unread.
//! What goes over it is not looked at.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use crate::{
    clock::{self, Instant},
    metrics::Cut,
};

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request to the end of its headers.
    pub(super) head: Duration,
    /// For the body.
    pub(super) body: Duration,
    /// Between requests.
    pub(super) idle: Duration,
    /// For a reply to make way in the client's window.
    pub(super) reply: Duration,
}

/// How long a connection that we close listens on for the client's own end: whoever closes on unread bytes sends a
/// reset, which may overtake the reply.
const LINGER_WITHIN: Duration = Duration::from_secs(1);

/// How much is read and thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where a connection stands in the exchange. Told by the service, read by its socket, both on one task.
pub(super) struct Progress {
    step: AtomicU32,
    lingers: AtomicBool,
    /// What times are measured from.
    base: Instant,
    /// Since when nothing has been asked for, in microseconds after `base` and one; 0 during an exchange.
    idle_since: AtomicU64,
}

/// The steps of one exchange; they count on from one exchange to the next, so that no two are the same.
const STEPS: u32 = 3;
const IDLE: u32 = 0;
const HEAD: u32 = 1;

impl Progress {
    /// An idle connection. Of several with one `base` it can be told which has been idle the longest.
    pub(super) fn new(base: Instant) -> Self {
        let progress = Self {
            step: AtomicU32::new(0),
            lingers: AtomicBool::new(false),
            base,
            idle_since: AtomicU64::new(0),
        };
        progress.go_to(STEPS);
        progress
    }

    /// Since when the connection has been idle, on a scale of its own; nothing during an exchange.
    pub(super) fn idle_since(&self) -> Option<u64> {
        Some(self.idle_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    /// The headers of a request are read: what is read from now on is its body.
    pub(super) fn busy(&self) {
        self.go_to(HEAD.saturating_add(1));
    }

    /// The reply is ready.
    pub(super) fn answered(&self) {
        self.go_to(STEPS);
    }

    /// The client may still be sending when we close.
    pub(super) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    fn step(&self) -> u32 {
        self.step.load(Ordering::Relaxed)
    }

    fn go_to(&self, step: u32) {
        let exchange = self.step().wrapping_sub(self.step() % STEPS);
        self.step.store(exchange.wrapping_add(step), Ordering::Relaxed);
        let since = if step == STEPS {
            let elapsed = clock::instant().saturating_duration_since(self.base).as_micros();
            u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1)
        } else {
            0
        };
        self.idle_since.store(since, Ordering::Relaxed);
    }
}

/// A stream that ends by itself when the other side makes it wait too long.
pub(super) struct Socket<'a> {
    stream: TcpStream,
    progress: &'a Progress,
    patience: Patience,
    /// The only timer: it is moved back only when it fires, so that a busy connection leaves it alone.
    timer: Option<Pin<Box<Sleep>>>,
    read_deadline: Option<(u32, Instant)>,
    write_deadline: Option<Instant>,
    linger_deadline: Option<Instant>,
    lingered: usize,
    ended: bool,
    cut: Option<Cut>,
}

impl<'a> Socket<'a> {
    pub(super) fn new(stream: TcpStream, progress: &'a Progress, patience: Patience) -> Self {
        Self {
            stream,
            progress,
            patience,
            timer: None,
            read_deadline: None,
            write_deadline: None,
            linger_deadline: None,
            lingered: 0,
            ended: false,
            cut: None,
        }
    }

    /// Why the socket ended the connection, if it was the one to do so.
    pub(super) fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// Whether the client has made us wait too long for bytes.
    fn read_late(&mut self, cx: &mut Context<'_>) -> Option<Cut> {
        let step = self.progress.step();
        let (cut, within) = match step % STEPS {
            IDLE => (Cut::Idle, self.patience.idle),
            HEAD => (Cut::HeadLate, self.patience.head),
            _ => (Cut::BodyLate, self.patience.body),
        };
        let deadline = match self.read_deadline {
            Some((since, deadline)) if since == step => deadline,
            _ => later(within),
        };
        self.read_deadline = Some((step, deadline));
        self.expired(cx, deadline).then_some(cut)
    }

    fn write_late(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = *self.write_deadline.get_or_insert_with(|| later(self.patience.reply));
        self.expired(cx, deadline)
    }

    /// Whether `deadline` is over; if not, the task is woken by then.
    fn expired(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if clock::instant() >= deadline {
                return true;
            }
            timer.as_mut().reset(deadline);
        }
        false
    }

    /// After a write that went through, or not.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.write_deadline = None;
        } else if self.write_late(cx) {
            self.cut = Some(Cut::ReplyStalled);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        poll
    }

    /// Reads until the client ends its side, for as long and as far as is reasonable.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.linger_deadline.get_or_insert_with(|| later(LINGER_WITHIN));
        let mut bin = [0; 4096];
        while self.lingered < LINGER_BYTES_MAX {
            let mut bin = ReadBuf::new(&mut bin);
            match Pin::new(&mut self.stream).poll_read(cx, &mut bin) {
                Poll::Ready(Ok(())) if bin.filled().is_empty() => break,
                Poll::Ready(Ok(())) => self.lingered = self.lingered.saturating_add(bin.filled().len()),
                Poll::Ready(Err(_)) => break,
                Poll::Pending if self.expired(cx, deadline) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

fn later(within: Duration) -> Instant {
    let now = clock::instant();
    now.checked_add(within).unwrap_or(now)
}

impl AsyncRead for Socket<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() == before {
                    self.ended = true;
                } else if self.progress.step() % STEPS == IDLE {
                    self.progress.go_to(HEAD);
                }
                Poll::Ready(result)
            }
            Poll::Pending => match self.read_late(cx) {
                Some(Cut::Idle) => {
                    // As if the client had ended the connection: nothing was begun.
                    self.cut = Some(Cut::Idle);
                    Poll::Ready(Ok(()))
                }
                Some(cut) => {
                    self.cut = Some(cut);
                    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                }
                None => Poll::Pending,
            },
        }
    }
}

impl AsyncWrite for Socket<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger_deadline.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.progress.lingers.load(Ordering::Relaxed) && !self.ended {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(2),
        body: Duration::from_secs(1),
        idle: Duration::from_mins(1),
        reply: Duration::from_secs(5),
    };

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_as_if_the_client_had_closed_it() {
        let (stream, _client) = pair().await;
        let progress = Progress::new(clock::instant());
        let mut socket = Socket::new(stream, &progress, PATIENCE);
        let start = Instant::now();
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(start.elapsed().as_secs(), 60);
        assert_eq!(socket.cut(), Some(Cut::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn headers_are_waited_for_from_their_first_byte_on_however_often_more_comes() {
        let (stream, mut client) = pair().await;
        let progress = Progress::new(clock::instant());
        let mut socket = Socket::new(stream, &progress, PATIENCE);
        client.write_all(b"P").await.unwrap();
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 1);
        let start = Instant::now();
        let drip = async {
            loop {
                tokio::time::sleep(Duration::from_millis(700)).await;
                client.write_all(b"O").await.unwrap();
            }
        };
        let read = async {
            loop {
                if let Err(error) = socket.read(&mut [0; 8]).await {
                    break error;
                }
            }
        };
        let error = tokio::select! { error = read => error, () = drip => unreachable!() };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert_eq!(socket.cut(), Some(Cut::HeadLate));
    }

    #[tokio::test(start_paused = true)]
    async fn each_body_has_its_own_time_and_so_has_the_wait_behind_each_reply() {
        let (stream, mut client) = pair().await;
        let progress = Progress::new(clock::instant());
        let mut socket = Socket::new(stream, &progress, PATIENCE);
        for _ in 0..2 {
            progress.busy();
            let late = tokio::time::timeout(Duration::from_millis(900), socket.read(&mut [0; 8])).await;
            assert!(late.is_err(), "cut too early");
            progress.answered();
            client.write_all(b"P").await.unwrap();
            assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 1);
        }
        progress.busy();
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(socket.cut(), Some(Cut::BodyLate));
        progress.answered();
        let start = Instant::now();
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut() {
        let (stream, _client) = pair().await;
        let progress = Progress::new(clock::instant());
        let mut socket = Socket::new(stream, &progress, PATIENCE);
        let block = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = socket.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(socket.cut(), Some(Cut::ReplyStalled));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_waits_for_the_client_only_when_told_to_and_not_for_ever() {
        let progress = Progress::new(clock::instant());
        for (lingers, seconds) in [(false, 0), (true, 1)] {
            let (stream, _client) = pair().await;
            let mut socket = Socket::new(stream, &progress, PATIENCE);
            if lingers {
                progress.linger();
            }
            let start = Instant::now();
            socket.shutdown().await.unwrap();
            assert_eq!(start.elapsed().as_secs(), seconds);
        }
    }
}
