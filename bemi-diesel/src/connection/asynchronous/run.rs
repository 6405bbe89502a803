//! Carrying out plans over the wrapped `AsyncPgConnection`.
//!
//! A query is turned into its text and parameters at once, as it need not be `Send`; what happens
//! around it happens in the future. Nothing is ever sent before the answer to what comes before it:
//! the driver prepares an unknown statement in a round trip of its own, which a `COMMIT` on its heels
//! would overtake.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use diesel::pg::Pg;
use diesel::query_builder::{Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_query;
use diesel_async::{AsyncConnectionCore, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};

use super::{AsyncBemiConnection, InnerRow};
use crate::connection::facts::PROBE;
use crate::connection::plan::{Enclosing, Plan, Tag};
use crate::connection::row::{Hidden, VisibleRow};
use crate::connection::session::{Known, Session, ambient};
use crate::connection::statement;
use crate::connection::tagged::Tagged;
use crate::connection::transaction::Transaction;

type InnerStream = <AsyncPgConnection as AsyncConnectionCore>::Stream<'static, 'static>;

/// What is sent around a statement.
enum Around {
    Nothing,
    Precede(String),
    Enclose(String),
}

/// A statement on its way.
struct Step {
    around: Around,
    /// What the session is told the outcome with.
    statement: Known,
    tagged: bool,
    /// Whether the transaction around an earlier statement must be ended first.
    abandoned: bool,
}

impl AsyncBemiConnection {
    pub(super) fn run_execute<T>(
        &self,
        query: T,
        enclosing: Enclosing,
    ) -> BoxFuture<'_, QueryResult<usize>>
    where
        T: QueryFragment<Pg> + QueryId,
    {
        let (step, tag) = self.step(&query, enclosing);
        let mut inner = &self.inner;
        let sent = match tag {
            Some(tag) => inner.execute_returning_count(Tagged::new(query, tag)),
            None => inner.execute_returning_count(query),
        };
        match step {
            None => sent,
            Some(step) => self.run(step, sent).boxed(),
        }
    }

    pub(super) fn run_load<T>(
        &self,
        query: T,
        enclosing: Enclosing,
    ) -> BoxFuture<'_, QueryResult<ArrivingRows>>
    where
        T: Query + QueryFragment<Pg> + QueryId,
    {
        let (step, tag) = self.step(&query, enclosing);
        let hidden = match tag {
            Some(_) => Hidden::LastColumn,
            None => Hidden::Nothing,
        };
        let mut inner = &self.inner;
        let sent = match tag {
            Some(tag) => AsyncConnectionCore::load(&mut inner, Tagged::new(query, tag)),
            None => AsyncConnectionCore::load(&mut inner, query),
        };
        async move {
            let inner = match step {
                None => sent.await,
                Some(step) => self.run(step, sent).await,
            }?;
            Ok(ArrivingRows {
                inner,
                hidden,
                session: Arc::clone(&self.session),
            })
        }
        .boxed()
    }

    /// Classifies `query` and decides how it is sent. No step: there is nothing to do but send it.
    fn step<T>(&self, query: &T, enclosing: Enclosing) -> (Option<Step>, Option<Tag>)
    where
        T: QueryFragment<Pg> + QueryId,
    {
        let mut session = self.session();
        let abandoned = session.transaction == Transaction::Enclosed;
        let statement = session.statement(query);
        if statement.is_none() && session.transaction == Transaction::Autocommit {
            return (None, None);
        }
        let members = statement.as_ref().and_then(|_| ambient());
        if abandoned {
            // What is planned runs after the rollback.
            session.transaction = Transaction::Autocommit;
        }
        let plan = session.plan(&statement, members, enclosing);
        if abandoned {
            session.transaction = Transaction::Enclosed;
        }
        let (around, tag) = match plan {
            Plan::Forward => (Around::Nothing, None),
            Plan::Tag(tag) => (Around::Nothing, Some(tag)),
            Plan::Precede(sql) => (Around::Precede(sql), None),
            Plan::Enclose(begin) => (Around::Enclose(begin), None),
        };
        let step = Step {
            around,
            statement,
            tagged: tag.is_some(),
            abandoned,
        };
        (Some(step), tag)
    }

    async fn run<R>(&self, step: Step, sent: BoxFuture<'_, QueryResult<R>>) -> QueryResult<R> {
        if step.abandoned {
            self.recover().await;
        }
        let result = match step.around {
            Around::Nothing => sent.await,
            Around::Precede(sql) => match self.send(&sql).await {
                Ok(()) => sent.await,
                Err(error) => Err(error),
            },
            Around::Enclose(begin) => self.enclosed(&begin, sent).await,
        };
        let mut session = self.session();
        let error = result.as_ref().err();
        if let Some(error) = error
            && step.tagged
        {
            // The query is gone, so it cannot be sent again without the tag; the next one can.
            session.blames_tag(error, &step.statement);
        }
        session.finish(&step.statement, error);
        result
    }

    /// Runs `sent` in a transaction that starts with `begin`.
    async fn enclosed<R>(
        &self,
        begin: &str,
        sent: BoxFuture<'_, QueryResult<R>>,
    ) -> QueryResult<R> {
        if !self.session().knows_facts() {
            self.ask().await;
            if !self.session().granted() {
                return sent.await;
            }
        }
        self.session().transaction = Transaction::Enclosed;
        if self.send(begin).await.is_err() {
            // The message is at fault, or the connection is gone; the statement decides.
            self.recover().await;
            return sent.await;
        }
        let result = sent.await;
        // Where rows are still arriving, an error among them makes the `COMMIT` a rollback.
        let ended = match &result {
            Ok(_) => self.send("COMMIT").await,
            Err(_) => self.send("ROLLBACK").await,
        };
        self.session().transaction = Transaction::Autocommit;
        match (result, ended) {
            (Ok(_), Err(error)) => Err(error),
            (result, _) => result,
        }
    }

    pub(super) async fn run_batch(&self, query: &str) -> QueryResult<()> {
        if self.session().transaction == Transaction::Enclosed {
            self.recover().await;
        }
        let kinds = statement::kinds(query);
        let members = ambient();
        let lacks_facts = {
            let session = self.session();
            kinds.iter().any(|kind| session.lacks_facts(kind, &members))
        };
        if lacks_facts {
            self.ask().await;
        }
        let step = self.session().batch(query, kinds, members);
        let before = match &step.plan.before {
            Some(before) => self.send(before).await,
            None => Ok(()),
        };
        let result = match before {
            Ok(()) => self.send(&step.plan.sql).await,
            Err(error) => Err(error),
        };
        if result.is_err() && step.plan.ends {
            let _ended = self.send("ROLLBACK").await;
        }
        self.session().finish_batch(&step, result.as_ref().err());
        result
    }

    /// Ends the transaction around a statement whose future was dropped.
    async fn recover(&self) {
        // If it fails the connection is gone, and the next statement says so.
        let _gone = self.send("ROLLBACK").await;
        self.session().transaction = Transaction::Autocommit;
    }

    /// Asks the server what it must be asked before a message is sent to it.
    async fn ask(&self) {
        let facts = sql_query(PROBE).get_result(&mut &self.inner).await;
        self.session().learn(facts);
    }

    async fn send(&self, sql: &str) -> QueryResult<()> {
        (&self.inner).batch_execute(sql).await
    }
}

/// The rows of a result while it arrives.
pub struct ArrivingRows {
    inner: InnerStream,
    hidden: Hidden,
    session: Arc<Mutex<Session>>,
}

impl Stream for ArrivingRows {
    type Item = QueryResult<VisibleRow<InnerRow<'static, 'static>>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let row = std::task::ready!(self.inner.poll_next_unpin(cx));
        if let Some(Err(error)) = &row {
            let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            session.finish(&None, Some(error));
        }
        Poll::Ready(row.map(|row| row.map(|row| self.hidden.row(row))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}
