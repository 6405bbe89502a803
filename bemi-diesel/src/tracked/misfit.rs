//! What a past row lacks to be the model.

use std::fmt;

use crate::JsonObject;

/// A past row that does not fit today's struct. In diesel's errors it is the content of
/// `DeserializationError`.
///
/// Its text names the table, the column and the types, and no value.
///
/// ```
/// use bemi_diesel::tracked::MisfitError;
/// use diesel::result::Error;
///
/// fn misfit(error: &Error) -> Option<&MisfitError> {
///     match error {
///         Error::DeserializationError(inner) => inner.downcast_ref(),
///         _ => None,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MisfitError {
    /// The table, as `schema.table`.
    pub table: String,
    /// The column that the field is read from.
    pub column: &'static str,
    /// The field's type as the struct writes it.
    pub expected: &'static str,
    /// What there is in its place.
    pub problem: Problem,
    /// The whole row.
    pub row: JsonObject,
}

/// What is in the place of a value that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing: the row has no such column.
    Missing,
    /// `NULL`.
    Null,
    /// A value of this kind: `boolean`, `number`, `string`, `array` or `object`, as JSON has them.
    Unfit(&'static str),
}

impl Problem {
    /// The kind of value that the JSON `text` is.
    pub(super) fn of(text: &str) -> Self {
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Unfit("boolean"),
            Some(b'"') => Self::Unfit("string"),
            Some(b'[') => Self::Unfit("array"),
            Some(b'{') => Self::Unfit("object"),
            _ => Self::Unfit("number"),
        }
    }
}

impl fmt::Display for MisfitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            column,
            expected,
            problem,
            ..
        } = self;
        write!(
            f,
            "a past row of {table} does not fit: {column}, of type {expected}, "
        )?;
        match problem {
            Problem::Missing => f.write_str(
                "is not in it; #[tracked(default)] reads rows older than the column, #[tracked(alias = \"…\")] those in which it had another name",
            ),
            Problem::Null => f.write_str("is NULL in it; an Option or #[tracked(default)] reads it"),
            Problem::Unfit(kind) => write!(
                f,
                "cannot hold the {kind} in it; #[tracked(deserialize_with = …)] reads other types"
            ),
        }
    }
}

impl std::error::Error for MisfitError {}

impl From<MisfitError> for diesel::result::Error {
    fn from(error: MisfitError) -> Self {
        Self::DeserializationError(Box::new(error))
    }
}
