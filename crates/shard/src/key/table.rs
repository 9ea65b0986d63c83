//! The tables by number: the byte of a key that says what its row is. Those from `DERIVED` (0x80)
//! on are derived from the others and not in the changelog.

/// The runtime's own: input positions and clock.
pub const META: u8 = 0x00;
/// resolve: every source record by kind and key.
pub const RECORD: u8 = 0x01;
/// identity writer: the graph, under keys of its own making.
pub const GRAPH: u8 = 0x04;

// By node, in the order of the rows: those that a visit reads come first, those that grow with
// history last.

/// Changes with every event of a subject. The first table, so that a look after one subject
/// finds the next.
pub const SUBJECT: u8 = 0x11;
/// The merged profile of a subject.
pub const PROFILE: u8 = 0x12;
/// resolve: routing of an identity node.
pub const NODE: u8 = 0x13;
/// The newest rows of event queries that keep a limited number, by the event types they ask
/// for.
pub const KEPT: u8 = 0x14;
/// How far events lead through a chain.
pub const SEQUENCE: u8 = 0x15;
/// An aggregate over an event query.
pub const TALLY: u8 = 0x16;
/// Values of a subject's computed attributes.
pub const COMPUTED: u8 = 0x17;
/// The destination identities that a subject counts for.
pub const ACTIVATED: u8 = 0x18;
/// The thing of a referenced node, as this shard knows it.
pub const ALIAS: u8 = 0x19;
/// A thing's features, as this shard knows them.
pub const REPLICA: u8 = 0x1a;
/// A source record's fragment, by subject and node.
pub const FRAGMENT: u8 = 0x1b;
/// A relation row attached to a node.
pub const ROW: u8 = 0x1c;
/// resolve: the claimants of an identity node.
pub const CLAIM: u8 = 0x1d;
/// Nodes that moved away.
pub const MOVED: u8 = 0x1e;
/// How many retained events of a home node carry another identity.
pub const EVENT_LINK: u8 = 0x1f;
/// Things that named this subject as their parent.
pub const CHILD: u8 = 0x20;
/// How often a value counts for a tally.
pub const TALLIED_VALUE: u8 = 0x21;
/// The progress of a chain after an instant, latest first.
pub const MILESTONE: u8 = 0x22;
/// An event of a chain, in order of time.
pub const SEQUENCED: u8 = 0x23;
/// An event of a query that keeps all of them.
pub const VERDICT: u8 = 0x24;
/// The event ledger.
pub const EVENT: u8 = 0x25;
/// The last exit of a subject from a segment, by the segment's name, until the subject enters
/// again.
pub const EXITED: u8 = 0x26;
/// resolve: what retained events of a home carry.
pub const CARRIED: u8 = 0x27;
/// Identities set aside that a node of a subject carries.
pub const ASIDE: u8 = 0x28;
/// The events of a long ledger by time.
pub const DATED: u8 = 0x29;
/// Aggregates over an account's children.
pub const KIN: u8 = 0x2a;

/// Fan-out jobs by node.
pub const FANOUT: u8 = 0x30;
/// The backfill's cursor.
pub const BACKFILL: u8 = 0x31;
/// The latest revision to which every subject has been brought.
pub const BACKFILLED: u8 = 0x32;
/// The cursor of a check of every home under changed guards.
pub const REVIEW: u8 = 0x33;
/// Work on long ledgers in portions, by subject.
pub const CHORE: u8 = 0x34;
/// The number of chores.
pub const CHORES: u8 = 0x35;
/// Members that hold a destination identity.
pub const ACTIVATION: u8 = 0x38;
/// The definition in force, by name.
pub const DEFINITION: u8 = 0x40;
/// Members per segment on this shard.
pub const AUDIENCE: u8 = 0x41;
/// The plan's revision and when each query was added.
pub const REVISION: u8 = 0x42;
/// The configuration that the rows were written under.
pub const CONFIGURATION: u8 = 0x43;
/// Versions of a definition, by name and number.
pub const VERSION: u8 = 0x44;
/// The draft of a definition in force, by name.
pub const DRAFT: u8 = 0x45;
/// The last record of the control topic that changed anything.
pub const CONTROL: u8 = 0x46;
/// Subjects of this shard.
pub const POPULATION: u8 = 0x47;
/// The last version of a deleted definition, by name: exits that its deletion causes carry it.
pub const RETIRED: u8 = 0x48;
/// Definitions that wait for the rest of their batch, by name.
pub const WAITING: u8 = 0x49;
/// Derived: wake-ups by instant.
pub const TIMER: u8 = 0x80;
/// Derived: subjects that refer to a node.
pub const DEPENDENT: u8 = 0x81;
/// Derived: nodes that are a thing.
pub const ALIAS_OF: u8 = 0x82;
/// Derived: members of a segment.
pub const MEMBER: u8 = 0x83;
/// Derived: verdicts of a tally by the instant at which they end.
pub const AGENDA: u8 = 0x84;
/// Derived: events of a chain by the instant at which time turns their verdict.
pub const TURN: u8 = 0x85;
