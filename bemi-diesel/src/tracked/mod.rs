//! The past of a model: its history, its versions, and its rows as of an instant, as the model's own type.

mod as_of;
mod misfit;
mod reading;
mod version;

pub use as_of::AsOf;
pub use misfit::{MisfitError, Problem};
pub use reading::{bytea, from_text};
pub use version::{Version, Versions};

use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{QueryBuilder, QueryFragment};

use crate::JsonObject;
use crate::history::{History, Instant, Key, history};

/// What the code of `#[derive(Tracked)]` calls.
#[doc(hidden)]
pub mod private {
    pub use super::reading::{
        Column, Columns, deserializer, of_bytea, of_text, optional_of_bytea, optional_of_text,
        serde,
    };
    use super::{Key, Pg, QueryFragment, TrackedTable};

    /// The table that diesel calls `table`, in `schema` where diesel names none.
    #[must_use]
    pub fn table(
        table: &impl QueryFragment<Pg>,
        schema: &str,
        former_names: &'static [&'static str],
    ) -> TrackedTable {
        TrackedTable::of(table, schema, former_names)
    }

    /// The key that the columns `parts` make.
    #[must_use]
    pub fn key<const N: usize>(parts: [Key; N]) -> Key {
        Key::of_columns(parts)
    }
}

/// A model whose table is tracked. `#[derive(Tracked)]` implements it, for a struct that diesel's `Selectable`
/// or `Identifiable` fits.
///
/// ```no_run
/// use bemi_diesel::tracked::Version;
/// use bemi_diesel::{BemiConnection, Change, Tracked};
/// use diesel::prelude::*;
///
/// diesel::table! { todos { id -> Integer, title -> Text, priority -> Integer } }
///
/// #[derive(Queryable, Selectable, Identifiable, Tracked, Debug)]
/// struct Todo {
///     id: i32,
///     title: String,
///     #[tracked(default = 3)]
///     priority: i32,
/// }
///
/// # fn example(connection: &mut BemiConnection, todo: Todo) -> Result<(), Box<dyn std::error::Error>> {
/// let changes: Vec<Change> = todo.history().load(connection)?;
/// for version in Todo::versions(7).load(connection)? {
///     println!("{} {:?}", version.change.committed_at, version.row()?);
/// }
/// let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
/// let todos: Vec<Todo> = Todo::as_of(yesterday).load(connection)?;
/// let todo: Todo = Todo::as_of(yesterday).record(7).first(connection)?;
/// # Ok(())
/// # }
/// ```
///
/// The trail alone is asked, so the connection goes to the database that holds the changes, wherever that is.
///
/// # Tables, columns and keys
///
/// They are diesel's: `#[diesel(table_name = …)]`, else the struct's name in snake case with an `s`;
/// `#[diesel(column_name = …)]`, else the field's; `#[diesel(primary_key(…))]`, else `id`. It does not compile
/// where that is not the primary key of `table!`. Names that `table!` gives with `#[sql_name]` are known. A table for
/// which diesel knows no schema is that of `public`, or of another with `#[tracked(schema = "app")]` on the struct.
/// The type of a key's field is one that makes a [`Key`] by reference.
///
/// A partition is a table of its own in the trail, unless setup published through the root.
///
/// # How a row becomes a model
///
/// Each field is read from its column's value in the row's [image](crate::Change::after), by the
/// [`Deserialize`](serde::Deserialize) of the field's type; attributes of `serde` are the API's, and play no part.
/// What is not in the image is `None` for an `Option`. A field whose type is written `BigDecimal`, `Decimal` or
/// `Vec<u8>`, also in an `Option`, is read [from the digits](from_text) or as [`bytea`].
///
/// # When a past row does not fit today's struct
///
/// is told by a [`MisfitError`] that names the column. These read it all the same:
///
/// | | |
/// |---|---|
/// | `#[tracked(default)]`, `#[tracked(default = 3)]` | a column that was added since, or that could be `NULL` |
/// | `#[tracked(alias = "name")]`, repeatable | a column that had another name: it goes on a field |
/// | `#[tracked(alias = "tasks")]`, repeatable | a table that had another name: it goes on the struct. History and versions ask for both |
/// | `#[tracked(deserialize_with = path)]` | a column that had another type: the function is one as `serde` takes |
/// | `#[tracked(skip)]` | a field that is no column: it has its `Default` |
///
/// or the image as it is: [`Version::change`], [`AsOf::raw`], [`MisfitError::row`].
pub trait Tracked: Sized {
    /// The table, as the trail knows it.
    fn table() -> TrackedTable;

    /// The record's [primary key](crate::Change::primary_key).
    fn primary_key(&self) -> Key;

    /// The model that `row`, an image of a row of its table, is.
    ///
    /// # Errors
    ///
    /// When a column does not fit its field.
    fn from_row(row: &JsonObject) -> Result<Self, MisfitError>;

    /// Starts a question about the changes of this record.
    fn history(&self) -> History {
        Self::history_of(self.primary_key())
    }

    /// Starts a question about the changes of the record with this key.
    fn history_of(key: impl Into<Key>) -> History {
        history().of(&Self::table()).primary_key(key)
    }

    /// Asks for the record with this key after each of its changes. As every [`History`], without what is put
    /// aside: the version before such a change then seems to last until the one after it.
    fn versions(key: impl Into<Key>) -> Versions<Self> {
        Versions::new(key.into())
    }

    /// Asks for all records as of an instant; [`record`](AsOf::record) for one of them.
    fn as_of(instant: impl Into<Instant>) -> AsOf<Self> {
        AsOf::new(instant.into())
    }
}

/// The table of a [`Tracked`] model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedTable {
    schema: String,
    name: String,
    former_names: &'static [&'static str],
}

impl TrackedTable {
    fn of(
        table: &impl QueryFragment<Pg>,
        schema: &str,
        former_names: &'static [&'static str],
    ) -> Self {
        let mut sql = PgQueryBuilder::default();
        // Nothing but its name is written, which does not fail.
        let _written = table.to_sql(&mut sql, &Pg);
        let sql = sql.finish();
        let unquoted = |name: &str| name.replace("\"\"", "\"");
        let sql = sql.strip_prefix('"').unwrap_or(&sql);
        let sql = sql.strip_suffix('"').unwrap_or(sql);
        let (schema, name) = match sql.split_once("\".\"") {
            Some((schema, name)) => (unquoted(schema), unquoted(name)),
            None => (schema.to_owned(), unquoted(sql)),
        };
        Self {
            schema,
            name,
            former_names,
        }
    }

    /// Its schema.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name and those that it had before.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.name).chain(self.former_names.iter().copied())
    }
}
