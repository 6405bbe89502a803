//! The wrapped connection of diesel-async.

use bemi_diesel::{AsyncBemiConnection, Context, scope};
use diesel::{ExpressionMethods, QueryDsl, QueryResult};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::json;

use crate::support::{TODOS, Trail, todos};

#[tokio::test]
async fn the_async_connection_in_and_out_of_transactions() {
    let trail = Trail::start(TODOS).await;
    let connection = &mut AsyncBemiConnection::establish(trail.database.url())
        .await
        .unwrap();
    let insert =
        |title: &'static str| diesel::insert_into(todos::table).values(todos::title.eq(title));
    insert("outside").execute(connection).await.unwrap();
    scope(Context::new().with("user", 1), async {
        let id: i32 = insert("alone")
            .returning(todos::id)
            .get_result(connection)
            .await
            .unwrap();
        assert_eq!(id, 2);
        connection
            .transaction(async |connection| -> QueryResult<()> {
                insert("in a transaction").execute(connection).await?;
                diesel::update(todos::table.find(2))
                    .set(todos::done.eq(true))
                    .execute(connection)
                    .await?;
                Ok(())
            })
            .await
            .unwrap();
    })
    .await;
    let sql = "INSERT INTO \"todos\" (\"title\") VALUES ($1) RETURNING \"todos\".\"id\"";
    assert_eq!(
        trail.contexts().await,
        [
            json!(["1", {}]),
            json!(["2", {"user": 1, "SQL": sql}]),
            json!(["3", {"user": 1}]),
            json!(["2", {"user": 1}]),
        ]
    );
}
