//! Why bytes are not a message.

use std::fmt;

use bytes::TryGetError;

/// The bytes are not a message of protocol version 1. Says what is wrong with the form; holds nothing
/// of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The frame ends inside the message.
    UnexpectedEnd,
    /// The frame goes on after the message.
    TrailingBytes,
    /// A tag that the protocol does not have in this place.
    UnknownTag {
        /// What the tag was to tell.
        what: &'static str,
        /// The tag.
        tag: u8,
    },
    /// A time that no calendar holds.
    TimestampOutOfRange,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("the pgoutput message ends early"),
            Self::TrailingBytes => f.write_str("bytes are left over after the pgoutput message"),
            Self::UnknownTag { what, tag } => {
                write!(f, "unknown {what} '{}' in pgoutput", tag.escape_ascii())
            }
            Self::TimestampOutOfRange => f.write_str("a time in pgoutput is out of range"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<TryGetError> for DecodeError {
    fn from(_: TryGetError) -> Self {
        Self::UnexpectedEnd
    }
}
