//! The pools that diesel-async knows, each with the wrapped connection. (deadpool: `asynchronous`.)

use bemi_diesel::{AsyncBemiConnection, Context, scope};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8, mobc};
use diesel_async::{AsyncConnection, RunQueryDsl};

use crate::{Database, todo, todos};

type Manager = AsyncDieselConnectionManager<AsyncBemiConnection>;

/// Writes two rows, each in a context of its own, outside a transaction and in one.
async fn write(c: &mut AsyncBemiConnection, id: i32) {
    scope(Context::new().with("n", id), async {
        let inserted = diesel::insert_into(todos::table).values(todo(id));
        assert_eq!(inserted.execute(c).await, Ok(1));
    })
    .await;
    scope(Context::new().with("n", id + 1), async {
        let inserted = c.transaction(async |c| {
            let inserted = diesel::insert_into(todos::table).values(todo(id + 1));
            inserted.execute(c).await
        });
        assert_eq!(inserted.await, Ok(1));
    })
    .await;
}

fn expected() -> [String; 4] {
    [1, 2, 3, 4].map(|id| {
        let hint = if id % 2 == 1 { "lead" } else { "-" };
        format!("INSERT {id}, context {id} {hint} INSERT")
    })
}

#[tokio::test]
async fn bb8_lends_it() {
    let database = Database::new();
    let pool = bb8::Pool::builder()
        .max_size(1)
        .build(Manager::new(database.url()))
        .await
        .expect("a pool");
    for id in [1, 3] {
        write(&mut pool.get().await.expect("a connection"), id).await;
    }
    assert_eq!(database.log(), expected());
}

#[tokio::test]
async fn mobc_lends_it() {
    let database = Database::new();
    let pool = mobc::Pool::builder()
        .max_open(1)
        .build(Manager::new(database.url()));
    for id in [1, 3] {
        write(&mut pool.get().await.expect("a connection"), id).await;
    }
    assert_eq!(database.log(), expected());
}
