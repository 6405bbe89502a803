//! The wrapped `PgConnection`.

mod count;
mod dsl;
mod load;

use diesel::connection::{
    AnsiTransactionManager, CacheSize, Connection, ConnectionSealed, Instrumentation,
    MultiConnectionHelper, SimpleConnection, TransactionManager,
};
use diesel::migration::MigrationConnection;
use diesel::pg::{
    GetPgMetadataCache, Pg, PgConnection, PgMetadataCache, PgMetadataLookup, PgNotification,
    TransactionBuilder,
};
use diesel::query_builder::{QueryFragment, QueryId};
use diesel::r2d2::R2D2Connection;
use diesel::result::{ConnectionResult, Error, QueryResult};
use diesel::sql_types::TypeMetadata;
use diesel::{RunQueryDsl, sql_query};

use super::facts::PROBE;
use super::plan::{Enclosing, Plan};
use super::session::{Known, Session, ambient};
use super::statement::{self, Kind};
use super::tagged::Tagged;
use super::transaction::{Members, Transaction};

/// A [`PgConnection`] whose writes carry the [ambient context](crate::scope) into the write-ahead log.
///
/// It stands wherever a `PgConnection` does, and queries, results, errors and transactions are those of
/// diesel. Outside every scope, and for reads, it only forwards. Inside one,
///
/// - an `INSERT`, `UPDATE` or `DELETE` outside a transaction carries its context itself, in the same
///   round trip;
/// - a transaction carries it in the round trip of its `COMMIT`, with the context that was ambient
///   *when it wrote*. If the context changes between two writes of a transaction, one more round trip
///   tells the server so;
/// - what can do neither (`MERGE`, `COPY … FROM`, a data-modifying `WITH` under a `SELECT`, a statement
///   with all 65,535 parameters) gets a transaction of its own around it, at two more round trips.
///
/// A statement that may not run in a transaction (`CALL`, `DO`, DDL, a `SELECT` of a function) is sent
/// as it is outside of one, and its rows have no context; so are such writes in the
/// [row-by-row](diesel::pg::PgRowByRowLoadingMode) mode. In a transaction they have it.
///
/// The first write in a scope asks the server once per connection whether the user may write messages.
///
/// ```no_run
/// use bemi_diesel::{BemiConnection, Context, sync_scope};
/// use diesel::prelude::*;
///
/// diesel::table! {
///     todos { id -> Integer, title -> Text }
/// }
///
/// let connection = &mut BemiConnection::establish("postgres://localhost/app")?;
/// sync_scope(Context::new().with("user_id", 7), || {
///     diesel::insert_into(todos::table)
///         .values(todos::title.eq("write"))
///         .execute(connection)
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BemiConnection {
    inner: PgConnection,
    session: Session,
}

impl BemiConnection {
    /// Wraps a connection. See also [`Connection::establish`].
    #[must_use]
    pub fn new(mut inner: PgConnection) -> Self {
        let status = AnsiTransactionManager::transaction_manager_status_mut(&mut inner);
        let in_transaction = matches!(status.transaction_depth(), Ok(Some(_)));
        Self {
            inner,
            session: Session::new(in_transaction),
        }
    }

    /// The wrapped connection.
    ///
    /// What is written through it carries no context. A transaction that is begun or ended through it
    /// goes unnoticed, so end it where it was begun.
    pub fn inner_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Builds a transaction with more details, such as its isolation level. See
    /// [`PgConnection::build_transaction`].
    pub fn build_transaction(&mut self) -> TransactionBuilder<'_, Self> {
        TransactionBuilder::new(self)
    }

    /// The notifications received so far. See [`PgConnection::notifications_iter`].
    pub fn notifications_iter(&mut self) -> impl Iterator<Item = QueryResult<PgNotification>> + '_ {
        self.inner.notifications_iter()
    }

    /// Classifies `query` and decides how it is sent.
    fn plan<T>(&mut self, query: &T, enclosing: Enclosing) -> (Plan, Known)
    where
        T: QueryFragment<Pg> + QueryId,
    {
        self.recover();
        let statement = self.session.statement(query);
        (self.plan_known(&statement, enclosing), statement)
    }

    fn plan_known(&mut self, statement: &Known, enclosing: Enclosing) -> Plan {
        let Some(known) = statement else {
            return Plan::Forward;
        };
        let members = ambient();
        self.ask(std::slice::from_ref(&known.kind), &members);
        self.session.plan(statement, members, enclosing)
    }

    /// Asks the server what a statement of `kinds` depends on, the first time.
    fn ask(&mut self, kinds: &[Kind], members: &Members) {
        if kinds
            .iter()
            .any(|kind| self.session.lacks_facts(kind, members))
        {
            let facts = sql_query(PROBE).get_result(&mut self.inner);
            self.session.learn(facts);
        }
    }

    /// Runs `run` in a transaction that starts with `begin`.
    fn enclosed<R, E: From<Error>>(
        &mut self,
        begin: &str,
        run: impl FnOnce(&mut PgConnection) -> Result<R, E>,
    ) -> Result<R, E> {
        self.session.transaction = Transaction::Enclosed;
        if self.inner.batch_execute(begin).is_err() {
            // The message is at fault, or the connection is gone; the statement decides.
            self.recover();
            return run(&mut self.inner);
        }
        let result = run(&mut self.inner);
        let ended = match &result {
            Ok(_) => self.inner.batch_execute("COMMIT"),
            Err(_) => self.inner.batch_execute("ROLLBACK"),
        };
        self.session.transaction = Transaction::Autocommit;
        match (result, ended) {
            (Ok(_), Err(error)) => Err(error.into()),
            (result, _) => result,
        }
    }

    /// Ends the transaction around a statement that a panic cut short.
    fn recover(&mut self) {
        if self.session.transaction == Transaction::Enclosed {
            self.session.transaction = Transaction::Autocommit;
            // If it fails the connection is gone, and the next statement says so.
            let _gone = self.inner.batch_execute("ROLLBACK");
        }
    }
}

