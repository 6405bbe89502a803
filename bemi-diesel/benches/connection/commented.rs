//! A connection that says the context in a comment behind each statement, for a trigger to find.

use bemi_diesel::current_context;
use diesel::PgConnection;
use diesel::connection::{
    AnsiTransactionManager, CacheSize, Connection, ConnectionSealed, DefaultLoadingMode,
    Instrumentation, LoadConnection, SimpleConnection,
};
use diesel::expression::QueryMetadata;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{ConnectionResult, Error, QueryResult};

pub(crate) struct CommentConnection(PgConnection);

/// `query` with its comment, which makes another text of it for each context: none can be prepared
/// once for all.
struct Commented<T> {
    query: T,
    comment: String,
}

impl<T> Commented<T> {
    fn new(query: T) -> QueryResult<Self> {
        let context = serde_json::to_string(&current_context())
            .map_err(|error| Error::SerializationError(Box::new(error)))?;
        Ok(Self {
            query,
            comment: format!(" /*Bemi {context} Bemi*/"),
        })
    }
}

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for Commented<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(&self.comment);
        Ok(())
    }
}

impl<T> QueryId for Commented<T> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: Query> Query for Commented<T> {
    type SqlType = T::SqlType;
}

impl SimpleConnection for CommentConnection {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.0.batch_execute(query)
    }
}

impl ConnectionSealed for CommentConnection {}

impl Connection for CommentConnection {
    type Backend = Pg;
    type TransactionManager = AnsiTransactionManager;

    fn establish(database_url: &str) -> ConnectionResult<Self> {
        PgConnection::establish(database_url).map(Self)
    }

    fn execute_returning_count<T>(&mut self, source: &T) -> QueryResult<usize>
    where
        T: QueryFragment<Pg> + QueryId,
    {
        self.0.execute_returning_count(&Commented::new(source)?)
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        self.0.transaction_state()
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        self.0.instrumentation()
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.0.set_instrumentation(instrumentation);
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        self.0.set_prepared_statement_cache_size(size);
    }
}

impl LoadConnection<DefaultLoadingMode> for CommentConnection {
    type Cursor<'conn, 'query> =
        <PgConnection as LoadConnection<DefaultLoadingMode>>::Cursor<'conn, 'query>;
    type Row<'conn, 'query> =
        <PgConnection as LoadConnection<DefaultLoadingMode>>::Row<'conn, 'query>;

    fn load<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> QueryResult<Self::Cursor<'conn, 'query>>
    where
        T: Query + QueryFragment<Pg> + QueryId + 'query,
        Pg: QueryMetadata<T::SqlType>,
    {
        LoadConnection::<DefaultLoadingMode>::load(&mut self.0, Commented::new(source)?)
    }
}
