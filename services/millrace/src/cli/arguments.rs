//! Arguments as people type them.

use std::ffi::OsString;

/// `millrace help segment apply` as `millrace segment apply --help`, `millrace version` as
/// `millrace --version`.
pub fn meant(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    match arguments.get(1).and_then(|first| first.to_str()) {
        Some("help") => {
            arguments.remove(1);
            arguments.push("--help".into());
        }
        Some("version") if arguments.len() == 2 => arguments[1] = "--version".into(),
        _ => {}
    }
    arguments
}

/// A number of things to list.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("nothing would be listed; at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("expected a whole number".to_owned()),
    }
}
