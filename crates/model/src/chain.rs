//! An error with its causes, as a person reads it.

use std::error::Error;

/// An error and its causes on one line, the outermost first. A cause that the text ends with already is not said twice.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|layer| layer as &dyn Error)
        }
    }

    #[test]
    fn causes_follow_and_none_is_said_twice() {
        let io = || Some(Box::new(Layer("disk gone", None)));
        assert_eq!(chain(&Layer("state store", io())), "state store: disk gone");
        assert_eq!(chain(&Layer("cannot write: disk gone", io())), "cannot write: disk gone");
        let same = Layer("log", Some(Box::new(Layer("log", io()))));
        assert_eq!(chain(&same), "log: disk gone");
    }
}
