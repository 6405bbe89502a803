//! Why a stream makes no sense.

use std::fmt;

use crate::pgoutput::RelationId;

/// The messages come in an order that PostgreSQL does not send. Holds nothing of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StitchError {
    /// A transaction begins inside another.
    NestedTransaction,
    /// A commit, a row or a transactional message outside a transaction.
    NoTransaction,
    /// The commit is not the one that the transaction's begin announced.
    OtherCommit,
    /// A row of a table that was never described.
    UnknownRelation(RelationId),
    /// A row that has not the columns its table was described with.
    ColumnCount {
        /// The columns of the table.
        expected: usize,
        /// The columns of the row.
        found: usize,
    },
}

impl fmt::Display for StitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NestedTransaction => f.write_str("a transaction begins inside another one"),
            Self::NoTransaction => f.write_str("a change arrived outside a transaction"),
            Self::OtherCommit => f.write_str("a commit ends a transaction that is not its own"),
            Self::UnknownRelation(RelationId(oid)) => {
                write!(
                    f,
                    "a row of the table with oid {oid}, which was not described"
                )
            }
            Self::ColumnCount { expected, found } => write!(
                f,
                "a row with {found} columns of a table with {expected} columns"
            ),
        }
    }
}

impl std::error::Error for StitchError {}
