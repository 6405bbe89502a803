//! Why a stream makes no sense.

use std::fmt;

use crate::pgoutput::{DecodeError, RelationId};

/// The messages come in an order that PostgreSQL does not send, or a row makes no sense. Holds nothing of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StitchError {
    /// A transaction begins inside another.
    NestedTransaction,
    /// A commit, a row or a transactional message outside a transaction.
    NoTransaction,
    /// The commit is not the one that the transaction's begin announced.
    OtherCommit,
    /// A message that cannot be decoded, and does not tell of which table it is.
    NoRow,
    /// A row of a table that was never described.
    UnknownRelation(RelationId),
    /// A row of a table whose description cannot be decoded.
    Undescribed(DecodeError),
    /// A row that takes more as JSON than a server takes at once.
    TooLarge {
        /// What it takes.
        bytes: usize,
    },
    /// A row that has not the columns its table was described with.
    ColumnCount {
        /// The columns of the table.
        expected: usize,
        /// The columns of the row.
        found: usize,
    },
}

impl StitchError {
    /// Whether it is about one row alone, and not about the stream.
    pub(crate) fn is_of_a_row(self) -> bool {
        match self {
            Self::NestedTransaction | Self::NoTransaction | Self::OtherCommit | Self::NoRow => {
                false
            }
            Self::UnknownRelation(_)
            | Self::Undescribed(_)
            | Self::TooLarge { .. }
            | Self::ColumnCount { .. } => true,
        }
    }
}

impl fmt::Display for StitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NestedTransaction => f.write_str("a transaction begins inside another one"),
            Self::NoTransaction => f.write_str("a change arrived outside a transaction"),
            Self::OtherCommit => f.write_str("a commit ends a transaction that is not its own"),
            Self::NoRow => f.write_str("it does not tell which row it is of"),
            Self::UnknownRelation(RelationId(oid)) => {
                write!(
                    f,
                    "a row of the table with oid {oid}, which was not described"
                )
            }
            Self::Undescribed(error) => {
                write!(
                    f,
                    "a row of a table whose description cannot be read: {error}"
                )
            }
            Self::TooLarge { bytes } => write!(f, "a row that takes {bytes} bytes as JSON"),
            Self::ColumnCount { expected, found } => write!(
                f,
                "a row with {found} columns of a table with {expected} columns"
            ),
        }
    }
}

impl std::error::Error for StitchError {}
