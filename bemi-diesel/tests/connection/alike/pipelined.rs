//! Statements that are sent without waiting for the one before.

use bemi_diesel::AsyncBemiConnection;
use diesel::prelude::*;
use diesel::result::Error;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::{join_all, join3, try_join3};

use super::{alike_async, insert, shown};
use crate::{todo, todos};

#[tokio::test]
async fn outside_a_transaction() {
    let log = alike_async!(
        [AsyncPgConnection, AsyncBemiConnection],
        |database, c, seen| {
            let c = &*c;
            let inserted = join_all((1..=6).map(|id| insert!(&mut &*c, id))).await;
            seen.extend(inserted.iter().map(shown));
            // One of them fails, and the others do not.
            let (first, second, third) = join3(
                insert!(&mut &*c, 7),
                insert!(&mut &*c, 1),
                insert!(&mut &*c, 8),
            )
            .await;
            seen.extend([shown(&first), shown(&second), shown(&third)]);
            let stopped = try_join3(
                insert!(&mut &*c, 9),
                insert!(&mut &*c, 1),
                insert!(&mut &*c, 10),
            );
            seen.push(shown(&stopped.await));
            // What is different goes together as well.
            let row = diesel::insert_into(todos::table).values(todo(11));
            let (row, changed, titles) = join3(
                row.get_result::<(i32, String)>(&mut &*c),
                diesel::update(todos::table.find(2))
                    .set(todos::title.eq("b"))
                    .execute(&mut &*c),
                todos::table
                    .filter(todos::id.le(2))
                    .order(todos::id)
                    .select(todos::title)
                    .load::<String>(&mut &*c),
            )
            .await;
            seen.extend([shown(&row), shown(&changed), shown(&titles)]);
            seen.push(shown(
                &(&mut &*c)
                    .batch_execute("DELETE FROM todos WHERE id = 3")
                    .await,
            ));
        }
    );
    let mut log = log;
    log.sort();
    let lead = |id: i32| format!("INSERT {id}, context 1 lead INSERT");
    let among = |id: i32| format!("context 1 - INSERT, INSERT {id}");
    let mut expected: Vec<String> = (1..=6).map(lead).collect();
    expected.extend([7, 8, 9, 10, 11].map(among));
    expected.push("UPDATE 2, context 1 - UPDATE".to_owned());
    expected.push("DELETE 3, context 1 - DELETE".to_owned());
    expected.sort();
    assert_eq!(log, expected);
}

#[tokio::test]
async fn in_a_transaction() {
    let log = alike_async!(
        [AsyncPgConnection, AsyncBemiConnection],
        |database, c, seen| {
            let inserted = c.transaction(async |c| {
                let c = &*c;
                try_join3(
                    insert!(&mut &*c, 1),
                    insert!(&mut &*c, 2),
                    insert!(&mut &*c, 3),
                )
                .await
            });
            seen.push(shown(&inserted.await));
            // One fails, and with it those behind it.
            let mut all = Vec::new();
            let failed = c
                .transaction(async |c| {
                    let c = &*c;
                    let inserted = join_all([4, 1, 5].map(|id| insert!(&mut &*c, id))).await;
                    all.extend(inserted.iter().map(shown));
                    inserted.into_iter().collect::<QueryResult<Vec<_>>>()
                })
                .await;
            seen.append(&mut all);
            seen.push(shown(&failed));
            // It fails in a savepoint, which takes the failure back.
            let mended = c.transaction(async |c| {
                insert!(c, 6).await?;
                c.transaction(async |c| {
                    let c = &*c;
                    try_join3(
                        insert!(&mut &*c, 7),
                        insert!(&mut &*c, 1),
                        insert!(&mut &*c, 8),
                    )
                    .await
                })
                .await
                .expect_err("there is one already");
                insert!(c, 9).await
            });
            seen.push(shown(&mended.await));
            let rolled_back = c.transaction(async |c| {
                let c = &*c;
                let both = try_join3(
                    insert!(&mut &*c, 10),
                    insert!(&mut &*c, 11),
                    todos::table.count().get_result::<i64>(&mut &*c),
                );
                assert_eq!(both.await, Ok((1, 1, 7)));
                Err::<(), _>(Error::RollbackTransaction)
            });
            seen.push(shown(&rolled_back.await));
            seen.push(shown(&insert!(c, 12).await));
        }
    );
    assert_eq!(
        log,
        [
            "INSERT 1, INSERT 2, INSERT 3, context 1 - INSERT",
            "INSERT 6, INSERT 9, context 1 - INSERT",
            "INSERT 12, context 1 lead INSERT",
        ]
    );
}
