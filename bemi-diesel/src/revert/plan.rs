//! What a revert would do, and what stands in its way.

use std::fmt;

use serde::Serialize;

use crate::JsonObject;

/// What a revert does, or would do: the rows in the order in which they are written, and what stands in
/// the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// How many changes of the trail are reverted.
    pub changes: usize,
    /// The rows to write. Several changes of one row have become one.
    pub rows: Vec<PlannedRow>,
    /// What does not fit what the trail says was left behind.
    pub conflicts: Vec<Conflict>,
    /// Rows that are already as they shall be.
    pub unchanged: usize,
}

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedRow {
    /// The schema the row lives in.
    pub schema: String,
    /// The table the row lives in.
    pub table: String,
    /// The row's key as text, as in [`Change::primary_key`](crate::Change::primary_key).
    pub primary_key: Option<String>,
    /// How it is written.
    pub action: Action,
    /// The row as it is now; `{}` where there is none.
    pub before: JsonObject,
    /// The row as it will be; `{}` where there will be none.
    pub after: JsonObject,
}

/// How a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum Action {
    /// It was deleted, and comes back.
    Insert,
    /// It was updated, and gets its earlier values.
    Update,
    /// It was created, and goes.
    Delete,
}

/// A row that cannot simply go back to what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Conflict {
    /// The schema of the table.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The row's key as text; `None` also where it is about the table.
    pub primary_key: Option<String>,
    /// What is wrong.
    #[serde(flatten)]
    pub kind: ConflictKind,
    /// What becomes of it.
    pub resolution: Resolution,
}

/// Why a row cannot simply go back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConflictKind {
    /// Somebody else has changed the row. Forced: only the columns that the reverted changes had
    /// changed go back.
    ChangedSince {
        /// The columns that are not as they were left.
        columns: Vec<String>,
    },
    /// The row has gone. Forced: it comes back.
    Gone,
    /// Another row has the key by now. Forced: if it is the primary key, that row is overwritten.
    KeyTaken {
        /// The unique index.
        constraint: String,
    },
    /// Rows that were made later refer to the row. Forced: the foreign key decides what becomes of them.
    Referenced {
        /// The table that refers to it.
        by: String,
        /// The foreign key.
        constraint: String,
    },
    /// The row refers to one that is gone. Cannot be forced.
    ReferenceMissing {
        /// The table that it refers to.
        to: String,
        /// The foreign key.
        constraint: String,
    },
    /// The trail does not hold the whole row, as the table was not `REPLICA IDENTITY FULL`. Cannot be
    /// forced.
    Incomplete,
    /// The trail may not know every row that a TRUNCATE took away: it has neither a baseline nor an
    /// earlier TRUNCATE of the table. Forced: those that it knows come back.
    NotCovered,
    /// The table is gone, or has another name. Cannot be forced.
    TableDropped,
    /// Columns with a value to put back are gone, or have another name. Forced: they are left out.
    ColumnDropped {
        /// The columns.
        columns: Vec<String>,
    },
    /// Columns that were added since must have a value, and have no default. Cannot be forced.
    ColumnRequired {
        /// The columns.
        columns: Vec<String>,
    },
    /// An UPDATE cannot set a `GENERATED ALWAYS` identity column. Cannot be forced.
    IdentityAlways {
        /// The column.
        column: String,
    },
    /// After all was written, the row was not what it should be: a trigger or a rule has its own mind, or
    /// a column has another type by now. Found only when the revert is applied. Forced: it stays as it
    /// came out.
    Rewritten {
        /// The columns that differ; empty where there is a row that should not be, or none.
        columns: Vec<String>,
    },
}

/// What becomes of a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resolution {
    /// Nothing is reverted.
    Abort,
    /// This row is left alone.
    Skip,
    /// The row is written all the same.
    Force,
}

/// What to do about conflicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnConflict {
    /// Revert nothing.
    #[default]
    Abort,
    /// Leave the rows in conflict alone, and revert the others.
    Skip,
    /// Write them all the same, as [`ConflictKind`] tells. What cannot be forced still reverts nothing.
    Force,
}

impl OnConflict {
    pub(super) fn resolve(self, kind: &ConflictKind) -> Resolution {
        match self {
            Self::Skip => Resolution::Skip,
            Self::Force if kind.can_be_forced() => Resolution::Force,
            Self::Abort | Self::Force => Resolution::Abort,
        }
    }
}

impl Plan {
    /// Whether it would be carried out: no conflict stands in the way.
    #[must_use]
    pub fn is_applicable(&self) -> bool {
        !self
            .conflicts
            .iter()
            .any(|conflict| conflict.resolution == Resolution::Abort)
    }
}

impl ConflictKind {
    /// Whether [`OnConflict::Force`] gets over it.
    #[must_use]
    pub fn can_be_forced(&self) -> bool {
        match self {
            Self::ChangedSince { .. }
            | Self::Gone
            | Self::Referenced { .. }
            | Self::NotCovered
            | Self::ColumnDropped { .. }
            | Self::Rewritten { .. } => true,
            // Of the primary key alone, which is seen where it is resolved.
            Self::KeyTaken { .. }
            | Self::ReferenceMissing { .. }
            | Self::Incomplete
            | Self::TableDropped
            | Self::ColumnRequired { .. }
            | Self::IdentityAlways { .. } => false,
        }
    }
}

impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangedSince { columns } => write!(f, "changed since: {}", columns.join(", ")),
            Self::Gone => f.write_str("the row has gone"),
            Self::KeyTaken { constraint } => write!(f, "another row has its key ({constraint})"),
            Self::Referenced { by, constraint } => {
                write!(f, "rows of {by} refer to it ({constraint})")
            }
            Self::ReferenceMissing { to, constraint } => {
                write!(
                    f,
                    "the row of {to} that it refers to is gone ({constraint})"
                )
            }
            Self::Incomplete => f.write_str(
                "the trail does not hold the whole row: the table was not REPLICA IDENTITY FULL",
            ),
            Self::NotCovered => f.write_str("the trail may not know every row that was truncated"),
            Self::TableDropped => f.write_str("there is no such table any more"),
            Self::ColumnDropped { columns } => {
                write!(f, "no such column any more: {}", columns.join(", "))
            }
            Self::ColumnRequired { columns } => write!(
                f,
                "columns added since want a value: {}",
                columns.join(", ")
            ),
            Self::IdentityAlways { column } => write!(
                f,
                "the identity column {column} is GENERATED ALWAYS, which no UPDATE can set"
            ),
            Self::Rewritten { columns } if columns.is_empty() => {
                f.write_str("a trigger or a rule undid it")
            }
            Self::Rewritten { columns } => {
                write!(
                    f,
                    "a trigger, a rule or a new type made something else of {}",
                    columns.join(", ")
                )
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        })
    }
}
