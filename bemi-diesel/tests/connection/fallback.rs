//! Writes that cannot carry a message themselves.

use diesel::connection::SimpleConnection;
use diesel::pg::CopyFormat;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_query;
use diesel::sql_types::Integer;

use crate::{Database, insert, todos, with};

#[test]
fn a_transaction_around_them() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        let rows = sql_query(
            "WITH x AS (INSERT INTO todos VALUES (1, 'a') RETURNING id) SELECT id FROM x",
        );
        #[derive(QueryableByName, PartialEq, Debug)]
        struct Id {
            #[diesel(sql_type = Integer)]
            id: i32,
        }
        assert_eq!(rows.load(c), Ok(vec![Id { id: 1 }]));
        let deleted = sql_query("DELETE FROM todos;").execute(c);
        assert_eq!(deleted, Ok(1));
        let none = sql_query("WITH x AS (INSERT INTO todos VALUES (1, 'a')) DELETE FROM todos");
        assert_eq!(none.execute(c), Ok(0));
        assert_eq!(sql_query("DELETE FROM todos;").execute(c), Ok(1));
    });
    assert_eq!(
        database.log(),
        [
            "context 1 - WITH, INSERT 1",
            "context 1 - DELETE, DELETE 1",
            "context 1 - WITH, INSERT 1",
            "context 1 - DELETE, DELETE 1",
        ]
    );
}

#[test]
fn a_transaction_around_merge() {
    if bemi_tests::Cluster::shared().expect("a server").major() < 15 {
        // MERGE came with PostgreSQL 15.
        return;
    }
    let database = Database::new();
    let merge = sql_query(
        "MERGE INTO todos USING (VALUES (2)) AS s (id) ON todos.id = s.id \
         WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'a')",
    );
    let merged = with(1, || merge.execute(&mut database.wrapped()));
    assert_eq!(merged, Ok(1));
    assert_eq!(database.log(), ["context 1 - MERGE, INSERT 2"]);
}

#[test]
fn an_error_inside_is_the_applications_own() {
    let database = Database::new();
    let (c, plain) = (&mut database.wrapped(), &mut database.plain());
    let twice = || sql_query("WITH x AS (INSERT INTO todos VALUES (1, '')) SELECT 1");
    let expected = twice().execute(plain).expect_err("a check");
    with(1, || {
        assert_eq!(twice().execute(c).expect_err("a check"), expected);
        insert(c, 1).expect("a row");
    });
    assert_eq!(database.log(), ["INSERT 1, context 1 lead INSERT"]);
}

#[test]
fn every_parameter_taken() {
    let database = Database::new();
    let c = &mut database.wrapped();
    let select = |c: &mut _, count: i32| {
        let ids: Vec<i32> = (0..count).collect();
        diesel::delete(todos::table.filter(todos::id.eq_any(ids).or(todos::id.lt(0)))).execute(c)
    };
    // `= ANY ($1)` is one parameter, so the count is made by hand.
    let all = |count: usize| {
        let values: Vec<String> = (1..=count).map(|n| format!("${n}")).collect();
        let mut query = sql_query(format!(
            "DELETE FROM todos WHERE id IN ({})",
            values.join(",")
        ))
        .into_boxed::<diesel::pg::Pg>();
        for n in 0..count {
            query = query.bind::<Integer, _>(i32::try_from(n).expect("small"));
        }
        query
    };
    with(1, || {
        insert(c, 1).expect("a row");
        assert_eq!(all(65_534).execute(c), Ok(1));
        insert(c, 1).expect("a row");
        assert_eq!(all(65_535).execute(c), Ok(1));
        assert_eq!(select(c, 3), Ok(0));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "DELETE 1, context 1 - DELETE",
            "INSERT 1, context 1 lead INSERT",
            "context 1 - DELETE, DELETE 1",
        ]
    );
}

#[test]
fn copies() {
    let database = Database::new();
    let c = &mut database.wrapped();
    let copy = |c: &mut bemi_diesel::BemiConnection, id: i32| {
        diesel::copy_from(todos::table)
            .from_raw_data(todos::table, move |to| {
                to.write_all(format!("{id},a\n{},a\n", id + 1).as_bytes())
                    .map_err(|error| Error::SerializationError(Box::new(error)))
            })
            .with_format(CopyFormat::Csv)
            .execute(c)
    };
    with(1, || {
        assert_eq!(copy(c, 1), Ok(2));
        copy(c, 2).expect_err("there is one already");
        assert_eq!(c.transaction(|c| copy(c, 3)), Ok(2));
        c.transaction(|c| copy(c, 4))
            .expect_err("there is one already");
        assert_eq!(insert(c, 9), Ok(1));
    });
    copy(c, 11).expect("two rows");
    assert_eq!(
        database.log(),
        [
            "context 1 - -, INSERT 1, INSERT 2",
            "INSERT 3, INSERT 4, context 1 - -",
            "INSERT 9, context 1 lead INSERT",
            "INSERT 11, INSERT 12",
        ]
    );
}

#[test]
fn statements_that_refuse_a_transaction_are_left_alone() {
    let database = Database::new();
    database.sql(
        "CREATE PROCEDURE twice() LANGUAGE plpgsql AS 'BEGIN INSERT INTO todos VALUES (1, ''a''); \
         COMMIT; INSERT INTO todos VALUES (2, ''a''); COMMIT; END'",
    );
    let c = &mut database.wrapped();
    with(1, || {
        sql_query("CALL twice()")
            .execute(c)
            .expect("two transactions");
        sql_query("VACUUM todos")
            .execute(c)
            .expect("outside a transaction");
        c.batch_execute("CREATE DATABASE of_its_own; ")
            .expect("outside a transaction");
        sql_query("DROP DATABASE of_its_own")
            .execute(c)
            .expect("outside a transaction");
    });
    assert_eq!(database.log(), ["INSERT 1", "INSERT 2"]);
}
