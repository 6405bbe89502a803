//! Records as of an instant.

use std::marker::PhantomData;

use diesel::result::QueryResult;

use super::Tracked;
use crate::JsonObject;
use crate::history::{Instant, Key, RowsAsOf, rows_as_of};

/// A question for the records of a model as of an instant; [`Tracked::as_of`] makes one.
///
/// It is [`rows_as_of`] with rows that are the model's: what is said there of what it covers holds.
#[derive(Debug)]
#[must_use = "a question does nothing until it is loaded"]
pub struct AsOf<T> {
    rows: RowsAsOf,
    model: PhantomData<fn() -> T>,
}

impl<T> Clone for AsOf<T> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            model: PhantomData,
        }
    }
}

impl<T: Tracked> AsOf<T> {
    pub(super) fn new(instant: Instant) -> Self {
        let table = T::table();
        Self {
            rows: rows_as_of(&format!("{}.{}", table.schema(), table.name()), instant),
            model: PhantomData,
        }
    }

    /// One record alone.
    pub fn record(self, key: impl Into<Key>) -> Self {
        Self {
            rows: self.rows.record(key),
            ..self
        }
    }

    /// Of the database `name`, where several keep their changes in one place.
    pub fn database(self, name: &str) -> Self {
        Self {
            rows: self.rows.database(name),
            ..self
        }
    }

    /// The same question for the rows' images as they are: each is read by [`Tracked::from_row`].
    pub fn raw(self) -> RowsAsOf {
        self.rows
    }

    fn read(rows: &[JsonObject]) -> QueryResult<Vec<T>> {
        let rows = rows.iter().map(|row| T::from_row(row).map_err(Into::into));
        rows.collect()
    }

    /// Loads the records, in the order of their keys.
    ///
    /// # Errors
    ///
    /// Those of diesel, [`TravelError`](crate::history::TravelError) inside `QueryBuilderError` for an instant
    /// that the trail does not cover, and [`MisfitError`](super::MisfitError) inside `DeserializationError` for
    /// a row that does not fit.
    #[cfg(feature = "sync")]
    pub fn load<C>(&self, connection: &mut C) -> QueryResult<Vec<T>>
    where
        C: diesel::connection::LoadConnection<Backend = diesel::pg::Pg>,
    {
        Self::read(&self.rows.load(connection)?)
    }

    /// Loads the first record.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load), and diesel's `NotFound` where there was none.
    #[cfg(feature = "sync")]
    pub fn first<C>(&self, connection: &mut C) -> QueryResult<T>
    where
        C: diesel::connection::LoadConnection<Backend = diesel::pg::Pg>,
    {
        first(self.load(connection)?)
    }

    /// [Loads](Self::load) the records over a connection of diesel-async's.
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(feature = "async")]
    pub async fn load_async<C>(&self, connection: &mut C) -> QueryResult<Vec<T>>
    where
        C: diesel_async::AsyncConnection<Backend = diesel::pg::Pg>,
    {
        Self::read(&self.rows.load_async(connection).await?)
    }

    /// Loads the [first](Self::first) record over a connection of diesel-async's.
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(feature = "async")]
    pub async fn first_async<C>(&self, connection: &mut C) -> QueryResult<T>
    where
        C: diesel_async::AsyncConnection<Backend = diesel::pg::Pg>,
    {
        first(self.load_async(connection).await?)
    }
}

fn first<T>(rows: Vec<T>) -> QueryResult<T> {
    rows.into_iter()
        .next()
        .ok_or(diesel::result::Error::NotFound)
}
