//! What others need to know of the reader of JSON: its limit, in words, and its form of numbers.

use std::fmt;

/// The name under which `serde_json` passes a number with all its digits to other code, as a map
/// of one entry: a private name of that crate, and the only way to keep the digits.
pub const NUMBER: &str = "$serde_json::private::Number";

/// Objects and lists within each other that the reader takes: it walks them on the stack.
pub const LEVELS_MAX: usize = 127;

/// What a reader of JSON refused; of its own limit on levels it says no number.
pub fn unreadable(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    match text.strip_prefix("recursion limit exceeded") {
        Some(place) => format!("objects and lists stand in each other more than {LEVELS_MAX} levels deep{place}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_levels_is_named() {
        let read = |levels: usize| {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let read = serde_json::from_str::<serde_json::Value>(&text);
            read.map_or_else(|error| unreadable(&error), |_| "read".to_owned())
        };
        assert_eq!(read(LEVELS_MAX), "read");
        let refused = read(LEVELS_MAX + 1);
        assert!(
            refused.starts_with("objects and lists stand in each other more than 127 levels deep at line 1 column"),
            "{refused}"
        );
        let error = serde_json::from_str::<serde_json::Value>("{").map(drop).map_err(|error| unreadable(&error));
        assert_eq!(error, Err("EOF while parsing an object at line 1 column 1".to_owned()));
    }
}
