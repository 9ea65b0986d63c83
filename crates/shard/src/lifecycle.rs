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
use std::sync::Arc;

use millrace_model::{Schema, Text};
use millrace_segment::plan::{Prepared, Problems, Rules};
use millrace_segment::{Compiled, Settings, Status};

use crate::row::{DefinitionRow, VersionRow};

mod intake;

pub use intake::{Arrival, BATCH_WAIT_MS, Intake, Verdict};

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
    /// The name that the text bears.
    pub fn name(&self) -> &Text {
        &self.compiled.definition().name
    }

    /// The status that the text gives itself.
    pub fn status(&self) -> Status {
        self.compiled.definition().status
    }

    /// Whether its rule is evaluated.
    pub fn is_published(&self) -> bool {
        self.status() == Status::Published
    }
}

/// The definitions of a deployment, by name, and the rules of those that are published. A clone is
/// cheap: texts may be a megabyte.
#[derive(Clone)]
pub struct Definitions {
    in_force: BTreeMap<Text, Arc<Accepted>>,
    /// Drafts kept beside definitions in force.
    drafts: BTreeMap<Text, Arc<Accepted>>,
    rules: Rules,
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
    /// None.
    pub fn new(settings: &Settings) -> Definitions {
        Definitions {
            in_force: BTreeMap::new(),
            drafts: BTreeMap::new(),
            rules: Rules::new(settings),
        }
    }

    /// As stored: definitions in force, and their drafts. What these have in common with `before` is
    /// not planned again.
    ///
    /// # Errors
    /// Where those that are published conflict, as `Rules::change` says.
    pub fn stored(
        before: &Definitions,
        in_force: BTreeMap<Text, Accepted>,
        drafts: BTreeMap<Text, Accepted>,
        schema: &Schema,
    ) -> Result<Definitions, Problems> {
        let shared = |of: BTreeMap<Text, Accepted>| of.into_iter().map(|(name, accepted)| (name, Arc::new(accepted))).collect();
        let mut definitions = Definitions {
            in_force: shared(in_force),
            drafts: shared(drafts),
            rules: before.rules.clone(),
        };
        let gone = before.published().map(Accepted::name).filter(|name| definitions.published_as(name).is_none());
        let mut changes: BTreeMap<Text, Option<Prepared>> = gone.map(|name| (name.clone(), None)).collect();
        let new = definitions
            .published()
            .filter(|accepted| before.published_as(accepted.name()) != Some(&accepted.row.text));
        changes.extend(new.map(|accepted| (accepted.name().clone(), Some(accepted.compiled.clone().into()))));
        definitions.rules.change(changes, schema)?;
        Ok(definitions)
    }

    /// The same under other settings.
    ///
    /// # Errors
    /// Where those that are published conflict, as `Rules::change` says.
    pub fn under(mut self, settings: &Settings, schema: &Schema) -> Result<Definitions, Problems> {
        let published = self
            .published()
            .map(|accepted| (accepted.name().clone(), Some(accepted.compiled.clone().into())));
        let changes = published.collect();
        self.rules = Rules::new(settings);
        self.rules.change(changes, schema)?;
        Ok(self)
    }

    /// The rules of the published ones.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The text under a name, if it is published.
    fn published_as(&self, name: &str) -> Option<&String> {
        self.get(name).filter(|known| known.is_published()).map(|known| &known.row.text)
    }

    /// The definition in force under a name.
    pub fn get(&self, name: &str) -> Option<&Accepted> {
        self.in_force.get(name).map(Arc::as_ref)
    }

    /// The draft beside the definition in force under a name.
    pub fn draft(&self, name: &str) -> Option<&Accepted> {
        self.drafts.get(name).map(Arc::as_ref)
    }

    /// In ascending order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Accepted> {
        self.in_force.values().map(Arc::as_ref)
    }

    /// The rules that are evaluated.
    pub fn published(&self) -> impl Iterator<Item = &Accepted> {
        self.iter().filter(|accepted| accepted.is_published())
    }

    /// Puts arrivals in force together. Of several with one name the last counts.
    ///
    /// # Errors
    /// Where a rule conflicts with the others, as `Rules::change` says; then nothing changes.
    pub fn put(&mut self, arrivals: &[Arrival], schema: &Schema) -> Result<Vec<Taken>, Problems> {
        let taken: Vec<Taken> = arrivals.iter().map(|arrival| self.effect(arrival)).collect();
        let changed = arrivals.iter().zip(&taken).filter(|(_, taken)| **taken == Taken::Changed);
        let changes = changed.map(|(arrival, _)| (arrival.name.clone(), arrival.rule())).collect();
        self.rules.change(changes, schema)?;
        for (arrival, taken) in arrivals.iter().zip(&taken) {
            let Some(accepted) = &arrival.accepted else {
                self.drafts.remove(&arrival.name);
                self.in_force.remove(&arrival.name);
                continue;
            };
            if *taken == Taken::Nothing {
                continue;
            }
            let (name, accepted) = (arrival.name.clone(), Arc::clone(accepted));
            if self.goes_beside(&accepted) {
                self.drafts.insert(name, accepted);
            } else {
                self.drafts.remove(&name);
                self.in_force.insert(name, accepted);
            }
        }
        Ok(taken)
    }

    /// What an arrival changes if it is taken.
    fn effect(&self, arrival: &Arrival) -> Taken {
        let known = self.get(&arrival.name);
        let Some(accepted) = &arrival.accepted else {
            return match known {
                None => Taken::Nothing,
                Some(known) if known.is_published() => Taken::Changed,
                Some(_) => Taken::Noted,
            };
        };
        if self.draft(&arrival.name).or(known).is_some_and(|newest| newest.row.text == accepted.row.text) {
            return Taken::Nothing;
        }
        let after = accepted.is_published().then_some(&accepted.row.text);
        if self.goes_beside(accepted) || self.published_as(&arrival.name) == after {
            Taken::Noted
        } else {
            Taken::Changed
        }
    }

    /// Whether it is a draft of a name in force.
    fn goes_beside(&self, accepted: &Accepted) -> bool {
        accepted.status() == Status::Draft && self.get(accepted.name()).is_some_and(|known| known.status() != Status::Draft)
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
    use millrace_model::Timestamp;

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
        let schema = Schema::built_in().expect("the schemas of the build parse");
        let mut definitions = Definitions::new(&Settings::default());
        let take = |(at, step): (usize, &&str)| {
            let accepted = step.split_once(':').map(|(status, rule)| Arc::new(accepted(at as u64 + 1, status, rule)));
            let arrival = Arrival {
                name: "a".into(),
                version: at as u64 + 1,
                arrived_at: Timestamp(0),
                accepted,
                prepared: None,
                batch: None,
            };
            let mut verdicts = Intake::default().take(&mut definitions, arrival, &schema);
            verdicts.remove(0).1.expect("one rule conflicts with no other")
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
