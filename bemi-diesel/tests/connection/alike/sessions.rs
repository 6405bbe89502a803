//! What belongs to the session: its making, its notifications, its prepared statements, and a query that is cancelled.

use bemi_diesel::BemiConnection;
use diesel::connection::CacheSize;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;

use super::{alike, insert, shown};
use crate::todos;

fn lead(id: i32) -> String {
    format!("INSERT {id}, context 1 lead INSERT")
}

const PREPARED: &str = "(SELECT count(*) FROM pg_prepared_statements)";

#[test]
fn notifications() {
    let log = alike!([PgConnection, BemiConnection], |database, c, seen| {
        seen.push(shown(&sql_query("LISTEN news").execute(c)));
        let written = c.transaction(|c| {
            insert!(c, 1)?;
            sql_query("NOTIFY news, 'one'").execute(c)
        });
        seen.push(shown(&written));
        seen.push(shown(
            &sql_query("SELECT pg_notify('news', 'two')").execute(c),
        ));
        let news = c
            .notifications_iter()
            .map(|news| news.map(|news| (news.channel, news.payload)));
        seen.extend(news.map(|news| shown(&news)));
        seen.push(format!("{} more", c.notifications_iter().count()));
        seen.push(shown(&insert!(c, 2)));
    });
    assert_eq!(log, ["INSERT 1, context 1 - INSERT".to_owned(), lead(2)]);
}

#[test]
fn statements_that_are_not_kept() {
    let log = alike!([PgConnection, BemiConnection], |database, c, seen| {
        c.set_prepared_statement_cache_size(CacheSize::Disabled);
        for id in 1..=5 {
            seen.push(shown(&insert!(c, id)));
            let changed = || diesel::update(todos::table.find(id)).set(todos::title.eq("b"));
            seen.push(shown(&changed().get_result::<(i32, String)>(c)));
            seen.push(shown(&changed().execute(c)));
        }
        let prepared = diesel::select(diesel::dsl::sql::<BigInt>(PREPARED));
        seen.push(shown(&prepared.get_result::<i64>(c)));
        c.set_prepared_statement_cache_size(CacheSize::Unbounded);
        for id in 6..=10 {
            seen.push(shown(&insert!(c, id)));
            // The table is another one by then.
            let column = format!("ALTER TABLE todos ADD COLUMN more_{id} int DEFAULT {id}");
            database.sql(&column);
            seen.push(shown(&todos::table.find(id).first::<(i32, String)>(c)));
            seen.push(shown(&diesel::delete(todos::table.find(id - 5)).execute(c)));
        }
    });
    assert_eq!(log.len(), 25);
    assert!(
        log.iter()
            .all(|transaction| transaction.contains("context 1 "))
    );
}

mod awaited {
    use bemi_diesel::AsyncBemiConnection;
    use diesel::connection::CacheSize;
    use diesel::prelude::*;
    use diesel::sql_query;
    use diesel::sql_types::Bool;
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
    use futures_util::StreamExt;
    use futures_util::future::join;
    use tokio_postgres::NoTls;

    use super::lead;
    use crate::alike::{alike_async, insert, shown};
    use crate::{Database, todos};

    #[tokio::test]
    async fn notifications() {
        let log = alike_async!(
            [AsyncPgConnection, AsyncBemiConnection],
            |database, c, seen| {
                seen.push(shown(&sql_query("LISTEN news").execute(c).await));
                let written = c.transaction(async |c| {
                    insert!(c, 1).await?;
                    sql_query("NOTIFY news, 'one'").execute(c).await
                });
                seen.push(shown(&written.await));
                seen.push(shown(
                    &sql_query("SELECT pg_notify('news', 'two')")
                        .execute(c)
                        .await,
                ));
                let news: Vec<_> = c.notifications_stream().take(2).collect().await;
                for news in news {
                    seen.push(shown(&news.map(|news| (news.channel, news.payload))));
                }
                seen.push(shown(&insert!(c, 2).await));
            }
        );
        assert_eq!(log, ["INSERT 1, context 1 - INSERT".to_owned(), lead(2)]);
    }

