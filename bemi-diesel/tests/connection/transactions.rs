//! Statements in transactions that the application begins.

use bemi_diesel::{BemiConnection, set_context};
use bemi_tests::Cluster;
use diesel::connection::SimpleConnection;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_query;

use crate::{Database, insert, todos, with};

fn delete(c: &mut BemiConnection, id: i32) -> QueryResult<usize> {
    diesel::delete(todos::table.find(id)).execute(c)
}

/// Fails in the server.
fn fail(c: &mut BemiConnection) -> QueryResult<usize> {
    sql_query("SELECT 1/0").execute(c)
}

#[test]
fn the_context_rides_on_the_commit() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        c.transaction(|c| {
            insert(c, 1)?;
            insert(c, 2)
        })
        .expect("two rows");
        c.transaction(|c| delete(c, 1)).expect("a row");
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, INSERT 2, context 1 - INSERT",
            "DELETE 1, context 1 - DELETE"
        ]
    );
}

#[test]
fn nothing_rides_where_nothing_was_written() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        c.transaction(|c| todos::table.load::<(i32, String)>(c))
            .expect("no rows");
        c.transaction(|c| delete(c, 1)).expect("no row");
        c.transaction::<(), _, _>(|c| {
            insert(c, 1)?;
            Err(Error::RollbackTransaction)
        })
        .expect_err("rolled back");
        c.build_transaction()
            .read_only()
            .run(|c| sql_query("SELECT pg_backend_pid()").execute(c))
            .expect("a read");
        insert(c, 2).expect("a row");
    });
    assert_eq!(database.log(), ["INSERT 2, context 1 lead INSERT"]);
}

#[test]
fn savepoints() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        c.transaction(|c| {
            insert(c, 1)?;
            c.transaction(|c| insert(c, 2))?;
            c.transaction::<(), _, _>(|c| {
                insert(c, 3)?;
                Err(Error::RollbackTransaction)
            })
            .expect_err("rolled back");
            c.transaction(fail).expect_err("division by zero");
            c.transaction(|c| insert(c, 4))
        })
        .expect("three rows");
    });
    assert_eq!(
        database.log(),
        ["INSERT 1, INSERT 2, INSERT 4, context 1 - INSERT"]
    );
}

#[test]
fn a_failed_transaction_ends_as_on_the_plain_connection() {
    let database = Database::new();
    let (c, plain) = (&mut database.wrapped(), &mut database.plain());
    let expected = plain.transaction(|c| {
        sql_query("INSERT INTO todos VALUES (1, 'a')").execute(c)?;
        sql_query("SELECT 1/0")
            .execute(c)
            .expect_err("division by zero");
        Ok::<_, Error>(())
    });
    with(1, || {
        let swallowed = c.transaction(|c| {
            insert(c, 1)?;
            fail(c).expect_err("division by zero");
            Ok::<_, Error>(())
        });
        assert_eq!(swallowed, expected);
        c.transaction(fail).expect_err("division by zero");
        c.transaction(|c| insert(c, 1)).expect("a row");
    });
    assert_eq!(database.log(), ["INSERT 1, context 1 - INSERT"]);
}

#[test]
fn an_error_among_arriving_rows_is_noticed() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        c.batch_execute("BEGIN").expect("a transaction");
        insert(c, 1).expect("a row");
        let query = diesel::dsl::sql::<diesel::sql_types::Integer>(
            "SELECT 1 / (3 - i) FROM generate_series(1, 3) i",
        );
        let rows: QueryResult<Vec<i32>> = query
            .load_iter::<i32, PgRowByRowLoadingMode>(c)
            .and_then(Iterator::collect);
        rows.expect_err("division by zero");
        c.batch_execute("COMMIT")
            .expect("a rollback, to the server");
        insert(c, 1).expect("a row");
    });
    assert_eq!(database.log(), ["INSERT 1, context 1 lead INSERT"]);
}

#[test]
fn a_deferred_constraint_fails_the_commit() {
    let database = Database::new();
    database.sql("CREATE TABLE parts (todo int REFERENCES todos DEFERRABLE INITIALLY DEFERRED);");
    let (c, plain) = (&mut database.wrapped(), &mut database.plain());
    let orphan = || sql_query("INSERT INTO parts VALUES (9)");
    let expected = plain
        .transaction(|c| orphan().execute(c))
        .expect_err("no such todo");
    with(1, || {
        let refused = c.transaction(|c| orphan().execute(c));
        assert_eq!(refused.expect_err("no such todo"), expected);
        assert_eq!(orphan().execute(c).expect_err("no such todo"), expected);
        let enclosed = sql_query("WITH x AS (INSERT INTO parts VALUES (9)) SELECT 1");
        assert_eq!(enclosed.execute(c).expect_err("no such todo"), expected);
        c.transaction(|c| insert(c, 1)).expect("a row");
    });
    assert_eq!(database.log(), ["INSERT 1, context 1 - INSERT"]);
}

