//! The same over the asynchronous connection.

use std::future::Future;

use bemi_diesel::{AsyncBemiConnection, Context, SharedContext, scope, set_context};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_query;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SaveChangesDsl, SimpleAsyncConnection,
};
use futures_util::{FutureExt, TryStreamExt};

use crate::{Database, todo, todos};

async fn wrapped(database: &Database) -> AsyncBemiConnection {
    AsyncBemiConnection::establish(database.url())
        .await
        .expect("the server is ready")
}

fn with<F: Future>(n: i32, future: F) -> impl Future<Output = F::Output> {
    scope(Context::new().with("n", n), future)
}

async fn insert(c: &mut AsyncBemiConnection, id: i32) -> QueryResult<usize> {
    diesel::insert_into(todos::table)
        .values(todo(id))
        .execute(c)
        .await
}

#[tokio::test]
async fn writes_and_their_results() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    with(1, async {
        assert_eq!(insert(c, 1).await, Ok(1));
        let row: (i32, String) = diesel::insert_into(todos::table)
            .values(todo(2))
            .get_result(c)
            .await
            .expect("a row");
        assert_eq!(row, (2, "a".to_owned()));
        let titles: Vec<String> = diesel::update(todos::table)
            .set(todos::title.eq("b"))
            .returning(todos::title)
            .load_stream(c)
            .await
            .expect("rows")
            .try_collect()
            .await
            .expect("rows");
        assert_eq!(titles, ["b", "b"]);
        assert_eq!(diesel::delete(todos::table.find(9)).execute(c).await, Ok(0));
        assert_eq!(diesel::delete(todos::table.find(1)).execute(c).await, Ok(1));
        let merged = sql_query("WITH x AS (DELETE FROM todos) SELECT 1");
        assert_eq!(merged.execute(c).await, Ok(1));
        c.batch_execute("INSERT INTO todos VALUES (3, 'a')")
            .await
            .expect("a row");
    })
    .await;
    insert(c, 4).await.expect("a row");
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2, context 1 lead INSERT",
            "UPDATE 1, context 1 lead UPDATE, UPDATE 2",
            "DELETE 1, context 1 - DELETE",
            "context 1 - WITH, DELETE 2",
            "INSERT 3, context 1 - INSERT",
            "INSERT 4",
        ]
    );
}

#[tokio::test]
async fn transactions() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    with(1, async {
        c.transaction(async |c| {
            insert(c, 1).await?;
            c.transaction::<(), _, _>(async |c| {
                with(2, insert(c, 2)).await?;
                Err(Error::RollbackTransaction)
            })
            .await
            .expect_err("rolled back");
            set_context("n", 3);
            insert(c, 3).await
        })
        .await
        .expect("two rows");
        c.build_transaction()
            .serializable()
            .deferrable()
            .run(async |c| {
                let level = diesel::select(diesel::dsl::sql::<diesel::sql_types::Text>(
                    "current_setting('transaction_isolation')",
                ));
                assert_eq!(level.get_result(c).await, Ok("serializable".to_owned()));
                insert(c, 4).await
            })
            .await
            .expect("a row");
        let failed = c.transaction(async |c| {
            insert(c, 5).await?;
            sql_query("SELECT 1/0")
                .execute(c)
                .await
                .expect_err("division by zero");
            Ok::<_, Error>(())
        });
        assert_eq!(failed.await, Ok(()));
        c.batch_execute("BEGIN").await.expect("a transaction");
        insert(c, 6).await.expect("a row");
        c.batch_execute("COMMIT").await.expect("its end");
    })
    .await;
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 - INSERT, context 3 - -, INSERT 3",
            "INSERT 4, context 3 - INSERT",
            "INSERT 6, context 3 - INSERT",
        ]
    );
}

#[tokio::test]
async fn an_error_among_arriving_rows_is_noticed() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    let failing = || {
        diesel::dsl::sql::<diesel::sql_types::Integer>(
            "SELECT 1 / (3 - i) FROM generate_series(1, 3) i",
        )
    };
    with(1, async {
        let swallowed = c
            .transaction(async |c| {
                insert(c, 1).await?;
                let rows: QueryResult<Vec<i32>> = failing().load(c).await;
                rows.expect_err("division by zero");
                Ok::<_, Error>(())
            })
            .await;
        assert_eq!(swallowed, Ok(()));
        insert(c, 1).await.expect("a row");
    })
    .await;
    assert_eq!(database.log(), ["INSERT 1, context 1 lead INSERT"]);
}

