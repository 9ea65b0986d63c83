//! Text files as people and their programs write them.

/// Why bytes are not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    /// As some editors and shells save text by default.
    #[error("the file is UTF-16; save it as UTF-8")]
    Utf16,
    /// Not UTF-8 from this line on.
    #[error("line {line} is no UTF-8 text")]
    BadUtf8 {
        /// Counted from one.
        line: usize,
    },
}

impl From<NotText> for std::io::Error {
    fn from(error: NotText) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// The bytes of a file as text, without the byte-order mark that it may begin with.
///
/// # Errors
/// Where they are not UTF-8, with the line.
pub fn text_of(bytes: Vec<u8>) -> Result<String, NotText> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(NotText::Utf16);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(NotText::BadUtf8 { line })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_bad_bytes_are_named() {
        assert_eq!(text_of(b"\xEF\xBB\xBFa\r\n".to_vec()), Ok("a\r\n".to_owned()));
        assert_eq!(text_of(b"a\nb\n\xFF".to_vec()), Err(NotText::BadUtf8 { line: 3 }));
        assert_eq!(text_of(b"\xFF\xFEa\0".to_vec()), Err(NotText::Utf16));
        assert_eq!(text_of(Vec::new()), Ok(String::new()));
    }
}