#[test]
fn a_context_that_changes_on_the_way() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        c.transaction(|c| {
            insert(c, 1)?;
            set_context("n", 2);
            insert(c, 2)?;
            insert(c, 3)?;
            with(3, || insert(c, 4))?;
            insert(c, 5)
        })
        .expect("five rows");
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 - INSERT, context 2 - -, INSERT 2, INSERT 3, \
          context 3 - -, INSERT 4, context 2 - -, INSERT 5"
        ]
    );
}

#[test]
fn the_context_is_that_of_the_write_and_not_of_the_commit() {
    let database = Database::new();
    let c = &mut database.wrapped();
    c.transaction(|c| with(1, || insert(c, 1))).expect("a row");
    with(1, || {
        c.transaction(|c| {
            let inserted = insert(c, 2);
            set_context("n", 2);
            inserted
        })
    })
    .expect("a row");
    c.transaction(|c| {
        insert(c, 3)?;
        with(3, || insert(c, 4))?;
        insert(c, 5)
    })
    .expect("three rows");
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 - INSERT",
            "INSERT 2, context 1 - INSERT",
            "INSERT 3, context - - INSERT, context 3 - -, INSERT 4, context - - -, INSERT 5",
        ]
    );
}

#[test]
fn a_rolled_back_savepoint_takes_a_change_of_context_with_it() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        c.transaction(|c| {
            insert(c, 1)?;
            c.transaction::<(), _, _>(|c| {
                with(2, || insert(c, 2))?;
                Err(Error::RollbackTransaction)
            })
            .expect_err("rolled back");
            with(3, || insert(c, 3))
        })
        .expect("two rows");
    });
    assert_eq!(
        database.log(),
        ["INSERT 1, context 1 - INSERT, context 3 - -, INSERT 3"]
    );
}

#[test]
fn transactions_in_raw_sql() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        c.batch_execute("BEGIN").expect("a transaction");
        insert(c, 1).expect("a row");
        c.batch_execute("COMMIT;").expect("its end");
        sql_query("START TRANSACTION")
            .execute(c)
            .expect("a transaction");
        insert(c, 2).expect("a row");
        sql_query("END").execute(c).expect("its end");
        c.batch_execute("BEGIN; INSERT INTO todos VALUES (3, 'a')")
            .expect("a row");
        c.batch_execute("COMMIT AND CHAIN").expect("the next");
        insert(c, 4).expect("a row");
        c.batch_execute("DELETE FROM todos WHERE id = 1; COMMIT")
            .expect("its end");
        c.batch_execute("BEGIN").expect("a transaction");
        insert(c, 5).expect("a row");
        c.batch_execute("ROLLBACK").expect("its end");
        insert(c, 6).expect("a row");
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 - INSERT",
            "INSERT 2, context 1 - INSERT",
            "INSERT 3, context 1 - -",
            "INSERT 4, context 1 - -, DELETE 1",
            "INSERT 6, context 1 lead INSERT",
        ]
    );
}

#[test]
fn prepared_transactions() {
    let cluster = Cluster::builder()
        .setting("max_prepared_transactions", "1")
        .start()
        .expect("a cluster");
    let database = Database::new_in(&cluster);
    let c = &mut database.wrapped();
    with(1, || {
        c.batch_execute("BEGIN").expect("a transaction");
        insert(c, 1).expect("a row");
        c.batch_execute("PREPARE TRANSACTION 'x'")
            .expect("prepared");
        c.batch_execute("COMMIT PREPARED 'x'").expect("committed");
    });
    assert_eq!(database.log(), ["INSERT 1, context 1 - INSERT"]);
}

#[test]
fn functions_that_write() {
    let database = Database::new();
    database.sql(
        "CREATE FUNCTION add(int) RETURNS int LANGUAGE sql AS \
         'INSERT INTO todos VALUES ($1, ''a'') RETURNING id'",
    );
    let c = &mut database.wrapped();
    with(1, || {
        c.transaction(|c| sql_query("SELECT add(1)").execute(c))
            .expect("a row");
        sql_query("SELECT add(2)").execute(c).expect("a row");
    });
    assert_eq!(database.log(), ["INSERT 1, context 1 - SELECT", "INSERT 2"]);
}

#[test]
fn a_connection_that_is_wrapped_inside_a_transaction() {
    let database = Database::new();
    let mut plain = database.plain();
    plain.begin_test_transaction().expect("a transaction");
    let c = &mut BemiConnection::from(plain);
    with(1, || insert(c, 1)).expect("a row");
    assert_eq!(todos::table.count().get_result(c), Ok(1_i64));
    sql_query("COMMIT").execute(c).expect("its end");
    assert_eq!(database.log(), ["INSERT 1, context 1 - INSERT"]);
}
