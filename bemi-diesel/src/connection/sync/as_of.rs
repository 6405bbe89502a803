//! Looking at the past through the wrapped `PgConnection`.

use diesel::connection::{Connection, SimpleConnection};
use diesel::result::{Error, QueryResult};
use diesel::{RunQueryDsl, sql_query};

use super::BemiConnection;
use crate::history::{
    AnswerRow, DEPARTURE, FactRow, Instant, Place, Travel, decide, facts, moment, read,
};

impl BemiConnection {
    /// Runs `f`, in which every query through this connection reads the tables as they were at `instant`.
    ///
    /// The queries stay as they are: filters, joins, aggregates, `Selectable`, SQL of one's own. All
    /// tables are as of the same instant, a state that the database had between two commits. Nothing is
    /// written for it.
    ///
    /// ```no_run
    /// # use bemi_diesel::BemiConnection;
    /// # use diesel::prelude::*;
    /// # diesel::table! { todos { id -> Integer, completed -> Bool } }
    /// # fn example(connection: &mut BemiConnection) -> QueryResult<()> {
    /// let tuesday = chrono::Utc::now() - chrono::TimeDelta::days(3);
    /// let open: i64 = connection.as_of(tuesday, |connection| {
    ///     todos::table.filter(todos::completed.eq(false)).count().get_result(connection)
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - The database must be captured into itself. Where the changes are stored elsewhere, ask there with
    ///   [`rows_as_of`](crate::history::rows_as_of).
    /// - `f` runs in a transaction that is read-only, or in a savepoint of the one that is open, and the
    ///   role must be able to read `public.changes` and bemi's other tables. Row-level security of the
    ///   tables does not apply to what `changes` holds.
    /// - A column that the table did not have then is its default, or `NULL`; one that was renamed since
    ///   is `NULL`. A generated column is computed anew. An update that was left out because it changed
    ///   [ignored](crate::CaptureBuilder::ignore) columns alone is not seen.
    /// - A partitioned table has the partitions that it had then, those that were dropped since included. What rewrites
    ///   rows without changing them is in no log: a column that was added with a default that differs from row to row is
    ///   `NULL` in those rows, and a type that was changed by `USING` reads the old value. So is a TRUNCATE of a single
    ///   partition where the table is
    ///   [published for its partitions](crate::CaptureBuilder::publish_via_partition_root).
    /// - A time means every commit up to it, by the source's clock.
    /// - Each query makes the rows of its tables anew: of one record in a large table ask with
    ///   [`rows_as_of(…).record(key)`](crate::history::RowsAsOf::record).
    /// - Tables of the system, temporary tables and bemi's own are those of the present, and so is what
    ///   goes through [`inner_mut`](Self::inner_mut).
    ///
    /// # Errors
    ///
    /// Those of `f` and of diesel, and [`TravelError`](crate::history::TravelError) inside
    /// [`Error::QueryBuilderError`]: for an instant that the trail does not cover, for a statement that
    /// writes, and for one that would read the present (views, functions that are not `IMMUTABLE`).
    pub fn as_of<R, E>(
        &mut self,
        instant: impl Into<Instant>,
        f: impl FnOnce(&mut Self) -> Result<R, E>,
    ) -> Result<R, E>
    where
        E: From<Error>,
    {
        let instant = instant.into();
        let outer = self.travel.take();
        let result = self.transaction(|connection| {
            let travel = connection.depart(instant)?;
            connection.travel = Some(Box::new(travel));
            let result = f(connection);
            connection.travel = None;
            result
        });
        self.travel = outer;
        result
    }

    fn depart(&mut self, instant: Instant) -> QueryResult<Travel> {
        self.inner.batch_execute(DEPARTURE)?;
        let answers: Vec<AnswerRow> =
            sql_query(moment(instant, Place::Here)).load(&mut self.inner)?;
        let answers = answers.into_iter().map(Into::into).collect();
        let moment = decide(instant, answers)?;
        let facts: Vec<FactRow> = sql_query(facts(&moment)).load(&mut self.inner)?;
        Ok(Travel::new(moment, read(&facts)?))
    }
}
