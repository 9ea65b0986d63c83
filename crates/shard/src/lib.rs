//! The stages of a shard composed: `(state view, messages, now) -> effects`.

pub mod machine;
pub mod state;