#[tokio::test]
async fn a_deferred_constraint_fails_the_commit() {
    let database = Database::new();
    database.sql("CREATE TABLE parts (todo int REFERENCES todos DEFERRABLE INITIALLY DEFERRED)");
    let orphan = || sql_query("INSERT INTO parts VALUES (9)");
    let mut plain = AsyncPgConnection::establish(database.url())
        .await
        .expect("ready");
    let expected = orphan()
        .execute(&mut plain)
        .await
        .expect_err("no such todo");
    let c = &mut wrapped(&database).await;
    with(1, async {
        let refused = c.transaction(async |c| orphan().execute(c).await).await;
        assert_eq!(refused.expect_err("no such todo"), expected);
        let refused = orphan().execute(c).await;
        assert_eq!(refused.expect_err("no such todo"), expected);
        let enclosed = sql_query("WITH x AS (INSERT INTO parts VALUES (9)) SELECT 1");
        let refused = enclosed.execute(c).await;
        assert_eq!(refused.expect_err("no such todo"), expected);
        c.transaction(async |c| insert(c, 1).await)
            .await
            .expect("a row");
    })
    .await;
    assert_eq!(database.log(), ["INSERT 1, context 1 - INSERT"]);
}

#[tokio::test]
async fn pipelined_statements() {
    let database = Database::new();
    let c = &wrapped(&database).await;
    with(1, async {
        let insert = |id| {
            diesel::insert_into(todos::table)
                .values(todo(id))
                .execute(&mut &*c)
        };
        let inserted = futures_util::future::try_join3(insert(1), insert(2), insert(3)).await;
        assert_eq!(inserted, Ok((1, 1, 1)));
        let copied = sql_query("WITH x AS (DELETE FROM todos WHERE id = 1) SELECT 1");
        copied.execute(&mut &*c).await.expect("a row");
    })
    .await;
    let log = database.log();
    assert_eq!(log.len(), 4);
    assert_eq!(log[3], "DELETE 1");
    for id in 1..=3 {
        assert!(log.contains(&format!("INSERT {id}, context 1 lead INSERT")));
    }
}

#[tokio::test]
async fn save_changes() {
    #[derive(AsChangeset, Clone, Copy, Identifiable)]
    #[diesel(table_name = todos)]
    struct Changed {
        id: i32,
        title: &'static str,
    }
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    with(1, async {
        insert(c, 1).await.expect("a row");
        let changed = Changed { id: 1, title: "b" };
        let saved: (i32, String) = (&changed).save_changes(c).await.expect("a row");
        assert_eq!(saved, (1, "b".to_owned()));
    })
    .await;
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "UPDATE 1, context 1 lead UPDATE"
        ]
    );
}

#[tokio::test]
async fn a_pool_and_interleaved_tasks() {
    let database = Database::new();
    let manager = AsyncDieselConnectionManager::<AsyncBemiConnection>::new(database.url());
    let pool = Pool::builder(manager).max_size(2).build().expect("a pool");
    let tasks = (1..=20).map(|n| {
        let pool = pool.clone();
        tokio::spawn(
            SharedContext::new(Context::new().with("n", n)).scope(async move {
                let mut c = pool.get().await.expect("a connection");
                c.transaction(async |c| {
                    diesel::insert_into(todos::table)
                        .values(todo(n))
                        .execute(c)
                        .await
                })
                .await
                .expect("a row");
                diesel::update(todos::table.find(n))
                    .set(todos::title.eq("b"))
                    .execute(&mut c)
                    .await
                    .expect("a row");
            }),
        )
    });
    futures_util::future::try_join_all(tasks)
        .await
        .expect("no panic");
    let mut log = database.log();
    log.sort();
    let mut expected: Vec<String> = (1..=20)
        .flat_map(|n| {
            [
                format!("INSERT {n}, context {n} - INSERT"),
                format!("UPDATE {n}, context {n} - UPDATE"),
            ]
        })
        .collect();
    expected.sort();
    assert_eq!(log, expected);
}

