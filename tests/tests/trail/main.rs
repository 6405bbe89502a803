//! The whole path against real servers: a write, the log, the capture, and the row in `changes`.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

mod application;
mod asynchronous;
mod capture;
mod context;
mod faults;
mod foreign;
mod hostile;
mod images;
mod observed;
mod operations;
mod requests;
mod rows;
mod support;
mod writers;
