//! Reverts against real servers: what was, is again, or the plan says why not.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

mod conflicts;
mod connections;
mod drift;
mod histories;
mod order;
mod rows;
mod support;
