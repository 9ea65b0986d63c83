//! The CSV of bulk extract. Marketo writes an absent value as the bare word `null`; a quoted
//! `"null"` is a text. So quotes matter, and a reader must keep them.

/// One row, its cells, `None` where a value is absent.
pub type Row = Vec<Option<String>>;

/// Reads whole rows; returns them with the number of bytes they take. A row cut short by the end of
/// `bytes` is left, unless it is the `last` part.
///
/// # Errors
/// Where the bytes are not UTF-8 text.
pub fn rows(bytes: &[u8], last: bool) -> Result<(Vec<Row>, usize), std::str::Utf8Error> {
    let mut rows = Vec::new();
    let (mut row, mut cell, mut quoted, mut inside) = (Row::new(), Vec::new(), false, false);
    let (mut at, mut whole) = (0, 0);
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        match byte {
            b'"' if inside => match bytes.get(at) {
                Some(b'"') => {
                    cell.push(b'"');
                    at += 1;
                }
                // The quote may be the first half of a pair that the next part continues.
                None if !last => break,
                _ => inside = false,
            },
            b'"' if cell.is_empty() && !quoted => (inside, quoted) = (true, true),
            b',' if !inside => row.push(finish(&mut cell, &mut quoted)?),
            b'\n' if !inside => {
                row.push(finish(&mut cell, &mut quoted)?);
                rows.push(std::mem::take(&mut row));
                whole = at;
            }
            // Line ends may be CRLF; NUL occurs and has no meaning.
            b'\r' | 0 if !inside => {}
            0 => {}
            other => cell.push(other),
        }
    }
    if last && (whole < bytes.len()) {
        row.push(finish(&mut cell, &mut quoted)?);
        rows.push(row);
        whole = bytes.len();
    }
    Ok((rows, whole))
}

fn finish(cell: &mut Vec<u8>, quoted: &mut bool) -> Result<Option<String>, std::str::Utf8Error> {
    let text = std::str::from_utf8(cell)?.to_owned();
    cell.clear();
    let absent = !std::mem::take(quoted) && text == "null";
    Ok((!absent).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, last: bool) -> String {
        let (rows, bytes) = rows(text.as_bytes(), last).expect("UTF-8");
        format!("{rows:?} {bytes}")
    }

    #[test]
    fn quotes_line_ends_and_the_word_null() {
        let table = [
            ("1001,\"Jane\nDoe\",null,75\n", r#"[[Some("1001"), Some("Jane\nDoe"), None, Some("75")]] 24"#),
            ("\"null\",\"a \"\"b\"\"\",\r\n", r#"[[Some("null"), Some("a \"b\""), Some("")]] 19"#),
            ("1,2\n3,\"4", r#"[[Some("1"), Some("2")]] 4"#),
            ("1,\"2\"", "[] 0"),
            ("", "[] 0"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text, false), expected, "{text:?}");
        }
        assert_eq!(shown("1,null", true), r#"[[Some("1"), None]] 6"#);
    }

    #[test]
    fn a_file_in_parts_is_the_file() {
        let file = "id,name\n1,\"a\n\"\"b\"\"\"\n2,null\n3,\"ü,\"\n";
        let (whole, _) = rows(file.as_bytes(), true).expect("UTF-8");
        for size in 8..file.len() {
            let (mut from, mut read) = (0, Vec::new());
            let mut step = size;
            while from < file.len() {
                let end = (from + step).min(file.len());
                let (part, taken) = rows(&file.as_bytes()[from..end], end == file.len()).expect("rows end at character bounds");
                read.extend(part);
                from += taken;
                step = if taken == 0 { step * 2 } else { size };
            }
            assert_eq!(read, whole, "parts of {size}");
        }
    }
}
