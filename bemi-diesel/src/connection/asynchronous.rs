//! The wrapped `AsyncPgConnection`.

mod as_of;
mod collected;
mod dsl;
mod run;
mod transaction_builder;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel::connection::{CacheSize, Instrumentation};
use diesel::pg::{Pg, PgNotification};
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel::result::{ConnectionResult, QueryResult};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, AsyncPgConnection,
    SimpleAsyncConnection, TransactionManager,
};
use futures_util::Stream;
use futures_util::future::BoxFuture;

use self::run::ArrivingRows;
pub use self::transaction_builder::AsyncTransactionBuilder;
use super::plan::Enclosing;
use super::policy::ContextPolicy;
use super::row::VisibleRow;
use super::session::Session;
use super::transaction::Transaction;
use crate::history::Travel;

/// An [`AsyncPgConnection`] whose writes carry the [ambient context](crate::scope) into the write-ahead
/// log.
///
/// It stands wherever an `AsyncPgConnection` does, and does what
#[cfg_attr(feature = "sync", doc = "[`BemiConnection`](crate::BemiConnection)")]
#[cfg_attr(not(feature = "sync"), doc = "`BemiConnection`")]
/// does, without blocking. What is its own:
///
/// - The ambient context is the one in which the query's future is polled for the first time, so
///   `scope(context, query.execute(connection)).await` has `context`, as it reads. A future that is polled
///   outside of every scope keeps the context in which the query's method (`execute`, `load`, …) was called.
///   So does a write whose context is another one at the first poll, if it is sent outside a transaction with a
///   parameter of a type that the server has to be asked about, such as an `enum`: it carries that context already.
/// - Through `&AsyncBemiConnection`, which diesel-async offers for pipelining, a write that cannot carry
///   its context itself is sent without one: a transaction around it would take in the statements
///   beside it.
/// - Behind [pgbouncer](https://www.pgbouncer.org/config.html) in transaction mode nothing is different from
///   `AsyncPgConnection`: tokio-postgres prepares every statement in a round trip of its own, so outside a transaction
///   it takes pgbouncer 1.21 with `max_prepared_statements`. Below that, write in transactions, with
///   [`CacheSize::Disabled`].
/// - A future that is dropped between a write and the `COMMIT` around it leaves the transaction to be
///   rolled back by the next statement; a pool discards the connection.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use bemi_diesel::{AsyncBemiConnection, Context, scope};
/// use diesel::prelude::*;
/// use diesel_async::{AsyncConnection, RunQueryDsl};
///
/// diesel::table! {
///     todos { id -> Integer, title -> Text }
/// }
///
/// let connection = &mut AsyncBemiConnection::establish("postgres://localhost/app").await?;
/// scope(Context::new().with("user_id", 7), async {
///     diesel::insert_into(todos::table)
///         .values(todos::title.eq("write"))
///         .execute(connection)
///         .await
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
pub struct AsyncBemiConnection {
    inner: AsyncPgConnection,
    /// Shared with the rows that are still arriving. Never held across an `await`.
    session: Arc<Mutex<Session>>,
    /// Where queries go to the past.
    travel: Option<Box<Travel>>,
}

impl AsyncBemiConnection {
    /// Wraps a connection, such as one with TLS. See also [`AsyncConnection::establish`].
    ///
    /// Code that does not await takes it inside an
    /// [`AsyncConnectionWrapper`](https://docs.rs/diesel-async/latest/diesel_async/async_connection_wrapper/), which
    /// needs no libpq.
    #[must_use]
    pub fn new(mut inner: AsyncPgConnection) -> Self {
        let status = AnsiTransactionManager::transaction_manager_status_mut(&mut inner);
        let in_transaction = matches!(status.transaction_depth(), Ok(Some(_)));
        Self {
            inner,
            session: Arc::new(Mutex::new(Session::new(in_transaction))),
            travel: None,
        }
    }

    /// Wraps a client whose connection is driven elsewhere. See [`AsyncPgConnection::try_from`].
    ///
    /// # Errors
    ///
    /// If the session cannot be set up.
    pub async fn try_from(client: tokio_postgres::Client) -> ConnectionResult<Self> {
        AsyncPgConnection::try_from(client).await.map(Self::new)
    }

