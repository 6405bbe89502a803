//! Loading rows through the wrapped `PgConnection`.

use diesel::connection::{DefaultLoadingMode, LoadConnection};
use diesel::expression::QueryMetadata;
use diesel::pg::{Pg, PgConnection, PgRowByRowLoadingMode};
use diesel::query_builder::{Query, QueryFragment, QueryId};
use diesel::result::QueryResult;

use super::{BemiConnection, Planned};
use crate::connection::inline::{Inline, inline_of};
use crate::connection::plan::{Enclosing, Plan, Wanted};
use crate::connection::row::{Hidden, VisibleRow};
use crate::connection::session::Session;
use crate::connection::tagged::{InlinedBy, Tagged};
use crate::history::Past;

type InnerCursor<'conn, 'query, Mode> =
    <PgConnection as LoadConnection<Mode>>::Cursor<'conn, 'query>;
type InnerRow<'conn, 'query, Mode> = <PgConnection as LoadConnection<Mode>>::Row<'conn, 'query>;

/// The rows of a result that has arrived as a whole. As with diesel's own, several can be held at
/// once: it does not borrow the connection.
pub struct Rows {
    inner: InnerCursor<'static, 'static, DefaultLoadingMode>,
    hidden: Hidden,
}

impl Iterator for Rows {
    type Item = QueryResult<VisibleRow<InnerRow<'static, 'static, DefaultLoadingMode>>>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.inner.next()?;
        Some(row.map(|row| self.hidden.row(row)))
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        let row = self.inner.nth(n)?;
        Some(row.map(|row| self.hidden.row(row)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }

    fn count(self) -> usize {
        self.inner.count()
    }
}

impl LoadConnection<DefaultLoadingMode> for BemiConnection {
    type Cursor<'conn, 'query> = Rows;
    type Row<'conn, 'query> = VisibleRow<InnerRow<'conn, 'query, DefaultLoadingMode>>;

    fn load<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> QueryResult<Self::Cursor<'conn, 'query>>
    where
        T: Query + QueryFragment<Pg> + QueryId + 'query,
        Pg: QueryMetadata<T::SqlType>,
    {
        if let Some(travel) = &self.travel {
            let past = Past::new(source, travel)?;
            let result = whole(&mut self.inner, past);
            self.session.finish(&None, result.as_ref().err());
            return result;
        }
        let Planned {
            plan,
            classified,
            binds,
        } = self.plan(&source, Wanted::Rows, Enclosing::Possible)?;
        let statement = classified.statement;
        let result = match plan {
            Plan::Forward => whole(&mut self.inner, source),
            Plan::Precede(message) => self
                .precede(&message)
                .and_then(|()| whole(&mut self.inner, source)),
            Plan::Enclose(begin) => self.enclosed(&begin, |inner| whole(inner, source)),
            Plan::Inline(message) => match inline_of(&statement).zip(binds) {
                Some((Inline { sql, .. }, binds)) => {
                    let inner = &mut self.inner;
                    let by_type = classified.by_type;
                    let query = InlinedBy::new(&source, sql, by_type, false, binds, message);
                    let result = match query {
                        InlinedBy::Type(query) => whole(inner, query),
                        InlinedBy::Text(query) => whole(inner, query),
                    };
                    result.or_else(|error| {
                        self.again(error, &statement, |inner| whole(inner, source))
                    })
                }
                None => whole(&mut self.inner, source),
            },
            Plan::Tag(tag) => {
                let tagged = Tagged::new(&source, tag);
                match LoadConnection::<DefaultLoadingMode>::load(&mut self.inner, tagged) {
                    Ok(inner) => {
                        if let Some(relation) = self.session.tagged(&statement) {
                            self.ask(relation);
                        }
                        Ok(Rows {
                            inner,
                            hidden: Hidden::LastColumn,
                        })
                    }
                    Err(error) => self.again(error, &statement, |inner| whole(inner, source)),
                }
            }
        };
        self.session.finish(&statement, result.as_ref().err());
        result
    }
}

/// Loads a statement that is sent as it is.
fn whole<T>(inner: &mut PgConnection, source: T) -> QueryResult<Rows>
where
    T: Query + QueryFragment<Pg> + QueryId,
    Pg: QueryMetadata<T::SqlType>,
{
    LoadConnection::<DefaultLoadingMode>::load(inner, source).map(|inner| Rows {
        inner,
        hidden: Hidden::Nothing,
    })
}

/// The rows of a result while it arrives.
pub struct ArrivingRows<'conn, 'query> {
    inner: InnerCursor<'conn, 'query, PgRowByRowLoadingMode>,
    hidden: Hidden,
    session: &'conn mut Session,
}

impl<'conn, 'query> Iterator for ArrivingRows<'conn, 'query> {
    type Item = QueryResult<VisibleRow<InnerRow<'conn, 'query, PgRowByRowLoadingMode>>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.inner.next()? {
            Ok(row) => Some(Ok(self.hidden.row(row))),
            Err(error) => {
                self.session.finish(&None, Some(&error));
                Some(Err(error))
            }
        }
    }
}

