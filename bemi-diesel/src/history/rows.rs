//! Rows of the past as JSON, wherever their changes are stored.

use diesel::result::QueryResult;
use diesel::sql_query;

use super::answer::{AnswerRow, FactRow, ImageRow, read, read_one};
use super::ask::{self, Place, decide};
use super::facts::{Live, Moment, Stored, images};
use super::instant::Instant;
use super::key::Key;
use crate::JsonObject;

/// A question for the rows of a table as of an instant; [`rows_as_of`] makes one.
#[derive(Clone, Debug)]
#[must_use = "a question does nothing until it is loaded"]
pub struct RowsAsOf {
    table: String,
    instant: Instant,
    key: Option<Key>,
    database: Option<String>,
}

/// Asks for the rows of `table` (or `schema.table`) as of an instant, as their
/// [images](crate::Change::after) at that time.
///
/// It reads the trail alone, so it goes to the database that holds the changes, wherever that is, over any
/// connection of diesel's or diesel-async's. Where the captured database holds its own changes,
#[cfg_attr(
    feature = "sync",
    doc = "[`as_of`](crate::BemiConnection::as_of) shows the past in queries of all kinds."
)]
#[cfg_attr(
    not(feature = "sync"),
    doc = "`as_of` of the connection shows the past in queries of all kinds."
)]
///
/// Rows with a primary key come in the order of their keys. A partition is a table of its own. A table that is not
/// there any more is known up to its last change. Asked elsewhere than in the captured database, the trail does
/// not know whether a table was dropped, or made anew and not tracked.
///
/// ```no_run
/// # use bemi_diesel::history::rows_as_of;
/// # fn example(trail: &mut diesel::PgConnection) -> diesel::QueryResult<()> {
/// let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
/// let orders = rows_as_of("orders", yesterday).load(trail)?;
/// let order = rows_as_of("orders", yesterday).record(7).load(trail)?.pop();
/// # Ok(())
/// # }
/// ```
pub fn rows_as_of(table: &str, instant: impl Into<Instant>) -> RowsAsOf {
    RowsAsOf {
        table: table.to_owned(),
        instant: instant.into(),
        key: None,
        database: None,
    }
}

impl RowsAsOf {
    /// The row of one record alone: of two tables of one name, two.
    pub fn record(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Of the database `name`, where several keep their changes in one place.
    pub fn database(mut self, name: &str) -> Self {
        self.database = Some(name.to_owned());
        self
    }

    fn moment_query(&self) -> String {
        ask::moment(self.instant, Place::Stored(self.database.as_deref()))
    }

    fn moment(&self, answers: Vec<AnswerRow>) -> QueryResult<Moment> {
        let answers = answers.into_iter().map(Into::into).collect();
        Ok(decide(self.instant, answers)?)
    }

    fn rows_query(&self, moment: &Moment, stored: &[FactRow], live: &Live) -> QueryResult<String> {
        let stored: Vec<Stored> = read(stored)?;
        let key = self.key.as_ref().map(Key::as_str);
        Ok(images(moment, &self.table, (&stored, live), key)?)
    }

    /// Loads the rows.
    ///
    /// # Errors
    ///
    /// Those of diesel, and [`TravelError`](super::TravelError) inside `QueryBuilderError` for an instant
    /// that the trail does not cover.
    #[cfg(feature = "sync")]
    pub fn load<C>(&self, connection: &mut C) -> QueryResult<Vec<JsonObject>>
    where
        C: diesel::connection::LoadConnection<Backend = diesel::pg::Pg>,
    {
        use diesel::RunQueryDsl;

        let moment = self.moment(sql_query(self.moment_query()).load(connection)?)?;
        let live = sql_query(ask::live(&moment, &self.table)).get_result(connection)?;
        let live = read_one(&live)?;
        let stored = sql_query(ask::stored(&moment, &self.table, &live)).load(connection)?;
        let rows = self.rows_query(&moment, &stored, &live)?;
        let rows: Vec<ImageRow> = sql_query(rows).load(connection)?;
        Ok(rows.into_iter().map(|row| row.image).collect())
    }

    /// [Loads](Self::load) the rows over a connection of diesel-async's.
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(feature = "async")]
    pub async fn load_async<C>(&self, connection: &mut C) -> QueryResult<Vec<JsonObject>>
    where
        C: diesel_async::AsyncConnection<Backend = diesel::pg::Pg>,
    {
        use diesel_async::RunQueryDsl;

        let answers = sql_query(self.moment_query()).load(connection).await?;
        let moment = self.moment(answers)?;
        let live = sql_query(ask::live(&moment, &self.table))
            .get_result(connection)
            .await?;
        let live = read_one(&live)?;
        let stored = sql_query(ask::stored(&moment, &self.table, &live))
            .load(connection)
            .await?;
        let rows = self.rows_query(&moment, &stored, &live)?;
        let rows: Vec<ImageRow> = sql_query(rows).load(connection).await?;
        Ok(rows.into_iter().map(|row| row.image).collect())
    }
}
