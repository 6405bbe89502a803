//! What the steps of the differential test do not have: the same program on a plain and on a wrapped connection,
//! with the same results, errors and rows; and the contexts that the second leaves in the log.

mod copies;
mod loading;
mod migrations;
mod pipelined;
mod pools;
mod sessions;
mod transactions;
mod wrappers;

use std::fmt::Debug;

use diesel::result::{Error, QueryResult};

/// Runs the body with each of two types of connection, as `Own`, each in a database of its own and with `n: 1` as
/// the context. The body pushes what it has seen. Gives what the second left in the log.
macro_rules! alike {
    ([$plain:ty, $wrapped:ty], |$database:ident, $c:ident, $seen:ident| $body:block) => {{
        let (plain, _) = $crate::alike::alike!(@run $plain, $database, $c, $seen, $body);
        let (wrapped, log) = $crate::alike::alike!(@run $wrapped, $database, $c, $seen, $body);
        assert_eq!(wrapped, plain);
        log
    }};
    (@run $own:ty, $database:ident, $c:ident, $seen:ident, $body:block) => {{
        #[allow(dead_code, reason = "only some programs make more of them")]
        type Own = $own;
        let $database = &$crate::Database::new();
        let mut $seen: Vec<String> = Vec::new();
        {
            let $c = &mut <$own>::establish($database.url()).expect("the server is ready");
            $crate::with(1, || $body);
        }
        $seen.extend($database.contents());
        ($seen, $database.log())
    }};
}

/// The same for connections that do not block.
macro_rules! alike_async {
    ([$plain:ty, $wrapped:ty], |$database:ident, $c:ident, $seen:ident| $body:block) => {{
        let (plain, _) = $crate::alike::alike_async!(@run $plain, $database, $c, $seen, $body);
        let (wrapped, log) = $crate::alike::alike_async!(@run $wrapped, $database, $c, $seen, $body);
        assert_eq!(wrapped, plain);
        log
    }};
    (@run $own:ty, $database:ident, $c:ident, $seen:ident, $body:block) => {{
        #[allow(dead_code, reason = "only some programs make more of them")]
        type Own = $own;
        let $database = &$crate::Database::new();
        let mut $seen: Vec<String> = Vec::new();
        {
            let $c = &mut <$own>::establish($database.url())
                .await
                .expect("the server is ready");
            bemi_diesel::scope(bemi_diesel::Context::new().with("n", 1), async { $body }).await;
        }
        $seen.extend($database.contents());
        ($seen, $database.log())
    }};
}

/// Inserts this row; for connections that do not block it is the future.
macro_rules! insert {
    ($c:expr, $id:expr) => {
        diesel::insert_into($crate::todos::table)
            .values($crate::todo($id))
            .execute($c)
    };
}

use {alike, alike_async, insert};

/// A result in full: of an error the kind, the message and whatever else the server said.
fn shown<T: Debug>(result: &QueryResult<T>) -> String {
    match result {
        Err(Error::DatabaseError(kind, about)) => format!(
            "{kind:?}: {} ({:?}, {:?}, {:?}, {:?}, {:?}, {:?})",
            about.message(),
            about.details(),
            about.hint(),
            about.table_name(),
            about.column_name(),
            about.constraint_name(),
            about.statement_position(),
        ),
        other => format!("{other:?}"),
    }
}