#[tokio::test]
async fn a_future_that_is_dropped_half_way() {
    use diesel_async::pooled_connection::PoolableConnection;

    let database = Database::new();
    let (locking, watching) = (&mut database.plain(), &mut database.plain());
    for next in 0..2 {
        let c = &mut wrapped(&database).await;
        diesel::connection::SimpleConnection::batch_execute(locking, "BEGIN; LOCK TABLE todos")
            .expect("a lock");
        let blocked = with(1, async {
            // It waits for the lock, between the `BEGIN` and the `COMMIT` around it.
            let write = sql_query("WITH x AS (INSERT INTO todos VALUES (1, 'a')) SELECT 1");
            let mut write = Box::pin(write.execute(c));
            let waits = diesel::dsl::sql::<diesel::sql_types::Bool>(
                "EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database \
                 WHERE NOT granted AND datname = current_database())",
            );
            while !diesel::RunQueryDsl::get_result::<bool>(diesel::select(waits.clone()), watching)
                .expect("an answer")
            {
                assert!((&mut write).now_or_never().is_none());
                tokio::task::yield_now().await;
            }
        });
        blocked.await;
        diesel::connection::SimpleConnection::batch_execute(locking, "COMMIT").expect("its end");
        assert!(c.is_broken());
        with(2, async {
            if next == 0 {
                insert(c, 2).await.expect("a row");
            } else {
                c.transaction(async |c| insert(c, 3).await)
                    .await
                    .expect("a row");
            }
        })
        .await;
        assert!(!c.is_broken());
    }
    assert_eq!(
        database.log(),
        [
            "INSERT 2, context 2 lead INSERT",
            "INSERT 3, context 2 - INSERT"
        ]
    );
}

#[tokio::test]
async fn a_view_that_refuses_a_returning() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    database.sql(
        "CREATE VIEW ruled AS SELECT * FROM todos; CREATE RULE r AS ON INSERT TO ruled \
         DO INSTEAD INSERT INTO todos VALUES (NEW.id, NEW.title)",
    );
    let values = |id: i32| (crate::ruled::id.eq(id), crate::ruled::title.eq("a"));
    let insert = |id| diesel::insert_into(crate::ruled::table).values(values(id));
    with(1, async {
        for id in 1..=2 {
            assert_eq!(insert(id).execute(c).await, Ok(1));
        }
    })
    .await;
    assert_eq!(database.log(), ["INSERT 1", "context 1 - INSERT, INSERT 2"]);
}

#[tokio::test]
async fn a_user_who_loses_the_right() {
    let database = Database::new();
    let url = database.url_of_role("async_robbed");
    let connect = async || AsyncBemiConnection::establish(&url).await.expect("ready");
    let (executing, loading, streaming, committing) = (
        &mut connect().await,
        &mut connect().await,
        &mut connect().await,
        &mut connect().await,
    );
    with(1, async {
        assert_eq!(insert(executing, 1).await, Ok(1));
        let committed = committing.transaction(async |c| {
            insert(c, 2).await?;
            database.revoke();
            with(2, insert(c, 3)).await
        });
        assert_eq!(committed.await, Ok(1));
        assert_eq!(insert(executing, 4).await, Ok(1));
        let returned = |id| {
            diesel::insert_into(todos::table)
                .values(todo(id))
                .returning(todos::id)
        };
        assert_eq!(returned(5).get_result(loading).await, Ok(5));
        let rows: QueryResult<Vec<i32>> = returned(6)
            .load_stream::<i32>(streaming)
            .await
            .expect("a stream")
            .try_collect()
            .await;
        assert_eq!(rows, Ok(vec![6]));
        let updated = diesel::update(todos::table).set(todos::title.eq("b"));
        assert_eq!(updated.execute(&mut connect().await).await, Ok(6));
    })
    .await;
    let mut log = database.log();
    assert_eq!(log.pop().expect("an update").matches("UPDATE").count(), 6);
    assert_eq!(
        log,
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2, INSERT 3",
            "INSERT 4",
            "INSERT 5",
            "INSERT 6",
        ]
    );
}

