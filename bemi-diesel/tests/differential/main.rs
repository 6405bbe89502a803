//! The wrapped connections do what the plain ones do, step by step.
//!
//! A program is a list of [`Step`]s. It runs on a plain and on a wrapped connection, each with a
//! database of its own in one cluster, and gives the same results, the same errors and the same rows.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "diesel's macros write items without"
)]

mod cancelled;
mod generated;
mod objects;
mod pitfalls;
mod proxy;
mod round_trips;
mod run;
mod schema;
mod statements;
mod step;
mod transactions;

use run::same;
use step::Step;
