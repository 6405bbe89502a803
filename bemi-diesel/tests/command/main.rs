//! The `bemi` command as people and programs run it, against real servers.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

mod bad_input;
mod changes;
mod life;
mod setup;
mod support;