    #[tokio::test]
    async fn statements_that_are_not_kept() {
        let log = alike_async!(
            [AsyncPgConnection, AsyncBemiConnection],
            |database, c, seen| {
                c.set_prepared_statement_cache_size(CacheSize::Disabled);
                for id in 1..=5 {
                    seen.push(shown(&insert!(c, id).await));
                    let changed =
                        || diesel::update(todos::table.find(id)).set(todos::title.eq("b"));
                    seen.push(shown(&changed().get_result::<(i32, String)>(c).await));
                    seen.push(shown(&changed().execute(c).await));
                }
                c.set_prepared_statement_cache_size(CacheSize::Unbounded);
                for id in 6..=10 {
                    seen.push(shown(&insert!(c, id).await));
                    let column = format!("ALTER TABLE todos ADD COLUMN more_{id} int DEFAULT {id}");
                    database.sql(&column);
                    seen.push(shown(
                        &todos::table.find(id).first::<(i32, String)>(c).await,
                    ));
                    seen.push(shown(
                        &diesel::delete(todos::table.find(id - 5)).execute(c).await,
                    ));
                }
            }
        );
        assert_eq!(log.len(), 25);
        assert!(
            log.iter()
                .all(|transaction| transaction.contains("context 1 "))
        );
    }

    /// Cancels what the session runs as soon as it runs it.
    async fn cancel(token: tokio_postgres::CancelToken, database: &Database) {
        let watching = &mut database.plain();
        let runs = diesel::select(diesel::dsl::sql::<Bool>(
            "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
             AND pid <> pg_backend_pid() AND state = 'active' AND wait_event = 'PgSleep')",
        ));
        while !diesel::RunQueryDsl::get_result::<bool>(runs.clone(), watching).expect("an answer") {
            tokio::task::yield_now().await;
        }
        token
            .cancel_query(NoTls)
            .await
            .expect("the server takes it");
    }

    #[tokio::test]
    async fn a_query_that_is_cancelled() {
        const SLOW: &str = "INSERT INTO todos SELECT 1, 'a' FROM pg_sleep(600)";
        let log = alike_async!(
            [AsyncPgConnection, AsyncBemiConnection],
            |database, c, seen| {
                let token = c.cancel_token();
                let slow = sql_query(SLOW).execute(c);
                let (refused, ()) = join(slow, cancel(token.clone(), database)).await;
                seen.push(shown(&refused));
                seen.push(shown(&insert!(c, 1).await));
                let rows = sql_query(format!("{SLOW} RETURNING id")).execute(c);
                let (refused, ()) = join(rows, cancel(token.clone(), database)).await;
                seen.push(shown(&refused));
                let inside = c.transaction(async |c| {
                    insert!(c, 2).await?;
                    let nested = c.transaction(async |c| {
                        let slow = sql_query(SLOW).execute(c);
                        join(slow, cancel(token.clone(), database)).await.0
                    });
                    nested.await.expect_err("it is cancelled");
                    insert!(c, 3).await
                });
                seen.push(shown(&inside.await));
                // In a transaction that is put around it.
                let slow = sql_query(format!("WITH x AS ({SLOW} RETURNING id) SELECT id FROM x"));
                let (refused, ()) = join(slow.execute(c), cancel(token, database)).await;
                seen.push(shown(&refused));
                seen.push(shown(&insert!(c, 4).await));
            }
        );
        assert_eq!(
            log,
            [
                lead(1),
                "INSERT 2, INSERT 3, context 1 - INSERT".to_owned(),
                lead(4)
            ]
        );
    }

    #[tokio::test]
    async fn a_client_that_is_there_already() {
        let log = alike_async!(
            [AsyncPgConnection, AsyncBemiConnection],
            |database, c, seen| {
                seen.push(shown(&insert!(c, 1).await));
                let connect = || tokio_postgres::connect(database.url(), NoTls);
                let (client, connection) = connect().await.expect("a client");
                let driven = tokio::spawn(connection);
                let mut own = Own::try_from(client).await.expect("a connection");
                seen.push(shown(&insert!(&mut own, 2).await));
                seen.push(shown(&insert!(&mut own, 1).await));
                drop(own);
                driven.await.expect("no panic").expect("it ends well");
                let (client, connection) = connect().await.expect("a client");
                let mut own = Own::try_from_client_and_connection(client, connection)
                    .await
                    .expect("a connection");
                seen.push(shown(&insert!(&mut own, 3).await));
                seen.push(shown(&own.transaction(async |c| insert!(c, 4).await).await));
            }
        );
        assert_eq!(
            log,
            [
                lead(1),
                lead(2),
                lead(3),
                "INSERT 4, context 1 - INSERT".to_owned()
            ]
        );
    }
}
