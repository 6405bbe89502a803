//! How much memory a statement that changes many rows takes in the client.
//!
//! The only test of its process, as it measures the process.

#![allow(missing_docs, reason = "a test has no users")]

use std::fs;

use bemi_diesel::{AsyncBemiConnection, BemiConnection, Context, scope, sync_scope};
use bemi_tests::Database;
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, QueryResult, RunQueryDsl, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection};

const ROWS: usize = 1_000_000;

/// Ten bytes a row, which no row can do with.
const MOST: usize = 10 << 20;

#[test]
fn an_update_of_a_million_rows() {
    let database = Database::create().expect("a database");
    let url = database.url();
    PgConnection::establish(url)
        .expect("the server is ready")
        .batch_execute(&format!(
            "CREATE UNLOGGED TABLE numbers AS SELECT n FROM generate_series(1, {ROWS}) n"
        ))
        .expect("a table");
    let context = || Context::new().with("user_id", 7);

    let plain = sync_scope(context(), || sync::<PgConnection>(url));
    let bemi = sync_scope(context(), || sync::<BemiConnection>(url));
    assert!(bemi <= plain + MOST, "{bemi} bytes instead of {plain}");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    macro_rules! asynchronous {
        ($connection:ty) => {
            runtime.block_on(scope(context(), async {
                let mut c = <$connection>::establish(url)
                    .await
                    .expect("the server is ready");
                let before = forget_peak();
                let updated = diesel_async::RunQueryDsl::execute(update(), &mut c).await;
                assert_eq!(updated, Ok(ROWS));
                peak() - before
            }))
        };
    }
    let plain = asynchronous!(AsyncPgConnection);
    let bemi = asynchronous!(AsyncBemiConnection);
    assert!(bemi <= plain + MOST, "{bemi} bytes instead of {plain}");
}

/// The most memory that an UPDATE of all rows takes, in bytes.
fn sync<C>(url: &str) -> usize
where
    C: Connection,
    diesel::query_builder::SqlQuery: RunQueryDsl<C> + diesel::query_dsl::methods::ExecuteDsl<C>,
{
    let mut c = C::establish(url).expect("the server is ready");
    let before = forget_peak();
    let updated: QueryResult<usize> = update().execute(&mut c);
    assert_eq!(updated, Ok(ROWS));
    peak() - before
}

fn update() -> diesel::query_builder::SqlQuery {
    sql_query("UPDATE numbers SET n = n + 1")
}

/// Forgets how much memory this process has had at most, and returns how much it has, in bytes. See
/// [`clear_refs`](https://docs.kernel.org/filesystems/proc.html).
fn forget_peak() -> usize {
    fs::write("/proc/self/clear_refs", "5").expect("Linux");
    peak()
}

fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .expect("a number");
    1024 * kibibytes.trim().parse::<usize>().expect("a number")
}
