//! The wrapped `PgConnection`.

mod as_of;
mod dsl;
mod load;

use std::sync::Arc;

use diesel::RunQueryDsl;
use diesel::connection::{
    AnsiTransactionManager, CacheSize, Connection, ConnectionSealed, DefaultLoadingMode,
    Instrumentation, LoadConnection, MultiConnectionHelper, SimpleConnection, TransactionManager,
};
use diesel::migration::MigrationConnection;
use diesel::pg::{
    GetPgMetadataCache, Pg, PgConnection, PgMetadataCache, PgMetadataLookup, PgNotification,
    TransactionBuilder,
};
use diesel::query_builder::{CollectedQuery, QueryFragment, QueryId};
use diesel::r2d2::R2D2Connection;
use diesel::result::{ConnectionResult, Error, QueryResult};
use diesel::sql_types::TypeMetadata;

use super::count::{binds_freely, changed};
use super::emit::UNGUARD;
use super::facts::{Rules, has_no_rules};
use super::inline::{Inline, inline_of};
use super::plan::{Enclosing, Form, Plan, Request, Rides, Tag, Wanted};
use super::policy::ContextPolicy;
use super::session::{Classified, Known, Session, ambient};
use super::statement;
use super::tagged::{Binds, Counted, InlinedBy, Tagged, bound};
use super::transaction::Transaction;
use crate::history::{Past, Travel};

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
/// What the server refuses because of the message (the user may not execute
/// `pg_logical_emit_message`, a [rule] takes no `RETURNING`) is sent again without it, and remembered
/// for the life of the connection: the application notices nothing. Only the row-by-row mode returns
/// the first such error, as the statement is gone by then.
///
/// Inside a scope an `UPDATE`, a `DELETE`, an `INSERT` with fields that may be `None` and a statement in raw
/// SQL are prepared when they come for the third time, up to 128 of them, if diesel prepares other
/// statements of the application: planning them each time, as diesel has it, costs the server more than
/// the message does.
///
/// When a table is inserted into for the third time, one question more asks the server whether it has
/// [rules][rule]: where it has none the message goes along with the values, which costs less. A rule that is
/// made later, that replaces the `INSERT` and that does without its first value, takes the context from the
/// changes that this connection makes through it.
///
/// A statement that may not run in a transaction (`CALL`, `DO`, DDL, a `SELECT` of a function) is sent
/// as it is outside of one, and its rows have no context; so are such writes in the
/// [row-by-row](diesel::pg::PgRowByRowLoadingMode) mode. In a transaction they have it, so running it in one
/// is how to say that it writes.
///
/// What is to happen without a context, or without the right to write it, says a [`ContextPolicy`].
///
/// Behind [pgbouncer] in transaction mode nothing is different from `PgConnection`: statements must not be kept
/// ([`set_prepared_statement_cache_size`](Connection::set_prepared_statement_cache_size) with
/// [`CacheSize::Disabled`]), unless pgbouncer is 1.21 or later and its `max_prepared_statements` is set. What the
/// wrapper sends more is in the same transaction. (The capture needs a connection of its own to the server
/// itself.)
///
/// [pgbouncer]: https://www.pgbouncer.org/config.html
/// [rule]: https://www.postgresql.org/docs/current/rules-update.html
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
    /// Boxed, so that a `MultiConnection` of this and another is no larger than it must be.
    session: Box<Session>,
    /// Where queries go to the past.
    travel: Option<Box<Travel>>,
}

impl BemiConnection {
    /// Wraps a connection. See also [`Connection::establish`].
    #[must_use]
    pub fn new(mut inner: PgConnection) -> Self {
        let status = AnsiTransactionManager::transaction_manager_status_mut(&mut inner);
        let in_transaction = matches!(status.transaction_depth(), Ok(Some(_)));
        Self {
            inner,
            session: Box::new(Session::new(in_transaction)),
            travel: None,
        }
    }

