//! Texts in the form in which they are compared: Unicode's canonical composition (NFC), so that one
//! letter has one spelling.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The text in NFC. Plain ASCII, and most text that people write, is in NFC already and is not
/// copied.
pub fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// An identity's value: in NFC, without blanks and format characters at its ends.
pub fn named(text: &str) -> Cow<'_, str> {
    match composed(text) {
        Cow::Borrowed(text) => Cow::Borrowed(bare(text)),
        Cow::Owned(text) => Cow::Owned(bare(&text).to_owned()),
    }
}

/// The internet domain that a text names: of an address its host, without `www.`, in lower case.
pub fn domain(text: &str) -> String {
    let lower: String = text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_lowercase();
    let rest = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    host.strip_prefix("www.").unwrap_or(host).trim_end_matches('.').to_owned()
}

fn bare(text: &str) -> &str {
    if text.is_ascii() {
        return text.trim();
    }
    text.trim_matches(|letter: char| letter.is_whitespace() || is_format(letter))
}

/// Unicode's general category Cf: invisible characters, such as the zero-width space and the
/// byte-order mark.
fn is_format(letter: char) -> bool {
    matches!(letter,
        '\u{AD}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}' | '\u{890}'..='\u{891}' | '\u{8E2}' | '\u{180E}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206F}' | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}' | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0001}' | '\u{E0020}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_domain_for_every_spelling_of_it() {
        let table = [
            ("townsend.example", "townsend.example"),
            ("https://www.Townsend.example/about?x#y", "townsend.example"),
            (" TOWNSEND.example. ", "townsend.example"),
            ("http://me@shop.townsend.example:8080", "shop.townsend.example"),
            ("pat@townsend.example", "townsend.example"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(domain(text), expected, "{text}");
            assert_eq!(domain(expected), expected, "{text}");
        }
    }
}
