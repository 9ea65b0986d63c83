//! Files given to commands: whole texts, and lines one after the other. A byte-order mark and CRLF
//! are accepted; an unreadable line is reported by number.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;
use millrace_config::{NotText, text_of};

/// A longer line is not a record: the API takes no larger body. It is skipped, and reported.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// The text of a file, or of standard input where it is called `-`.
pub fn read_text(file: &Path) -> anyhow::Result<String> {
    let bytes = read_bytes(file)?;
    text_of(bytes).with_context(|| unreadable(file))
}

/// The bytes of a file, or of standard input where it is called `-`.
pub fn read_bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(file)?.read_to_end(&mut bytes).with_context(|| unreadable(file))?;
    Ok(bytes)
}

/// A file, or standard input where it is called `-`.
pub fn open(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).with_context(|| unreadable(file))?;
    Ok(Box::new(BufReader::with_capacity(1 << 16, opened)))
}

/// How a file is called in messages.
pub fn name(file: &Path) -> String {
    if file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

fn unreadable(file: &Path) -> String {
    format!("cannot read {}", name(file))
}

/// A line, or why it cannot be read.
pub type Line = Result<String, String>;

/// Lines with their numbers, from one on, without their ends. Ends with the first failed read.
pub struct Lines<R> {
    reader: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R) -> Lines<R> {
        Lines { reader, number: 0 }
    }

    /// The next line as is, at most a byte more than the limit; `None` at the end.
    fn bytes(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if line.len() > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            self.skip_line()?;
        }
        Ok((read > 0).then_some(line))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let held = self.reader.fill_buf()?;
            let end = held.iter().position(|byte| *byte == b'\n');
            let (used, done) = end.map_or((held.len(), held.is_empty()), |at| (at + 1, true));
            self.reader.consume(used);
            if done {
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> io::Result<Option<(u64, Line)>> {
        let Some(mut bytes) = self.bytes()? else { return Ok(None) };
        self.number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if bytes.len() > LINE_BYTES_MAX {
            return Ok(Some((self.number, Err(format!("longer than {} MiB", LINE_BYTES_MAX >> 20)))));
        }
        if self.number > 1 {
            let line = String::from_utf8(bytes).map_err(|error| format!("no UTF-8 text from byte {} on", error.utf8_error().valid_up_to() + 1));
            return Ok(Some((self.number, line)));
        }
        match text_of(bytes) {
            Err(error @ NotText::Utf16) => Err(error.into()),
            read => Ok(Some((1, read.map_err(|_| "no UTF-8 text".to_owned())))),
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<(u64, Line)>;

    fn next(&mut self) -> Option<io::Result<(u64, Line)>> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_said_once() {
        let error = format!("{:#}", read_text(Path::new("/nowhere/at-all.yaml")).unwrap_err());
        assert_eq!(error.matches("cannot read /nowhere/at-all.yaml").count(), 1, "{error}");
    }

    #[test]
    fn lines_as_programs_write_them() {
        let shown = |bytes: &[u8]| -> Vec<String> {
            Lines::new(bytes)
                .map(|line| match line {
                    Ok((number, Ok(text))) => format!("{number} {text}"),
                    Ok((number, Err(reason))) => format!("{number} ! {reason}"),
                    Err(error) => error.to_string(),
                })
                .take(4)
                .collect()
        };
        for (bytes, expected) in [
            (&b"\xEF\xBB\xBFa\r\n\r\nb"[..], &["1 a", "2 ", "3 b"][..]),
            (b"a\n\xFFb\nc\n", &["1 a", "2 ! no UTF-8 text from byte 1 on", "3 c"]),
            (b"", &[]),
        ] {
            assert_eq!(shown(bytes), expected);
        }
        assert_eq!(shown(b"\xFF\xFEa\0")[0], "the file is UTF-16; save it as UTF-8");
        let long = [vec![b'x'; LINE_BYTES_MAX + 5], b"\nb\n".to_vec()].concat();
        assert_eq!(shown(&long), ["1 ! longer than 16 MiB", "2 b"]);
    }
}
