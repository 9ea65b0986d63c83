//! Requests written byte by byte, so that a test can also send what no client library would.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A server that is slower than this hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A request, sent over a connection of its own.
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// Without `host` (that of the address is sent unless one stands here) and `content-length`.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Request<'_> {
    /// # Errors
    /// Where there is no answer.
    pub fn send(&self, to: SocketAddr) -> io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let sent = stream.write_all(self.head(to).as_bytes()).and_then(|()| stream.write_all(self.body));
        // A server may answer before it has read a body that it refuses: the answer counts.
        let answer = read_answer(&mut stream);
        match (sent, answer) {
            (Err(error), Err(_)) => Err(error),
            (_, answer) => answer,
        }
    }

    /// The request up to its body.
    pub fn head(&self, to: SocketAddr) -> String {
        let named = |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", self.method, self.path);
        if !named("host") {
            head += &format!("host: {to}\r\n");
        }
        if !self.body.is_empty() || self.method != "GET" {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

/// Reads until the server closes the connection.
///
/// # Errors
/// Where the connection fails before a status came.
pub fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match (status, ended) {
        (Some(status), _) => Ok(Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("no answer: `{head}`"))),
    }
}

impl Answer {
    /// # Panics
    /// Where the status is another.
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        self
    }

    /// The body, which is one JSON value.
    ///
    /// # Panics
    /// Where it is none.
    pub fn json(&self) -> Value {
        let from = self.body.find(['{', '[']).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(&self.body[from..]).into_iter();
        match values.next() {
            Some(Ok(value)) => value,
            other => panic!("{other:?}: {}", self.body),
        }
    }
}