#[tokio::test]
async fn errors_are_the_applications_own() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    let plain = &mut AsyncPgConnection::establish(database.url())
        .await
        .expect("ready");
    let failing = || {
        diesel::update(todos::table)
            .set(todos::title.eq(""))
            .returning(todos::id)
    };
    insert(c, 1).await.expect("a row");
    let expected = failing().get_result::<i32>(plain).await;
    with(1, async {
        assert_eq!(failing().get_result::<i32>(c).await, expected);
        let mut rows = failing().load_stream::<i32>(c).await.expect("a stream");
        let refused = rows.try_next().await;
        assert_eq!(
            refused.expect_err("a check"),
            expected.expect_err("a check")
        );
    })
    .await;
    for sql in [
        "UPDATE todos SET nothing = 1",
        "INSERT INTO todos VALUES (1, nothing)",
        "INSERT INTO todos VALUES (1, 'a')",
    ] {
        let expected = sql_query(sql).execute(plain).await.expect_err(sql);
        let Error::DatabaseError(_, expected) = expected else {
            panic!("{expected}");
        };
        let error = with(1, async { sql_query(sql).execute(c).await })
            .await
            .expect_err(sql);
        let Error::DatabaseError(_, error) = error else {
            panic!("{error}");
        };
        assert_eq!(error.message(), expected.message());
        assert_eq!(error.statement_position(), expected.statement_position());
    }
    assert_eq!(database.log(), ["INSERT 1"]);
}

#[tokio::test]
async fn a_statement_without_a_row_that_fails_at_its_end() {
    let database = Database::new();
    database.sql(crate::ORPHANS);
    let c = &mut wrapped(&database).await;
    let plain = &mut AsyncPgConnection::establish(database.url())
        .await
        .expect("ready");
    for sql in [
        "INSERT INTO todos VALUES (1, 'a')",
        "UPDATE todos SET title = 'b' WHERE false",
    ] {
        let expected = sql_query(sql).execute(plain).await;
        let error = with(1, async { sql_query(sql).execute(c).await }).await;
        assert_eq!(error.expect_err(sql), expected.expect_err(sql));
    }
    assert_eq!(database.log(), [""; 0]);
}

#[tokio::test]
async fn parameters_beyond_those_of_the_text() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    let insert = sql_query("INSERT INTO todos VALUES ($1, 'a')")
        .bind::<diesel::sql_types::Integer, _>(1)
        .bind::<diesel::sql_types::Integer, _>(2);
    assert_eq!(with(1, async { insert.execute(c).await }).await, Ok(1));
    assert_eq!(database.log(), ["INSERT 1, context 1 lead INSERT"]);
}

#[tokio::test]
async fn a_user_who_may_not_write_messages() {
    let database = Database::new();
    database.revoke();
    let url = database.url_of_role("silent");
    let c = &mut AsyncBemiConnection::establish(&url).await.expect("ready");
    with(1, async {
        insert(c, 1).await.expect("a row");
        insert(c, 2).await.expect("a row");
        c.transaction(async |c| insert(c, 3).await)
            .await
            .expect("a row");
    })
    .await;
    assert_eq!(database.log(), ["INSERT 1", "INSERT 2", "INSERT 3"]);
}

#[tokio::test]
async fn test_transactions() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    c.begin_test_transaction().await.expect("a transaction");
    with(1, insert(c, 1)).await.expect("a row");
    assert_eq!(todos::table.count().get_result(c).await, Ok(1_i64));
    assert_eq!(database.log(), [""; 0]);
}

#[tokio::test]
async fn the_message_among_the_values() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    for id in 0..3 {
        assert_eq!(with(0, async { insert(c, id).await }).await, Ok(1));
    }
    assert_eq!(with(1, async { insert(c, 11).await }).await, Ok(1));
    let row = with(2, async {
        let values = diesel::insert_into(todos::table).values(todo(12));
        values.get_result::<(i32, String)>(c).await
    });
    assert_eq!(row.await, Ok((12, "a".to_owned())));
    let again = with(3, async { insert(c, 12).await }).await;
    assert!(matches!(
        again,
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
    ));
    assert_eq!(
        database.log()[3..],
        [
            "context 1 - INSERT, INSERT 11",
            "context 2 - INSERT, INSERT 12",
        ]
    );
}
