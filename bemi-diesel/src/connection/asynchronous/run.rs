//! Carrying out plans over the wrapped `AsyncPgConnection`.
//!
//! A query is turned into its text and parameters at once, as it need not be `Send`, with the message that
//! it carries itself; what happens around it happens in the future. That also looks whether the context is
//! still the same, and starts again with the text and parameters if it is not.
//!
//! Nothing is ever sent before the answer to what comes before it: the driver prepares an unknown statement in
//! a round trip of its own, which a `COMMIT` on its heels would overtake.

use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use diesel::pg::Pg;
use diesel::query_builder::{CollectedQuery, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel_async::{AsyncConnectionCore, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};

use super::collected::{Kept, collected};
use super::{AsyncBemiConnection, InnerRow};
use crate::connection::count::changed;
use crate::connection::emit::UNGUARD;
use crate::connection::facts::{Rules, has_no_rules};
use crate::connection::inline::{Inline, inline_of};
use crate::connection::plan::{Enclosing, Form, Plan, Request, Rides, Tag, Wanted};
use crate::connection::row::{Hidden, VisibleRow};
use crate::connection::session::{Known, Session, ambient};
use crate::connection::statement;
use crate::connection::tagged::{Binds, Counted, InlinedBy, Tagged, bound};
use crate::connection::transaction::{Members, Transaction};
use crate::history::Past;

type InnerStream = <AsyncPgConnection as AsyncConnectionCore>::Stream<'static, 'static>;

/// What is sent around a statement.
enum Around {
    Nothing,
    Precede(String),
    Enclose(String),
}

/// A statement on its way.
struct Step {
    /// What the session is told the outcome with.
    statement: Known,
    enclosing: Enclosing,
    /// The context when it was called, in which it stays if it is polled outside of every scope.
    called_in: Members,
    /// Whether it carries that itself.
    carries: bool,
    /// Whether the transaction around an earlier statement must be ended first.
    abandoned: bool,
    /// The statement as one to be prepared under a name, although diesel would not.
    prepared: Option<CollectedQuery<Binds>>,
    /// The statement without its message.
    again: Option<Kept>,
    /// Whether that is to be prepared under a name.
    prepares: bool,
}

/// How a step goes on when it is polled for the first time.
enum Begun {
    Send(Around),
    /// In another context than it was made for.
    Anew(CollectedQuery<Binds>),
}

/// A query and the message, where it carries it itself.
enum Carried<T> {
    Nothing(T),
    Tag(T, Tag),
    Inline(InlinedBy<T>),
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
        if let Some(travel) = &self.travel {
            return match Past::new(query, travel) {
                Ok(past) => self
                    .watched((&mut &self.inner).execute_returning_count(past))
                    .boxed(),
                Err(error) => ready(Err(error)).boxed(),
            };
        }
        let (mut step, carried) = self.step(query, Wanted::Count, enclosing);
        let mut inner = &self.inner;
        let prepared = step.as_mut().and_then(|step| step.prepared.take());
        let tagged = matches!(carried, Carried::Tag(..));
        let sent = match (carried, prepared) {
            (Carried::Nothing(query), None) => inner.execute_returning_count(query),
            (Carried::Nothing(_), Some(prepared)) => inner.execute_returning_count(prepared),
            (Carried::Tag(query, tag), None) => execute_tagged(inner, query, tag),
            (Carried::Tag(_, tag), Some(prepared)) => execute_tagged(inner, prepared, tag),
            (Carried::Inline(InlinedBy::Type(query)), _) => inner.execute_returning_count(query),
            (Carried::Inline(InlinedBy::Text(query)), _) => inner.execute_returning_count(query),
        };
        let Some(mut step) = step else {
            return sent;
        };
        async move {
            let around = match self.begin(&mut step).await? {
                Begun::Send(around) => around,
                Begun::Anew(query) => return self.run_execute(query, enclosing).await,
            };
            let again = step.again.take().filter(|_| step.carries);
            let mut result = self.run(&around, sent).await;
            if let (Err(error), Some(again)) = (&result, again)
                && let Some(suspicion) = { self.session().suspicion(error, &step.statement) }
            {
                let mut inner = &self.inner;
                result = inner.execute_returning_count(again.query(false)).await;
                self.session()
                    .confirm(suspicion, &step.statement, result.is_ok());
            }
            if tagged && result.is_ok() {
                self.ask(&step.statement).await;
            }
            self.session()
                .finish(&step.statement, result.as_ref().err());
            result
        }
        .boxed()
    }

    pub(super) fn run_load<T>(
        &self,
        query: T,
        enclosing: Enclosing,
    ) -> BoxFuture<'_, QueryResult<ArrivingRows>>
    where
        T: Query + QueryFragment<Pg> + QueryId,
    {
        if let Some(travel) = &self.travel {
            let past = match Past::new(query, travel) {
                Ok(past) => past,
                Err(error) => return ready(Err(error)).boxed(),
            };
            let sent = self.watched(AsyncConnectionCore::load(&mut &self.inner, past));
            return async move {
                let rows = sent.await?;
                Ok(self.arriving(None, rows, Hidden::Nothing))
            }
            .boxed();
        }
        let (step, carried) = self.step(query, Wanted::Rows, enclosing);
        let mut inner = &self.inner;
        let (sent, hidden) = match carried {
            Carried::Nothing(query) => (
                AsyncConnectionCore::load(&mut inner, query),
                Hidden::Nothing,
            ),
            Carried::Tag(query, tag) => {
                let sent = AsyncConnectionCore::load(&mut inner, Tagged::new(query, tag));
                (sent, Hidden::LastColumn)
            }
            Carried::Inline(InlinedBy::Type(query)) => (
                AsyncConnectionCore::load(&mut inner, query),
                Hidden::Nothing,
            ),
            Carried::Inline(InlinedBy::Text(query)) => (
                AsyncConnectionCore::load(&mut inner, query),
                Hidden::Nothing,
            ),
        };
        async move {
            let Some(mut step) = step else {
                return Ok(self.arriving(None, sent.await?, hidden));
            };
            let around = match self.begin(&mut step).await? {
                Begun::Send(around) => around,
                Begun::Anew(query) => return self.run_load(query, enclosing).await,
            };
            let again = step.again.take().filter(|_| step.carries);
            let mut result = self.run(&around, sent).await;
            let mut hidden = hidden;
            let mut first = None;
            if let Some(again) = again {
                // A statement is planned when it is sent and carried out when its first row is read. Where
                // there is none, the driver's stream must not be asked again.
                result = result.map(|rows| rows.fuse().boxed());
                if let Ok(rows) = &mut result {
                    first = rows.next().await;
                }
                let error = match (&result, &first) {
                    (Err(error), _) | (Ok(_), Some(Err(error))) => Some(error),
                    _ => None,
                };
                let suspicion =
                    error.and_then(|error| self.session().suspicion(error, &step.statement));
                if let Some(suspicion) = suspicion {
                    let mut inner = &self.inner;
                    result = AsyncConnectionCore::load(&mut inner, again.query(false))
                        .await
                        .map(|rows| rows.fuse().boxed());
                    first = match &mut result {
                        Ok(rows) => rows.next().await,
                        Err(_) => None,
                    };
                    let well = result.is_ok() && !matches!(first, Some(Err(_)));
                    self.session().confirm(suspicion, &step.statement, well);
                    hidden = Hidden::Nothing;
                }
            }
            if hidden == Hidden::LastColumn && result.is_ok() {
                self.ask(&step.statement).await;
            }
            self.session()
                .finish(&step.statement, result.as_ref().err());
            Ok(self.arriving(first, result?, hidden))
        }
        .boxed()
    }

    /// Tells the session how a query of the past went.
    async fn watched<R>(&self, sent: BoxFuture<'_, QueryResult<R>>) -> QueryResult<R> {
        let result = sent.await;
        self.session().finish(&None, result.as_ref().err());
        result
    }

    fn arriving(
        &self,
        first: Option<QueryResult<InnerRow<'static, 'static>>>,
        rest: InnerStream,
        hidden: Hidden,
    ) -> ArrivingRows {
        ArrivingRows {
            first,
            rest,
            hidden,
            session: Arc::clone(&self.session),
        }
    }

    /// Classifies `query` and makes what is sent for it. No step: there is nothing to do but send it.
    fn step<T>(&self, query: T, wanted: Wanted, enclosing: Enclosing) -> (Option<Step>, Carried<T>)
    where
        T: QueryFragment<Pg> + QueryId,
    {
        let mut session = self.session();
        let classified = session.statement(&query);
        let statement = classified.statement;
        if statement.is_none() && session.transaction == Transaction::Autocommit {
            return (None, Carried::Nothing(query));
        }
        let called_in = statement.as_ref().and_then(|_| ambient());
        let parameters = session.may_tag(&statement).then(|| {
            let binds = collected(&query)?;
            let kept = Kept::new(&statement.as_ref()?.sql, &binds)?;
            Some((binds, kept))
        });
        let (binds, again) = parameters.flatten().unzip();
        let (by_type, prepare) = (classified.by_type, classified.prepare);
        let inline = session.inline(&statement).zip(binds.as_ref());
        let request = Request {
            wanted,
            enclosing: Enclosing::Impossible,
            bound: Some(binds.as_ref().map_or(0, bound)),
            inline: inline.is_some_and(|(inline, binds)| inline.fits(binds)),
        };
        let safe = || query.is_safe_to_cache_prepared(&Pg).unwrap_or(false);
        let by_name = by_type || prepare.is_some() || again.is_some() && safe();
        let plan = session.carried(&statement, &called_in, request);
        let mut prepared = None;
        let carried = match (plan, inline_of(&statement), binds) {
            (Plan::Inline(message), Some(Inline { sql, .. }), Some(binds)) => {
                Carried::Inline(InlinedBy::new(query, sql, by_type, by_name, binds, message))
            }
            (plan, _, binds) => {
                prepared = prepare.filter(|_| called_in.is_some()).and_then(|sql| {
                    let binds = binds.or_else(|| collected(&query))?;
                    Some(CollectedQuery::new(sql, true, binds))
                });
                match plan {
                    Plan::Tag(tag) => Carried::Tag(query, tag),
                    _ => Carried::Nothing(query),
                }
            }
        };
        let step = Step {
            enclosing,
            called_in,
            carries: !matches!(carried, Carried::Nothing(_)),
            abandoned: session.transaction == Transaction::Enclosed,
            prepared,
            again,
            prepares: by_name,
            statement,
        };
        (Some(step), carried)
    }

    /// Decides what belongs to the moment at which a statement is polled for the first time: its context, if
    /// there is one then, and what goes around it.
    async fn begin(&self, step: &mut Step) -> QueryResult<Begun> {
        if step.abandoned {
            self.recover().await;
        }
        let members = step.statement.as_ref().and_then(|_| ambient());
        if members.is_some()
            && (members != step.called_in || step.abandoned)
            && let Some(again) = step.again.take()
        {
            return Ok(Begun::Anew(again.query(step.prepares)));
        }
        let mut session = self.session();
        if step.carries {
            session.approve(&step.statement, &step.called_in)?;
            return Ok(Begun::Send(Around::Nothing));
        }
        let request = Request {
            wanted: Wanted::Count,
            enclosing: step.enclosing,
            bound: None,
            inline: false,
        };
        let members = members.or_else(|| step.called_in.take());
        Ok(Begun::Send(
            match session.plan(&step.statement, members, request)? {
                Plan::Precede(message) => Around::Precede(message),
                Plan::Enclose(begin) => Around::Enclose(begin),
                Plan::Forward | Plan::Tag(_) | Plan::Inline(_) => Around::Nothing,
            },
        ))
    }

    async fn run<R>(&self, around: &Around, sent: BoxFuture<'_, QueryResult<R>>) -> QueryResult<R> {
        match around {
            Around::Nothing => sent.await,
            Around::Precede(message) => match self.precede(message).await {
                Ok(()) => sent.await,
                Err(error) => Err(error),
            },
            Around::Enclose(begin) => self.enclosed(begin, sent).await,
        }
    }

    /// Asks whether the relation that a tagged `statement` has written to has rules, if that is worth it.
    async fn ask(&self, statement: &Known) {
        let Some(relation) = self.session().tagged(statement) else {
            return;
        };
        let mut inner = &self.inner;
        let rules = match has_no_rules(&relation).get_result(&mut inner).await {
            Ok(true) => Rules::None,
            Ok(false) | Err(_) => Rules::Some,
        };
        self.session().answered(relation, rules);
    }

    /// Writes the message that goes before a statement, in the transaction that is open.
    async fn precede(&self, message: &str) -> QueryResult<()> {
        match self.send(message).await {
            Err(error) if self.session().is_denied(&error) => self.send(UNGUARD).await,
            result => result,
        }
    }

    /// Runs `sent` in a transaction that starts with `begin`.
    async fn enclosed<R>(
        &self,
        begin: &str,
        sent: BoxFuture<'_, QueryResult<R>>,
    ) -> QueryResult<R> {
        self.session().transaction = Transaction::Enclosed;
        if let Err(error) = self.send(begin).await {
            // The message is at fault, or the connection is gone; the statement decides.
            self.session().is_denied(&error);
            self.recover().await;
            if self.session().insists(&error) {
                return Err(error);
            }
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
        if self.travel.is_some() {
            statement::travels(query)?;
        }
        if self.session().transaction == Transaction::Enclosed {
            self.recover().await;
        }
        let kinds = statement::kinds(query);
        let step = self.session().batch(query, kinds, ambient())?;
        let before = match &step.plan.before {
            Some(before) => self.precede(before).await,
            None => Ok(()),
        };
        let mut result = match before {
            Ok(()) => self.send(&step.plan.sql).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            let denied = self.session().is_denied(error);
            match &step.plan.rides {
                Rides::Behind(sql) if denied => result = self.send(sql).await,
                Rides::BeforeEnd(sql) if denied => result = self.send(sql).await,
                Rides::BeforeEnd(_) => {
                    let _ended = self.send("ROLLBACK").await;
                }
                Rides::Nothing | Rides::Behind(_) => {}
            }
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

    async fn send(&self, sql: &str) -> QueryResult<()> {
        (&self.inner).batch_execute(sql).await
    }
}

fn execute_tagged<T>(
    mut inner: &AsyncPgConnection,
    query: T,
    tag: Tag,
) -> BoxFuture<'_, QueryResult<usize>>
where
    T: QueryFragment<Pg> + QueryId,
{
    if tag.form != Form::Counted {
        return inner.execute_returning_count(Tagged::new(query, tag));
    }
    let sent = AsyncConnectionCore::load(&mut inner, Counted::new(query, tag));
    async {
        let mut rows = sent.await?;
        let count = changed(rows.next().await)?;
        // What fails when the transaction ends, as deferred constraints do, comes behind it.
        rows.try_next().await.map(|_| count)
    }
    .boxed()
}

/// The rows of a result while it arrives.
pub struct ArrivingRows {
    /// The first item, if it has been read already.
    first: Option<QueryResult<InnerRow<'static, 'static>>>,
    rest: InnerStream,
    hidden: Hidden,
    session: Arc<Mutex<Session>>,
}

impl Stream for ArrivingRows {
    type Item = QueryResult<VisibleRow<InnerRow<'static, 'static>>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let row = match self.first.take() {
            Some(first) => Some(first),
            None => std::task::ready!(self.rest.poll_next_unpin(cx)),
        };
        if let Some(Err(error)) = &row {
            let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            session.finish(&None, Some(error));
        }
        Poll::Ready(row.map(|row| row.map(|row| self.hidden.row(row))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.rest.size_hint();
        let first = usize::from(self.first.is_some());
        (
            least.saturating_add(first),
            most.and_then(|most| most.checked_add(first)),
        )
    }
}
