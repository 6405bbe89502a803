//! The to-do list as people start it: the built program, real requests, real servers.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

mod bad_input;
mod failures;
mod once;
mod serving;
mod support;
