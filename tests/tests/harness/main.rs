//! The harness itself, against real servers.

mod database;
mod environment;
mod lifecycle;
mod process;
mod sql;
