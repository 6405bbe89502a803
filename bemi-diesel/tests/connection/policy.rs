//! What an application can ask of the wrapped connections.

mod asynchronous;

use std::error::Error as _;

use bemi_diesel::{
    BemiConnection, Context, ContextCounters, ContextPolicy, Injection, MAX_CONTEXT_BYTES,
    MissingContext, MissingContextError, OversizedContextError, RefusedContext, sync_scope,
};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_query;

use crate::{Database, insert, todo, todos, with};

/// The table that a write without a context was for.
fn missing<T: std::fmt::Debug>(result: QueryResult<T>) -> Option<String> {
    let error = result.expect_err("it has no context");
    let Error::QueryBuilderError(error) = error else {
        panic!("another error: {error}");
    };
    let missing = error.downcast::<MissingContextError>().expect("it says so");
    assert!(missing.source().is_none());
    assert!(
        missing
            .to_string()
            .contains("has no context: put a scope around it"),
        "{missing}"
    );
    missing.table().map(ToOwned::to_owned)
}

fn refused<T: std::fmt::Debug>(result: QueryResult<T>) {
    let error = result.expect_err("the right is gone");
    let Error::DatabaseError(DatabaseErrorKind::Unknown, information) = error else {
        panic!("another error: {error}");
    };
    let message = information.message();
    assert!(message.contains("pg_logical_emit_message"), "{message}");
}

fn demanding() -> ContextPolicy {
    ContextPolicy::new().missing(MissingContext::Error)
}

#[test]
fn a_write_without_a_context_is_not_sent() {
    let database = Database::new();
    let c = &mut database.wrapped();
    c.set_policy(demanding());
    let table = Some("todos".to_owned());
    let before = ContextCounters::read().missing;

    assert_eq!(missing(insert(c, 1)), table);
    let returned = diesel::insert_into(todos::table).values(todo(1));
    assert_eq!(missing(returned.get_result::<(i32, String)>(c)), table);
    assert_eq!(
        missing(c.transaction(|c| insert(c, 1))),
        table,
        "in a transaction"
    );
    assert_eq!(
        missing(c.batch_execute("SELECT 1; DELETE FROM todos")),
        table
    );
    assert_eq!(missing(c.batch_execute("TRUNCATE todos")), None);
    assert!(ContextCounters::read().missing - before >= 5);

    // What reads, what may read, and what has a context.
    let count = todos::table.count().get_result(c);
    assert_eq!(count, Ok(0_i64));
    c.batch_execute("DO $$ BEGIN PERFORM 1; END $$")
        .expect("it may read");
    with(1, || {
        assert_eq!(insert(c, 1), Ok(1));
        assert_eq!(c.transaction(|c| insert(c, 2)), Ok(1));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2, context 1 - INSERT"
        ]
    );
}

#[test]
fn a_warning_changes_nothing() {
    let database = Database::new();
    let c = &mut database.wrapped();
    c.set_policy(ContextPolicy::new().missing(MissingContext::Warn));
    assert_eq!(insert(c, 1), Ok(1));
    assert_eq!(database.log(), ["INSERT 1"]);
}

#[test]
fn only_some_tables() {
    let database = Database::new();
    let c = &mut database.wrapped();
    for (policy, carries) in [
        (demanding().except_tables(["todos"]), false),
        (demanding().only_tables(["parts"]), false),
        (demanding().only_tables(["todos"]), true),
        (demanding().except_tables(["parts"]), true),
    ] {
        c.set_policy(policy.clone());
        database.sql("TRUNCATE todos");
        assert_eq!(insert(c, 1).is_ok(), !carries, "{policy:?}");
        database.log();
        with(1, || {
            assert_eq!(insert(c, 2), Ok(1));
            assert_eq!(c.transaction(|c| insert(c, 3)), Ok(1));
        });
        let expected = if carries {
            [
                "INSERT 2, context 1 lead INSERT",
                "INSERT 3, context 1 - INSERT",
            ]
        } else {
            ["INSERT 2", "INSERT 3"]
        };
        assert_eq!(database.log(), expected, "{policy:?}");
    }
}

#[test]
fn no_statement_is_changed() {
    let database = Database::new();
    let c = &mut database.wrapped();
    c.set_policy(ContextPolicy::new().injection(Injection::Enclosed));
    with(1, || assert_eq!(insert(c, 1), Ok(1)));
    c.set_policy(ContextPolicy::new().injection(Injection::Off));
    with(1, || {
        assert_eq!(insert(c, 2), Ok(1));
        assert_eq!(c.transaction(|c| insert(c, 3)), Ok(1));
    });
    // Back again, also for a statement that is known.
    c.set_policy(ContextPolicy::new());
    with(1, || assert_eq!(insert(c, 4), Ok(1)));
    assert_eq!(
        database.log(),
        [
            "context 1 - INSERT, INSERT 1",
            "INSERT 2",
            "INSERT 3",
            "INSERT 4, context 1 lead INSERT",
        ]
    );
}

