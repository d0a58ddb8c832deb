//! Asks a node's admin API, over one connection that is kept. What the answers mean is elsewhere.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How large an answer may be, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a node's admin API says, by path.
pub trait Books {
    /// The answer to a question that must have one, as JSON; none where there is no such thing.
    ///
    /// # Errors
    /// It has none: in words, for people.
    fn read(&mut self, path: &str) -> Result<Option<serde_json::Value>, String>;
}

/// A node's admin API.
pub struct Admin {
    address: SocketAddr,
    token: Option<String>,
    connection: Option<BufReader<TcpStream>>,
}

impl Books for Admin {
    fn read(&mut self, path: &str) -> Result<Option<serde_json::Value>, String> {
        let (status, body) = self.get(path).map_err(|cause| format!("{}{path}: {cause}", self.address))?;
        match status {
            200 => serde_json::from_slice(&body).map(Some).map_err(|cause| format!("{path}: {cause}")),
            404 => Ok(None),
            401 => Err(format!("{path}: expected to be let in, found 401: set TOLLGATE_ADMIN_TOKEN")),
            other => Err(format!("{path}: expected 200 or 404, found {other}")),
        }
    }
}

impl Admin {
    /// The admin API at `address`, with the token that it wants, if any.
    #[must_use]
    pub const fn new(address: SocketAddr, token: Option<String>) -> Self {
        Self { address, token, connection: None }
    }

    /// The status and the body of the answer.
    ///
    /// # Errors
    /// The node cannot be reached, or what it says is no answer.
    pub fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        self.ask("GET", path, "")
    }

    /// The same of a change, with a body of JSON.
    ///
    /// # Errors
    /// As [`Admin::get`]; whether it was done is not known then.
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        self.ask("POST", path, body)
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        // A kept connection may have been closed meanwhile; a fresh one has no such excuse.
        if self.connection.is_some()
            && let Ok(answer) = self.exchange(method, path, body)
        {
            return Ok(answer);
        }
        self.connection = None;
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.connection = Some(BufReader::new(stream));
        self.exchange(method, path, body)
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let Some(connection) = &mut self.connection else { return Err(io::ErrorKind::NotConnected.into()) };
        let token = self.token.as_ref();
        let credentials =
            token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        let content = match body.len() {
            0 => String::new(),
            length => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
        };
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{credentials}{content}\r\n{body}", self.address);
        connection.get_mut().write_all(request.as_bytes())?;
        let mut line = || -> io::Result<String> {
            let mut line = String::new();
            if connection.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(line.trim_end().to_ascii_lowercase())
        };
        let odd =
            || io::Error::new(io::ErrorKind::InvalidData, "expected an HTTP answer with a content-length");
        let status: u16 = line()?.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(odd)?;
        let (mut length, mut closes) = (None, false);
        loop {
            let header = line()?;
            match header.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().ok(),
                Some(("connection", value)) => closes = value.trim() == "close",
                Some(_) => {}
                None => break,
            }
        }
        let length: usize = length.filter(|length| *length <= BODY_BYTES_MAX).ok_or_else(odd)?;
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        if closes {
            self.connection = None;
        }
        Ok((status, body))
    }
}
