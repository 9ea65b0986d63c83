//! The life of definitions: how a record of the control topic changes a name.
//!
//! ```text
//!            draft            published / inactive             null
//! nothing ─────────▶ draft ─────────────────────────▶ in force ─────▶ nothing
//!                                                      │    ▲
//!                                                draft │    │ published / inactive
//!                                                      ▼    │
//!                                        in force, with a draft beside it
//! ```
//!
//! The definition in force under a name is its newest version that is not a draft, or a draft if
//! there never was another version. A draft under a name in force is kept beside it, and changes
//! nobody's membership. Any version that is not a draft replaces the draft.

use std::collections::BTreeMap;

use millrace_model::Text;
use millrace_segment::{Compiled, Status};

use crate::row::{DefinitionRow, VersionRow};

/// Versions of one name that are kept; the oldest beyond that is dropped, but never the one in
/// force. A bound: texts may be a megabyte.
pub const VERSIONS_MAX: usize = 20;

/// A definition with what is known of it.
#[derive(Clone)]
pub struct Accepted {
    /// The text, and when it was accepted.
    pub row: DefinitionRow,
    /// The rule that it states.
    pub compiled: Compiled,
}

impl Accepted {
    /// The status that the text gives itself.
    pub fn status(&self) -> Status {
        self.compiled.definition().status
    }
}

/// The definitions of a deployment, by name.
#[derive(Clone, Default)]
pub struct Definitions {
    in_force: BTreeMap<Text, Accepted>,
    /// Drafts kept beside definitions in force.
    drafts: BTreeMap<Text, Accepted>,
}

/// What a record of the control topic changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing: the newest version has this very text, or there was nothing to delete.
    Nothing,
    /// A version was added, and the published rules did not change.
    Noted,
    /// The published rules changed.
    Changed,
}

impl Definitions {
    /// As stored: definitions in force, and their drafts.
    pub fn stored(in_force: BTreeMap<Text, Accepted>, drafts: BTreeMap<Text, Accepted>) -> Definitions {
        Definitions { in_force, drafts }
    }

    /// The definition in force under a name.
    pub fn get(&self, name: &str) -> Option<&Accepted> {
        self.in_force.get(name)
    }

    /// The draft beside the definition in force under a name.
    pub fn draft(&self, name: &str) -> Option<&Accepted> {
        self.drafts.get(name)
    }

    /// In ascending order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Accepted> {
        self.in_force.values()
    }

    /// The rules that are evaluated.
    pub fn published(&self) -> impl Iterator<Item = &Accepted> {
        self.iter().filter(|accepted| accepted.status() == Status::Published)
    }

    /// Adds a version.
    pub fn put(&mut self, accepted: Accepted) -> Taken {
        let name = accepted.compiled.definition().name.clone();
        let known = self.in_force.get(&name);
        if self.drafts.get(&name).or(known).is_some_and(|newest| newest.row.text == accepted.row.text) {
            return Taken::Nothing;
        }
        if accepted.status() == Status::Draft && known.is_some_and(|known| known.status() != Status::Draft) {
            self.drafts.insert(name, accepted);
            return Taken::Noted;
        }
        let published = |of: &Accepted| (of.status() == Status::Published).then(|| of.row.text.clone());
        let changed = known.and_then(published) != published(&accepted);
        self.drafts.remove(&name);
        self.in_force.insert(name, accepted);
        if changed { Taken::Changed } else { Taken::Noted }
    }

    /// Deletes a name with all its versions.
    pub fn remove(&mut self, name: &str) -> Taken {
        self.drafts.remove(name);
        match self.in_force.remove(name) {
            None => Taken::Nothing,
            Some(known) if known.status() == Status::Published => Taken::Changed,
            Some(_) => Taken::Noted,
        }
    }

    /// The published rules that depend on a name, by `inSegment` or as a computed attribute, in
    /// ascending order.
    pub fn dependents(&self, name: &str) -> Vec<Text> {
        let named = |compiled: &Compiled| compiled.segments().iter().chain(compiled.attributes()).any(|(other, _)| other == name);
        let rests = |accepted: &&Accepted| named(&accepted.compiled);
        let found = self.published().filter(rests).map(|accepted| accepted.compiled.definition().name.clone());
        found.filter(|dependent| dependent != name).collect()
    }
}

/// The version of a name to drop after one more was added; `versions` ascending.
pub fn outdated(versions: &[u64], in_force: u64) -> Option<u64> {
    let oldest = versions.iter().copied().find(|version| *version != in_force);
    oldest.filter(|_| versions.len() > VERSIONS_MAX)
}

/// One kept version of a name.
#[derive(Clone)]
pub struct Version {
    /// As in `DefinitionRow`: it grows with every accepted change of the name.
    pub number: u64,
    /// The text, and when it was accepted.
    pub row: VersionRow,
    /// `None`: this program no longer reads the text.
    pub compiled: Option<Compiled>,
    /// Whether it is the version in force.
    pub in_force: bool,
}

/// Why there is no version to restore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVersion {
    /// Nothing was in force before.
    #[error("there is no version before the one in force; `--to` names another, `segment history` lists them")]
    NoneBefore,
    /// It never was, or is no longer kept.
    #[error("there is no version {0}; `segment history` lists those that are kept")]
    NotKept(u64),
    /// It is a draft.
    #[error("version {0} is a draft, which was never in force; apply its text with `status: published`")]
    Draft(u64),
    /// It is in force.
    #[error("version {0} is in force already")]
    InForce(u64),
    /// Its text does not compile under this release.
    #[error("this release does not read the text of version {0} any more; apply a text that it reads")]
    Unreadable(u64),
}

