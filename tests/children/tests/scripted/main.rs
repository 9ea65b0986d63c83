//! Sources that run the scripted program as a real child process, on a simulated log.

mod behaviour;
mod stage;
mod storm;
