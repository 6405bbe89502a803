//! The connections that a revert runs on. What they do is the same; that one of them never waits is
//! nothing that the revert has to know.

use std::future::Future;

use crate::Context;

/// A connection.
pub(crate) trait Client: Send {
    type Error: Send;

    /// The one column `line` of each row that `sql` gives, a text. Its parameters are texts.
    fn lines(
        &mut self,
        sql: &str,
        binds: &[String],
    ) -> impl Future<Output = Result<Vec<String>, Self::Error>> + Send;

    /// Runs statements without parameters.
    fn batch(&mut self, sql: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Begins a transaction, or a savepoint in one, whose changes are to have `context`.
    fn begin(&mut self, context: &Context) -> impl Future<Output = Result<(), Self::Error>> + Send;

    fn commit(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    fn roll_back(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

#[cfg(any(feature = "sync", feature = "async"))]
mod line {
    use diesel::prelude::*;

    /// A row of one text.
    #[derive(QueryableByName)]
    pub(super) struct Line {
        #[diesel(sql_type = diesel::sql_types::Text)]
        pub(super) line: String,
    }
}

#[cfg(feature = "sync")]
mod synchronous {
    use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
    use diesel::pg::Pg;
    use diesel::result::{Error, QueryResult};
    use diesel::sql_types::Text;
    use diesel::{RunQueryDsl, sql_query};

    use super::{Client, Context, line};
    use crate::BemiConnection;

    impl Client for BemiConnection {
        type Error = Error;

        async fn lines(&mut self, sql: &str, binds: &[String]) -> QueryResult<Vec<String>> {
            let mut query = sql_query(sql).into_boxed::<Pg>();
            for bind in binds {
                query = query.bind::<Text, _>(bind);
            }
            let lines = query.load::<line::Line>(self);
            Ok(lines?.into_iter().map(|line| line.line).collect())
        }

        async fn batch(&mut self, sql: &str) -> QueryResult<()> {
            self.batch_execute(sql)
        }

        async fn begin(&mut self, _context: &Context) -> QueryResult<()> {
            AnsiTransactionManager::begin_transaction(self)
        }

        async fn commit(&mut self) -> QueryResult<()> {
            AnsiTransactionManager::commit_transaction(self)
        }

        async fn roll_back(&mut self) -> QueryResult<()> {
            AnsiTransactionManager::rollback_transaction(self)
        }
    }
}

#[cfg(feature = "async")]
mod asynchronous {
    use diesel::pg::Pg;
    use diesel::result::{Error, QueryResult};
    use diesel::sql_query;
    use diesel::sql_types::Text;
    use diesel_async::{
        AnsiTransactionManager, RunQueryDsl, SimpleAsyncConnection, TransactionManager,
    };

    use super::{Client, Context, line};
    use crate::AsyncBemiConnection;

    impl Client for AsyncBemiConnection {
        type Error = Error;

        async fn lines(&mut self, sql: &str, binds: &[String]) -> QueryResult<Vec<String>> {
            let mut query = sql_query(sql).into_boxed::<Pg>();
            for bind in binds {
                query = query.bind::<Text, _>(bind);
            }
            let lines: Vec<line::Line> = query.load(self).await?;
            Ok(lines.into_iter().map(|line| line.line).collect())
        }

        async fn batch(&mut self, sql: &str) -> QueryResult<()> {
            self.batch_execute(sql).await
        }

        async fn begin(&mut self, _context: &Context) -> QueryResult<()> {
            AnsiTransactionManager::begin_transaction(self).await
        }

        async fn commit(&mut self) -> QueryResult<()> {
            AnsiTransactionManager::commit_transaction(self).await
        }

        async fn roll_back(&mut self) -> QueryResult<()> {
            AnsiTransactionManager::rollback_transaction(self).await
        }
    }
}

#[cfg(feature = "cli")]
mod command {
    use tokio_postgres::types::ToSql;

    use super::{Client, Context};
    use crate::context::PREFIX;
    use crate::error::Error;
    use crate::postgres::Connection;

    impl Client for Connection {
        type Error = Error;

        async fn lines(&mut self, sql: &str, binds: &[String]) -> Result<Vec<String>, Error> {
            let binds: Vec<&(dyn ToSql + Sync)> = binds.iter().map(|bind| bind as _).collect();
            let rows = self
                .client
                .query(sql, &binds)
                .await
                .map_err(|error| self.error("reverting", &error))?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        }

        async fn batch(&mut self, sql: &str) -> Result<(), Error> {
            Connection::batch(self, "reverting", sql).await
        }

        async fn begin(&mut self, context: &Context) -> Result<(), Error> {
            Connection::batch(self, "beginning a transaction", "BEGIN").await?;
            let message = format!("{{{}}}", &*context.members_json());
            let emit =
                "SELECT pg_catalog.pg_logical_emit_message(true, $1::text, $2::text)::text AS line";
            self.lines(emit, &[PREFIX.to_owned(), message]).await?;
            Ok(())
        }

        async fn commit(&mut self) -> Result<(), Error> {
            Connection::batch(self, "committing the revert", "COMMIT").await
        }

        async fn roll_back(&mut self) -> Result<(), Error> {
            Connection::batch(self, "rolling back", "ROLLBACK").await
        }
    }
}
