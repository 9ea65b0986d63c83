//! Scenarios, one line a step.
