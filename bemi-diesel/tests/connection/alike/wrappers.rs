//! The wrapped connection inside of what diesel and diesel-async wrap around one.

use bemi_diesel::AsyncBemiConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_query;
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;

use super::{alike, insert, shown};
use crate::{moods, todo, todos};

// What the macro makes fills a module.
mod plain {
    #[derive(diesel::MultiConnection)]
    pub(super) enum Any {
        Pg(diesel::PgConnection),
    }
}

mod wrapped {
    #[derive(diesel::MultiConnection)]
    pub(super) enum Any {
        Bemi(bemi_diesel::BemiConnection),
    }
}

/// What a program does that knows no more than that it has a connection.
macro_rules! program {
    ($c:ident, $seen:ident) => {
        // Enough of them that the message comes to stand among the values.
        for id in [1, 2, 3, 4, 5, 7, 8] {
            $seen.push(shown(&insert!($c, id)));
        }
        $seen.push(shown(&insert!($c, 1)));
        let row = diesel::insert_into(todos::table).values(todo(6));
        $seen.push(shown(&row.get_result::<(i32, String)>($c)));
        let changed = diesel::update(todos::table.find(1)).set(todos::title.eq("b"));
        $seen.push(shown(&changed.get_result::<(i32, String)>($c)));
        let changed = diesel::update(todos::table.filter(todos::id.gt(4)));
        $seen.push(shown(&changed.set(todos::title.eq("c")).execute($c)));
        let refused = diesel::update(todos::table)
            .set(todos::title.eq(""))
            .execute($c);
        $seen.push(shown(&refused));
        let nested = $c.transaction(|c| {
            insert!(c, 10)?;
            c.transaction(|c| insert!(c, 1)).expect_err("it is there");
            c.transaction(|c| {
                insert!(c, 11)?;
                Err::<(), _>(Error::RollbackTransaction)
            })
            .expect_err("rolled back");
            insert!(c, 12)
        });
        $seen.push(shown(&nested));
        $seen.push(shown(&$c.batch_execute("DELETE FROM todos WHERE id = 7")));
        $seen.push(shown(&$c.batch_execute("DELETE FROM nothing")));
        let rows = todos::table
            .order(todos::id)
            .load_iter::<(i32, String), diesel::connection::DefaultLoadingMode>($c);
        $seen.push(shown(
            &rows.and_then(Iterator::collect::<QueryResult<Vec<_>>>),
        ));
        $seen.push(shown(&todos::table.find(99).first::<(i32, String)>($c)));
        let written = "WITH x AS (DELETE FROM todos WHERE id = 8 RETURNING id) SELECT id FROM x";
        $seen.push(shown(&sql_query(written).execute($c)));
        $seen.push(shown(&$c.begin_test_transaction()));
        $seen.push(shown(&insert!($c, 20)));
    };
}

const LOG: [&str; 13] = [
    "INSERT 1, context 1 lead INSERT",
    "INSERT 2, context 1 lead INSERT",
    "INSERT 3, context 1 lead INSERT",
    "context 1 - INSERT, INSERT 4",
    "context 1 - INSERT, INSERT 5",
    "context 1 - INSERT, INSERT 7",
    "context 1 - INSERT, INSERT 8",
    "context 1 - INSERT, INSERT 6",
    "UPDATE 1, context 1 lead UPDATE",
    "UPDATE 5, UPDATE 7, UPDATE 8, UPDATE 6, context 1 - UPDATE",
    "INSERT 10, INSERT 12, context 1 - INSERT",
    "DELETE 7, context 1 - DELETE",
    "context 1 - WITH, DELETE 8",
];

#[test]
fn one_of_several_connections() {
    let log = alike!([plain::Any, wrapped::Any], |database, c, seen| {
        program!(c, seen);
    });
    assert_eq!(log, LOG);
}

#[test]
fn code_that_blocks_without_libpq() {
    type Plain = AsyncConnectionWrapper<AsyncPgConnection>;
    type Wrapped = AsyncConnectionWrapper<AsyncBemiConnection>;
    let log = alike!([Plain, Wrapped], |database, c, seen| {
        program!(c, seen);
    });
    assert_eq!(log, LOG);
    // The type has a number of its own in every database, which is asked for on the way.
    let log = alike!([Plain, Wrapped], |database, c, seen| {
        database.sql(moods::TABLES);
        for _ in 0..2 {
            let fine = diesel::insert_into(moods::moods::table).values(moods::fine());
            seen.push(shown(&fine.execute(c)));
        }
    });
    assert_eq!(log, ["INSERT 'fine', context 1 lead INSERT"]);
}
