//! The limits of one request, each with its reason. Refusals name the limit; `docs/security.md`
//! lists them.

use std::time::Duration;

use crate::access::{Body, Route};

/// A batch of records, or definitions that are applied together. Senders split: `millrace source
/// file` sends 4 MiB at a time.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// A definition: a rule of 1 MiB and the rest of the document.
pub const DEFINITION_BYTES_MAX: usize = 2 << 20;

/// One request replaces a whole audience: about two million members.
pub const IMPORT_BYTES_MAX: usize = 128 << 20;

/// A look-up names one person.
pub const LOOKUP_BYTES_MAX: usize = 64 << 10;

/// One record, one member. Brokers take no larger message by default.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Lines that are accepted or refused together; portions accepted before a failure stay.
pub const PORTION_LINES: usize = 1_000;
/// As `PORTION_LINES`, in bytes: JSON takes some thirty times its length in memory while it is
/// read.
pub const PORTION_BYTES: usize = 1 << 20;

/// Refused lines that an answer names; it counts the others.
pub const REJECTED_MAX: usize = 1_000;

/// Unknown fields that an answer names.
pub const UNKNOWN_FIELDS_MAX: usize = 1_000;

/// Members of one replacement, which are held in memory together.
pub const IMPORT_LINES_MAX: usize = 2_000_000;

/// Bodies in memory at a time, of all requests together.
pub const BODIES_BYTES_MAX: usize = 256 << 20;

/// Where no body is expected, one of this size is ignored: clients send `{}` with requests that
/// need nothing.
pub const IDLE_BYTES_MAX: usize = 1 << 10;

/// How long a body may take to arrive.
pub const BODY_WITHIN: Duration = Duration::from_secs(60);

/// The most bytes of a path and its query.
pub const URI_BYTES_MAX: usize = 8 << 10;

/// The most bytes of a body that a route takes.
pub fn body_bytes_max(route: &Route) -> usize {
    match route.body {
        Body::None => IDLE_BYTES_MAX,
        Body::Json | Body::Rows => LOOKUP_BYTES_MAX,
        Body::Definition => DEFINITION_BYTES_MAX,
        Body::Definitions => BODY_BYTES_MAX,
        Body::Lines if route.path.starts_with("/v1/audiences/") => IMPORT_BYTES_MAX,
        Body::Lines => BODY_BYTES_MAX,
    }
}