    /// The wrapped connection.
    ///
    /// What is written through it carries no context. A transaction that is begun or ended through it
    /// goes unnoticed, so end it where it was begun.
    ///
    /// It is what `COPY … TO` needs, as diesel lets nobody else carry that out, and loses nothing, as that reads:
    /// `diesel::copy_to(todos::table).load_raw(connection.inner_mut())`.
    pub fn inner_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Makes `policy` the one of this connection. See also [`ContextPolicy::install`].
    pub fn set_policy(&mut self, policy: ContextPolicy) {
        self.session.set_policy(policy);
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
    fn plan<T>(&mut self, query: &T, wanted: Wanted, enclosing: Enclosing) -> QueryResult<Planned>
    where
        T: QueryFragment<Pg> + QueryId,
    {
        self.recover();
        let mut classified = self.session.statement(query);
        if classified.statement.is_none() {
            return Ok(Planned {
                plan: Plan::Forward,
                classified,
                binds: None,
            });
        }
        let members = ambient();
        if members.is_none() {
            classified.prepare = None;
        }
        let inline = self.session.inline(&classified.statement);
        let wanted_binds = members.is_some() && (inline.is_some() || binds_freely::<T>());
        // If it fails, it fails again where the query is sent.
        let binds = wanted_binds.then(|| self.binds(query).ok()).flatten();
        let request = Request {
            wanted,
            enclosing,
            bound: Some(binds.as_ref().map_or(0, bound)),
            inline: inline
                .zip(binds.as_ref())
                .is_some_and(|(inline, binds)| inline.fits(binds)),
        };
        let plan = self.session.plan(&classified.statement, members, request)?;
        Ok(Planned {
            plan,
            classified,
            binds,
        })
    }

    /// Asks whether `relation` has rules, which an `INSERT` with the message among its values must not
    /// meet.
    fn ask(&mut self, relation: Arc<str>) {
        let rules = match has_no_rules(&relation).get_result(&mut self.inner) {
            Ok(true) => Rules::None,
            Ok(false) | Err(_) => Rules::Some,
        };
        self.session.answered(relation, rules);
    }

    /// The parameters that are bound to `query`.
    fn binds<T: QueryFragment<Pg>>(&mut self, query: &T) -> QueryResult<Binds> {
        let mut binds = Binds::new();
        query.collect_binds(&mut binds, &mut self.inner, &Pg)?;
        Ok(binds)
    }

    /// Writes the message that goes before a statement, in the transaction that is open.
    fn precede(&mut self, message: &str) -> QueryResult<()> {
        match self.inner.batch_execute(message) {
            Err(error) if self.session.is_denied(&error) => self.inner.batch_execute(UNGUARD),
            result => result,
        }
    }

    /// Runs `run` in a transaction that starts with `begin`.
    fn enclosed<R, E: From<Error>>(
        &mut self,
        begin: &str,
        run: impl FnOnce(&mut PgConnection) -> Result<R, E>,
    ) -> Result<R, E> {
        self.session.transaction = Transaction::Enclosed;
        if let Err(error) = self.inner.batch_execute(begin) {
            // The message is at fault, or the connection is gone; the statement decides.
            self.session.is_denied(&error);
            self.recover();
            if self.session.insists(&error) {
                return Err(error.into());
            }
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

    /// Runs a statement without its message, if that may be to blame for `error`.
    fn again<R>(
        &mut self,
        error: Error,
        statement: &Known,
        run: impl FnOnce(&mut PgConnection) -> QueryResult<R>,
    ) -> QueryResult<R> {
        let Some(suspicion) = self.session.suspicion(&error, statement) else {
            return Err(error);
        };
        let result = run(&mut self.inner);
        self.session.confirm(suspicion, statement, result.is_ok());
        result
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

/// A query that is about to be sent.
struct Planned {
    plan: Plan,
    classified: Classified,
    /// Its parameters, if they have been looked at.
    binds: Option<Binds>,
}

fn execute_tagged<T>(inner: &mut PgConnection, source: T, tag: Tag) -> QueryResult<usize>
where
    T: QueryFragment<Pg> + QueryId,
{
    match tag.form {
        Form::Counted => {
            let query = Counted::new(source, tag);
            LoadConnection::<DefaultLoadingMode>::load(inner, query)
                .and_then(|mut rows| changed(rows.next()))
        }
        Form::Column | Form::Returning => inner.execute_returning_count(&Tagged::new(source, tag)),
    }
}

impl From<PgConnection> for BemiConnection {
    fn from(inner: PgConnection) -> Self {
        Self::new(inner)
    }
}

impl SimpleConnection for BemiConnection {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        if self.travel.is_some() {
            statement::travels(query)?;
        }
        self.recover();
        let kinds = statement::kinds(query);
        let step = self.session.batch(query, kinds, ambient())?;
        let mut result = match &step.plan.before {
            Some(before) => self.precede(before),
            None => Ok(()),
        }
        .and_then(|()| self.inner.batch_execute(&step.plan.sql));
        if let Err(error) = &result {
            match &step.plan.rides {
                Rides::Behind(sql) if self.session.is_denied(error) => {
                    result = self.inner.batch_execute(sql);
                }
                Rides::BeforeEnd(sql) if self.session.is_denied(error) => {
                    result = self.inner.batch_execute(sql);
                }
                Rides::BeforeEnd(_) => {
                    let _ended = self.inner.batch_execute("ROLLBACK");
                }
                Rides::Nothing | Rides::Behind(_) => {}
            }
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
        if let Some(travel) = &self.travel {
            let past = Past::new(source, travel)?;
            let result = self.inner.execute_returning_count(&past);
            self.session.finish(&None, result.as_ref().err());
            return result;
        }
        let Planned {
            plan,
            classified,
            binds,
        } = self.plan(source, Wanted::Count, Enclosing::Possible)?;
        let statement = classified.statement;
        let prepare = classified.prepare.is_some();
        // If it fails, it fails again where the query is sent.
        let prepared = classified
            .prepare
            .filter(|_| !matches!(plan, Plan::Inline(_)))
            .and_then(|sql| Some(CollectedQuery::new(sql, true, self.binds(source).ok()?)));
        let send = |inner: &mut PgConnection| match &prepared {
            Some(prepared) => inner.execute_returning_count(prepared),
            None => inner.execute_returning_count(source),
        };
        let result = match plan {
            Plan::Forward => send(&mut self.inner),
            Plan::Precede(message) => self.precede(&message).and_then(|()| send(&mut self.inner)),
            Plan::Enclose(begin) => {
                self.enclosed(&begin, |inner| inner.execute_returning_count(source))
            }
            Plan::Inline(message) => match inline_of(&statement).zip(binds) {
                Some((Inline { sql, .. }, binds)) => {
                    let inner = &mut self.inner;
                    let by_type = classified.by_type;
                    let query = InlinedBy::new(source, sql, by_type, prepare, binds, message);
                    let result = match query {
                        InlinedBy::Type(query) => inner.execute_returning_count(&query),
                        InlinedBy::Text(query) => inner.execute_returning_count(&query),
                    };
                    result.or_else(|error| {
                        self.again(error, &statement, |inner| {
                            inner.execute_returning_count(source)
                        })
                    })
                }
                None => send(&mut self.inner),
            },
            Plan::Tag(tag) => {
                let result = match &prepared {
                    Some(prepared) => execute_tagged(&mut self.inner, prepared, tag),
                    None => execute_tagged(&mut self.inner, source, tag),
                };
                if result.is_ok()
                    && let Some(relation) = self.session.tagged(&statement)
                {
                    self.ask(relation);
                }
                result.or_else(|error| {
                    self.again(error, &statement, |inner| {
                        inner.execute_returning_count(source)
                    })
                })
            }
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
