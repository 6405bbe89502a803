//! The parts of diesel's query interface that it implements once per connection.

use std::sync::Arc;

use diesel::associations::HasTable;
use diesel::dsl::Update;
use diesel::expression::{MixedAggregates, ValidGrouping, is_aggregate};
use diesel::pg::{CopyFromQuery, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AsChangeset, IntoUpdateTarget};
use diesel::query_dsl::UpdateAndFetchResults;
use diesel::query_dsl::methods::LoadQuery;
use diesel::result::{Error, QueryResult};

use super::BemiConnection;
use crate::connection::plan::{Enclosing, Plan, Request, Wanted};
use crate::connection::session::ambient;
use crate::connection::statement::{Kind, Statement};

impl<'b, Changes, Output> UpdateAndFetchResults<Changes, Output> for BemiConnection
where
    Changes: Copy + AsChangeset<Target = <Changes as HasTable>::Table> + IntoUpdateTarget,
    Update<Changes, Changes>: LoadQuery<'b, BemiConnection, Output>,
    <Changes::Table as Table>::AllColumns: ValidGrouping<()>,
    <<Changes::Table as Table>::AllColumns as ValidGrouping<()>>::IsAggregate:
        MixedAggregates<is_aggregate::No, Output = is_aggregate::No>,
{
    fn update_and_fetch(&mut self, changeset: Changes) -> QueryResult<Output> {
        diesel::update(changeset).set(changeset).get_result(self)
    }
}

impl<T, A> ExecuteCopyFromDsl<BemiConnection> for CopyFromQuery<T, A>
where
    Self: ExecuteCopyFromDsl<PgConnection>,
    <Self as ExecuteCopyFromDsl<PgConnection>>::Error: From<Error>,
{
    type Error = <Self as ExecuteCopyFromDsl<PgConnection>>::Error;

    fn execute(self, connection: &mut BemiConnection) -> Result<usize, Self::Error> {
        connection.recover();
        // Diesel builds its text where only `PgConnection` can see it.
        let statement = Some(Arc::new(Statement::without_text(Kind::Write)));
        let request = Request {
            wanted: Wanted::Count,
            enclosing: Enclosing::Possible,
            inline: false,
            bound: None,
        };
        let result = match connection.session.plan(&statement, ambient(), request)? {
            Plan::Enclose(begin) => connection.enclosed(&begin, |inner| self.execute(inner)),
            Plan::Precede(message) => match connection.precede(&message) {
                Ok(()) => self.execute(&mut connection.inner),
                Err(error) => Err(error.into()),
            },
            Plan::Forward | Plan::Tag(_) | Plan::Inline(_) => self.execute(&mut connection.inner),
        };
        // The error can be the application's own; either way the server has given the copy up.
        match result {
            Ok(_) => connection.session.transaction.succeeded(),
            Err(_) => connection.session.transaction.failed(),
        }
        result
    }
}
