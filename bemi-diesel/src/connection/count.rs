//! How many rows a statement changed, and how many parameters it has.

use diesel::deserialize::FromSql;
use diesel::pg::Pg;
use diesel::result::{Error, QueryResult};
use diesel::row::{Field, Row};
use diesel::sql_types::BigInt;

/// What the one row of a [`Counted`](super::tagged::Counted) statement says.
pub(super) fn changed<'a>(row: Option<QueryResult<impl Row<'a, Pg>>>) -> QueryResult<usize> {
    let row = row.ok_or(Error::NotFound)??;
    let count = row.get(0).ok_or(Error::NotFound)?;
    let count = <i64 as FromSql<BigInt, Pg>>::from_nullable_sql(count.value())
        .map_err(Error::DeserializationError)?;
    usize::try_from(count).map_err(|error| Error::DeserializationError(error.into()))
}

/// Whether more parameters can be bound to a `T` than its text uses: raw SQL is what the application
/// made of it.
#[cfg(feature = "sync")]
pub(super) fn binds_freely<T>() -> bool {
    std::any::type_name::<T>().contains("::sql_query::")
}
