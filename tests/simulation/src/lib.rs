//! The whole engine on the simulated log: see `tests/engine.rs`.