/// The version that a rollback restores: the requested one, otherwise the newest before the one in
/// force that is not a draft and differs from it.
///
/// # Errors
/// Where there is none.
pub fn to_restore(versions: &[Version], wanted: Option<u64>) -> Result<&Version, NoVersion> {
    let current = versions.iter().find(|version| version.in_force);
    let status = |version: &Version| version.compiled.as_ref().map(|compiled| compiled.definition().status);
    let Some(number) = wanted else {
        let other = |version: &&Version| current.is_none_or(|current| version.number < current.number && version.row.text != current.row.text);
        let mut before = versions
            .iter()
            .filter(other)
            .filter(|version| status(version).is_some_and(|status| status != Status::Draft));
        return before.next_back().ok_or(NoVersion::NoneBefore);
    };
    let version = versions.iter().find(|version| version.number == number).ok_or(NoVersion::NotKept(number))?;
    match status(version) {
        None => Err(NoVersion::Unreadable(number)),
        Some(Status::Draft) => Err(NoVersion::Draft(number)),
        Some(_) if version.in_force => Err(NoVersion::InForce(number)),
        Some(_) => Ok(version),
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::{Schema, Timestamp};

    use super::*;
    use crate::row::Revision;

    fn compiled(status: &str, rule: &str) -> (String, Compiled) {
        let text = format!("kind: Segment\nmetadata: {{ name: a }}\nspec: {{ status: {status}, pql: '{rule}' }}");
        let definition = millrace_segment::parse_definitions(&text).expect("the test's own text").remove(0);
        let schema = Schema::built_in().expect("the schemas of the build parse");
        let compiled = millrace_segment::compile(&definition, &schema).expect("the test's own rule");
        (text, compiled)
    }

    fn accepted(version: u64, status: &str, rule: &str) -> Accepted {
        let (text, compiled) = compiled(status, rule);
        Accepted {
            row: DefinitionRow {
                text,
                version,
                accepted_at: Timestamp(0),
            },
            compiled,
        }
    }

    /// Applies statuses one after the other, each `status:rule` or `-` for a deletion; returns the
    /// changes, and the final state.
    fn story(steps: &[&str]) -> (Vec<Taken>, Option<u64>, Option<u64>) {
        let mut definitions = Definitions::default();
        let take = |(at, step): (usize, &&str)| match step.split_once(':') {
            Some((status, rule)) => definitions.put(accepted(at as u64 + 1, status, rule)),
            None => definitions.remove("a"),
        };
        let taken = steps.iter().enumerate().map(take).collect();
        let version = |accepted: Option<&Accepted>| accepted.map(|accepted| accepted.row.version);
        (taken, version(definitions.get("a")), version(definitions.draft("a")))
    }

    #[test]
    fn what_comes_to_a_name() {
        use Taken::{Changed, Noted, Nothing};
        type Case<'a> = (&'a [&'a str], Vec<Taken>, Option<u64>, Option<u64>);
        let table: Vec<Case<'_>> = vec![
            (&["draft:true", "draft:false"], vec![Noted, Noted], Some(2), None),
            (&["draft:true", "published:true"], vec![Noted, Changed], Some(2), None),
            (&["published:true", "published:true"], vec![Changed, Nothing], Some(1), None),
            (&["published:true", "draft:false"], vec![Changed, Noted], Some(1), Some(2)),
            (
                &["published:true", "draft:false", "draft:false"],
                vec![Changed, Noted, Nothing],
                Some(1),
                Some(2),
            ),
            (
                &["published:true", "draft:false", "published:false"],
                vec![Changed, Noted, Changed],
                Some(3),
                None,
            ),
            (&["published:true", "draft:false", "published:true"], vec![Changed, Noted, Noted], Some(3), None),
            (
                &["published:true", "inactive:true", "draft:true"],
                vec![Changed, Changed, Noted],
                Some(2),
                Some(3),
            ),
            (
                &["draft:true", "inactive:true", "published:true", "-"],
                vec![Noted, Noted, Changed, Changed],
                None,
                None,
            ),
            (&["inactive:true", "-", "-"], vec![Noted, Noted, Nothing], None, None),
        ];
        for (steps, taken, in_force, draft) in table {
            assert_eq!(story(steps), (taken, in_force, draft), "{steps:?}");
        }
    }

    #[test]
    fn the_oldest_version_falls_out_unless_it_is_in_force() {
        let full: Vec<u64> = (1..=VERSIONS_MAX as u64).collect();
        let over: Vec<u64> = (1..=VERSIONS_MAX as u64 + 1).collect();
        assert_eq!((outdated(&full, 5), outdated(&over, 5), outdated(&over, 1)), (None, Some(1), Some(2)));
    }

    #[test]
    fn a_rollback_goes_to_the_last_other_rule_that_was_no_draft() {
        let version = |number, status, rule, in_force| {
            let (text, compiled) = compiled(status, rule);
            Version {
                number,
                row: VersionRow {
                    text,
                    accepted_at: Timestamp(0),
                    revision: Revision(number),
                },
                compiled: Some(compiled),
                in_force,
            }
        };
        let versions = [
            version(3, "published", "true", false),
            version(4, "draft", "b2b.personScore > 1", false),
            version(7, "published", "false", true),
            version(9, "draft", "b2b.personScore > 2", false),
        ];
        let number = |wanted| to_restore(&versions, wanted).map(|version| version.number);
        assert_eq!(number(None), Ok(3));
        assert_eq!(number(Some(3)), Ok(3));
        assert_eq!(number(Some(4)), Err(NoVersion::Draft(4)));
        assert_eq!(number(Some(5)), Err(NoVersion::NotKept(5)));
        assert_eq!(number(Some(7)), Err(NoVersion::InForce(7)));
        assert_eq!(to_restore(&versions[2..], None).map(|version| version.number), Err(NoVersion::NoneBefore));
    }
}
