//! Tables of comma-separated values, RFC 4180, read strictly: an unclosed quotation mark must not
//! swallow the rows after it.
//!
//! Libraries treat such a mark leniently: it reaches to the end of the file, without an error. Here
//! an invalid row ends with its first line and is reported by number, and the next line begins a
//! new row.

use anyhow::bail;
use millrace_config::NotText;

/// A row that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The number of its first line, from one on.
    pub line: u64,
    /// Its cells, or why it cannot be read.
    pub cells: Result<Vec<String>, String>,
}

/// The rows of a file.
///
/// # Errors
/// Where the file as a whole is not readable text.
pub fn rows(bytes: &[u8]) -> anyhow::Result<Vec<Row>> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        bail!(NotText::Utf16);
    }
    let mut rest = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut rows = Vec::new();
    let mut line = 1;
    while !rest.is_empty() {
        let first_end = line_end(rest);
        let (cells, used) = match row(rest) {
            Ok((cells, used)) => (texts(cells), used),
            Err(reason) => (Err(reason.to_owned()), first_end),
        };
        // A row over several lines of which one is not text ends with its first line as well.
        let used = if cells.is_err() { first_end } else { used };
        if cells.as_ref().map_or(true, |cells| cells.iter().any(|cell| !cell.trim().is_empty())) {
            rows.push(Row { line, cells });
        }
        line += rest[..used].iter().filter(|byte| **byte == b'\n').count() as u64;
        rest = &rest[used..];
    }
    Ok(rows)
}

/// Bytes up to the end of the line, its line break included.
fn line_end(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

fn texts(cells: Vec<Vec<u8>>) -> Result<Vec<String>, String> {
    cells
        .into_iter()
        .map(|cell| String::from_utf8(cell).map_err(|_| "no UTF-8 text".to_owned()))
        .collect()
}

/// The cells of the first row, and how many bytes it takes.
fn row(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, usize), &'static str> {
    let mut cells = Vec::new();
    let mut at = 0;
    loop {
        let (cell, end) = if bytes.get(at) == Some(&b'"') {
            quoted(bytes, at + 1)?
        } else {
            let length = bytes[at..].iter().position(|byte| matches!(byte, b',' | b'\n')).unwrap_or(bytes.len() - at);
            let cell = &bytes[at..at + length];
            if cell.contains(&b'"') {
                return Err("a quotation mark within a cell that does not begin with one");
            }
            (cell.to_vec(), at + length)
        };
        cells.push(cell);
        match &bytes[end..] {
            [b',', ..] => at = end + 1,
            [] | [b'\n', ..] => {
                // A line may end in CRLF.
                if let Some(last) = cells.last_mut()
                    && last.last() == Some(&b'\r')
                {
                    last.pop();
                }
                return Ok((cells, (end + 1).min(bytes.len())));
            }
            [b'\r', b'\n', ..] => return Ok((cells, end + 2)),
            [b'\r'] => return Ok((cells, end + 1)),
            _ => return Err("text after the closing quotation mark of a cell; a comma separates cells"),
        }
    }
}

/// A cell after its opening quotation mark, and where it ends.
fn quoted(bytes: &[u8], from: usize) -> Result<(Vec<u8>, usize), &'static str> {
    let mut cell = Vec::new();
    let mut at = from;
    loop {
        match &bytes[at..] {
            [] => return Err("a quotation mark that is never closed"),
            [b'"', b'"', ..] => {
                cell.push(b'"');
                at += 2;
            }
            [b'"', ..] => return Ok((cell, at + 1)),
            [byte, ..] => {
                cell.push(*byte);
                at += 1;
            }
        }
    }
}
