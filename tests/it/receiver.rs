//! A server that takes events of outgoing webhooks, or does not: what a test needs of one.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tollgate::{
    clock,
    stripe::{Secret, Verifier},
};

use crate::process::within;

/// The secret of the tests' endpoints.
pub(crate) const ENDPOINT_SECRET: &str = "whsec_of_an_endpoint_in_a_test";

/// What came, and what is replied.
#[derive(Default)]
struct Shared {
    taken: Mutex<Vec<Value>>,
    refused: Mutex<Vec<Value>>,
    statuses: Mutex<VecDeque<u16>>,
    refuses: Mutex<Option<&'static str>>,
    is_silent: Mutex<bool>,
}

/// A running server.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Takes everything on a port of its own.
    pub(crate) async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// Takes everything at this address.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = within("the port is free", async {
            loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// Replies with these statuses first.
    pub(crate) fn replies(&self, statuses: &[u16]) {
        self.shared.statuses.lock().unwrap().extend(statuses);
    }

    /// Replies with 500 to every event whose body contains this.
    pub(crate) fn refuses(&self, text: &'static str) {
        *self.shared.refuses.lock().unwrap() = Some(text);
    }

    /// Replies nothing from now on.
    pub(crate) fn is_silent(&self) {
        *self.shared.is_silent.lock().unwrap() = true;
    }

    /// What it took so far.
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// What it replied to with an error so far.
    pub(crate) fn refused(&self) -> Vec<Value> {
        self.shared.refused.lock().unwrap().clone()
    }

    /// Waits until it took an event of this kind, `number` in all.
    pub(crate) async fn takes(&self, kind: &str, number: usize) -> Vec<Value> {
        within(kind, async {
            loop {
                let found: Vec<Value> =
                    self.taken().into_iter().filter(|event| event["type"] == kind).collect();
                if found.len() >= number {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

/// Serves one connection: requests one after another.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut buffer).await {
        if *shared.is_silent.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        let signature = head.lines().find_map(|line| line.strip_prefix("tollgate-signature: ")).unwrap();
        let verifier = Verifier::new(&[Secret::new(ENDPOINT_SECRET).unwrap()], Duration::from_mins(5));
        verifier.verify(Some(signature.trim().as_bytes()), &body, clock::now()).unwrap();
        let text = String::from_utf8(body).unwrap();
        let event: Value = serde_json::from_str(&text).unwrap();
        let is_refused = shared.refuses.lock().unwrap().is_some_and(|refused| text.contains(refused));
        let scripted = shared.statuses.lock().unwrap().pop_front();
        let status = if is_refused { 500 } else { scripted.unwrap_or(200) };
        let list = if status == 200 { &shared.taken } else { &shared.refused };
        list.lock().unwrap().push(event);
        let reply = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 2\r\n\r\nok");
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request: its head in lower case, and its body.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            let whole = end + 4 + length.unwrap();
            if buffer.len() >= whole {
                let body = buffer[end + 4..whole].to_vec();
                buffer.drain(..whole);
                return Some((head, body));
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}
