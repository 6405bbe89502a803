//! The same over the asynchronous connection.

use bemi_diesel::{AsyncBemiConnection, Context, ContextPolicy, RefusedContext, scope};
use diesel::sql_query;
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};

use super::{demanding, missing, oversized, refused, too_long};
use crate::{Database, todo, todos};

#[tokio::test]
async fn a_write_without_a_context_is_not_sent() {
    let database = Database::new();
    let c = &mut AsyncBemiConnection::establish(database.url())
        .await
        .expect("the server is ready");
    c.set_policy(demanding());
    let table = Some("todos".to_owned());
    let inserted = diesel::insert_into(todos::table).values(todo(1));
    assert_eq!(missing(inserted.execute(c).await), table);
    assert_eq!(
        missing(inserted.get_result::<(i32, String)>(c).await),
        table
    );
    assert_eq!(missing(c.batch_execute("DELETE FROM todos").await), table);
    c.set_policy(demanding().except_tables(["todos"]));
    assert_eq!(inserted.execute(c).await, Ok(1));
    assert_eq!(database.log(), ["INSERT 1"]);
}

#[tokio::test]
async fn without_its_message_nothing_is_written() {
    let database = Database::new();
    database.revoke();
    let url = database.url_of_role("strict_async");
    let c = &mut AsyncBemiConnection::establish(&url)
        .await
        .expect("the server is ready");
    c.set_policy(ContextPolicy::new().refused(RefusedContext::Error));
    let context = Context::new().with("n", 1);
    scope(context, async {
        let inserted = diesel::insert_into(todos::table).values(todo(1));
        refused(inserted.execute(c).await);
        refused(inserted.get_result::<(i32, String)>(c).await);
        refused(sql_query("DELETE FROM todos;").execute(c).await);
        let committed = c.transaction(async |c| inserted.execute(c).await);
        refused(committed.await);
    })
    .await;
    assert_eq!(database.log(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_context_that_is_too_long() {
    let database = Database::new();
    let c = &mut AsyncBemiConnection::establish(database.url())
        .await
        .expect("the server is ready");
    let insert = |id| diesel::insert_into(todos::table).values(todo(id));
    scope(too_long(1), async {
        assert_eq!(insert(1).execute(c).await, Ok(1));
    })
    .await;
    c.set_policy(ContextPolicy::new().refused(RefusedContext::Error));
    scope(too_long(2), async {
        oversized(insert(2).execute(c).await);
        oversized(insert(2).get_result::<(i32, String)>(c).await);
        oversized(c.batch_execute("DELETE FROM todos").await);
        let committed = c.transaction(async |c| insert(2).execute(c).await);
        oversized(committed.await);
    })
    .await;
    oversized(scope(too_long(3), insert(3).execute(c)).await);
    assert_eq!(database.log(), ["INSERT 1, context 1 lead INSERT"]);
}
