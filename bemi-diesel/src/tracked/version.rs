//! A record after each of its changes.

use std::marker::PhantomData;

use diesel::result::QueryResult;

use super::{MisfitError, Tracked};
use crate::history::{History, Key, history};
use crate::{Change, Operation};

/// A question for the versions of a record; [`Tracked::versions`] makes one.
#[derive(Clone, Debug)]
#[must_use = "a question does nothing until it is loaded"]
pub struct Versions<T> {
    key: Key,
    database: Option<String>,
    model: PhantomData<fn() -> T>,
}

/// A record after one of its changes, which is that until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version<T> {
    /// What made it, with its time, its context, and both rows as they are.
    pub change: Change,
    exists: bool,
    model: PhantomData<fn() -> T>,
}

impl<T: Tracked> Version<T> {
    /// The record, or `None` where the change ended it: a `DELETE`, a `TRUNCATE`, or an `UPDATE` that gave it
    /// another key.
    ///
    /// # Errors
    ///
    /// When the row does not fit the model.
    pub fn row(&self) -> Result<Option<T>, MisfitError> {
        let row = || T::from_row(&self.change.after);
        self.exists.then(row).transpose()
    }
}

impl<T: Tracked> Versions<T> {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            database: None,
            model: PhantomData,
        }
    }

    /// Of the database `name`, where several keep their changes in one place.
    pub fn database(self, name: &str) -> Self {
        Self {
            database: Some(name.to_owned()),
            ..self
        }
    }

    fn changes(&self) -> History {
        let changes = history().of(&T::table()).life_of(self.key.clone());
        match &self.database {
            Some(name) => changes.database(name),
            None => changes,
        }
    }

    fn read(self, changes: Vec<Change>) -> Vec<Version<T>> {
        let mut exists = false;
        let mut versions = Vec::with_capacity(changes.len());
        for change in changes {
            let ends = match change.operation {
                // The table was emptied; whether the record was in it, only its other changes tell.
                Operation::Truncate if !exists => continue,
                Operation::Truncate | Operation::Delete => true,
                _ => change.primary_key.as_deref() != Some(self.key.as_str()),
            };
            exists = !ends;
            versions.push(Version {
                change,
                exists,
                model: PhantomData,
            });
        }
        versions
    }

    /// Loads the versions, the first one first.
    ///
    /// # Errors
    ///
    /// Those of diesel.
    #[cfg(feature = "sync")]
    pub fn load<C>(self, connection: &mut C) -> QueryResult<Vec<Version<T>>>
    where
        C: diesel::connection::LoadConnection<Backend = diesel::pg::Pg>,
    {
        let changes = diesel::RunQueryDsl::load(self.changes(), connection)?;
        Ok(self.read(changes))
    }

    /// [Loads](Self::load) the versions over a connection of diesel-async's.
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(feature = "async")]
    pub async fn load_async<C>(self, connection: &mut C) -> QueryResult<Vec<Version<T>>>
    where
        C: diesel_async::AsyncConnection<Backend = diesel::pg::Pg>,
    {
        let changes = diesel_async::RunQueryDsl::load(self.changes(), connection).await?;
        Ok(self.read(changes))
    }
}
