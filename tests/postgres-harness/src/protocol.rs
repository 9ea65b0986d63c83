//! PostgreSQL's protocol for simple queries.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Row;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Runs statements on a connection of its own, as the user `postgres`.
pub fn ask(address: SocketAddr, database: &str, statements: &str) -> Result<Vec<Row>, String> {
    let talk = || -> std::io::Result<Result<Vec<Row>, String>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let hello = [&[0, 3, 0, 0][..], b"user\0postgres\0database\0", database.as_bytes(), b"\0\0"].concat();
        stream.write_all(&sized(&hello))?;
        if let Err(refusal) = until_ready(&mut stream)? {
            return Ok(Err(refusal));
        }
        stream.write_all(b"Q")?;
        stream.write_all(&sized(&[statements.as_bytes(), b"\0"].concat()))?;
        until_ready(&mut stream)
    };
    talk().unwrap_or_else(|error| Err(error.to_string()))
}

/// A message with its length before it, which counts itself.
fn sized(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).expect("a short message");
    [&length.to_be_bytes()[..], content].concat()
}

/// Reads messages until the server waits for the next query: rows, or the text of an error.
fn until_ready(stream: &mut impl Read) -> std::io::Result<Result<Vec<Row>, String>> {
    let (mut rows, mut refusal) = (Vec::new(), None);
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let mut content = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
        stream.read_exact(&mut content)?;
        match kind {
            b'Z' => return Ok(refusal.map_or(Ok(rows), Err)),
            b'D' => rows.push(row(&content)),
            b'E' => {
                let text = String::from_utf8_lossy(&content).replace('\0', " ");
                if text.contains("FATAL") {
                    // The server ends the connection.
                    return Ok(Err(text));
                }
                refusal = Some(text);
            }
            _ => {}
        }
    }
}

/// The fields of a row: their number, then each with its length, which is -1 for null.
fn row(mut content: &[u8]) -> Row {
    let mut take = |count: usize| {
        let (taken, rest) = content.split_at(count);
        content = rest;
        taken
    };
    let count = u16::from_be_bytes(take(2).try_into().expect("two bytes"));
    let mut row = Row::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(take(4).try_into().expect("four bytes"));
        row.push(usize::try_from(length).ok().map(|length| String::from_utf8_lossy(take(length)).into_owned()));
    }
    row
}
