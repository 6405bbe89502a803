//! How rows arrive: all at once, one by one, and not to the end.

use bemi_diesel::BemiConnection;
use diesel::prelude::*;
use diesel::sql_types::Integer;

use super::{alike, insert, shown};
use crate::{todo, todos};

/// A result that fails at its third row.
fn failing() -> diesel::expression::SqlLiteral<Integer> {
    diesel::dsl::sql::<Integer>("SELECT 6 / (3 - i) FROM generate_series(1, 4) i")
}

#[test]
fn one_by_one() {
    use diesel::connection::DefaultLoadingMode;
    use diesel::pg::PgRowByRowLoadingMode;

    let log = alike!([PgConnection, BemiConnection], |database, c, seen| {
        let several = |ids: std::ops::Range<i32>| {
            diesel::insert_into(todos::table)
                .values(ids.map(todo).collect::<Vec<_>>())
                .returning(todos::id)
        };
        let one = |id| {
            diesel::insert_into(todos::table)
                .values(todo(id))
                .returning(todos::id)
        };
        for id in 1..=5 {
            let rows = one(id).load_iter::<i32, PgRowByRowLoadingMode>(c);
            seen.push(shown(
                &rows.and_then(Iterator::collect::<QueryResult<Vec<_>>>),
            ));
            let again = one(id).load_iter::<i32, PgRowByRowLoadingMode>(c);
            seen.push(shown(
                &again.and_then(Iterator::collect::<QueryResult<Vec<_>>>),
            ));
        }
        // Only the first of three, and the connection goes on.
        let first = several(10..13)
            .load_iter::<i32, PgRowByRowLoadingMode>(c)
            .and_then(|mut rows| rows.next().expect("a row"));
        seen.push(shown(&first));
        let inside = c.transaction(|c| {
            let mut rows = several(13..16).load_iter::<i32, PgRowByRowLoadingMode>(c)?;
            rows.nth(1).expect("a row")
        });
        seen.push(shown(&inside));
        let rows = failing()
            .load_iter::<i32, PgRowByRowLoadingMode>(c)
            .expect("a result");
        for row in rows {
            seen.push(shown(&row));
        }
        // Two results at once.
        let ours = several(20..23)
            .load_iter::<i32, DefaultLoadingMode>(c)
            .expect("rows");
        let mut theirs = todos::table
            .select(todos::id)
            .order(todos::id)
            .load_iter::<i32, DefaultLoadingMode>(c)
            .expect("rows");
        seen.push(format!("{:?} {:?}", ours.size_hint(), theirs.size_hint()));
        seen.push(format!("{:?} {:?}", ours.count(), theirs.nth(2)));
        seen.push(shown(&failing().load::<i32>(c)));
        seen.push(shown(&insert!(c, 30)));
    });
    assert_eq!(
        log,
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2, context 1 lead INSERT",
            "INSERT 3, context 1 lead INSERT",
            "INSERT 4, context 1 lead INSERT",
            "INSERT 5, context 1 lead INSERT",
            "INSERT 10, context 1 lead INSERT, INSERT 11, INSERT 12",
            "INSERT 13, INSERT 14, INSERT 15, context 1 - INSERT",
            "INSERT 20, context 1 lead INSERT, INSERT 21, INSERT 22",
            "INSERT 30, context 1 lead INSERT",
        ]
    );
}

mod awaited {
    use bemi_diesel::AsyncBemiConnection;
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
    use futures_util::{StreamExt, TryStreamExt};

    use super::failing;
    use crate::alike::{alike_async, insert, shown};
    use crate::{todo, todos};

    #[tokio::test]
    async fn one_by_one() {
        let log = alike_async!(
            [AsyncPgConnection, AsyncBemiConnection],
            |database, c, seen| {
                let several = |ids: std::ops::Range<i32>| {
                    diesel::insert_into(todos::table)
                        .values(ids.map(todo).collect::<Vec<_>>())
                        .returning(todos::id)
                };
                for _ in 0..2 {
                    let rows = match several(1..4).load_stream::<i32>(c).await {
                        Ok(rows) => rows.try_collect::<Vec<_>>().await,
                        Err(error) => Err(error),
                    };
                    seen.push(shown(&rows));
                }
                let mut rows = several(10..13).load_stream::<i32>(c).await.expect("rows");
                seen.push(shown(&rows.next().await.expect("a row")));
                drop(rows);
                let inside = c.transaction(async |c| {
                    let mut rows = several(13..16).load_stream::<i32>(c).await?;
                    rows.next().await.expect("a row")
                });
                seen.push(shown(&inside.await));
                let mut rows = failing().load_stream::<i32>(c).await.expect("a result");
                while let Some(row) = rows.next().await {
                    seen.push(shown(&row));
                }
                drop(rows);
                seen.push(shown(&failing().load::<i32>(c).await));
                seen.push(shown(&insert!(c, 30).await));
            }
        );
        assert_eq!(
            log,
            [
                "INSERT 1, context 1 lead INSERT, INSERT 2, INSERT 3",
                "INSERT 10, context 1 lead INSERT, INSERT 11, INSERT 12",
                "INSERT 13, INSERT 14, INSERT 15, context 1 - INSERT",
                "context 1 - INSERT, INSERT 30",
            ]
        );
    }
}
