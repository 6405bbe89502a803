//! A complete, context-aware audit trail of PostgreSQL for diesel.

#![warn(clippy::pedantic)]
#![allow(
    clippy::module_name_repetitions,
    reason = "`TransportError` reads better than `transport::Error`"
)]

mod change;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(any(feature = "sync", feature = "async"))]
mod connection;
mod context;
mod json;
mod lsn;
#[cfg(feature = "capture")]
mod pgoutput;
#[cfg(feature = "capture")]
mod replication;
mod scope;
#[cfg(feature = "capture")]
mod sink;
#[cfg(feature = "capture")]
mod stitch;
#[cfg(feature = "capture")]
mod value;

pub use change::{Change, Operation, ParseOperationError};
#[cfg(feature = "sync")]
pub use connection::BemiConnection;
#[cfg(feature = "async")]
pub use connection::{AsyncBemiConnection, AsyncTransactionBuilder};
pub use context::{Context, MAX_MESSAGE_BYTES, PREFIX, RESERVED_MEMBER, SQL_MEMBER};
pub use json::JsonObject;
pub use lsn::{Lsn, ParseLsnError, Xid};
pub use scope::{Scoped, SharedContext, current_context, scope, set_context, sync_scope};

/// What the code that `#[bemi_context]` writes calls. Not for people: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::scope::SharedContext;
}