impl From<PgConnection> for BemiConnection {
    fn from(inner: PgConnection) -> Self {
        Self::new(inner)
    }
}

impl SimpleConnection for BemiConnection {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.recover();
        let kinds = statement::kinds(query);
        let members = ambient();
        self.ask(&kinds, &members);
        let step = self.session.batch(query, kinds, members);
        let result = match &step.plan.before {
            Some(before) => self.inner.batch_execute(before),
            None => Ok(()),
        }
        .and_then(|()| self.inner.batch_execute(&step.plan.sql));
        if result.is_err() && step.plan.ends {
            let _ended = self.inner.batch_execute("ROLLBACK");
        }
        self.session.finish_batch(&step, result.as_ref().err());
        result
    }
}

impl ConnectionSealed for BemiConnection {}

impl Connection for BemiConnection {
    type Backend = Pg;
    type TransactionManager = AnsiTransactionManager;

    fn establish(database_url: &str) -> ConnectionResult<Self> {
        PgConnection::establish(database_url).map(Self::new)
    }

    fn execute_returning_count<T>(&mut self, source: &T) -> QueryResult<usize>
    where
        T: QueryFragment<Pg> + QueryId,
    {
        let (plan, statement) = self.plan(source, Enclosing::Possible);
        let result = match plan {
            Plan::Forward => self.inner.execute_returning_count(source),
            Plan::Precede(sql) => self
                .inner
                .batch_execute(&sql)
                .and_then(|()| self.inner.execute_returning_count(source)),
            Plan::Enclose(begin) => {
                self.enclosed(&begin, |inner| inner.execute_returning_count(source))
            }
            Plan::Tag(tag) => match count::count(&mut self.inner, Tagged::new(source, tag)) {
                Err(error) if self.session.blames_tag(&error, &statement) => {
                    self.inner.execute_returning_count(source)
                }
                result => result,
            },
        };
        self.session.finish(&statement, result.as_ref().err());
        result
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

impl R2D2Connection for BemiConnection {
    fn ping(&mut self) -> QueryResult<()> {
        self.recover();
        self.inner.ping()
    }

    fn is_broken(&mut self) -> bool {
        self.session.transaction == Transaction::Enclosed || self.inner.is_broken()
    }
}

impl MigrationConnection for BemiConnection {
    fn setup(&mut self) -> QueryResult<usize> {
        self.inner.setup()
    }
}

impl GetPgMetadataCache for BemiConnection {
    fn get_metadata_cache(&mut self) -> &mut PgMetadataCache {
        self.inner.get_metadata_cache()
    }
}

impl MultiConnectionHelper for BemiConnection {
    fn to_any<'a>(
        lookup: &mut <Pg as TypeMetadata>::MetadataLookup,
    ) -> &mut (dyn std::any::Any + 'a) {
        lookup.as_any()
    }

    // What comes along is the connection that sends the query: the wrapped one.
    fn from_any(
        lookup: &mut dyn std::any::Any,
    ) -> Option<&mut <Pg as TypeMetadata>::MetadataLookup> {
        lookup
            .downcast_mut::<PgConnection>()
            .map(|connection| connection as &mut dyn PgMetadataLookup)
    }
}
