//! Looking at the past through the wrapped `AsyncPgConnection`.

use diesel::result::{Error, QueryResult};
use diesel::sql_query;
use diesel_async::{
    AnsiTransactionManager, RunQueryDsl, SimpleAsyncConnection, TransactionManager,
};

use super::AsyncBemiConnection;
use super::transaction_builder::SendBody;
use crate::history::{
    AnswerRow, DEPARTURE, FactRow, Instant, Place, Travel, decide, facts, moment, read,
};

impl AsyncBemiConnection {
    /// Runs `f`, in which every query through this connection reads the tables as they were at `instant`.
    ///
    #[cfg_attr(
        feature = "sync",
        doc = "[`BemiConnection::as_of`](crate::BemiConnection::as_of) tells what that means, what it needs and what"
    )]
    #[cfg_attr(
        not(feature = "sync"),
        doc = "`BemiConnection::as_of` tells what that means, what it needs and what"
    )]
    /// it refuses.
    ///
    /// ```no_run
    /// # use bemi_diesel::AsyncBemiConnection;
    /// # use diesel::prelude::*;
    /// # use diesel_async::RunQueryDsl;
    /// # diesel::table! { todos { id -> Integer, completed -> Bool } }
    /// # async fn example(connection: &mut AsyncBemiConnection) -> diesel::QueryResult<()> {
    /// let tuesday = chrono::Utc::now() - chrono::TimeDelta::days(3);
    /// let open: i64 = connection
    ///     .as_of(tuesday, async |connection| {
    ///         todos::table.filter(todos::completed.eq(false)).count().get_result(connection).await
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `f` and of diesel, and [`TravelError`](crate::history::TravelError) inside
    /// [`Error::QueryBuilderError`].
    pub async fn as_of<R, E, F>(&mut self, instant: impl Into<Instant>, f: F) -> Result<R, E>
    where
        F: for<'r> AsyncFnOnce(&'r mut Self) -> Result<R, E>
            + for<'r> SendBody<&'r mut Self, Result<R, E>>
            + Send,
        E: From<Error>,
    {
        let instant = instant.into();
        let outer = self.travel.take();
        let result = self.journey(instant, f).await;
        self.travel = outer;
        result
    }

    async fn journey<R, E, F>(&mut self, instant: Instant, f: F) -> Result<R, E>
    where
        F: for<'r> SendBody<&'r mut Self, Result<R, E>>,
        E: From<Error>,
    {
        AnsiTransactionManager::begin_transaction(&mut *self).await?;
        let result = match self.depart(instant).await {
            Ok(travel) => {
                self.travel = Some(Box::new(travel));
                let result = f(&mut *self).await;
                self.travel = None;
                result
            }
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(value) => {
                AnsiTransactionManager::commit_transaction(&mut *self).await?;
                Ok(value)
            }
            Err(error) => {
                AnsiTransactionManager::rollback_transaction(&mut *self).await?;
                Err(error)
            }
        }
    }

    async fn depart(&mut self, instant: Instant) -> QueryResult<Travel> {
        let inner = &mut self.inner;
        inner.batch_execute(DEPARTURE).await?;
        let answers: Vec<AnswerRow> = sql_query(moment(instant, Place::Here)).load(inner).await?;
        let answers = answers.into_iter().map(Into::into).collect();
        let moment = decide(instant, answers)?;
        let facts: Vec<FactRow> = sql_query(facts(&moment)).load(inner).await?;
        Ok(Travel::new(moment, read(&facts)?))
    }
}