    /// Wraps a client, and drives its connection. See [`AsyncPgConnection::try_from_client_and_connection`].
    ///
    /// # Errors
    ///
    /// If the session cannot be set up.
    pub async fn try_from_client_and_connection<S>(
        client: tokio_postgres::Client,
        connection: tokio_postgres::Connection<tokio_postgres::Socket, S>,
    ) -> ConnectionResult<Self>
    where
        S: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
    {
        AsyncPgConnection::try_from_client_and_connection(client, connection)
            .await
            .map(Self::new)
    }

    /// What cancels the query that runs. See [`AsyncPgConnection::cancel_token`].
    ///
    /// A write that is cancelled may be one of the statements around it, such as its `COMMIT`; the error and the
    /// rows are the same.
    #[must_use]
    pub fn cancel_token(&self) -> tokio_postgres::CancelToken {
        self.inner.cancel_token()
    }

    /// The wrapped connection.
    ///
    /// What is written through it carries no context. A transaction that is begun or ended through it
    /// goes unnoticed, so end it where it was begun.
    pub fn inner_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.inner
    }

    /// Makes `policy` the one of this connection. See also [`ContextPolicy::install`].
    pub fn set_policy(&mut self, policy: ContextPolicy) {
        self.session().set_policy(policy);
    }

    /// Builds a transaction with more details, such as its isolation level. See
    /// [`AsyncPgConnection::build_transaction`].
    pub fn build_transaction(&mut self) -> AsyncTransactionBuilder<'_> {
        AsyncTransactionBuilder::new(self)
    }

    /// The notifications as they arrive. See [`AsyncPgConnection::notifications_stream`].
    pub fn notifications_stream(&mut self) -> impl Stream<Item = QueryResult<PgNotification>> + '_ {
        self.inner.notifications_stream()
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        // It is whole at every point where a `QueryFragment` of the application's can panic.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<AsyncPgConnection> for AsyncBemiConnection {
    fn from(inner: AsyncPgConnection) -> Self {
        Self::new(inner)
    }
}

impl SimpleAsyncConnection for AsyncBemiConnection {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.run_batch(query).await
    }
}

impl SimpleAsyncConnection for &AsyncBemiConnection {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.run_batch(query).await
    }
}

type InnerRow<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::Row<'conn, 'query>;

impl AsyncConnectionCore for AsyncBemiConnection {
    type ExecuteFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<usize>>;
    type LoadFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<ArrivingRows>>;
    type Stream<'conn, 'query> = ArrivingRows;
    type Row<'conn, 'query> = VisibleRow<InnerRow<'conn, 'query>>;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        self.run_load(source.as_query(), Enclosing::Possible)
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        self.run_execute(source, Enclosing::Possible)
    }
}

impl<'a> AsyncConnectionCore for &'a AsyncBemiConnection {
    type ExecuteFuture<'conn, 'query> = BoxFuture<'a, QueryResult<usize>>;
    type LoadFuture<'conn, 'query> = BoxFuture<'a, QueryResult<ArrivingRows>>;
    type Stream<'conn, 'query> = ArrivingRows;
    type Row<'conn, 'query> = VisibleRow<InnerRow<'conn, 'query>>;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        let this: &'a AsyncBemiConnection = self;
        this.run_load(source.as_query(), Enclosing::Impossible)
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        let this: &'a AsyncBemiConnection = self;
        this.run_execute(source, Enclosing::Impossible)
    }
}

impl AsyncConnection for AsyncBemiConnection {
    type TransactionManager = AnsiTransactionManager;

    async fn establish(database_url: &str) -> ConnectionResult<Self> {
        AsyncPgConnection::establish(database_url)
            .await
            .map(Self::new)
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        self.inner.transaction_state()
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        self.inner.instrumentation()
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.inner.set_instrumentation(instrumentation);
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        self.inner.set_prepared_statement_cache_size(size);
    }
}

impl PoolableConnection for AsyncBemiConnection {
    fn is_broken(&mut self) -> bool {
        self.session().transaction == Transaction::Enclosed || self.inner.is_broken()
    }
}
