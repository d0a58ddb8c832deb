//! A client of HTTP/1.1 that sends exactly the bytes it is given, broken ones too, and hides nothing of what comes back.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// No server here takes this long: a test that waits in vain fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The value of the only header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} comes twice");
        value
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The code of an error, whose message must be there too.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        assert!(json["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{json}");
        json["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), unread: Vec::new() }
    }

    /// A connection, unless nobody listens.
    pub(crate) async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: TcpStream::connect(address).await?, unread: Vec::new() })
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends while listening, as a client must whose server may answer before everything is sent.
    pub(crate) async fn send_long(&mut self, bytes: &[u8]) -> Response {
        let mut sent = 0;
        loop {
            let (mut reading, mut writing) = self.stream.split();
            let mut piece = [0; 4096];
            tokio::select! {
                biased;
                read = reading.read(&mut piece) => {
                    self.unread.extend_from_slice(&piece[..read.unwrap()]);
                    return self.response().await;
                }
                wrote = writing.write(&bytes[sent..]), if sent < bytes.len() => sent += wrote.unwrap(),
            }
        }
    }

    /// Ends the sending side.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next response, which must come.
    pub(crate) async fn response(&mut self) -> Response {
        timeout(PATIENCE, self.read_response())
            .await
            .expect("no response in time")
            .expect("no whole response")
    }

    /// The next response up to its body, which need not follow.
    pub(crate) async fn head(&mut self) -> Response {
        timeout(PATIENCE, self.read_head()).await.expect("no response in time").expect("no whole response")
    }

    async fn read_response(&mut self) -> io::Result<Response> {
        let mut response = self.read_head().await?;
        let length = response.header("content-length").map_or(0, |value| value.parse::<usize>().unwrap());
        while self.unread.len() < length {
            self.read_more().await?;
        }
        response.body = String::from_utf8(self.unread.drain(..length).collect()).unwrap();
        Ok(response)
    }

    async fn read_head(&mut self) -> io::Result<Response> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Ok(Response { status, headers, body: String::new() })
    }

    async fn read_more(&mut self) -> io::Result<()> {
        let read = self.stream.read_buf(&mut self.unread).await?;
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// How the server ends the connection: in order, with how many more bytes, or with a reset.
    pub(crate) async fn end(&mut self) -> io::Result<usize> {
        let mut rest = std::mem::take(&mut self.unread);
        timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("the connection stays open")?;
        Ok(rest.len())
    }

    /// One request and its response, or what stood in the way, for a server that may go away.
    pub(crate) async fn try_exchange(&mut self, bytes: &[u8]) -> io::Result<Response> {
        let exchange = async {
            self.stream.write_all(bytes).await?;
            self.read_response().await
        };
        timeout(PATIENCE, exchange).await?
    }

    /// One request and its response.
    pub(crate) async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.send(bytes).await;
        self.response().await
    }
}

/// A request without a body.
pub(crate) fn request(method: &str, path: &str, headers: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").into_bytes()
}

/// A POST with a body; `headers` are whole lines.
pub(crate) fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = request("POST", path, &format!("content-length: {length}\r\n{headers}"));
    bytes.extend_from_slice(body);
    bytes
}
