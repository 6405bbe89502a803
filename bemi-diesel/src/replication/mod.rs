//! The capture: from the replication connection into the sink.
//!
//! `transport` reads, `stitch` turns messages into changes, `session` decides what is stored and
//! acknowledged when, the sink stores; `task` only carries things from one to the next.

#[cfg(feature = "cli")]
pub(crate) mod baseline;
mod capture;
mod catalog;
mod guard;
mod handle;
mod measure;
#[cfg(feature = "__internals")]
mod nowhere;
#[cfg(feature = "cli")]
pub(crate) mod replay;
mod session;
mod standby;
mod storing;
mod stream;
mod task;
pub(crate) mod transport;
mod watch;

#[cfg(feature = "cli")]
pub(crate) use capture::start;
pub use capture::{Capture, CaptureBuilder};
pub use handle::{CaptureHandle, CaptureObserver, State, Status};
#[cfg(feature = "__internals")]
pub(crate) use nowhere::receive;
pub(crate) use session::resume;
#[cfg(feature = "cli")]
pub(crate) use task::Chain;
