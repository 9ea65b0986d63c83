//! Field paths of records.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Text;

/// A dotted path of map fields, such as `person.name.firstName`. Invariant: at least one step, no
/// step empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path(Vec<Text>);

impl Path {
    /// `None` where a step is empty.
    pub fn parse(dotted: &str) -> Option<Path> {
        let steps: Vec<Text> = dotted.trim().split('.').map(Text::new).collect();
        (!steps.iter().any(|step| step.is_empty())).then_some(Path(steps))
    }

    /// The names of the fields, outermost first.
    pub fn steps(&self) -> &[Text] {
        &self.0
    }

    /// Whether this path is `other` or leads to a value that contains it.
    pub fn covers(&self, other: &Path) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}
