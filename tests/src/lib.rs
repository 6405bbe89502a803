//! Throw-away PostgreSQL clusters for the demo and the tests.
//!
//! [`Binaries::resolve`] finds a server, or fetches one; [`Cluster`] runs it in a temporary folder that
//! is gone when the process is, however that ends; [`Database`] gives each test a database of its own.
//!
//! ```
//! use bemi_tests::Database;
//!
//! let database = Database::create()?;
//! assert!(database.url().starts_with("postgres://postgres@127.0.0.1:"));
//! # Ok::<(), bemi_tests::Error>(())
//! ```
//!
//! Everything here blocks. It may be called from inside an async runtime, which then waits.

#![warn(clippy::pedantic)]

mod binaries;
mod cluster;
mod command;
mod database;
mod error;
mod fetch;
mod progress;

pub use binaries::{Binaries, MAJORS};
pub use cluster::{Builder, Cluster, Shutdown};
pub use database::Database;
pub use error::Error;

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The guide's programs compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../bemi-actix/docs/guide.md")]
struct Guide;
