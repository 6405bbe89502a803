//! Panics of the application's own: the context ends with them, and the next user of the connection has
//! nothing of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bemi_diesel::{BemiConnection, current_context};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::r2d2::{ConnectionManager, Pool, R2D2Connection};
use diesel::result::Error;

use crate::{Database, insert, todos, with};

/// Runs `f`, which panics.
fn panics(f: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
}

/// A statement that cannot be written down.
#[derive(QueryId)]
struct Panics;

impl QueryFragment<Pg> for Panics {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("DELETE FROM todos");
        panic!("the application's own")
    }
}

impl diesel::RunQueryDsl<BemiConnection> for Panics {}

#[test]
fn a_pool_goes_on() {
    let database = Database::new();
    let manager = ConnectionManager::<BemiConnection>::new(database.url());
    let pool = Pool::builder().max_size(1).build(manager).expect("a pool");
    let get = || pool.get().expect("a connection");
    let pid = |c: &mut BemiConnection| {
        let pid = diesel::dsl::sql::<diesel::sql_types::Integer>("pg_backend_pid()");
        diesel::select(pid).get_result::<i32>(c).expect("a number")
    };
    let first = pid(&mut get());
    // What is dropped by the panic itself r2d2 throws away; this one is not.
    let mut c = get();
    panics(|| {
        with(1, || {
            insert(&mut c, 1).expect("a row");
            panic!("between two statements");
        });
    });
    drop(c);
    assert_eq!(current_context(), None);
    assert_eq!(pid(&mut get()), first);
    insert(&mut get(), 2).expect("a row");

    panics(|| {
        with(2, || {
            get()
                .transaction(|c| -> QueryResult<()> {
                    insert(c, 3)?;
                    panic!("in a transaction");
                })
                .expect("not reached");
        });
    });
    assert_eq!(current_context(), None);
    // It came back in a transaction, and was thrown away.
    let second = pid(&mut get());
    assert_ne!(second, first);
    insert(&mut get(), 4).expect("a row");

    let mut c = get();
    panics(|| {
        with(3, || {
            insert(&mut c, 5).expect("a row");
            Panics.execute(&mut c).expect("not reached");
        });
    });
    drop(c);
    insert(&mut get(), 6).expect("a row");
    assert_eq!(pid(&mut get()), second);
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2",
            "INSERT 4",
            "INSERT 5, context 3 lead INSERT",
            "INSERT 6",
        ]
    );
}

#[test]
fn in_the_transaction_around_a_statement() {
    let database = Database::new();
    let c = &mut database.wrapped();
    let copy = |c: &mut BemiConnection| {
        diesel::copy_from(todos::table)
            .from_raw_data(todos::table, |to| -> Result<(), Error> {
                to.write_all(b"1\ta\n")
                    .map_err(|error| Error::SerializationError(Box::new(error)))?;
                panic!("half-way")
            })
            .execute(c)
            .expect("not reached");
    };
    panics(|| with(1, || copy(c)));
    assert!(R2D2Connection::is_broken(c));
    assert_eq!(database.log(), [""; 0]);
}

mod asynchronous {
    use bemi_diesel::{AsyncBemiConnection, Context, current_context, scope};
    use diesel::{QueryResult, sql_query};
    use diesel_async::pooled_connection::AsyncDieselConnectionManager;
    use diesel_async::pooled_connection::deadpool::Pool;
    use diesel_async::{AsyncConnection, RunQueryDsl};

    use crate::{Database, todo, todos};

    #[tokio::test]
    async fn a_pool_goes_on() {
        let database = Database::new();
        let manager = AsyncDieselConnectionManager::<AsyncBemiConnection>::new(database.url());
        let pool = Pool::builder(manager).max_size(1).build().expect("a pool");
        {
            // Asks the server, so that the first write is like the others.
            let mut c = pool.get().await.expect("a connection");
            let read = c.transaction(async |c| sql_query("SELECT 1").execute(c).await);
            scope(Context::new(), read).await.expect("a read");
        }
        for (id, in_transaction) in [(1, false), (3, true)] {
            let of_task = pool.clone();
            let task = scope(Context::new().with("n", id), async move {
                let mut c = of_task.get().await.expect("a connection");
                let insert = diesel::insert_into(todos::table).values(todo(id));
                if in_transaction {
                    c.transaction(async |c| -> QueryResult<()> {
                        insert.execute(c).await?;
                        panic!("in a transaction");
                    })
                    .await
                    .expect("not reached");
                } else {
                    insert.execute(&mut c).await.expect("a row");
                    panic!("between two statements");
                }
            });
            tokio::spawn(task).await.expect_err("a panic");
            assert_eq!(current_context(), None);
            let mut c = pool.get().await.expect("a connection");
            let next = diesel::insert_into(todos::table).values(todo(id + 1));
            next.execute(&mut c).await.expect("a row");
        }
        assert_eq!(
            database.log(),
            ["INSERT 1, context 1 lead INSERT", "INSERT 2", "INSERT 4"]
        );
    }
}
