//! The messages of the `pgoutput` plugin, from bytes. Pure.
//!
//! Protocol version 1: transactions arrive whole, in the order of their commits, and values in their
//! text form. Messages of later versions (streamed or prepared transactions) and binary values are
//! errors, as the session never asks for them. The formats are those of the PostgreSQL manual,
//! [logical replication message formats].
//!
//! [`decode`] is total: any bytes give a message or a [`DecodeError`], never a panic, and what it
//! allocates is bounded by the frame's length. A row stays the slice it came in; see [`Tuple`].
//!
//! [logical replication message formats]: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html

#![warn(clippy::indexing_slicing)]
mod about;
mod cursor;
mod error;
mod message;
mod text;
mod tuple;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use cursor::Cursor;

pub(crate) use about::{About, about};
pub(crate) use error::DecodeError;
pub(crate) use message::{Begin, Commit, LogicalMessage, Message, Relation, RelationId};
#[cfg(any(test, feature = "cli"))]
pub(crate) use message::{Column, ReplicaIdentity};
pub(crate) use text::text;
pub(crate) use tuple::{OldTuple, Tuple, TupleColumn};

/// Seconds from the Unix epoch to 2000-01-01 00:00 UTC, from which PostgreSQL counts.
const POSTGRES_EPOCH: i64 = 946_684_800;

/// The message in the payload of one `XLogData`.
///
/// # Errors
///
/// When the payload is not exactly one message of protocol version 1: it ends early, goes on after
/// the message, or holds a tag or a time that the protocol does not know.
pub(crate) fn decode(data: Bytes) -> Result<Message, DecodeError> {
    let mut cursor = Cursor::new(data);
    let message = Message::decode(&mut cursor)?;
    cursor.finish()?;
    Ok(message)
}

/// The time that PostgreSQL writes as microseconds since 2000-01-01 00:00 UTC.
///
/// # Errors
///
/// When it is beyond what [`DateTime`] can hold (about 262,000 years either way).
pub(crate) fn timestamp(micros_since_2000: i64) -> Result<DateTime<Utc>, DecodeError> {
    DateTime::from_timestamp(POSTGRES_EPOCH, 0)
        .and_then(|epoch| epoch.checked_add_signed(TimeDelta::microseconds(micros_since_2000)))
        .ok_or(DecodeError::TimestampOutOfRange)
}

#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "__internals"))]
pub(crate) mod wire;