impl LoadConnection<PgRowByRowLoadingMode> for BemiConnection {
    type Cursor<'conn, 'query> = ArrivingRows<'conn, 'query>;
    type Row<'conn, 'query> = VisibleRow<InnerRow<'conn, 'query, PgRowByRowLoadingMode>>;

    fn load<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> QueryResult<Self::Cursor<'conn, 'query>>
    where
        T: Query + QueryFragment<Pg> + QueryId + 'query,
        Pg: QueryMetadata<T::SqlType>,
    {
        if let Some(travel) = &self.travel {
            let past = Past::new(source, travel)?;
            let Self { inner, session, .. } = self;
            let result = row_by_row(inner, past);
            session.finish(&None, result.as_ref().err());
            return result.map(|inner| ArrivingRows {
                inner,
                hidden: Hidden::Nothing,
                session,
            });
        }
        let Planned {
            mut plan,
            classified,
            binds,
        } = self.plan(&source, Wanted::Rows, Enclosing::Impossible)?;
        let statement = classified.statement;
        if let Plan::Precede(message) = plan {
            self.precede(&message)
                .inspect_err(|error| self.session.finish(&statement, Some(error)))?;
            plan = Plan::Forward;
        }
        let Self { inner, session, .. } = self;
        let result = match plan {
            Plan::Tag(tag) => {
                // The statement goes away with the result, so it cannot be sent again without the tag.
                let tagged = Tagged::new(source, tag);
                row_by_row(inner, tagged)
                    .map(|inner| (inner, Hidden::LastColumn))
                    .inspect_err(|error| {
                        session.is_denied(error);
                    })
            }
            Plan::Inline(message) => {
                let by_type = classified.by_type;
                let result = match inline_of(&statement).zip(binds) {
                    Some((Inline { sql, .. }, binds)) => {
                        let query = InlinedBy::new(source, sql, by_type, false, binds, message);
                        match query {
                            InlinedBy::Type(query) => row_by_row(inner, query),
                            InlinedBy::Text(query) => row_by_row(inner, query),
                        }
                    }
                    None => row_by_row(inner, source),
                };
                result
                    .map(|inner| (inner, Hidden::Nothing))
                    .inspect_err(|error| {
                        session.is_denied(error);
                    })
            }
            // Nothing is enclosed here: the rows are read after this returns.
            Plan::Forward | Plan::Precede(_) | Plan::Enclose(_) => {
                row_by_row(inner, source).map(|inner| (inner, Hidden::Nothing))
            }
        };
        session.finish(&statement, result.as_ref().err());
        result.map(|(inner, hidden)| ArrivingRows {
            inner,
            hidden,
            session,
        })
    }
}

fn row_by_row<'conn, 'query, T>(
    inner: &'conn mut PgConnection,
    source: T,
) -> QueryResult<InnerCursor<'conn, 'query, PgRowByRowLoadingMode>>
where
    T: Query + QueryFragment<Pg> + QueryId + 'query,
    Pg: QueryMetadata<T::SqlType>,
{
    LoadConnection::<PgRowByRowLoadingMode>::load(inner, source)
}
