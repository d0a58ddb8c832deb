//! A way to the server that ends after so many bytes, of what is asked or of what is answered.

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A proxy of which each connection is cut somewhere. It ends when it is dropped.
pub(super) struct Proxy {
    pub(super) port: u16,
    cuts: watch::Receiver<usize>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Lets connections through to `port`, each until it has carried what `draw` says: so many bytes to the server,
    /// so many bytes from it.
    pub(super) async fn start(port: u16, mut draw: impl FnMut() -> (u64, u64) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let (count, cuts) = watch::channel(0);
        let count = Arc::new(count);
        let serving = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, port, draw(), Arc::clone(&count)));
            }
        });
        Self { port: own_port, cuts, serving }
    }

    /// Returns when so many connections were cut.
    pub(super) async fn cut(&self, connections: usize) {
        self.cuts.clone().wait_for(|cuts| *cuts >= connections).await.unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn carry(
    mut client: TcpStream,
    port: u16,
    (asked, answered): (u64, u64),
    cuts: Arc<watch::Sender<usize>>,
) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let is_cut = tokio::select! {
        is_cut = part(from_client, to_server, asked) => is_cut,
        is_cut = part(from_server, to_client, answered) => is_cut,
    };
    // Both ends close now, whatever is still on its way.
    if is_cut {
        cuts.send_modify(|cuts| *cuts += 1);
    }
}

/// Carries one direction, and says whether it ended by its bound.
async fn part(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, bytes: u64) -> bool {
    copy(&mut from.take(bytes), &mut to).await.is_ok_and(|carried| carried == bytes)
}
