//! Row types: the values in the state store, and in the changelog, under the keys of `key`, by the
//! stage that writes them. Their bytes: `format`.

mod activation;
mod background;
mod definitions;
mod history;
mod kin;
mod ledger;
mod owner;
mod profile;
mod related;
mod resolve;
mod sequence;
mod subject;
mod tally;

pub use activation::{ActivatedRow, ActivationKey, ActivationRow};
pub use background::{BackfillRow, FanoutRow, ReviewRow};
pub use definitions::{ConfigurationRow, DefinitionRow, Revision, RevisionRow, VersionRow, WaitingRow};
pub use history::{ChoreRow, Departure};
pub use kin::{KinRow, KinState, KinTally};
pub use ledger::{EventCopy, EventLinkRow, KeptRow, LedgerRow, QueryRows};
pub use owner::{Arrival, AsideRow, FragmentRow, MovedRow, PartialArrival, RelationRow};
pub use profile::{ProfileRelation, ProfileRow};
pub use related::{AliasRow, Detail, Reach, RelatedChange, ReplicaRow, Standing, Unrest};
pub use resolve::{CarriedRow, NodeRow, RecordRow, Sequence};
pub use sequence::{SequenceRow, SequencedRow, WalkRow};
pub use subject::{ComputedRow, ComputedValue, ExitRow, Held, Membership, OwnFeature, SubjectRow, Timer};
pub use tally::{TalliedValueRow, TallyRow, VerdictRow};