#[test]
fn the_text_of_a_statement_is_cut_or_left_out() {
    let database = Database::new();
    let c = &mut database.wrapped();
    for bytes in [0, 11, 4096] {
        c.set_policy(ContextPolicy::new().sql_bytes(bytes));
        with(1, || {
            sql_query("DELETE FROM todos WHERE id = 7")
                .execute(c)
                .expect("it deletes nothing");
            sql_query(
                "INSERT INTO todos VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET title = 'b'",
            )
            .execute(c)
            .expect("a row");
        });
    }
    assert_eq!(
        database.messages(),
        [
            r#"{"n":1,"_bemi":{"lead":true}}"#,
            r#"{"SQL":"INSERT INTO\u2026","n":1,"_bemi":{"lead":true}}"#,
            r#"{"SQL":"INSERT INTO todos VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET title = 'b'","n":1,"_bemi":{"lead":true}}"#,
        ]
    );
}

#[test]
fn without_its_message_nothing_is_written() {
    let database = Database::new();
    database.revoke();
    let url = database.url_of_role("strict");
    let c = &mut BemiConnection::establish(&url).expect("the server is ready");
    c.set_policy(ContextPolicy::new().refused(RefusedContext::Error));
    with(1, || {
        for id in [1, 2] {
            refused(insert(c, id));
            let returned = diesel::insert_into(todos::table).values(todo(id));
            refused(returned.get_result::<(i32, String)>(c));
            refused(c.transaction(|c| insert(c, id)));
            refused(c.batch_execute("DELETE FROM todos; DELETE FROM todos"));
            refused(c.batch_execute("TRUNCATE todos"));
            refused(sql_query("DELETE FROM todos;").execute(c));
        }
    });
    // Reads, and writes outside every scope, have no message.
    let count = todos::table.count().get_result(c);
    assert_eq!(count, Ok(0_i64));
    assert_eq!(insert(c, 3), Ok(1));
    assert_eq!(database.log(), ["INSERT 3"]);
}

#[test]
fn what_the_server_refuses_is_counted() {
    let database = Database::new();
    database.revoke();
    let url = database.url_of_role("counted");
    let c = &mut BemiConnection::establish(&url).expect("the server is ready");
    let before = ContextCounters::read().refused;
    with(1, || {
        assert_eq!(insert(c, 1), Ok(1));
        assert_eq!(insert(c, 2), Ok(1));
        assert_eq!(c.transaction(|c| insert(c, 3)), Ok(1));
    });
    assert!(ContextCounters::read().refused - before >= 3);
}

/// A context of which one member is longer than a message may be.
fn too_long(n: i32) -> Context {
    Context::new()
        .with("n", n)
        .with("x", "x".repeat(MAX_CONTEXT_BYTES))
}

fn oversized<T: std::fmt::Debug>(result: QueryResult<T>) {
    let error = result.expect_err("the context is too long");
    let Error::QueryBuilderError(error) = error else {
        panic!("another error: {error}");
    };
    let oversized = error
        .downcast::<OversizedContextError>()
        .expect("it says so");
    assert_eq!(oversized.cut(), 1);
    assert_eq!(
        oversized.to_string(),
        "the context is longer than 1040384 bytes, so 1 of its members would be lost: set less, or allow it \
         with ContextPolicy::refused"
    );
}

#[test]
fn a_context_that_is_too_long() {
    let database = Database::new();
    let c = &mut database.wrapped();
    let before = ContextCounters::read().cut;
    sync_scope(too_long(1), || assert_eq!(insert(c, 1), Ok(1)));
    assert_eq!(
        database.log(),
        ["INSERT 1, context 1 lead INSERT"],
        "by default it is cut"
    );
    c.set_policy(ContextPolicy::new().refused(RefusedContext::Error));
    sync_scope(too_long(2), || {
        oversized(insert(c, 2));
        let returned = diesel::insert_into(todos::table).values(todo(2));
        oversized(returned.get_result::<(i32, String)>(c));
        oversized(c.transaction(|c| insert(c, 2)));
        oversized(c.batch_execute("DELETE FROM todos"));
        oversized(sql_query("WITH x AS (DELETE FROM todos) SELECT 1").execute(c));
        // What writes nothing needs no context.
        assert_eq!(todos::table.count().get_result(c), Ok(1_i64));
    });
    assert!(ContextCounters::read().cut - before >= 6);
    with(3, || assert_eq!(insert(c, 3), Ok(1)));
    // The transaction that was begun before goes on.
    let caught = c.transaction(|c| {
        with(4, || insert(c, 4))?;
        sync_scope(too_long(5), || oversized(insert(c, 5)));
        with(4, || insert(c, 6))
    });
    assert_eq!(caught, Ok(1));
    assert_eq!(
        database.log(),
        [
            "INSERT 3, context 3 lead INSERT",
            "INSERT 4, INSERT 6, context 4 - INSERT",
        ]
    );
}
