//! The context of a statement whose future is made in one place and awaited in another.

use std::future::Future;

use bemi_diesel::{
    AsyncBemiConnection, Context, ContextPolicy, MissingContext, SharedContext, scope, set_context,
    sync_scope,
};
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_query;
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::TryStreamExt;
use futures_util::future::{join3, try_join3};

use crate::{Database, moods, todo, todos};

async fn wrapped(database: &Database) -> AsyncBemiConnection {
    AsyncBemiConnection::establish(database.url())
        .await
        .expect("the server is ready")
}

fn n(n: i32) -> Context {
    Context::new().with("n", n)
}

fn with<F: Future>(number: i32, future: F) -> impl Future<Output = F::Output> {
    scope(n(number), future)
}

/// Inserts this row, with the diesel-async call as the caller's own expression.
macro_rules! insert {
    ($id:expr, $connection:expr) => {
        diesel::insert_into(todos::table)
            .values(todo($id))
            .execute($connection)
    };
}

#[tokio::test]
async fn a_scope_around_nothing_but_the_call() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    // Enough of them that the message comes to stand among the values.
    for id in 1..=4 {
        assert_eq!(with(id, insert!(id, c)).await, Ok(1));
    }
    let row = diesel::insert_into(todos::table).values(todo(5));
    let row = with(5, row.get_result::<(i32, String)>(c)).await;
    assert_eq!(row, Ok((5, "a".to_owned())));
    let titles = diesel::update(todos::table)
        .set(todos::title.eq("b"))
        .returning(todos::title);
    let titles = with(6, titles.load_stream::<String>(c)).await;
    let titles: Vec<String> = titles.expect("rows").try_collect().await.expect("rows");
    assert_eq!(titles, ["b"; 5]);
    let enclosed = sql_query("WITH x AS (DELETE FROM todos WHERE id = 1) SELECT 1");
    assert_eq!(with(7, enclosed.execute(c)).await, Ok(1));
    let deleted = diesel::delete(todos::table.filter(todos::id.gt(3)));
    assert_eq!(with(8, deleted.execute(c)).await, Ok(2));
    c.transaction(async |c| {
        with(9, insert!(9, c)).await?;
        with(10, insert!(10, c)).await
    })
    .await
    .expect("two rows");
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2, context 2 lead INSERT",
            "INSERT 3, context 3 lead INSERT",
            "context 4 - INSERT, INSERT 4",
            "context 5 - INSERT, INSERT 5",
            "UPDATE 1, context 6 lead UPDATE, UPDATE 2, UPDATE 3, UPDATE 4, UPDATE 5",
            "context 7 - WITH, DELETE 1",
            "DELETE 4, DELETE 5, context 8 - DELETE",
            "INSERT 9, context 9 - INSERT, context 10 - -, INSERT 10",
        ]
    );
}

#[tokio::test]
async fn the_innermost_scope_at_the_first_poll_wins() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    with(1, async {
        assert_eq!(with(2, insert!(2, c)).await, Ok(1));
        // Also of a change after the call.
        let insert = insert!(3, c);
        set_context("n", 3);
        assert_eq!(insert.await, Ok(1));
        c.transaction(async |c| {
            let insert = insert!(4, c);
            set_context("n", 4);
            insert.await
        })
        .await
        .expect("a row");
    })
    .await;
    assert_eq!(
        database.log(),
        [
            "INSERT 2, context 2 lead INSERT",
            "INSERT 3, context 3 lead INSERT",
            "INSERT 4, context 4 - INSERT",
        ]
    );
}

#[tokio::test]
async fn outside_of_every_scope_that_of_the_call_stays() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    assert_eq!(sync_scope(n(1), || insert!(1, c)).await, Ok(1));
    let enclosed = sql_query("WITH x AS (INSERT INTO todos VALUES (2, 'a')) SELECT 1");
    assert_eq!(sync_scope(n(2), || enclosed.execute(c)).await, Ok(1));
    c.transaction(async |c| sync_scope(n(3), || insert!(3, c)).await)
        .await
        .expect("a row");
    let c = &*c;
    let inserted = sync_scope(n(4), || {
        try_join3(
            insert!(4, &mut &*c),
            insert!(5, &mut &*c),
            insert!(6, &mut &*c),
        )
    });
    assert_eq!(inserted.await, Ok((1, 1, 1)));
    let mut log = database.log();
    log[3..].sort();
    assert_eq!(
        log,
        [
            "INSERT 1, context 1 lead INSERT",
            "context 2 - WITH, INSERT 2",
            "INSERT 3, context 3 - INSERT",
            "INSERT 4, context 4 lead INSERT",
            "INSERT 5, context 4 lead INSERT",
            "INSERT 6, context 4 lead INSERT",
        ]
    );
}

#[tokio::test]
async fn pipelined_each_in_its_own() {
    let database = Database::new();
    let c = &wrapped(&database).await;
    let inserted = join3(
        with(1, insert!(1, &mut &*c)),
        insert!(2, &mut &*c),
        with(3, insert!(3, &mut &*c)),
    );
    assert_eq!(inserted.await, (Ok(1), Ok(1), Ok(1)));
    let mut log = database.log();
    log.sort();
    assert_eq!(
        log,
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2",
            "INSERT 3, context 3 lead INSERT",
        ]
    );
}

#[tokio::test]
async fn what_only_the_server_knows_the_type_of() {
    let database = Database::new();
    database.sql(moods::TABLES);
    let c = &mut wrapped(&database).await;
    let insert = || diesel::insert_into(moods::moods::table).values(moods::fine());
    let delete = || diesel::delete(moods::moods::table);
    // Its text cannot be made anew, so a transaction goes around it.
    assert_eq!(with(1, insert().execute(c)).await, Ok(1));
    assert_eq!(with(2, delete().execute(c)).await, Ok(1));
    with(3, async {
        assert_eq!(insert().execute(c).await, Ok(1));
        assert_eq!(delete().execute(c).await, Ok(1));
        // It carries the context of the call already.
        assert_eq!(with(4, insert().execute(c)).await, Ok(1));
    })
    .await;
    assert_eq!(
        database.log(),
        [
            "context 1 - INSERT, INSERT 'fine'",
            "DELETE 'fine', context 2 - DELETE",
            "INSERT 'fine', context 3 lead INSERT",
            "DELETE 'fine', context 3 - DELETE",
            "INSERT 'fine', context 3 lead INSERT",
        ]
    );
}

#[tokio::test]
async fn the_policy_asks_at_the_first_poll() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    c.set_policy(ContextPolicy::new().missing(MissingContext::Error));
    let unpolled = insert!(1, c);
    drop(unpolled);
    assert_eq!(with(1, insert!(1, c)).await, Ok(1));
    assert!(matches!(
        insert!(2, c).await,
        Err(Error::QueryBuilderError(_))
    ));
    let refused = c.transaction(async |c| insert!(2, c).await);
    assert!(matches!(refused.await, Err(Error::QueryBuilderError(_))));
    assert_eq!(database.log(), ["INSERT 1, context 1 lead INSERT"]);
}

#[tokio::test]
async fn a_future_that_is_never_polled_leaves_nothing_behind() {
    let database = Database::new();
    let c = &mut wrapped(&database).await;
    c.transaction(async |c| {
        sync_scope(n(1), || drop(insert!(1, c)));
        SharedContext::new(n(2)).scope(insert!(2, c)).await
    })
    .await
    .expect("a row");
    assert_eq!(database.log(), ["INSERT 2, context 2 - INSERT"]);
}
