//! Quantities with their units, as operators write them: `30s`, `400d`, `64MiB`.

use std::time::Duration;

/// Reads `30s`, `5m`, `1h 30m`, `400d`.
///
/// # Errors
/// What was expected instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| format!("`{text}` is no duration; write a number with a unit, such as `50ms`, `30s`, `5m`, `12h` or `400d`"))
}

/// Reads `512`, `64KiB`, `64MiB`, `2GiB` and the decimal `kB`, `MB`, `GB`; upper or lower case.
///
/// # Errors
/// What was expected instead.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write a whole number with a unit, such as `512KiB`, `64MiB` or `2GiB`");
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        let table = [
            ("64MiB", Some(64 << 20)),
            ("8 kib", Some(8 << 10)),
            ("10MB", Some(10_000_000)),
            ("512", Some(512)),
            ("1.5GiB", None),
            ("MiB", None),
            ("64 miles", None),
            ("99999999999999GiB", None),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn reads_durations() {
        let table = [
            ("30s", Some(30_000)),
            ("400d", Some(400 * 86_400_000)),
            ("1h 30m", Some(5_400_000)),
            ("50ms", Some(50)),
            ("30", None),
            ("soon", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text).ok().map(|d| d.as_millis()), expected, "{text}");
        }
    }
}
