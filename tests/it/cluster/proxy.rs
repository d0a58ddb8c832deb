//! A way between two processes that a test can cut: bytes go through, or nothing does and nobody is told.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// The way. Connections over it go on when it is cut, and carry nothing, as those of a network that is down.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    is_open: watch::Sender<bool>,
    target: watch::Sender<Option<SocketAddr>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A way that leads nowhere yet.
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_open, target) = (watch::Sender::new(true), watch::Sender::new(None));
        let (gate, to) = (is_open.clone(), target.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, to.subscribe(), gate.subscribe()));
            }
        });
        Self { address, is_open, target, accepting }
    }

    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    pub(crate) fn cut(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.is_open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connection(
    stream: TcpStream,
    mut target: watch::Receiver<Option<SocketAddr>>,
    mut gate: watch::Receiver<bool>,
) {
    // An error is the end of the test.
    let Ok(target) = target.wait_for(Option::is_some).await.map(|target| *target) else { return };
    if gate.wait_for(|is_open| *is_open).await.is_err() {
        return;
    }
    let Ok(onward) = TcpStream::connect(target.unwrap()).await else { return };
    for stream in [&stream, &onward] {
        let _ = stream.set_nodelay(true);
    }
    let ((from, to), (back_from, back_to)) = (stream.into_split(), onward.into_split());
    tokio::select! {
        () = carry(from, back_to, gate.clone()) => {}
        () = carry(back_from, to, gate) => {}
    }
}

/// Moves bytes one way until one side ends, and holds them while the way is cut.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let Ok(read) = from.read(&mut piece).await else { return };
        if read == 0 || gate.wait_for(|is_open| *is_open).await.is_err() {
            return;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
