//! Errors with their causes: as a person reads them, and as an error type carries them.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

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

/// What lies under an error: what went wrong or what was being done, and the error that ended it where there is one. Clones share that error, so that one
/// failure can befall several.
#[derive(Clone, Debug)]
pub struct Cause {
    text: Arc<str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Cause {
    /// `doing` was ended by `source`: "cannot write x", and the disk's error.
    pub fn of(doing: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Cause {
        Cause {
            text: doing.into().into(),
            source: Some(Arc::new(source)),
        }
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Cause {
        Cause {
            text: text.into(),
            source: None,
        }
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Cause {
        Cause::from(text.to_owned())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Causes are equal that read alike.
impl PartialEq for Cause {
    fn eq(&self, other: &Cause) -> bool {
        chain(self) == chain(other)
    }
}

impl Eq for Cause {}

#[cfg(test)]
mod tests {
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
    fn a_cause_keeps_its_error() {
        let cause = Cause::of("cannot write x", Layer("disk gone", None));
        assert!(cause.source().is_some_and(|source| source.is::<Layer>()));
        assert_eq!(chain(&cause.clone()), "cannot write x: disk gone");
        assert_ne!(cause, Cause::from("cannot write x"));
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
