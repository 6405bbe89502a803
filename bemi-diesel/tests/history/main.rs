//! Asking the trail of a real PostgreSQL.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "diesel's macros write items without"
)]

mod as_of;
mod asynchronous;
mod at_least;
mod new_tables;
mod partitions;
mod questions;
mod support;
mod tracked;
mod truth;
