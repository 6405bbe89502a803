//! The `bemi` command as people and programs run it, against real servers.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

mod access;
mod as_of;
mod bad_input;
mod changes;
mod ddl;
mod diff;
mod export;
mod failover;
mod failpoints;
mod follow;
mod gap;
mod large;
mod life;
mod lost;
mod names;
mod network;
mod own_tables;
mod own_writes;
mod poison;
mod proxy;
mod revert;
mod rules;
mod servers;
mod settings;
mod setup;
mod shapes;
mod snapshot;
mod storm;
mod support;
mod tables;
mod terminal;
mod unreadable;
