//! The wrapped connections against a real PostgreSQL, and what they leave in its log.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "diesel's macros write items without"
)]

mod alike;
mod asynchronous;
mod autocommit;
mod database;
mod fallback;
mod inline;
mod moods;
mod panics;
mod pgbouncer;
mod policy;
mod polled;
mod pools;
mod refused;
mod traits;
mod transactions;

use bemi_diesel::{BemiConnection, Context, sync_scope};
use diesel::prelude::*;

pub(crate) use database::Database;

diesel::table! {
    todos {
        id -> Integer,
        title -> Text,
    }
}

diesel::table! {
    ruled (id) {
        id -> Integer,
        title -> Text,
    }
}

/// Makes every statement on `todos` fail at the end of its transaction, whether it changes a row or not.
pub(crate) const ORPHANS: &str = "\
    CREATE TABLE parts (todo int REFERENCES todos DEFERRABLE INITIALLY DEFERRED); \
    CREATE FUNCTION orphan() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN INSERT INTO parts VALUES (9); RETURN NULL; END'; \
    CREATE TRIGGER orphan BEFORE INSERT OR UPDATE OR DELETE ON todos \
    FOR EACH STATEMENT EXECUTE FUNCTION orphan(); \
    CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
    CREATE TRIGGER swallow BEFORE INSERT ON todos FOR EACH ROW EXECUTE FUNCTION swallow()";

/// A row to insert.
pub(crate) fn todo(
    id: i32,
) -> (
    diesel::dsl::Eq<todos::id, i32>,
    diesel::dsl::Eq<todos::title, &'static str>,
) {
    (todos::id.eq(id), todos::title.eq("a"))
}

/// Runs `f` with `{"n": n}` as its context.
pub(crate) fn with<R>(n: i32, f: impl FnOnce() -> R) -> R {
    sync_scope(Context::new().with("n", n), f)
}

pub(crate) fn insert(connection: &mut BemiConnection, id: i32) -> QueryResult<usize> {
    diesel::insert_into(todos::table)
        .values(todo(id))
        .execute(connection)
}
