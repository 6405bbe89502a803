//! Futures that are dropped before they are done.

use bemi_diesel::{AsyncBemiConnection, Context, scope};
use bemi_tests::Database;
use diesel::connection::SimpleConnection;
use diesel::sql_types::Bool;
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager,
};
use futures_util::{FutureExt, StreamExt};

use crate::run::{Log, World, block_on, cluster, contents, prepare, shown};
use crate::schema::{Book, books};
use crate::step::book;

/// What is dropped half-way.
#[derive(Clone, Copy, Debug)]
enum Dropped {
    /// Before it is polled at all.
    Unpolled,
    Insert,
    InsertReturning,
    Batch,
    Transaction,
    Savepoint,
    /// A result, after its first row.
    Stream,
}

const ALL: [Dropped; 7] = [
    Dropped::Unpolled,
    Dropped::Insert,
    Dropped::InsertReturning,
    Dropped::Batch,
    Dropped::Transaction,
    Dropped::Savepoint,
    Dropped::Stream,
];

/// Polls `future` until it waits for a lock that the session elsewhere has, and drops it.
async fn drop_when_blocked(world: &mut World, future: impl Future) {
    let waits = diesel::dsl::sql::<Bool>(
        "EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database \
         WHERE NOT granted AND datname = current_database())",
    );
    world
        .elsewhere
        .batch_execute("BEGIN; LOCK TABLE books")
        .expect("a lock");
    let mut future = Box::pin(future);
    while !diesel::RunQueryDsl::get_result::<bool>(
        diesel::select(waits.clone()),
        &mut world.elsewhere,
    )
    .expect("an answer")
    {
        assert!((&mut future).now_or_never().is_none(), "it should wait");
        tokio::task::yield_now().await;
    }
    drop(future);
    world.elsewhere.batch_execute("COMMIT").expect("its end");
}

/// `run!(connection type, database, what is dropped)`: what becomes of the connection and the database.
macro_rules! run {
    ($connection:ty, $database:expr, $dropped:expr) => {
        async {
            prepare($database, "");
            let mut world = World::new($database);
            let c = &mut <$connection>::establish($database.url())
                .await
                .expect("the server is ready");
            let insert = |title: &str| diesel::insert_into(books::table).values(book(title));
            // What waits for the lock is to be the statement and not its preparation.
            for (one, other) in [("1", "2"), ("3", "4"), ("6", "7")] {
                insert(one).execute(c).await.expect("a row");
                let _book: Book = insert(other).get_result(c).await.expect("a row");
            }
            c.transaction(async |c| insert("5").execute(c).await)
                .await
                .expect("a row");
            match $dropped {
                Dropped::Unpolled => drop(insert("a").execute(c)),
                Dropped::Insert => drop_when_blocked(&mut world, insert("a").execute(c)).await,
                Dropped::InsertReturning => {
                    drop_when_blocked(&mut world, insert("a").get_result::<Book>(c)).await;
                }
                Dropped::Batch => {
                    let batch = "INSERT INTO books (author, title) VALUES (1, 'a')";
                    drop_when_blocked(&mut world, c.batch_execute(batch)).await;
                }
                Dropped::Transaction => {
                    let transaction = c.transaction(async |c| insert("a").execute(c).await);
                    drop_when_blocked(&mut world, transaction).await;
                }
                Dropped::Savepoint => {
                    let transaction = c.transaction(async |c| {
                        sql_query("INSERT INTO authors (name) VALUES ('Dumas')")
                            .execute(c)
                            .await?;
                        c.transaction(async |c| insert("a").execute(c).await).await
                    });
                    drop_when_blocked(&mut world, transaction).await;
                }
                Dropped::Stream => {
                    let many = books::table.select(books::title);
                    let mut rows = many.load_stream::<String>(c).await.expect("rows");
                    let first = rows.next().await.expect("a row");
                    world.log.push(shown(&first));
                }
            }
            let depth =
                AnsiTransactionManager::transaction_manager_status_mut(c).transaction_depth();
            world
                .log
                .push(format!("{depth:?}, broken: {}", c.is_broken()));
            // What the next user of the connection meets.
            world.log.push(shown(&insert("b").execute(c).await));
            world.log.push(shown(
                &c.transaction(async |c| insert("c").execute(c).await).await,
            ));
            world.log.push(shown(&sql_query("COMMIT").execute(c).await));
            world.log.push(shown(&insert("d").execute(c).await));
            world.log.extend(contents($database));
            world.log
        }
    };
}

#[test]
fn the_connection_is_left_alike() {
    use diesel::{QueryDsl, sql_query};
    use diesel_async::AnsiTransactionManager;

    let database = &Database::create_in(cluster()).expect("a database");
    for dropped in ALL {
        let plain: Log = block_on(run!(AsyncPgConnection, database, dropped));
        let context = Context::new().with("n", 0);
        let wrapped = block_on(scope(context, run!(AsyncBemiConnection, database, dropped)));
        assert_eq!(wrapped, plain, "{dropped:?}");
    }
}
